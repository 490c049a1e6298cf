/* Signature checks for one who makes many. OpenSSL 3.0 looks up digest, key type and curve by their names in every call
 * that is given names; a verifier keeps what such a look-up found. One thread, one verifier. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "hsm/x509/signature.h"

#define P256_POINT_BYTES 65 /* 0x04 || x || y */

struct buf;
struct err;
struct verifier;

/* For signatures of one key, the CA's; key is borrowed for the call. */
int verifier_new(EVP_PKEY *key, enum signature_alg alg, struct verifier **ret, struct err *e);
/* For ECDSA with SHA-256 under a new P-256 key every time: verifier_set_point() first. */
int verifier_new_p256(struct verifier **ret, struct err *e);
void verifier_free(struct verifier **v);

/* ERR_KEY_TYPE when that is no point of the curve; cofactor 1: there is nothing else to check. */
int verifier_set_point(struct verifier *v, const uint8_t point[P256_POINT_BYTES], struct err *e);
/* sig as certificates and requests carry it. ERR_SIGNATURE unless it is right. */
int verifier_check(struct verifier *v, const void *bytes, size_t len, const uint8_t *sig,
        size_t sig_len, struct err *e);
/* The same for what a token gives (signature_from_token()); the certificate's form of it is appended to out. */
int verifier_check_token(struct verifier *v, const void *bytes, size_t len, const uint8_t *raw,
        size_t raw_len, struct buf *out, struct err *e);
