/* CA and approver certificates. Promises the forms RFC 5280 asks of a CA, and that no private key
 * leaves in the clear. */
#include "hsm/ceremony_certs.h"
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/text.h"

#define YEAR_S         31556952 /* the mean Gregorian year */
#define ROOT_YEARS     25
#define ISSUING_YEARS  20
#define APPROVER_YEARS 5
#define PBKDF2_ROUNDS                                                                              \
    600000 /* OWASP's figure for HMAC-SHA256; a third of a second, once an approval */
#define SALT_BYTES     16
#define NAME_CHARS_MAX 64 /* ub-organization-name, ub-common-name */

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

    if (!utf8_valid(organization, strlen(organization)) || !*organization ||
            strlen(organization) > NAME_CHARS_MAX)
        return err_set(e, ERR_ARGUMENT, "the organization's name must have 1 to %d bytes of UTF-8",
                NAME_CHARS_MAX);
    hex_format(key_id, 3, digits);
    attrs[1].len = (size_t)snprintf(cn, sizeof cn, "%s %s", role, digits);
    return cert_name(attrs, 2, out, e);
}

static int append_pem(const struct buf *der, struct buf *out, struct err *e)
{
    const uint8_t *at = der->data;
    X509 *x = d2i_X509(NULL, &at, (long)der->len);
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    int r = -1;

    if (!x || !bio || PEM_write_bio_X509(bio, x) != 1)
        err_set(e, ERR_BUG, "the new certificate cannot be read back");
    else
        r = buf_append(out, text, (size_t)BIO_get_mem_data(bio, &text), e);
    BIO_free(bio);
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
    f->authority_key_id = (struct cert_bytes){by->key_id, sizeof by->key_id};
    if (cert_tbs(f, &tbs, e) == 0 && ceremony_token_sign(t, by, tbs.data, tbs.len, &sig, e) == 0 &&
            cert_assemble(&(struct cert_bytes){tbs.data, tbs.len}, by->alg,
                    &(struct cert_bytes){sig.data, sig.len}, &der, e) == 0)
        r = append_pem(&der, ret_pem, e);
    buf_done(&tbs);
    buf_done(&sig);
    buf_done(&der);
    return r;
}

static int root_name(
        const struct ceremony_key *root, const char *organization, struct buf *out, struct err *e)
{
    return subject(organization, "Device Root CA", root->key_id, out, e);
}

int ceremony_root(struct ceremony_token *t, const struct ceremony_key *root,
        const char *organization, struct buf *ret_pem, struct err *e)
{
    struct buf name = BUF_INIT;
    struct cert_fields f = {.spki = {root->spki, root->spki_len}, .path_len = 1};
    int r = -1;

    memcpy(f.subject_key_id, root->key_id, sizeof f.subject_key_id);
    if (root_name(root, organization, &name, e) == 0 && validity(&f, ROOT_YEARS, e) == 0) {
        f.issuer = f.subject = (struct cert_bytes){name.data, name.len};
        r = sign_ca(t, root, &f, ret_pem, e);
    }
    buf_done(&name);
    return r < 0 ? err_context(e, "root certificate") : 0;
}

int ceremony_issuing(struct ceremony_token *t, const struct ceremony_key *root,
        const struct ceremony_key *issuing, const char *organization, struct buf *ret_pem,
        struct err *e)
{
    struct buf name = BUF_INIT, issuer = BUF_INIT;
    struct cert_fields f = {.spki = {issuing->spki, issuing->spki_len}, .path_len = 0};
    int r = -1;

    memcpy(f.subject_key_id, issuing->key_id, sizeof f.subject_key_id);
    if (root_name(root, organization, &issuer, e) == 0 &&
            subject(organization, "Device Issuing CA", issuing->key_id, &name, e) == 0 &&
            validity(&f, ISSUING_YEARS, e) == 0) {
        f.issuer = (struct cert_bytes){issuer.data, issuer.len};
        f.subject = (struct cert_bytes){name.data, name.len};
        r = sign_ca(t, root, &f, ret_pem, e);
    }
    buf_done(&name);
    buf_done(&issuer);
    return r < 0 ? err_context(e, "issuing CA certificate") : 0;
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
    if (!sealed || PEM_write_bio_PKCS8(bio, sealed) != 1)
        err_set(e, ERR_NOMEM, "the approver's key cannot be encrypted");
    else
        r = buf_append(out, text, (size_t)BIO_get_mem_data(bio, &text), e);
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
