#!/usr/bin/env bash
# syncd and servers that do not keep the contract: nothing counts as delivered that is not, nothing is lost, no answer
# fills the memory or the log, credentials go nowhere else, and each time the next good answer ends the trouble.
# shellcheck source=tests/sync/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"
sync_new
server=$KEYLINE_ROOT/server
mkdir -p "$server"
mode() { printf '%s\n' "$*" >"$server/mode.tmp" && mv "$server/mode.tmp" "$server/mode"; }
asked() { [ -s "$server/log" ] && grep -q -E "$1" "$server/log"; }
mode good
python3 "${0%/*}/hostile_server.py" "$server" </dev/null >"$server/out" 2>&1 &
server_pid=$!
wait_until 20 "the server listens" test -s "$server/port"
url=http://127.0.0.1:$(cat "$server/port")
(umask 077 && echo "s3cret" >"$test_dir/password")
upstream_configure "url = $url" "timeout_s = 1" "user = station" "password_file = $test_dir/password"
jobd_start
n=0

# hears MODE PATTERN: while the server is in MODE a batch waits, and jobd hears PATTERN and no delivery
hears() {
    n=$((n + 1))
    forget
    : >"$server/log"
    mode "$1"
    batch $n $n
    wait_until 30 "mode $1: $2" heard "$2"
    [ "$(count '^(ack|refuse)')" -eq 0 ] || die "mode $1: $(grep -E '^(ack|refuse)' "$events")"
}
# recovers: then the server is good, a person asks for a try, and the batch arrives
recovers() {
    mode good
    recovered() { retry && acked $n $n; }
    wait_until 30 "recovery" recovered
}
syncd_start

echo "# good answers first: one connection carries many batches"
for n in 1 2 3 4 5; do batch $n $n; done
wait_until 20 "five batches are acknowledged" acked 5 5
[ "$(awk '{print $5}' "$server/log" | sort -u | wc -l)" -eq 1 ] || die "connections are not kept"

echo "# 200 and a page of HTML for everything: a portal"
hears "status 200" '^report offline UpstreamNonsense [0-9]{13} '
asked '^[0-9.]+ GET /stations/line%201/batches/000000000006-000000000006.ndjson 200' || die "nothing was compared"
recovers

echo "# 204 for everything, 206"
hears "status 204" '^report offline UpstreamNonsense '
recovers
hears "status 206" '^report offline UpstreamNonsense '
recovers

echo "# never answers"
hears silent '^report offline UpstreamDown '
wait_until 10 "syncd hangs up" grep -q silent "$server/hung-up"
recovers

echo "# no HTTP at all; endless headers; a success that breaks off"
hears garbage '^report offline UpstreamNonsense '
recovers
hears headers '^report offline UpstreamNonsense .*headers'
wait_until 10 "syncd hangs up" grep -q headers "$server/hung-up"
recovers
hears cut '^report offline UpstreamDown '
recovers

echo "# an endless body, to the PUT and to the comparison"
hears body '^report offline UpstreamNonsense '
wait_until 10 "syncd hangs up" grep -q body "$server/hung-up"
recovers

echo "# a redirect is not followed, and credentials do not go there"
hears redirect '^report offline UpstreamNonsense .*307'
asked '/stolen' && die "the redirect was followed"
recovers

echo "# the account is refused: shown, asked seldom, mended without a restart"
mode "password Basic_$(printf 'station:right' | base64)"
hears "$(cat "$server/mode")" '^report offline UpstreamRefused [0-9]{13} .*401'
next_ms=$(awk '$1 == "report" && $2 == "offline" {print $4; exit}' "$events")
[ $((next_ms - $(date +%s%3N))) -gt 100000 ] || die "the account is tried again too soon"
asked "Basic $(printf 'station:s3cret' | base64)" || die "the password of the file was not used"
(umask 077 && echo "right" >"$test_dir/password")
retry
wait_until 20 "the corrected password is used" acked $n $n

echo "# Retry-After in seconds and as a date: not earlier, and soon after"
for form in "status 503 3" "status 429 3" "date 4"; do
    hears "$form" '^report offline UpstreamDown [0-9]{13} .*(503|429)'
    mode good
    wait_until 30 "$form: it arrives by itself" acked $n $n
    awk -v form="$form" '$4 != 201 && !first {first = $1} $4 == 201 {last = $1}
        END {gap = last - first; if (gap < 2.9 || gap > 25) {print form ": tried again after " gap " s"; exit 1}}' \
        "$server/log" || die "Retry-After was not honoured"
done

echo "# the records are rejected: set aside, the next ones go on"
for status in 400 413 422; do
    n=$((n + 1))
    forget
    mode "status $status"
    batch $n $n
    wait_until 20 "$status: set aside" heard "^refuse $n $n UpstreamRefused "
    n=$((n + 1))
    mode good
    batch $n $n
    wait_until 20 "$status: the next one goes on" acked $n $n
done

echo "# nothing of all that reached the log"
if grep -q -E 'Welcome|s3cret|not http|right|c3RhdGlvb' "$KEYLINE_ROOT/syncd.log"; then die "the log holds what it must not"; fi
kill -0 "$syncd_pid" || die "syncd ended"
syncd_stop

echo "# an address that is not to be used; no address at all"
forget
upstream_configure "url = http://upstream.invalid/" "user = station" "password_file = $test_dir/password"
syncd_start
wait_until 10 "plain http to elsewhere is refused" heard '^report offline Config .*https'
syncd_stop
forget
n=$((n + 1))
batch $n $n
upstream_configure
syncd_start
wait_until 10 "no upstream: idle" heard '^report idle - 0 '
syncd_stop
heard '^next' && die "a batch was taken without an upstream"
echo "1 passed, 0 failed"
