#!/usr/bin/env bash
# What people get wrong: every refusal is clear, names what to do, and changes nothing.
. "$(dirname "$(readlink -f "$0")")/../lib.sh"
. "$lib_dir/flow/books.sh"
test_dir=$(mktemp -d /tmp/keyline-flow.XXXXXX)
chmod 755 "$test_dir"

# refuse WORDS COMMAND...: must fail, and say WORDS.
refuse() {
    local words=$1 out
    shift
    out=$("$@" 2>&1 </dev/null) && die "must be refused: $*"
    grep -qiE -- "$words" <<<"$out" || die "'$*' does not say '$words' but: $out"
}
export KEYLINE_ROOT=$test_dir/a
refuse "keyline run" keyline job list
refuse "usage|unknown" keyline jbo list
for verb in crl show; do refuse 'no CA yet.*NoCa' keyline ca $verb; done
refuse "organization's name must have 1 to 64 bytes" keyline ca init --organization "$(printf 'x%.0s' {1..65})"
[ ! -e "$KEYLINE_ROOT" ] || die "a name that is too long left something behind: $(ls -R "$KEYLINE_ROOT")"
appliance_new "$test_dir/a" >/dev/null
refuse "already|exists|there" keyline init --approver-passphrase-file "$KEYLINE_ROOT/approver.passphrase"
appliance_start 1
refuse "Exists|running|already" keyline run --slots 1 --ports "$test_dir/other"
keyline group add sensors >/dev/null
m=$test_dir/m.csv
manifest() { printf '%b' "$1" >"$m"; }
import() { refuse "$1" keyline job import "$m" --name bad --group "${2:-sensors}"; }
manifest 'device_name,hwid\na,1\nb,2\na,3\n';           import 'm.csv:4:.*device_name.*twice|duplicate'
manifest 'device_name,hwdi\na,1\n';                     import 'hwdi'
manifest 'device_name,hwid\nM\xfcller,1\n';             import 'm.csv:2:.*(UTF-8|encod)'
manifest 'device_name,hwid\na\x00b,1\n';                import 'm.csv:2:.*NUL'
manifest 'device_name,hwid\na,1,2\n';                   import 'm.csv:2:'
manifest 'device_name,hwid\n"a,1\n';                    import 'm.csv:'
manifest 'hwid\n1\n';                                   import 'device_name'
manifest '';                                            import 'empty|header'
manifest 'device_name\n';                               import 'row'
manifest 'device_name\na\n';                            import 'nosuch.*group add|group add.*nosuch' nosuch
manifest 'device_name,device_group\na,elsewhere\n';     import 'elsewhere'
truncate -s 300M "$m";                                  import '200'
refuse "nosuch" keyline job import "$test_dir/nosuch.csv" --name bad
[ "$(keyline job list --json | jq '.jobs | length')" -eq 0 ] || die "a bad manifest left a job behind"
[ "$(keyline device list --json | jq '.devices | length')" -eq 0 ] || die "a bad manifest left devices behind"

# A BOM, CRLF and a quoted newline are fine.
manifest '\xef\xbb\xbfdevice_name,device_description,hwid\r\nsensor-1,"two\r\nlines",H1\r\n'
keyline job import "$m" --name good --group sensors >/dev/null
refuse "already|twice|imported" keyline job import "$m" --name again --group sensors
refuse "passphrase|key" keyline job approve good --yes --passphrase-file /dev/null
[ "$(job_field good state)" = "Pending approval" ] || die "a refused approval moved the job"

# A ticket by somebody else: the signer refuses it.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=Mallory -days 1 \
    -keyout "$test_dir/mallory.key" -out "$test_dir/mallory.pem" 2>/dev/null
refuse "UntrustedApprover|trust" keyline job approve good --yes --key "$test_dir/mallory.key" --cert "$test_dir/mallory.pem"
[ "$(job_field good state)" = "Pending approval" ] || die "a forged approval moved the job"
approve good >/dev/null
refuse "state|approved" approve good
refuse "nosuch" keyline device show nosuch
refuse "nosuch" keyline job show nosuch

# The token: missing, then with a wrong PIN. The line stops, says why, and the PIN is not tried until it locks.
appliance_stop
mv "$KEYLINE_ROOT/lib/signer/tokens" "$KEYLINE_ROOT/lib/signer/tokens.away"
mkdir "$KEYLINE_ROOT/lib/signer/tokens"
appliance_start 1
token_error() { keyline status --json | jq -e --arg n "$1" '.signer.error.name == $n'; }
wait_until 20 "status names the missing token" token_error TokenAbsent
appliance_stop
rm -rf "$KEYLINE_ROOT/lib/signer/tokens"
mv "$KEYLINE_ROOT/lib/signer/tokens.away" "$KEYLINE_ROOT/lib/signer/tokens"
cp "$KEYLINE_ROOT/etc/token.pin" "$test_dir/pin"
echo 000000 >"$KEYLINE_ROOT/etc/token.pin"
appliance_start 1
wait_until 20 "status names the wrong PIN" token_error TokenPin
appliance_stop
cat "$test_dir/pin" >"$KEYLINE_ROOT/etc/token.pin"
appliance_start 1
wait_until 20 "the token works again" sh -c "keyline status --json | jq -e '.signer.error == null and .signer.up'"

# And after all that the one good device passes.
fleet_start good 1
keyline job watch good --until-idle 30 </dev/null >/dev/null
check_books good 1
echo "1 passed, 0 failed"
