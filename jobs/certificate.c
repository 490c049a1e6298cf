/* Certificates: what they say of themselves, and where they are recorded. A certificate is stored
 * as the signer gave it; its facts are read from it, never kept apart from it but for the indexes.
 */
#include "jobs/certificate.h"

#include <limits.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/challenge.h"
#include "base/text.h"
#include "hsm/x509/pem.h"
#include "jobs/json.h"
#include "jobs/registry.h"

static X509 *decode(const uint8_t *der, size_t len)
{
    const uint8_t *at = der;
    X509 *x = len <= LONG_MAX ? d2i_X509(NULL, &at, (long)len) : NULL;
    ERR_clear_error();
    if (x && at != der + len) { /* stray bytes behind it */
        X509_free(x);
        x = NULL;
    }
    return x;
}

static int sha256_hex(const uint8_t *bytes, size_t len, char out[65])
{
    uint8_t md[32];
    if (EVP_Digest(bytes, len, md, NULL, EVP_sha256(), NULL) != 1)
        return -1;
    hex_format(md, sizeof md, out);
    return 0;
}

static int serial_hex(const X509 *x, char out[2 * 20 + 1])
{
    uint8_t bytes[20];
    BIGNUM *n = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x), NULL);
    int len = n && !BN_is_negative(n) && BN_num_bytes(n) <= (int)sizeof bytes ? BN_bn2bin(n, bytes)
                                                                              : 0;
    BN_free(n);
    if (len <= 0)
        return -1;
    hex_format(bytes, (size_t)len, out);
    return 0;
}

static int unix_ms(const ASN1_TIME *t, int64_t *ret)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(t, &tm) != 1)
        return -1;
    *ret = (int64_t)timegm(&tm) * 1000;
    return 0;
}

int certificate_parse(const uint8_t *der, size_t len, struct certificate_facts *ret, struct err *e)
{
    uint8_t *spki = NULL;
    int spki_len = -1, result = -1;
    X509 *x = decode(der, len);
    if (!x)
        return err_set(e, ERR_PROTOCOL, "the signer's answer is not a certificate");
    *ret = (struct certificate_facts){0};
    spki_len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &spki);
    if (spki_len <= 0 || sha256_hex(der, len, ret->sha256) ||
            sha256_hex(spki, (size_t)spki_len, ret->spki_sha256) || serial_hex(x, ret->serial) ||
            unix_ms(X509_get0_notBefore(x), &ret->not_before) ||
            unix_ms(X509_get0_notAfter(x), &ret->not_after))
        err_set(e, ERR_PROTOCOL, "the signer's certificate cannot be read");
    else
        result = 0;
    OPENSSL_free(spki);
    X509_free(x);
    return result;
}

/* Ed25519 hashes by itself; OpenSSL then wants no digest named. */
static const EVP_MD *digest_for(const EVP_PKEY *key)
{
    return EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256();
}

int certificate_check_challenge(const struct buf *der, const uint8_t *challenge,
        size_t challenge_len, const uint8_t *signature, size_t signature_len, struct err *e)
{
    struct buf text = BUF_INIT;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    X509 *x = decode(der->data, der->len);
    EVP_PKEY *key = x ? X509_get0_pubkey(x) : NULL;
    int result = -1;
    if (!ctx || !key)
        err_set(e, ERR_STORE, "the device's certificate in the registry cannot be read");
    else if (buf_append(&text, CHALLENGE_CONTEXT, sizeof CHALLENGE_CONTEXT, e) == 0 &&
             buf_append(&text, challenge, challenge_len, e) == 0)
        result = EVP_DigestVerifyInit(ctx, NULL, digest_for(key), NULL, key) == 1 &&
                                 EVP_DigestVerify(
                                         ctx, signature, signature_len, text.data, text.len) == 1
                         ? 0
                         : err_set(e, ERR_DEVICE_CHALLENGE,
                                   "the signature over the challenge is not the certified key's");
    ERR_clear_error();
    X509_free(x);
    EVP_MD_CTX_free(ctx);
    buf_done(&text);
    return result;
}

/* ---- in the registry */

/* Of the first row, if there is one. 1, 0 or -1; the query is done then. */
static int take_der(struct query *q, struct buf *ret_der, struct err *e)
{
    int n = query_next(q, e);
    if (n > 0) {
        size_t len;
        const void *der = query_blob(q, 0, &len);
        if (buf_append(ret_der, der, len, e))
            n = -1;
    }
    query_done(q);
    return n;
}

int certificate_of_device(struct registry *r, int64_t device, struct buf *ret_der, struct err *e)
{
    struct query q;
    if (query_open(&q, r, e, "SELECT der FROM certificate WHERE device = ?1 AND state = 'valid'",
                BIND_INT(device)))
        return -1;
    return take_der(&q, ret_der, e);
}

int certificate_of_job(
        struct registry *r, int64_t device, int64_t job, struct buf *ret_der, struct err *e)
{
    struct query q;
    if (query_open(&q, r, e,
                "SELECT c.der FROM certificate c JOIN run u ON u.id = c.run"
                " WHERE c.device = ?1 AND c.state = 'valid' AND u.job = ?2",
                BIND_INT(device), BIND_INT(job)))
        return -1;
    return take_der(&q, ret_der, e);
}

/* The signer has put an earlier job's certificate on the CRL together with this run's: so it is here. */
static int replace_earlier(struct registry *r, int64_t device, int64_t run, struct err *e)
{
    return registry_run(r, e,
            "UPDATE certificate SET state = 'revoked' WHERE device = ?1 AND state = 'valid'"
            " AND EXISTS (SELECT 1 FROM run u JOIN job j ON j.id = u.job"
            "   WHERE u.id = ?2 AND j.reissue = 1"
            "   AND u.job <> (SELECT job FROM run WHERE id = certificate.run))",
            BIND_INT(device), BIND_INT(run));
}

const char *key_origin_name(bool made_by_signer)
{
    return made_by_signer ? "signer" : "device";
}

const char *certificate_origin(struct registry *r, int64_t device, struct err *e)
{
    int64_t made;
    if (registry_number(r, e, &made,
                "SELECT key_origin = 'signer' FROM certificate WHERE device = ?1"
                " AND state = 'valid'",
                BIND_INT(device)))
        return NULL;
    return key_origin_name(made);
}

int certificate_made_key(struct registry *r, int64_t device, bool *ret, struct err *e)
{
    int64_t made;
    if (registry_number(r, e, &made,
                "SELECT EXISTS (SELECT 1 FROM certificate WHERE device = ?1"
                " AND key_origin = 'signer')",
                BIND_INT(device)))
        return -1;
    *ret = made;
    return 0;
}

int certificate_add(struct registry *r, int64_t device, int64_t run, const uint8_t *der, size_t len,
        const char *origin, bool *ret_fresh, struct certificate_facts *ret, struct err *e)
{
    struct buf have = BUF_INIT;
    if (certificate_parse(der, len, ret, e) || replace_earlier(r, device, run, e))
        return -1;
    int known = certificate_of_device(r, device, &have, e);
    bool same = known > 0 && have.len == len && memcmp(have.data, der, len) == 0;
    buf_done(&have);
    if (known < 0)
        return -1;
    if (known && !same)
        return err_set(e, ERR_KEY_CHANGED,
                "the registry holds another certificate for this device than the signer gave");
    *ret_fresh = !known;
    if (known)
        return 0;
    return registry_run(r, e,
            "INSERT INTO certificate (serial, device, run, der, sha256, spki_sha256, issued,"
            " key_origin) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            BIND_TEXT(ret->serial), BIND_INT(device), BIND_INT(run), BIND_BLOB(der, len),
            BIND_TEXT(ret->sha256), BIND_TEXT(ret->spki_sha256), BIND_INT(time_now_ms()),
            BIND_TEXT(origin));
}

/* When it was revoked, and why: of an order the last event tells; without one it was superseded by the next certificate. */
static void add_revocation(json_t *o, const struct query *q)
{
    if (strcmp(query_text(q, 2), "revoked") != 0)
        return;
    bool ordered = !query_null(q, 4);
    (void)json_object_set_new(
            o, "revoked", ordered ? json_text_column(q, 4) : json_time_column(q, 6));
    (void)json_object_set_new(
            o, "reason", ordered ? json_text_column(q, 5) : json_string("superseded"));
}

static json_t *certificate_json(const struct query *q, struct err *e)
{
    struct certificate_facts facts;
    struct buf pem = BUF_INIT;
    size_t len;
    const uint8_t *der = query_blob(q, 0, &len);
    json_t *o = NULL;
    if (certificate_parse(der, len, &facts, e) == 0 &&
            pem_format(PEM_STRING_X509, der, len, &pem, e) == 0)
        o = json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:n, s:n, s:o, s:s}", "serial",
                facts.serial, "sha256", facts.sha256, "spki_sha256", facts.spki_sha256,
                "not_before", json_time(facts.not_before), "not_after", json_time(facts.not_after),
                "issued", json_time_column(q, 1), "state", json_text_column(q, 2), "revoked",
                "reason", "key_origin", json_text_column(q, 3), "pem", buf_str(&pem));
    if (o)
        add_revocation(o, q);
    buf_done(&pem);
    return o;
}

int certificate_list(struct registry *r, int64_t device, json_t **ret, struct err *e)
{
    struct query q;
    json_t *list = json_array();
    int n;
    if (query_open(&q, r, e,
                "SELECT c.der, c.issued, c.state, c.key_origin,"
                " json_extract(o.data, '$.revoked'), json_extract(o.data, '$.reason'),"
                " (SELECT min(n.issued) FROM certificate n"
                "   WHERE n.device = c.device AND n.id > c.id)"
                " FROM certificate c JOIN device d ON d.id = c.device"
                " LEFT JOIN event o ON o.seq = (SELECT max(v.seq) FROM event v"
                "   WHERE v.subject = d.uuid AND v.type = 'device.revoked'"
                "   AND json_extract(v.data, '$.serial') = c.serial)"
                " WHERE c.device = ?1 ORDER BY c.id DESC",
                BIND_INT(device))) {
        json_decref(list);
        return -1;
    }
    while ((n = query_next(&q, e)) > 0)
        if (json_array_append_new(list, certificate_json(&q, e))) {
            n = err_set(e, ERR_NOMEM, "no memory for an answer");
            break;
        }
    query_done(&q);
    if (n < 0) {
        json_decref(list);
        return -1;
    }
    return json_made(list, ret, e);
}
