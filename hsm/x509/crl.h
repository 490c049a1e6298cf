/* Certificate revocation lists (RFC 5280, section 5), built from plain facts: version 2, the whole list of one CA. The
 * builder writes what it is told; what is revoked, and when a list is due, is decided by its callers. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "hsm/x509/cert.h"
#include "hsm/x509/signature.h"

struct buf;
struct err;
struct ledger_revoked;

struct crl_fields {
    enum signature_alg alg;
    struct cert_bytes issuer; /* DER Name */
    struct cert_bytes authority_key_id;
    uint64_t number;
    int64_t this_update, next_update; /* Unix seconds */
    /* In the order of the list. Those of other CAs than `ca` are left out. */
    const struct ledger_revoked *revoked;
    size_t revoked_count;
    uint8_t ca[CERT_KEY_ID_BYTES];
};

/* Appends the TBSCertList. ERR_LIMIT when the list would be larger than CRL_BYTES_MAX. */
int crl_tbs(const struct crl_fields *f, struct buf *out, struct err *e);
/* Appends the CertificateList. sig: as signature_from_token() gives it. */
int crl_assemble(const struct cert_bytes *tbs, enum signature_alg alg, const struct cert_bytes *sig,
        struct buf *out, struct err *e);
