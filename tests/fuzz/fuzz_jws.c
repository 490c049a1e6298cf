/* A JWS as approvers sign them: any text into jws_verify(). Promises that only what the anchor's key signed passes, byte
 * for byte. The mutator changes what is inside the three parts, and signs again. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/ecdsa.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/text.h"
#include "hsm/approval/jws.h"
#include "tests/fuzz/fuzz.h"
#include "tests/hsm/help.h"

#define TYPE "keyline-ticket+jws"
#define HALF 32

static X509_STORE *anchors(void)
{
    static X509_STORE *store;

    if (!store) {
        store = X509_STORE_new();
        must(store && X509_STORE_add_cert(store, fuzz_approver()) == 1);
    }
    return store;
}

/* The text before the last dot is what the anchor's key signed: by OpenSSL alone. */
static void check_accepted(const char *jws)
{
    const char *dot = strrchr(jws, '.');
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    struct buf raw = BUF_INIT;
    uint8_t der[FUZZ_SIGNATURE_MAX], *at = der;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    int len;

    promise(base64url_decode(dot + 1, strlen(dot + 1), &raw, NULL) == 0 && raw.len == 2 * HALF);
    ECDSA_SIG_set0(sig, BN_bin2bn(raw.data, HALF, NULL), BN_bin2bn(raw.data + HALF, HALF, NULL));
    len = i2d_ECDSA_SIG(sig, &at);
    promise(EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, fuzz_key()) == 1 &&
            EVP_DigestVerify(ctx, der, (size_t)len, (const uint8_t *)jws, (size_t)(dot - jws)) ==
                    1);
    ECDSA_SIG_free(sig);
    EVP_MD_CTX_free(ctx);
    buf_done(&raw);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = strndup((const char *)data, size);
    json_t *payload = NULL;
    struct err e = {0};
    int r;

    must(text);
    r = jws_verify(text, TYPE, anchors(), &payload, &e);
    fuzz_outcome(r, &e);
    promise((r == 0) == (payload != NULL));
    if (r == 0) {
        check_accepted(text);
        json_decref(payload);
        /* what was signed for one purpose serves no other */
        promise(jws_verify(text, "keyline-other+jws", anchors(), &payload, &e) < 0);
    }
    free(text);
    return 0;
}

/* ---- the mutator */

static int split(const uint8_t *data, size_t size, struct buf part[3])
{
    size_t from = 0;

    for (int i = 0; i < 3; i++) {
        const uint8_t *dot = i < 2 ? memchr(data + from, '.', size - from) : data + size;

        if (!dot || base64url_decode((const char *)data + from, (size_t)(dot - data) - from,
                            &part[i], NULL) < 0)
            return -1;
        from = (size_t)(dot - data) + 1;
    }
    return 0;
}

static void sign_again(const struct buf *text, struct buf *ret)
{
    uint8_t der[FUZZ_SIGNATURE_MAX], raw[2 * HALF];
    const uint8_t *at = der;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)fuzz_sign(text->data, text->len, der));

    must(sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, HALF) == HALF &&
            BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + HALF, HALF) == HALF);
    ECDSA_SIG_free(sig);
    buf_reset(ret);
    must(buf_append(ret, raw, sizeof raw, NULL) == 0);
}

static size_t put_together(struct buf part[3], uint8_t *data, size_t max, int sign)
{
    struct buf text = BUF_INIT;
    size_t n = 0;

    must(base64url_encode(part[0].data, part[0].len, &text, NULL) == 0 &&
            buf_append(&text, ".", 1, NULL) == 0 &&
            base64url_encode(part[1].data, part[1].len, &text, NULL) == 0);
    if (sign)
        sign_again(&text, &part[2]);
    must(buf_append(&text, ".", 1, NULL) == 0 &&
            base64url_encode(part[2].data, part[2].len, &text, NULL) == 0);
    if (text.len <= max)
        memcpy(data, text.data, n = text.len);
    buf_done(&text);
    return n;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    struct buf part[3] = {BUF_INIT, BUF_INIT, BUF_INIT};
    struct buf *one = &part[seed / 4 % 3];
    size_t n = 0;
    uint8_t *room;

    if (seed % 4 && split(data, size, part) == 0 && buf_reserve(one, 256, &room, NULL) == 0) {
        one->len = LLVMFuzzerMutate(one->data, one->len, one->len + 256);
        n = put_together(part, data, max, seed % 4 != 1 && one != &part[2]);
    }
    for (int i = 0; i < 3; i++)
        buf_done(&part[i]);
    return n ? n : LLVMFuzzerMutate(data, size, max);
}

static void seed(fuzz_seed_fn add, const char *name, EVP_PKEY *key, X509 *x, int certs)
{
    STACK_OF(X509) *chain = sk_X509_new_null();
    const struct jws_signer by = jws_key_signer(key, chain);
    json_t *payload = json_pack("{s:i,s:s}", "v", 1, "job", "x");
    struct err e = {0};
    char *jws;

    while (certs--)
        sk_X509_push(chain, x);
    must(jws_sign(TYPE, payload, &by, &jws, &e) == 0);
    add(name, jws, strlen(jws));
    free(jws);
    json_decref(payload);
    sk_X509_free(chain);
}

void fuzz_seeds(fuzz_seed_fn add)
{
    static const char *const strangers[][2] = {
            {"stranger-p384", "P-384"}, {"stranger-rsa", "RSA:2048"}};

    seed(add, "trusted", fuzz_key(), fuzz_approver(), 1);
    seed(add, "chain", fuzz_key(), fuzz_approver(), 3);
    for (int i = 0; i < 2; i++) {
        EVP_PKEY *key = help_key(strangers[i][1]);
        X509 *x = help_cert(key, "Stranger");

        seed(add, strangers[i][0], key, x, 1);
        X509_free(x);
        EVP_PKEY_free(key);
    }
}
