#!/usr/bin/env bash
# keyline doctor: a good station has nothing wrong; then one thing after the other is broken, each must be named.
. "$(dirname "$(readlink -f "$0")")/../lib.sh"
test_dir=$(mktemp -d /tmp/keyline-flow.XXXXXX)
chmod 755 "$test_dir"
# the first day: nothing is there to be started, and nothing to be written by hand
first_day=$test_dir/first
mkdir "$first_day"
for verb in status "job list"; do
    KEYLINE_ROOT=$first_day keyline $verb >"$test_dir/said" 2>&1 && die "$verb: there is no appliance"
    grep -q "There is no CA yet: .*'keyline init'" "$test_dir/said" || die "$verb on the first day: $(cat "$test_dir/said")"
done
KEYLINE_ROOT=$first_day keyline doctor --json >"$test_dir/said" && die "doctor: all is well without a CA"
jq -e '.checks[] | select(.check == "token PIN") | .next | contains("keyline init")' "$test_dir/said" >/dev/null ||
    die "the PIN is to be written by hand: $(cat "$test_dir/said")"

appliance_new "$test_dir/a" >/dev/null
etc=$KEYLINE_ROOT/etc lib=$KEYLINE_ROOT/lib

# says CHECK VERDICT [WORDS]: that check's line; the exit status must be that of the worst one.
says() {
    local status=0 worst
    keyline doctor --json >"$test_dir/doctor.json" || status=$?
    jq -e --arg c "$1" --arg v "$2" --arg w "${3:-}" \
        '.checks[] | select(.check == $c) | .verdict == $v and (.message | contains($w))' "$test_dir/doctor.json" \
        >/dev/null || die "wanted $1 $2 '${3:-}', got: $(jq -c --arg c "$1" '.checks[] | select(.check == $c)' "$test_dir/doctor.json")"
    jq -e '.checks | all(.verdict == "OK" or .next != "")' "$test_dir/doctor.json" >/dev/null ||
        die "something is wrong and nothing says what to do: $(cat "$test_dir/doctor.json")"
    worst=$(jq -r '{OK: 0, WARN: 1, FAIL: 2}[.verdict]' "$test_dir/doctor.json")
    [ "$status" -eq "$worst" ] || die "exit status $status, and the worst is $worst"
}
keep() { cp -a "$1" "$test_dir/kept"; }
restore() { rm -rf "$1"; mv "$test_dir/kept" "$1"; }

says "put away" WARN token.so-pin
rm "$etc/token.so-pin"
says "put away" WARN approver.key
mv "$etc/approver.key" "$test_dir/"
says "put away" OK
keyline doctor >"$test_dir/said" || die "a good station: $(cat "$test_dir/said")"
grep -q '^OK .*issuing CA' "$test_dir/said"
says appliance OK "does not run"

echo 'no section' >>"$etc/keyline.conf"
says configuration FAIL
sed -i '$d' "$etc/keyline.conf"
configure access 'jobs_user = nobody-has-this-name'
says users FAIL nobody-has-this-name
sed -i '$d' "$etc/keyline.conf"
configure slot\ 01 'port = /dev/no-such-port' 'driver = keyline'
says slots WARN no-such-port
sed -i '/^\[slot 01\]/,$d' "$etc/keyline.conf"
configure token 'module = /no/such/module.so'
says token FAIL "[token] /no/such/module.so"
sed -i '/^\[token\]$/,$d' "$etc/keyline.conf"

configure 'token two' 'label = two' 'module = /no/such/second.so'
says token FAIL "[token two] /no/such/second.so"
says "token PIN" FAIL token.two.pin
sed -i '/^\[token two\]$/,$d' "$etc/keyline.conf"

keep "$etc/token.pin"
chmod 644 "$etc/token.pin"
says secrets FAIL token.pin
says "token PIN" FAIL
rm "$etc/token.pin"
says "token PIN" FAIL
restore "$etc/token.pin"

object=$(find "$lib/signer/tokens" -name token.object)
keep "$object"
: >"$object"
says "token files" FAIL empty
restore "$object"
keep "$lib/signer/tokens"
rm -r "$lib/signer/tokens"
says "token files" FAIL
restore "$lib/signer/tokens"
keep "$lib/signer/tokens.backup"
rm -r "$lib/signer/tokens.backup"
says "token copy" FAIL
restore "$lib/signer/tokens.backup"

keep "$etc/ca"
rm "$etc/ca/root.pem"
says "CA chain" WARN root.pem
openssl x509 -in "$etc/ca/chain.pem" >"$test_dir/first.pem"
cp "$test_dir/first.pem" "$etc/ca/chain.pem"
says "CA chain" FAIL "the root is missing"
echo rubbish >"$etc/ca/chain.pem"
says "CA chain" FAIL
rm "$etc/ca/chain.pem"
says "CA chain" FAIL
restore "$etc/ca"
keyline ca request --out "$test_dir/issuing.csr" 2>/dev/null
says "CA request" WARN "waits since"
keyline ca request --give-up >/dev/null
echo 0011223344556677 >"$etc/ca/request.key"
says "CA request" WARN "cut off"
rm "$etc/ca/request.key"
says "token copy" OK

# certificates that end soon, by a root played by openssl
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=root -days "${root_days:-4000}" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
    -keyout "$test_dir/root.key" -out "$test_dir/root.pem" 2>/dev/null
issue() { # issue DAYS: an issuing CA that lasts so long
    keyline ca request --out "$test_dir/issuing.csr" 2>/dev/null
    openssl x509 -req -in "$test_dir/issuing.csr" -CA "$test_dir/root.pem" -CAkey "$test_dir/root.key" -CAcreateserial \
        -copy_extensions copyall -days "$1" -out "$test_dir/issuing.pem" 2>/dev/null
    cat "$test_dir/issuing.pem" "$test_dir/root.pem" >"$test_dir/chain.pem"
    keyline ca import --yes "$test_dir/chain.pem" >/dev/null
}
issue 1000
says "issuing CA" OK
issue 300
says "issuing CA" WARN "for "
issue 50
says "issuing CA" FAIL "for "
openssl req -x509 -key "$test_dir/root.key" -subj /CN=root -days 700 -addext basicConstraints=critical,CA:TRUE \
    -addext keyUsage=critical,keyCertSign,cRLSign -out "$test_dir/root.pem" 2>/dev/null
issue 600
says "issuing CA" OK
says "root CA" WARN "for "

keep "$etc/approvers.pem"
rm "$etc/approvers.pem"
says approvers FAIL
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=soon -days 9 -keyout /dev/null \
    -out "$etc/approvers.pem" 2>/dev/null
says approvers WARN
restore "$etc/approvers.pem"

# a CRL: one in time, one that should have been renewed
mkdir -p "$lib/crl"
printf '[ca]\ndefault_ca=d\n[d]\ndatabase=%s/index\ncrlnumber=%s/number\ndefault_md=sha256\n' "$test_dir" "$test_dir" >"$test_dir/ca.conf"
: >"$test_dir/index"
echo 01 >"$test_dir/number"
crl() {
    openssl ca -gencrl -config "$test_dir/ca.conf" -cert "$test_dir/root.pem" -keyfile "$test_dir/root.key" "$@" 2>/dev/null |
        openssl crl -outform DER -out "$lib/crl/aa.crl"
}
crl -crldays 7
says CRL WARN "1 CRLs for"
crl -crl_lastupdate 20200101000000Z -crl_nextupdate 20200108000000Z
says CRL FAIL 2020-01-08
echo rubbish >"$lib/crl/aa.crl"
says CRL FAIL "cannot be read"
rm -r "$lib/crl"

# with the appliance
appliance_start 1
says appliance OK "it runs"
says signer OK "2 workers"
says books OK "are there"
# what hangs is not what does not run
hung_signer=$(pgrep -P "$run_pid" -x signerd)
kill -STOP "$hung_signer"
says signer FAIL "timed out"
keyline status | grep -q '^ *Registry ' || die "a signer that hangs hides the registry"
kill -CONT "$hung_signer"
hung_jobd=$(pgrep -P "$run_pid" -x jobd)
kill -STOP "$hung_jobd"
says appliance FAIL "jobd does not answer"
if timeout 20 keyline status 2>"$test_dir/said"; then die "a jobd that hangs has a status"; fi
grep -q 'jobd: .*\[Timeout\]' "$test_dir/said" || die "the status does not name jobd: $(cat "$test_dir/said")"
kill -CONT "$hung_jobd"
appliance_stop
touch -d '+1 hour' "$lib/signer/ledger" # now that no signer writes to it
says clock FAIL "later than now"
touch "$lib/signer/ledger"
# a ledger that is not whole: the signer comes up all the same, and says so
cp -a "$lib/signer/ledger" "$test_dir/whole"
printf X | dd of="$lib/signer/ledger" bs=1 seek=60 conv=notrunc status=none
appliance_start 1
damaged() { keyline status --json | jq -e '.signer.up and .signer.error.name == "Ledger"'; }
wait_until 20 "the damage is seen" damaged
says books FAIL "damaged at byte"
says signer FAIL "damaged at byte"
keyline status >"$test_dir/said"
grep -q "damaged at byte" "$test_dir/said" || die "the status does not show it: $(cat "$test_dir/said")"
grep -q "Certificates issued" "$test_dir/said" && die "a refused ledger has counted: $(cat "$test_dir/said")"
keyline status --json | jq -e '.signer | has("issued") and .issued == null' >/dev/null || die "issued is not null: $(keyline status --json)"
appliance_stop
cp -a "$test_dir/whole" "$lib/signer/ledger"
keep "$lib/signer/ledger"
rm -r "$lib/signer/ledger"
says books FAIL "no ledger"
restore "$lib/signer/ledger"
says books OK
# a signer that cannot log in
cp -a "$etc/token.pin" "$test_dir/kept"
echo 00000000 >"$etc/token.pin"
appliance_start 1
refused() { keyline status --json | jq -e '.signer.error.name == "TokenPin"'; }
wait_until 20 "the PIN is refused" refused
says signer FAIL PIN
restore "$etc/token.pin"
echo "1 passed, 0 failed"
