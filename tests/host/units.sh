#!/usr/bin/env bash
# The units: systemd accepts them, their programs exist, their exposure stays low, and users and sockets are those
# that sysusers.d makes and the code uses.
# shellcheck source=tests/host/host.sh
. "$(dirname "$(readlink -f "$0")")/host.sh"
units=$dir/usr/lib/systemd/system
exposure_max=15 # tenths

# The programs of this build stand in for the installed ones; everything else is as installed.
libexec=$(sed -n 's/^ExecStart=\(.*\)\/signerd$/\1/p' "$units/keyline-signerd.service")
expect "signerd is started from the libexec directory, not '$libexec'" [ "${libexec##*/}" = keyline ]
sed -i "s|^ExecStart=$libexec/|ExecStart=$KEYLINE_BIN/|" "$units"/*.service

# Only ours, so that a mistake of the machine's own units is not taken for ours.
export SYSTEMD_UNIT_PATH=$units:/usr/lib/systemd/system
for unit in "$units"/keyline*.{service,socket,target}; do
    name=${unit##*/}
    rc=0
    systemd-analyze verify --man=no --recursive-errors=no "$unit" >"$dir/verify" 2>&1 || rc=$?
    grep -F keyline "$dir/verify" >"$dir/ours" || true
    if [ $rc -ne 0 ] || [ -s "$dir/ours" ]; then cat "$dir/verify" >&2; fi
    expect "$name: systemd-analyze verify" [ $rc -eq 0 ]
    expect "$name: a warning about it" [ ! -s "$dir/ours" ]
done

for unit in "$units"/keyline-*.service; do
    name=${unit##*/}
    rc=0
    # --threshold wants tenths and fails above them.
    systemd-analyze security --offline=yes --no-pager --threshold=$exposure_max "$unit" >"$dir/security" 2>&1 || rc=$?
    level=$(sed -n 's/^.*exposure level for [^:]*: \([0-9.]*\).*/\1/p' "$dir/security")
    echo "$name: exposure ${level:-unknown}"
    [ $rc -eq 0 ] || grep -F '✗' "$dir/security" >&2
    expect "$name: exposure ${level:-unknown} is above $exposure_max tenths" [ $rc -eq 0 ]
    expect "$name: no exposure was measured" [ -n "$level" ]
done

# Every user and group that units and rules name is one that sysusers.d makes.
while IFS=: read -r file user; do
    expect "$file: nobody makes user $user" grep -q "^$user:" "$dir/etc/passwd"
done < <(cd "$units" && sed -n 's/^User=//p' keyline-*.service | sort -u | sed 's/^/units:/')
while IFS=: read -r file group; do
    expect "$file: nobody makes group $group" grep -q "^$group:" "$dir/etc/group"
done < <(cd "$units" && sed -n 's/^SocketGroup=//p' keyline-*.socket | sort -u | sed 's/^/sockets:/')

# The code's own idea of users and sockets (config_list.h, paths.c) is that of the units.
for role in slot:keyline-slot@.service sync:keyline-syncd.service jobs:keyline-jobd.service; do
    user=$(sed -n 's/^User=//p' "$units/${role#*:}")
    expect "config_list.h: ${role%%:*}_user does not default to $user" \
        grep -q "KEY(\"access\", \"${role%%:*}_user\", STR, \"$user\"" "$source_dir/base/config_list.h"
done
sed -n 's/.*\[PATH_.*_SOCKET\].*"\(.*\)"}.*/\1/p' "$source_dir/base/paths.c" | sort >"$dir/in-code"
sed -n 's|^ListenStream=/run/keyline/||p' "$units"/*.socket | sort >"$dir/in-units"
expect "the sockets of paths.c and of the units differ" diff "$dir/in-code" "$dir/in-units"

if [ "$(id -u)" -eq 0 ]; then
    systemd-tmpfiles --root="$dir" --create "$dir/usr/lib/tmpfiles.d/keyline.conf" 2>"$dir/tmpfiles.log" || true
    expect "tmpfiles: $(head -1 "$dir/tmpfiles.log")" [ ! -s "$dir/tmpfiles.log" ]
    expect "tmpfiles makes /run/keyline" [ -d "$dir/run/keyline" ]
fi
finish
