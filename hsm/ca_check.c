/* Judges a chain that an offline root sent back. Promises to name the certificate and what is wrong
 * with it, in words that can be handed to the person at the root. Changes nothing, trusts nothing:
 * whether the root is the right one is for people to say. */
#include "hsm/ca_check.h"
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <time.h>
#include "base/err.h"
#include "base/text.h"
#include "hsm/ca.h"

#define SECURITY_LEVEL 2   /* OpenSSL's: 112 bits; RSA-2048, SHA-224 and better */
#define SECURITY_BITS  112 /* the same */

static int read_chain(const struct ca *ca, STACK_OF(X509) * chain, struct err *e)
{
    const uint8_t *at = ca->chain.data, *end = at + ca->chain.len;

    while (at < end) {
        X509 *x = d2i_X509(NULL, &at, end - at);

        if (!x || !sk_X509_push(chain, x)) {
            X509_free(x);
            return err_set(e, ERR_NOMEM, "no memory for the CA chain");
        }
    }
    return 0;
}

static int64_t time_of(const ASN1_TIME *t)
{
    struct tm tm;

    return ASN1_TIME_to_tm(t, &tm) == 1 ? timegm(&tm) : INT64_MIN;
}

static int check_validity(STACK_OF(X509) * chain, int64_t now, struct err *e)
{
    int64_t above = INT64_MAX;

    for (int i = sk_X509_num(chain) - 1; i >= 0; i--) {
        X509 *x = sk_X509_value(chain, i);
        int64_t from = time_of(X509_get0_notBefore(x)), to = time_of(X509_get0_notAfter(x));
        char date[TIME_TEXT_MAX];

        if (from > now) {
            time_format(from * 1000, date);
            return err_set(e, ERR_CA_CHAIN,
                    "certificate %d is valid from %s on: is this station's clock right?", i + 1,
                    date);
        }
        if (to <= now) {
            time_format(to * 1000, date);
            return err_set(e, ERR_CA_CHAIN, "certificate %d was valid until %.10s", i + 1, date);
        }
        if (to > above)
            return err_set(e, ERR_CA_CHAIN,
                    "certificate %d is valid for longer than the one that signed it", i + 1);
        above = to;
    }
    return 0;
}

/* OpenSSL's own check takes the issuing CA for the end of the path; below it come the devices. */
static int check_path_lengths(STACK_OF(X509) * chain, struct err *e)
{
    for (int i = 1; i < sk_X509_num(chain); i++) {
        long len = X509_get_pathlen(sk_X509_value(chain, i));

        if (len >= 0 && len < i)
            return err_set(e, ERR_CA_CHAIN,
                    "certificate %d allows a path length of %ld, and there are %d CAs below it",
                    i + 1, len, i);
    }
    return 0;
}

/* An issuing CA that could make further CAs would be more than a station needs. */
static int check_uses(STACK_OF(X509) * chain, struct err *e)
{
    X509 *issuing = sk_X509_value(chain, 0);

    if (X509_NAME_entry_count(X509_get_subject_name(issuing)) == 0)
        return err_set(e, ERR_CA_CHAIN, "the issuing CA's certificate has no subject name");
    if (X509_get_pathlen(issuing) != 0)
        return err_set(e, ERR_CA_CHAIN,
                "the issuing CA's certificate must have basicConstraints CA:TRUE with pathlen:0, "
                "as was requested");
    if (!(X509_get_key_usage(issuing) & KU_CRL_SIGN))
        return err_set(e, ERR_CA_CHAIN,
                "the issuing CA's certificate must have keyUsage keyCertSign and cRLSign, as was "
                "requested");
    for (int i = 0; i + 1 < sk_X509_num(chain); i++) {
        X509 *x = sk_X509_value(chain, i);

        if (X509_get_extension_flags(x) & EXFLAG_XKUSAGE &&
                !(X509_get_extended_key_usage(x) & (XKU_SSL_CLIENT | XKU_ANYEKU)))
            return err_set(e, ERR_CA_CHAIN,
                    "certificate %d has an extendedKeyUsage without clientAuth: no device's "
                    "certificate would be valid below it",
                    i + 1);
    }
    return 0;
}

/* The root's own signature proves nothing, so its digest is free. */
static int check_strength(STACK_OF(X509) * chain, struct err *e)
{
    for (int i = 0; i < sk_X509_num(chain); i++) {
        X509 *x = sk_X509_value(chain, i);
        int bits = 0;

        if (EVP_PKEY_get_security_bits(X509_get0_pubkey(x)) < SECURITY_BITS)
            return err_set(e, ERR_CA_CHAIN, "certificate %d has a weak key", i + 1);
        if (i + 1 < sk_X509_num(chain) &&
                (X509_get_signature_info(x, NULL, NULL, &bits, NULL) != 1 || bits < SECURITY_BITS))
            return err_set(e, ERR_CA_CHAIN,
                    "certificate %d is signed with a weak algorithm: SHA-256 or better is needed",
                    i + 1);
    }
    return 0;
}

/* A second opinion on all of it, and whatever else RFC 5280 asks: path lengths above, criticality,
 * identifiers, extensions nobody knows. */
static int check_strictly(STACK_OF(X509) * chain, int64_t now, struct err *e)
{
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    X509_STORE *store = X509_STORE_new();
    X509_VERIFY_PARAM *p;
    int r = -1;

    if (!ctx || !store ||
            X509_STORE_add_cert(store, sk_X509_value(chain, sk_X509_num(chain) - 1)) != 1 ||
            X509_STORE_CTX_init(ctx, store, sk_X509_value(chain, 0), chain) != 1) {
        err_set(e, ERR_NOMEM, "no memory for checking the CA chain");
        goto out;
    }
    p = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_flags(p, X509_V_FLAG_X509_STRICT);
    X509_VERIFY_PARAM_set_auth_level(p, SECURITY_LEVEL);
    X509_VERIFY_PARAM_set_time(p, now);
    if (X509_verify_cert(ctx) == 1)
        r = 0;
    else
        err_set(e, ERR_CA_CHAIN, "certificate %d: %s", X509_STORE_CTX_get_error_depth(ctx) + 1,
                X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
out:
    ERR_clear_error();
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return r;
}

int ca_check(const struct ca *ca, int64_t now, struct err *e)
{
    STACK_OF(X509) *chain = sk_X509_new_null();
    int r = -1;

    if (!chain)
        return err_set(e, ERR_NOMEM, "no memory for the CA chain");
    if (read_chain(ca, chain, e) == 0 && check_validity(chain, now, e) == 0 &&
            check_uses(chain, e) == 0 && check_path_lengths(chain, e) == 0 &&
            check_strength(chain, e) == 0)
        r = check_strictly(chain, now, e);
    sk_X509_pop_free(chain, X509_free);
    return r;
}
