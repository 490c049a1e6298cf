#!/usr/bin/env bash
# ./dev demo's own script, small, with misbehaving devices: it ends well and says what it should.
. "$(dirname "$(readlink -f "$0")")/../lib.sh"
. "$lib_dir/flow/books.sh"
test_dir=$(mktemp -d /tmp/keyline-flow.XXXXXX)
chmod 755 "$test_dir"
export KEYLINE_DEMO_DIR=$test_dir/demo
chmod 755 "$test_dir"
"$lib_dir/demo" --devices 30 --slots 4 </dev/null >"$test_dir/out" 2>&1 || { cat "$test_dir/out" >&2; die "the demo failed"; }
for words in "30" "First-pass yield" "Devices per hour" "device show"; do
    grep -qi -- "$words" "$test_dir/out" || { cat "$test_dir/out" >&2; die "the summary lacks: $words"; }
done
[ "$(wc -l <"$test_dir/demo/latest/report.csv")" -eq 31 ] || die "report.csv has not a header and 30 rows"
# Its last lines work as they are pasted, all at once.
(sed -n '/^To look on/,$s/^  //p' "$test_dir/out"; echo 'status=$?; kill $!; wait; exit $status') >"$test_dir/pasted"
[ "$(wc -l <"$test_dir/pasted")" -eq 4 ] || die "the demo does not say how to look on"
bash "$test_dir/pasted" </dev/null >"$test_dir/shown" 2>&1 || { cat "$test_dir/shown" >&2; die "the demo's last lines fail"; }
grep -q 'Reached upstream *yes' "$test_dir/shown" || die "the demo's last lines do not show the device: $(cat "$test_dir/shown")"
# Wrong input.
"$lib_dir/demo" --devices 0 >/dev/null 2>&1 && die "0 devices must be refused"
"$lib_dir/demo" --manifest /nonexistent >/dev/null 2>&1 && die "a missing manifest must be refused"
"$lib_dir/demo" --devices 2 --faults nosuch:5% >/dev/null 2>&1 && die "a fault that is none must be refused"
# A directory too deep for sockets.
KEYLINE_DEMO_DIR=$test_dir/$(printf 'd%.0s' {1..90}) "$lib_dir/demo" --devices 2 --slots 2 </dev/null >"$test_dir/out" 2>&1 ||
    { cat "$test_dir/out" >&2; die "the demo failed in a deep directory"; }
rm -rf "$(readlink -f "$test_dir"/ddd*/latest)"
# The user's own manifest, with groups of its own.
printf 'device_name,device_group,hwid\r\nalpha,first,H1\r\nbeta,second,H2\r\ngamma,,H3\r\n' >"$test_dir/own.csv"
"$lib_dir/demo" --manifest "$test_dir/own.csv" --slots 2 </dev/null >"$test_dir/out" 2>&1 || { cat "$test_dir/out" >&2; die "the demo failed on an own manifest"; }
grep -c PASS "$test_dir/demo/latest/report.csv" | grep -qx 3 || die "not all three own devices passed"
echo "1 passed, 0 failed"
