/* CA and approver certificates. Promises the forms RFC 5280 asks of a CA, and that no private key
 * leaves in the clear. */
#include "hsm/ceremony/ceremony_certs.h"
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/text.h"
#include "hsm/x509/pem.h"

#define YEAR_S         31556952 /* the mean Gregorian year */
#define ROOT_YEARS     25
#define ISSUING_YEARS  20
#define APPROVER_YEARS 5
#define ISSUING_ROLE   "Device Issuing CA"
#define PBKDF2_ROUNDS                                                                              \
    600000 /* OWASP's figure for HMAC-SHA256; a third of a second, once an approval */
#define SALT_BYTES     16
#define NAME_CHARS_MAX 64 /* ub-organization-name, ub-common-name */

int ceremony_organization_check(const char *organization, struct err *e)
{
    if (!utf8_valid(organization, strlen(organization)) || !*organization ||
            strlen(organization) > NAME_CHARS_MAX)
        return err_set(e, ERR_ARGUMENT, "the organization's name must have 1 to %d bytes of UTF-8",
                NAME_CHARS_MAX);
    return 0;
}

/* O = organization, CN = "role 1A2B3C": a piece of the key's identifier tells two CAs of one
 * organization apart. */
static int subject(const char *organization, const char *role,
        const uint8_t key_id[CERT_KEY_ID_BYTES], struct buf *out, struct err *e)
{
    char digits[7], cn[NAME_CHARS_MAX + 1];
    struct cert_attr attrs[] = {
            {{3, {0x55, 0x04, 0x0a}}, DER_UTF8_STRING, organization, strlen(organization)},
            {{3, {0x55, 0x04, 0x03}}, DER_UTF8_STRING, cn, 0},
    };

    if (ceremony_organization_check(organization, e) < 0)
        return -1;
    hex_format(key_id, 3, digits);
    attrs[1].len = (size_t)snprintf(cn, sizeof cn, "%s %s", role, digits);
    return cert_name(attrs, 2, out, e);
}

static int append_pem(const struct buf *der, struct buf *out, struct err *e)
{
    const uint8_t *at = der->data;
    X509 *x = d2i_X509(NULL, &at, (long)der->len);
    int r = x ? pem_format(PEM_STRING_X509, der->data, der->len, out, e)
              : err_set(e, ERR_BUG, "the new certificate cannot be read back");

    X509_free(x);
    return r;
}

static int validity(struct cert_fields *f, int years, struct err *e)
{
    f->not_before = time_now_ms() / 1000;
    f->not_after = f->not_before + (int64_t)years * YEAR_S;
    return cert_serial(f->serial, e);
}

static int sign_ca(struct ceremony_token *t, const struct ceremony_key *by, struct cert_fields *f,
        struct buf *ret_pem, struct err *e)
{
    struct buf tbs = BUF_INIT, sig = BUF_INIT, der = BUF_INIT;
    int r = -1;

    f->alg = by->alg;
    f->key_usage = CERT_KU_KEY_CERT_SIGN | CERT_KU_CRL_SIGN;
    f->critical = CERT_EXT_KEY_USAGE;
    f->authority_key_id = (struct cert_bytes){by->key_id, by->key_id_len};
    if (cert_tbs(f, &tbs, e) == 0 && ceremony_token_sign(t, by, tbs.data, tbs.len, &sig, e) == 0 &&
            cert_assemble(&(struct cert_bytes){tbs.data, tbs.len}, by->alg,
                    &(struct cert_bytes){sig.data, sig.len}, &der, e) == 0)
        r = append_pem(&der, ret_pem, e);
    buf_done(&tbs);
    buf_done(&sig);
    buf_done(&der);
    return r;
}

int ceremony_root(struct ceremony_token *t, const struct ceremony_key *root,
        const char *organization, struct buf *ret_pem, struct err *e)
{
    struct buf name = BUF_INIT;
    struct cert_fields f = {.spki = {root->spki, root->spki_len}, .path_len = 1};
    int r = -1;

    memcpy(f.subject_key_id, root->key_id, sizeof f.subject_key_id);
    if (subject(organization, "Device Root CA", root->key_id, &name, e) == 0 &&
            validity(&f, ROOT_YEARS, e) == 0) {
        f.issuer = f.subject = (struct cert_bytes){name.data, name.len};
        r = sign_ca(t, root, &f, ret_pem, e);
    }
    buf_done(&name);
    return r < 0 ? err_context(e, "root certificate") : 0;
}

static int issuer_of(X509 *by, struct cert_bytes *ret_name, int64_t *ret_not_after, struct err *e)
{
    struct tm tm;

    if (X509_NAME_get0_der(X509_get_subject_name(by), &ret_name->bytes, &ret_name->len) != 1 ||
            ASN1_TIME_to_tm(X509_get0_notAfter(by), &tm) != 1)
        return err_set(e, ERR_CONFIG, "the root's certificate cannot be read");
    *ret_not_after = timegm(&tm);
    return 0;
}

int ceremony_issuing(struct ceremony_token *t, const struct ceremony_key *by_key, X509 *by,
        const struct ceremony_key *issuing, const char *organization, struct buf *ret_pem,
        struct err *e)
{
    struct buf name = BUF_INIT;
    struct cert_fields f = {.spki = {issuing->spki, issuing->spki_len}, .path_len = 0};
    int64_t last = 0;
    int r = -1;

    memcpy(f.subject_key_id, issuing->key_id, sizeof f.subject_key_id);
    if (issuer_of(by, &f.issuer, &last, e) == 0 &&
            subject(organization, ISSUING_ROLE, issuing->key_id, &name, e) == 0 &&
            validity(&f, ISSUING_YEARS, e) == 0) {
        if (f.not_after > last) /* what outlives its issuer is never valid to the end */
            f.not_after = last;
        f.subject = (struct cert_bytes){name.data, name.len};
        r = sign_ca(t, by_key, &f, ret_pem, e);
    }
    buf_done(&name);
    return r < 0 ? err_context(e, "issuing CA certificate") : 0;
}

/* ---- the request to an offline root */

static int add_extension(STACK_OF(X509_EXTENSION) * list, int nid, const char *value, struct err *e)
{
    X509_EXTENSION *x = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

    if (x && sk_X509_EXTENSION_push(list, x))
        return 0;
    X509_EXTENSION_free(x);
    return err_set(e, ERR_NOMEM, "no memory for a certificate request");
}

/* What is asked for; a root that grants less is refused when its answer comes (ca_check.h). */
static int add_wishes(X509_REQ *req, const struct ceremony_key *key, struct err *e)
{
    STACK_OF(X509_EXTENSION) *list = sk_X509_EXTENSION_new_null();
    char key_id[2 * CERT_KEY_ID_BYTES + 1];
    int r = -1;

    hex_format(key->key_id, CERT_KEY_ID_BYTES, key_id);
    if (list && add_extension(list, NID_basic_constraints, "critical,CA:TRUE,pathlen:0", e) == 0 &&
            add_extension(list, NID_key_usage, "critical,keyCertSign,cRLSign", e) == 0 &&
            add_extension(list, NID_subject_key_identifier, key_id, e) == 0)
        r = X509_REQ_add_extensions(req, list) == 1
                    ? 0
                    : err_set(e, ERR_NOMEM, "no memory for a certificate request");
    sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
    return r;
}

/* CertificationRequestInfo (RFC 2986, 4.1). */
static int request_info(
        const struct ceremony_key *key, const struct buf *name, struct buf *out, struct err *e)
{
    const uint8_t *name_at = name->data, *spki_at = key->spki;
    X509_NAME *subject = d2i_X509_NAME(NULL, &name_at, (long)name->len);
    EVP_PKEY *public_key = d2i_PUBKEY(NULL, &spki_at, (long)key->spki_len);
    X509_REQ *req = X509_REQ_new();
    uint8_t *der = NULL;
    int len, r = -1;

    if (!subject || !public_key || !req || X509_REQ_set_version(req, X509_REQ_VERSION_1) != 1 ||
            X509_REQ_set_subject_name(req, subject) != 1 ||
            X509_REQ_set_pubkey(req, public_key) != 1) {
        err_set(e, ERR_NOMEM, "no memory for a certificate request");
        goto out;
    }
    if (add_wishes(req, key, e) < 0)
        goto out;
    len = i2d_re_X509_REQ_tbs(req, &der);
    r = len > 0 ? buf_append(out, der, (size_t)len, e)
                : err_set(e, ERR_BUG, "the certificate request cannot be encoded");
out:
    OPENSSL_free(der);
    X509_REQ_free(req);
    EVP_PKEY_free(public_key);
    X509_NAME_free(subject);
    return r;
}

static int append_request_pem(const struct buf *der, struct buf *out, struct err *e)
{
    const uint8_t *at = der->data;
    X509_REQ *req = d2i_X509_REQ(NULL, &at, (long)der->len);
    bool good = req && X509_REQ_verify(req, X509_REQ_get0_pubkey(req)) == 1;
    int r = good ? pem_format(PEM_STRING_X509_REQ, der->data, der->len, out, e)
                 : err_set(e, ERR_BUG, "the new certificate request cannot be read back");

    X509_REQ_free(req);
    return r;
}

int ceremony_request_pem(struct ceremony_token *t, const struct ceremony_key *key,
        const char *organization, struct buf *ret_pem, struct err *e)
{
    struct buf name = BUF_INIT, info = BUF_INIT, sig = BUF_INIT, der = BUF_INIT;
    int r = -1;

    /* a request has the frame of a certificate: what is signed, the algorithm, the signature */
    if (subject(organization, ISSUING_ROLE, key->key_id, &name, e) == 0 &&
            request_info(key, &name, &info, e) == 0 &&
            ceremony_token_sign(t, key, info.data, info.len, &sig, e) == 0 &&
            cert_assemble(&(struct cert_bytes){info.data, info.len}, key->alg,
                    &(struct cert_bytes){sig.data, sig.len}, &der, e) == 0)
        r = append_request_pem(&der, ret_pem, e);
    buf_done(&name);
    buf_done(&info);
    buf_done(&sig);
    buf_done(&der);
    ERR_clear_error();
    return r < 0 ? err_context(e, "certificate request") : 0;
}

/* ---- the approver */

/* PEM_write_bio_PKCS8PrivateKey() would do, but with 2,048 rounds only. */
static int encrypt_key(EVP_PKEY *key, const char *passphrase, struct buf *out, struct err *e)
{
    PKCS8_PRIV_KEY_INFO *plain = EVP_PKEY2PKCS8(key);
    uint8_t salt[SALT_BYTES];
    X509_SIG *sealed = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    int r = -1;

    if (plain && bio && RAND_bytes(salt, sizeof salt) == 1)
        sealed = PKCS8_encrypt(-1, EVP_aes_256_cbc(), passphrase, (int)strlen(passphrase), salt,
                sizeof salt, PBKDF2_ROUNDS, plain);
    if (sealed && PEM_write_bio_PKCS8(bio, sealed) == 1) {
        long len = BIO_get_mem_data(bio, &text);

        r = buf_append(out, text, (size_t)len, e);
    } else {
        err_set(e, ERR_NOMEM, "the approver's key cannot be encrypted");
    }
    X509_SIG_free(sealed);
    PKCS8_PRIV_KEY_INFO_free(plain); /* wipes */
    BIO_free(bio);
    return r;
}

static int sign_soft(EVP_PKEY *key, const struct buf *tbs, struct buf *out, struct err *e)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t sig[128];
    size_t len = sizeof sig;
    int r = -1;

    if (!ctx || EVP_DigestSignInit_ex(ctx, NULL, "SHA256", NULL, NULL, key, NULL) != 1 ||
            EVP_DigestSign(ctx, sig, &len, tbs->data, tbs->len) != 1)
        err_set(e, ERR_NOMEM, "the approver's key cannot sign");
    else
        r = cert_assemble(&(struct cert_bytes){tbs->data, tbs->len}, SIGNATURE_ECDSA_P256,
                &(struct cert_bytes){sig, len}, out, e);
    EVP_MD_CTX_free(ctx);
    return r;
}

static int certify_approver(
        EVP_PKEY *key, const char *organization, struct buf *ret_pem, struct err *e)
{
    struct cert_fields f = {.alg = SIGNATURE_ECDSA_P256,
            .key_usage = CERT_KU_DIGITAL_SIGNATURE,
            .critical = CERT_EXT_KEY_USAGE,
            .path_len = CERT_END_ENTITY};
    struct buf name = BUF_INIT, tbs = BUF_INIT, der = BUF_INIT;
    uint8_t point[1 + 2 * 32], *spki = NULL;
    size_t point_len = 0;
    int spki_len = i2d_PUBKEY(key, &spki), r = -1;

    if (spki_len <= 0 || EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point,
                                 sizeof point, &point_len) != 1) {
        err_set(e, ERR_NOMEM, "the approver's key cannot be encoded");
        goto out;
    }
    cert_key_id(point, point_len, f.subject_key_id);
    f.authority_key_id = (struct cert_bytes){f.subject_key_id, sizeof f.subject_key_id};
    f.spki = (struct cert_bytes){spki, (size_t)spki_len};
    if (subject(organization, "Approver", f.subject_key_id, &name, e) < 0 ||
            validity(&f, APPROVER_YEARS, e) < 0)
        goto out;
    f.issuer = f.subject = (struct cert_bytes){name.data, name.len};
    if (cert_tbs(&f, &tbs, e) == 0 && sign_soft(key, &tbs, &der, e) == 0)
        r = append_pem(&der, ret_pem, e);
out:
    OPENSSL_free(spki);
    buf_done(&name);
    buf_done(&tbs);
    buf_done(&der);
    return r;
}

int ceremony_approver(const char *organization, const char *passphrase, struct buf *ret_key_pem,
        struct buf *ret_cert_pem, struct err *e)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    int r = -1;

    if (!key)
        err_set(e, ERR_NOMEM, "no key can be made");
    else if (certify_approver(key, organization, ret_cert_pem, e) == 0)
        r = encrypt_key(key, passphrase, ret_key_pem, e);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return r < 0 ? err_context(e, "approver") : 0;
}
