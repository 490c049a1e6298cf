#!/usr/bin/env bash
# A second certificate, and none: devices of a terminated job are certified anew, certificates are revoked, and everybody
# who looks sees it: the CRL's verifiers, upstream, the reports of both jobs.
. "$(dirname "$(readlink -f "$0")")/../lib.sh"
. "$lib_dir/flow/books.sh"
test_dir=$(mktemp -d /tmp/keyline-flow.XXXXXX)
chmod 755 "$test_dir"
count=6
appliance_new "$test_dir/a" >/dev/null
upstream_start
configure upstream "url = $upstream_url" "ca_file = $KEYLINE_ROOT/upstream/server.pem" "interval_s = 1"
appliance_start 2
pass=(--passphrase-file "$KEYLINE_ROOT/approver.passphrase")
m=$test_dir/m.csv

# refuse WORDS COMMAND...: must fail, and say WORDS.
refuse() {
    local words=$1 out
    shift
    out=$("$@" 2>&1 </dev/null) && die "must be refused: $*"
    grep -qE -- "$words" <<<"$out" || die "'$*' does not say '$words' but: $out"
}
# says WORDS COMMAND...: must succeed, and say WORDS.
says() {
    local words=$1 out
    shift
    out=$("$@" 2>&1 </dev/null) || die "'$*' failed: $out"
    grep -qE -- "$words" <<<"$out" || die "'$*' does not say '$words' but: $out"
}
summary() { keyline job report "$1" --json | jq -r ".summary.$2"; }
crl() { keyline ca crl --json | jq -r ".crls[0].$1"; }
crl_is() { [ "$(crl "$1")" = "$2" ]; }
# cert DEVICE N: its Nth certificate, the newest first, into a file whose name is printed.
cert() {
    keyline device show "$1" --json | jq -r ".certificates[$2].pem" >"$test_dir/$1.$2.pem"
    echo "$test_dir/$1.$2.pem"
}
# verifies CERTIFICATE: with the CRL that is published now
verifies() {
    keyline ca crl --pem >"$test_dir/crl.pem"
    openssl verify -crl_check -CAfile "$KEYLINE_ROOT/etc/ca/root.pem" -untrusted "$KEYLINE_ROOT/etc/ca/chain.pem" \
        -CRLfile "$test_dir/crl.pem" "$1"
}

# The first start publishes an empty list, for everybody to read.
wait_until 20 "the first CRL" crl_is number 1
[ "$(crl revoked)" = 0 ] || die "the first CRL has entries"
[ "$(stat -c %a "$(crl file)")" = 644 ] || die "not everybody may read the CRL"

# Devices that were certified, and refused what came then; the job is given up.
keyline group add sensors >/dev/null
keyline-sim manifest --devices $count --group sensors >"$m"
keyline job import "$m" --name first >/dev/null
approve first >/dev/null
fleet_start first 2 --tries 1 --faults refuse@install:100%
fleet_wait || true
[ "$(summary first failed)" = $count ] || die "the devices did not fail"
keyline job terminate first --reason "wrong firmware" >/dev/null
name=$(keyline device list --job first --columns name | head -n 1)
[ -n "$name" ] || die "a certified device was forgotten with its job"
old=$test_dir/old.pem
cp "$(cert "$name" 0)" "$old"
verifies "$old" >/dev/null || die "its certificate is not valid"

# An ordinary job cannot have them; a re-issue job can, once, and takes them when it is approved.
refuse "--reissue" keyline job import "$m" --name second
keyline job import "$m" --name second --reissue >/dev/null
refuse "^device_name: device '$name' waits in re-issue job 'second' already: approve or reject" keyline device reissue "$name"
keyline job reject second --reason "try again" >/dev/null
keyline job import "$m" --name third --reissue >/dev/null
[ "$(summary third untouched)" = $count ] || die "the re-issue job does not report its rows"
says "Re-issue" keyline job approve third --yes "${pass[@]}"
[ "$(summary first failed)" = $count ] || die "the first job lost what it has to report"
fleet_start third 2
fleet_wait || die "a device did not get its second certificate"
[ "$(job_field third state)" = Completed ] || die "the re-issue job is not completed"
[ "$(summary third "first_pass_yield == 1")" = true ] || die "first runs of a re-issue job are not counted as such"
[ "$(summary first failed) $(job_field first registered)" = "$count 0" ] || die "the first job's report has changed"
wait_until 20 "the old certificates are on the CRL" crl_is revoked $count
verifies "$(cert "$name" 0)" >/dev/null || die "the new certificate is refused"
verifies "$old" >/dev/null 2>&1 && die "the old certificate is still valid"
[ "$(keyline device show "$name" --json | jq -r '[.certificates[].state] | join(" ")')" = "valid revoked" ] ||
    die "the registry does not say which certificate is valid"

# Revoked: by an approver only; once; from elsewhere.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=Mallory -days 1 \
    -keyout "$test_dir/mallory.key" -out "$test_dir/mallory.pem" 2>/dev/null
refuse "UntrustedApprover|trust" keyline device revoke "$name" --reason superseded --yes \
    --key "$test_dir/mallory.key" --cert "$test_dir/mallory.pem"
refuse "certificateHold" keyline device revoke "$name" --reason certificateHold --yes "${pass[@]}"
refuse "none of" keyline device revoke "$name" --reason boredom --yes "${pass[@]}"
refuse "keyline device show" keyline device revoke "$name" --reason superseded "${pass[@]}"
says "^Revoked" keyline device revoke "$name" --reason keyCompromise --yes "${pass[@]}"
wait_until 20 "the CRL follows a revocation" crl_is revoked $((count + 1))
verifies "$(cert "$name" 0)" >/dev/null 2>&1 && die "a revoked certificate is valid"
[ "$(keyline device show "$name" --json | jq -r .device.status)" = Disabled ] || die "the device is not disabled"
refuse "no valid certificate: the newest was revoked at 20.*, keyCompromise \\[BadState\\]" keyline device revoke "$name" --reason superseded --yes "${pass[@]}"
other=$(keyline device list --job third --columns name | tail -n 1)
id=$(keyline device show "$other" --json | jq -r .device.id)
serial=$(keyline device show "$other" --json | jq -r '.certificates[0].serial')
(
    cd /
    keyline device revoke "$id" --serial "$serial" --reason cessationOfOperation --yes "${pass[@]}" \
        --order-out "$test_dir/order" >/dev/null
)
says "^Revoked" keyline device revoke --order "$test_dir/order"
says "before" keyline device revoke --order "$test_dir/order"
# Their keys were stolen, it turns out: the newest certificate's, and that of one that was superseded.
says "reason was cessationOfOperation and is keyCompromise now" keyline device revoke "$other" --reason keyCompromise --yes "${pass[@]}"
refuse "keyCompromise, already \\[BadState\\]" keyline device revoke "$other" --reason keyCompromise
refuse "no valid certificate" keyline device revoke "$other" --reason superseded --yes "${pass[@]}"
refuse "no such certificate" keyline device revoke "$other" --serial 77 --reason superseded --yes "${pass[@]}"
old_serial=$(openssl x509 -in "$old" -noout -serial | cut -d= -f2)
says "reason was superseded" keyline device revoke "$name" --serial "$old_serial" --reason keyCompromise --yes "${pass[@]}"
stolen() { openssl crl -inform DER -in "$(crl file)" -noout -text | grep -c "Key Compromise"; }
all_stolen() { [ "$(stolen)" = 3 ]; }
wait_until 20 "the CRL says that the keys were stolen" all_stolen
[ "$(crl revoked)" = $((count + 2)) ] || die "a certificate is revoked twice"
sed -i 's/./X/100' "$test_dir/order"
refuse "BadOrder|UntrustedApprover|order" keyline device revoke --order "$test_dir/order"

# A new certificate for the first: its old key is never certified again, and a sealed device takes nothing.
keyline device reissue "$name" --name fourth >/dev/null
approve fourth >/dev/null
fleet_start fourth 1 --tries 1
fleet_wait && die "a sealed device took a new certificate"
[ "$(keyline device show "$name" --json | jq -r '.runs[0].error')" = DeviceSealed ] || die "the screen does not say that it is sealed"
mv "$KEYLINE_ROOT/flash" "$KEYLINE_ROOT/flash.old" # its board is replaced
fleet_start fourth 1
fleet_wait || die "the replaced device did not get a certificate"
[ "$(keyline device show "$name" --json | jq -r '.device | .state + " " + .status')" = "Registered Enabled" ] ||
    die "the device with its new certificate is not enabled"
verifies "$(cert "$name" 0)" >/dev/null || die "its third certificate is refused"

# A withdrawn job: nothing more, whatever its ticket says.
printf 'device_name,hwid\nlast,LAST-1\n' >"$m"
keyline job import "$m" --name fifth --group sensors >/dev/null
approve fifth >/dev/null
says "^Withdrawn" keyline job withdraw fifth --yes "${pass[@]}"
[ "$(job_field fifth state)" = Terminated ] || die "a withdrawn job goes on"

# What was done is written down: in the ledger, and upstream, once each.
keyline ca ledger --limit 1000 --columns type | sort | uniq -c | awk '{print $2 "=" $1}' >"$test_dir/ledger"
grep -qx "issued=$((2 * count + 1))" "$test_dir/ledger" || die "the ledger does not list what was issued: $(cat "$test_dir/ledger")"
grep -qx "revoked=$((count + 4))" "$test_dir/ledger" || die "the ledger does not list what was revoked: $(cat "$test_dir/ledger")"
grep -qx "withdrawn=1" "$test_dir/ledger" || die "the ledger does not list the withdrawal"
[ "$(keyline ca ledger --device "$name" --limit 2 --json | jq '.entries | length')" = 2 ] || die "a device's entries are not found"
wait_until 20 "a list that lacks nothing" crl_is revoked $((count + 2))
number=$(crl number)
sleep 10 # a younger list would be given out as it is
keyline ca crl --now --out "$test_dir/new.crl" 2>"$test_dir/said"
[ "$(crl number)" -eq $((number + 1)) ] || die "no new CRL on demand"
[ ! -s "$test_dir/said" ] || die "a new CRL is made, and it says: $(cat "$test_dir/said")"
says "no CRL was made anew" keyline ca crl --now --out "$test_dir/new.crl"
[ "$(crl number)" -eq $((number + 1)) ] || die "a CRL that was just made is made again"
openssl crl -inform DER -in "$test_dir/new.crl" -noout -verify -CAfile "$KEYLINE_ROOT/etc/ca/chain.pem" 2>&1 |
    grep -q "verify OK" || # it ends with 0, too, when it has said "verify failure"
    die "the CRL that was given out does not verify"
wait_until 30 "everything is upstream" synced
[ "$(upstream_records | jq -r 'select(.type == "device.revoked") | .reason' | sort | tr '\n' ' ')" = \
    "cessationOfOperation keyCompromise keyCompromise keyCompromise " ] || die "upstream was not told of each revocation once"
[ "$(upstream_records | jq -r 'select(.type == "device.registered").serial' | sort -u | wc -l)" = $((count + 1)) ] ||
    die "upstream does not have each new certificate"
keyline device show "$name" --json | jq -e .device.synced >/dev/null || die "the newest record of a device did not arrive"

# Nothing of it is forgotten in a restart, and no list is made for nothing.
number=$(crl number)
appliance_stop
appliance_start 2
[ "$(keyline status --json | jq -r '.signer.crls[0] | "\(.number) \(.overdue) \(.revoked)"')" = "$number false $((count + 2))" ] ||
    die "after a restart the signer knows another CRL"
rm "$(crl file)"
appliance_stop
appliance_start 2
wait_until 20 "a lost CRL comes back" crl_is number $((number + 1))
echo "re-issued $((count + 1)), revoked $((count + 2)), CRL number $(crl number)"
echo "1 passed, 0 failed"
