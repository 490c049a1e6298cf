#!/usr/bin/env bash
# Shows every certificate below DIR/<ca>/ to OpenSSL, GnuTLS, NSS and to our own reading of RFC 5280 (rfc5280.py).
# root.pem and chain.pem of each folder are its CA; a file crl.pem is verified too.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
dir=${1:?directory with certificates}
failed=0
shown=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
complain() {
    failed=$((failed + 1))
    echo "$*" >&2
    sed 's/^/    /' "$tmp/out" >&2
}

for ca in "$dir"/*/; do
    ca=${ca%/}
    nss=$tmp/nss-$(basename "$ca")
    mkdir -p "$nss"
    certutil -N -d "sql:$nss" --empty-password
    # Debian 12's NSS (3.87) takes no certificate with an Ed25519 key or signature.
    [ "$(basename "$ca")" = ed25519 ] || certutil -A -d "sql:$nss" -n root -t 'CT,C,C' -i "$ca/root.pem"
    openssl x509 -in "$ca/chain.pem" -out "$tmp/issuing.pem" # the first one
    openssl verify -x509_strict -CAfile "$ca/root.pem" "$tmp/issuing.pem" >"$tmp/out" 2>&1 || complain "OpenSSL: $ca/chain.pem"
    for cert in "$ca"/*.*.pem; do
        shown=$((shown + 1))
        openssl verify -x509_strict -purpose sslclient -CAfile "$ca/root.pem" -untrusted "$ca/chain.pem" "$cert" \
            >"$tmp/out" 2>&1 || complain "OpenSSL: $cert"
        cat "$cert" "$ca/chain.pem" >"$tmp/whole.pem"
        certtool --verify --load-ca-certificate "$ca/root.pem" --infile "$tmp/whole.pem" >"$tmp/out" 2>&1 ||
            complain "GnuTLS: $cert"
        case $cert in *ed25519/* | *.ED25519.pem) continue ;; esac
        vfychain -u 0 -d "sql:$nss" -a "$cert" "$tmp/issuing.pem" >"$tmp/out" 2>&1 || complain "NSS: $cert"
    done
    [ ! -e "$ca/crl.pem" ] || openssl crl -in "$ca/crl.pem" -noout -verify -CAfile "$tmp/issuing.pem" >"$tmp/out" 2>&1 ||
        complain "OpenSSL: $ca/crl.pem"
    python3 "$here/rfc5280.py" "$ca" || failed=$((failed + 1))
done
[ "$shown" -gt 0 ] || { echo "no certificates in $dir" >&2; exit 1; }
echo "$shown certificates shown, $failed complaints"
[ "$failed" -eq 0 ]
