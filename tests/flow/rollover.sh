#!/usr/bin/env bash
# A CA rolled over under a running appliance: devices that were certified before and not finished, devices that come
# after. Each must end with a certificate and the chain that belongs to it, whatever the station's chain is by then.
. "$(dirname "$(readlink -f "$0")")/../lib.sh"
test_dir=$(mktemp -d /tmp/keyline-flow.XXXXXX)
chmod 755 "$test_dir"
appliance_new "$test_dir/a" >/dev/null
root=$KEYLINE_ROOT/etc/ca/root.pem
appliance_start 4
keyline group add sensors >/dev/null
keyline-sim manifest --devices 12 --group sensors >"$test_dir/manifest.csv"
keyline job import "$test_dir/manifest.csv" --name line >/dev/null
approve line >/dev/null
keyline device list --job line --columns hwid,name >"$test_dir/all"
head -n 4 "$test_dir/all" >"$test_dir/before"
sed -n 5,8p "$test_dir/all" >"$test_dir/torn"

# fleet LIST [OPTIONS...]
fleet() {
    keyline-sim fleet --slots 4 --ports "$KEYLINE_ROOT/ports" --flash "$KEYLINE_ROOT/flash" --list "$@" \
        </dev/null >>"$KEYLINE_ROOT/fleet.log" 2>&1
}
signerd() { keyline status --json | jq -e '.signer.up and .signer.error == null'; }
issued_under() { keyline status --json | jq -r '.signer.ca_subject'; }

fleet "$test_dir/before" || die "the first devices did not pass"
old=$(issued_under)
# certified, pulled before the certificate was in the device
timeout 3 keyline-sim fleet --slots 4 --ports "$KEYLINE_ROOT/ports" --flash "$KEYLINE_ROOT/flash" --list "$test_dir/torn" \
    --faults 'pull@certified:100%*0' </dev/null >>"$KEYLINE_ROOT/fleet.log" 2>&1 && die "these were to be pulled" || true
[ "$(job_field line registered)" -eq 4 ] || die "a pulled device passed"

keyline ca rollover >/dev/null
renewed() { [ "$(issued_under)" != "$old" ] && signerd; }
wait_until 20 "the signer works with the new CA" renewed
fleet "$test_dir/all" --tries 20 || true # the four that are done are told so
wait_until 20 "all devices are registered" registered_at_least line 12

# What lies in each device: certificate and chain fit, up to the one root that was there from the beginning.
python3 - "$KEYLINE_ROOT/flash" "$test_dir" <<'PYTHON'
import base64, pathlib, sys
def split(der):
    while der:
        n = 4 + int.from_bytes(der[2:4], "big")  # certificates have two bytes of length
        yield der[:n]
        der = der[n:]
def pem(der):
    return "-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der).decode() + "-----END CERTIFICATE-----\n"
for device in pathlib.Path(sys.argv[1]).iterdir():
    out = pathlib.Path(sys.argv[2]) / "devices" / device.name
    out.mkdir(parents=True)
    for name in "certificate", "chain":
        der = (device / name).read_bytes()[36:]  # behind the device library's own head
        (out / (name + ".pem")).write_text("".join(map(pem, split(der))))
PYTHON
under_old=0
for d in "$test_dir"/devices/*; do
    openssl verify -x509_strict -purpose sslclient -CAfile "$root" -untrusted "$d/chain.pem" "$d/certificate.pem" >/dev/null ||
        die "$(basename "$d"): its chain is not its certificate's"
    issuer=$(openssl x509 -in "$d/certificate.pem" -noout -issuer -nameopt oneline)
    [ "$(openssl x509 -in "$d/chain.pem" -noout -subject -nameopt oneline)" = "subject=${issuer#issuer=}" ] ||
        die "$(basename "$d"): the chain does not begin with the issuer"
    case $old in *"${issuer##*CN = }") under_old=$((under_old + 1)) ;; esac
done
[ "$(find "$test_dir/devices" -mindepth 1 -maxdepth 1 | wc -l)" -eq 12 ] || die "not every device has its credentials"
[ $under_old -eq 8 ] || die "$under_old devices have certificates of the old CA, not 8"
keyline ca show --json | jq -e '.retired | length == 1' >/dev/null || die "ca show does not tell the retired CA"

# Each CA has its list, and a certificate of the old one is revoked on the old one's, signed with the old key.
two_lists() { keyline ca crl --json | jq -e '.crls | length == 2 and all(.number > 0 and .error == null)'; }
wait_until 20 "both CAs have a CRL" two_lists
first=$(head -n 1 "$test_dir/before" | cut -f 2)
keyline device revoke "$first" --reason keyCompromise --passphrase-file "$KEYLINE_ROOT/approver.passphrase" --yes >/dev/null
on_the_old() { keyline ca crl --json | jq -e '[.crls[].revoked] == [0, 1]'; }
wait_until 20 "the revoked certificate is on the retired CA's list" on_the_old
retired=$(keyline ca crl --json | jq -r '.crls[1].file')
openssl crl -inform DER -in "$retired" -CAfile "$(echo "$KEYLINE_ROOT"/etc/ca/retired/*.pem)" -noout 2>&1 | grep -q 'verify OK' ||
    die "the retired CA's list is not signed by its key"
echo "1 passed, 0 failed"
