/* The issuing CA's public side. Promises that the chain it holds is whole, so that no device is
 * ever given a certificate that cannot be verified. */
#include "hsm/ca.h"
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <time.h>
#include "base/err.h"
#include "base/file.h"
#include "base/limits.h"

#define CHAIN_CERTS_MAX 8 /* longer chains do not fit into devices */

static int read_chain(const char *path, STACK_OF(X509) * chain, struct err *e)
{
    struct buf pem = BUF_INIT;
    BIO *bio = NULL;
    X509 *x;
    int r = -1;

    if (file_read(path, CHAIN_BYTES_MAX, &pem, e) < 0)
        goto out;
    bio = BIO_new_mem_buf(pem.data, (int)pem.len);
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
    buf_done(&pem);
    return r;
}

static int check_links(const char *path, STACK_OF(X509) * chain, struct err *e)
{
    int count = sk_X509_num(chain);

    for (int i = 0; i < count; i++) {
        X509 *x = sk_X509_value(chain, i), *by = sk_X509_value(chain, i + 1 < count ? i + 1 : i);

        if (X509_check_ca(x) != 1 || !(X509_get_key_usage(x) & KU_KEY_CERT_SIGN))
            return err_set(e, ERR_CONFIG, "%s: certificate %d is not a CA's", path, i + 1);
        if (X509_check_issued(by, x) != X509_V_OK || X509_verify(x, X509_get0_pubkey(by)) != 1)
            return err_set(e, ERR_CONFIG, "%s: certificate %d is not signed by %s", path, i + 1,
                    by == x ? "itself: the root must stand last" : "the next one");
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

static int read_issuer(struct ca *ca, struct err *e)
{
    const ASN1_OCTET_STRING *id = X509_get0_subject_key_id(ca->cert);
    struct tm tm;

    if (!id)
        return err_set(e, ERR_CONFIG, "the issuing CA's certificate has no subjectKeyIdentifier");
    ca->key_id = (struct cert_bytes){ASN1_STRING_get0_data(id), (size_t)ASN1_STRING_length(id)};
    if (X509_NAME_get0_der(X509_get_subject_name(ca->cert), &ca->subject.bytes, &ca->subject.len) !=
                    1 ||
            ASN1_TIME_to_tm(X509_get0_notAfter(ca->cert), &tm) != 1)
        return err_set(e, ERR_CONFIG, "the issuing CA's certificate cannot be read");
    ca->not_after = timegm(&tm);
    X509_NAME_oneline(X509_get_subject_name(ca->cert), ca->subject_text, sizeof ca->subject_text);
    ca->key = X509_get_pubkey(ca->cert);
    if (!ca->key)
        return err_set(e, ERR_CONFIG, "the issuing CA's public key cannot be read");
    return signature_alg_of(ca->key, &ca->alg, e);
}

int ca_load(const char *path, struct ca **ret, struct err *e)
{
    STACK_OF(X509) *chain = sk_X509_new_null();
    struct ca *ca = calloc(1, sizeof *ca);
    int r = -1;

    if (!chain || !ca) {
        err_set(e, ERR_NOMEM, "no memory for the CA chain");
        goto out;
    }
    if (read_chain(path, chain, e) < 0 || check_links(path, chain, e) < 0)
        goto out;
    for (int i = 0; i < sk_X509_num(chain); i++)
        if (append_der(sk_X509_value(chain, i), &ca->chain, e) < 0)
            goto out;
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

void ca_free(struct ca **ca)
{
    if (!*ca)
        return;
    EVP_PKEY_free((*ca)->key);
    X509_free((*ca)->cert);
    buf_done(&(*ca)->chain);
    free(*ca);
    *ca = NULL;
}
