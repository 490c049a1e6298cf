/* The issuing CAs' public side. Promises that each chain it holds is whole, so that no device is
 * ever given a certificate that cannot be verified. */
#include "hsm/ca.h"
#include <dirent.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/err.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/paths.h"
#include "base/text.h"

#define CHAIN_CERTS_MAX 8 /* longer chains do not fit into devices */

static int read_chain(
        const char *path, const struct buf *pem, STACK_OF(X509) * chain, struct err *e)
{
    BIO *bio = BIO_new_mem_buf(pem->data, (int)pem->len);
    X509 *x;
    int r = -1;

    while (bio && (x = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
        if (!sk_X509_push(chain, x)) {
            X509_free(x);
            err_set(e, ERR_NOMEM, "no memory for the CA chain");
            goto out;
        }
    if (sk_X509_num(chain) == 0 || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        err_set(e, ERR_CONFIG, "%s: PEM certificates are expected here, and nothing else", path);
    else if (sk_X509_num(chain) > CHAIN_CERTS_MAX)
        err_set(e, ERR_CONFIG, "%s: at most %d certificates can go into a device", path,
                CHAIN_CERTS_MAX);
    else
        r = 0;
out:
    ERR_clear_error();
    BIO_free(bio);
    return r;
}

/* Certificate i has not the place that its signer has. */
static int refuse_link(const char *path, STACK_OF(X509) * chain, int i, struct err *e)
{
    X509 *x = sk_X509_value(chain, i);

    for (int at = 0; at < sk_X509_num(chain); at++) {
        X509 *by = sk_X509_value(chain, at);

        if (at == i + 1 || X509_check_issued(by, x) != X509_V_OK ||
                X509_verify(x, X509_get0_pubkey(by)) != 1)
            continue;
        if (at == i)
            return err_set(e, ERR_CONFIG,
                    "%s: wrong order: certificate %d is a root, and must stand last", path, i + 1);
        return err_set(e, ERR_CONFIG,
                "%s: wrong order: certificate %d is signed by certificate %d, which must be next",
                path, i + 1, at + 1);
    }
    return err_set(e, ERR_CONFIG, "%s: certificate %d is not signed by %s", path, i + 1,
            i + 1 == sk_X509_num(chain) ? "itself: the root must stand last" : "the next one");
}

static int check_links(const char *path, STACK_OF(X509) * chain, struct err *e)
{
    int count = sk_X509_num(chain);

    for (int i = 0; i < count; i++) {
        X509 *x = sk_X509_value(chain, i), *by = sk_X509_value(chain, i + 1 < count ? i + 1 : i);

        if (X509_check_ca(x) != 1 || !(X509_get_key_usage(x) & KU_KEY_CERT_SIGN))
            return err_set(e, ERR_CONFIG, "%s: certificate %d is not a CA's", path, i + 1);
        if (X509_check_issued(by, x) != X509_V_OK || X509_verify(x, X509_get0_pubkey(by)) != 1)
            return refuse_link(path, chain, i, e);
    }
    return 0;
}

static int append_der(X509 *x, struct buf *out, struct err *e)
{
    int len = i2d_X509(x, NULL);
    uint8_t *at;

    if (len <= 0 || out->len + (size_t)len > CHAIN_BYTES_MAX)
        return err_set(e, ERR_CONFIG, "the CA chain is larger than %u bytes", CHAIN_BYTES_MAX);
    if (buf_reserve(out, (size_t)len, &at, e) < 0)
        return -1;
    out->len += (size_t)i2d_X509(x, &at);
    return 0;
}

static int read_time(const ASN1_TIME *t, int64_t *ret)
{
    struct tm tm;

    if (ASN1_TIME_to_tm(t, &tm) != 1)
        return -1;
    *ret = timegm(&tm);
    return 0;
}

static int append_spki(X509 *x, struct buf *out, struct err *e)
{
    X509_PUBKEY *key = X509_get_X509_PUBKEY(x);
    int len = i2d_X509_PUBKEY(key, NULL);
    uint8_t *at;

    if (len <= 0)
        return err_set(e, ERR_CONFIG, "the issuing CA's public key cannot be read");
    if (buf_reserve(out, (size_t)len, &at, e) < 0)
        return -1;
    out->len += (size_t)i2d_X509_PUBKEY(key, &at);
    return 0;
}

static int read_issuer(struct ca *ca, struct err *e)
{
    const ASN1_OCTET_STRING *id = X509_get0_subject_key_id(ca->cert);

    if (!id || ASN1_STRING_length(id) < 1 || ASN1_STRING_length(id) > CA_KEY_ID_MAX)
        return err_set(e, ERR_CONFIG,
                "the issuing CA's certificate has no subjectKeyIdentifier of 1 to %d bytes",
                CA_KEY_ID_MAX);
    ca->key_id = (struct cert_bytes){ASN1_STRING_get0_data(id), (size_t)ASN1_STRING_length(id)};
    if (X509_NAME_get0_der(X509_get_subject_name(ca->cert), &ca->subject.bytes, &ca->subject.len) !=
                    1 ||
            read_time(X509_get0_notBefore(ca->cert), &ca->not_before) < 0 ||
            read_time(X509_get0_notAfter(ca->cert), &ca->not_after) < 0)
        return err_set(e, ERR_CONFIG, "the issuing CA's certificate cannot be read");
    X509_NAME_oneline(X509_get_subject_name(ca->cert), ca->subject_text, sizeof ca->subject_text);
    ca->key = X509_get_pubkey(ca->cert);
    if (!ca->key)
        return err_set(e, ERR_CONFIG, "the issuing CA's public key cannot be read");
    if (append_spki(ca->cert, &ca->spki, e) < 0)
        return -1;
    return signature_alg_of(ca->key, &ca->alg, e);
}

int ca_parse(const char *path, const struct buf *pem, struct ca **ret, struct err *e)
{
    STACK_OF(X509) *chain = sk_X509_new_null();
    struct ca *ca = calloc(1, sizeof *ca);
    int r = -1;

    if (!chain || !ca) {
        err_set(e, ERR_NOMEM, "no memory for the CA chain");
        goto out;
    }
    if (read_chain(path, pem, chain, e) < 0 || check_links(path, chain, e) < 0)
        goto out;
    for (int i = 0; i < sk_X509_num(chain); i++)
        if (append_der(sk_X509_value(chain, i), &ca->chain, e) < 0)
            goto out;
    if (read_time(X509_get0_notAfter(sk_X509_value(chain, sk_X509_num(chain) - 1)),
                &ca->root_not_after) < 0) {
        err_set(e, ERR_CONFIG, "the root's certificate cannot be read");
        goto out;
    }
    ca->cert = sk_X509_shift(chain);
    if (read_issuer(ca, e) < 0)
        goto out;
    *ret = ca;
    ca = NULL; /* handed over */
    r = 0;
out:
    sk_X509_pop_free(chain, X509_free);
    ca_free(&ca);
    return r;
}

int ca_load(const char *path, struct ca **ret, struct err *e)
{
    struct buf pem = BUF_INIT;
    int r = file_read(path, CHAIN_BYTES_MAX, &pem, e);

    if (r == 0)
        r = ca_parse(path, &pem, ret, e);
    buf_done(&pem);
    return r;
}

void ca_free(struct ca **ca)
{
    if (!*ca)
        return;
    EVP_PKEY_free((*ca)->key);
    X509_free((*ca)->cert);
    buf_done(&(*ca)->chain);
    buf_done(&(*ca)->spki);
    free(*ca);
    *ca = NULL;
}

int ca_check_time(const struct ca *ca, int64_t now, struct err *e)
{
    char date[TIME_TEXT_MAX];

    if (now > ca->not_after) {
        time_format(ca->not_after * 1000, date);
        return err_set(e, ERR_CA_EXPIRED, "the CA's certificate was valid until %.10s", date);
    }
    if (now < ca->not_before) {
        time_format(ca->not_before * 1000, date);
        return err_set(e, ERR_CA_EXPIRED,
                "the CA's certificate is valid from %.10s on: the clock is wrong", date);
    }
    return 0;
}

/* ---- active and retired */

static int same_key(const struct ca *ca, const uint8_t *key_id, size_t len)
{
    return ca->key_id.len == len && memcmp(ca->key_id.bytes, key_id, len) == 0;
}

const struct ca *ca_set_find(const struct ca_set *s, const uint8_t *key_id, size_t len)
{
    if (s->active && same_key(s->active, key_id, len))
        return s->active;
    for (size_t i = 0; i < s->retired_count; i++)
        if (same_key(s->retired[i], key_id, len))
            return s->retired[i];
    return NULL;
}

/* Takes ca. */
static int add_retired(struct ca_set *s, struct ca *ca, struct err *e)
{
    size_t at = s->retired_count;

    if (ca_set_find(s, ca->key_id.bytes, ca->key_id.len)) {
        ca_free(&ca);
        return 0;
    }
    if (at == CA_RETIRED_MAX) {
        ca_free(&ca);
        return err_set(e, ERR_LIMIT, "more than %u retired CAs: put away those that are over",
                CA_RETIRED_MAX);
    }
    for (; at && s->retired[at - 1]->not_before < ca->not_before; at--)
        s->retired[at] = s->retired[at - 1];
    s->retired[at] = ca;
    s->retired_count++;
    return 0;
}

static int load_retired(const char *dir_path, struct ca_set *s, struct err *e)
{
    DIR *dir = opendir(dir_path);
    char path[PATH_MAX];
    struct dirent *d;
    int r = 0;

    if (!dir)
        return errno == ENOENT ? 0 : err_set_errno(e, errno, "look into %s", dir_path);
    while (r == 0 && (d = readdir(dir))) {
        const char *dot = strrchr(d->d_name, '.');
        struct ca *ca = NULL;

        if (d->d_name[0] == '.' || !dot || strcmp(dot, ".pem") != 0)
            continue;
        if (snprintf(path, sizeof path, "%s/%s", dir_path, d->d_name) >= (int)sizeof path)
            r = err_set(e, ERR_LIMIT, "a path below %s is too long", dir_path);
        else if (ca_load(path, &ca, e) < 0)
            r = err_context(e, "a retired CA");
        else
            r = add_retired(s, ca, e);
    }
    closedir(dir);
    return r;
}

int ca_set_load(const struct paths *p, struct ca_set *ret, struct err *e)
{
    char path[PATH_MAX];

    *ret = (struct ca_set){0};
    paths_get(p, PATH_CA_CHAIN, path);
    if (ca_load(path, &ret->active, e) < 0)
        return -1;
    paths_get(p, PATH_CA_RETIRED, path);
    if (load_retired(path, ret, e) == 0)
        return 0;
    ca_set_done(ret);
    return -1;
}

void ca_set_done(struct ca_set *s)
{
    ca_free(&s->active);
    for (size_t i = 0; i < s->retired_count; i++)
        ca_free(&s->retired[i]);
    s->retired_count = 0;
}

int ca_set_chains(const struct ca_set *s, struct buf *out, struct err *e)
{
    int r = buf_append(out, s->active->chain.data, s->active->chain.len, e);

    for (size_t i = 0; i < s->retired_count && r == 0; i++)
        r = buf_append(out, s->retired[i]->chain.data, s->retired[i]->chain.len, e);
    return r;
}

int ca_retired_path(const struct paths *p, const struct ca *ca, char out[PATH_MAX], struct err *e)
{
    char dir[PATH_MAX], digits[2 * CA_KEY_ID_MAX + 1];

    paths_get(p, PATH_CA_RETIRED, dir);
    hex_format(ca->key_id.bytes, ca->key_id.len, digits);
    if (snprintf(out, PATH_MAX, "%s/%s.pem", dir, digits) >= PATH_MAX)
        return err_set(e, ERR_LIMIT, "a path below %s is too long", dir);
    return 0;
}

void ca_id(const struct cert_bytes *key_id, uint8_t ret[CERT_KEY_ID_BYTES])
{
    memset(ret, 0, CERT_KEY_ID_BYTES);
    memcpy(ret, key_id->bytes, key_id->len < CERT_KEY_ID_BYTES ? key_id->len : CERT_KEY_ID_BYTES);
}
