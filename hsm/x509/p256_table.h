/* ECDSA verification on P-256 under one public key, with multiples of that key computed once: about half the time of
 * OpenSSL's, which has such a table for the base point only. All data here is public. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <openssl/evp.h>

struct p256_table;

/* NULL when key is no P-256 key or this OpenSSL cannot make the table (150 KB). */
struct p256_table *p256_table_new(EVP_PKEY *key);
void p256_table_free(struct p256_table **t);
/* Whether raw, r || s big-endian, is the key's signature over this SHA-256 digest: FIPS 186-4, 6.4.2 (and X9.62, 7.4.1). */
bool p256_table_verify(const struct p256_table *t, const uint8_t digest[32], const uint8_t raw[64]);
