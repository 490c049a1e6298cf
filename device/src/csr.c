/* DER is written from its end to its start, so that every length is known when its header is due.
 * The buffer is used twice: the part to be signed grows at its end, then moves to its start, where
 * the signature follows. */
#include "csr.h"

#include <string.h>

#define TAG_BIT_STRING       0x03
#define TAG_PRINTABLE_STRING 0x13
#define TAG_UTF8_STRING      0x0C
#define TAG_SEQUENCE         0x30
#define TAG_SET              0x31
#define TAG_ATTRIBUTES       0xA0 /* [0] IMPLICIT SET OF Attribute */
#define DER_HEADER_MAX       4u   /* tag and a length up to 65535 */

struct der {
    uint8_t *start; /* nothing may be written before it */
    uint8_t *at;    /* what is written so far begins here */
    bool full;
};

static void der_put(struct der *d, const void *bytes, size_t len)
{
    if (d->full || (size_t)(d->at - d->start) < len) {
        d->full = true;
        return;
    }
    d->at -= len;
    memcpy(d->at, bytes, len);
}

static size_t der_header(uint8_t tag, size_t len, uint8_t out[DER_HEADER_MAX])
{
    size_t n = 0;

    out[n++] = tag;
    if (len >= 0x100) {
        out[n++] = 0x82;
        out[n++] = (uint8_t)(len >> 8);
    } else if (len >= 0x80) {
        out[n++] = 0x81;
    }
    out[n++] = (uint8_t)len;
    return n;
}

/* Puts a header before all that was written since `end`. */
static void der_wrap(struct der *d, uint8_t tag, const uint8_t *end)
{
    uint8_t header[DER_HEADER_MAX];

    if (d->full || end - d->at > 0xFFFF) {
        d->full = true;
        return;
    }
    der_put(d, header, der_header(tag, (size_t)(end - d->at), header));
}

static void put_nonce_attribute(struct der *d, const uint8_t nonce[KL_NONCE_BYTES])
{
    static const uint8_t challenge_password[] = {
            0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x09, 0x07};
    static const char digits[] = "0123456789abcdef";
    const uint8_t *end = d->at;
    uint8_t hex[2 * KL_NONCE_BYTES];

    for (size_t i = 0; i < KL_NONCE_BYTES; i++) {
        hex[2 * i] = (uint8_t)digits[nonce[i] >> 4];
        hex[2 * i + 1] = (uint8_t)digits[nonce[i] & 15u];
    }
    der_put(d, hex, sizeof hex);
    der_wrap(d, TAG_PRINTABLE_STRING, end);
    der_wrap(d, TAG_SET, end);
    der_put(d, challenge_password, sizeof challenge_password);
    der_wrap(d, TAG_SEQUENCE, end);
    der_wrap(d, TAG_ATTRIBUTES, end);
}

static void put_subject(struct der *d, const uint8_t *cn, size_t cn_len)
{
    static const uint8_t common_name[] = {0x06, 0x03, 0x55, 0x04, 0x03};
    const uint8_t *end = d->at;

    if (cn_len) {
        der_put(d, cn, cn_len);
        der_wrap(d, TAG_UTF8_STRING, end);
        der_put(d, common_name, sizeof common_name);
        der_wrap(d, TAG_SEQUENCE, end);
        der_wrap(d, TAG_SET, end);
    }
    der_wrap(d, TAG_SEQUENCE, end);
}

/* RFC 5758, 3.2 and RFC 4055, 5: the whole AlgorithmIdentifier. */
static const uint8_t *signature_algorithm(enum kl_key_type type, size_t *ret_len)
{
    static const uint8_t ecdsa_sha256[] = {
            0x30, 0x0A, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02};
    static const uint8_t rsa_sha256[] = {0x30, 0x0D, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D,
            0x01, 0x01, 0x0B, 0x05, 0x00};
    bool ecdsa = type == KL_KEY_P256 || type == KL_KEY_P384;

    *ret_len = ecdsa ? sizeof ecdsa_sha256 : sizeof rsa_sha256;
    return ecdsa ? ecdsa_sha256 : rsa_sha256;
}

/* CertificationRequestInfo at the end of out; *ret_at is its first byte. */
static enum kl_error put_info(const struct kl_crypto *c, const struct csr_key *key,
        const uint8_t *cn, size_t cn_len, const uint8_t *nonce, uint8_t *out, size_t cap,
        uint8_t **ret_at)
{
    static const uint8_t version[] = {0x02, 0x01, 0x00};
    struct der d = {out, out + cap, false};
    size_t spki_len;

    put_nonce_attribute(&d, nonce);
    enum kl_error error = d.full ? KL_ERROR_TOO_LARGE
                                 : c->public_key(c->ctx, key->type, key->bytes, key->len, out,
                                           (size_t)(d.at - out), &spki_len);
    if (error)
        return error;
    memmove(d.at - spki_len, out, spki_len);
    d.at -= spki_len;
    put_subject(&d, cn, cn_len);
    der_put(&d, version, sizeof version);
    der_wrap(&d, TAG_SEQUENCE, out + cap);
    *ret_at = d.at;
    return d.full ? KL_ERROR_TOO_LARGE : KL_OK;
}

enum kl_error csr_make(const struct kl_crypto *c, const struct csr_key *key, const uint8_t *cn,
        size_t cn_len, const uint8_t nonce[KL_NONCE_BYTES], uint8_t *out, size_t cap,
        size_t *ret_len)
{
    uint8_t *info, header[DER_HEADER_MAX + 1];
    size_t algorithm_len, sig_len;
    const uint8_t *algorithm = signature_algorithm(key->type, &algorithm_len);

    enum kl_error error = put_info(c, key, cn, cn_len, nonce, out, cap, &info);
    if (error)
        return error;
    size_t info_len = (size_t)(out + cap - info);
    /* Behind the info: its algorithm, then the signature with room left for the BIT STRING's
     * header. */
    size_t fixed = DER_HEADER_MAX + info_len + algorithm_len + DER_HEADER_MAX + 1;
    if (fixed >= cap)
        return KL_ERROR_TOO_LARGE;
    memmove(out + DER_HEADER_MAX, info, info_len);
    info = out + DER_HEADER_MAX;
    error = c->sign(c->ctx, key->type, key->bytes, key->len, info, info_len, out + fixed,
            cap - fixed, &sig_len);
    if (error)
        return error;
    uint8_t *at = info + info_len;
    memcpy(at, algorithm, algorithm_len);
    at += algorithm_len;
    size_t header_len = der_header(TAG_BIT_STRING, sig_len + 1, header);
    header[header_len++] = 0; /* no unused bits */
    memmove(at + header_len, out + fixed, sig_len);
    memcpy(at, header, header_len);
    at += header_len + sig_len;
    size_t body_len = (size_t)(at - info);
    header_len = der_header(TAG_SEQUENCE, body_len, header);
    memmove(out + header_len, info, body_len);
    memcpy(out, header, header_len);
    *ret_len = header_len + body_len;
    return KL_OK;
}
