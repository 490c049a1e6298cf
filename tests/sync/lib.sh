# shellcheck shell=bash
# The real syncd between a jobd double and an upstream; source this. Needs KEYLINE_BIN (lib.sh) and KEYLINE_DOUBLE, the
# built jobd-double. Everything started here is ended on exit, by pid.
# shellcheck source=tests/lib.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../lib.sh"
: "${KEYLINE_DOUBLE:?set KEYLINE_DOUBLE to the built jobd-double}"
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY

syncd_pid='' jobd_pid='' server_pid=''
sync_cleanup() {
    local status=$?
    trap - EXIT
    set +e
    end_process "$syncd_pid"
    end_process "$jobd_pid"
    end_process "$server_pid"
    [ $status -eq 0 ] || tail -n 20 "$KEYLINE_ROOT"/{syncd.log,jobd/events,server/log} >&2 2>/dev/null
    (exit $status)
    cleanup
}
trap sync_cleanup EXIT

sync_new() { # sync_new: a private instance without signer or registry
    test_dir=$(mktemp -d /tmp/keyline-sync.XXXXXX)
    chmod 755 "$test_dir"
    export KEYLINE_ROOT=$test_dir/a
    jobd_dir=$KEYLINE_ROOT/jobd
    events=$jobd_dir/events
    mkdir -p "$KEYLINE_ROOT"/{etc,run} "$jobd_dir"/{batches,done}
    chmod 755 "$KEYLINE_ROOT"
    touch "$events"
}

# upstream_configure KEY=VALUE...: keyline.conf anew
upstream_configure() {
    rm -f "$KEYLINE_ROOT/etc/keyline.conf"
    configure station "name = line 1"
    configure upstream "interval_s = 1" "$@"
}

# batch FIRST LAST [BYTES-A-RECORD]: a batch that waits to be sent; appears whole
batch() {
    awk -v first="$1" -v last="$2" -v len="${3:-20}" 'BEGIN {
        pad = sprintf("%*s", len, ""); gsub(/ /, "x", pad)
        for (n = first; n <= last; n++) printf "{\"record\":%d,\"type\":\"test\",\"pad\":\"%s\"}\n", n, pad
    }' >"$jobd_dir/$1-$2.tmp"
    mv "$jobd_dir/$1-$2.tmp" "$jobd_dir/batches/$1-$2"
}

jobd_start() {
    "$KEYLINE_DOUBLE" "$jobd_dir" </dev/null >>"$jobd_dir/log" 2>&1 &
    jobd_pid=$!
    wait_until 10 "the jobd double listens" test -S "$KEYLINE_ROOT/run/outbox.sock"
}
jobd_stop() {
    end_process "$jobd_pid"
    jobd_pid=''
    rm -f "$KEYLINE_ROOT/run/outbox.sock"
}
retry() { kill -USR1 "$jobd_pid"; }
syncd_start() {
    syncd </dev/null >>"$KEYLINE_ROOT/syncd.log" 2>&1 &
    syncd_pid=$!
}
syncd_stop() { # in order: it must end with 0
    local status=0
    kill -TERM "$syncd_pid"
    wait "$syncd_pid" || status=$?
    syncd_pid=''
    [ $status -eq 0 ] || die "syncd ended with $status"
}
syncd_kill() {
    kill -KILL "$syncd_pid"
    wait "$syncd_pid" 2>/dev/null || true
    syncd_pid=''
}

heard() { grep -q -E "$1" "$events"; }         # jobd heard a call like this
forget() { : >"$events"; }                     # what it heard so far
count() { grep -c -E "$1" "$events" || true; }
all_done() { [ "$(find "$jobd_dir/batches" -type f | wc -l)" -eq "$(find "$jobd_dir/done" -type f | wc -l)" ]; }
# acked FIRST LAST: once, and with the digest of the batch
acked() {
    local sha
    sha=$(sha256sum <"$jobd_dir/batches/$1-$2")
    [ "$(count "^ack $1 $2 ${sha%% *} ")" -eq 1 ]
}
