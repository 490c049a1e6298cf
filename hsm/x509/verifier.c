/* Kept verifications. Promises the same answers as signature_verify(), sooner; what it keeps is
 * public. Must never keep anything of one signature that the next could be taken for. */
#include "hsm/x509/verifier.h"
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include "base/buf.h"
#include "base/err.h"
#include "hsm/x509/p256_table.h"

struct verifier {
    enum signature_alg alg;
    EVP_PKEY *key;
    EVP_MD *md; /* NULL: this algorithm takes the bytes whole */
    EVP_MD_CTX *hash;
    EVP_PKEY_CTX *check;      /* refers to key, also after its point was changed */
    struct p256_table *table; /* for the CA's P-256 key; NULL: any other */
};

static int prepare(struct verifier *v, struct err *e)
{
    const char *digest = signature_info(v->alg)->digest;

    if (!digest)
        return 0;
    v->md = EVP_MD_fetch(NULL, digest, NULL);
    v->hash = EVP_MD_CTX_new();
    v->check = EVP_PKEY_CTX_new(v->key, NULL);
    if (!v->md || !v->hash || !v->check || EVP_PKEY_verify_init(v->check) != 1 ||
            EVP_PKEY_CTX_set_signature_md(v->check, v->md) != 1 ||
            (EVP_PKEY_is_a(v->key, "RSA") &&
                    EVP_PKEY_CTX_set_rsa_padding(v->check, RSA_PKCS1_PADDING) != 1))
        return err_set(e, ERR_NOMEM, "no signature check can be set up");
    return 0;
}

static int make(EVP_PKEY *key, enum signature_alg alg, struct verifier **ret, struct err *e)
{
    struct verifier *v = calloc(1, sizeof *v);

    if (!v) {
        EVP_PKEY_free(key);
        return err_set(e, ERR_NOMEM, "no memory for a signature check");
    }
    v->alg = alg;
    v->key = key;
    if (prepare(v, e) < 0) {
        verifier_free(&v);
        return -1;
    }
    *ret = v;
    return 0;
}

int verifier_new(EVP_PKEY *key, enum signature_alg alg, struct verifier **ret, struct err *e)
{
    EVP_PKEY_up_ref(key);
    if (make(key, alg, ret, e) < 0)
        return -1;
    if (alg == SIGNATURE_ECDSA_P256)
        (*ret)->table = p256_table_new(key); /* without it OpenSSL checks, more slowly */
    return 0;
}

int verifier_new_p256(struct verifier **ret, struct err *e)
{
    EVP_PKEY *key = EVP_EC_gen("P-256"); /* a place for points; its private half is never used */

    if (!key)
        return err_set(e, ERR_NOMEM, "no memory for a signature check");
    return make(key, SIGNATURE_ECDSA_P256, ret, e);
}

void verifier_free(struct verifier **pv)
{
    struct verifier *v = *pv;

    if (!v)
        return;
    p256_table_free(&v->table);
    EVP_PKEY_CTX_free(v->check);
    EVP_MD_CTX_free(v->hash);
    EVP_MD_free(v->md);
    EVP_PKEY_free(v->key);
    free(v);
    *pv = NULL;
}

int verifier_set_point(struct verifier *v, const uint8_t point[P256_POINT_BYTES], struct err *e)
{
    if (EVP_PKEY_set1_encoded_public_key(v->key, point, P256_POINT_BYTES) == 1)
        return 0;
    ERR_clear_error();
    return err_set(e, ERR_KEY_TYPE, "the public key is of an unknown type or not a valid key");
}

static int digest(struct verifier *v, const void *bytes, size_t len, uint8_t *ret, size_t *ret_len,
        struct err *e)
{
    unsigned n;

    if (EVP_DigestInit_ex2(v->hash, v->md, NULL) != 1 ||
            EVP_DigestUpdate(v->hash, bytes, len) != 1 || EVP_DigestFinal_ex(v->hash, ret, &n) != 1)
        return err_set(e, ERR_NOMEM, "no digest can be made");
    *ret_len = n;
    return 0;
}

static int wrong(struct err *e)
{
    return err_set(e, ERR_SIGNATURE, "the signature does not verify under its public key");
}

int verifier_check(struct verifier *v, const void *bytes, size_t len, const uint8_t *sig,
        size_t sig_len, struct err *e)
{
    uint8_t md[EVP_MAX_MD_SIZE];
    size_t md_len;
    int r;

    if (!v->md)
        return signature_verify(v->key, v->alg, bytes, len, sig, sig_len, e);
    if (digest(v, bytes, len, md, &md_len, e) < 0)
        return -1;
    r = EVP_PKEY_verify(v->check, sig, sig_len, md, md_len);
    ERR_clear_error(); /* the queue would grow with every wrong one */
    return r == 1 ? 0 : wrong(e);
}

int verifier_check_token(struct verifier *v, const void *bytes, size_t len, const uint8_t *raw,
        size_t raw_len, struct buf *out, struct err *e)
{
    size_t before = out->len;
    uint8_t md[EVP_MAX_MD_SIZE];
    size_t md_len;

    if (signature_from_token(v->alg, raw, raw_len, out, e) < 0)
        return -1;
    if (!v->table)
        return verifier_check(v, bytes, len, out->data + before, out->len - before, e);
    if (digest(v, bytes, len, md, &md_len, e) < 0)
        return -1;
    /* signature_from_token() has seen to the 64 bytes */
    return p256_table_verify(v->table, md, raw) ? 0 : wrong(e);
}
