#!/usr/bin/env bash
# Processes that hang instead of dying: stopped in the middle of the work, longer than any call waits, and let go.
. "$(dirname "$(readlink -f "$0")")/../lib.sh"
. "$lib_dir/flow/books.sh"
test_dir=$(mktemp -d /tmp/keyline-flow.XXXXXX)
chmod 755 "$test_dir"
count=${KEYLINE_STOPPED_DEVICES:-150} slots=6 stopped=''
appliance_new "$test_dir/a" >/dev/null
appliance_start $slots
keyline group add sensors >/dev/null
keyline-sim manifest --devices $count --group sensors >"$test_dir/manifest.csv"
keyline job import "$test_dir/manifest.csv" --name line >/dev/null
approve line >/dev/null
fleet_start line $slots --tries 50 --swap-ms 800

# hang NAME SECONDS: stops the process; what it did not answer is asked again when it is back, or by its successor.
hang() {
    local pid before
    before=$(job_field line registered)
    [ "$before" -lt $((count - 2 * slots)) ] || die "too few devices for this machine: only $((count - before)) are left before $1 hangs"
    read -r pid < <(ours "$1") || die "no process is named $1"
    kill -STOP "$pid"
    sleep "$2"
    kill -CONT "$pid" 2>/dev/null || true
    wait_until 60 "the job goes on after $1 hung for $2 s" registered_at_least line $((before + slots + 1))
    stopped="$stopped $1"
}
wait_until 60 "the first devices are registered" registered_at_least line 5
hang signerd 17
hang signerd-token 6
hang jobd 17
hang slotd 4
wait_until 240 "every device is registered" registered_at_least line $count
fleet_wait || die "registered, but got no PASS: $(grep '^failed' "$KEYLINE_ROOT/fleet.log")"
check_books line $count
echo "stopped and let go:$stopped; $count devices, $count certificates"
echo "1 passed, 0 failed"
