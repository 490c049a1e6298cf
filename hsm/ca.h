/* The issuing CAs as the signer knows them: certificate, chain up to the root, public key. Never a private key. One is
 * active, it signs new certificates; those that were active before are retired, they sign their CRLs to the end. */
#pragma once
#include <limits.h>
#include <openssl/x509.h>
#include "base/buf.h"
#include "base/limits.h"
#include "hsm/x509/cert.h"

struct err;
struct paths;

#define CA_KEY_ID_MAX 32 /* a whole SHA-256 */

struct ca {
    X509 *cert;    /* the issuing CA */
    EVP_PKEY *key; /* its public key */
    enum signature_alg alg;
    struct cert_bytes
            subject; /* DER Name, borrowed from cert: byte for byte what devices get as issuer */
    struct buf spki; /* DER SubjectPublicKeyInfo: by it the private key is found in a token */
    struct cert_bytes key_id; /* its subjectKeyIdentifier */
    struct buf chain;         /* DER, issuing CA first, root last */
    char subject_text[256];
    int64_t not_before, not_after; /* Unix seconds */
    int64_t root_not_after;
};

/* PEM file, issuing CA first. Checks that every certificate is a CA, signs the one before it, and that the last one is a
 * root. ERR_NOT_FOUND, ERR_CONFIG. */
int ca_load(const char *path, struct ca **ret, struct err *e);
/* The same from memory; name stands in errors. */
int ca_parse(const char *name, const struct buf *pem, struct ca **ret, struct err *e);
void ca_free(struct ca **ca);
/* How ledger, CRL files and calls name a CA: its subjectKeyIdentifier, which has 20 bytes; one of another length is cut, or
 * filled up with zeros. */
void ca_id(const struct cert_bytes *key_id, uint8_t ret[CERT_KEY_ID_BYTES]);
/* ERR_CA_EXPIRED when the issuing CA may not sign at this time (Unix seconds): it is over, or the clock is wrong. */
int ca_check_time(const struct ca *ca, int64_t now, struct err *e);

struct ca_set {
    struct ca *active;
    struct ca *retired[CA_RETIRED_MAX]; /* the one that began last first */
    size_t retired_count;
};
/* etc/ca/chain.pem and etc/ca/retired/. A roll-over that was interrupted leaves the active CA among the retired ones:
 * it is not counted twice. ERR_NOT_FOUND (no chain.pem), ERR_CONFIG, ERR_LIMIT. */
int ca_set_load(const struct paths *p, struct ca_set *ret, struct err *e);
void ca_set_done(struct ca_set *s);
/* The CA with this subjectKeyIdentifier, or NULL. */
const struct ca *ca_set_find(const struct ca_set *s, const uint8_t *key_id, size_t len);
/* Appends all chains, the active CA's first: DER certificates, each chain from the issuing CA to its root. */
int ca_set_chains(const struct ca_set *s, struct buf *out, struct err *e);
/* etc/ca/retired/<key id in hex>.pem: where this CA's chain is kept once it is retired. */
int ca_retired_path(const struct paths *p, const struct ca *ca, char out[PATH_MAX], struct err *e);
