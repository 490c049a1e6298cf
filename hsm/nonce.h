/* Certification nonces: proof that a CSR was made for this row, now, and for this signer process. Stateless: the nonce
 * carries its own time and a MAC, so asking for a million of them costs the signer nothing. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "base/limits.h"

struct err;
struct nonce_key;

/* A random key in locked memory that is kept out of core files. */
int nonce_key_new(struct nonce_key **ret, struct err *e);
void nonce_key_free(struct nonce_key **k);
/* 8 bytes of Unix milliseconds, big-endian, then 24 bytes of HMAC-SHA256(key, time || row || job). */
int nonce_make(const struct nonce_key *k, int64_t now_ms, const char *job, uint64_t row,
        uint8_t ret[NONCE_BYTES], struct err *e);
/* ERR_NONCE unless made by nonce_make() with these facts, and not longer ago than valid_s. */
int nonce_check(const struct nonce_key *k, int64_t now_ms, int64_t valid_s, const char *job,
        uint64_t row, const uint8_t nonce[NONCE_BYTES], struct err *e);
