#!/usr/bin/env bash
# A slotd that is killed between the record and the verdict: the device proves itself again, and passes. So does any device that
# is registered, as often as it is put in; another one of its name does not, and nothing of it gets into the books.
. "$(dirname "$(readlink -f "$0")")/../lib.sh"
. "$lib_dir/flow/books.sh"
test_dir=$(mktemp -d /tmp/keyline-flow.XXXXXX)
chmod 755 "$test_dir"
appliance_new "$test_dir/a" >/dev/null
export DIE_UNSEEN=$test_dir/die
LD_PRELOAD=${DIE_UNSEEN_LIBRARY:?} appliance_start 1
keyline-sim manifest --devices 1 --group sensors >"$test_dir/manifest.csv"
keyline job import "$test_dir/manifest.csv" --name line --add-groups >/dev/null
approve line >/dev/null
events() { sqlite3 "$KEYLINE_ROOT/lib/jobs/registry.db" "SELECT (SELECT count(*) FROM event) || ' ' || (SELECT count(*) FROM run)"; }
# logged WORDS TIMES
logged() { [ "$(grep -cE "$1" "$KEYLINE_ROOT/run.log")" -eq "$2" ]; }

# It stays in its slot all the while, and is tried once: a FAIL would be final.
touch "$DIE_UNSEEN"
fleet_start line 1 --tries 1 --patience-s 60
fleet_wait || die "a device whose slotd died after the record did not pass: $(cat "$KEYLINE_ROOT/fleet.log")"
[ ! -e "$DIE_UNSEEN" ] || die "slotd was not killed: nothing was proven"
logged 'slotd: passed-again' 1 || die "it did not prove itself again"
check_books line 1
[ "$(keyline job report line --json | jq -c '[.rows[] | .verdict, .attempts]')" = '["PASS",1]' ] || die "it is not one run that passed"

before=$(events)
fleet_start line 1 --tries 1 --patience-s 60
fleet_wait || die "a registered device did not pass again"
logged 'slotd: passed-again' 2 || die "it did not prove itself a second time"

# The same name in another case: its memory is empty.
mv "$KEYLINE_ROOT/flash" "$KEYLINE_ROOT/flash.first"
fleet_start line 1 --tries 1 --patience-s 60
fleet_wait && die "another device of a registered one's name passed"
logged 'slotd: failed error=DeviceDone' 1 || die "it is not said that another device is registered"
[ "$(events)" = "$before" ] || die "the books changed: $before, then $(events)"
check_books line 1
echo "1 passed, 0 failed"
