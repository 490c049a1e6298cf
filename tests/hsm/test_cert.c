/* The DER writer, the certificate builder, requests and profiles, checked with OpenSSL's parser
 * field by field. */
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/row.h"
#include "base/text.h"
#include "hsm/x509/cert.h"
#include "hsm/x509/csr.h"
#include "hsm/x509/der.h"
#include "hsm/profile/profile.h"
#include "hsm/profile/profile_apply.h"
#include "tests/hsm/help.h"

static const uint8_t nonce[NONCE_BYTES] = {1, 2, 3};
#define ALL_KEYS ((1u << CSR_KEY_COUNT) - 1)

static void der_lengths(void **state)
{
    static const size_t lengths[] = {0, 1, 127, 128, 255, 256, 65535, 65536};
    static uint8_t space[70000], zeros[65536];

    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        const uint8_t *out;
        size_t len;
        struct der d;
        const uint8_t *at;
        ASN1_OCTET_STRING *parsed;

        der_init(&d, space, sizeof space);
        der_tlv(&d, DER_OCTET_STRING, zeros, lengths[i]);
        assert_int_equal(der_done(&d, &out, &len, NULL), 0);
        at = out;
        parsed = d2i_ASN1_OCTET_STRING(NULL, &at, (long)len);
        assert_non_null(parsed);
        assert_ptr_equal(at, out + len);
        assert_int_equal(ASN1_STRING_length(parsed), lengths[i]);
        ASN1_OCTET_STRING_free(parsed);
    }
}

static void der_numbers(void **state)
{
    static const struct {
        uint8_t in[4], in_len, out[6], out_len;
    } rows[] = {{{0}, 0, {2, 1, 0}, 3}, {{0}, 1, {2, 1, 0}, 3}, {{0x7f}, 1, {2, 1, 0x7f}, 3},
            {{0x80}, 1, {2, 2, 0, 0x80}, 4}, {{0, 0, 1}, 3, {2, 1, 1}, 3},
            {{0, 0xff, 0}, 3, {2, 3, 0, 0xff, 0}, 5}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t space[16];
        const uint8_t *out;
        size_t len;
        struct der d;

        der_init(&d, space, sizeof space);
        der_uint(&d, rows[i].in, rows[i].in_len);
        assert_int_equal(der_done(&d, &out, &len, NULL), 0);
        assert_int_equal(len, rows[i].out_len);
        assert_memory_equal(out, rows[i].out, len);
    }
}

static void der_never_writes_outside(void **state)
{
    struct err e = {0};

    (void)state;
    for (size_t cap = 0; cap < 12; cap++) {
        uint8_t space[16];
        const uint8_t *out;
        size_t len;
        struct der d;

        memset(space, 0xee, sizeof space);
        der_init(&d, space, cap);
        der_tlv(&d, DER_OCTET_STRING, "0123456789", 10);
        refused(der_done(&d, &out, &len, &e), LIMIT);
        for (size_t i = cap; i < sizeof space; i++)
            assert_int_equal(space[i], 0xee);
    }
}

static void der_times(void **state)
{
    static const struct {
        int64_t when;
        const char *text;
        uint8_t tag;
    } rows[] = {{0, "700101000000Z", DER_UTC_TIME}, {2524607999, "491231235959Z", DER_UTC_TIME},
            {2524608000, "20500101000000Z", DER_GENERALIZED_TIME},
            {CERT_NEVER, "99991231235959Z", DER_GENERALIZED_TIME}};
    uint8_t space[32];
    const uint8_t *out;
    size_t len;
    struct der d;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        der_init(&d, space, sizeof space);
        der_time(&d, rows[i].when);
        assert_int_equal(der_done(&d, &out, &len, NULL), 0);
        assert_int_equal(out[0], rows[i].tag);
        assert_int_equal(len, 2 + strlen(rows[i].text));
        assert_memory_equal(out + 2, rows[i].text, len - 2);
    }
    der_init(&d, space, sizeof space);
    der_time(&d, CERT_NEVER + 1);
    assert_int_equal(der_done(&d, &out, &len, NULL), -1);
}

/* ---- a device certificate, signed with a soft key in the token's place */

#define DEVICE_ID "00000000-0000-5000-8000-000000000000"
#define NOW       1700000000

/* The built-in profile on a row. */
static int apply(const struct row *row, enum csr_key key, struct profile_space *space,
        struct cert_fields *f, struct err *e)
{
    static const uint8_t ca_id[CERT_KEY_ID_BYTES] = {9};
    const struct profile_case c = {.row = row,
            .device_id = DEVICE_ID,
            .key = key,
            .ca_key_id = {ca_id, sizeof ca_id},
            .ca_not_before = NOW - 1000,
            .ca_not_after = NOW + 1000,
            .now_s = NOW};
    struct profile *p;
    int r;

    assert_int_equal(profile_builtin(&p, e), 0);
    r = profile_apply(p, &c, space, f, e);
    f->authority_key_id = c.ca_key_id;
    /* what points into the profile is not looked at again, but for the purposes */
    if (r == 0) {
        static struct der_oid client_auth;

        client_auth = p->ext_key_usage[0];
        assert_int_equal(p->ext_key_usage_count, 1);
        f->ext_key_usage = &client_auth;
    }
    profile_free(&p);
    return r;
}

static X509 *build(
        EVP_PKEY *ca_key, EVP_PKEY *device_key, const struct row *row, struct buf *ret_der)
{
    struct err e = {0};
    struct profile_space space = {0};
    struct csr csr;
    struct buf request = BUF_INIT, tbs = BUF_INIT, sig = BUF_INIT;
    X509 *ca = help_cert(ca_key, "test CA");
    struct cert_fields f = {0};
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t len = 1024;
    uint8_t *at;
    X509 *x;
    const uint8_t *der;

    help_csr(device_key, nonce, EVP_PKEY_is_a(device_key, "ED25519") ? NULL : "SHA256", &request);
    ok(csr_check(request.data, request.len, nonce, ALL_KEYS, &csr, &e));
    ok(apply(row, csr.key, &space, &f, &e));
    ok(cert_serial(f.serial, &e));
    ok(signature_alg_of(ca_key, &f.alg, &e));
    X509_NAME_get0_der(X509_get_subject_name(ca), &f.issuer.bytes, &f.issuer.len);
    f.spki = (struct cert_bytes){csr.spki, csr.spki_len};
    memcpy(f.subject_key_id, csr.key_id, sizeof csr.key_id);
    ok(cert_tbs(&f, &tbs, &e));
    ok(buf_reserve(&sig, len, &at, &e));
    assert_int_equal(EVP_DigestSignInit_ex(
                             ctx, NULL, signature_info(f.alg)->digest, NULL, NULL, ca_key, NULL),
            1);
    assert_int_equal(EVP_DigestSign(ctx, at, &len, tbs.data, tbs.len), 1);
    ok(cert_assemble(&(struct cert_bytes){tbs.data, tbs.len}, f.alg, &(struct cert_bytes){at, len},
            ret_der, &e));
    der = ret_der->data;
    x = d2i_X509(NULL, &der, (long)ret_der->len);
    assert_non_null(x);
    assert_ptr_equal(der, ret_der->data + ret_der->len);
    assert_int_equal(X509_verify(x, ca_key), 1);
    assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(x), device_key), 1);
    EVP_MD_CTX_free(ctx);
    X509_free(ca);
    profile_space_done(&space);
    buf_done(&request);
    buf_done(&tbs);
    buf_done(&sig);
    return x;
}

static void add(struct row *r, const char *key, const char *value)
{
    assert_int_equal(row_add(r, key, strlen(key), value, strlen(value), NULL), 0);
}

static void idevid_fields(void **state)
{
    EVP_PKEY *ca_key = help_key("P-256"), *key = help_key("P-256");
    struct row row = {0};
    struct buf der = BUF_INIT, again = BUF_INIT;
    uint8_t *reencoded = NULL;
    char name[256];
    BIO *bio = BIO_new(BIO_s_mem());
    X509 *x;
    GENERAL_NAMES *names;
    ASN1_OBJECT *type;
    ASN1_TYPE *value;
    const uint8_t *at;
    STACK_OF(ASN1_TYPE) * hw;

    (void)state;
    add(&row, "device_name", "dev-1");
    add(&row, "hwid", "00:11:22:33");
    add(&row, "subject.common_name", "Fühler 1");
    add(&row, "subject.country", "DE");
    add(&row, "subject.organization_name", "O");
    add(&row, "subject.organization_unit", "OU");
    add(&row, "subject.state", "ST");
    add(&row, "subject.locality", "L");
    x = build(ca_key, key, &row, &der);
    /* DER that OpenSSL would have written too */
    assert_int_equal(i2d_X509(x, &reencoded), der.len);
    assert_memory_equal(reencoded, der.data, der.len);

    assert_int_equal(X509_get_version(x), X509_VERSION_3);
    assert_int_equal(ASN1_STRING_length(X509_get0_serialNumber(x)), CERT_SERIAL_BYTES);
    X509_NAME_print_ex(bio, X509_get_subject_name(x), 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
    name[BIO_read(bio, name, sizeof name - 1)] = '\0';
    assert_string_equal(name, "serialNumber=00:11:22:33,CN=Fühler 1,OU=OU,O=O,L=L,ST=ST,C=DE");
    assert_int_equal(X509_get0_notAfter(x)->type, V_ASN1_GENERALIZEDTIME);
    assert_string_equal(
            (const char *)ASN1_STRING_get0_data(X509_get0_notAfter(x)), "99991231235959Z");
    assert_int_equal(X509_get_key_usage(x), KU_DIGITAL_SIGNATURE);
    assert_int_equal(X509_get_extended_key_usage(x), XKU_SSL_CLIENT);
    assert_int_equal(X509_check_ca(x), 0);
    assert_int_equal(X509_get_extension_flags(x) & (EXFLAG_INVALID | EXFLAG_CRITICAL), 0);
    assert_int_equal(
            X509_EXTENSION_get_critical(X509_get_ext(x, X509_get_ext_by_NID(x, NID_key_usage, -1))),
            1);
    assert_int_equal(ASN1_STRING_length(X509_get0_subject_key_id(x)), CERT_KEY_ID_BYTES);
    assert_int_equal(ASN1_STRING_get0_data(X509_get0_authority_key_id(x))[0], 9);

    names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    assert_non_null(names);
    assert_int_equal(
            GENERAL_NAME_get0_otherName(sk_GENERAL_NAME_value(names, 0), &type, &value), 1);
    OBJ_obj2txt(name, sizeof name, type, 1);
    assert_string_equal(name, "1.3.6.1.5.5.7.8.4");
    assert_int_equal(value->type, V_ASN1_SEQUENCE);
    at = ASN1_STRING_get0_data(value->value.sequence);
    hw = d2i_ASN1_SEQUENCE_ANY(NULL, &at, ASN1_STRING_length(value->value.sequence));
    assert_int_equal(sk_ASN1_TYPE_num(hw), 2);
    OBJ_obj2txt(name, sizeof name, sk_ASN1_TYPE_value(hw, 0)->value.object, 1);
    assert_string_equal(name, "1.3.6.1.4.1.32473.1.1");
    assert_int_equal(ASN1_STRING_length(sk_ASN1_TYPE_value(hw, 1)->value.octet_string),
            strlen("00:11:22:33"));
    sk_ASN1_TYPE_pop_free(hw, ASN1_TYPE_free);
    GENERAL_NAMES_free(names);

    X509_free(x);
    x = build(ca_key, key, &row, &again);
    assert_memory_not_equal(der.data + 20, again.data + 20, 8); /* another serial number */
    X509_free(x);
    OPENSSL_free(reencoded);
    BIO_free(bio);
    buf_done(&der);
    buf_done(&again);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(key);
}

static void every_key_and_ca(void **state)
{
    static const char *const cas[] = {"P-256", "P-384", "RSA:2048", "ED25519"};
    static const char *const devices[] = {"P-256", "P-384", "RSA:2048", "ED25519"};
    struct row row = {0};

    (void)state;
    add(&row, "device_name", "dev-1");
    for (size_t c = 0; c < 4; c++)
        for (size_t d = 0; d < 4; d++) {
            EVP_PKEY *ca_key = help_key(cas[c]), *key = help_key(devices[d]);
            struct buf der = BUF_INIT;

            X509_free(build(ca_key, key, &row, &der));
            buf_done(&der);
            EVP_PKEY_free(ca_key);
            EVP_PKEY_free(key);
        }
}

static void subject_bounds(void **state)
{
    static const struct {
        const char *column, *value;
        enum err_id wanted;
    } rows[] = {
            {"subject.country", "de", ERR_PROFILE},
            {"subject.country", "D", ERR_PROFILE},
            {"subject.country", "DEU", ERR_PROFILE},
            {"subject.country", "D1", ERR_PROFILE},
            {"subject.country", "DE", ERR_NONE},
            {"subject.common_name",
                    "1234567890123456789012345678901234567890123456789012345678901234", ERR_NONE},
            {"subject.common_name",
                    "12345678901234567890123456789012345678901234567890123456789012345",
                    ERR_PROFILE},
            {"subject.common_name", "a\nb", ERR_PROFILE},
            {"subject.common_name", "a\x7f", ERR_PROFILE},
            {"subject.common_name", "\xc3\xa4\xc3\xa4", ERR_NONE},
            {"subject.pet_name", "x", ERR_PROFILE},
            {"subject.", "x", ERR_PROFILE},
            {"subjects", "x", ERR_NONE},
            {"attr.any", "x", ERR_NONE},
            {"hwid", "a_b", ERR_PROFILE},
            {"hwid", "a@b", ERR_PROFILE},
            {"hwid", "A-b.c/1:2", ERR_NONE},
            {"hwid", "12345678901234567890123456789012345678901234567890123456789012345",
                    ERR_PROFILE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct row row = {0};
        struct profile_space space = {0};
        struct cert_fields f;
        struct err e = {0};
        int r;

        add(&row, "device_name", "dev_1");
        add(&row, rows[i].column, rows[i].value);
        r = apply(&row, CSR_KEY_P256, &space, &f, &e);
        if (e.id != rows[i].wanted || (r < 0) != (e.id != ERR_NONE))
            fail_msg("%s=%s: %s %s", rows[i].column, rows[i].value, err_name(e.id), e.msg);
        if (e.id && !strstr(e.msg, rows[i].column))
            fail_msg("the message must name the column: %s", e.msg);
        profile_space_done(&space);
    }
}

/* device_name cannot be a PrintableString: the device's ID stands in. */
static void serial_number_falls_back(void **state)
{
    struct row row = {0};
    struct profile_space space = {0};
    struct cert_fields f;
    struct err e = {0};

    (void)state;
    add(&row, "device_name", "dev_1");
    ok(apply(&row, CSR_KEY_P256, &space, &f, &e));
    assert_non_null(memmem(f.subject.bytes, f.subject.len, DEVICE_ID, strlen(DEVICE_ID)));
    profile_space_done(&space);
}

/* ---- requests */

static void request_refusals(void **state)
{
    EVP_PKEY *key = help_key("P-256"), *weak = help_key("RSA:1024"), *odd = help_key("P-521"),
             *rsa = help_key("RSA:2048");
    uint8_t other[NONCE_BYTES] = {7};
    struct buf der = BUF_INIT;
    struct csr csr;
    struct err e = {0};

    (void)state;
    help_csr(key, nonce, "SHA256", &der);
    ok(csr_check(der.data, der.len, nonce, ALL_KEYS, &csr, &e));
    assert_int_equal(csr.key, CSR_KEY_P256);
    refused(csr_check(der.data, der.len, other, ALL_KEYS, &csr, &e), POSSESSION);
    refused(csr_check(der.data, der.len, nonce, 1u << CSR_KEY_RSA_2048, &csr, &e), KEY_TYPE);
    refused(csr_check(der.data, 0, nonce, ALL_KEYS, &csr, &e), CSR);
    for (size_t len = 0; len < der.len; len++)
        refused(csr_check(der.data, len, nonce, ALL_KEYS, &csr, &e), CSR);
    ok(buf_append(&der, "\0", 1, &e)); /* trailing byte */
    refused(csr_check(der.data, der.len, nonce, ALL_KEYS, &csr, &e), CSR);
    /* every flipped byte is noticed: the request is signed, and what is not signed must parse */
    der.len--;
    for (size_t i = 0; i < der.len; i++) {
        der.data[i] ^= 0x10;
        assert_int_equal(csr_check(der.data, der.len, nonce, ALL_KEYS, &csr, &e), -1);
        err_clear(&e);
        der.data[i] ^= 0x10;
    }
    buf_reset(&der);
    help_csr(weak, nonce, "SHA256", &der);
    refused(csr_check(der.data, der.len, nonce, ALL_KEYS, &csr, &e), KEY_WEAK);
    buf_reset(&der);
    help_csr(odd, nonce, "SHA256", &der);
    refused(csr_check(der.data, der.len, nonce, ALL_KEYS, &csr, &e), KEY_TYPE);
    buf_reset(&der);
    help_csr(rsa, nonce, "SHA1", &der);
    refused(csr_check(der.data, der.len, nonce, ALL_KEYS, &csr, &e), CSR);
    buf_done(&der);
    EVP_PKEY_free(key);
    EVP_PKEY_free(weak);
    EVP_PKEY_free(odd);
    EVP_PKEY_free(rsa);
}

/* P-256 keys are read on a way of their own: neither a point that is no point nor another form may
 * pass it. */
static void request_points(void **state)
{
    EVP_PKEY *key = help_key("P-256");
    uint8_t *spki = NULL, *at;
    int spki_len = i2d_PUBKEY(key, &spki);
    struct buf der = BUF_INIT;
    struct csr csr;
    struct err e = {0};

    (void)state;
    help_csr(key, nonce, "SHA256", &der);
    ok(csr_check(der.data, der.len, nonce, ALL_KEYS, &csr, &e));
    assert_int_equal(csr.spki_len, spki_len);
    assert_memory_equal(csr.spki, spki, csr.spki_len);
    at = memmem(der.data, der.len, spki, (size_t)spki_len);
    assert_non_null(at);
    at[spki_len - 1] ^= 1; /* not on the curve */
    refused(csr_check(der.data, der.len, nonce, ALL_KEYS, &csr, &e), KEY_TYPE);
    memset(at + spki_len - 64, 0xff, 64); /* coordinates above the field's prime */
    refused(csr_check(der.data, der.len, nonce, ALL_KEYS, &csr, &e), KEY_TYPE);
    buf_reset(&der);
    EVP_PKEY_set_utf8_string_param(key, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "compressed");
    help_csr(key, nonce, "SHA256", &der);
    refused(csr_check(der.data, der.len, nonce, ALL_KEYS, &csr, &e), KEY_TYPE);
    buf_done(&der);
    OPENSSL_free(spki);
    EVP_PKEY_free(key);
}

/* A request whose SubjectPublicKeyInfo is these bytes, signed rightly all the same. */
static void sign_odd(EVP_PKEY *key, const uint8_t *spki, size_t len, struct buf *out)
{
    enum signature_alg alg = EVP_PKEY_is_a(key, "RSA")       ? SIGNATURE_RSA
                             : EVP_PKEY_get_bits(key) == 384 ? SIGNATURE_ECDSA_P384
                                                             : SIGNATURE_ECDSA_P256;
    /* challengePassword, RFC 2985, 5.4.1 */
    static const struct der_oid password = {
            9, {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x07}};
    char hex[2 * NONCE_BYTES + 1];
    uint8_t space[4096], sig[1024];
    size_t info_len, sig_len = sizeof sig;
    const uint8_t *info;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    struct der d;

    hex_format(nonce, NONCE_BYTES, hex);
    der_init(&d, space, sizeof space);
    der_tlv(&d, DER_PRINTABLE_STRING, hex, strlen(hex));
    der_wrap(&d, DER_SET, 0);
    der_oid(&d, &password);
    der_wrap(&d, DER_SEQUENCE, 0);
    der_wrap(&d, DER_CONTEXT_OF(0), 0);
    der_put(&d, spki, len);
    der_tlv(&d, DER_SEQUENCE, "", 0);
    der_tlv(&d, DER_INTEGER, "", 1); /* version 0 */
    der_wrap(&d, DER_SEQUENCE, 0);
    assert_int_equal(der_done(&d, &info, &info_len, NULL), 0);
    assert_int_equal(
            EVP_DigestSignInit_ex(md, NULL, signature_info(alg)->digest, NULL, NULL, key, NULL), 1);
    assert_int_equal(EVP_DigestSign(md, sig, &sig_len, info, info_len), 1);
    EVP_MD_CTX_free(md);
    assert_int_equal(cert_assemble(&(struct cert_bytes){info, info_len}, alg,
                             &(struct cert_bytes){sig, sig_len}, out, NULL),
            0);
}

static int check_odd(EVP_PKEY *key, const uint8_t *spki, size_t len, struct csr *ret, struct err *e)
{
    struct buf der = BUF_INIT;
    int r;

    sign_odd(key, spki, len, &der);
    r = csr_check(der.data, der.len, nonce, ALL_KEYS, ret, e);
    buf_done(&der);
    return r;
}

/* One key in two forms would be two keys to whoever looks for it by its digest. */
static void one_form_of_a_key(void **state)
{
    static const char *const types[] = {"P-256", "P-384"};
    struct csr csr;
    struct err e = {0};
    uint8_t *spki, *odd;
    EVP_PKEY *key;
    size_t len, head;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        /* the point's last bit must be 0 to be called unused */
        for (;; EVP_PKEY_free(key), OPENSSL_free(spki)) {
            spki = NULL;
            key = help_key(types[i]);
            len = (size_t)i2d_PUBKEY(key, &spki);
            if (!(spki[len - 1] & 1))
                break;
        }
        ok(check_odd(key, spki, len, &csr, &e));
        head = len - (i ? 97 : 65) - 1;
        assert_int_equal(spki[head], 0);
        spki[head] = 1;
        refused(check_odd(key, spki, len, &csr, &e), KEY_TYPE);
        EVP_PKEY_free(key);
        OPENSSL_free(spki);
    }
    /* RSA: the key's own SEQUENCE with bytes behind it. SPKI: 30 82 .. .. | AlgorithmIdentifier 15 | 03 82 .. .. 00 .. */
    spki = NULL;
    key = help_key("RSA:2048");
    len = (size_t)i2d_PUBKEY(key, &spki);
    ok(check_odd(key, spki, len, &csr, &e));
    odd = malloc(len + 4);
    memcpy(odd, spki, len);
    memcpy(odd + len, "junk", 4);
    odd[2] = (uint8_t)((len + 4 - 4) >> 8), odd[3] = (uint8_t)(len + 4 - 4);
    head = 4 + 15;
    assert_int_equal(odd[head], DER_BIT_STRING);
    odd[head + 2] = (uint8_t)((len - head - 4 + 4) >> 8),
               odd[head + 3] = (uint8_t)(len - head - 4 + 4);
    refused(check_odd(key, odd, len + 4, &csr, &e), KEY_TYPE);
    free(odd);
    OPENSSL_free(spki);
    EVP_PKEY_free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(der_lengths),
            cmocka_unit_test(der_numbers),
            cmocka_unit_test(der_never_writes_outside),
            cmocka_unit_test(der_times),
            cmocka_unit_test(idevid_fields),
            cmocka_unit_test(every_key_and_ca),
            cmocka_unit_test(subject_bounds),
            cmocka_unit_test(serial_number_falls_back),
            cmocka_unit_test(request_refusals),
            cmocka_unit_test(request_points),
            cmocka_unit_test(one_form_of_a_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
