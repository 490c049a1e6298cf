#!/usr/bin/env bash
# The main job: 40 devices through 8 slots; every certificate verified; upstream equal to the registry.
. "$(dirname "$(readlink -f "$0")")/../lib.sh"
. "$lib_dir/flow/books.sh"
test_dir=$(mktemp -d /tmp/keyline-flow.XXXXXX)
chmod 755 "$test_dir"
count=40
appliance_new "$test_dir/a" >/dev/null
upstream_start
configure upstream "url = $upstream_url" "ca_file = $KEYLINE_ROOT/upstream/server.pem" "interval_s = 1"
appliance_start 8
keyline group add sensors >/dev/null
keyline-sim manifest --devices $count --group sensors >"$test_dir/manifest.csv"
keyline job import "$test_dir/manifest.csv" --name line
[ "$(job_field line state)" = "Pending approval" ] || die "an imported job must wait for its approval"
approve line >/dev/null
[ "$(job_field line state)" = "In progress" ] || die "an approved job is in progress"
fleet_start line 8
keyline job watch line --until-idle 60 </dev/null
fleet_wait || die "the simulated devices were not satisfied: $(tail -n 3 "$KEYLINE_ROOT/fleet.log")"
[ "$(job_field line state)" = "Completed" ] || die "the job is $(job_field line state), not Completed"
wait_until 60 "upstream acknowledges every record" synced
check_books line $count
check_upstream line
check_certificates $count
keyline job report line --json | jq -e --argjson n $count '.summary | .passed == $n and .failed == 0' >/dev/null || die "the report's summary is wrong"
# A second start finds everything as it was.
appliance_stop
appliance_start 8
check_books line $count
# A device that is done already proves itself again, it is said that it was registered before, and nothing changes.
head -n 1 "$KEYLINE_ROOT/fleet.list" >"$test_dir/again.list"
keyline-sim fleet --slots 1 --tries 1 --ports "$KEYLINE_ROOT/ports" --flash "$KEYLINE_ROOT/flash" --list "$test_dir/again.list" \
    --look-ms 3000 >"$test_dir/again.log" 2>&1 &
fleet_pid=$!
said_before() { keyline slot list --json | jq -e '[.slots[] | select(.state == "pass" and (.text | startswith("registered before")))] | length == 1'; }
wait_until 20 "the slot says that the device was registered before" said_before
fleet_wait || die "a registered device must prove itself again: $(cat "$test_dir/again.log")"
check_books line $count
echo "1 passed, 0 failed"
