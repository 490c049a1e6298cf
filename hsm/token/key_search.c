/* The CA's key in a token, by its public half. Promises only a good guess: objects in a token may lie
 * about each other, and signerd verifies every signature under the CA's certificate. Must never
 * choose between two keys of one id, for pkcs11-helper could not. */
#include "hsm/token/key_search.h"
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"

#define OBJECTS_MAX    1024 /* of one class; a token of a CA has a handful */
#define RSA_BYTES_MAX  1024 /* RSA-8192 */
#define POINT_WRAP_MAX 4    /* PKCS#11 puts a point into an OCTET STRING; some modules do not */

struct search {
    const struct module *m;
    CK_SESSION_HANDLE session;
    X509_PUBKEY *spki;
    CK_KEY_TYPE type;
    const uint8_t *bits; /* subjectPublicKey: an EC or Edwards point, or an RSAPublicKey */
    int bits_len;
    uint8_t modulus[RSA_BYTES_MAX];
    size_t modulus_len; /* 0: not an RSA key */
};

static int search_init(struct search *s, const void *spki, size_t len, struct err *e)
{
    const uint8_t *at = spki;
    EVP_PKEY *key;
    BIGNUM *n = NULL;
    int r = -1;

    s->spki = d2i_X509_PUBKEY(NULL, &at, (long)len);
    key = s->spki ? X509_PUBKEY_get0(s->spki) : NULL;
    if (!key || X509_PUBKEY_get0_param(NULL, &s->bits, &s->bits_len, NULL, s->spki) != 1)
        err_set(e, ERR_PROTOCOL, "signerd asks for a public key that cannot be read");
    else if (!EVP_PKEY_is_a(key, "RSA")) {
        s->type = EVP_PKEY_is_a(key, "EC") ? CKK_EC : CKK_EC_EDWARDS;
        r = 0;
    } else if (EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n) != 1 ||
               BN_num_bytes(n) > RSA_BYTES_MAX)
        err_set(e, ERR_PROTOCOL, "signerd asks for an RSA key that is too large");
    else {
        s->type = CKK_RSA;
        s->modulus_len = (size_t)BN_bn2bin(n, s->modulus);
        r = 0;
    }
    BN_free(n);
    ERR_clear_error();
    return r;
}

/* Whether a CKA_EC_POINT or CKA_MODULUS is the CA's: with whatever is wrapped around the point, or
 * zeros before the modulus. */
static bool value_is_ca(const struct search *s, const struct buf *value)
{
    const uint8_t *want = s->modulus_len ? s->modulus : s->bits;
    size_t len = s->modulus_len ? s->modulus_len : (size_t)s->bits_len;

    return value->len >= len && value->len - len <= POINT_WRAP_MAX &&
           memcmp(value->data + value->len - len, want, len) == 0;
}

static bool cert_is_ca(const struct search *s, const struct buf *value)
{
    const uint8_t *at = value->data, *bits = NULL;
    X509 *x = d2i_X509(NULL, &at, (long)value->len);
    int len = 0;
    bool is = x && X509_PUBKEY_get0_param(NULL, &bits, &len, NULL, X509_get_X509_PUBKEY(x)) == 1 &&
              len == s->bits_len && memcmp(bits, s->bits, (size_t)len) == 0;

    X509_free(x);
    ERR_clear_error();
    return is;
}

/* What tells about public halves, in the order it is asked. */
static const struct witness {
    CK_OBJECT_CLASS class;
    enum { OF_ANY, OF_RSA } keys;
    enum { BY_VALUE, BY_CERT } kind;
} witnesses[] = {
        {CKO_PRIVATE_KEY, OF_RSA, BY_VALUE}, /* an RSA key shows its modulus itself */
        {CKO_PUBLIC_KEY, OF_ANY, BY_VALUE},
        {CKO_CERTIFICATE, OF_ANY, BY_CERT},
};
#define WITNESS_COUNT (sizeof witnesses / sizeof *witnesses)

enum verdict { IS_ANOTHER, IS_CA, IS_UNKNOWN };

/* Attributes that cannot be read say nothing; what is wrong with the session will be told by others. */
static enum verdict ask(const struct search *s, const struct witness *w, CK_OBJECT_HANDLE object)
{
    CK_ATTRIBUTE_TYPE type = w->kind == BY_CERT ? CKA_VALUE
                             : s->modulus_len   ? CKA_MODULUS
                                                : CKA_EC_POINT;
    struct buf value = BUF_INIT;
    enum verdict v = IS_UNKNOWN;

    if (module_get_attribute(s->m, s->session, object, type, &value, NULL) == 0 && value.len)
        v = (w->kind == BY_CERT ? cert_is_ca(s, &value) : value_is_ca(s, &value)) ? IS_CA
                                                                                  : IS_ANOTHER;
    buf_done(&value);
    return v;
}

static bool applies(const struct search *s, const struct witness *w)
{
    return w->keys == OF_ANY || s->modulus_len;
}

/* The verdict of the objects that share this id. */
static int ask_by_id(const struct search *s, const struct module_key_name *name, enum verdict *ret,
        struct err *e)
{
    uint8_t id[MODULE_KEY_ID_MAX];
    CK_OBJECT_HANDLE found[OBJECTS_MAX];
    size_t count;

    *ret = IS_UNKNOWN;
    memcpy(id, name->id, sizeof id);
    for (size_t i = 0; i < WITNESS_COUNT; i++) {
        CK_OBJECT_CLASS class = witnesses[i].class;
        CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof class}, {CKA_ID, id, name->id_len}};

        if (!applies(s, &witnesses[i]))
            continue;
        if (module_find_objects(s->m, s->session, wanted, 2, found, OBJECTS_MAX, &count, e) < 0)
            return -1;
        for (size_t j = 0; j < count; j++) {
            enum verdict v = ask(s, &witnesses[i], found[j]);

            if (v != IS_UNKNOWN)
                *ret = v;
            if (v == IS_CA)
                return 0;
        }
    }
    return 0;
}

/* The one private key with the id of this object; 1, or 0 when there is none. */
static int private_of(const struct search *s, CK_OBJECT_HANDLE object, struct module_key_name *ret,
        CK_OBJECT_HANDLE *ret_key, struct err *e)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    struct buf id = BUF_INIT;
    CK_OBJECT_HANDLE found[2];
    size_t count = 0;
    int r = -1;

    if (module_get_attribute(s->m, s->session, object, CKA_ID, &id, e) < 0)
        goto out;
    if (id.len == 0 || id.len > MODULE_KEY_ID_MAX) {
        err_set(e, ERR_CONFIG,
                "the CA's key has a CKA_ID of %zu bytes in the token: give the private key and its "
                "public half one of 1 to %d bytes",
                id.len, MODULE_KEY_ID_MAX);
        goto out;
    }
    if (module_find_objects(s->m, s->session,
                (CK_ATTRIBUTE[]){{CKA_CLASS, &class, sizeof class}, {CKA_ID, id.data, id.len}}, 2,
                found, 2, &count, e) < 0)
        goto out;
    if (count > 1) {
        err_set(e, ERR_CONFIG, "the token has several private keys with the id of the CA's key");
        goto out;
    }
    r = (int)count;
    if (count) {
        *ret = (struct module_key_name){.label = "", .id_len = id.len};
        memcpy(ret->id, id.data, id.len);
        *ret_key = found[0];
    }
out:
    buf_done(&id);
    return r;
}

/* 1: found; 0: no object of the token shows the CA's public half and has a private key. */
static int by_public_half(const struct search *s, struct module_key_name *ret,
        CK_OBJECT_HANDLE *ret_key, struct err *e)
{
    CK_OBJECT_HANDLE found[OBJECTS_MAX];
    size_t count;
    int r = 0;

    for (size_t i = 0; i < WITNESS_COUNT && r == 0; i++) {
        CK_OBJECT_CLASS class = witnesses[i].class;
        CK_ATTRIBUTE wanted = {CKA_CLASS, &class, sizeof class};

        if (!applies(s, &witnesses[i]))
            continue;
        if (module_find_objects(s->m, s->session, &wanted, 1, found, OBJECTS_MAX, &count, e) < 0)
            return -1;
        for (size_t j = 0; j < count && r == 0; j++)
            if (ask(s, &witnesses[i], found[j]) == IS_CA)
                r = private_of(s, found[j], ret, ret_key, e);
    }
    return r;
}

static bool is_of_another_type(const struct search *s, CK_OBJECT_HANDLE key)
{
    CK_KEY_TYPE type = s->type;
    CK_ATTRIBUTE a = {CKA_KEY_TYPE, &type, sizeof type};

    return s->m->f->C_GetAttributeValue(s->session, key, &a, 1) == CKR_OK && type != s->type;
}

static int search_all(const struct search *s, const struct module_key_name *configured,
        struct module_key_name *ret, CK_OBJECT_HANDLE *ret_key, struct err *e)
{
    struct err absent = {0};
    enum verdict v = IS_ANOTHER;
    CK_OBJECT_HANDLE key = 0;
    int r;

    if (module_find_key(s->m, s->session, configured, &key, &absent) == 0) {
        if (!is_of_another_type(s, key) && ask_by_id(s, configured, &v, e) < 0)
            return -1;
    } else if (absent.id != ERR_TOKEN_ABSENT && absent.id != ERR_CONFIG) {
        *e = absent;
        return -1;
    }
    r = v == IS_CA ? 0 : by_public_half(s, ret, ret_key, e);
    if (r)
        return r < 0 ? -1 : 0;
    if (v == IS_ANOTHER)
        return err_set(e, ERR_TOKEN_ABSENT,
                "the token holds no private key for the CA certificate: %s",
                absent.id ? absent.msg : "the one named in [token] is another's");
    *ret = *configured; /* nothing in the token says otherwise: the first signature will */
    *ret_key = key;
    return 0;
}

int key_search(const struct module *m, CK_SESSION_HANDLE session,
        const struct module_key_name *configured, const void *spki, size_t len,
        struct module_key_name *ret_name, CK_OBJECT_HANDLE *ret_key, struct err *e)
{
    struct search s = {.m = m, .session = session};
    int r = -1;

    if (!len) {
        *ret_name = *configured;
        return module_find_key(m, session, configured, ret_key, e);
    }
    if (search_init(&s, spki, len, e) == 0)
        r = search_all(&s, configured, ret_name, ret_key, e);
    X509_PUBKEY_free(s.spki);
    return r;
}
