/* One secret for one reader: a compact JWE (RFC 7516) with ECDH-ES in Direct Key Agreement mode (RFC 7518, 4.6) on P-256
 * and A256GCM (RFC 7518, 5.3). Its header is exactly
 *   {"alg":"ECDH-ES","enc":"A256GCM","epk":{"crv":"P-256","kty":"EC","x":"..","y":".."},"typ":TYPE}
 * A JWE tells nothing about who made it: what the reader needs beyond secrecy it must check itself. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <openssl/evp.h>
#include "base/secret.h"

struct buf;
struct err;

#define JWE_SPKI_BYTES 91 /* DER SubjectPublicKeyInfo of a P-256 key, uncompressed (RFC 5480) */

/* What a JWE can hold. */
#define JWE_TYPE_KEY "keyline-key+jwe" /* PrivateKeyInfo (PKCS #8, RFC 5958), DER */

/* A reader's key pair; ret_spki is what the writer needs of it. */
int jwe_key_new(EVP_PKEY **ret, uint8_t ret_spki[JWE_SPKI_BYTES], struct err *e);
/* Appends the text. type: JWE_TYPE_*. ERR_KEY_TYPE when spki is not a P-256 key in that form. */
int jwe_seal(const uint8_t *spki, size_t spki_len, const char *type, const struct secret *plain,
        struct buf *out, struct err *e);
/* ERR_PROTOCOL when it is no such JWE, of another type, for another reader, or changed on its way. */
int jwe_open(EVP_PKEY *key, const char *type, const uint8_t *text, size_t len, struct secret *ret,
        struct err *e);
