#!/usr/bin/env bash
# verify_certs.sh and rfc5280.py judge our certificates and lists: here they must refuse what is wrong, each for its reason. The
# bad ones are OpenSSL's, made by a CA of this test.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
passed=0
failed=0

key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }
# SKI of RFC 7093, method 1, as ours have it
key_id() { openssl pkey -in "$1" -pubout -outform DER | tail -c 65 | sha256sum | cut -c1-40; }
ca_extensions() { # ca_extensions KEY PATHLEN
    printf 'basicConstraints=critical,CA:TRUE,pathlen:%s\nkeyUsage=critical,keyCertSign,cRLSign\n' "$2"
    printf 'subjectKeyIdentifier=%s\nauthorityKeyIdentifier=keyid:always\n' "$(key_id "$1")"
}
certify() { # certify OUT SUBJECT KEY CA CA-KEY EXTENSIONS [openssl x509 options]
    local out=$1 subject=$2 key=$3 ca=$4 ca_key=$5 extensions=$6
    shift 6
    openssl req -new -key "$key" -subj "$subject" -utf8 -out r.csr
    openssl x509 -req -in r.csr -CA "$ca" -CAkey "$ca_key" -days 30 -extfile <(printf '%b\n' "$extensions") -out "$out" \
        -set_serial "${serial:-0x1234567890abcdef}" "$@" 2>openssl.log || { cat openssl.log >&2; return 1; }
}
key root.key
key ca.key
key dev.key
mkdir -p pki/p256
openssl req -x509 -new -key root.key -subj /CN=Root -days 60 -set_serial 77 -out pki/p256/root.pem \
    -config <(printf '[req]\ndistinguished_name=d\nx509_extensions=x\n[d]\n[x]\n'; ca_extensions root.key 1)
certify ca.pem /CN=Issuing ca.key pki/p256/root.pem root.key "$(ca_extensions ca.key 0)"
cat ca.pem pki/p256/root.pem >pki/p256/chain.pem
good="keyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\nsubjectKeyIdentifier=$(key_id dev.key)\nauthorityKeyIdentifier=keyid"

expect() { # expect PASS|WORDS NAME [certify's arguments from SUBJECT on]
    local wanted=$1 name=$2 status=0
    shift 2
    rm -f pki/p256/*.*.pem
    certify pki/p256/x.P-256.pem "$@"
    "$here/verify_certs.sh" pki >out 2>&1 || status=$?
    if { [ "$wanted" = PASS ] && [ $status -eq 0 ]; } || { [ $status -ne 0 ] && grep -q -- "$wanted" out; }; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "$name: wanted '$wanted', status $status:" >&2
        cat out >&2
    fi
}
by=(dev.key ca.pem ca.key)
expect PASS good /CN=d "${by[@]}" "$good"
expect "4.2.1.3: keyUsage" "usage not critical" /CN=d "${by[@]}" "${good/critical,/}"
expect "3279, 5480, 8410" "usage of another key" /CN=d "${by[@]}" "${good/digitalSignature/digitalSignature,keyEncipherment}"
expect "4.2.1.1: a key identifier" "no authorityKeyIdentifier" /CN=d "${by[@]}" "${good%=keyid}=none"
expect "RFC 7093" "another subjectKeyIdentifier" /CN=d "${by[@]}" "${good/$(key_id dev.key)/hash}"
expect "4.2.1.9" "a CA" /CN=d "${by[@]}" "$good\nbasicConstraints=critical,CA:TRUE"
expect "4.2.1.6: subjectAltName: dNSName" "a name with an underscore" /CN=d "${by[@]}" "$good\nsubjectAltName=DNS:a_b.example.com"
expect "4.2.1.6: subjectAltName: URI" "a relative URI" /CN=d "${by[@]}" "$good\nsubjectAltName=URI:/x"
expect "4.2.1.6: subjectAltName is critical" "a critical name beside a subject" /CN=d "${by[@]}" "$good\nsubjectAltName=critical,DNS:a.example.com"
expect "neither a subject" "no name at all" / "${by[@]}" "$good"
expect "4.2.1.12" "a purpose twice" /CN=d "${by[@]}" "${good/clientAuth/clientAuth,clientAuth}"
expect "country" "a country in small letters" /C=de/CN=d "${by[@]}" "$good"
expect "4.1.1.2: algorithm" "SHA-512" /CN=d "${by[@]}" "$good" -sha512
serial=0 expect "4.1.2.2" "a serial number of nothing" /CN=d "${by[@]}" "$good"
expect "extension 2.16.840" "an extension that is not ours" /CN=d "${by[@]}" "$good\nnsComment=hello"
expect "OpenSSL: pki" "the purpose of a server" /CN=d "${by[@]}" "${good/clientAuth/serverAuth}"
# Another CA of the same name and key identifier: only the signature is wrong, and each verifier must see it.
key other.key
certify other.pem /CN=Issuing other.key pki/p256/root.pem root.key "$(ca_extensions ca.key 0)"
for verifier in OpenSSL GnuTLS NSS; do
    expect "$verifier: pki" "signed by another key" /CN=d dev.key other.pem other.key "$good"
done

# ---- lists

list() { # list OUT CA CA-KEY [REASON]: with the certificate of serial number 0x1234567890abcdef, when there is a reason
    : >index.txt
    [ -z "${4:-}" ] || printf 'R\t491231235959Z\t251101000000Z,%s\t1234567890ABCDEF\tunknown\t/CN=d\n' "$4" >index.txt
    printf '[ca]\ndefault_ca=c\n[c]\ndatabase=index.txt\ndefault_md=sha256\ndefault_crl_days=7\n%s\ncrl_extensions=x\n[x]\n%s\n' \
        "${number-crlnumber=number}" "${extensions-authorityKeyIdentifier=keyid:always}" >ca.cnf
    echo 07 >number
    openssl ca -config ca.cnf -gencrl -cert "$2" -keyfile "$3" -out "$1" 2>openssl.log || { cat openssl.log >&2; return 1; }
}
expect_list() { # expect_list PASS|WORDS NAME REVOKED [list's arguments from CA on]
    local wanted=$1 name=$2 revoked=$3
    shift 3
    rm -f pki/p256/crl*
    list pki/p256/crl-x.pem "$@"
    printf '%s' "$revoked" >pki/p256/crl-x.revoked
    expect "$wanted" "list: $name" /CN=d "${by[@]}" "$good"
}
all=x.P-256.pem$'\n'
expect_list PASS empty "" ca.pem ca.key
expect_list PASS "a certificate" "$all" ca.pem ca.key keyCompromise
for verifier in OpenSSL GnuTLS NSS; do
    expect_list "$verifier: pki/p256/crl-x.pem" "signed by another key" "" other.pem other.key
    expect_list "$verifier: .*: it is revoked" "it lacks a certificate" "$all" ca.pem ca.key
    expect_list "$verifier: .* with pki/p256/crl-x.pem" "it stops a good certificate" "" ca.pem ca.key superseded
done
expect_list "0 certificates are on it by mistake, 1" "one is not on it" "$all" ca.pem ca.key
expect_list "1 certificates are on it by mistake, 0" "one is on it by mistake" "" ca.pem ca.key superseded
expect_list "5.3.1" "a reason that is none" "$all" ca.pem ca.key unspecified
expect_list "5.3.1" "a revocation that may end" "$all" ca.pem ca.key certificateHold
number='' expect_list "5.2.3" "no number" "" ca.pem ca.key
extensions=$'authorityKeyIdentifier=keyid:always\nissuerAltName=email:a@example.com' expect_list "5.2: extension" "an extension that is not ours" "" ca.pem ca.key
extensions='issuerAltName=email:a@example.com' expect_list "5.2.1" "no authorityKeyIdentifier" "" ca.pem ca.key
list pki/p256/crl-y.pem ca.pem ca.key
: >pki/p256/crl-y.revoked
extensions='authorityKeyIdentifier=keyid:always' expect "do not grow" "list: two of one number" /CN=d "${by[@]}" "$good"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
