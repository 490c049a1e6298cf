/* The certificate builder. Promises: what it writes is DER and in the form of RFC 5280, the same
 * facts give the same bytes, and the subject's public key goes in as it came. It never decides,
 * signs or stores anything. */
#include "hsm/x509/cert.h"
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "hsm/x509/cert_extensions.h"

int cert_serial(uint8_t ret[CERT_SERIAL_BYTES], struct err *e)
{
    if (RAND_bytes(ret, CERT_SERIAL_BYTES) != 1)
        return err_set(e, ERR_IO, "the system gives no random bytes");
    ret[0] = (uint8_t)((ret[0] & 0x7f) | 0x40);
    return 0;
}

void cert_key_id(const uint8_t *key_bits, size_t len, uint8_t ret[CERT_KEY_ID_BYTES])
{
    uint8_t digest[32] = {0};

    EVP_Digest(key_bits, len, digest, NULL, EVP_sha256(), NULL);
    memcpy(ret, digest, CERT_KEY_ID_BYTES);
}

int cert_name(const struct cert_attr *attrs, size_t count, struct buf *out, struct err *e)
{
    uint8_t space[2048];
    const uint8_t *bytes;
    size_t len;
    struct der d;

    der_init(&d, space, sizeof space);
    for (size_t i = count; i-- > 0;) {
        size_t mark = der_len(&d);

        der_tlv(&d, attrs[i].string_tag, attrs[i].value, attrs[i].len);
        der_oid(&d, &attrs[i].type);
        der_wrap(&d, DER_SEQUENCE, mark);
        der_wrap(&d, DER_SET, mark);
    }
    der_wrap(&d, DER_SEQUENCE, 0);
    if (der_done(&d, &bytes, &len, e) < 0)
        return err_context(e, "subject name");
    return buf_append(out, bytes, len, e);
}

int cert_tbs(const struct cert_fields *f, struct buf *out, struct err *e)
{
    uint8_t space[CERT_BYTES_MAX - SIGNATURE_BYTES_MAX -
                  64]; /* 64: outer headers and the algorithm */
    const uint8_t *bytes;
    size_t len, mark;
    struct der d;

    der_init(&d, space, sizeof space);
    cert_extensions(&d, f);
    der_put(&d, f->spki.bytes, f->spki.len);
    der_put(&d, f->subject.bytes, f->subject.len);
    mark = der_len(&d);
    der_time(&d, f->not_after);
    der_time(&d, f->not_before);
    der_wrap(&d, DER_SEQUENCE, mark);
    der_put(&d, f->issuer.bytes, f->issuer.len);
    signature_alg_encode(&d, f->alg);
    der_uint(&d, f->serial, sizeof f->serial);
    mark = der_len(&d);
    der_tlv(&d, DER_INTEGER, "\2", 1); /* v3 */
    der_wrap(&d, DER_CONTEXT_OF(0), mark);
    der_wrap(&d, DER_SEQUENCE, 0);
    if (der_done(&d, &bytes, &len, e) < 0)
        return err_context(e, "certificate");
    return buf_append(out, bytes, len, e);
}

int cert_assemble(const struct cert_bytes *tbs, enum signature_alg alg,
        const struct cert_bytes *sig, struct buf *out, struct err *e)
{
    uint8_t space[CERT_BYTES_MAX];
    const uint8_t *bytes;
    size_t len;
    struct der d;

    der_init(&d, space, sizeof space);
    der_put(&d, sig->bytes, sig->len);
    der_wrap_bits(&d, 0);
    signature_alg_encode(&d, alg);
    der_put(&d, tbs->bytes, tbs->len);
    der_wrap(&d, DER_SEQUENCE, 0);
    if (der_done(&d, &bytes, &len, e) < 0)
        return err_context(e, "certificate");
    return buf_append(out, bytes, len, e);
}
