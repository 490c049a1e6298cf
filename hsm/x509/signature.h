/* The signature algorithms a CA key of ours may use, each with everything that is known about it in one table row:
 * what the certificate says, what the token is asked for, how the public key checks it. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <openssl/evp.h>
#include "base/limits.h" /* SIGNATURE_BYTES_MAX */
#include "hsm/x509/der.h"

struct buf;
struct err;

enum signature_alg {
    SIGNATURE_ECDSA_P256, /* ecdsa-with-SHA256 */
    SIGNATURE_ECDSA_P384, /* ecdsa-with-SHA384 */
    SIGNATURE_RSA,        /* sha256WithRSAEncryption */
    SIGNATURE_ED25519,    /* id-Ed25519, over the message itself */
    SIGNATURE_ALG_COUNT
};

struct signature_info {
    const char *name;        /* "P-256", "P-384", "RSA", "Ed25519": the key's name for people */
    const char *digest;      /* OpenSSL's name; NULL where the whole message is signed */
    size_t coordinate_bytes; /* of r and of s; 0 where the token's bytes go in as they are */
    struct der_oid oid;      /* signatureAlgorithm: RFC 5758, 3.2; RFC 4055, 5; RFC 8410, 3 */
    int null_parameters;     /* RFC 4055: NULL; RFC 5758 and RFC 8410: absent */
};
const struct signature_info *signature_info(enum signature_alg alg);
/* The algorithm a CA key of this kind signs with; ERR_KEY_TYPE when we have none. */
int signature_alg_of(EVP_PKEY *key, enum signature_alg *ret, struct err *e);
void signature_alg_encode(struct der *d, enum signature_alg alg); /* AlgorithmIdentifier */
/* What PKCS#11 gives (raw r || s, or an RSA block) into what certificates carry; appended to out. ERR_SIGNATURE. */
int signature_from_token(
        enum signature_alg alg, const uint8_t *raw, size_t len, struct buf *out, struct err *e);
/* ERR_SIGNATURE unless sig is the key's signature over the bytes. */
int signature_verify(EVP_PKEY *key, enum signature_alg alg, const void *bytes, size_t len,
        const uint8_t *sig, size_t sig_len, struct err *e);
