/* Certificate requests: bytes from a device, hostile until every check below has passed. Promises
 * that what it returns is one well-formed, allowed public key whose holder signed this request over
 * this nonce. Trusts no name in it. */
#include "hsm/csr.h"
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/x509.h>
#include <string.h>
#include "base/err.h"
#include "base/text.h"

#define RSA_BITS_MIN          2048
#define RSA_BITS_MAX          4096
#define RSA_EXPONENT_BITS_MAX 64 /* larger ones only make every verifier slow */

/* RFC 3279 and 5480: named curve, RSA with NULL; RFC 8410: absent. Anything else is a key that some
 * verifiers would read differently from us. */
static int check_algorithm(X509_PUBKEY *pubkey, enum csr_key key, struct err *e)
{
    static const int wanted[CSR_KEY_COUNT] = {
            [CSR_KEY_P256] = V_ASN1_OBJECT,
            [CSR_KEY_P384] = V_ASN1_OBJECT,
            [CSR_KEY_RSA] = V_ASN1_NULL,
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

static int check_rsa(EVP_PKEY *pkey, struct err *e)
{
    BIGNUM *n = NULL, *exponent = NULL;
    int bits = EVP_PKEY_get_bits(pkey), r = -1;

    if (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX)
        return err_set(e, ERR_KEY_WEAK, "an RSA key of %d bits: %d to %d are allowed", bits,
                RSA_BITS_MIN, RSA_BITS_MAX);
    if (EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_N, &n) != 1 ||
            EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &exponent) != 1)
        err_set(e, ERR_CSR, "the RSA key cannot be read");
    else if (!BN_is_odd(n))
        err_set(e, ERR_KEY_WEAK, "the RSA modulus is even");
    else if (!BN_is_odd(exponent) || BN_num_bits(exponent) < 17 ||
             BN_num_bits(exponent) > RSA_EXPONENT_BITS_MAX)
        err_set(e, ERR_KEY_WEAK, "the RSA exponent must be odd and between 65537 and 2^%d",
                RSA_EXPONENT_BITS_MAX);
    else
        r = 0;
    BN_free(n);
    BN_free(exponent);
    return r;
}

static int check_kind(EVP_PKEY *pkey, enum csr_key *ret, struct err *e)
{
    char group[32] = "";

    if (EVP_PKEY_is_a(pkey, "RSA")) {
        *ret = CSR_KEY_RSA;
        return check_rsa(pkey, e);
    }
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

static int check_key(X509_REQ *req, unsigned keys, enum csr_key *ret, struct err *e)
{
    EVP_PKEY *pkey = X509_REQ_get0_pubkey(req);

    if (!pkey)
        return err_set(e, ERR_KEY_TYPE, "the public key is of an unknown type or not a valid key");
    if (check_kind(pkey, ret, e) < 0)
        return -1;
    if (!(keys & 1u << *ret))
        return err_set(e, ERR_KEY_TYPE, "the profile does not allow keys of this type");
    return check_algorithm(X509_REQ_get_X509_PUBKEY(req), *ret, e);
}

/* Self-signatures with a broken digest prove nothing. */
static int check_digest(X509_REQ *req, enum csr_key key, struct err *e)
{
    int digest = NID_undef;

    if (!OBJ_find_sigid_algs(X509_REQ_get_signature_nid(req), &digest, NULL))
        return err_set(e, ERR_CSR, "the request is signed with an unknown algorithm");
    if (key == CSR_KEY_ED25519 || digest == NID_sha256 || digest == NID_sha384 ||
            digest == NID_sha512)
        return 0;
    return err_set(e, ERR_CSR, "the request must be signed with SHA-256, SHA-384 or SHA-512");
}

static int check_challenge(X509_REQ *req, const uint8_t nonce[NONCE_BYTES], struct err *e)
{
    char expected[2 * NONCE_BYTES + 1];
    int at = X509_REQ_get_attr_by_NID(req, NID_pkcs9_challengePassword, -1);
    X509_ATTRIBUTE *attr = at < 0 ? NULL : X509_REQ_get_attr(req, at);
    ASN1_TYPE *value =
            attr && X509_ATTRIBUTE_count(attr) == 1 ? X509_ATTRIBUTE_get0_type(attr, 0) : NULL;

    if (!value || X509_REQ_get_attr_by_NID(req, NID_pkcs9_challengePassword, at) >= 0)
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

static int copy_key(X509_REQ *req, struct csr *ret, struct err *e)
{
    X509_PUBKEY *pubkey = X509_REQ_get_X509_PUBKEY(req);
    const uint8_t *bits;
    uint8_t *at = ret->spki;
    int bits_len, len = i2d_X509_PUBKEY(pubkey, NULL);

    if (len <= 0 || len > (int)sizeof ret->spki)
        return err_set(e, ERR_CSR, "the public key takes more than %d bytes", SPKI_BYTES_MAX);
    ret->spki_len = (size_t)i2d_X509_PUBKEY(pubkey, &at);
    X509_PUBKEY_get0_param(NULL, &bits, &bits_len, NULL, pubkey);
    cert_key_id(bits, (size_t)bits_len, ret->key_id);
    if (EVP_Digest(ret->spki, ret->spki_len, ret->spki_sha256, NULL, EVP_sha256(), NULL) != 1)
        return err_set(e, ERR_NOMEM, "no digest of the key can be made");
    return 0;
}

int csr_check(const uint8_t *der, size_t len, const uint8_t nonce[NONCE_BYTES], unsigned keys,
        struct csr *ret, struct err *e)
{
    const uint8_t *at = der;
    X509_REQ *req = NULL;
    int r = -1;

    if (len == 0 || len > CSR_BYTES_MAX)
        return err_set(e, ERR_CSR, "a request has 1 to %u bytes, not %zu", CSR_BYTES_MAX, len);
    req = d2i_X509_REQ(NULL, &at, (long)len);
    if (!req || at != der + len || X509_REQ_get_version(req) != X509_REQ_VERSION_1)
        err_set(e, ERR_CSR, "the request is not one DER PKCS#10 structure");
    else if (check_key(req, keys, &ret->key, e) == 0 && check_digest(req, ret->key, e) == 0) {
        if (X509_REQ_verify(req, X509_REQ_get0_pubkey(req)) != 1)
            err_set(e, ERR_POSSESSION, "the request's signature does not verify under its own key");
        else if (check_challenge(req, nonce, e) == 0)
            r = copy_key(req, ret, e);
    }
    X509_REQ_free(req);
    ERR_clear_error(); /* OpenSSL's queue is per thread and would grow with every bad request */
    return r;
}
