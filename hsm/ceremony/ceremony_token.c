/* Tokens and CA keys are made here. Promises that a key it made is sensitive, not extractable, was
 * born in the token, and that its signatures verify. Must never see a private key: all it gets is
 * the public half. */
#include "hsm/ceremony/ceremony_token.h"
#include <openssl/x509v3.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "hsm/token/ckr.h"
#include "hsm/x509/der.h"
#include "hsm/token/key_search.h"

#define SLOTS_MAX 64

static const struct {
    const char *name;
    enum signature_alg alg;
    CK_ULONG rsa_bits;
    struct der_oid curve;
} key_types[CEREMONY_KEY_TYPES] = {
        [CEREMONY_P256] = {"p256", SIGNATURE_ECDSA_P256, 0,
                {8, {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}}},
        [CEREMONY_P384] = {"p384", SIGNATURE_ECDSA_P384, 0, {5, {0x2b, 0x81, 0x04, 0x00, 0x22}}},
        [CEREMONY_RSA2048] = {"rsa2048", SIGNATURE_RSA, 2048, {0}},
        [CEREMONY_RSA3072] = {"rsa3072", SIGNATURE_RSA, 3072, {0}},
        [CEREMONY_RSA4096] = {"rsa4096", SIGNATURE_RSA, 4096, {0}},
        [CEREMONY_ED25519] = {"ed25519", SIGNATURE_ED25519, 0, {3, {0x2b, 0x65, 0x70}}},
};
/* id-ecPublicKey (RFC 5480) and rsaEncryption (RFC 3279) */
static const struct der_oid oid_ec_key = {7, {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01}};
static const struct der_oid oid_rsa_key = {
        9, {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01}};

int ceremony_key_type_parse(const char *name, enum ceremony_key_type *ret, struct err *e)
{
    for (int i = 0; i < CEREMONY_KEY_TYPES; i++)
        if (strcmp(key_types[i].name, name) == 0) {
            *ret = (enum ceremony_key_type)i;
            return 0;
        }
    return err_set(e, ERR_ARGUMENT,
            "key type '%.20s': it is p256, p384, rsa2048, rsa3072, rsa4096 or ed25519", name);
}

bool ceremony_key_type_fits(enum ceremony_key_type type, EVP_PKEY *key)
{
    CK_ULONG bits = key_types[type].rsa_bits;
    enum signature_alg alg;

    return signature_alg_of(key, &alg, NULL) == 0 && alg == key_types[type].alg &&
           (!bits || (CK_ULONG)EVP_PKEY_get_bits(key) == bits);
}

/* PKCS#11 takes texts as unsigned and not const. */
static CK_UTF8CHAR *text(const char *s)
{
    return (CK_UTF8CHAR *)(uintptr_t)s;
}

static int load(struct ceremony_token *t, const char *module, struct err *e)
{
    if (module_open(module, &t->module, e) < 0 ||
            module_initialize(&t->module, t->init_args ? t->init_args : "", &t->init, e) < 0)
        return -1;
    t->initialised = 1;
    return 0;
}

static int find_free_slot(struct ceremony_token *t, CK_SLOT_ID *ret, struct err *e)
{
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG count = SLOTS_MAX;
    CK_TOKEN_INFO info;
    CK_RV rv = t->module.f->C_GetSlotList(CK_TRUE, slots, &count);

    if (rv != CKR_OK)
        return ckr_err(e, rv, "list the slots of the PKCS#11 module");
    for (CK_ULONG i = 0; i < count; i++)
        if (t->module.f->C_GetTokenInfo(slots[i], &info) == CKR_OK &&
                !(info.flags & CKF_TOKEN_INITIALIZED)) {
            *ret = slots[i];
            return 0;
        }
    return err_set(e, ERR_TOKEN_FULL, "the PKCS#11 module has no slot for a new token");
}

/* The user PIN is set in a session of the security officer. */
static int set_pin(struct ceremony_token *t, const char *so_pin, const char *pin, struct err *e)
{
    CK_FUNCTION_LIST *f = t->module.f;
    CK_SESSION_HANDLE session;
    CK_RV rv = f->C_OpenSession(t->slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session);

    if (rv != CKR_OK)
        return ckr_err(e, rv, "open a session with the new token");
    rv = f->C_Login(session, CKU_SO, text(so_pin), strlen(so_pin));
    if (rv == CKR_OK)
        rv = f->C_InitPIN(session, text(pin), strlen(pin));
    f->C_CloseSession(session);
    return rv == CKR_OK ? 0 : ckr_err(e, rv, "set the new token's PIN");
}

int ceremony_token_create(struct ceremony_token *t, const char *module, const char *label,
        const char *so_pin, const char *pin, struct err *e)
{
    CK_UTF8CHAR padded[32];
    size_t len = strlen(label);
    CK_RV rv;

    if (len == 0 || len > sizeof padded)
        return err_set(e, ERR_CONFIG, "[token] label must have 1 to %zu bytes", sizeof padded);
    memset(padded, ' ', sizeof padded);
    memcpy(padded, label, len);
    if (load(t, module, e) < 0 || find_free_slot(t, &t->slot, e) < 0)
        return -1;
    rv = t->module.f->C_InitToken(t->slot, text(so_pin), strlen(so_pin), padded);
    if (rv != CKR_OK)
        return ckr_err(e, rv, "make the token");
    /* SoftHSM gives the token another slot once it is made */
    return module_find_token(&t->module, label, &t->slot, e) < 0 ? -1 : set_pin(t, so_pin, pin, e);
}

int ceremony_token_open(struct ceremony_token *t, const char *module, const char *label,
        const char *pin, struct err *e)
{
    bool wanted;
    CK_RV rv;

    if ((!t->initialised && load(t, module, e) < 0) ||
            module_find_token(&t->module, label, &t->slot, e) < 0 ||
            module_pin_state(&t->module, t->slot, &wanted, e) < 0)
        return -1;
    rv = t->module.f->C_OpenSession(
            t->slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &t->session);
    if (rv != CKR_OK)
        return ckr_err(e, rv, "open a session with the token");
    t->open = 1;
    if (!wanted)
        return 0;
    rv = t->module.f->C_Login(t->session, CKU_USER, text(pin), strlen(pin));
    return rv == CKR_OK ? 0 : ckr_err(e, rv, "log in to the token");
}

void ceremony_token_close(struct ceremony_token *t)
{
    if (t->open) {
        t->module.f->C_Logout(t->session);
        t->module.f->C_CloseSession(t->session);
    }
    if (t->initialised)
        t->module.f->C_Finalize(NULL);
    module_close(&t->module);
    *t = CEREMONY_TOKEN_INIT;
}

/* ---- keys */

static int generate(struct ceremony_token *t, enum ceremony_key_type type,
        struct module_key_name *name, CK_OBJECT_HANDLE *ret_public, CK_OBJECT_HANDLE *ret_private,
        struct err *e)
{
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_ULONG bits = key_types[type].rsa_bits;
    uint8_t exponent[] = {1, 0, 1}, curve[16];
    const struct der_oid *oid = &key_types[type].curve;
    CK_ATTRIBUTE id = {CKA_ID, name->id, name->id_len};
    CK_ATTRIBUTE label = {CKA_LABEL, text(name->label), strlen(name->label)};
    CK_ATTRIBUTE private_key[] = {id, label, {CKA_TOKEN, &yes, sizeof yes},
            {CKA_PRIVATE, &yes, sizeof yes}, {CKA_SENSITIVE, &yes, sizeof yes},
            {CKA_EXTRACTABLE, &no, sizeof no}, {CKA_SIGN, &yes, sizeof yes}};
    CK_ATTRIBUTE public_key[] = {id, label, {CKA_TOKEN, &yes, sizeof yes},
            {CKA_VERIFY, &yes, sizeof yes}, {CKA_EC_PARAMS, curve, 0}, {0}};
    CK_ULONG public_count = 5;
    CK_MECHANISM how = {CKM_EC_KEY_PAIR_GEN, NULL, 0};
    CK_RV rv;

    if (oid->len) {
        curve[0] = DER_OID;
        curve[1] = oid->len;
        memcpy(curve + 2, oid->bytes, oid->len);
        public_key[4].ulValueLen = 2u + oid->len;
        if (key_types[type].alg == SIGNATURE_ED25519)
            how.mechanism = CKM_EC_EDWARDS_KEY_PAIR_GEN;
    } else {
        how.mechanism = CKM_RSA_PKCS_KEY_PAIR_GEN;
        public_key[4] = (CK_ATTRIBUTE){CKA_MODULUS_BITS, &bits, sizeof bits};
        public_key[5] = (CK_ATTRIBUTE){CKA_PUBLIC_EXPONENT, exponent, sizeof exponent};
        public_count = 6;
    }
    rv = t->module.f->C_GenerateKeyPair(t->session, &how, public_key, public_count, private_key,
            sizeof private_key / sizeof *private_key, ret_public, ret_private);
    return rv == CKR_OK ? 0 : ckr_err(e, rv, "make a key pair in the token");
}

#define ED25519_KEY_BYTES 32

/* PKCS#11 wraps the point into an OCTET STRING; some modules give it bare. */
static int put_point(struct ceremony_token *t, CK_OBJECT_HANDLE key, enum signature_alg alg,
        struct der *d, struct err *e)
{
    bool edwards = alg == SIGNATURE_ED25519;
    size_t len = edwards ? ED25519_KEY_BYTES : 1 + 2 * signature_info(alg)->coordinate_bytes;
    struct buf point = BUF_INIT;
    int r = -1;

    if (module_get_attribute(&t->module, t->session, key, CKA_EC_POINT, &point, e) < 0)
        goto out;
    if (point.len < len || (!edwards && point.data[point.len - len] != 0x04)) {
        err_set(e, ERR_TOKEN, "the token gives a public point in an unknown form");
        goto out;
    }
    der_put(d, point.data + point.len - len, len);
    r = 0;
out:
    buf_done(&point);
    return r;
}

static int put_rsa(struct ceremony_token *t, CK_OBJECT_HANDLE key, struct der *d, struct err *e)
{
    struct buf modulus = BUF_INIT, exponent = BUF_INIT;
    size_t mark = der_len(d);
    int r = -1;

    if (module_get_attribute(&t->module, t->session, key, CKA_MODULUS, &modulus, e) == 0 &&
            module_get_attribute(&t->module, t->session, key, CKA_PUBLIC_EXPONENT, &exponent, e) ==
                    0) {
        der_uint(d, exponent.data, exponent.len);
        der_uint(d, modulus.data, modulus.len);
        der_wrap(d, DER_SEQUENCE, mark);
        r = 0;
    }
    buf_done(&modulus);
    buf_done(&exponent);
    return r;
}

/* RFC 5480: the curve is a parameter; RFC 3279: NULL is; RFC 8410: the curve is the algorithm. */
static void put_algorithm(struct der *d, enum ceremony_key_type type)
{
    const struct der_oid *curve = &key_types[type].curve;

    if (key_types[type].alg == SIGNATURE_RSA)
        der_tlv(d, DER_NULL, NULL, 0);
    else
        der_oid(d, curve);
    if (key_types[type].alg != SIGNATURE_ED25519)
        der_oid(d, curve->len ? &oid_ec_key : &oid_rsa_key);
}

static int read_public(struct ceremony_token *t, CK_OBJECT_HANDLE key, enum ceremony_key_type type,
        struct ceremony_key *ret, struct err *e)
{
    const struct der_oid *curve = &key_types[type].curve;
    uint8_t space[sizeof ret->spki];
    const uint8_t *bytes;
    struct der d;
    size_t mark;

    der_init(&d, space, sizeof space);
    if (curve->len ? put_point(t, key, ret->alg, &d, e) < 0 : put_rsa(t, key, &d, e) < 0)
        return -1;
    cert_key_id(d.bytes + d.left, der_len(&d), ret->key_id);
    ret->key_id_len = CERT_KEY_ID_BYTES;
    der_wrap_bits(&d, 0);
    mark = der_len(&d);
    put_algorithm(&d, type);
    der_wrap(&d, DER_SEQUENCE, mark);
    der_wrap(&d, DER_SEQUENCE, 0);
    if (der_done(&d, &bytes, &ret->spki_len, e) < 0)
        return -1;
    memcpy(ret->spki, bytes, ret->spki_len);
    return 0;
}

/* What module_check_key() sees may have been set later; these say how the key came to be. A token
 * that does not know them is believed. CKA_LOCAL is not asked: the token made the key a moment ago,
 * and NSS says that it did not. */
static int check_birth(struct ceremony_token *t, CK_OBJECT_HANDLE key, struct err *e)
{
    static const struct {
        CK_ATTRIBUTE_TYPE type;
        const char *not_so;
    } facts[] = {
            {CKA_ALWAYS_SENSITIVE, "was not sensitive at all times"},
            {CKA_NEVER_EXTRACTABLE, "was extractable at some time"},
    };

    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
        CK_BBOOL yes = CK_TRUE;
        CK_ATTRIBUTE a = {facts[i].type, &yes, sizeof yes};
        CK_RV rv = t->module.f->C_GetAttributeValue(t->session, key, &a, 1);

        if (rv != CKR_OK && rv != CKR_ATTRIBUTE_TYPE_INVALID)
            return ckr_err(e, rv, "read the CA key's attributes");
        if (rv == CKR_OK && a.ulValueLen == sizeof yes && !yes)
            return err_set(e, ERR_KEY_POLICY, "the new CA key %s", facts[i].not_so);
    }
    return 0;
}

int ceremony_token_keygen(struct ceremony_token *t, enum ceremony_key_type type,
        struct ceremony_key *ret, struct err *e)
{
    CK_OBJECT_HANDLE public_key;
    struct err none = {0};

    if (module_find_key(&t->module, t->session, &ret->name, &ret->handle, &none) == 0 ||
            none.id == ERR_CONFIG)
        return err_set(e, ERR_EXISTS, "the token has a private key '%s' already", ret->name.label);
    if (generate(t, type, &ret->name, &public_key, &ret->handle, e) < 0 ||
            module_check_key(&t->module, t->session, ret->handle, e) < 0 ||
            check_birth(t, ret->handle, e) < 0)
        return err_context(e, "key %s", ret->name.label);
    ret->alg = key_types[type].alg;
    return read_public(t, public_key, type, ret, e);
}

static int sign_raw(struct ceremony_token *t, const struct ceremony_key *key, const void *bytes,
        size_t len, uint8_t *raw, CK_ULONG *raw_len, struct err *e)
{
    struct module_mechanism how;
    struct buf input = BUF_INIT;
    CK_MECHANISM m = {0};
    CK_RV rv;
    int r = -1;

    if (module_mechanism(&t->module, t->slot, t->session, key->handle, &how, e) < 0 ||
            module_sign_input(&how, bytes, len, &input, e) < 0)
        goto out;
    m.mechanism = how.type;
    rv = t->module.f->C_SignInit(t->session, &m, key->handle);
    if (rv == CKR_OK)
        rv = t->module.f->C_Sign(t->session, input.data, input.len, raw, raw_len);
    r = rv == CKR_OK ? 0 : ckr_err(e, rv, "sign in the token");
out:
    buf_done(&input);
    return r;
}

int ceremony_token_sign(struct ceremony_token *t, const struct ceremony_key *key, const void *bytes,
        size_t len, struct buf *ret_sig, struct err *e)
{
    const uint8_t *spki = key->spki;
    EVP_PKEY *public_key = d2i_PUBKEY(NULL, &spki, (long)key->spki_len);
    uint8_t raw[SIGNATURE_BYTES_MAX];
    CK_ULONG raw_len = sizeof raw;
    int r = -1;

    if (!public_key)
        err_set(e, ERR_TOKEN, "the token made a public key that cannot be read");
    else if (sign_raw(t, key, bytes, len, raw, &raw_len, e) == 0 &&
             signature_from_token(key->alg, raw, raw_len, ret_sig, e) == 0)
        r = signature_verify(public_key, key->alg, bytes, len, ret_sig->data, ret_sig->len, e);
    EVP_PKEY_free(public_key);
    return r;
}

/* ---- keys that are there */

#define PAIR_MAX 16 /* objects of one id and label: a pair, and whatever else was put beside it */

static int describe(X509 *cert, struct ceremony_key *ret, struct err *e)
{
    const ASN1_OCTET_STRING *id = X509_get0_subject_key_id(cert);
    uint8_t *at = ret->spki;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), NULL);

    if (!id || ASN1_STRING_length(id) > CA_KEY_ID_MAX)
        return err_set(e, ERR_CONFIG,
                "a CA's certificate has no subjectKeyIdentifier of at most %d bytes",
                CA_KEY_ID_MAX);
    if (len <= 0 || (size_t)len > sizeof ret->spki)
        return err_set(e, ERR_CONFIG, "the certificate's public key cannot be read");
    ret->spki_len = (size_t)i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &at);
    ret->key_id_len = (size_t)ASN1_STRING_length(id);
    memcpy(ret->key_id, ASN1_STRING_get0_data(id), ret->key_id_len);
    return signature_alg_of(X509_get0_pubkey(cert), &ret->alg, e);
}

int ceremony_token_find(struct ceremony_token *t, X509 *cert, const struct module_key_name *guess,
        struct ceremony_key *ret, struct err *e)
{
    static const char probe[] = "keyline: whose private key is this?";
    struct buf signature = BUF_INIT;
    int r = -1;

    *ret = (struct ceremony_key){0};
    if (describe(cert, ret, e) == 0 &&
            key_search(&t->module, t->session, guess, ret->spki, ret->spki_len, &ret->name,
                    &ret->handle, e) == 0 &&
            module_check_key(&t->module, t->session, ret->handle, e) == 0)
        r = ceremony_token_sign(t, ret, probe, sizeof probe, &signature, e);
    buf_done(&signature);
    return r;
}

int ceremony_token_destroy(
        struct ceremony_token *t, const struct module_key_name *name, struct err *e)
{
    uint8_t id[MODULE_KEY_ID_MAX];
    CK_ATTRIBUTE wanted[] = {
            {CKA_ID, id, name->id_len}, {CKA_LABEL, text(name->label), strlen(name->label)}};
    CK_OBJECT_HANDLE found[PAIR_MAX];
    size_t count;

    memcpy(id, name->id, sizeof id);
    if (module_find_objects(&t->module, t->session, wanted, 2, found, PAIR_MAX, &count, e) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        CK_RV rv = t->module.f->C_DestroyObject(t->session, found[i]);

        if (rv != CKR_OK)
            return ckr_err(e, rv, "destroy a key in the token");
    }
    return 0;
}

int ceremony_token_is_empty(struct ceremony_token *t, bool *ret, struct err *e)
{
    CK_OBJECT_HANDLE found[1];
    size_t count = 0;

    if (module_find_objects(&t->module, t->session, NULL, 0, found, 1, &count, e) < 0)
        return -1;
    *ret = count == 0;
    return 0;
}
