/* Which key a worker signs with, and what it refuses to sign with: one signerd-token process a
 * case, keys and certificates made in a real SoftHSM. */
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/param_build.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include "base/file.h"
#include "hsm/ca.h"
#include "hsm/token/ckr.h"
#include "hsm/token/module.h"
#include "hsm/x509/signature.h"
#include "tests/hsm/station.h"
#include "tests/hsm/worker_rig.h"

#define SOFTHSM "/usr/lib/softhsm/libsofthsm2.so"

static struct ca *ca;

/* ---- the token, by another program's hands */

static struct module m;
static CK_SESSION_HANDLE session;

static void open_token(void)
{
    struct buf pin = BUF_INIT;
    struct err e = {0};
    struct module_init init;
    char path[PATH_MAX];
    CK_SLOT_ID slot;

    paths_get(&st.paths, PATH_SOFTHSM_CONF, path);
    setenv("SOFTHSM2_CONF", path, 1);
    paths_get(&st.paths, PATH_TOKEN_PIN, path);
    ok(file_read_secret(path, &pin, &e));
    ok(module_open(SOFTHSM, &m, &e));
    ok(module_initialize(&m, "", &init, &e));
    ok(module_find_token(&m, "keyline", &slot, &e));
    assert_int_equal(
            m.f->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session),
            CKR_OK);
    assert_int_equal(m.f->C_Login(session, CKU_USER, pin.data, pin.len), CKR_OK);
    buf_done(&pin);
}

static void close_token(void)
{
    m.f->C_Finalize(NULL);
    module_close(&m);
    unsetenv("SOFTHSM2_CONF");
}

struct new_key {
    uint8_t id;
    const char *label;
    int rsa, without_public, with_certificate, extractable, asks_each_time, bare_id;
};

/* PKCS#11 takes texts and numbers as not const. */
static void *var(const void *p)
{
    return (void *)(uintptr_t)p;
}

static EVP_PKEY *public_half(CK_OBJECT_HANDLE key, int rsa)
{
    struct buf a = BUF_INIT, b = BUF_INIT;
    struct err e = {0};
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, rsa ? "RSA" : "EC", NULL);
    BIGNUM *n = NULL, *x = NULL;
    EVP_PKEY *out = NULL;
    OSSL_PARAM *params;

    ok(module_get_attribute(&m, session, key, rsa ? CKA_MODULUS : CKA_EC_POINT, &a, &e));
    if (rsa) {
        ok(module_get_attribute(&m, session, key, CKA_PUBLIC_EXPONENT, &b, &e));
        n = BN_bin2bn(a.data, (int)a.len, NULL), x = BN_bin2bn(b.data, (int)b.len, NULL);
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n);
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, x);
    } else {
        OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0);
        OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, a.data + 2, a.len - 2);
    }
    params = OSSL_PARAM_BLD_to_param(build);
    assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
    assert_int_equal(EVP_PKEY_fromdata(ctx, &out, EVP_PKEY_PUBLIC_KEY, params), 1);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    EVP_PKEY_CTX_free(ctx);
    BN_free(n);
    BN_free(x);
    buf_done(&a);
    buf_done(&b);
    return out;
}

/* A certificate for this key, as a CA's tools put it beside the private key. */
static void put_certificate(EVP_PKEY *key, CK_ATTRIBUTE id)
{
    EVP_PKEY *signer = help_key("P-256");
    X509 *x = help_cert(signer, "beside");
    uint8_t *der = NULL;
    int len;
    CK_OBJECT_CLASS class = CKO_CERTIFICATE;
    CK_CERTIFICATE_TYPE type = CKC_X_509;
    CK_BBOOL yes = CK_TRUE;
    CK_OBJECT_HANDLE object;

    X509_set_pubkey(x, key);
    X509_sign(x, signer, EVP_sha256());
    len = i2d_X509(x, &der);
    CK_ATTRIBUTE a[] = {{CKA_CLASS, &class, sizeof class},
            {CKA_CERTIFICATE_TYPE, &type, sizeof type}, {CKA_TOKEN, &yes, sizeof yes}, id,
            {CKA_SUBJECT, var("0"), 1}, {CKA_VALUE, der, (CK_ULONG)len}};
    assert_int_equal(m.f->C_CreateObject(session, a, 6, &object), CKR_OK);
    OPENSSL_free(der);
    X509_free(x);
    EVP_PKEY_free(signer);
}

static EVP_PKEY *make_key(const struct new_key *k)
{
    static const uint8_t p256[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE, loose = (CK_BBOOL)k->extractable,
             asks = (CK_BBOOL)k->asks_each_time;
    CK_ULONG bits = 2048;
    CK_MECHANISM how = {k->rsa ? CKM_RSA_PKCS_KEY_PAIR_GEN : CKM_EC_KEY_PAIR_GEN, NULL, 0};
    CK_ATTRIBUTE id = {CKA_ID, var(&k->id), k->bare_id ? 0 : 1};
    CK_ATTRIBUTE label = {CKA_LABEL, var(k->label), strlen(k->label)};
    CK_ATTRIBUTE kind = k->rsa ? (CK_ATTRIBUTE){CKA_MODULUS_BITS, &bits, sizeof bits}
                               : (CK_ATTRIBUTE){CKA_EC_PARAMS, var(p256), sizeof p256};
    CK_ATTRIBUTE public_key[] = {id, label, kind, {CKA_TOKEN, &yes, sizeof yes}};
    CK_ATTRIBUTE private_key[] = {id, label, {CKA_TOKEN, &yes, sizeof yes},
            {CKA_PRIVATE, &yes, sizeof yes}, {CKA_SIGN, &yes, sizeof yes},
            {CKA_SENSITIVE, loose ? &no : &yes, sizeof no}, {CKA_EXTRACTABLE, &loose, sizeof loose},
            {CKA_ALWAYS_AUTHENTICATE, &asks, sizeof asks}};
    CK_OBJECT_HANDLE a, b;
    EVP_PKEY *out;

    assert_int_equal(
            m.f->C_GenerateKeyPair(session, &how, public_key, 4, private_key, 8, &a, &b), CKR_OK);
    out = public_half(a, k->rsa);
    if (k->with_certificate)
        put_certificate(out, id);
    if (k->without_public)
        assert_int_equal(m.f->C_DestroyObject(session, a), CKR_OK);
    return out;
}

/* ---- a worker's life with it */

/* Opens the key of `want` (NULL: the configured one), signs, pings, signs; verified under `key`. */
static int live(const char *config, EVP_PKEY *want, EVP_PKEY *key, struct err *e)
{
    struct worker_rig r;
    enum signature_alg alg;
    uint8_t *spki = NULL, bytes[100];
    int len = want ? i2d_PUBKEY(want, &spki) : 0, ret = -1;
    size_t before = station_logins(&st);

    memset(bytes, 0x30, sizeof bytes);
    assert_int_equal(signature_alg_of(key, &alg, e), 0);
    station_config(&st, config);
    rig_start(&r);
    if (rig_ask(&r, WIRE_DESCRIBE, alg, spki, (size_t)len, e) < 0)
        goto out;
    for (int i = 0; i < 2; i++) {
        struct buf sig = BUF_INIT;

        bytes[1] = (uint8_t)i;
        if (rig_ask(&r, WIRE_SIGN, alg, bytes, sizeof bytes, e) < 0 ||
                rig_ask(&r, WIRE_PING, alg, NULL, 0, e) < 0)
            goto out;
        /* the answer to the ping has no bytes: ask again for the signature to be looked at */
        if (rig_ask(&r, WIRE_SIGN, alg, bytes, sizeof bytes, e) == 0 &&
                signature_from_token(alg, r.packet.body, r.packet.len, &sig, e) == 0)
            signature_verify(key, alg, bytes, sizeof bytes, sig.data, sig.len, e);
        buf_done(&sig);
        if (e->id)
            goto out;
    }
    ret = 0;
out:
    assert_int_equal(WIFEXITED(rig_stop(&r)), 1);
    assert_true(station_logins(&st) - before <= 1);
    OPENSSL_free(spki);
    return ret;
}

static void configured_key_serves(void **state)
{
    struct err e = {0};

    (void)state;
    ok(live("", NULL, ca->key, &e));
    ok(live("", ca->key, ca->key, &e));
}

/* keyline.conf names the root's key, then one that is not there, then a wrong label. */
static void key_is_found_by_its_public_half(void **state)
{
    struct err e = {0};

    (void)state;
    ok(live("key_label = root-ca\nkey_id = 01\n", ca->key, ca->key, &e));
    ok(live("key_id = 77\n", ca->key, ca->key, &e));
    ok(live("key_label = gone\n", ca->key, ca->key, &e));
    /* without a public half to look for, all as configured */
    refused(live("key_label = root-ca\nkey_id = 01\n", NULL, ca->key, &e), SIGNATURE);
    refused(live("key_id = 77\n", NULL, ca->key, &e), TOKEN_ABSENT);
}

static void every_witness_serves(void **state)
{
    static const struct new_key keys[] = {
            {.id = 0x11, .label = "issuing-ca"},
            {.id = 0x12, .label = "by certificate", .without_public = 1, .with_certificate = 1},
            {.id = 0x13, .label = "rsa", .rsa = 1},
            {.id = 0x14, .label = "rsa alone", .rsa = 1, .without_public = 1},
    };
    EVP_PKEY *key[4];
    struct err e = {0};

    (void)state;
    open_token();
    for (int i = 0; i < 4; i++)
        key[i] = make_key(&keys[i]);
    close_token();
    for (int i = 0; i < 4; i++) {
        ok(live("", key[i], key[i], &e));
        EVP_PKEY_free(key[i]);
    }
    ok(live("", ca->key, ca->key, &e));
}

static void key_without_a_witness_is_tried_if_configured(void **state)
{
    EVP_PKEY *key;
    struct err e = {0};

    (void)state;
    open_token();
    key = make_key(&(struct new_key){.id = 0x21, .label = "blind", .without_public = 1});
    close_token();
    ok(live("key_label = blind\nkey_id = 21\n", key, key, &e));
    refused(live("", key, key, &e), TOKEN_ABSENT);
    EVP_PKEY_free(key);
}

static void foreign_key_is_named(void **state)
{
    EVP_PKEY *foreign[] = {help_key("P-256"), help_key("RSA:2048"), help_key("P-384")};
    struct err e = {0};

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(live("", foreign[i], foreign[i], &e), -1);
        if (e.id != ERR_TOKEN_ABSENT)
            fail_msg("%s: %s", err_name(e.id), e.msg);
        assert_non_null(strstr(e.msg, "no private key for the CA certificate"));
        err_clear(&e);
        EVP_PKEY_free(foreign[i]);
    }
}

static void unfit_keys_are_refused(void **state)
{
    static const struct {
        struct new_key key;
        enum err_id wanted;
    } rows[] = {
            {{.id = 0x31, .label = "loose", .extractable = 1}, ERR_KEY_POLICY},
            {{.id = 0x32, .label = "asks", .asks_each_time = 1}, ERR_TOKEN_REFUSED},
            {{.id = 0x33, .label = "no id", .bare_id = 1}, ERR_CONFIG},
            /* the root's id: pkcs11-helper could not tell the two apart */
            {{.id = 0x01, .label = "twin"}, ERR_CONFIG},
    };
    EVP_PKEY *key;
    struct err e = {0};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        open_token();
        key = make_key(&rows[i].key);
        close_token();
        help_refused(
                live("", key, key, &e), rows[i].wanted, &e, rows[i].key.label, __FILE__, __LINE__);
        EVP_PKEY_free(key);
    }
}

static void order_of_requests_is_checked(void **state)
{
    struct worker_rig r;
    uint8_t bytes[8] = {0};
    struct err e = {0};

    (void)state;
    station_config(&st, "");
    rig_start(&r);
    refused(rig_ask(&r, WIRE_SIGN, ca->alg, bytes, sizeof bytes, &e), PROTOCOL);
    rig_stop(&r);
    rig_start(&r);
    refused(rig_ask(&r, WIRE_DESCRIBE, ca->alg, bytes, sizeof bytes, &e), PROTOCOL);
    rig_stop(&r);
    rig_start(&r);
    ok(rig_ask(&r, WIRE_DESCRIBE, ca->alg, NULL, 0, &e));
    ok(rig_ask(&r, WIRE_DESCRIBE, ca->alg, NULL, 0, &e));
    refused(rig_ask(&r, WIRE_SIGN, ca->alg + 1, bytes, sizeof bytes, &e), TOKEN);
    rig_stop(&r);
}

/* A PIN that a token could lock itself over never gets to it. */
static void last_try_is_not_risked(void **state)
{
    size_t before = station_logins(&st);
    struct buf pin = BUF_INIT;
    struct err e = {0};
    char path[PATH_MAX];

    (void)state;
    paths_get(&st.paths, PATH_TOKEN_PIN, path);
    ok(file_read(path, 100, &pin, &e));
    ok(file_write(path, "\n", 1, 0600, &e));
    refused(live("", ca->key, ca->key, &e), TOKEN_PIN);
    ok(file_write(path, pin.data, pin.len, 0644, &e));
    refused(live("", ca->key, ca->key, &e), TOKEN_PIN);
    refused(live("pin_file = /nonexistent\n", ca->key, ca->key, &e), TOKEN_PIN);
    assert_int_equal(station_logins(&st), before);
    ok(file_write(path, pin.data, pin.len, 0600, &e));
    buf_done(&pin);
    ok(live("", ca->key, ca->key, &e));
}

static int open_all(void **state)
{
    struct err e = {0};
    char path[PATH_MAX];

    (void)state;
    station_open(&st, NULL);
    paths_get(&st.paths, PATH_CA_CHAIN, path);
    ok(ca_load(path, &ca, &e));
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    ca_free(&ca);
    station_close(&st);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(configured_key_serves),
            cmocka_unit_test(key_is_found_by_its_public_half),
            cmocka_unit_test(every_witness_serves),
            cmocka_unit_test(key_without_a_witness_is_tried_if_configured),
            cmocka_unit_test(foreign_key_is_named),
            cmocka_unit_test(order_of_requests_is_checked),
            cmocka_unit_test(last_try_is_not_risked),
            cmocka_unit_test(unfit_keys_are_refused),
    };

    setenv("KEYLINE_LOG", "error", 1);
    return cmocka_run_group_tests(tests, open_all, close_all);
}
