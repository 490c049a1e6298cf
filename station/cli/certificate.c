/* What a certificate says, in the words of docs/json.md. One reading of it for both forms. */
#include "station/cli/certificate.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <string.h>

#include "base/text.h"

struct facts {
    char subject[512], issuer[512], serial[64], not_before[TIME_TEXT_MAX], not_after[TIME_TEXT_MAX];
    char key[64], sha256[2 * EVP_MAX_MD_SIZE + 1];
};

/* RFC 4514 order and escapes, so that a name cannot pass for two. */
static void read_name(const X509_NAME *name, char *out, size_t cap)
{
    BIO *bio = BIO_new(BIO_s_mem());
    out[0] = '\0';
    if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0) {
        int n = BIO_read(bio, out, (int)cap - 1);
        out[n > 0 ? n : 0] = '\0';
    }
    BIO_free(bio);
}

static void read_time(const ASN1_TIME *t, char out[TIME_TEXT_MAX])
{
    struct tm tm;
    if (ASN1_TIME_to_tm(t, &tm) == 1)
        time_format((int64_t)timegm(&tm) * 1000, out);
    else
        out[0] = '\0';
}

static void read_serial(const ASN1_INTEGER *serial, char *out, size_t cap)
{
    int len = ASN1_STRING_length(serial);
    out[0] = '\0';
    if (len > 0 && (size_t)len * 2 + 1 <= cap)
        hex_format(ASN1_STRING_get0_data(serial), (size_t)len, out);
}

static void read_key(X509 *x, char *out, size_t cap)
{
    EVP_PKEY *key = X509_get0_pubkey(x);
    char group[32] = "";
    const char *curve = NULL;
    if (key && EVP_PKEY_is_a(key, "EC") &&
            EVP_PKEY_get_group_name(key, group, sizeof group, NULL) == 1)
        curve = EC_curve_nid2nist(OBJ_txt2nid(group));
    if (!key)
        snprintf(out, cap, "unknown");
    else if (*group)
        snprintf(out, cap, "%s", curve ? curve : group);
    else
        snprintf(out, cap, "%s-%d", EVP_PKEY_get0_type_name(key), EVP_PKEY_get_bits(key));
}

static void read_facts(X509 *x, struct facts *f)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    memset(f, 0, sizeof *f);
    read_name(X509_get_subject_name(x), f->subject, sizeof f->subject);
    read_name(X509_get_issuer_name(x), f->issuer, sizeof f->issuer);
    read_serial(X509_get0_serialNumber(x), f->serial, sizeof f->serial);
    read_time(X509_get0_notBefore(x), f->not_before);
    read_time(X509_get0_notAfter(x), f->not_after);
    read_key(x, f->key, sizeof f->key);
    if (X509_digest(x, EVP_sha256(), digest, &len) == 1)
        hex_format(digest, len, f->sha256);
}

void certificate_show(const struct screen *s, X509 *x)
{
    struct facts f;
    char from[NUMBER_TEXT_MAX], to[NUMBER_TEXT_MAX];
    read_facts(x, &f);
    screen_fact(s, "Subject", f.subject);
    if (strcmp(f.subject, f.issuer) == 0)
        screen_fact(s, "Issuer", "itself: the root");
    else
        screen_fact(s, "Issuer", f.issuer);
    screen_fact(s, "Serial number", f.serial);
    screen_factf(s, "Valid", "%s to %s", clock_format(f.not_before, from),
            strncmp(f.not_after, "9999-12-31", 10) == 0 ? "no end (9999-12-31)"
                                                        : clock_format(f.not_after, to));
    screen_fact(s, "Key", f.key);
    screen_fact(s, "SHA-256", f.sha256);
}

int certificate_show_pem(const struct screen *s, const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *x = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    if (x)
        certificate_show(s, x);
    int r = x ? 0 : -1;
    X509_free(x);
    BIO_free(bio);
    return r;
}

json_t *certificate_json(X509 *x)
{
    struct facts f;
    char *pem = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    long len = bio && PEM_write_bio_X509(bio, x) == 1 ? BIO_get_mem_data(bio, &pem) : 0;
    read_facts(x, &f);
    json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s%}", "subject", f.subject, "issuer",
            f.issuer, "serial", f.serial, "not_before", f.not_before, "not_after", f.not_after,
            "key", f.key, "sha256", f.sha256, "pem", pem ? pem : "", (size_t)len);
    BIO_free(bio);
    return o;
}
