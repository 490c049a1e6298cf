/* The issuing CA as the signer knows it: its certificate, the chain up to the root, its public key. Never a private key. */
#pragma once
#include <openssl/x509.h>
#include "base/buf.h"
#include "hsm/cert.h"

struct err;

struct ca {
    X509 *cert;    /* the issuing CA */
    EVP_PKEY *key; /* its public key */
    enum signature_alg alg;
    struct cert_bytes
            subject; /* DER Name, borrowed from cert: byte for byte what devices get as issuer */
    struct cert_bytes key_id; /* its subjectKeyIdentifier */
    struct buf chain;         /* DER, issuing CA first, root last */
    char subject_text[256];
    int64_t not_after; /* Unix seconds */
};

/* PEM file, issuing CA first. Checks that every certificate is a CA, signs the one before it, and that the last one is a
 * root. ERR_NOT_FOUND, ERR_CONFIG. */
int ca_load(const char *path, struct ca **ret, struct err *e);
void ca_free(struct ca **ca);
