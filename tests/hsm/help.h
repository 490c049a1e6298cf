/* What the tests of hsm/ share: a directory of their own, keys, requests with a nonce, rows and their tree. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/merkle.h"

/* Fails the test with the error's text. */
#define ok(call) help_ok((call), &e, #call, __FILE__, __LINE__)
/* The call must fail with this error; e is cleared for the next. */
#define refused(call, wanted) help_refused((call), ERR_##wanted, &e, #call, __FILE__, __LINE__)
void help_ok(int r, struct err *e, const char *what, const char *file, int line);
void help_refused(
        int r, enum err_id wanted, struct err *e, const char *what, const char *file, int line);

void help_rest_ms(unsigned ms);

/* A new directory; help_rmdir() takes it away with all in it. */
void help_mkdir(char path[64]);
void help_rmdir(const char *path);

EVP_PKEY *help_key(const char *type); /* "P-256", "P-384", "RSA:2048", "ED25519", ... */
/* A DER request over the nonce; digest NULL for Ed25519. */
void help_csr(EVP_PKEY *key, const uint8_t nonce[NONCE_BYTES], const char *digest, struct buf *out);
/* Self-signed, for signatures. */
X509 *help_cert(EVP_PKEY *key, const char *cn);
/* As OpenSSL writes it down; the signature is made after it. */
void help_add_extension(X509 *x, int nid, const char *value);
/* An issuing CA and its root, both of this key, as PEM: 2020 to 2199. */
void help_chain(EVP_PKEY *key, struct buf *out);

/* A manifest of `count` rows: device_name dev-N, device_group g, hwid HW-N and three subject columns, which every 8th row
 * lacks. */
struct help_rows {
    size_t count;
    struct buf *rows;
    struct merkle_hash *leaves, root;
};
bool help_row_nameless(size_t i);
void help_rows_make(struct help_rows *r, size_t count);
void help_rows_retree(struct help_rows *r); /* after a row was changed */
void help_rows_done(struct help_rows *r);
void help_rows_proof(const struct help_rows *r, size_t i, struct buf *out);
