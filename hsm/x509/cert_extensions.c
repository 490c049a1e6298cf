/* Extensions. Promises the forms of RFC 5280 and each extension at most once; marks as critical what
 * it is told to, and what RFC 5280 leaves no choice about. */
#include "hsm/x509/cert_extensions.h"
#include <string.h>

/* id-ce, RFC 5280, 4.2.1, and id-pe, 4.2.2 */
static const struct der_oid oid_subject_key_id = {3, {0x55, 0x1d, 0x0e}};
static const struct der_oid oid_key_usage = {3, {0x55, 0x1d, 0x0f}};
static const struct der_oid oid_subject_alt_name = {3, {0x55, 0x1d, 0x11}};
static const struct der_oid oid_basic_constraints = {3, {0x55, 0x1d, 0x13}};
static const struct der_oid oid_crl_points = {3, {0x55, 0x1d, 0x1f}};
static const struct der_oid oid_policies = {3, {0x55, 0x1d, 0x20}};
static const struct der_oid oid_authority_key_id = {3, {0x55, 0x1d, 0x23}};
static const struct der_oid oid_ext_key_usage = {3, {0x55, 0x1d, 0x25}};
static const struct der_oid oid_authority_info = {
        8, {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x01}};
static const struct der_oid oid_ocsp = {8, {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01}};
static const struct der_oid oid_ca_issuers = {8, {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x02}};
static const struct der_oid oid_cps = {8, {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x02, 0x01}};
/* id-on-hardwareModuleName 1.3.6.1.5.5.7.8.4, RFC 4108, section 5 */
static const struct der_oid oid_hardware_module_name = {
        8, {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x08, 0x04}};

/* Everything since the mark becomes the value of this extension. */
static void extension(struct der *d, const struct der_oid *oid, unsigned critical, size_t mark)
{
    der_wrap(d, DER_OCTET_STRING, mark);
    if (critical)
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
        extension(d, &oid_authority_key_id, 0, mark);
    }
    mark = der_len(d);
    der_tlv(d, DER_OCTET_STRING, f->subject_key_id, sizeof f->subject_key_id);
    extension(d, &oid_subject_key_id, 0, mark);
}

/* ---- names */

void cert_general_name(struct der *d, enum cert_name_kind kind, const void *bytes, size_t len)
{
    der_tlv(d, (uint8_t)DER_CONTEXT(kind), bytes, len);
}

void cert_registered_id(struct der *d, const struct der_oid *oid)
{
    der_tlv(d, DER_CONTEXT(8), oid->bytes, oid->len);
}

void cert_hardware_module_name(
        struct der *d, const struct der_oid *hw_type, const void *serial, size_t len)
{
    size_t mark = der_len(d);

    der_tlv(d, DER_OCTET_STRING, serial, len);
    der_oid(d, hw_type);
    der_wrap(d, DER_SEQUENCE, mark);
    der_wrap(d, DER_CONTEXT_OF(0), mark); /* value [0] EXPLICIT */
    der_oid(d, &oid_hardware_module_name);
    der_wrap(d, DER_CONTEXT_OF(0), mark); /* otherName [0] */
}

/* A name for a certificate without a subject is the only one it has (RFC 5280, 4.2.1.6). */
static void alt_names(struct der *d, const struct cert_fields *f)
{
    bool nameless = f->subject.len == 2; /* an empty SEQUENCE */
    size_t mark = der_len(d);

    der_put(d, f->alt_names.bytes, f->alt_names.len);
    der_wrap(d, DER_SEQUENCE, mark);
    extension(d, &oid_subject_alt_name, nameless || f->critical & CERT_EXT_ALT_NAMES, mark);
}

/* ---- where to ask: never critical (RFC 5280, 4.2.1.13 and 4.2.2.1) */

static void access_descriptions(
        struct der *d, const struct der_oid *method, const struct cert_urls *u)
{
    for (size_t i = u->count; i-- > 0;) {
        size_t mark = der_len(d);

        cert_general_name(d, CERT_NAME_URI, u->urls[i].bytes, u->urls[i].len);
        der_oid(d, method);
        der_wrap(d, DER_SEQUENCE, mark);
    }
}

static void authority_info(struct der *d, const struct cert_fields *f)
{
    size_t mark = der_len(d);

    access_descriptions(d, &oid_ca_issuers, &f->ca_issuers_urls);
    access_descriptions(d, &oid_ocsp, &f->ocsp_urls);
    der_wrap(d, DER_SEQUENCE, mark);
    extension(d, &oid_authority_info, 0, mark);
}

/* One point each: the names within one point are several ways to the same CRL. */
static void crl_points(struct der *d, const struct cert_urls *u)
{
    size_t all = der_len(d);

    for (size_t i = u->count; i-- > 0;) {
        size_t mark = der_len(d);

        cert_general_name(d, CERT_NAME_URI, u->urls[i].bytes, u->urls[i].len);
        der_wrap(d, DER_CONTEXT_OF(0), mark); /* fullName */
        der_wrap(d, DER_CONTEXT_OF(0), mark); /* distributionPoint */
        der_wrap(d, DER_SEQUENCE, mark);
    }
    der_wrap(d, DER_SEQUENCE, all);
    extension(d, &oid_crl_points, 0, all);
}

/* ---- what for */

static void policies(struct der *d, const struct cert_fields *f)
{
    size_t all = der_len(d);

    for (size_t i = f->policy_count; i-- > 0;) {
        const struct cert_policy *p = &f->policies[i];
        size_t mark = der_len(d);

        if (p->cps) {
            der_tlv(d, DER_IA5_STRING, p->cps, strlen(p->cps));
            der_oid(d, &oid_cps);
            der_wrap(d, DER_SEQUENCE, mark);
            der_wrap(d, DER_SEQUENCE, mark);
        }
        der_oid(d, &p->oid);
        der_wrap(d, DER_SEQUENCE, mark);
    }
    der_wrap(d, DER_SEQUENCE, all);
    extension(d, &oid_policies, f->critical & CERT_EXT_POLICIES, all);
}

static void ext_key_usage(struct der *d, const struct cert_fields *f)
{
    size_t mark = der_len(d);

    for (size_t i = f->ext_key_usage_count; i-- > 0;)
        der_oid(d, &f->ext_key_usage[i]);
    der_wrap(d, DER_SEQUENCE, mark);
    extension(d, &oid_ext_key_usage, f->critical & CERT_EXT_EXT_KEY_USAGE, mark);
}

/* Trailing zero bits of a named bit list are not encoded (X.690, 11.2.2). */
static void key_usage(struct der *d, const struct cert_fields *f)
{
    size_t mark = der_len(d);
    uint8_t bits[2] = {0, (uint8_t)f->key_usage};

    while (bits[0] < 7 && !(f->key_usage >> bits[0] & 1))
        bits[0]++;
    der_tlv(d, DER_BIT_STRING, bits, sizeof bits);
    extension(d, &oid_key_usage, f->critical & CERT_EXT_KEY_USAGE, mark);
}

/* Of a CA always critical (RFC 5280, 4.2.1.9). FALSE is the default and so not encoded. */
static void basic_constraints(struct der *d, const struct cert_fields *f)
{
    size_t mark = der_len(d);
    uint8_t n = (uint8_t)f->path_len;

    if (f->path_len >= 0) {
        der_uint(d, &n, 1);
        der_true(d);
    }
    der_wrap(d, DER_SEQUENCE, mark);
    extension(d, &oid_basic_constraints,
            f->path_len >= 0 || f->critical & CERT_EXT_BASIC_CONSTRAINTS, mark);
}

void cert_extensions(struct der *d, const struct cert_fields *f)
{
    size_t mark = der_len(d);

    key_ids(d, f);
    if (f->ca_issuers_urls.count || f->ocsp_urls.count)
        authority_info(d, f);
    if (f->crl_urls.count)
        crl_points(d, &f->crl_urls);
    if (f->policy_count)
        policies(d, f);
    if (f->alt_names.len)
        alt_names(d, f);
    if (f->ext_key_usage_count)
        ext_key_usage(d, f);
    key_usage(d, f);
    if (f->path_len != CERT_END_ENTITY)
        basic_constraints(d, f);
    der_wrap(d, DER_SEQUENCE, mark);
    der_wrap(d, DER_CONTEXT_OF(3), mark);
}
