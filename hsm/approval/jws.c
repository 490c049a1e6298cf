/* Compact JWS as approvers sign them. Promises that jws_verify() lets nothing pass that a key under
 * the anchors did not sign, byte for byte, as a JWS of this type: what was signed for one purpose
 * serves no other. Holds no state and knows no payload. */
#include "hsm/approval/jws.h"
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/text.h"

#define CHAIN_CERTS_MAX 5
#define RSA_BITS_MIN    2048
#define ECDSA_DER_MAX   160
/* RSA-8192 in base64url, and the dot before it */
#define SIGNATURE_TEXT_MAX (SIGNATURE_BYTES_MAX / 3 * 4 + 5)

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
                 : err_set(e, ERR_NOMEM, "no memory for a JWS");

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
        err_set(e, ERR_NOMEM, "no memory for a signature"); /* it has verified, so it fits */
    else
        r = 0;
    ECDSA_SIG_free(sig);
    return r;
}

static int sign_with_key(
        void *ctx, const void *bytes, size_t len, struct buf *ret_der, struct err *e)
{
    EVP_PKEY *key = ctx;
    const struct jws_alg *alg = alg_of(key);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    size_t sig_len = 0;
    uint8_t *at;
    int r = -1;

    if (!md || !alg || EVP_DigestSignInit_ex(md, NULL, alg->digest, NULL, NULL, key, NULL) != 1 ||
            EVP_DigestSign(md, NULL, &sig_len, bytes, len) != 1) {
        err_set(e, ERR_TICKET, "the approver's key cannot sign");
        goto out;
    }
    if (buf_reserve(ret_der, sig_len, &at, e) < 0)
        goto out;
    if (EVP_DigestSign(md, at, &sig_len, bytes, len) != 1) {
        err_set(e, ERR_TICKET, "the approver's key cannot sign");
        goto out;
    }
    ret_der->len += sig_len;
    r = 0;
out:
    ERR_clear_error();
    EVP_MD_CTX_free(md);
    return r;
}

struct jws_signer jws_key_signer(EVP_PKEY *key, STACK_OF(X509) * chain)
{
    return (struct jws_signer){.chain = chain, .sign = sign_with_key, .ctx = key};
}

static bool signature_good(EVP_PKEY *key, const struct jws_alg *alg, const void *bytes, size_t len,
        const uint8_t *der, size_t der_len)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = ctx &&
                EVP_DigestVerifyInit_ex(ctx, NULL, alg->digest, NULL, NULL, key, NULL) == 1 &&
                EVP_DigestVerify(ctx, der, der_len, bytes, len) == 1;

    EVP_MD_CTX_free(ctx);
    return good;
}

static int append_signature(const struct jws_signer *by, EVP_PKEY *key, const struct jws_alg *alg,
        struct buf *jws, struct err *e)
{
    struct buf sig = BUF_INIT;
    const uint8_t *bytes;
    uint8_t raw[2 * 48];
    size_t len;
    int r = -1;

    if (by->sign(by->ctx, jws->data, jws->len, &sig, e) < 0)
        goto out;
    if (!signature_good(key, alg, jws->data, jws->len, sig.data, sig.len)) {
        err_set(e, ERR_TICKET, "the approver's certificate is not for the approver's key");
        err_advise(
                e, "Name the two that belong together with --key and --cert; nothing was signed.");
        goto out;
    }
    bytes = sig.data;
    len = sig.len;
    if (alg->coordinate_bytes) {
        if (ecdsa_to_raw(sig.data, sig.len, alg->coordinate_bytes, raw, e) < 0)
            goto out;
        bytes = raw;
        len = 2 * alg->coordinate_bytes;
    }
    if (buf_append(jws, ".", 1, e) == 0)
        r = base64url_encode(bytes, len, jws, e);
out:
    ERR_clear_error();
    buf_done(&sig);
    return r;
}

int jws_sign(const char *type, json_t *payload, const struct jws_signer *by, char **ret_jws,
        struct err *e)
{
    EVP_PKEY *key =
            sk_X509_num(by->chain) > 0 ? X509_get0_pubkey(sk_X509_value(by->chain, 0)) : NULL;
    const struct jws_alg *alg = key ? alg_of(key) : NULL;
    struct buf jws = BUF_INIT;
    int r = -1;

    if (!alg)
        return err_set(e, ERR_TICKET,
                "an approver's key must be P-256, P-384 or RSA of at least %d bits", RSA_BITS_MIN);
    if (append_json(json_pack("{s:s,s:s,s:o}", "alg", alg->name, "typ", type, "x5c",
                            format_chain(by->chain)),
                &jws, e) < 0 ||
            buf_append(&jws, ".", 1, e) < 0 || append_json(json_incref(payload), &jws, e) < 0)
        goto out;
    if (jws.len + SIGNATURE_TEXT_MAX > TICKET_BYTES_MAX) {
        err_set(e, ERR_LIMIT,
                "a JWS of %zu bytes and its signature: at most %u; use a shorter "
                "certificate chain",
                jws.len, TICKET_BYTES_MAX);
        goto out;
    }
    if (append_signature(by, key, alg, &jws, e) < 0)
        goto out;
    *ret_jws = buf_str(&jws) ? strdup(buf_str(&jws)) : NULL;
    r = *ret_jws ? 0 : err_set(e, ERR_NOMEM, "no memory for a JWS");
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
static int check_header(json_t *header, const char *type, STACK_OF(X509) * chain,
        const struct jws_alg **ret, struct err *e)
{
    const char *typ = json_string_value(json_object_get(header, "typ"));
    const char *name = json_string_value(json_object_get(header, "alg"));
    EVP_PKEY *key;

    if (json_object_size(header) != 3 || !typ || strcmp(typ, type) != 0 || !name)
        return err_set(e, ERR_TICKET, "its header is not {\"alg\",\"typ\":\"%s\",\"x5c\"}", type);
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
    uint8_t der[ECDSA_DER_MAX];
    const uint8_t *sig = j->signature.data;
    size_t sig_len = j->signature.len;

    if (alg->coordinate_bytes) {
        if (sig_len != 2 * alg->coordinate_bytes ||
                raw_to_ecdsa(&j->signature, alg->coordinate_bytes, der, &sig_len) < 0)
            return err_set(e, ERR_TICKET, "its signature has a wrong size");
        sig = der;
    }
    if (!signature_good(key, alg, text, j->signed_len, sig, sig_len))
        return err_set(e, ERR_TICKET, "its signature is wrong");
    return 0;
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

int jws_verify(
        const char *jws, const char *type, X509_STORE *anchors, json_t **ret_payload, struct err *e)
{
    STACK_OF(X509) *chain = sk_X509_new_null();
    const struct jws_alg *alg = NULL;
    json_t *header = NULL;
    struct jws j = {0};
    int r = -1;

    *ret_payload = NULL;
    if (!chain) {
        err_set(e, ERR_NOMEM, "no memory for a JWS");
        goto out;
    }
    /* the payload is not looked at before it is known who wrote it */
    if (jws_split(jws, &j, e) == 0 && (header = load_part(&j.header, "header", e)) &&
            check_header(header, type, chain, &alg, e) == 0 &&
            check_signature(jws, &j, alg, X509_get0_pubkey(sk_X509_value(chain, 0)), e) == 0 &&
            check_trust(chain, anchors, e) == 0 &&
            (*ret_payload = load_part(&j.payload, "payload", e)))
        r = 0;
out:
    ERR_clear_error();
    json_decref(header);
    sk_X509_pop_free(chain, X509_free);
    jws_done(&j);
    return r;
}

int jws_check_input(const void *bytes, size_t len, struct err *e)
{
    static const char begin[] = "keyline-", end[] = "+jws";
    const char *text = bytes, *dot = memchr(text, '.', len), *typ;
    struct buf header = BUF_INIT, payload = BUF_INIT;
    json_t *o = NULL;
    size_t typ_len;
    int r = -1;

    if (len > TICKET_BYTES_MAX || !dot ||
            base64url_decode(text, (size_t)(dot - text), &header, NULL) < 0 ||
            base64url_decode(dot + 1, len - (size_t)(dot + 1 - text), &payload, NULL) < 0) {
        err_set(e, ERR_TICKET, "these bytes are not the header and payload of a JWS");
        goto out;
    }
    if (!(o = load_part(&header, "header", e)))
        goto out;
    typ = json_string_value(json_object_get(o, "typ"));
    typ_len = typ ? strlen(typ) : 0;
    if (json_object_size(o) != 3 || typ_len < sizeof begin + sizeof end - 1 ||
            strncmp(typ, begin, sizeof begin - 1) != 0 ||
            strcmp(typ + typ_len - (sizeof end - 1), end) != 0)
        err_set(e, ERR_TICKET, "this is nothing that Keyline has approvers sign");
    else
        r = 0;
out:
    json_decref(o);
    buf_done(&header);
    buf_done(&payload);
    return r;
}
