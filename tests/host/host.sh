# shellcheck shell=bash disable=SC2034
# Sourced by the tests of the host's files: installs udev/ and systemd/ below $dir and counts what is checked.
set -euo pipefail
: "${KEYLINE_BIN:?the programs}" "${KEYLINE_BUILD:?the build directory}"
source_dir=$(dirname "$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
passed=0 failed=0

for part in udev systemd; do
    DESTDIR=$dir cmake --install "$KEYLINE_BUILD/$part" --prefix /usr >"$dir/install.log" ||
        { cat "$dir/install.log" >&2; exit 1; }
done
mkdir "$dir/etc"
systemd-sysusers --root="$dir" "$dir/usr/lib/sysusers.d/keyline.conf" 2>"$dir/sysusers.log" ||
    { cat "$dir/sysusers.log" >&2; exit 1; }

pass() { passed=$((passed + 1)); }
miss() { failed=$((failed + 1)); printf 'FAIL: %s\n' "$*" >&2; }
expect() { # expect WHAT COMMAND...: the command says whether WHAT holds
    local what=$1
    shift
    if "$@"; then pass; else miss "$what"; fi
}
finish() { echo "$passed passed, $failed failed"; [ "$failed" -eq 0 ]; }
