#!/usr/bin/env bash
# kill -9 of each process in turn while devices are provisioned: nothing lost, nothing twice.
. "$(dirname "$(readlink -f "$0")")/../lib.sh"
. "$lib_dir/flow/books.sh"
test_dir=$(mktemp -d /tmp/keyline-flow.XXXXXX)
chmod 755 "$test_dir"
count=${KEYLINE_CRASH_DEVICES:-120} slots=6
appliance_new "$test_dir/a" >/dev/null
upstream_start
configure upstream "url = $upstream_url" "ca_file = $KEYLINE_ROOT/upstream/server.pem" "interval_s = 1"
appliance_start $slots
keyline group add sensors >/dev/null
keyline-sim manifest --devices $count --group sensors >"$test_dir/manifest.csv"
keyline job import "$test_dir/manifest.csv" --name line >/dev/null
approve line >/dev/null
fleet_start line $slots --tries 50

kills=0
for round in 1 2 3 4; do
    for name in signerd signerd-token jobd syncd slotd keyline; do
        before=$(job_field line registered 2>/dev/null || echo 0)
        [ "$before" -lt $((count - slots)) ] || break 2
        if [ $name = keyline ]; then
            kill -KILL "$run_pid"
            wait "$run_pid" 2>/dev/null || true
            left() { [ -z "$(fuser_root)" ]; }
            fuser_root() { grep -lsz "KEYLINE_ROOT=$KEYLINE_ROOT" /proc/[0-9]*/environ | while read -r f; do
                p=${f#/proc/} && p=${p%/environ}
                case $(cat "/proc/$p/comm" 2>/dev/null) in signerd* | jobd | syncd | slotd) echo "$p" ;; esac
            done; }
            wait_until 20 "the killed appliance leaves no process behind" left
            appliance_start $slots
        else
            pid=$(ours $name | shuf -n 1)
            [ -n "$pid" ] || continue
            kill -KILL "$pid"
        fi
        kills=$((kills + 1))
        wait_until 60 "the job goes on after kill -9 of $name (round $round)" registered_at_least line $((before + 3))
    done
done
[ "$kills" -ge 6 ] || die "only $kills processes were killed before the job was done: nothing was proven"
wait_until 240 "every device is registered" registered_at_least line $count
fleet_wait || die "registered, but got no PASS: $(grep '^failed' "$KEYLINE_ROOT/fleet.log")"
wait_until 120 "upstream acknowledges every record" synced
check_books line $count
check_upstream line
check_certificates $count
echo "$kills processes killed; $count devices, $count certificates"
echo "1 passed, 0 failed"
