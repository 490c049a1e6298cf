#!/usr/bin/env bash
# Approving on another computer with a card: the request leaves the station as a file, a key in a PKCS#11 token signs where
# there is no appliance, the ticket comes back, and devices are certified with it. And everything that can go wrong on the way.
. "$(dirname "$(readlink -f "$0")")/../lib.sh"
. "$lib_dir/flow/books.sh"
: "${CARD_MODULE:?the PKCS#11 module that plays a card}"
test_dir=$(mktemp -d /tmp/keyline-flow.XXXXXX)
chmod 755 "$test_dir"
cd "$test_dir" || exit

refuse() { # refuse WORDS COMMAND...: must fail, and say WORDS
    local words=$1 out
    shift
    out=$("$@" 2>&1 </dev/null) && die "must be refused: $*"
    grep -qE -- "$words" <<<"$out" || die "'$*' does not say '$words' but: $out"
}

# ---- two cards: Ada's has three keys, of which one has its certificate beside it; Bob's has one

cat >softhsm.conf <<CONF
directories.tokendir = $test_dir/cards
CONF
mkdir cards
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj '/CN=Approver CA' \
    -keyout ca.key -out ca.pem 2>/dev/null
printf 'keyUsage=critical,digitalSignature\nbasicConstraints=critical,CA:FALSE\n' >ext
card() { env SOFTHSM2_CONF="$test_dir/softhsm.conf" "$@"; }
card_new() { card softhsm2-util --init-token --free --label "$1" --so-pin 12345678 --pin 4321 >/dev/null; }
card_key() { # card_key TOKEN ID LABEL ALGORITHM OPTION: the key, and LABEL.pem from the approver CA
    openssl genpkey -algorithm "$4" -pkeyopt "$5" -out "$3.key" 2>/dev/null
    card softhsm2-util --import "$3.key" --token "$1" --label "$3" --id "$2" --pin 4321 >/dev/null
    openssl req -new -key "$3.key" -subj "/CN=$3" -out "$3.csr" 2>/dev/null
    openssl x509 -req -in "$3.csr" -CA ca.pem -CAkey ca.key -days 30 -extfile ext -out "$3.pem" 2>/dev/null
    rm "$3.key" "$3.csr" # it is on the card
}
card_cert() { # card_cert TOKEN ID FILE
    card env GNUTLS_PIN=4321 p11tool --provider /usr/lib/softhsm/libsofthsm2.so --login --write --load-certificate "$3" \
        --label "$(basename "$3" .pem)" --id "$2" "pkcs11:token=$1" >/dev/null 2>&1 || die "p11tool cannot write $3"
}
card_new Ada
card_key Ada 01 ada-p256 EC ec_paramgen_curve:P-256
card_key Ada 02 ada-p384 EC ec_paramgen_curve:P-384
card_key Ada 03 ada-rsa RSA rsa_keygen_bits:2048
card_cert Ada 01 ada-p256.pem
card_new Bob
card_key Bob 01 bob EC ec_paramgen_curve:P-256
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj '/CN=Eve' -keyout eve.key -out eve.pem 2>/dev/null
(umask 077 && echo 4321 >pin && echo 1111 >wrong-pin)

# ---- the station

appliance_new "$test_dir/station" >/dev/null
station() { KEYLINE_ROOT=$test_dir/station keyline "$@"; }
cp ca.pem "$test_dir/ada.pem"
cat ca.pem >>"$KEYLINE_ROOT/etc/approvers.pem"
appliance_start 2
station group add sensors >/dev/null
for job in p256 p384 rsa again; do
    keyline-sim manifest --devices 3 --group sensors | sed "s/sensor-/$job-/g;s/,SN/,$job/" >"$job.csv"
    station job import "$job.csv" --name "$job" >/dev/null
    station job request "$job" >"$job.request"
done
refuse 'nosuch.*NotFound' station job request nosuch

# ---- the other computer: no appliance, no configuration, a card

away() { card env KEYLINE_ROOT="$test_dir/nowhere" CARD_LOGINS="$test_dir/logins" "$@"; }
sign() { # sign JOB URI [OPTIONS...]
    away keyline job approve --request "$1.request" --manifest "$1.csv" --ticket-out "$1.ticket" --yes \
        --module "$CARD_MODULE" --key "$2" "${@:3}"
}
sign p256 "pkcs11:token=Ada;id=%01?pin-source=file:$test_dir/pin" >out
grep -q 'ada-p256' out || die "the approver's name is not shown: $(cat out)"
[ "$(wc -c <logins)" -eq 1 ] || die "one login was needed"
sign p384 "pkcs11:token=Ada;object=ada-p384?pin-source=$test_dir/pin" --cert ada-p384.pem >/dev/null
sign rsa "pkcs11:token=Ada;type=private;id=%03?pin-source=file://$test_dir/pin" --cert ada-rsa.pem >/dev/null
# the key's label leads to the certificate, whose label is another, and the module comes from the URI
away keyline job approve --request again.request --manifest again.csv --ticket-out again.ticket --yes \
    --key "pkcs11:token=Ada;object=ada-p256?module-path=$CARD_MODULE&pin-source=$test_dir/pin" >/dev/null
# a module that prints is not taken for the program, and is heard only when the card failed
CARD_NOISE=1 sign again "pkcs11:token=Ada;id=%01?pin-source=$test_dir/pin" >/dev/null 2>noise
[ ! -s noise ] || die "the module's own words are shown: $(cat noise)"

# ---- what goes wrong there: nothing is written, and a PIN is tried once

rm -f again.ticket logins
sign_refused() { # sign_refused WORDS URI [OPTIONS...]
    refuse "$1" sign again "${@:2}"
    [ ! -e again.ticket ] || die "a ticket was written all the same: ${*:2}"
}
early_refused() { # early_refused WORDS URI [OPTIONS...]: before anybody is asked to decide
    sign_refused "$@"
    ! sign again "${@:2}" 2>&1 </dev/null | grep -q 'To be approved' || die "the page comes before the fault: ${*:2}"
}
sign_refused 'CKR_PIN_INCORRECT .*tries are left.*CardPin' "pkcs11:token=Ada;id=%01?pin-source=$test_dir/wrong-pin"
[ "$(wc -c <logins)" -eq 1 ] || die "a wrong PIN was tried $(wc -c <logins) times"
CARD_FLAGS=20000 sign_refused 'one more wrong PIN locks.*--last-try.*CardPin' "pkcs11:token=Ada;id=%01?pin-source=$test_dir/pin"
[ "$(wc -c <logins)" -eq 1 ] || die "the last try was used without being told"
CARD_FLAGS=20000 sign_refused 'ONE try is left' "pkcs11:token=Ada;id=%01?pin-source=$test_dir/wrong-pin" --last-try
CARD_FLAGS=40000 sign_refused 'locked.*CardLocked' "pkcs11:token=Ada;id=%01?pin-source=$test_dir/pin"
[ "$(wc -c <logins)" -eq 2 ] || die "a locked card was tried"
early_refused 'no card fits; there are: .*token=Ada;serial=.*CardAbsent' "pkcs11:token=Eve;id=%01"
early_refused '2 cards fit: token=.*token=.*CardAmbiguous' "pkcs11:id=%01" --cert ada-p256.pem
sign_refused '3 private keys on the card fit: .*object=ada-rsa;id=%03.*CardAmbiguous' "pkcs11:token=Ada?pin-source=$test_dir/pin" \
    --cert ada-p256.pem
sign_refused 'no private key on the card fits; there are: .*id=%02.*CardAbsent' "pkcs11:token=Ada;id=%09?pin-source=$test_dir/pin" --cert ada-p256.pem
early_refused 'no certificate that fits: give it with --cert' "pkcs11:token=Bob;id=%01?pin-source=$test_dir/pin"
sign_refused "certificate is not for the approver's key" "pkcs11:token=Ada;id=%01?pin-source=$test_dir/pin" --cert bob.pem
sign_refused "certificate is not for the approver's key|algorithm" "pkcs11:token=Ada;id=%02?pin-source=$test_dir/pin" --cert ada-p256.pem
early_refused 'pin-value.*visible' "pkcs11:token=Ada;id=%01?pin-value=4321"
early_refused "'slot-id'.*not supported" "pkcs11:slot-id=1;id=%01"
early_refused 'passphrase' "pkcs11:token=Ada;id=%01" --passphrase-file pin
sign_refused 'no terminal' "pkcs11:token=Ada;id=%01"
early_refused 'not a PKCS#11 module|cannot be loaded' "pkcs11:token=Ada;id=%01" --module /etc/passwd
refuse '--module.*go with' away keyline job approve --request again.request --manifest again.csv --ticket-out x --yes --module "$CARD_MODULE"
refuse "root.*the request asks for" away keyline job approve --request again.request --manifest rsa.csv --ticket-out x --yes \
    --module "$CARD_MODULE" --key "pkcs11:token=Ada;id=%01"
chmod 644 pin
early_refused 'pin-source: .*chmod 600.*BadArgument' "pkcs11:token=Ada;id=%01?pin-source=$test_dir/pin"
early_refused 'pin-source: .*chmod 600.*BadArgument' "pkcs11:token=Ada;id=%01?pin-source=$test_dir/pin" --cert ada-p256.pem
chmod 600 pin
early_refused 'pin-source: .*does not exist' "pkcs11:token=Ada;id=%01?pin-source=$test_dir/nosuch" --cert ada-p256.pem
early_refused "'pin-source': it stands behind a '\?'" "pkcs11:token=Ada;id=%01&pin-source=$test_dir/pin" --cert ada-p256.pem
early_refused 'no card fits' "pkcs11:token=Eve;id=%01" --cert ada-p256.pem
CARD_NOISE=1 early_refused "the card's module: S: this module has something to say" "pkcs11:token=Eve;id=%01"

# the PIN at a terminal: asked for once, not shown
cat >typed.py <<'PY'
import os, pty, sys, termios, time
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
seen = b''
while b'PIN of the card' not in seen:
    seen += os.read(fd, 1000)
while termios.tcgetattr(fd)[3] & termios.ECHO: # the question comes first
    time.sleep(0.01)
os.write(fd, b'4321\n')
try:
    while True:
        more = os.read(fd, 1000)
        if not more:
            break
        seen += more
except OSError:
    pass
print(seen.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
PY
away python3 typed.py keyline job approve --request again.request --manifest again.csv --ticket-out again.ticket --yes \
    --module "$CARD_MODULE" --key "pkcs11:token=Ada;id=%01" >typed || die "the PIN at the terminal: $(cat typed)"
! grep -q 'card.*4321' typed || die "the PIN was shown"

# the program is no oracle: whatever is not ours it does not sign, and no PIN is asked for
rm -f logins
oracle() { away keyline-approver-key --module "$CARD_MODULE" "pkcs11:token=Ada;id=%01?pin-source=$test_dir/pin"; }
b64() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
for header in '{"alg":"ES256","typ":"JWT","x5c":[]}' '{"alg":"ES256","typ":"keyline-+jwsx","x5c":[]}' '{"alg":"ES256"}' 'x'; do
    ! printf '%s.%s' "$(printf '%s' "$header" | b64)" "$(echo '{}' | b64)" | oracle >signed || die "it signed $header"
    grep -q '^E' signed || die "no reason was given for $header"
done
! head -c 32 /dev/urandom | oracle >signed || die "it signed a hash"
[ ! -e logins ] || die "the PIN was used for what is not ours"

# ---- back at the station

refuse 'BadTicket' station job approve rsa --ticket again.csv
refuse 'BadTicket' station job approve rsa --ticket p256.ticket
away keyline job approve --request rsa.request --manifest rsa.csv --ticket-out bob.ticket --yes \
    --module "$CARD_MODULE" --key "pkcs11:token=Bob;id=%01?pin-source=$test_dir/pin" --cert bob.pem >/dev/null
sed -i '/BEGIN/,$d' "$KEYLINE_ROOT/etc/approvers.pem" # nobody may approve
refuse 'UntrustedApprover' station job approve rsa --ticket bob.ticket
cat ca.pem >"$KEYLINE_ROOT/etc/approvers.pem"
for job in p256 p384 rsa; do
    station job approve "$job" --ticket "$job.ticket" >/dev/null
    [ "$(job_field "$job" state)" = "In progress" ] || die "$job is $(job_field "$job" state)"
done
refuse 'BadState' station job approve rsa --ticket rsa.ticket
fleet_start p256 2
station job watch p256 --until-idle 60 </dev/null
fleet_wait
[ "$(job_field p256 state)" = Completed ] || die "devices were not certified: $(job_field p256 state)"
echo "1 passed, 0 failed"
