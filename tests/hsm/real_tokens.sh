#!/usr/bin/env bash
# real_tokens.sh softhsm | nss | nss_without_pin | tpm2 | opencryptoki: makes such a token, says what it can (token-probe), and runs a
# whole signer on it (flow-real-token). Exits with 77 (skipped) where this host cannot run the token at all.
set -euo pipefail
: "${KEYLINE_BIN:?set KEYLINE_BIN to the directory of the built programs}"
tests=$(dirname "$KEYLINE_BIN")/tests/bin
dir=$(mktemp -d /tmp/keyline-token-XXXXXX)
slotd='' # 1: the pkcsslotd that runs is ours

skip() { printf 'skipped: %s\n' "$*" >&2; exit 77; }
running_slotd() { pgrep -x -r R,S,D pkcsslotd; } # what was killed may stay in the list for a while
cleanup() {
    local status=$? pid
    trap - EXIT
    for pid in $(cat "$dir"/*.pid 2>/dev/null) ${slotd:+$(running_slotd)}; do
        kill "$pid" 2>/dev/null || true
    done
    rm -rf "$dir"
    exit $status
}
trap cleanup EXIT
trap 'exit 130' INT TERM

pin_is() { # pin_is PIN: into the PIN file
    (umask 077 && printf '%s\n' "$1" >"$dir/pin")
}
find_module() { # find_module NAME...: the first that is there
    local name path
    for name in "$@"; do
        for path in /usr/lib/"$name" /usr/lib/*/"$name"; do
            [ -e "$path" ] && echo "$path" && return
        done
    done
    skip "the module $1 is not installed"
}
run_signer() { # run_signer LABEL INIT-ARGS KEY-TYPE...: the token is there, its PIN in $dir/pin
    local label=$1 init_args=$2 type
    shift 2
    "$tests/token-probe" "$KEYLINE_FAULT_MODULE" "$init_args" "$label" "$dir/pin"
    for type in "$@"; do
        echo "--- a signer with a $type key"
        export KEYLINE_TEST_PIN=$dir/pin
        KEYLINE_TEST_TOKEN="label = $label
init_args = $init_args
pin_file = $dir/pin" "$tests/flow-real-token" "$type"
        forget_keys "$label" "$init_args"
    done
}
pulled_by() { # pulled_by COMMAND COMMAND: how the token is taken away, and put back
    export KEYLINE_TEST_PULL=$1 KEYLINE_TEST_PLUG=$2
}
forget_keys() { # the next ceremony makes its keys under the same names
    "$tests/token-probe" --forget "$KEYLINE_FAULT_MODULE" "$2" "$1" "$dir/pin"
}
free_port() { # two in a row, for swtpm
    python3 - <<'PY'
import random, socket
while True:
    port = random.randrange(20000, 60000)
    try:
        with socket.socket() as a, socket.socket() as b:
            a.bind(("127.0.0.1", port)), b.bind(("127.0.0.1", port + 1))
    except OSError:
        continue
    print(port)
    break
PY
}

softhsm() {
    KEYLINE_FAULT_MODULE=$(find_module softhsm/libsofthsm2.so)
    export KEYLINE_FAULT_MODULE SOFTHSM2_CONF=$dir/softhsm2.conf
    mkdir "$dir/tokens"
    echo "directories.tokendir = $dir/tokens" >"$SOFTHSM2_CONF"
    pin_is 12345678
    softhsm2-util --init-token --free --label ca --so-pin 87654321 --pin 12345678
    pulled_by "mv '$dir/tokens' '$dir/away'" "mv '$dir/away' '$dir/tokens'"
    run_signer ca '' p256 p384 rsa3072 ed25519
}

nss() {
    KEYLINE_FAULT_MODULE=$(find_module libsoftokn3.so nss/libsoftokn3.so)
    export KEYLINE_FAULT_MODULE
    command -v certutil >/dev/null || skip "libnss3-tools is not installed"
    mkdir "$dir/db"
    pin_is 12345678
    certutil -N -d "sql:$dir/db" -f "$dir/pin"
    pulled_by "mv '$dir/db' '$dir/away'" "mv '$dir/away' '$dir/db'"
    run_signer 'NSS Certificate DB' \
        "configdir='sql:$dir/db' certPrefix='' keyPrefix='' secmod='secmod.db' flags='passwordRequired'" p256 p384 rsa3072
}

nss_without_pin() { # its database has no password: there is no login
    KEYLINE_FAULT_MODULE=$(find_module libsoftokn3.so nss/libsoftokn3.so)
    export KEYLINE_FAULT_MODULE KEYLINE_TEST_NO_PIN=1
    command -v certutil >/dev/null || skip "libnss3-tools is not installed"
    mkdir "$dir/db"
    pin_is unused
    certutil -N -d "sql:$dir/db" --empty-password
    run_signer 'NSS Certificate DB' "configdir='sql:$dir/db' certPrefix='' keyPrefix='' secmod='secmod.db' flags=''" p256
}

tpm2() { # its commands need a bus of their own: this script starts itself in one
    local port pid
    KEYLINE_FAULT_MODULE=$(find_module pkcs11/libtpm2_pkcs11.so libtpm2_pkcs11.so.1)
    for pid in swtpm tpm2-abrmd tpm2_ptool dbus-run-session; do
        command -v $pid >/dev/null || skip "$pid is not installed"
    done
    if [ -z "${KEYLINE_TEST_BUS:-}" ]; then
        KEYLINE_TEST_BUS=1 dbus-run-session -- "$0" tpm2
        exit
    fi
    port=$(free_port)
    mkdir "$dir/state" "$dir/store"
    # two workers and a tool at one TPM: it has few places for objects, the broker keeps them apart
    cat >"$dir/plug" <<PLUG
swtpm socket --tpm2 --tpmstate dir="$dir/state" --server type=tcp,port=$port,bindaddr=127.0.0.1 \
    --ctrl type=tcp,port=$((port + 1)),bindaddr=127.0.0.1 --flags not-need-init,startup-clear \
    --daemon --pid file="$dir/swtpm.pid"
tpm2-abrmd --session --allow-root --tcti=swtpm:host=127.0.0.1,port=$port </dev/null >/dev/null 2>&1 &
echo \$! >"$dir/abrmd.pid"
PLUG
    pulled_by "kill \$(cat '$dir/abrmd.pid' '$dir/swtpm.pid'); sleep 0.5" "bash '$dir/plug'"
    bash "$dir/plug"
    export KEYLINE_FAULT_MODULE TPM2TOOLS_TCTI=tabrmd:bus_type=session TPM2_PKCS11_TCTI=tabrmd:bus_type=session
    export TPM2_PKCS11_STORE=$dir/store TPM2_PKCS11_LOG_LEVEL=0
    for ((pid = 0; pid < 50; pid++)); do
        tpm2_getrandom 1 >/dev/null 2>&1 && break
        sleep 0.1
    done
    # a wrong PIN and each loss of power count; with three the TPM would lock itself, as it should
    tpm2_dictionarylockout --setup-parameters --max-tries=30 --recovery-time=600 --lockout-recovery-time=600
    pin_is 12345678
    tpm2_ptool init --path "$dir/store" >/dev/null
    tpm2_ptool addtoken --pid 1 --label ca --sopin 87654321 --userpin 12345678 --path "$dir/store" >/dev/null
    KEYLINE_TEST_COUNT=${KEYLINE_TEST_COUNT:-40} run_signer ca '' p256 p384
}

opencryptoki() { # its places are fixed: this script starts itself with mounts of its own over them
    local lock=/run/lock/opencryptoki
    KEYLINE_FAULT_MODULE=$(find_module pkcs11/libopencryptoki.so)
    export KEYLINE_FAULT_MODULE
    ! running_slotd >/dev/null || skip "pkcsslotd runs here already, and there can be one only"
    if [ -z "${KEYLINE_TEST_MOUNTS:-}" ]; then
        unshare -m true 2>/dev/null || skip "nobody but root may give a test mounts of its own"
        KEYLINE_TEST_MOUNTS=1 unshare -m --propagation private "$0" opencryptoki
        exit
    fi
    mkdir -p $lock
    for place in /etc/opencryptoki /var/lib/opencryptoki $lock /dev/shm; do
        mount -t tmpfs -o mode=1777 tmpfs $place || skip "$place cannot be mounted over here"
    done
    install -d -m 770 -g pkcs11 /var/lib/opencryptoki/swtok/TOK_OBJ $lock/swtok
    printf 'version opencryptoki-3.1\nslot 3\n{\nstdll = libpkcs11_sw.so\n}\n' >/etc/opencryptoki/opencryptoki.conf
    pkcsslotd || skip "pkcsslotd does not start here"
    slotd=1
    pulled_by "kill \$(pgrep -x -r R,S,D pkcsslotd); sleep 0.5" pkcsslotd
    printf '87654321\nca\n' | pkcsconf -I -c 3 >/dev/null
    pkcsconf -P -c 3 -S 87654321 -n 76543210
    pkcsconf -u -c 3 -S 76543210 -n 11111111
    pin_is 11111111
    run_signer ca '' rsa3072
}

case "${1:-}" in
softhsm | nss | nss_without_pin | tpm2 | opencryptoki) "$1" ;;
*) echo "usage: real_tokens.sh softhsm | nss | nss_without_pin | tpm2 | opencryptoki" >&2; exit 2 ;;
esac
