/* PEM files: certificate chains, and the approver's key, which exists in the clear only between pem_read_key() and its
 * EVP_PKEY_free(). */
#pragma once
#include <openssl/evp.h>
#include <openssl/x509.h>

struct err;

/* At least one certificate, in the file's order; free with sk_X509_pop_free(chain, X509_free). */
int pem_read_chain(const char *path, STACK_OF(X509) * *ret, struct err *e);
/* Whether the file has a private key in PEM form, and passphrase_file (or NULL) a secret: what can be told without unlocking
 * the key. */
int pem_check_key(const char *path, const char *passphrase_file, struct err *e);
/* passphrase_file NULL: asked for at the terminal, without echo, if the key is encrypted. */
int pem_read_key(const char *path, const char *passphrase_file, EVP_PKEY **ret, struct err *e);
