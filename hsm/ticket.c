/* Tickets: compact JWS with one payload that has one form. Promises that ticket_verify() lets
 * nothing pass that an approver under the anchors did not sign, byte for byte; whatever is unknown,
 * doubled or missing is refused. Holds no state. */
#include "hsm/ticket.h"
#include <inttypes.h>
#include <jansson.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/text.h"

#define TICKET_TYPE     "keyline-ticket+jws"
#define TICKET_VERSION  1
#define CHAIN_CERTS_MAX 5
#define RSA_BITS_MIN    2048
#define ECDSA_DER_MAX   160

/* RFC 7518, 3.1. The key decides which of them is right: the header only has to agree. */
static const struct jws_alg {
    const char *name, *key_type, *group, *digest;
    size_t coordinate_bytes; /* RFC 7518, 3.4: r || s; 0: the signature as it is */
} jws_algs[] = {
        {"ES256", "EC", "prime256v1", "SHA256", 32},
        {"ES384", "EC", "secp384r1", "SHA384", 48},
        {"RS256", "RSA", NULL, "SHA256", 0},
};

static const struct jws_alg *alg_of(EVP_PKEY *key)
{
    char group[32] = "";

    if (EVP_PKEY_is_a(key, "EC"))
        EVP_PKEY_get_group_name(key, group, sizeof group, NULL);
    for (size_t i = 0; i < sizeof jws_algs / sizeof *jws_algs; i++)
        if (EVP_PKEY_is_a(key, jws_algs[i].key_type) &&
                (jws_algs[i].group ? strcmp(group, jws_algs[i].group) == 0
                                   : EVP_PKEY_get_bits(key) >= RSA_BITS_MIN))
            return &jws_algs[i];
    return NULL;
}

/* ---- the payload */

static int get_text(json_t *o, const char *key, char *out, size_t cap, struct err *e)
{
    json_t *v = json_object_get(o, key);
    size_t len = json_string_length(v);

    if (!json_is_string(v) || len == 0 || len >= cap || strlen(json_string_value(v)) != len)
        return err_set(
                e, ERR_TICKET, "member \"%s\" must be a text of 1 to %zu bytes", key, cap - 1);
    memcpy(out, json_string_value(v), len + 1);
    return 0;
}

static int get_number(json_t *o, const char *key, int64_t min, int64_t *ret, struct err *e)
{
    json_t *v = json_object_get(o, key);

    if (!json_is_integer(v) || json_integer_value(v) < min)
        return err_set(e, ERR_TICKET, "member \"%s\" must be a whole number of at least %" PRId64,
                key, min);
    *ret = json_integer_value(v);
    return 0;
}

static int get_stations(json_t *o, struct ticket *t, struct err *e)
{
    json_t *list = json_object_get(o, "stations"), *v;
    size_t i;

    if (!json_is_array(list) || json_array_size(list) == 0 ||
            json_array_size(list) > TICKET_STATIONS_MAX)
        return err_set(e, ERR_TICKET, "member \"stations\" must be a list of 1 to %u names",
                TICKET_STATIONS_MAX);
    json_array_foreach(list, i, v)
    {
        size_t len = json_string_length(v);

        if (!json_is_string(v) || !name_valid(json_string_value(v), len))
            return err_set(
                    e, ERR_TICKET, "member \"stations\" holds something that is no station's name");
        memcpy(t->stations[i], json_string_value(v), len + 1);
    }
    t->station_count = json_array_size(list);
    return 0;
}

enum payload_kind { PAYLOAD_REQUEST, PAYLOAD_TICKET };

static int refuse_unknown(json_t *o, enum payload_kind kind, struct err *e)
{
    static const char *const members[] = {"v", "job", "account", "division", "profile", "binding",
            "rows", "root", "quota", "stations", "nbf", "exp", "iat", "approver"};
    size_t known = sizeof members / sizeof *members - (kind == PAYLOAD_REQUEST ? 4 : 0);
    const char *key;
    json_t *v;

    json_object_foreach(o, key, v)
    {
        size_t i = 0;

        while (i < known && strcmp(members[i], key) != 0)
            i++;
        if (i == known)
            return err_set(
                    e, ERR_TICKET, "member \"%.40s\" is unknown to this version of Keyline", key);
    }
    return 0;
}

static int payload_parse(json_t *o, enum payload_kind kind, struct ticket *t, struct err *e)
{
    int64_t version, rows, quota;
    char root[2 * MERKLE_HASH_BYTES + 1];

    memset(t, 0, sizeof *t);
    if (!json_is_object(o))
        return err_set(e, ERR_TICKET, "it is not a JSON object");
    if (get_number(o, "v", 0, &version, e) < 0)
        return -1;
    if (version != TICKET_VERSION)
        return err_set(e, ERR_TICKET, "version %" PRId64 " is unknown to this version of Keyline",
                version);
    if (refuse_unknown(o, kind, e) < 0 || get_text(o, "job", t->job, sizeof t->job, e) < 0 ||
            get_text(o, "account", t->account, sizeof t->account, e) < 0 ||
            get_text(o, "division", t->division, sizeof t->division, e) < 0 ||
            get_text(o, "profile", t->profile, sizeof t->profile, e) < 0 ||
            get_text(o, "binding", t->binding, sizeof t->binding, e) < 0 ||
            get_number(o, "rows", 1, &rows, e) < 0 ||
            get_text(o, "root", root, sizeof root, e) < 0 ||
            get_number(o, "quota", 1, &quota, e) < 0 || get_stations(o, t, e) < 0)
        return -1;
    t->rows = (uint64_t)rows;
    t->quota = (uint64_t)quota;
    if (!uuid_valid(t->job))
        return err_set(e, ERR_TICKET, "member \"job\" must be a UUID");
    if (!name_valid(t->account, strlen(t->account)) ||
            !name_valid(t->division, strlen(t->division)))
        return err_set(e, ERR_TICKET, "members \"account\" and \"division\" must be names");
    if (strcmp(t->binding, "identity") != 0)
        return err_set(e, ERR_TICKET, "member \"binding\" must be \"identity\"");
    if (hex_parse(root, strlen(root), t->root.bytes, MERKLE_HASH_BYTES) < 0)
        return err_set(e, ERR_TICKET, "member \"root\" must be %d hexadecimal digits",
                2 * MERKLE_HASH_BYTES);
    if (t->quota > t->rows)
        return err_set(e, ERR_TICKET, "member \"quota\" is larger than \"rows\"");
    if (kind == PAYLOAD_REQUEST)
        return 0;
    if (get_number(o, "nbf", 0, &t->not_before, e) < 0 ||
            get_number(o, "exp", 0, &t->not_after, e) < 0 ||
            get_number(o, "iat", 0, &t->issued_at, e) < 0 ||
            get_text(o, "approver", t->approver, sizeof t->approver, e) < 0)
        return -1;
    if (t->not_after <= t->not_before)
        return err_set(e, ERR_TICKET, "member \"exp\" is not after \"nbf\"");
    return 0;
}

static json_t *payload_format(const struct ticket *t)
{
    char root[2 * MERKLE_HASH_BYTES + 1];
    json_t *stations = json_array();

    hex_format(t->root.bytes, MERKLE_HASH_BYTES, root);
    for (size_t i = 0; i < t->station_count; i++)
        json_array_append_new(stations, json_string(t->stations[i]));
    return json_pack("{s:i,s:s,s:s,s:s,s:s,s:s,s:I,s:s,s:I,s:I,s:I,s:o,s:s,s:I}", "v",
            TICKET_VERSION, "job", t->job, "account", t->account, "division", t->division,
            "profile", t->profile, "binding", t->binding, "rows", (json_int_t)t->rows, "root", root,
            "quota", (json_int_t)t->quota, "nbf", (json_int_t)t->not_before, "exp",
            (json_int_t)t->not_after, "stations", stations, "approver", t->approver, "iat",
            (json_int_t)t->issued_at);
}

int ticket_format(const struct ticket *t, struct buf *out, struct err *e)
{
    json_t *o = payload_format(t);
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    int r = text ? buf_append(out, text, strlen(text), e)
                 : err_set(e, ERR_NOMEM, "no memory for a ticket");

    free(text);
    json_decref(o);
    return r;
}

int ticket_request_parse(const char *json, struct ticket *ret, struct err *e)
{
    json_error_t why;
    json_t *o = json_loads(json, JSON_REJECT_DUPLICATES, &why);
    int r = -1;

    if (!o)
        err_set(e, ERR_TICKET, "it is not JSON: %.100s", why.text);
    else
        r = payload_parse(o, PAYLOAD_REQUEST, ret, e);
    json_decref(o);
    return r < 0 ? err_context(e, "ticket request") : 0;
}

/* ---- signing */

/* RFC 7515, 4.1.6: standard base64 with padding, the signer's certificate first. */
static json_t *format_chain(STACK_OF(X509) * chain)
{
    json_t *x5c = json_array();

    for (int i = 0; i < sk_X509_num(chain); i++) {
        uint8_t *der = NULL;
        int len = i2d_X509(sk_X509_value(chain, i), &der);
        char *text = len > 0 ? malloc((size_t)len * 2 + 4) : NULL;

        if (text) {
            EVP_EncodeBlock((uint8_t *)text, der, len);
            json_array_append_new(x5c, json_string(text));
        }
        free(text);
        OPENSSL_free(der);
    }
    return x5c;
}

static int append_json(json_t *o, struct buf *out, struct err *e)
{
    char *text = o ? json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    int r = text ? base64url_encode(text, strlen(text), out, e)
                 : err_set(e, ERR_NOMEM, "no memory for a ticket");

    free(text);
    json_decref(o);
    return r;
}

/* RFC 7518, 3.4: fixed-size r || s in place of DER. */
static int ecdsa_to_raw(const uint8_t *der, size_t len, size_t half, uint8_t *ret, struct err *e)
{
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)len);
    int r = -1;

    if (!sig || BN_bn2binpad(ECDSA_SIG_get0_r(sig), ret, (int)half) < 0 ||
            BN_bn2binpad(ECDSA_SIG_get0_s(sig), ret + half, (int)half) < 0)
        err_set(e, ERR_BUG, "the approver's signature cannot be encoded");
    else
        r = 0;
    ECDSA_SIG_free(sig);
    return r;
}

static int append_signature(
        EVP_PKEY *key, const struct jws_alg *alg, struct buf *jws, struct err *e)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    struct buf sig = BUF_INIT;
    uint8_t raw[2 * 48], *at;
    size_t len = 0;
    int r = -1;

    if (!ctx || EVP_DigestSignInit_ex(ctx, NULL, alg->digest, NULL, NULL, key, NULL) != 1 ||
            EVP_DigestSign(ctx, NULL, &len, jws->data, jws->len) != 1) {
        err_set(e, ERR_TICKET, "the approver's key cannot sign");
        goto out;
    }
    if (buf_reserve(&sig, len, &at, e) < 0)
        goto out;
    if (EVP_DigestSign(ctx, at, &len, jws->data, jws->len) != 1) {
        err_set(e, ERR_TICKET, "the approver's key cannot sign");
        goto out;
    }
    if (alg->coordinate_bytes) {
        if (ecdsa_to_raw(at, len, alg->coordinate_bytes, raw, e) < 0)
            goto out;
        at = raw;
        len = 2 * alg->coordinate_bytes;
    }
    if (buf_append(jws, ".", 1, e) == 0)
        r = base64url_encode(at, len, jws, e);
out:
    ERR_clear_error();
    EVP_MD_CTX_free(ctx);
    buf_done(&sig);
    return r;
}

int ticket_sign(const struct ticket *t, EVP_PKEY *key, STACK_OF(X509) * chain, char **ret_jws,
        struct err *e)
{
    const struct jws_alg *alg = alg_of(key);
    struct buf jws = BUF_INIT;
    struct ticket again;
    json_t *payload;
    int r = -1;

    if (!alg)
        return err_set(e, ERR_TICKET,
                "an approver's key must be P-256, P-384 or RSA of at least %d bits", RSA_BITS_MIN);
    if (sk_X509_num(chain) < 1 || X509_check_private_key(sk_X509_value(chain, 0), key) != 1)
        return err_set(e, ERR_TICKET, "the approver's certificate is not for the approver's key");
    /* what we would refuse to read we must not write */
    payload = payload_format(t);
    if (payload_parse(payload, PAYLOAD_TICKET, &again, e) < 0) {
        json_decref(payload);
        return err_context(e, "ticket");
    }
    if (append_json(json_pack("{s:s,s:s,s:o}", "alg", alg->name, "typ", TICKET_TYPE, "x5c",
                            format_chain(chain)),
                &jws, e) < 0) {
        json_decref(payload);
        goto out;
    }
    if (buf_append(&jws, ".", 1, e) < 0) {
        json_decref(payload);
        goto out;
    }
    if (append_json(payload, &jws, e) < 0 || append_signature(key, alg, &jws, e) < 0)
        goto out;
    if (jws.len > TICKET_BYTES_MAX) {
        err_set(e, ERR_LIMIT, "a ticket of %zu bytes: at most %u; use a shorter certificate chain",
                jws.len, TICKET_BYTES_MAX);
        goto out;
    }
    *ret_jws = buf_str(&jws) ? strdup(buf_str(&jws)) : NULL;
    r = *ret_jws ? 0 : err_set(e, ERR_NOMEM, "no memory for a ticket");
out:
    buf_done(&jws);
    return r;
}

/* ---- verifying */

/* The three parts of a compact JWS, decoded; signed_len: of "header.payload". */
struct jws {
    struct buf header, payload, signature;
    size_t signed_len;
};

static void jws_done(struct jws *j)
{
    buf_done(&j->header);
    buf_done(&j->payload);
    buf_done(&j->signature);
}

static int jws_split(const char *text, struct jws *ret, struct err *e)
{
    size_t len = strnlen(text, TICKET_BYTES_MAX + 1);
    const char *dot1 = memchr(text, '.', len),
               *dot2 = dot1 ? memchr(dot1 + 1, '.', len - (size_t)(dot1 + 1 - text)) : NULL;
    const char *end = text + len;

    if (len > TICKET_BYTES_MAX)
        return err_set(e, ERR_TICKET, "it is larger than %u bytes", TICKET_BYTES_MAX);
    if (!dot2 || memchr(dot2 + 1, '.', (size_t)(end - dot2 - 1)))
        return err_set(
                e, ERR_TICKET, "it is not a compact JWS: three parts with dots between them");
    ret->signed_len = (size_t)(dot2 - text);
    if (base64url_decode(text, (size_t)(dot1 - text), &ret->header, NULL) < 0 ||
            base64url_decode(dot1 + 1, (size_t)(dot2 - dot1 - 1), &ret->payload, NULL) < 0 ||
            base64url_decode(dot2 + 1, (size_t)(end - dot2 - 1), &ret->signature, NULL) < 0)
        return err_set(e, ERR_TICKET, "a part of it is not base64url");
    return 0;
}

static int parse_certificate(json_t *v, X509 **ret, struct err *e)
{
    size_t len = json_string_length(v);
    uint8_t *der = json_is_string(v) && len && len % 4 == 0 ? malloc(len) : NULL;
    const uint8_t *at = der;
    int n = der ? EVP_DecodeBlock(der, (const uint8_t *)json_string_value(v), (int)len) : -1;

    /* EVP_DecodeBlock counts the padding as bytes */
    for (size_t i = len; n > 0 && i > len - 2 && json_string_value(v)[i - 1] == '='; i--)
        n--;
    *ret = n > 0 ? d2i_X509(NULL, &at, n) : NULL;
    if (*ret && at != der + n) {
        X509_free(*ret);
        *ret = NULL;
    }
    free(der);
    return *ret ? 0 : err_set(e, ERR_TICKET, "\"x5c\" holds something that is not a certificate");
}

static int parse_chain(json_t *x5c, STACK_OF(X509) * chain, struct err *e)
{
    json_t *v;
    size_t i;

    if (!json_is_array(x5c) || json_array_size(x5c) == 0 || json_array_size(x5c) > CHAIN_CERTS_MAX)
        return err_set(
                e, ERR_TICKET, "\"x5c\" must be a list of 1 to %d certificates", CHAIN_CERTS_MAX);
    json_array_foreach(x5c, i, v)
    {
        X509 *x;

        if (parse_certificate(v, &x, e) < 0)
            return -1;
        if (!sk_X509_push(chain, x)) {
            X509_free(x);
            return err_set(e, ERR_NOMEM, "no memory for a certificate chain");
        }
    }
    return 0;
}

/* The header has exactly alg, typ and x5c; alg must be what the certified key makes of it, so
 * "none" and HMAC cannot be. */
static int check_header(
        json_t *header, STACK_OF(X509) * chain, const struct jws_alg **ret, struct err *e)
{
    const char *typ = json_string_value(json_object_get(header, "typ"));
    const char *name = json_string_value(json_object_get(header, "alg"));
    EVP_PKEY *key;

    if (json_object_size(header) != 3 || !typ || strcmp(typ, TICKET_TYPE) != 0 || !name)
        return err_set(
                e, ERR_TICKET, "its header is not {\"alg\",\"typ\":\"" TICKET_TYPE "\",\"x5c\"}");
    if (parse_chain(json_object_get(header, "x5c"), chain, e) < 0)
        return -1;
    key = X509_get0_pubkey(sk_X509_value(chain, 0));
    *ret = key ? alg_of(key) : NULL;
    if (!*ret || strcmp((*ret)->name, name) != 0)
        return err_set(e, ERR_TICKET, "\"alg\" is not the algorithm of the approver's key");
    return 0;
}

static int raw_to_ecdsa(
        const struct buf *raw, size_t half, uint8_t ret[ECDSA_DER_MAX], size_t *ret_len)
{
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw->data, (int)half, NULL),
           *s = BN_bin2bn(raw->data + half, (int)half, NULL);
    uint8_t *at = ret;
    int len;

    if (!sig || !r || !s || ECDSA_SIG_set0(sig, r, s) != 1) {
        BN_free(r);
        BN_free(s);
        ECDSA_SIG_free(sig);
        return -1;
    }
    len = i2d_ECDSA_SIG(sig, &at); /* two numbers of 49 bytes and three headers: it fits */
    ECDSA_SIG_free(sig);
    *ret_len = len > 0 ? (size_t)len : 0;
    return len > 0 ? 0 : -1;
}

static int check_signature(const char *text, const struct jws *j, const struct jws_alg *alg,
        EVP_PKEY *key, struct err *e)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t der[ECDSA_DER_MAX];
    const uint8_t *sig = j->signature.data;
    size_t sig_len = j->signature.len;
    int r = -1;

    if (alg->coordinate_bytes) {
        if (sig_len != 2 * alg->coordinate_bytes ||
                raw_to_ecdsa(&j->signature, alg->coordinate_bytes, der, &sig_len) < 0) {
            err_set(e, ERR_TICKET, "its signature has a wrong size");
            goto out;
        }
        sig = der;
    }
    if (ctx && EVP_DigestVerifyInit_ex(ctx, NULL, alg->digest, NULL, NULL, key, NULL) == 1 &&
            EVP_DigestVerify(ctx, sig, sig_len, (const uint8_t *)text, j->signed_len) == 1)
        r = 0;
    else
        err_set(e, ERR_TICKET, "its signature is wrong");
out:
    EVP_MD_CTX_free(ctx);
    return r;
}

/* Partial chains: an anchor may be the approver's own certificate, so that a small maker needs no
 * approver CA. */
static int check_trust(STACK_OF(X509) * chain, X509_STORE *anchors, struct err *e)
{
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    X509 *approver = sk_X509_value(chain, 0);
    int r = -1;

    if (!ctx || X509_STORE_CTX_init(ctx, anchors, approver, chain) != 1) {
        err_set(e, ERR_NOMEM, "no memory for checking a certificate chain");
        goto out;
    }
    X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(ctx), X509_V_FLAG_PARTIAL_CHAIN);
    if (X509_verify_cert(ctx) != 1)
        err_set(e, ERR_TICKET_UNTRUSTED, "the approver's certificate: %s",
                X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
    else if (!(X509_get_key_usage(approver) & X509v3_KU_DIGITAL_SIGNATURE))
        err_set(e, ERR_TICKET_UNTRUSTED, "the approver's certificate is not for signatures");
    else
        r = 0;
out:
    X509_STORE_CTX_free(ctx);
    return r;
}

static json_t *load_part(const struct buf *part, const char *name, struct err *e)
{
    json_error_t why;
    json_t *o = json_loadb((const char *)part->data, part->len, JSON_REJECT_DUPLICATES, &why);

    if (!o)
        err_set(e, ERR_TICKET, "its %s is not JSON: %.100s", name, why.text);
    return o;
}

int ticket_verify(const char *jws, X509_STORE *anchors, struct ticket *ret, struct err *e)
{
    STACK_OF(X509) *chain = sk_X509_new_null();
    const struct jws_alg *alg = NULL;
    json_t *header = NULL, *payload = NULL;
    struct jws j = {0};
    int r = -1;

    if (!chain) {
        err_set(e, ERR_NOMEM, "no memory for a ticket");
        goto out;
    }
    /* the payload is not looked at before it is known who wrote it */
    if (jws_split(jws, &j, e) < 0 || !(header = load_part(&j.header, "header", e)) ||
            check_header(header, chain, &alg, e) < 0 ||
            check_signature(jws, &j, alg, X509_get0_pubkey(sk_X509_value(chain, 0)), e) < 0 ||
            check_trust(chain, anchors, e) < 0 || !(payload = load_part(&j.payload, "payload", e)))
        goto out;
    r = payload_parse(payload, PAYLOAD_TICKET, ret, e);
out:
    if (r < 0)
        err_context(e, "ticket");
    ERR_clear_error();
    json_decref(header);
    json_decref(payload);
    sk_X509_pop_free(chain, X509_free);
    jws_done(&j);
    return r;
}

int ticket_check(const struct ticket *t, const char *station, int64_t now_s, struct err *e)
{
    if (now_s < t->not_before)
        return err_set(e, ERR_TICKET_EXPIRED, "the ticket is not valid yet");
    if (now_s >= t->not_after)
        return err_set(e, ERR_TICKET_EXPIRED, "the ticket has expired");
    for (size_t i = 0; i < t->station_count; i++)
        if (strcmp(t->stations[i], "*") == 0 || strcmp(t->stations[i], station) == 0)
            return 0;
    return err_set(e, ERR_TICKET_STATION, "the ticket is not for station %s", station);
}
