/* Keys from outside: the engine and the driver together. What is installed is used like a key that
 * was made here, is never given back, and is left in no buffer of either side. */
#include "rig.h"

#include <openssl/core_names.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "base/challenge.h"
#include "base/jwe.h"
#include "device/sim/transport.h"
#include "station/drivers/keyline_link.h"

static struct err cause; /* of GOOD and BAD */
#define GOOD(call)                                                                                 \
    do {                                                                                           \
        err_clear(&cause);                                                                         \
        if ((call) < 0)                                                                            \
            fail_msg("%s: %s: %s", #call, err_name(cause.id), cause.msg);                          \
    } while (0)
#define BAD(call, want, link_error)                                                                \
    do {                                                                                           \
        err_clear(&cause);                                                                         \
        assert_int_equal((call), -1);                                                              \
        if (cause.id != (want) || cause.code != (link_error))                                      \
            fail_msg("%s: %s (%s), not %s", #call, err_name(cause.id), cause.msg, err_name(want)); \
    } while (0)

struct key {
    EVP_PKEY *pkey;
    uint8_t pkcs8[256];
    size_t len;
    uint8_t scalar[32];
};

static void key_make(struct key *k, const char *group)
{
    BIGNUM *d = NULL;
    uint8_t *at = k->pkcs8;

    k->pkey = EVP_EC_gen(group);
    PKCS8_PRIV_KEY_INFO *p8 = EVP_PKEY2PKCS8(k->pkey);
    k->len = (size_t)i2d_PKCS8_PRIV_KEY_INFO(p8, &at);
    assert_in_range(k->len, 1, sizeof k->pkcs8);
    PKCS8_PRIV_KEY_INFO_free(p8);
    EVP_PKEY_get_bn_param(k->pkey, OSSL_PKEY_PARAM_PRIV_KEY, &d);
    if (strcmp(group, "P-256") == 0)
        BN_bn2binpad(d, k->scalar, sizeof k->scalar);
    BN_clear_free(d);
}

static void rig_without_keygen(struct rig *r)
{
    rig_init(r);
    crypto_take_keys(&r->crypto);
}

static bool holds(const void *bytes, size_t len, const struct key *k)
{
    return memmem(bytes, len, k->scalar, sizeof k->scalar) != NULL;
}

/* The device's key is this one: it signs with it. */
static void check_use(struct driver_session *s, const struct key *k)
{
    static const uint8_t nonce[NONCE_BYTES] = {1, 2, 3};
    uint8_t message[sizeof CHALLENGE_CONTEXT + NONCE_BYTES];
    struct buf csr = BUF_INIT, sig = BUF_INIT;
    EVP_MD_CTX *md = EVP_MD_CTX_new();

    GOOD(driver_keyline.csr(s, "sensor-1", nonce, &csr, &cause));
    const uint8_t *at = csr.data;
    X509_REQ *req = d2i_X509_REQ(NULL, &at, (long)csr.len);
    assert_non_null(req);
    assert_int_equal(X509_REQ_verify(req, k->pkey), 1);
    X509_REQ_free(req);
    GOOD(driver_keyline.challenge(s, nonce, &sig, &cause));
    memcpy(message, CHALLENGE_CONTEXT, sizeof CHALLENGE_CONTEXT);
    memcpy(message + sizeof CHALLENGE_CONTEXT, nonce, NONCE_BYTES);
    assert_int_equal(EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, k->pkey), 1);
    assert_int_equal(EVP_DigestVerify(md, sig.data, sig.len, message, sizeof message), 1);
    EVP_MD_CTX_free(md);
    buf_done(&csr);
    buf_done(&sig);
}

static void test_whole_way(void **state)
{
    static struct rig r;
    static const uint8_t cert[700] = {0x30};
    struct driver_session s;
    struct driver_identity id;
    struct key k, other;

    (void)state;
    key_make(&k, "P-256");
    key_make(&other, "P-256");
    rig_without_keygen(&r);
    rig_open(&r, &s);
    GOOD(driver_keyline.identify(&s, &id, &cause));
    assert_true(id.takes_key && !id.keyed && !id.sealed && id.transport_key_len == 0);
    BAD(driver_keyline.keygen(&s, "P-256", &cause), ERR_DEVICE_UNSUPPORTED, 0);
    GOOD(driver_keyline.install_key(&s, "P-256", k.pkcs8, k.len, &cause));
    GOOD(driver_keyline.identify(&s, &id, &cause));
    assert_true(id.keyed);
    check_use(&s, &k);
    /* it is nowhere but in the flash */
    assert_true(holds(&r.flash, sizeof r.flash, &k));
    assert_false(holds(&r.device, sizeof r.device, &k));
    assert_false(holds(s.state, sizeof(struct link), &k));
    /* it stays */
    BAD(driver_keyline.install_key(&s, "P-256", other.pkcs8, other.len, &cause), ERR_DEVICE_REFUSED,
            KL_ERROR_KEY_EXISTS);
    assert_false(holds(&r.device, sizeof r.device, &other));
    GOOD(driver_keyline.install(&s, DRIVER_CERT, cert, sizeof cert, &cause));
    GOOD(driver_keyline.seal(&s, &cause));
    driver_keyline.close(&s);
    rig_restart(&r);
    rig_open(&r, &s);
    GOOD(driver_keyline.identify(&s, &id, &cause));
    assert_true(id.keyed && id.sealed);
    driver_keyline.close(&s);
    EVP_PKEY_free(k.pkey);
    EVP_PKEY_free(other.pkey);
    rig_done(&r);
}

static struct kl_msg install_message(const struct key *k, enum kl_key_type type)
{
    struct kl_msg m;

    kl_msg_init(&m, 0, KL_OP_INSTALL_KEY, KL_REQUEST);
    kl_msg_put_num(&m, KL_FIELD_KEY_TYPE, type);
    kl_msg_put_bytes(&m, KL_FIELD_DATA, k->pkcs8, k->len);
    return m;
}

static void test_replace(void **state)
{
    static struct rig r;
    static const uint8_t cert[100] = {0x30};
    struct driver_session s;
    struct key k, other;

    (void)state;
    key_make(&k, "P-256");
    key_make(&other, "P-384");
    rig_without_keygen(&r);
    rig_open(&r, &s);
    GOOD(driver_keyline.install_key(&s, "P-256", k.pkcs8, k.len, &cause));
    GOOD(driver_keyline.install(&s, DRIVER_CERT, cert, sizeof cert, &cause));
    struct kl_msg m = install_message(&other, KL_KEY_P384);
    kl_msg_put_num(&m, KL_FIELD_REPLACE, 1);
    rig_expect(&r, &m, KL_OK, NULL);
    assert_int_equal(
            kl_device_state(&r.device), KL_STATE_KEYED); /* no certificate of another key */
    GOOD(driver_keyline.install(&s, DRIVER_CERT, cert, sizeof cert, &cause));
    GOOD(driver_keyline.seal(&s, &cause));
    m = install_message(&k, KL_KEY_P256);
    kl_msg_put_num(&m, KL_FIELD_REPLACE, 1);
    rig_expect(&r, &m, KL_ERROR_SEALED, NULL);
    driver_keyline.close(&s);
    EVP_PKEY_free(k.pkey);
    EVP_PKEY_free(other.pkey);
    rig_done(&r);
}

static void test_bad_keys(void **state)
{
    static struct rig r;
    struct driver_session s;
    struct key k;
    uint8_t long_one[KL_FRAME_LARGEST] = {0};

    (void)state;
    key_make(&k, "P-256");
    rig_without_keygen(&r);
    rig_open(&r, &s);
    BAD(driver_keyline.install_key(&s, "P-384", k.pkcs8, k.len, &cause), ERR_DEVICE_REFUSED,
            KL_ERROR_CRYPTO);
    BAD(driver_keyline.install_key(&s, "RSA-2048", k.pkcs8, k.len, &cause), ERR_DEVICE_REFUSED,
            KL_ERROR_CRYPTO);
    BAD(driver_keyline.install_key(&s, "P-521", k.pkcs8, k.len, &cause), ERR_DEVICE_UNSUPPORTED, 0);
    BAD(driver_keyline.install_key(&s, "P-256", k.pkcs8, k.len - 1, &cause), ERR_DEVICE_REFUSED,
            KL_ERROR_CRYPTO);
    BAD(driver_keyline.install_key(&s, "P-256", long_one, sizeof long_one, &cause),
            ERR_DEVICE_UNSUPPORTED, 0);
    struct kl_msg m = install_message(&k, 0);
    rig_expect(&r, &m, KL_ERROR_KEY_TYPE, NULL);
    m = install_message(&k, KL_KEY_END);
    rig_expect(&r, &m, KL_ERROR_KEY_TYPE, NULL);
    kl_msg_init(&m, 0, KL_OP_INSTALL_KEY, KL_REQUEST);
    rig_expect(&r, &m, KL_ERROR_MALFORMED, NULL);
    kl_msg_put_num(&m, KL_FIELD_KEY_TYPE, KL_KEY_P256);
    rig_expect(&r, &m, KL_ERROR_MALFORMED, NULL);
    assert_int_equal(kl_device_state(&r.device), KL_STATE_BLANK);
    driver_keyline.close(&s);
    rig_done(&r);
    /* a device that makes its keys has no such operation */
    rig_init(&r);
    rig_hello(&r);
    m = install_message(&k, KL_KEY_P256);
    rig_expect(&r, &m, KL_ERROR_KEY_TYPE, NULL);
    assert_false(holds(&r.device, sizeof r.device, &k));
    EVP_PKEY_free(k.pkey);
    rig_done(&r);
}

/* No operation gives it back: not under any number an object could have. */
static void test_never_read(void **state)
{
    static struct rig r;
    struct driver_session s;
    struct key k;
    struct kl_msg answer;

    (void)state;
    key_make(&k, "P-256");
    rig_without_keygen(&r);
    rig_open(&r, &s);
    GOOD(driver_keyline.install_key(&s, "P-256", k.pkcs8, k.len, &cause));
    for (uint32_t object = 0; object < 300; object++) {
        struct kl_msg m;
        kl_msg_init(&m, 0, KL_OP_READ, KL_REQUEST);
        kl_msg_put_num(&m, KL_FIELD_OBJECT, object);
        kl_msg_put_num(&m, KL_FIELD_OFFSET, 0);
        kl_msg_put_num(&m, KL_FIELD_LENGTH, 400);
        assert_true(rig_ask(&r, &m, &answer));
        assert_int_equal(answer.kind, KL_REFUSAL);
    }
    driver_keyline.close(&s);
    EVP_PKEY_free(k.pkey);
    rig_done(&r);
}

/* A lost answer is asked for again, and the key is kept once. The buffers are clean after that, too. */
static void test_lost_answers(void **state)
{
    static struct rig r;
    struct driver_session s;
    struct key k;

    (void)state;
    key_make(&k, "P-256");
    rig_without_keygen(&r);
    rig_open(&r, &s);
    r.lose_answers = 2;
    GOOD(driver_keyline.install_key(&s, "P-256", k.pkcs8, k.len, &cause));
    assert_int_equal(r.ran[KL_OP_INSTALL_KEY], 1);
    assert_false(holds(&r.device, sizeof r.device, &k));
    assert_false(holds(s.state, sizeof(struct link), &k));
    check_use(&s, &k);
    driver_keyline.close(&s);
    rig_done(&r);
    rig_without_keygen(&r);
    rig_open(&r, &s);
    r.lose_answers = 100;
    BAD(driver_keyline.install_key(&s, "P-256", k.pkcs8, k.len, &cause), ERR_DEVICE_SILENT, 0);
    assert_false(holds(s.state, sizeof(struct link), &k)); /* also when it went wrong */
    driver_keyline.close(&s);
    EVP_PKEY_free(k.pkey);
    rig_done(&r);
}

/* Power lost at every change of the flash: no key, or the whole one. */
static void test_power_cuts(void **state)
{
    struct key k;

    (void)state;
    key_make(&k, "P-256");
    for (unsigned variant = 0; variant < 4; variant++)
        for (unsigned cut = 1;; cut++) {
            static struct rig r;
            struct driver_session s;
            struct driver_identity id;
            struct err e = {0};
            rig_without_keygen(&r);
            rig_open(&r, &s);
            r.flash.cut_at = cut;
            r.flash.after = variant & 1;
            r.flash.forget_staged = variant & 2;
            int result = driver_keyline.install_key(&s, "P-256", k.pkcs8, k.len, &e);
            driver_keyline.close(&s);
            bool happened = r.flash.dead;
            rig_restart(&r);
            rig_open(&r, &s);
            GOOD(driver_keyline.identify(&s, &id, &cause));
            if (!id.keyed)
                GOOD(driver_keyline.install_key(&s, "P-256", k.pkcs8, k.len, &cause));
            check_use(&s, &k);
            driver_keyline.close(&s);
            rig_done(&r);
            if (!happened) {
                assert_int_equal(result, 0);
                assert_true(cut > 4);
                break;
            }
            assert_int_equal(result, -1);
        }
    EVP_PKEY_free(k.pkey);
}

/* --- wrapped for the device --- */

static void seal_for(const uint8_t *spki, size_t len, const struct key *k, struct buf *ret)
{
    struct secret plain;

    GOOD(secret_open(&cause));
    GOOD(secret_new(k->len, &plain, &cause));
    memcpy(plain.bytes, k->pkcs8, k->len);
    GOOD(jwe_seal(spki, len, JWE_TYPE_KEY, &plain, ret, &cause));
    secret_done(&plain);
}

static void test_transport(void **state)
{
    static struct rig r;
    struct driver_session s;
    struct driver_identity id;
    struct key k;
    struct buf jwe = BUF_INIT, foreign = BUF_INIT;
    uint8_t spki[JWE_SPKI_BYTES], other_spki[JWE_SPKI_BYTES];
    EVP_PKEY *other;

    (void)state;
    key_make(&k, "P-256");
    rig_without_keygen(&r);
    GOOD(jwe_key_new(&r.crypto.transport, spki, &cause));
    GOOD(jwe_key_new(&other, other_spki, &cause));
    r.config.transport_key = spki;
    r.config.transport_key_len = sizeof spki;
    rig_open(&r, &s);
    GOOD(driver_keyline.identify(&s, &id, &cause));
    assert_int_equal(id.transport_key_len, sizeof spki);
    assert_memory_equal(id.transport_key, spki, sizeof spki);
    seal_for(id.transport_key, id.transport_key_len, &k, &jwe);
    seal_for(other_spki, sizeof other_spki, &k, &foreign);
    assert_int_equal(jwe.len, 480); /* as the document says: the smallest frame holds it */
    BAD(driver_keyline.install_key(&s, "P-256", k.pkcs8, k.len, &cause), ERR_DEVICE_REFUSED,
            KL_ERROR_CRYPTO); /* in the clear it is not taken */
    BAD(driver_keyline.install_key(&s, "P-256", foreign.data, foreign.len, &cause),
            ERR_DEVICE_REFUSED, KL_ERROR_CRYPTO);
    for (size_t i = 0; i < jwe.len; i += 7) {
        jwe.data[i] ^= 1;
        BAD(driver_keyline.install_key(&s, "P-256", jwe.data, jwe.len, &cause), ERR_DEVICE_REFUSED,
                KL_ERROR_CRYPTO);
        jwe.data[i] ^= 1;
    }
    GOOD(driver_keyline.install_key(&s, "P-256", jwe.data, jwe.len, &cause));
    check_use(&s, &k);
    driver_keyline.close(&s);
    buf_done(&jwe);
    buf_done(&foreign);
    EVP_PKEY_free(other);
    EVP_PKEY_free(k.pkey);
    rig_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_whole_way),
            cmocka_unit_test(test_replace),
            cmocka_unit_test(test_bad_keys),
            cmocka_unit_test(test_never_read),
            cmocka_unit_test(test_lost_answers),
            cmocka_unit_test(test_power_cuts),
            cmocka_unit_test(test_transport),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
