#!/usr/bin/env bash
# Devices that cannot make their keys: refused unless ticket and signer both allow it, then certified and flagged
# everywhere; processes killed in between; and the private keys are nowhere but in the devices.
. "$(dirname "$(readlink -f "$0")")/../lib.sh"
. "$lib_dir/flow/books.sh"
test_dir=$(mktemp -d /tmp/keyline-flow.XXXXXX)
chmod 755 "$test_dir"
slots=4
appliance_new "$test_dir/a" >/dev/null
upstream_start
configure upstream "url = $upstream_url" "ca_file = $KEYLINE_ROOT/upstream/server.pem" "interval_s = 1"
appliance_start $slots
keyline group add sensors >/dev/null

# job NAME COUNT SEED [IMPORT OPTIONS]: an approved job of its own devices
job() {
    keyline-sim manifest --devices "$2" --group sensors --seed "$3" | sed "s/sensor-/$1-/g" >"$test_dir/$1.csv"
    keyline job import "$test_dir/$1.csv" --name "$1" "${@:4}" >/dev/null
    approve "$1" >"$test_dir/$1.approval"
}
errors_of() { keyline job report "$1" --json | jq -r '[.summary.failures[] | "\(.error):\(.count)"] | join(" ")'; }
summary() { keyline job report "$1" --json | jq -c ".summary.$2"; }
sql() { sqlite3 "$KEYLINE_ROOT/lib/jobs/registry.db" "$1"; }

# 1. The job does not allow it: the approver signed for keys born in devices.
job plain 2 1
fleet_start plain $slots --tries 1 --no-keygen
fleet_wait && die "a device without a key passed in a job that does not allow keys made elsewhere" || true
[ "$(errors_of plain)" = "KeyOrigin:2" ] || die "a job without keys=signer ends in: $(errors_of plain)"
keyline job report plain --json | jq -r '.summary.failures[0].message' | grep -q "its job does not allow" ||
    die "the message does not say that the job does not allow it"

# 2. The job allows it, this signer does not.
job line 24 2 --keys signer
grep -qi "keys" "$test_dir/line.approval" || die "the approver is not told about the keys"
[ "$(job_field line keys)" = signer ] || die "the job does not show where its keys are born"
fleet_start line $slots --tries 1 --no-keygen
fleet_wait && die "a device got a key from a signer that makes none" || true
keyline job report line --json | jq -r '.summary.failures[0].message' | grep -q "born_keys" ||
    die "the message does not name [signer] born_keys"

# 3. Both allow it. Some devices are pulled or fall silent as the key is brought; signerd and slotd are killed meanwhile.
configure signer "born_keys = yes"
appliance_stop
appliance_start $slots
fleet_start line $slots --tries 50 --no-keygen --seed 3 \
    --faults 'pull@keybrought:20%,silent@keybrought:10%,midframe@keybrought:10%,pull@csr:15%,pull@certified:15%,noise:10%'
for name in signerd slotd jobd signerd slotd; do
    before=$(job_field line registered 2>/dev/null || echo 0)
    [ "$before" -lt 20 ] || break
    pid=$(ours $name | shuf -n 1)
    [ -z "$pid" ] || kill -KILL "$pid"
    wait_until 90 "the job goes on after kill -9 of $name" registered_at_least line $((before + 2))
done
wait_until 240 "every device is registered" registered_at_least line 24
fleet_wait || echo "devices that were registered but got no verdict: $(grep -c '^failed' "$KEYLINE_ROOT/fleet.log")"
check_books line 24
[ "$(summary line keys_from_signer)" = 24 ] || die "the report counts $(summary line keys_from_signer) keys made by the signer, not 24"

# The keys are in the devices, and nowhere else: not in a file, not in a process that was part of it.
# shellcheck disable=SC2046
"$lib_dir/flow/find_secrets.py" "$KEYLINE_ROOT/flash" "$KEYLINE_ROOT" "$run_pid" $(ours signerd) $(ours jobd) $(ours slotd) $(ours syncd) ||
    die "a private key lies where it must not"

# 4. Devices that can make their keys make them, in the same kind of job; they are not flagged.
job able 4 4 --keys signer
fleet_start able $slots
fleet_wait || die "devices that make their keys did not pass: $(tail -n 3 "$KEYLINE_ROOT/fleet.log")"
[ "$(summary able keys_from_signer)" = 0 ] || die "keys born in devices are flagged as made by the signer"

# 5. Devices with a transport key. The rows name it: another one is refused, whoever shows it.
keyline-sim manifest --devices 4 --group sensors --seed 5 | sed 's/sensor-/sealed-/g' >"$test_dir/bare.csv"
mkdir -p "$KEYLINE_ROOT/flash"
row=0
while IFS= read -r line; do
    if [ $row = 0 ]; then
        echo "$line,transport_key"
    else
        hwid=$(grep -o 'SN[0-9A-F]\{8\}[0-9]*' <<<"$line")
        mkdir -p "$KEYLINE_ROOT/flash/$hwid"
        openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -outform DER -out "$KEYLINE_ROOT/flash/$hwid/transport" 2>/dev/null
        echo "$line,$(openssl pkey -inform DER -in "$KEYLINE_ROOT/flash/$hwid/transport" -pubout -outform DER 2>/dev/null | base64 -w0)"
        [ $row != 1 ] || stolen=$hwid
    fi
    row=$((row + 1))
done <"$test_dir/bare.csv" >"$test_dir/sealed.csv"
keyline job import "$test_dir/sealed.csv" --name sealed --keys signer >/dev/null
approve sealed >/dev/null
# One device shows another transport key than its row's: as if somebody sat in between.
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -outform DER -out "$KEYLINE_ROOT/flash/$stolen/transport" 2>/dev/null
fleet_start sealed $slots --tries 1 --no-keygen --transport-key
fleet_wait && die "a key was wrapped for a transport key that the approver did not sign for" || true
[ "$(job_field sealed registered)" = 3 ] || die "$(job_field sealed registered) devices with their transport key passed, not 3"
[ "$(errors_of sealed)" = "KeyOrigin:1" ] || die "another transport key ends in: $(errors_of sealed)"
[ "$(summary sealed keys_from_signer)" = 3 ] || die "keys wrapped for their devices are not flagged"
# shellcheck disable=SC2046
"$lib_dir/flow/find_secrets.py" "$KEYLINE_ROOT/flash" "$KEYLINE_ROOT" $(ours signerd) $(ours jobd) $(ours slotd) ||
    die "a private key lies where it must not"

# 6. Flagged for ever: registry, report, device show, audit events, records upstream.
wait_until 60 "upstream acknowledges every record" synced
check_certificates 31
[ "$(sql "SELECT count(*) FROM certificate WHERE key_origin = 'signer'")" = 27 ] || die "the registry's certificates are not flagged"
[ "$(sql "SELECT count(*) FROM event WHERE type = 'certificate.issued' AND data LIKE '%\"key_origin\":\"signer\"%'")" = 27 ] ||
    die "the events of certificates are not flagged"
[ "$(sql "SELECT count(DISTINCT subject) FROM event WHERE type = 'key.made'")" -ge 27 ] || die "making a key is no event"
[ "$(upstream_records | jq -c 'select(.type == "device.registered" and .key_origin == "signer")' | wc -l)" = 27 ] ||
    die "the records upstream are not flagged"
[ "$(upstream_records | jq -c 'select(.type == "device.registered" and .key_origin == "device")' | wc -l)" = 4 ] ||
    die "the records of keys born in devices are wrong"
keyline job report line --csv "$test_dir/line-report.csv" >/dev/null
[ "$(grep -cE ',"?signer"?,' "$test_dir/line-report.csv")" -ge 24 ] || die "the report's file is not flagged"
keyline device show line-000001 | grep -q "Key made by *the signer" || die "device show does not say who made the key"
keyline device show able-000001 | grep -q "Key made by" && die "device show flags a key born in its device" || true
echo "1 passed, 0 failed"
