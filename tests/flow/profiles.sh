#!/usr/bin/env bash
# Profiles of a maker's own through the whole line: the devices are asked for the kind of key that the job's profile allows,
# and a profile that is changed after the approval certifies nothing.
. "$(dirname "$(readlink -f "$0")")/../lib.sh"
test_dir=$(mktemp -d /tmp/keyline-flow.XXXXXX)
chmod 755 "$test_dir"
appliance_new "$test_dir/a" >/dev/null
profiles=$KEYLINE_ROOT/etc/profiles
mkdir -p "$profiles"
# profile NAME KEY: the built-in one, for one kind of key
profile() {
    keyline profile show idevid --document | jq --arg key "$2" '.keys = [$key] | .description = "only " + $key' >"$profiles/$1.json"
    keyline profile check "$1" >/dev/null
}
profile ec384 P-384
profile rsa RSA-2048
profile edwards Ed25519
appliance_start 2

# job NAME PROFILE SEED: devices of a group of the same name
job() {
    keyline-sim manifest --devices 2 --group "$1" --seed "$3" >"$test_dir/$1.csv"
    keyline job import "$test_dir/$1.csv" --name "$1" --profile "$2" --add-groups >/dev/null
}
# key_of DEVICE: as OpenSSL calls it
key_of() { keyline device show "$1" --json | jq -r '.certificates[0].pem' | openssl x509 -noout -text | grep -oE 'Public-Key: \([0-9]+ bit\)|NIST CURVE: .*|rsaEncryption' | tr '\n' ' '; }

for row in "ec384 71 P-384" "rsa 72 2048"; do
    read -r name seed expected <<<"$row"
    job "$name" "$name" "$seed"
    approve "$name" >/dev/null
    fleet_start "$name" 2
    fleet_wait
    [ "$(job_field "$name" registered)" -eq 2 ] || die "$name: not every device passed"
    for device in $(keyline device list --job "$name" --columns group,name | tr '\t' /); do
        grep -q "$expected" <<<"$(key_of "$device")" || die "$device has another key than $expected: $(key_of "$device")"
    done
done

# A second certificate looks like the first, unless somebody imports a manifest that says otherwise.
one_of() { keyline device list --job "$1" --columns group,name | head -n 1 | tr '\t' /; }
keyline device reissue "$(one_of ec384)" --name again >/dev/null
[ "$(job_field again profile)" = ec384 ] || die "a device of ec384 is re-issued with profile $(job_field again profile)"
keyline device reissue "$(one_of rsa)" "$(keyline device list --job ec384 --columns group,name | tail -n 1 | tr '\t' /)" --name mixed >"$test_dir/out" 2>&1 &&
    die "devices of two profiles are one job"
grep -q "is of profile ec384, those before it of rsa: re-issue them apart" "$test_dir/out" || die "it is not said why: $(cat "$test_dir/out")"

# A profile that is not there, or is faulty, or that the manifest's rows do not fit: there is no such job, and it is said why.
# refused WORDS PROFILE
refused() {
    local out
    out=$(keyline job import "$test_dir/unfit.csv" --name unfit --profile "$2" --group ec384 2>&1) &&
        die "imported with profile $2"
    grep -qF -- "$1" <<<"$out" || die "profile $2: '$1' is not said, but: $out"
}
printf 'device_name,subject.locality\nfits,Ulm\nlacks,\none@two,Ulm\n' >"$test_dir/unfit.csv"
echo '{}' >"$profiles/faulty.json"
keyline profile show idevid --document |
    jq '.subject = [{attribute: "L", value: "{subject.locality}"}, {attribute: "dnQualifier", value: "{device_name}"}]' >"$profiles/place.json"
refused "there is no certificate profile 'nosuch'" nosuch
refused 'profile faulty: member "keys" is missing' faulty
refused "unfit.csv:3: does not fit profile place: column subject.locality: the row lacks it" place
refused 'unfit.csv:4: does not fit profile place: dnQualifier from "{device_name}": ' place
[ "$(keyline device list --columns name | grep -cE '^(fits|lacks|one@two)$')" -eq 0 ] || die "a refused manifest left devices behind"
keyline job show unfit >/dev/null 2>&1 && die "a refused manifest left a job behind"
rm "$profiles/faulty.json" "$profiles/place.json"

# A kind that the devices cannot make: they are told so, and nothing is certified.
job edwards edwards 73
approve edwards >/dev/null
fleet_start edwards 2 --tries 1
fleet_wait || true
keyline job report edwards --json | jq -e '[.rows[].error] == ["DeviceUnsupported", "DeviceUnsupported"]' >/dev/null ||
    die "a device without Ed25519 is not told so: $(keyline job report edwards --json | jq -c .rows)"

# What was approved is what the profile said then.
job late ec384 74
approve late >/dev/null
profile ec384 P-256
fleet_start late 2 --tries 1
fleet_wait || true
keyline job report late --json | jq -e '[.rows[].error] == ["Profile", "Profile"]' >/dev/null ||
    die "a profile changed after the approval was used: $(keyline job report late --json | jq -c .rows)"
echo "1 passed, 0 failed"
