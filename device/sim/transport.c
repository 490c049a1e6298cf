/* Written after the RFCs, not after the host's own code, so that each checks the other. A real device
 * would do the same with its few primitives: ECDH, SHA-256, AES-GCM. */
#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/param_build.h>
#include <openssl/core_names.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

/* --- the key --- */

static EVP_PKEY *read_key(int dir)
{
    uint8_t der[512];
    const uint8_t *at = der;
    int fd = openat(dir, "transport", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, der, sizeof der);

    if (fd >= 0)
        close(fd);
    return n > 0 ? d2i_AutoPrivateKey(NULL, &at, (long)n) : NULL;
}

static EVP_PKEY *make_key(int dir)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    uint8_t *der = NULL;
    int len = key ? i2d_PrivateKey(key, &der) : -1;
    int fd = openat(dir, "transport", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool done = len > 0 && fd >= 0 && write(fd, der, (size_t)len) == len;

    if (fd >= 0)
        close(fd);
    OPENSSL_free(der);
    if (done)
        return key;
    EVP_PKEY_free(key);
    return NULL;
}

int transport_load(int dir, EVP_PKEY **ret, uint8_t spki[TRANSPORT_SPKI_MAX], size_t *ret_spki_len)
{
    EVP_PKEY *key = read_key(dir);

    if (!key)
        key = make_key(dir);
    int len = key ? i2d_PUBKEY(key, NULL) : -1;
    if (len <= 0 || len > TRANSPORT_SPKI_MAX) {
        EVP_PKEY_free(key);
        errno = errno ? errno : EINVAL;
        return -1;
    }
    *ret_spki_len = (size_t)i2d_PUBKEY(key, &spki);
    *ret = key;
    return 0;
}

/* --- text --- */

static int digit(uint8_t c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const char *at = c ? strchr(digits, c) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* -1, or the number of bytes. */
static int decode(const uint8_t *text, size_t len, uint8_t *out, size_t cap)
{
    uint32_t word = 0;
    unsigned bits = 0;
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        int d = digit(text[i]);
        if (d < 0)
            return -1;
        word = word << 6 | (uint32_t)d;
        bits += 6;
        if (bits < 8)
            continue;
        bits -= 8;
        if (n == cap)
            return -1;
        out[n++] = (uint8_t)(word >> bits);
    }
    return (int)n;
}

/* The value of "name":"..." in the header; enough for one that has no escapes and no such name inside
 * a value. */
static int member(const char *json, const char *name, uint8_t out[32])
{
    const char *at = strstr(json, name);
    const char *end = at ? strchr(at + strlen(name), '"') : NULL;

    return end && decode((const uint8_t *)at + strlen(name), (size_t)(end - at) - strlen(name), out,
                          32) == 32
                   ? 0
                   : -1;
}

static EVP_PKEY *ephemeral_of(const char *json)
{
    uint8_t point[65] = {4};
    char group[] = "prime256v1";
    EVP_PKEY *key = NULL;

    if (!strstr(json, "\"alg\":\"ECDH-ES\"") || !strstr(json, "\"enc\":\"A256GCM\"") ||
            !strstr(json, "\"crv\":\"P-256\"") || member(json, "\"x\":\"", point + 1) < 0 ||
            member(json, "\"y\":\"", point + 33) < 0)
        return NULL;
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
            OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point),
            OSSL_PARAM_construct_end()};
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    if (!ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
            EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    return key;
}

/* --- opening --- */

/* RFC 7518, 4.6.2: one round of SHA-256 over counter, Z and OtherInfo. */
static int content_key(EVP_PKEY *mine, EVP_PKEY *theirs, uint8_t ret[32])
{
    static const uint8_t counter[] = {0, 0, 0, 1};
    static const uint8_t other_info[] = {
            0, 0, 0, 7, 'A', '2', '5', '6', 'G', 'C', 'M', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0};
    uint8_t bytes[sizeof counter + 32 + sizeof other_info];
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(mine, NULL);
    size_t len = 32;
    bool done = ctx && EVP_PKEY_derive_init(ctx) == 1 &&
                EVP_PKEY_derive_set_peer(ctx, theirs) == 1 &&
                EVP_PKEY_derive(ctx, bytes + sizeof counter, &len) == 1 && len == 32;

    EVP_PKEY_CTX_free(ctx);
    memcpy(bytes, counter, sizeof counter);
    memcpy(bytes + sizeof counter + 32, other_info, sizeof other_info);
    done = done && EVP_Digest(bytes, sizeof bytes, ret, NULL, EVP_sha256(), NULL) == 1;
    OPENSSL_cleanse(bytes, sizeof bytes);
    return done ? 0 : -1;
}

struct piece {
    const uint8_t *at;
    size_t len;
};

/* Header, encrypted key, IV, ciphertext, tag. */
static int split(const uint8_t *jwe, size_t len, struct piece ret[5])
{
    for (unsigned i = 0; i < 5; i++) {
        const uint8_t *dot = memchr(jwe, '.', len);
        if ((dot == NULL) != (i == 4))
            return -1;
        ret[i] = (struct piece){jwe, dot ? (size_t)(dot - jwe) : len};
        if (dot) {
            len -= ret[i].len + 1;
            jwe = dot + 1;
        }
    }
    return ret[1].len == 0 ? 0 : -1;
}

static int decrypt(const struct piece p[5], const uint8_t key[32], uint8_t *out, size_t *ret_len)
{
    uint8_t iv[12], tag[16], sealed[TRANSPORT_PLAIN_MAX];
    int len = decode(p[3].at, p[3].len, sealed, sizeof sealed), n;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool good = ctx && len > 0 && decode(p[2].at, p[2].len, iv, sizeof iv) == sizeof iv &&
                decode(p[4].at, p[4].len, tag, sizeof tag) == sizeof tag &&
                EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, iv) == 1 &&
                EVP_DecryptUpdate(ctx, NULL, &n, p[0].at, (int)p[0].len) == 1 &&
                EVP_DecryptUpdate(ctx, out, &n, sealed, len) == 1 &&
                EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, sizeof tag, tag) == 1 &&
                EVP_DecryptFinal_ex(ctx, out + len, &n) == 1;

    EVP_CIPHER_CTX_free(ctx);
    *ret_len = (size_t)len;
    return good ? 0 : -1;
}

int transport_open(EVP_PKEY *key, const uint8_t *jwe, size_t len, uint8_t out[TRANSPORT_PLAIN_MAX],
        size_t *ret_len)
{
    struct piece pieces[5];
    char header[512];
    uint8_t cek[32];

    if (split(jwe, len, pieces) < 0)
        return -1;
    int n = decode(pieces[0].at, pieces[0].len, (uint8_t *)header, sizeof header - 1);
    if (n < 0)
        return -1;
    header[n] = 0;
    EVP_PKEY *theirs = ephemeral_of(header);
    int r = theirs ? content_key(key, theirs, cek) : -1;
    if (r == 0)
        r = decrypt(pieces, cek, out, ret_len);
    OPENSSL_cleanse(cek, sizeof cek);
    EVP_PKEY_free(theirs);
    return r;
}
