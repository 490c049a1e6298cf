#!/usr/bin/env bash
# Devices that lie, stutter, vanish: no other slot stops, the reasons are named, the books stay right.
. "$(dirname "$(readlink -f "$0")")/../lib.sh"
. "$lib_dir/flow/books.sh"
test_dir=$(mktemp -d /tmp/keyline-flow.XXXXXX)
chmod 755 "$test_dir"
count=60 slots=6
appliance_new "$test_dir/a" >/dev/null
appliance_start $slots
keyline group add sensors >/dev/null
keyline-sim manifest --devices $count --group sensors >"$test_dir/manifest.csv"
keyline job import "$test_dir/manifest.csv" --name line >/dev/null
approve line >/dev/null

# A device nobody ordered.
printf 'STRANGER-1\tstranger\n' >"$test_dir/stranger"
keyline-sim fleet --slots 1 --tries 1 --ports "$KEYLINE_ROOT/ports" --flash "$test_dir/stranger.flash" --list "$test_dir/stranger" \
    >"$test_dir/stranger.log" 2>&1 && die "a device that is in no manifest must not pass" || true

# Every kind of misbehaviour at once, each device tried up to three times.
fleet_start line $slots --tries 3 --seed 7 --faults "${KEYLINE_FAULTS:-garbage:8%,midframe:8%,wrongkey:8%,forget:8%,noise:10%,pull@certified:8%,pull@install:8%}"
keyline job watch line --until-idle 40 </dev/null || [ $? -eq 3 ]
fleet_wait || true
keyline job report line --json >"$test_dir/report.json"
passed=$(jq .summary.passed "$test_dir/report.json")
[ "$passed" -ge $((count / 2)) ] || die "only $passed of $count passed: good devices suffered from bad ones"
jq -e '.summary.failures | length > 0' "$test_dir/report.json" >/dev/null || die "no failure has a name"
jq -e '[.summary.failures[] | select(.hint == "" or .hint == null)] == []' "$test_dir/report.json" >/dev/null || die "a failure has no advice"
# Whoever lied about its key is not Registered, and is in quarantine.
jq -e '[.summary.failures[].error] | any(. == "ChallengeFailed" or . == "NoPossession")' "$test_dir/report.json" >/dev/null ||
    die "no liar was caught: $(jq -c .summary.failures "$test_dir/report.json")"
sqlite3 "$KEYLINE_ROOT/lib/jobs/registry.db" "SELECT count(*) FROM certificate c GROUP BY device HAVING count(*) > 1" | grep -q . &&
    die "a device has two certificates" || true
issued=$(keyline status --json | jq .signer.issued)
stored=$(sqlite3 "$KEYLINE_ROOT/lib/jobs/registry.db" "SELECT count(*) FROM certificate")
[ "$issued" = "$stored" ] || die "the ledger has $issued certificates, the registry $stored"
echo "$passed of $count passed; failures: $(jq -c '[.summary.failures[] | {(.error): .count}] | add' "$test_dir/report.json")"
echo "1 passed, 0 failed"
