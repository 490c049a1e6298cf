/* A software CA and devices with software keys: what the signer and the devices are in these tests. */
#pragma once
#include <openssl/evp.h>
#include "base/buf.h"

struct test_ca {
    EVP_PKEY *key;
    struct buf cert; /* DER, self-signed */
    long serial;
};
void test_ca_init(struct test_ca *ca);
void test_ca_done(struct test_ca *ca);
EVP_PKEY *test_key(const char *type); /* "EC", "RSA", "ED25519" */
/* Appends a certificate (DER) over the key. */
void test_ca_issue(struct test_ca *ca, EVP_PKEY *key, struct buf *ret);
/* A PKCS#10 request over the key. */
void test_csr(EVP_PKEY *key, struct buf *ret);
/* The public key of a request; NULL when it is none. */
EVP_PKEY *test_csr_key(const uint8_t *der, size_t len);
/* What a device signs: CHALLENGE_CONTEXT with its NUL, then the challenge. */
void test_sign_challenge(EVP_PKEY *key, const uint8_t challenge[32], struct buf *ret);
