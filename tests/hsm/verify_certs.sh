#!/usr/bin/env bash
# Shows every certificate below DIR/<ca>/ to OpenSSL, GnuTLS, NSS and to our own reading of RFC 5280 (rfc5280.py).
# root.pem and chain.pem of each folder are its CA; crl*.pem are lists of it: which certificates each of them must stop, and no
# others, stands in a file of the same name that ends in .revoked, one file name a line; none: it stops nobody.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
dir=${1:?directory with certificates}
failed=0
shown=0
lists=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
complain() {
    failed=$((failed + 1))
    echo "$*" >&2
    sed 's/^/    /' "$tmp/out" >&2
}
# Debian 12's NSS (3.87) takes no certificate with an Ed25519 key or signature.
for_nss() { case $1 in *ed25519/* | *.ED25519.pem) return 1 ;; esac; }

judge() { # judge WHO CERTIFICATE "" COMMAND...: it must be taken; judge WHO CERTIFICATE WORDS COMMAND...: refused, with these words
    local who=$1 cert=$2 words=$3 status=0
    shift 3
    "$@" >"$tmp/out" 2>&1 || status=$?
    if [ -z "$words" ]; then
        [ $status -eq 0 ] || complain "$who: $cert"
    elif [ $status -eq 0 ] || ! grep -q -- "$words" "$tmp/out"; then
        complain "$who: $cert: it is revoked"
    fi
}

# openssl crl ends with 0, too, when it has said "verify failure"
verify_list() { openssl crl -in "$1" -noout -verify -CAfile "$2" 2>&1 | grep -x "verify OK"; }

check_list() { # check_list CA-FOLDER LIST
    local ca=$1 crl=$2 nss=$tmp/nss-list others=6 cert revoked words
    judge OpenSSL "$crl" "" verify_list "$crl" "$tmp/issuing.pem"
    judge GnuTLS "$crl" "" certtool --verify-crl --load-ca-certificate "$tmp/issuing.pem" --infile "$crl"
    rm -rf "$nss"
    cp -r "$tmp/nss" "$nss"
    openssl crl -in "$crl" -outform DER -out "$tmp/crl.der"
    ! for_nss "$crl" || judge NSS "$crl" "" crlutil -I -d "sql:$nss" -i "$tmp/crl.der"
    for cert in "$ca"/*.*.pem; do
        revoked=
        if grep -qsxF "$(basename "$cert")" "${crl%.pem}.revoked"; then
            revoked=yes
        else
            others=$((others - 1)) # of those that it does not stop a few are enough
            [ $others -ge 0 ] || continue
        fi
        judge OpenSSL "$cert with $crl" "${revoked:+certificate revoked}" openssl verify -x509_strict -crl_check \
            -CAfile "$ca/root.pem" -untrusted "$ca/chain.pem" -CRLfile "$crl" "$cert"
        cat "$cert" "$ca/chain.pem" >"$tmp/whole.pem"
        judge GnuTLS "$cert with $crl" "${revoked:+chain is revoked}" certtool --verify \
            --load-ca-certificate "$ca/root.pem" --load-crl "$crl" --infile "$tmp/whole.pem"
        for_nss "$cert" || continue
        judge NSS "$cert with $crl" "${revoked:+has been revoked}" vfychain -u 0 -d "sql:$nss" -a "$cert" "$tmp/issuing.pem"
    done
}

for ca in "$dir"/*/; do
    ca=${ca%/}
    openssl x509 -in "$ca/chain.pem" -out "$tmp/issuing.pem" # the first one
    rm -rf "$tmp/nss"
    mkdir -p "$tmp/nss"
    certutil -N -d "sql:$tmp/nss" --empty-password
    if for_nss "$ca/root.pem"; then
        certutil -A -d "sql:$tmp/nss" -n root -t 'CT,C,C' -i "$ca/root.pem"
        certutil -A -d "sql:$tmp/nss" -n issuing -t ',,' -i "$tmp/issuing.pem"
    fi
    judge OpenSSL "$ca/chain.pem" "" openssl verify -x509_strict -CAfile "$ca/root.pem" "$tmp/issuing.pem"
    for cert in "$ca"/*.*.pem; do
        shown=$((shown + 1))
        judge OpenSSL "$cert" "" openssl verify -x509_strict -purpose sslclient -CAfile "$ca/root.pem" \
            -untrusted "$ca/chain.pem" "$cert"
        cat "$cert" "$ca/chain.pem" >"$tmp/whole.pem"
        judge GnuTLS "$cert" "" certtool --verify --load-ca-certificate "$ca/root.pem" --infile "$tmp/whole.pem"
        for_nss "$cert" || continue
        judge NSS "$cert" "" vfychain -u 0 -d "sql:$tmp/nss" -a "$cert" "$tmp/issuing.pem"
    done
    for crl in "$ca"/crl*.pem; do
        [ -e "$crl" ] || continue
        lists=$((lists + 1))
        check_list "$ca" "$crl"
    done
    python3 "$here/rfc5280.py" "$ca" || failed=$((failed + 1))
done
[ "$shown" -gt 0 ] || { echo "no certificates in $dir" >&2; exit 1; }
echo "$shown certificates and $lists lists shown, $failed complaints"
[ "$failed" -eq 0 ]
