/* Key generation, signatures and digests with OpenSSL 3. A key that is loaded is freed before the
 * call returns. */
#include "crypto.h"

#include "transport.h"

#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

static EVP_PKEY *make_key(enum kl_key_type type)
{
    switch (type) {
    case KL_KEY_P256:
        return EVP_EC_gen("P-256");
    case KL_KEY_P384:
        return EVP_EC_gen("P-384");
    case KL_KEY_RSA2048:
        return EVP_RSA_gen(2048);
    case KL_KEY_RSA3072:
        return EVP_RSA_gen(3072);
    case KL_KEY_RSA4096:
        return EVP_RSA_gen(4096);
    default:
        return NULL;
    }
}

static uint32_t generate_ms(void *ctx, enum kl_key_type type)
{
    (void)ctx;
    switch (type) {
    case KL_KEY_RSA2048:
        return 10000;
    case KL_KEY_RSA3072:
        return 30000;
    case KL_KEY_RSA4096:
        return 90000;
    default:
        return 0;
    }
}

static enum kl_error generate(
        void *ctx, enum kl_key_type type, uint8_t *key, size_t cap, size_t *ret_len)
{
    enum kl_error error = KL_ERROR_CRYPTO;
    PKCS8_PRIV_KEY_INFO *p8 = NULL;
    EVP_PKEY *pkey = make_key(type);

    (void)ctx;
    if (pkey)
        p8 = EVP_PKEY2PKCS8(pkey);
    int len = p8 ? i2d_PKCS8_PRIV_KEY_INFO(p8, NULL) : 0;
    if (len > 0 && (size_t)len <= cap) {
        uint8_t *at = key;
        *ret_len = (size_t)i2d_PKCS8_PRIV_KEY_INFO(p8, &at);
        error = KL_OK;
    }
    PKCS8_PRIV_KEY_INFO_free(p8);
    EVP_PKEY_free(pkey);
    return error;
}

static EVP_PKEY *load_key(const uint8_t *key, size_t len)
{
    return d2i_AutoPrivateKey(NULL, &key, (long)len);
}

static bool is_of_type(const EVP_PKEY *key, enum kl_key_type type)
{
    char group[16] = "";

    switch (type) {
    case KL_KEY_P256:
    case KL_KEY_P384:
        EVP_PKEY_get_group_name(key, group, sizeof group, NULL);
        return strcmp(group, type == KL_KEY_P256 ? "prime256v1" : "secp384r1") == 0;
    case KL_KEY_RSA2048:
    case KL_KEY_RSA3072:
    case KL_KEY_RSA4096:
        return EVP_PKEY_is_a(key, "RSA") &&
               EVP_PKEY_get_bits(key) == 2048 + 1024 * (int)(type - KL_KEY_RSA2048);
    default:
        return false;
    }
}

static enum kl_error take_pkcs8(enum kl_key_type type, const uint8_t *bytes, size_t len,
        uint8_t *key, size_t cap, size_t *ret_len)
{
    const uint8_t *at = bytes;
    EVP_PKEY *pkey = d2i_AutoPrivateKey(NULL, &at, (long)len);
    bool good = pkey && at == bytes + len && is_of_type(pkey, type);

    EVP_PKEY_free(pkey);
    if (!good)
        return KL_ERROR_CRYPTO;
    if (len > cap)
        return KL_ERROR_TOO_LARGE;
    memcpy(key, bytes, len);
    *ret_len = len;
    return KL_OK;
}

static enum kl_error import(void *ctx, enum kl_key_type type, const uint8_t *bytes, size_t len,
        uint8_t *key, size_t cap, size_t *ret_len)
{
    struct crypto *c = ctx;
    uint8_t plain[TRANSPORT_PLAIN_MAX];
    size_t plain_len;

    if (!c->transport)
        return take_pkcs8(type, bytes, len, key, cap, ret_len);
    if (transport_open(c->transport, bytes, len, plain, &plain_len) < 0)
        return KL_ERROR_CRYPTO;
    enum kl_error error = take_pkcs8(type, plain, plain_len, key, cap, ret_len);
    OPENSSL_cleanse(plain, sizeof plain);
    return error;
}

static enum kl_error public_key(void *ctx, enum kl_key_type type, const uint8_t *key,
        size_t key_len, uint8_t *spki, size_t cap, size_t *ret_len)
{
    enum kl_error error = KL_ERROR_CRYPTO;
    EVP_PKEY *pkey = load_key(key, key_len);

    (void)ctx, (void)type;
    int len = pkey ? i2d_PUBKEY(pkey, NULL) : 0;
    if (len > 0) {
        error = KL_ERROR_TOO_LARGE;
        if ((size_t)len <= cap) {
            *ret_len = (size_t)i2d_PUBKEY(pkey, &spki);
            error = KL_OK;
        }
    }
    EVP_PKEY_free(pkey);
    return error;
}

static enum kl_error sign(void *ctx, enum kl_key_type type, const uint8_t *key, size_t key_len,
        const uint8_t *msg, size_t msg_len, uint8_t *sig, size_t cap, size_t *ret_len)
{
    static const char context[] = KL_CHALLENGE_CONTEXT;
    struct crypto *c = ctx;
    bool challenge = msg_len > sizeof context && memcmp(msg, context, sizeof context) == 0;
    bool lie = challenge ? c->wrong_challenge : c->wrong_csr;
    EVP_PKEY *pkey = lie ? make_key(type) : load_key(key, key_len);

    *ret_len = cap;
    bool done = pkey && EVP_DigestSignInit(c->md, NULL, EVP_sha256(), NULL, pkey) == 1 &&
                EVP_DigestSign(c->md, sig, ret_len, msg, msg_len) == 1;
    EVP_MD_CTX_reset(c->md);
    EVP_PKEY_free(pkey);
    return done ? KL_OK : KL_ERROR_CRYPTO;
}

static enum kl_error sha256_begin(void *ctx)
{
    struct crypto *c = ctx;

    return EVP_DigestInit_ex(c->md, EVP_sha256(), NULL) == 1 ? KL_OK : KL_ERROR_CRYPTO;
}

static enum kl_error sha256_add(void *ctx, const uint8_t *bytes, size_t len)
{
    struct crypto *c = ctx;

    return EVP_DigestUpdate(c->md, bytes, len) == 1 ? KL_OK : KL_ERROR_CRYPTO;
}

static enum kl_error sha256_end(void *ctx, uint8_t ret[KL_SHA256_BYTES])
{
    struct crypto *c = ctx;

    return EVP_DigestFinal_ex(c->md, ret, NULL) == 1 ? KL_OK : KL_ERROR_CRYPTO;
}

int crypto_open(struct crypto *c)
{
    *c = (struct crypto){.md = EVP_MD_CTX_new()};
    c->table = (struct kl_crypto){
            .ctx = c,
            .key_types = 1u << KL_KEY_P256 | 1u << KL_KEY_P384 | 1u << KL_KEY_RSA2048 |
                         1u << KL_KEY_RSA3072 | 1u << KL_KEY_RSA4096,
            .generate_ms = generate_ms,
            .generate = generate,
            .public_key = public_key,
            .sign = sign,
            .sha256_begin = sha256_begin,
            .sha256_add = sha256_add,
            .sha256_end = sha256_end,
    };
    return c->md ? 0 : -1;
}

void crypto_take_keys(struct crypto *c)
{
    c->table.import_types = c->table.key_types;
    c->table.import = import;
    c->table.key_types = 0;
}

void crypto_close(struct crypto *c)
{
    EVP_PKEY_free(c->transport);
    EVP_MD_CTX_free(c->md);
    c->transport = NULL;
    c->md = NULL;
}
