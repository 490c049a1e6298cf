/* The certificate builder. Promises: what it writes is DER and in the form of RFC 5280, the same
 * facts give the same bytes, and the subject's public key goes in as it came. It never decides,
 * signs or stores anything. */
#include "hsm/cert.h"
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"

/* id-ce, RFC 5280, 4.2.1 */
static const struct der_oid oid_subject_key_id = {3, {0x55, 0x1d, 0x0e}};
static const struct der_oid oid_key_usage = {3, {0x55, 0x1d, 0x0f}};
static const struct der_oid oid_subject_alt_name = {3, {0x55, 0x1d, 0x11}};
static const struct der_oid oid_basic_constraints = {3, {0x55, 0x1d, 0x13}};
static const struct der_oid oid_authority_key_id = {3, {0x55, 0x1d, 0x23}};
static const struct der_oid oid_ext_key_usage = {3, {0x55, 0x1d, 0x25}};
static const struct der_oid oid_client_auth = {8, {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02}};
/* id-on-hardwareModuleName 1.3.6.1.5.5.7.8.4, RFC 4108, section 5 */
static const struct der_oid oid_hardware_module_name = {
        8, {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x08, 0x04}};
/* hwType 1.3.6.1.4.1.32473.1.1. RFC 4108 wants an OID of the hardware's maker. Keyline has no
 * enterprise number of its own and must not borrow one, so this is in the arc RFC 5612 keeps for
 * examples; it becomes a column of the profile. */
static const struct der_oid oid_hw_type = {
        10, {0x2b, 0x06, 0x01, 0x04, 0x01, 0x81, 0xfd, 0x59, 0x01, 0x01}};

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

enum criticality { CRITICAL, NOT_CRITICAL };

/* Everything since the mark becomes the value of this extension. */
static void extension(struct der *d, const struct der_oid *oid, enum criticality c, size_t mark)
{
    der_wrap(d, DER_OCTET_STRING, mark);
    if (c == CRITICAL)
        der_true(d);
    der_oid(d, oid);
    der_wrap(d, DER_SEQUENCE, mark);
}

static void key_ids(struct der *d, const struct cert_fields *f)
{
    size_t mark = der_len(d);

    if (f->authority_key_id.len) {
        der_tlv(d, DER_CONTEXT(0), f->authority_key_id.bytes, f->authority_key_id.len);
        der_wrap(d, DER_SEQUENCE, mark);
        extension(d, &oid_authority_key_id, NOT_CRITICAL, mark);
    }
    mark = der_len(d);
    der_tlv(d, DER_OCTET_STRING, f->subject_key_id, sizeof f->subject_key_id);
    extension(d, &oid_subject_key_id, NOT_CRITICAL, mark);
}

static void alt_name(struct der *d, const struct cert_bytes *hw_serial)
{
    size_t mark = der_len(d);

    der_tlv(d, DER_OCTET_STRING, hw_serial->bytes, hw_serial->len);
    der_oid(d, &oid_hw_type);
    der_wrap(d, DER_SEQUENCE, mark);
    der_wrap(d, DER_CONTEXT_OF(0), mark); /* value [0] EXPLICIT */
    der_oid(d, &oid_hardware_module_name);
    der_wrap(d, DER_CONTEXT_OF(0), mark); /* otherName [0] */
    der_wrap(d, DER_SEQUENCE, mark);
    extension(d, &oid_subject_alt_name, NOT_CRITICAL, mark);
}

static void ext_key_usage(struct der *d)
{
    size_t mark = der_len(d);

    der_oid(d, &oid_client_auth);
    der_wrap(d, DER_SEQUENCE, mark);
    extension(d, &oid_ext_key_usage, NOT_CRITICAL, mark);
}

/* Critical, as RFC 5280, 4.2.1.3, asks. Trailing zero bits of a named bit list are not encoded
 * (X.690, 11.2.2). */
static void key_usage(struct der *d, unsigned usage)
{
    size_t mark = der_len(d);
    uint8_t bits[2] = {0, (uint8_t)usage};

    while (bits[0] < 7 && !(usage >> bits[0] & 1))
        bits[0]++;
    der_tlv(d, DER_BIT_STRING, bits, sizeof bits);
    extension(d, &oid_key_usage, CRITICAL, mark);
}

static void basic_constraints(struct der *d, int path_len)
{
    size_t mark = der_len(d);
    uint8_t n = (uint8_t)path_len;

    der_uint(d, &n, 1);
    der_true(d);
    der_wrap(d, DER_SEQUENCE, mark);
    extension(d, &oid_basic_constraints, CRITICAL, mark);
}

static void extensions(struct der *d, const struct cert_fields *f)
{
    size_t mark = der_len(d);

    key_ids(d, f);
    if (f->hw_serial.len)
        alt_name(d, &f->hw_serial);
    if (f->client_auth)
        ext_key_usage(d);
    key_usage(d, f->key_usage);
    if (f->path_len != CERT_END_ENTITY)
        basic_constraints(d, f->path_len);
    der_wrap(d, DER_SEQUENCE, mark);
    der_wrap(d, DER_CONTEXT_OF(3), mark);
}

int cert_tbs(const struct cert_fields *f, struct buf *out, struct err *e)
{
    uint8_t space[CERT_BYTES_MAX - SIGNATURE_BYTES_MAX -
                  64]; /* 64: outer headers and the algorithm */
    const uint8_t *bytes;
    size_t len, mark;
    struct der d;

    der_init(&d, space, sizeof space);
    extensions(&d, f);
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
