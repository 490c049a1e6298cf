/* A device's certificate request (PKCS#10, RFC 2986): decoded once, its proof of possession checked, its key judged. The
 * names and extensions a request asks for are never used: the certificate is made from the authorised row alone. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "base/limits.h"
#include "hsm/x509/cert.h"

struct err;

#define SPKI_BYTES_MAX 1024 /* RSA-4096 has 550 */

/* Kinds of device keys; a profile allows a set of them (1u << kind). */
enum csr_key {
    CSR_KEY_P256,
    CSR_KEY_P384,
    CSR_KEY_RSA_2048,
    CSR_KEY_RSA_3072,
    CSR_KEY_RSA_4096,
    CSR_KEY_ED25519,
    CSR_KEY_COUNT
};

struct csr {
    enum csr_key key;
    uint8_t spki[SPKI_BYTES_MAX]; /* DER SubjectPublicKeyInfo as the device sent it */
    size_t spki_len;
    uint8_t spki_sha256[32];
    uint8_t key_id[CERT_KEY_ID_BYTES];
};

/* What reading needs again and again; for one thread. */
struct csr_reader;
int csr_reader_new(struct csr_reader **ret, struct err *e);
void csr_reader_free(struct csr_reader **r);

/* keys: the allowed kinds. The request's challengePassword (RFC 2985, 5.4.1) must be the nonce in lower-case hex.
 * ERR_CSR (malformed), ERR_KEY_TYPE, ERR_KEY_WEAK, ERR_POSSESSION (signature or nonce). */
int csr_read(struct csr_reader *r, const uint8_t *der, size_t len, const uint8_t nonce[NONCE_BYTES],
        unsigned keys, struct csr *ret, struct err *e);
/* The same with a reader of its own, for one request. */
int csr_check(const uint8_t *der, size_t len, const uint8_t nonce[NONCE_BYTES], unsigned keys,
        struct csr *ret, struct err *e);
