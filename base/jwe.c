/* JWE, one form of it. Promises that what jwe_open() gives is byte for byte what somebody sealed for
 * this key; shared secrets, content keys and contents lie in secret memory only. Never says why a
 * decryption failed: that would help only an attacker. */
#include "base/jwe.h"

#include <stdio.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <openssl/x509.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/text.h"

#define COORDINATE 32
#define CEK        32
#define IV         12
#define TAG        16
#define HEADER_MAX 320
#define PLAIN_MAX  8192 /* RSA-4096 in PKCS #8 has 2.4 KB */

/* SubjectPublicKeyInfo of every P-256 key, up to the point's coordinates. */
static const uint8_t spki_head[JWE_SPKI_BYTES - 2 * COORDINATE] = {0x30, 0x59, 0x30, 0x13, 0x06,
        0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
        0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04};

/* OpenSSL refuses a point that is not on the curve. */
static EVP_PKEY *read_key(const uint8_t *spki, size_t len)
{
    const uint8_t *at = spki;

    if (len != JWE_SPKI_BYTES || memcmp(spki, spki_head, sizeof spki_head) != 0)
        return NULL;
    return d2i_PUBKEY(NULL, &at, (long)len);
}

int jwe_key_new(EVP_PKEY **ret, uint8_t ret_spki[JWE_SPKI_BYTES], struct err *e)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    uint8_t *at = ret_spki;

    if (!key || i2d_PUBKEY(key, NULL) != JWE_SPKI_BYTES || i2d_PUBKEY(key, &at) != JWE_SPKI_BYTES) {
        EVP_PKEY_free(key);
        ERR_clear_error();
        return err_set(e, ERR_NOMEM, "no transport key can be made");
    }
    *ret = key;
    return 0;
}

/* ---- the content key */

/* RFC 7518, 4.6.2: Concat KDF (NIST SP 800-56A, 5.8.1) with SHA-256; OtherInfo is AlgorithmID "A256GCM",
 * empty PartyUInfo and PartyVInfo, SuppPubInfo 256 bits. */
static int concat_kdf(const struct secret *z, struct secret *cek)
{
    static const uint8_t other_info[] = {
            0, 0, 0, 7, 'A', '2', '5', '6', 'G', 'C', 'M', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0};
    char digest[] = "SHA256";
    const OSSL_PARAM params[] = {
            OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
            OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, z->bytes, z->len),
            OSSL_PARAM_construct_octet_string(
                    OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)other_info, sizeof other_info),
            OSSL_PARAM_construct_end(),
    };
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "SSKDF", NULL);
    EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
    int done = ctx && EVP_KDF_derive(ctx, cek->bytes, cek->len, params) == 1;

    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
    return done ? 0 : -1;
}

static int agree(EVP_PKEY *mine, EVP_PKEY *theirs, struct secret *ret_cek, struct err *e)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(mine, NULL);
    struct secret z = SECRET_INIT;
    size_t len = COORDINATE;
    int r = -1;

    if (secret_new(COORDINATE, &z, e) < 0 || secret_new(CEK, ret_cek, e) < 0)
        goto out;
    if (!ctx || EVP_PKEY_derive_init(ctx) != 1 || EVP_PKEY_derive_set_peer(ctx, theirs) != 1 ||
            EVP_PKEY_derive(ctx, z.bytes, &len) != 1 || len != z.len || concat_kdf(&z, ret_cek) < 0)
        err_set(e, ERR_NOMEM, "no key can be agreed on");
    else
        r = 0;
out:
    secret_done(&z);
    EVP_PKEY_CTX_free(ctx);
    return r;
}

/* ---- the header */

static const char *const header_parts[] = {
        ("{\"alg\":\"ECDH-ES\",\"enc\":\"A256GCM\",\"epk\":{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":"
         "\""),
        "\",\"y\":\"",
        "\"},\"typ\":\"",
        "\"}",
};

static int header_format(const uint8_t *point, const char *type, struct buf *out, struct err *e)
{
    struct buf x = BUF_INIT, y = BUF_INIT, json = BUF_INIT;
    int r = -1;

    if (base64url_encode(point, COORDINATE, &x, e) == 0 &&
            base64url_encode(point + COORDINATE, COORDINATE, &y, e) == 0 &&
            buf_printf(&json, e, "%s%.*s%s%.*s%s%s%s", header_parts[0], (int)x.len, x.data,
                    header_parts[1], (int)y.len, y.data, header_parts[2], type,
                    header_parts[3]) == 0)
        r = base64url_encode(json.data, json.len, out, e);
    buf_done(&x);
    buf_done(&y);
    buf_done(&json);
    return r;
}

static int take(const char **at, size_t *left, const char *expected)
{
    size_t len = strlen(expected);

    if (*left < len || memcmp(*at, expected, len) != 0)
        return -1;
    *at += len, *left -= len;
    return 0;
}

static int take_coordinate(const char **at, size_t *left, struct buf *spki, struct err *e)
{
    const size_t digits = 43; /* of 32 bytes */
    size_t before = spki->len;

    if (*left < digits || base64url_decode(*at, digits, spki, e) < 0 ||
            spki->len - before != COORDINATE)
        return -1;
    *at += digits, *left -= digits;
    return 0;
}

/* The one form, so no parser is needed; ret_spki: of epk. */
static int header_parse(
        const char *text, size_t len, const char *type, struct buf *ret_spki, struct err *e)
{
    struct buf json = BUF_INIT;
    const char *at;
    size_t left;
    int r = -1;

    if (len > HEADER_MAX || base64url_decode(text, len, &json, e) < 0)
        goto out;
    at = (const char *)json.data, left = json.len;
    if (buf_append(ret_spki, spki_head, sizeof spki_head, e) == 0 &&
            take(&at, &left, header_parts[0]) == 0 &&
            take_coordinate(&at, &left, ret_spki, e) == 0 &&
            take(&at, &left, header_parts[1]) == 0 &&
            take_coordinate(&at, &left, ret_spki, e) == 0 &&
            take(&at, &left, header_parts[2]) == 0 && take(&at, &left, type) == 0 &&
            take(&at, &left, header_parts[3]) == 0 && left == 0)
        r = 0;
out:
    buf_done(&json);
    return r;
}

/* ---- sealing */

struct parts {
    const uint8_t *aad; /* RFC 7516, 5.1, step 14: the header as it was sent */
    size_t aad_len;
    uint8_t iv[IV], tag[TAG];
};

static int encrypt(const struct secret *cek, const struct secret *plain, struct parts *p,
        struct buf *ret, struct err *e)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    uint8_t *at;
    int len, r = -1;

    if (buf_reserve(ret, plain->len, &at, e) < 0)
        goto out;
    if (!ctx || RAND_bytes(p->iv, IV) != 1 ||
            EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, cek->bytes, p->iv) != 1 ||
            EVP_EncryptUpdate(ctx, NULL, &len, p->aad, (int)p->aad_len) != 1 ||
            EVP_EncryptUpdate(ctx, at, &len, plain->bytes, (int)plain->len) != 1 ||
            (size_t)len != plain->len || EVP_EncryptFinal_ex(ctx, NULL, &len) != 1 ||
            EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG, p->tag) != 1) {
        err_set(e, ERR_NOMEM, "no secret can be sealed");
        goto out;
    }
    ret->len += plain->len;
    r = 0;
out:
    EVP_CIPHER_CTX_free(ctx);
    return r;
}

static int append_part(const void *bytes, size_t len, struct buf *out, struct err *e)
{
    return buf_append(out, ".", 1, e) < 0 ? -1 : base64url_encode(bytes, len, out, e);
}

int jwe_seal(const uint8_t *spki, size_t spki_len, const char *type, const struct secret *plain,
        struct buf *out, struct err *e)
{
    uint8_t ephemeral_spki[JWE_SPKI_BYTES];
    EVP_PKEY *reader = read_key(spki, spki_len), *ephemeral = NULL;
    struct secret cek = SECRET_INIT;
    struct buf header = BUF_INIT, sealed = BUF_INIT;
    struct parts p = {0};
    int r = -1;

    if (!reader) {
        err_set(e, ERR_KEY_TYPE, "a transport key must be a P-256 key, uncompressed");
        goto out;
    }
    if (plain->len > PLAIN_MAX) {
        err_set(e, ERR_LIMIT, "%zu bytes are too many to seal", plain->len);
        goto out;
    }
    if (jwe_key_new(&ephemeral, ephemeral_spki, e) < 0 || agree(ephemeral, reader, &cek, e) < 0 ||
            header_format(ephemeral_spki + sizeof spki_head, type, &header, e) < 0)
        goto out;
    p.aad = header.data, p.aad_len = header.len;
    /* The second part is empty: the content key is agreed on, not sent (RFC 7516, 5.1, step 5). */
    if (encrypt(&cek, plain, &p, &sealed, e) == 0 &&
            buf_append(out, header.data, header.len, e) == 0 && buf_append(out, ".", 1, e) == 0 &&
            append_part(p.iv, IV, out, e) == 0 &&
            append_part(sealed.data, sealed.len, out, e) == 0 &&
            append_part(p.tag, TAG, out, e) == 0)
        r = 0;
out:
    ERR_clear_error();
    secret_done(&cek);
    EVP_PKEY_free(ephemeral);
    EVP_PKEY_free(reader);
    buf_done(&header);
    buf_done(&sealed);
    return r;
}

/* ---- opening */

static int decrypt(const struct secret *cek, struct parts *p, const struct buf *sealed,
        struct secret *ret, struct err *e)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int len, r = -1;

    if (secret_new(sealed->len, ret, e) < 0)
        goto out;
    if (ctx && EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, cek->bytes, p->iv) == 1 &&
            EVP_DecryptUpdate(ctx, NULL, &len, p->aad, (int)p->aad_len) == 1 &&
            EVP_DecryptUpdate(ctx, ret->bytes, &len, sealed->data, (int)sealed->len) == 1 &&
            (size_t)len == sealed->len &&
            EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG, p->tag) == 1 &&
            EVP_DecryptFinal_ex(ctx, NULL, &len) == 1)
        r = 0;
out:
    EVP_CIPHER_CTX_free(ctx);
    return r;
}

/* Five parts, the second empty. */
static int split(const char *text, size_t len, const char *at[5], size_t lens[5])
{
    for (int i = 0; i < 5; i++) {
        const char *dot = i < 4 ? memchr(text, '.', len) : text + len;

        if (!dot || (i == 4 && memchr(text, '.', len)))
            return -1;
        at[i] = text, lens[i] = (size_t)(dot - text);
        text = dot + 1, len -= lens[i] + (i < 4);
    }
    return lens[1] == 0 ? 0 : -1;
}

static int decode_fixed(const char *text, size_t len, uint8_t *ret, size_t want, struct err *e)
{
    struct buf b = BUF_INIT;
    int r = base64url_decode(text, len, &b, e);

    if (r == 0 && b.len == want)
        memcpy(ret, b.data, want);
    else
        r = -1;
    buf_done(&b);
    return r;
}

int jwe_open(EVP_PKEY *key, const char *type, const uint8_t *text, size_t len, struct secret *ret,
        struct err *e)
{
    const char *at[5];
    size_t lens[5];
    struct parts p = {.aad = text};
    struct buf spki = BUF_INIT, sealed = BUF_INIT;
    struct secret cek = SECRET_INIT, plain = SECRET_INIT;
    struct err why = {0};
    EVP_PKEY *theirs = NULL;
    int r = -1;

    if (split((const char *)text, len, at, lens) < 0 || lens[3] > 2 * PLAIN_MAX ||
            header_parse(at[0], lens[0], type, &spki, &why) < 0 ||
            decode_fixed(at[2], lens[2], p.iv, IV, &why) < 0 ||
            base64url_decode(at[3], lens[3], &sealed, &why) < 0 ||
            decode_fixed(at[4], lens[4], p.tag, TAG, &why) < 0 ||
            !(theirs = read_key(spki.data, spki.len)))
        goto out;
    p.aad_len = lens[0];
    if (agree(key, theirs, &cek, &why) == 0 && decrypt(&cek, &p, &sealed, &plain, &why) == 0) {
        *ret = plain;
        plain = SECRET_INIT; /* it is the caller's now */
        r = 0;
    }
out:
    if (r < 0 && (why.id == ERR_NOMEM || why.id == ERR_BUG))
        err_set(e, why.id, "%s", why.msg);
    else if (r < 0)
        err_set(e, ERR_PROTOCOL, "what should be sealed for this key is not, or was changed");
    ERR_clear_error();
    secret_done(&cek);
    secret_done(&plain);
    EVP_PKEY_free(theirs);
    buf_done(&spki);
    buf_done(&sealed);
    return r;
}
