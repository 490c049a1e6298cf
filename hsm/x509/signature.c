/* Signature algorithms of the CA. Promises that nothing passes signature_verify() but a right
 * signature; holds no key. */
#include "hsm/x509/signature.h"
#include <string.h>
#include <openssl/err.h>
#include "base/buf.h"
#include "base/err.h"

#define ED25519_BYTES 64 /* RFC 8032, 5.1.6 */

static const struct signature_info algs[SIGNATURE_ALG_COUNT] =
        {
                [SIGNATURE_ECDSA_P256] =
                        {
                                .name = "P-256",
                                .digest = "SHA256",
                                .coordinate_bytes = 32,
                                .oid = {8, {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02}},
                        },
                [SIGNATURE_ECDSA_P384] =
                        {
                                .name = "P-384",
                                .digest = "SHA384",
                                .coordinate_bytes = 48,
                                .oid = {8, {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03}},
                        },
                [SIGNATURE_RSA] =
                        {
                                .name = "RSA",
                                .digest = "SHA256",
                                .oid = {9, {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b}},
                                .null_parameters = 1,
                        },
                [SIGNATURE_ED25519] =
                        {
                                .name = "Ed25519",
                                .oid = {3, {0x2b, 0x65, 0x70}},
                        },
};

const struct signature_info *signature_info(enum signature_alg alg)
{
    return &algs[alg];
}

int signature_alg_of(EVP_PKEY *key, enum signature_alg *ret, struct err *e)
{
    char group[32] = "";

    if (EVP_PKEY_is_a(key, "RSA")) {
        *ret = SIGNATURE_RSA;
        return 0;
    }
    if (EVP_PKEY_is_a(key, "ED25519")) {
        *ret = SIGNATURE_ED25519;
        return 0;
    }
    EVP_PKEY_get_group_name(key, group, sizeof group, NULL);
    if (strcmp(group, "prime256v1") == 0)
        *ret = SIGNATURE_ECDSA_P256;
    else if (strcmp(group, "secp384r1") == 0)
        *ret = SIGNATURE_ECDSA_P384;
    else
        return err_set(e, ERR_KEY_TYPE, "a CA key must be P-256, P-384, RSA or Ed25519");
    return 0;
}

void signature_alg_encode(struct der *d, enum signature_alg alg)
{
    size_t mark = der_len(d);

    if (algs[alg].null_parameters)
        der_tlv(d, DER_NULL, NULL, 0);
    der_oid(d, &algs[alg].oid);
    der_wrap(d, DER_SEQUENCE, mark);
}

int signature_from_token(
        enum signature_alg alg, const uint8_t *raw, size_t len, struct buf *out, struct err *e)
{
    size_t half = algs[alg].coordinate_bytes;
    uint8_t space[128];
    const uint8_t *bytes;
    size_t bytes_len;
    struct der d;

    if (len == 0 || len > SIGNATURE_BYTES_MAX)
        return err_set(e, ERR_SIGNATURE, "the token gave a signature of %zu bytes", len);
    if (alg == SIGNATURE_ED25519 && len != ED25519_BYTES)
        return err_set(e, ERR_SIGNATURE, "the token gave %zu bytes for an Ed25519 signature of %d",
                len, ED25519_BYTES);
    if (!half)
        return buf_append(out, raw, len, e);
    if (len != 2 * half)
        return err_set(e, ERR_SIGNATURE, "the token gave %zu bytes for an ECDSA signature of %zu",
                len, 2 * half);
    der_init(&d, space, sizeof space);
    der_uint(&d, raw + half, half);
    der_uint(&d, raw, half);
    der_wrap(&d, DER_SEQUENCE, 0);
    if (der_done(&d, &bytes, &bytes_len, e) < 0)
        return -1;
    return buf_append(out, bytes, bytes_len, e);
}

int signature_verify(EVP_PKEY *key, enum signature_alg alg, const void *bytes, size_t len,
        const uint8_t *sig, size_t sig_len, struct err *e)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int r = -1;

    if (!ctx || EVP_DigestVerifyInit_ex(ctx, NULL, algs[alg].digest, NULL, NULL, key, NULL) != 1)
        err_set(e, ERR_NOMEM, "no signature check can be set up");
    else if (EVP_DigestVerify(ctx, sig, sig_len, bytes, len) != 1)
        err_set(e, ERR_SIGNATURE, "the signature does not verify under the CA's public key");
    else
        r = 0;
    ERR_clear_error();
    EVP_MD_CTX_free(ctx);
    return r;
}
