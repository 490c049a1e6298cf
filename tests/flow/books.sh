# shellcheck shell=bash
# What must be true of an appliance's books whatever happened to it. Source after lib.sh.

# all_devices JOB: every device of a job as DEVICE objects, one a line.
all_devices() { keyline device list --job "$1" --json | jq -c '.devices[]'; }

# check_books JOB COUNT: COUNT devices Registered, each with one certificate; ledger = registry; chains verify.
check_books() {
    local job=$1 count=$2 dir=$KEYLINE_ROOT/books issued registered certificates
    rm -rf "$dir"
    mkdir -p "$dir"
    registered=$(job_field "$job" registered)
    [ "$registered" = "$count" ] || die "$registered devices are registered, not $count"
    issued=$(keyline status --json | jq .signer.issued)
    [ "$issued" = "$count" ] || die "the signer's ledger has $issued certificates, not $count"
    sqlite3 "$KEYLINE_ROOT/lib/jobs/registry.db" "SELECT count(*) || ' ' || count(DISTINCT device) FROM certificate" >"$dir/counts"
    certificates=$(cat "$dir/counts")
    [ "$certificates" = "$count $count" ] || die "certificates and devices with one: $certificates, not $count $count"
    sqlite3 "$KEYLINE_ROOT/lib/jobs/registry.db" "SELECT 1 FROM run WHERE step NOT IN ('recorded','failed','quarantined')" | grep -q . &&
        die "a run is still active" || true
}

# check_certificates: every certificate upstream holds, with OpenSSL and with GnuTLS.
check_certificates() {
    local dir=$KEYLINE_ROOT/books chain=$KEYLINE_ROOT/etc/ca/chain.pem n=0 bad=0 f
    mkdir -p "$dir/certs"
    upstream_records | jq -r 'select(.type == "device.registered") | [.device_id, .certificate] | @json' |
        while read -r line; do
            jq -r '.[1]' <<<"$line" >"$dir/certs/$(jq -r '.[0]' <<<"$line").pem"
        done
    openssl verify -x509_strict -CAfile "$KEYLINE_ROOT/etc/ca/root.pem" -untrusted "$chain" "$dir"/certs/*.pem \
        >"$dir/openssl.txt" 2>&1 || { tail -n 5 "$dir/openssl.txt" >&2; die "openssl verify refused a certificate"; }
    for f in "$dir"/certs/*.pem; do
        n=$((n + 1))
        cat "$f" "$chain" | certtool --verify --load-ca-certificate "$KEYLINE_ROOT/etc/ca/root.pem" \
            >"$dir/certtool.txt" 2>&1 || { cat "$dir/certtool.txt" >&2; bad=$((bad + 1)); }
    done
    [ "$bad" -eq 0 ] || die "certtool refused $bad of $n certificates"
    [ "$n" -eq "$1" ] || die "$n certificates are upstream, not $1"
}

# upstream_records: every record upstream holds, in order. The names sort as the numbers do, or are sorted here.
upstream_records() {
    find "$KEYLINE_ROOT/upstream/store/" -name '*.ndjson' -printf '%f\t%p\n' | sort -n | cut -f2 | xargs -r cat
}

# check_upstream: what upstream holds is what the registry's outbox holds, byte for byte, nothing twice, no gap.
check_upstream() {
    local dir=$KEYLINE_ROOT/books
    mkdir -p "$dir"
    upstream_records >"$dir/upstream.ndjson"
    sqlite3 "$KEYLINE_ROOT/lib/jobs/registry.db" "SELECT body FROM outbox ORDER BY record" | sed '/^$/d' >"$dir/outbox.ndjson"
    cmp "$dir/upstream.ndjson" "$dir/outbox.ndjson" || die "upstream's records differ from the registry's"
    jq -s -e '[.[].record] as $r | $r == [range(1; ($r | length) + 1)]' "$dir/upstream.ndjson" >/dev/null ||
        die "upstream's record numbers have a gap or come twice"
    # And against the devices themselves, not only the outbox.
    jq -r 'select(.type == "device.registered") | [.device_id, .serial] | @tsv' "$dir/upstream.ndjson" | sort >"$dir/upstream.devices"
    all_devices "$1" | jq -r 'select(.state == "Registered") | [.id, .serial] | @tsv' | sort >"$dir/registry.devices"
    cmp "$dir/upstream.devices" "$dir/registry.devices" || die "upstream's devices differ from the registry's"
}
