#!/usr/bin/env bash
# syncd and an unmodified apache2 with mod_dav over TLS: every batch arrives as it is, once, whatever is killed.
# shellcheck source=tests/sync/lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"
sync_new
store=$KEYLINE_ROOT/upstream/store

remote() { printf '%s/stations/line 1/batches/%012d-%012d.ndjson' "$store" "$1" "$2"; }
# check_store: upstream holds every batch byte for byte and nothing else
check_store() {
    local f name n=0
    for f in "$jobd_dir"/batches/*; do
        name=${f##*/}
        cmp "$f" "$(remote "${name%-*}" "${name#*-}")" || die "batch $name differs upstream"
        n=$((n + 1))
    done
    [ "$(find "$store" -type f ! -path '*/.DAV/*' | wc -l)" -eq $n ] || die "upstream holds more than the $n batches:
$(find "$store" -type f)"
}

upstream_start
port=$upstream_port
good=("url = $upstream_url/" "ca_file = $KEYLINE_ROOT/upstream/server.pem" "timeout_s = 5")
upstream_configure "${good[@]}"
jobd_start

echo "# three batches, one of 3 MB, into a store without collections"
batch 1 500
batch 501 501
batch 502 1001 6000
syncd_start
wait_until 30 "three batches are acknowledged" all_done
check_store
for b in "1 500" "501 501" "502 1001"; do
    # shellcheck disable=SC2086
    acked $b || die "batch $b was not acknowledged once, with its digest"
done
[ "$(grep -c '^MKCOL' "$KEYLINE_ROOT/upstream/access.log")" -eq 3 ] || die "collections are made once"
wait_until 10 "nothing waits: idle" heard '^report idle - 0 '

echo "# a batch that comes later goes by itself"
batch 1002 1003
wait_until 10 "the later batch is acknowledged" acked 1002 1003

echo "# the acknowledgement got lost: sent again, found there, not stored twice"
before=$(stat -c '%i %Y %y' "$(remote 1 500)")
forget
rm "$jobd_dir/done/1-500"
wait_until 10 "acknowledged again, by comparison" heard '^ack 1 500 [0-9a-f]{64} 412, the same bytes are there$'
[ "$before" = "$(stat -c '%i %Y %y' "$(remote 1 500)")" ] || die "the stored batch was touched"

echo "# upstream holds other bytes: that batch is set aside, the next ones go on, nothing is overwritten"
forget
batch 1004 1005
batch 1006 1007
syncd_stop
printf 'somebody else\n' >"$(remote 1002 1003)"
rm "$jobd_dir/done/1002-1003" # and the two behind it
syncd_start
wait_until 10 "the conflict is reported" heard '^refuse 1002 1003 UpstreamConflict '
wait_until 10 "later batches go on" acked 1006 1007
[ "$(cat "$(remote 1002 1003)")" = "somebody else" ] || die "upstream's bytes were overwritten"
cp "$jobd_dir/batches/1002-1003" "$(remote 1002 1003)"
check_store

echo "# upstream away and back"
forget
upstream_stop
batch 1008 1010
wait_until 20 "off-line is reported with the next try" heard '^report offline UpstreamDown [0-9]{13} '
[ "$(grep -c 'upstream-away' "$KEYLINE_ROOT/syncd.log")" -eq 1 ] || die "off-line is not logged once"
upstream_start "$port"
wait_until 60 "the batch is acknowledged" acked 1008 1010
wait_until 10 "idle again" heard '^report idle - 0 '
check_store

echo "# jobd away and back"
forget
jobd_stop
wait_until 10 "syncd notices" grep -q 'jobd-away' "$KEYLINE_ROOT/syncd.log"
batch 1011 1012
jobd_start
wait_until 20 "the batch is acknowledged" acked 1011 1012
kill -0 "$syncd_pid" || die "syncd did not outlive jobd"
[ "$(grep -c 'jobd-away' "$KEYLINE_ROOT/syncd.log")" -eq 1 ] || die "jobd's absence is not logged once"

echo "# kill -9 at any moment while batches are sent"
syncd_stop
forget
for ((n = 0; n < 40; n++)); do batch $((2000 + n * 100)) $((2099 + n * 100)) 3000; done
for ((n = 0; n < 30; n++)); do
    taken=$(count '^next')
    syncd_start
    deadline=$((SECONDS + 10))
    until [ "$(count '^next')" -gt "$taken" ]; do
        [ $SECONDS -lt $deadline ] || die "syncd takes no batch after kill $n"
    done
    sleep "0.00$((RANDOM % 10))" # the moment itself is what is tried
    syncd_kill
    if all_done; then break; fi
done
interrupted=$(($(count '^next') - $(count '^ack')))
echo "# $((n + 1)) kills, $interrupted batches interrupted"
[ $interrupted -ge 3 ] || die "the kills came at the wrong moments: nothing was tried"
syncd_start
wait_until 60 "every batch is acknowledged" all_done
check_store
for ((n = 0; n < 40; n++)); do
    acked $((2000 + n * 100)) $((2099 + n * 100)) || die "batch $n was not acknowledged exactly once"
done
[ "$(count '^(refuse|wrong-digest)')" -eq 0 ] || die "a batch was refused"
syncd_stop

echo "# another CA, another name: nothing is sent"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=127.0.0.1 \
    -addext subjectAltName=IP:127.0.0.1 -keyout "$test_dir/other.key" -out "$test_dir/other.pem" 2>/dev/null
batch 9000 9001
lines() { wc -l <"$KEYLINE_ROOT/upstream/access.log"; }
before=$(lines)
for bad in "url = $upstream_url|ca_file = $test_dir/other.pem" "url = $upstream_url" \
    "url = https://localhost:$port|ca_file = $KEYLINE_ROOT/upstream/server.pem"; do
    IFS='|' read -r -a settings <<<"$bad"
    upstream_configure "${settings[@]}"
    forget
    syncd_start
    wait_until 20 "refused: $bad" heard '^report offline UpstreamUntrusted '
    syncd_stop
done
[ "$before" -eq "$(lines)" ] || die "something was sent to a server that is not to be trusted"
upstream_configure "url = $upstream_url" "ca_file = $test_dir/none.pem"
forget
syncd_start
wait_until 20 "a missing CA file is named" heard '^report offline Config .*ca_file'
syncd_stop
[ "$before" -eq "$(lines)" ] || die "something was sent without a CA"

echo "# the right one again"
upstream_configure "${good[@]}"
syncd_start
wait_until 20 "the batch is acknowledged" acked 9000 9001
syncd_stop
check_store
echo "1 passed, 0 failed"
