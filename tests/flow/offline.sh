#!/usr/bin/env bash
# A shift without a network: upstream away, syncd says so, work goes on; then it comes back and gets everything once.
. "$(dirname "$(readlink -f "$0")")/../lib.sh"
. "$lib_dir/flow/books.sh"
test_dir=$(mktemp -d /tmp/keyline-flow.XXXXXX)
chmod 755 "$test_dir"
count=24
appliance_new "$test_dir/a" >/dev/null
upstream_start
port=$upstream_port
configure upstream "url = $upstream_url" "ca_file = $KEYLINE_ROOT/upstream/server.pem" "interval_s = 1"
upstream_stop
appliance_start 4
keyline group add sensors >/dev/null
keyline-sim manifest --devices $count --group sensors >"$test_dir/manifest.csv"
keyline job import "$test_dir/manifest.csv" --name line >/dev/null
approve line >/dev/null
fleet_start line 4
keyline job watch line --until-idle 60 </dev/null
fleet_wait
says_offline() { [ "$(keyline sync status --json | jq -r .state)" = offline ]; }
wait_until 30 "sync status says offline" says_offline
keyline sync status --json | jq -e '.acknowledged == 0 and .waiting > 0 and .error.name == "UpstreamDown"' >/dev/null ||
    die "offline is not shown: $(keyline sync status --json)"
[ -z "$(upstream_records)" ] || die "nothing can have arrived"
# The appliance is restarted while records wait: none is lost.
appliance_stop
appliance_start 4
upstream_start "$port"
wait_until 120 "upstream acknowledges every record" synced
check_books line $count
check_upstream line
echo "1 passed, 0 failed"
