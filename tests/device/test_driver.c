/* The driver against the engine: the whole way, and everything a cable does to it. */
#include "rig.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <string.h>

#include "base/challenge.h"
#include "base/text.h"

static const uint8_t nonce[NONCE_BYTES] = {0xAB, 0x00, 0xFF, 0x01, 0x7E};

static void fill(uint8_t *bytes, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(i * 31 + i / 251 + seed);
}

static struct err cause; /* of GOOD and BAD */
#define CHUNK (KL_FRAME_MAX - KL_DATA_OVERHEAD)
#define SMALL (KL_KEY_MAX < 1000) /* the library was built without room for RSA */
#define GOOD(call)                                                                                 \
    do {                                                                                           \
        err_clear(&cause);                                                                         \
        if ((call) < 0)                                                                            \
            fail_msg("%s: %s: %s", #call, err_name(cause.id), cause.msg);                          \
    } while (0)
#define BAD(call, want)                                                                            \
    do {                                                                                           \
        err_clear(&cause);                                                                         \
        assert_int_equal((call), -1);                                                              \
        if (cause.id != (want))                                                                    \
            fail_msg("%s: %s (%s), not %s", #call, err_name(cause.id), cause.msg, err_name(want)); \
    } while (0)

/* OpenSSL's opinion on the request: well-formed, signed by its key, with this nonce and this name.
 */
static X509_REQ *check_csr(const struct buf *csr, const char *cn)
{
    char hex[2 * NONCE_BYTES + 1], found[256] = "";
    const uint8_t *at = csr->data;
    X509_REQ *req = d2i_X509_REQ(NULL, &at, (long)csr->len);

    assert_non_null(req);
    assert_ptr_equal(at, csr->data + csr->len);
    assert_int_equal(X509_REQ_verify(req, X509_REQ_get0_pubkey(req)), 1);
    int i = X509_REQ_get_attr_by_NID(req, NID_pkcs9_challengePassword, -1);
    assert_true(i >= 0);
    assert_int_equal(X509_REQ_get_attr_count(req), 1);
    X509_ATTRIBUTE *a = X509_REQ_get_attr(req, i);
    ASN1_TYPE *value = X509_ATTRIBUTE_get0_type(a, 0);
    assert_int_equal(value->type, V_ASN1_PRINTABLESTRING);
    hex_format(nonce, sizeof nonce, hex);
    assert_int_equal(value->value.printablestring->length, (int)strlen(hex));
    assert_memory_equal(value->value.printablestring->data, hex, strlen(hex));
    X509_NAME_get_text_by_NID(X509_REQ_get_subject_name(req), NID_commonName, found, sizeof found);
    assert_string_equal(found, cn);
    assert_int_equal(X509_NAME_entry_count(X509_REQ_get_subject_name(req)), cn[0] ? 1 : 0);
    return req;
}

static void check_signature(X509_REQ *req, const struct buf *sig, const uint8_t *challenge)
{
    uint8_t message[sizeof CHALLENGE_CONTEXT + NONCE_BYTES];
    EVP_MD_CTX *md = EVP_MD_CTX_new();

    memcpy(message, CHALLENGE_CONTEXT, sizeof CHALLENGE_CONTEXT);
    memcpy(message + sizeof CHALLENGE_CONTEXT, challenge, NONCE_BYTES);
    assert_int_equal(
            EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, X509_REQ_get0_pubkey(req)), 1);
    assert_int_equal(EVP_DigestVerify(md, sig->data, sig->len, message, sizeof message), 1);
    EVP_MD_CTX_free(md);
}

static void install_and_read(
        struct driver_session *s, enum driver_object o, const uint8_t *bytes, size_t len)
{
    struct buf back = BUF_INIT;

    GOOD(driver_keyline.install(s, o, bytes, len, &cause));
    GOOD(driver_keyline.readback(s, o, &back, &cause));
    assert_int_equal(back.len, len);
    assert_memory_equal(back.data, bytes, len);
    buf_done(&back);
}

/* From hello to seal with one key type. */
static void whole_way(struct rig *r, const char *key_type, const char *cn)
{
    static uint8_t cert[900], chain[32768], config[16384];
    uint8_t challenge[NONCE_BYTES] = {9, 8, 7};
    struct driver_session s;
    struct driver_identity id;
    struct buf csr = BUF_INIT, sig = BUF_INIT;

    fill(cert, sizeof cert, 1);
    fill(chain, sizeof chain, 2);
    memset(config, 0, sizeof config); /* the worst case of COBS */
    rig_open(r, &s);
    GOOD(driver_keyline.identify(&s, &id, &cause));
    assert_string_equal(id.hwid, "HW-0001");
    assert_string_equal(id.name, "sensor-1");
    assert_string_equal(id.model, "Rig 1.2.3");
    assert_false(id.sealed);
    GOOD(driver_keyline.keygen(&s, key_type, &cause));
    GOOD(driver_keyline.csr(&s, cn, nonce, &csr, &cause));
    X509_REQ *req = check_csr(&csr, cn);
    install_and_read(&s, DRIVER_CERT, cert, sizeof cert);
    install_and_read(&s, DRIVER_CHAIN, chain, sizeof chain);
    install_and_read(&s, DRIVER_CONFIG, config, sizeof config);
    GOOD(driver_keyline.challenge(&s, challenge, &sig, &cause));
    check_signature(req, &sig, challenge);
    GOOD(driver_keyline.seal(&s, &cause));
    GOOD(driver_keyline.verdict(&s, true, "PASS", &cause));
    GOOD(driver_keyline.ping(&s, &cause));
    driver_keyline.close(&s);
    assert_true(r->verdict_pass);
    assert_string_equal(r->verdict_text, "PASS");
    assert_int_equal(kl_device_state(&r->device), KL_STATE_SEALED);
    X509_REQ_free(req);
    buf_done(&csr);
    buf_done(&sig);
}

static void test_whole_way(void **state)
{
    static const char *const types[] = {"P-256", "P-384", "RSA-2048"};
    static const char long_name[] =
            "a common name of sixty-four bytes, the most that X.520 allows...";

    (void)state;
    for (size_t i = 0; i < (SMALL ? 2 : 3); i++) {
        static struct rig r;
        rig_init(&r);
        whole_way(&r, types[i], i == 0 ? "" : i == 1 ? long_name : "sensor-1.example.com");
        assert_int_equal(r.verdicts, 1);
        rig_done(&r);
    }
}

/* Bit errors: everything still ends well, and nothing was done twice that shows. */
static void test_noise(void **state)
{
    static const unsigned rates[] = {20000, 6000, 3000};

    (void)state;
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        static struct rig r;
        rig_init(&r);
        r.noise_one_in = rates[i];
        r.random += i;
        whole_way(&r, "P-256", "noisy");
        assert_int_equal(r.verdicts, 1);
        rig_done(&r);
    }
}

/* Answers that come twice: the second one is never taken for the next request's. */
static void test_late_answers(void **state)
{
    static struct rig r;

    (void)state;
    rig_init(&r);
    r.double_answers = true;
    whole_way(&r, "P-256", "late");
    assert_int_equal(r.verdicts, 1);
    rig_done(&r);
}

static void test_lost_answers_run_once(void **state)
{
    static struct rig r;
    struct driver_session s;
    uint8_t bytes[5000];

    (void)state;
    rig_init(&r);
    rig_open(&r, &s);
    r.lose_answers = 3;
    GOOD(driver_keyline.keygen(&s, "P-256", &cause));
    assert_int_equal(r.ran[KL_OP_GENERATE_KEY], 1);
    fill(bytes, sizeof bytes, 3);
    r.lose_answers = 1;
    GOOD(driver_keyline.install(&s, DRIVER_CERT, bytes, sizeof bytes, &cause));
    assert_int_equal(r.ran[KL_OP_BEGIN], 1);
    assert_int_equal(r.ran[KL_OP_WRITE], (sizeof bytes + CHUNK - 1) / CHUNK);
    r.lose_answers = 2;
    GOOD(driver_keyline.verdict(&s, false, "no", &cause));
    assert_int_equal(r.verdicts, 1);
    r.lose_requests = 4;
    GOOD(driver_keyline.ping(&s, &cause));
    r.lose_requests = 100;
    BAD(driver_keyline.ping(&s, &cause), ERR_DEVICE_SILENT);
    driver_keyline.close(&s);
    rig_done(&r);
}

/* Pulled at every write of the host in turn: the next session goes on, and in the end all is there.
 */
static void test_pulled_everywhere(void **state)
{
    (void)state;
    for (long at = 1;; at++) {
        static struct rig r;
        struct driver_session s = {.driver = &driver_keyline, .io = &r.io};
        struct err e = {0};
        uint8_t bytes[6000];
        rig_init(&r);
        fill(bytes, sizeof bytes, 4);
        r.gone_after_writes = at;
        if (driver_keyline.open(&s, 500, &e) == 0) {
            bool done = driver_keyline.keygen(&s, "P-256", &e) == 0 &&
                        driver_keyline.install(&s, DRIVER_CERT, bytes, sizeof bytes, &e) == 0 &&
                        driver_keyline.seal(&s, &e) == 0;
            driver_keyline.close(&s);
            if (done) {
                rig_done(&r);
                assert_true(at > 7);
                return;
            }
        }
        assert_int_equal(e.id, ERR_DEVICE_GONE);
        r.gone_after_writes = 0;
        rig_restart(&r);
        rig_open(&r, &s);
        GOOD(driver_keyline.keygen(&s, "P-256", &cause));
        install_and_read(&s, DRIVER_CERT, bytes, sizeof bytes);
        driver_keyline.close(&s);
        rig_done(&r);
    }
}

/* Power lost at every change of the flash, before, in the middle and after; with and without staged
 * bytes surviving. */
static void power_cuts(bool after, bool forget_staged)
{
    for (unsigned cut = 1;; cut++) {
        static struct rig r;
        struct driver_session s;
        struct err e = {0};
        uint8_t first[700], second[9000 - 1000];
        rig_init(&r);
        r.flash.forget_staged = forget_staged;
        fill(first, sizeof first, 5);
        fill(second, sizeof second, 6);
        rig_open(&r, &s);
        r.flash.cut_at = cut;
        r.flash.after = after;
        bool done = driver_keyline.keygen(&s, "P-256", &e) == 0 &&
                    driver_keyline.install(&s, DRIVER_CERT, first, sizeof first, &e) == 0 &&
                    driver_keyline.install(&s, DRIVER_CERT, second, sizeof second, &e) == 0 &&
                    driver_keyline.seal(&s, &e) == 0;
        driver_keyline.close(&s);
        bool cut_happened = r.flash.dead;
        rig_restart(&r);
        /* Old or new, never another thing. */
        struct rig_object *kept = &r.flash.objects[KL_OBJECT_CERTIFICATE];
        if (kept->kept_len) {
            bool is_first = kept->kept_len == sizeof first + 36 &&
                            !memcmp(kept->kept + 36, first, sizeof first);
            bool is_second = kept->kept_len == sizeof second + 36 &&
                             !memcmp(kept->kept + 36, second, sizeof second);
            assert_true(is_first || is_second);
        }
        uint8_t key[KL_KEY_MAX];
        uint32_t key_len = r.flash.objects[KL_OBJECT_KEY].kept_len;
        memcpy(key, r.flash.objects[KL_OBJECT_KEY].kept, key_len);
        /* And the work can be finished, with the key that was there. */
        rig_open(&r, &s);
        GOOD(driver_keyline.keygen(&s, "P-256", &cause));
        install_and_read(&s, DRIVER_CERT, second, sizeof second);
        GOOD(driver_keyline.seal(&s, &cause));
        driver_keyline.close(&s);
        if (key_len)
            assert_memory_equal(key, r.flash.objects[KL_OBJECT_KEY].kept, key_len);
        rig_done(&r);
        if (!cut_happened) {
            assert_true(done && cut > 10);
            return;
        }
        assert_false(done);
    }
}

static void test_power_cuts(void **state)
{
    (void)state;
    power_cuts(false, false);
    power_cuts(false, true);
    power_cuts(true, false);
    power_cuts(true, true);
}

/* What was written before the interruption is not written again. */
static void test_resume(void **state)
{
    static struct rig r;
    static uint8_t bytes[30000];
    struct driver_session s;
    struct err e = {0};

    (void)state;
    rig_init(&r);
    fill(bytes, sizeof bytes, 7);
    rig_open(&r, &s);
    GOOD(driver_keyline.keygen(&s, "P-256", &cause));
    r.writes = 0;
    r.gone_after_writes = 5; /* BEGIN and three WRITEs */
    assert_int_equal(driver_keyline.install(&s, DRIVER_CHAIN, bytes, sizeof bytes, &e), -1);
    assert_int_equal(e.id, ERR_DEVICE_GONE);
    driver_keyline.close(&s);
    assert_int_equal(r.ran[KL_OP_WRITE], 3);
    r.gone_after_writes = 0;
    rig_restart(&r);
    rig_open(&r, &s);
    install_and_read(&s, DRIVER_CHAIN, bytes, sizeof bytes);
    assert_int_equal(r.ran[KL_OP_WRITE], (sizeof bytes + CHUNK - 1) / CHUNK);
    /* Once more: nothing is written at all. */
    GOOD(driver_keyline.install(&s, DRIVER_CHAIN, bytes, sizeof bytes, &cause));
    assert_int_equal(r.ran[KL_OP_WRITE], (sizeof bytes + CHUNK - 1) / CHUNK);
    driver_keyline.close(&s);
    rig_done(&r);
}

/* A device sealed with exactly these credentials can be finished; others are refused by name. */
static void test_sealed(void **state)
{
    static struct rig r;
    uint8_t bytes[100] = {1}, other[100] = {2};
    struct driver_session s;
    struct driver_identity id;
    struct buf csr = BUF_INIT;

    (void)state;
    rig_init(&r);
    rig_open(&r, &s);
    BAD(driver_keyline.seal(&s, &cause), ERR_DEVICE_REFUSED);
    BAD(driver_keyline.install(&s, DRIVER_CERT, bytes, sizeof bytes, &cause), ERR_DEVICE_REFUSED);
    GOOD(driver_keyline.keygen(&s, "P-256", &cause));
    BAD(driver_keyline.seal(&s, &cause), ERR_DEVICE_REFUSED);
    BAD(driver_keyline.keygen(&s, "P-384", &cause), ERR_DEVICE_REFUSED);
    GOOD(driver_keyline.install(&s, DRIVER_CERT, bytes, sizeof bytes, &cause));
    GOOD(driver_keyline.identify(&s, &id, &cause));
    assert_false(id.sealed);
    GOOD(driver_keyline.seal(&s, &cause));
    /* jobd may die between the seal and the record: the same session asks again. */
    GOOD(driver_keyline.identify(&s, &id, &cause));
    assert_true(id.sealed);
    driver_keyline.close(&s);
    rig_restart(&r);
    rig_open(&r, &s);
    GOOD(driver_keyline.identify(&s, &id, &cause));
    assert_true(id.sealed);
    GOOD(driver_keyline.keygen(&s, "P-256", &cause));
    install_and_read(&s, DRIVER_CERT, bytes, sizeof bytes);
    BAD(driver_keyline.install(&s, DRIVER_CERT, other, sizeof other, &cause), ERR_DEVICE_SEALED);
    BAD(driver_keyline.csr(&s, "", nonce, &csr, &cause), ERR_DEVICE_SEALED);
    BAD(driver_keyline.keygen(&s, "P-384", &cause), ERR_DEVICE_REFUSED);
    GOOD(driver_keyline.seal(&s, &cause));
    driver_keyline.close(&s);
    rig_done(&r);
}

static void test_refusals(void **state)
{
    static struct rig r;
    static uint8_t big[CHAIN_BYTES_MAX];
    struct driver_session s;
    struct err e = {0};

    (void)state;
    rig_init(&r);
    r.config.object_max[KL_OBJECT_CHAIN] = 100;
    rig_open(&r, &s);
    GOOD(driver_keyline.keygen(&s, "P-256", &cause));
    BAD(driver_keyline.install(&s, DRIVER_CHAIN, big, 101, &cause), ERR_DEVICE_UNSUPPORTED);
    BAD(driver_keyline.install(&s, DRIVER_CHAIN, big, 0, &cause), ERR_LIMIT);
    BAD(driver_keyline.keygen(&s, "Ed25519", &cause), ERR_DEVICE_UNSUPPORTED);
    r.refuse = KL_ERROR_REFUSED;
    r.refuse_op = KL_OP_CHALLENGE;
    struct buf sig = BUF_INIT;
    assert_int_equal(driver_keyline.challenge(&s, nonce, &sig, &e), -1);
    assert_int_equal(e.id, ERR_DEVICE_REFUSED);
    assert_non_null(strstr(e.msg, "CHALLENGE"));
    assert_non_null(strstr(e.msg, "REFUSED, 17"));
    /* Restarted in the middle: it does not know us any more. */
    rig_restart(&r);
    BAD(driver_keyline.ping(&s, &cause), ERR_DEVICE_GONE);
    driver_keyline.close(&s);
    rig_done(&r);
}

/* A host that was killed in mid-frame, and one that comes after it. */
static void test_half_frames_before_hello(void **state)
{
    static struct rig r;
    uint8_t junk[300];
    struct driver_session s;

    (void)state;
    rig_init(&r);
    for (unsigned round = 0; round < 50; round++) {
        fill(junk, sizeof junk, round);
        kl_device_input(&r.device, junk + 1, round * 5 + 1);
        memcpy(r.queue, junk, sizeof junk); /* and rubbish waits for the host */
        r.head = 0;
        r.tail = round * 5;
        rig_open(&r, &s);
        GOOD(driver_keyline.ping(&s, &cause));
        driver_keyline.close(&s);
    }
    rig_done(&r);
}

/* What docs/link-protocol.md says about memory. */
static void test_memory(void **state)
{
    (void)state;
    if (SMALL)
        assert_true(sizeof(struct kl_device) <= 2700);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_whole_way),
            cmocka_unit_test(test_noise),
            cmocka_unit_test(test_late_answers),
            cmocka_unit_test(test_lost_answers_run_once),
            cmocka_unit_test(test_pulled_everywhere),
            cmocka_unit_test(test_power_cuts),
            cmocka_unit_test(test_resume),
            cmocka_unit_test(test_sealed),
            cmocka_unit_test(test_refusals),
            cmocka_unit_test(test_half_frames_before_hello),
            cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
