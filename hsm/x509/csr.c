/* Certificate requests: bytes from a device, hostile until every check below has passed. Promises
 * that what it returns is one well-formed, allowed public key whose holder signed this request over
 * this nonce. Trusts no name in it. */
#include "hsm/x509/csr.h"
#include <openssl/asn1t.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/params.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/text.h"
#include "hsm/x509/key_check.h"
#include "hsm/x509/verifier.h"

struct csr_reader {
    struct verifier *p256;
};

/* ---- the structure: RFC 2986, 4; OpenSSL's X509_REQ but for the key, which stays bytes. X509_REQ
 * sends every key through OpenSSL's search for a decoder, which costs twice what a P-256
 * verification does. */

struct request_info {
    ASN1_ENCODING enc; /* the bytes that were signed */
    ASN1_INTEGER *version;
    X509_NAME *subject;
    ASN1_TYPE *spki;
    STACK_OF(X509_ATTRIBUTE) * attributes;
};
struct request {
    struct request_info *info;
    X509_ALGOR *alg;
    ASN1_BIT_STRING *signature;
};
typedef struct request_info REQUEST_INFO; /* the macros below take words, not types */
typedef struct request REQUEST;

/* clang-format off */
ASN1_SEQUENCE_enc(REQUEST_INFO, enc, NULL) = {
    ASN1_SIMPLE(REQUEST_INFO, version, ASN1_INTEGER),
    ASN1_SIMPLE(REQUEST_INFO, subject, X509_NAME),
    ASN1_SIMPLE(REQUEST_INFO, spki, ASN1_ANY),
    ASN1_IMP_SET_OF_OPT(REQUEST_INFO, attributes, X509_ATTRIBUTE, 0), /* as X509_REQ: some leave it out */
} static_ASN1_SEQUENCE_END_ref(REQUEST_INFO, REQUEST_INFO)

ASN1_SEQUENCE(REQUEST) = {
    ASN1_SIMPLE(REQUEST, info, REQUEST_INFO),
    ASN1_SIMPLE(REQUEST, alg, X509_ALGOR),
    ASN1_SIMPLE(REQUEST, signature, ASN1_BIT_STRING),
} static_ASN1_SEQUENCE_END(REQUEST)
        /* clang-format on */

        /* ---- the key */

        /* RFC 3279 and 5480: named curve, RSA with NULL; RFC 8410: absent. Anything else is a key that some
 * verifiers would read differently from us. */
        static int check_algorithm(X509_PUBKEY * pubkey, enum csr_key key, struct err *e)
{
    static const int wanted[CSR_KEY_COUNT] = {
            [CSR_KEY_P256] = V_ASN1_OBJECT,
            [CSR_KEY_P384] = V_ASN1_OBJECT,
            [CSR_KEY_RSA_2048] = V_ASN1_NULL,
            [CSR_KEY_RSA_3072] = V_ASN1_NULL,
            [CSR_KEY_RSA_4096] = V_ASN1_NULL,
            [CSR_KEY_ED25519] = V_ASN1_UNDEF,
    };
    X509_ALGOR *algor = NULL;
    const uint8_t *bits;
    int type, len;

    if (X509_PUBKEY_get0_param(NULL, &bits, &len, &algor, pubkey) != 1)
        return err_set(e, ERR_CSR, "the request has no readable public key");
    X509_ALGOR_get0(NULL, &type, NULL, algor);
    if (type != wanted[key])
        return err_set(e, ERR_KEY_TYPE, "the key's parameters are not in their standard form");
    if ((key == CSR_KEY_P256 || key == CSR_KEY_P384) && (len < 1 || bits[0] != 0x04))
        return err_set(e, ERR_KEY_TYPE, "the elliptic-curve point must be uncompressed");
    return 0;
}

/* Other sizes are no stronger than the next smaller one and surprise verifiers. */
static int check_rsa_size(EVP_PKEY *pkey, enum csr_key *ret, struct err *e)
{
    static const int sizes[] = {2048, 3072, 4096};
    int bits = EVP_PKEY_get_bits(pkey);

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (bits == sizes[i]) {
            *ret = CSR_KEY_RSA_2048 + (enum csr_key)i;
            return 0;
        }
    return err_set(e, bits < sizes[0] ? ERR_KEY_WEAK : ERR_KEY_TYPE,
            "an RSA key of %d bits: they have 2048, 3072 or 4096", bits);
}

static int check_kind(EVP_PKEY *pkey, enum csr_key *ret, struct err *e)
{
    char group[32] = "";

    if (EVP_PKEY_is_a(pkey, "RSA"))
        return check_rsa_size(pkey, ret, e);
    if (EVP_PKEY_is_a(pkey, "ED25519")) {
        *ret = CSR_KEY_ED25519;
        return 0;
    }
    if (EVP_PKEY_is_a(pkey, "EC"))
        EVP_PKEY_get_group_name(pkey, group, sizeof group, NULL);
    if (strcmp(group, "prime256v1") == 0)
        *ret = CSR_KEY_P256;
    else if (strcmp(group, "secp384r1") == 0)
        *ret = CSR_KEY_P384;
    else
        return err_set(e, ERR_KEY_TYPE, "keys are P-256, P-384, Ed25519 or RSA");
    return 0;
}

static int keep_spki(const uint8_t *spki, size_t len, const uint8_t *bits, size_t bits_len,
        struct csr *ret, struct err *e)
{
    if (len > sizeof ret->spki)
        return err_set(e, ERR_CSR, "the public key takes more than %d bytes", SPKI_BYTES_MAX);
    memcpy(ret->spki, spki, len);
    ret->spki_len = len;
    cert_key_id(bits, bits_len, ret->key_id);
    if (EVP_Digest(spki, len, ret->spki_sha256, NULL, EVP_sha256(), NULL) != 1)
        return err_set(e, ERR_NOMEM, "no digest of the key can be made");
    return 0;
}

static int refuse_kind(unsigned keys, enum csr_key key, struct err *e)
{
    if (keys & 1u << key)
        return 0;
    return err_set(e, ERR_KEY_TYPE, "the profile does not allow keys of this type");
}

static int not_a_key(struct err *e)
{
    return err_set(e, ERR_KEY_TYPE, "the public key is of an unknown type or not a valid key");
}

/* SubjectPublicKeyInfo of every P-256 key in the form we allow, up to the point's 65 bytes. */
static const uint8_t p256_head[] = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce,
        0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42,
        0x00};

static bool is_p256(const uint8_t *spki, size_t len)
{
    return len == sizeof p256_head + P256_POINT_BYTES &&
           memcmp(spki, p256_head, sizeof p256_head) == 0 && spki[sizeof p256_head] == 0x04;
}

/* For signatures with another digest than SHA-256, which the reader's verifier does not check. */
static int read_p256(const uint8_t *point, EVP_PKEY **ret, struct err *e)
{
    char group[] = "prime256v1";
    const OSSL_PARAM facts[] = {
            OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
            OSSL_PARAM_construct_octet_string(
                    OSSL_PKEY_PARAM_PUB_KEY, (void *)(uintptr_t)point, P256_POINT_BYTES),
            OSSL_PARAM_construct_end(),
    };
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    int r = -1;

    if (!ctx || EVP_PKEY_fromdata_init(ctx) != 1)
        err_set(e, ERR_NOMEM, "no key can be read");
    else if (EVP_PKEY_fromdata(ctx, ret, EVP_PKEY_PUBLIC_KEY, (OSSL_PARAM *)(uintptr_t)facts) != 1)
        not_a_key(e);
    else
        r = 0;
    EVP_PKEY_CTX_free(ctx);
    return r;
}

/* Any other key, and P-256 keys in a form that will be refused. */
static int read_any(const uint8_t *spki, size_t len, unsigned keys, struct csr *ret,
        EVP_PKEY **ret_pkey, struct err *e)
{
    const uint8_t *at = spki, *bits;
    X509_PUBKEY *pubkey = d2i_X509_PUBKEY(NULL, &at, (long)len);
    uint8_t *der = NULL;
    int bits_len, der_len, r = -1;

    if (!pubkey || at != spki + len) {
        err_set(e, ERR_CSR, "the request has no readable public key");
        goto out;
    }
    *ret_pkey = X509_PUBKEY_get(pubkey);
    if (!*ret_pkey) {
        not_a_key(e);
        goto out;
    }
    if (check_kind(*ret_pkey, &ret->key, e) < 0 || refuse_kind(keys, ret->key, e) < 0 ||
            check_algorithm(pubkey, ret->key, e) < 0)
        goto out;
    /* made anew from the key, not from what was sent: one key has one form, so that its digest finds
     * it again whatever it is shown as, and nothing else gets into a certificate with it */
    der_len = i2d_PUBKEY(*ret_pkey, &der);
    if (der_len <= 0 || X509_PUBKEY_get0_param(NULL, &bits, &bits_len, NULL, pubkey) != 1)
        err_set(e, ERR_CSR, "the request has no readable public key");
    else if ((size_t)der_len != len || memcmp(der, spki, len) != 0)
        err_set(e, ERR_KEY_TYPE, "the public key is not in its one DER form");
    else
        r = keep_spki(spki, len, bits, (size_t)bits_len, ret, e);
out:
    OPENSSL_free(der);
    X509_PUBKEY_free(pubkey);
    return r;
}

/* ret_pkey is the caller's also after an error; it stays NULL for P-256, whose point is in the
 * reader's verifier then. */
static int read_key(struct csr_reader *reader, const ASN1_TYPE *field, unsigned keys,
        struct csr *ret, EVP_PKEY **ret_pkey, struct err *e)
{
    uint8_t *spki;
    size_t len;

    if (field->type != V_ASN1_SEQUENCE)
        return err_set(e, ERR_CSR, "the request has no readable public key");
    spki = field->value.sequence->data;
    len = (size_t)field->value.sequence->length;
    if (!is_p256(spki, len))
        return read_any(spki, len, keys, ret, ret_pkey, e);
    ret->key = CSR_KEY_P256;
    if (refuse_kind(keys, ret->key, e) < 0 ||
            verifier_set_point(reader->p256, spki + sizeof p256_head, e) < 0)
        return -1;
    return keep_spki(spki, len, spki + sizeof p256_head, P256_POINT_BYTES, ret, e);
}

/* ---- possession */

/* Self-signatures with a broken digest prove nothing. */
static int check_digest(const struct request *req, enum csr_key key, struct err *e)
{
    int digest = NID_undef;

    if (!OBJ_find_sigid_algs(OBJ_obj2nid(req->alg->algorithm), &digest, NULL))
        return err_set(e, ERR_CSR, "the request is signed with an unknown algorithm");
    if (key == CSR_KEY_ED25519 || digest == NID_sha256 || digest == NID_sha384 ||
            digest == NID_sha512)
        return 0;
    return err_set(e, ERR_CSR, "the request must be signed with SHA-256, SHA-384 or SHA-512");
}

static int check_challenge(
        const struct request *req, const uint8_t nonce[NONCE_BYTES], struct err *e)
{
    char expected[2 * NONCE_BYTES + 1];
    const STACK_OF(X509_ATTRIBUTE) *attributes = req->info->attributes;
    int at = X509at_get_attr_by_NID(attributes, NID_pkcs9_challengePassword, -1);
    X509_ATTRIBUTE *attr = at < 0 ? NULL : X509at_get_attr(attributes, at);
    ASN1_TYPE *value =
            attr && X509_ATTRIBUTE_count(attr) == 1 ? X509_ATTRIBUTE_get0_type(attr, 0) : NULL;

    if (!value || X509at_get_attr_by_NID(attributes, NID_pkcs9_challengePassword, at) >= 0)
        return err_set(
                e, ERR_POSSESSION, "the request must carry one challengePassword with the nonce");
    if (value->type != V_ASN1_PRINTABLESTRING && value->type != V_ASN1_UTF8STRING)
        return err_set(
                e, ERR_POSSESSION, "the challengePassword must be a PrintableString or UTF8String");
    hex_format(nonce, NONCE_BYTES, expected);
    if (ASN1_STRING_length(value->value.asn1_string) != 2 * NONCE_BYTES ||
            memcmp(ASN1_STRING_get0_data(value->value.asn1_string), expected,
                    sizeof expected - 1) != 0)
        return err_set(e, ERR_POSSESSION, "the request answers another nonce");
    return 0;
}

/* As ASN1_item_verify(), but under the point in the verifier. */
static bool p256_signed(struct csr_reader *reader, const struct request *req)
{
    const ASN1_ENCODING *signed_bytes = &req->info->enc;
    const ASN1_BIT_STRING *sig = req->signature;

    return !(sig->flags & 0x07) /* bits that are no byte */ &&
           verifier_check(reader->p256, signed_bytes->enc, (size_t)signed_bytes->len, sig->data,
                   (size_t)sig->length, NULL) == 0;
}

static int check_signature(struct csr_reader *reader, const struct request *req,
        const struct csr *csr, EVP_PKEY **pkey, struct err *e)
{
    bool right;

    if (!*pkey && OBJ_obj2nid(req->alg->algorithm) == NID_ecdsa_with_SHA256) {
        right = p256_signed(reader, req);
    } else {
        if (!*pkey && read_p256(csr->spki + sizeof p256_head, pkey, e) < 0)
            return -1;
        right = ASN1_item_verify(ASN1_ITEM_rptr(REQUEST_INFO), req->alg, req->signature, req->info,
                        *pkey) == 1;
    }
    if (right)
        return 0;
    return err_set(e, ERR_POSSESSION, "the request's signature does not verify under its own key");
}

/* ---- readers */

int csr_reader_new(struct csr_reader **ret, struct err *e)
{
    struct csr_reader *reader = calloc(1, sizeof *reader);

    if (!reader)
        return err_set(e, ERR_NOMEM, "no memory for requests");
    if (verifier_new_p256(&reader->p256, e) < 0) {
        csr_reader_free(&reader);
        return -1;
    }
    *ret = reader;
    return 0;
}

void csr_reader_free(struct csr_reader **reader)
{
    if (!*reader)
        return;
    verifier_free(&(*reader)->p256);
    free(*reader);
    *reader = NULL;
}

int csr_read(struct csr_reader *reader, const uint8_t *der, size_t len,
        const uint8_t nonce[NONCE_BYTES], unsigned keys, struct csr *ret, struct err *e)
{
    const uint8_t *at = der;
    struct request *req = NULL;
    EVP_PKEY *pkey = NULL;
    int r = -1;

    if (len == 0 || len > CSR_BYTES_MAX)
        return err_set(e, ERR_CSR, "a request has 1 to %u bytes, not %zu", CSR_BYTES_MAX, len);
    req = (struct request *)ASN1_item_d2i(NULL, &at, (long)len, ASN1_ITEM_rptr(REQUEST));
    if (!req || at != der + len || ASN1_INTEGER_get(req->info->version) != X509_REQ_VERSION_1)
        err_set(e, ERR_CSR, "the request is not one DER PKCS#10 structure");
    else if (read_key(reader, req->info->spki, keys, ret, &pkey, e) == 0 &&
             key_check(ret, pkey, e) == 0 && check_digest(req, ret->key, e) == 0 &&
             check_signature(reader, req, ret, &pkey, e) == 0)
        r = check_challenge(req, nonce, e);
    EVP_PKEY_free(pkey);
    ASN1_item_free((ASN1_VALUE *)req, ASN1_ITEM_rptr(REQUEST));
    ERR_clear_error(); /* OpenSSL's queue is per thread and would grow with every bad request */
    return r;
}

int csr_check(const uint8_t *der, size_t len, const uint8_t nonce[NONCE_BYTES], unsigned keys,
        struct csr *ret, struct err *e)
{
    struct csr_reader *reader = NULL;
    int r = csr_reader_new(&reader, e);

    if (r == 0)
        r = csr_read(reader, der, len, nonce, keys, ret, e);
    csr_reader_free(&reader);
    return r;
}
