/* The engine alone: order of steps, at most once, hostile requests. */
#include "rig.h"

#include <openssl/evp.h>
#include <string.h>

static struct kl_msg request(enum kl_op op)
{
    struct kl_msg m;

    kl_msg_init(&m, 0, (uint8_t)op, KL_REQUEST);
    return m;
}

static void generate(struct rig *r, enum kl_key_type type, int replace, enum kl_error want)
{
    struct kl_msg m = request(KL_OP_GENERATE_KEY);

    kl_msg_put_num(&m, KL_FIELD_KEY_TYPE, type);
    if (replace >= 0)
        kl_msg_put_num(&m, KL_FIELD_REPLACE, (uint32_t)replace);
    rig_expect(r, &m, want, NULL);
}

static struct kl_msg begin(uint32_t object, const uint8_t *bytes, uint32_t len, uint8_t digest[32])
{
    struct kl_msg m = request(KL_OP_BEGIN);

    EVP_Digest(bytes, len, digest, NULL, EVP_sha256(), NULL);
    kl_msg_put_num(&m, KL_FIELD_OBJECT, object);
    kl_msg_put_num(&m, KL_FIELD_LENGTH, len);
    kl_msg_put_bytes(&m, KL_FIELD_SHA256, digest, 32);
    return m;
}

static struct kl_msg write_at(uint32_t object, uint32_t offset, const uint8_t *bytes, uint32_t len)
{
    struct kl_msg m = request(KL_OP_WRITE);

    kl_msg_put_num(&m, KL_FIELD_OBJECT, object);
    kl_msg_put_num(&m, KL_FIELD_OFFSET, offset);
    kl_msg_put_bytes(&m, KL_FIELD_DATA, bytes, len);
    return m;
}

static struct kl_msg with_object(enum kl_op op, uint32_t object)
{
    struct kl_msg m = request(op);

    kl_msg_put_num(&m, KL_FIELD_OBJECT, object);
    return m;
}

static void install(struct rig *r, uint32_t object, const uint8_t *bytes, uint32_t len)
{
    uint8_t digest[32];
    struct kl_msg m = begin(object, bytes, len, digest);

    rig_expect(r, &m, KL_OK, NULL);
    m = write_at(object, 0, bytes, len);
    rig_expect(r, &m, KL_OK, NULL);
    m = with_object(KL_OP_COMMIT, object);
    rig_expect(r, &m, KL_OK, NULL);
}

static struct kl_msg read_at(uint32_t object, uint32_t offset, uint32_t len)
{
    struct kl_msg m = with_object(KL_OP_READ, object);

    kl_msg_put_num(&m, KL_FIELD_OFFSET, offset);
    kl_msg_put_num(&m, KL_FIELD_LENGTH, len);
    return m;
}

static struct kl_msg with_nonce(enum kl_op op)
{
    static const uint8_t nonce[32] = {1, 2, 3};
    struct kl_msg m = request(op);

    kl_msg_put_bytes(&m, KL_FIELD_NONCE, nonce, sizeof nonce);
    return m;
}

static void test_order(void **state)
{
    static const uint8_t bytes[40] = {7};
    static struct rig r;
    uint8_t digest[32];
    struct kl_msg m;

    (void)state;
    rig_init(&r);
    for (uint8_t op = KL_OP_IDENTIFY; op < KL_OP_END; op++) {
        m = request((enum kl_op)op);
        rig_expect(&r, &m, KL_ERROR_HELLO_FIRST, NULL);
    }
    rig_hello(&r);
    m = with_nonce(KL_OP_CSR);
    rig_expect(&r, &m, KL_ERROR_ORDER, NULL);
    m = with_nonce(KL_OP_CHALLENGE);
    rig_expect(&r, &m, KL_ERROR_ORDER, NULL);
    m = begin(KL_OBJECT_CERTIFICATE, bytes, sizeof bytes, digest);
    rig_expect(&r, &m, KL_ERROR_ORDER, NULL);
    m = request(KL_OP_SEAL);
    rig_expect(&r, &m, KL_ERROR_ORDER, NULL);
    generate(&r, KL_KEY_P256, -1, KL_OK);
    m = request(KL_OP_SEAL);
    rig_expect(&r, &m, KL_ERROR_ORDER, NULL);
    m = write_at(KL_OBJECT_CERTIFICATE, 0, bytes, sizeof bytes);
    rig_expect(&r, &m, KL_ERROR_ORDER, NULL); /* no BEGIN */
    m = with_object(KL_OP_COMMIT, KL_OBJECT_CERTIFICATE);
    rig_expect(&r, &m, KL_ERROR_ORDER, NULL);
    m = read_at(KL_OBJECT_CERTIFICATE, 0, 10);
    rig_expect(&r, &m, KL_ERROR_ABSENT, NULL);
    m = read_at(KL_OBJECT_REQUEST, 0, 10);
    rig_expect(&r, &m, KL_ERROR_ABSENT, NULL);
    m = begin(KL_OBJECT_CERTIFICATE, bytes, sizeof bytes, digest);
    rig_expect(&r, &m, KL_OK, NULL);
    m = with_object(KL_OP_COMMIT, KL_OBJECT_CERTIFICATE);
    rig_expect(&r, &m, KL_ERROR_ORDER, NULL); /* not all there */
    install(&r, KL_OBJECT_CERTIFICATE, bytes, sizeof bytes);
    m = request(KL_OP_SEAL);
    rig_expect(&r, &m, KL_OK, NULL);
    rig_done(&r);
}

/* Sealed: nothing durable changes any more, whatever is asked. */
static void test_seal_is_final(void **state)
{
    static const uint8_t bytes[40] = {7}, other[40] = {8};
    static struct rig r;
    uint8_t digest[32];
    struct kl_msg m, answer;

    (void)state;
    rig_init(&r);
    rig_hello(&r);
    generate(&r, KL_KEY_P256, 0, KL_OK);
    install(&r, KL_OBJECT_CERTIFICATE, bytes, sizeof bytes);
    m = begin(KL_OBJECT_CHAIN, other, sizeof other, digest); /* left under way */
    rig_expect(&r, &m, KL_OK, NULL);
    m = request(KL_OP_SEAL);
    rig_expect(&r, &m, KL_OK, NULL);
    unsigned changes = r.flash.changes;
    generate(&r, KL_KEY_P256, 1, KL_ERROR_SEALED);
    generate(&r, KL_KEY_P384, 1, KL_ERROR_SEALED);
    m = begin(KL_OBJECT_CERTIFICATE, other, sizeof other, digest);
    rig_expect(&r, &m, KL_ERROR_SEALED, NULL);
    m = write_at(KL_OBJECT_CHAIN, 0, other, sizeof other);
    rig_expect(&r, &m, KL_ERROR_SEALED, NULL);
    m = with_object(KL_OP_COMMIT, KL_OBJECT_CHAIN);
    rig_expect(&r, &m, KL_ERROR_SEALED, NULL);
    m = with_nonce(KL_OP_CSR);
    rig_expect(&r, &m, KL_ERROR_SEALED, NULL);
    m = begin(KL_OBJECT_CERTIFICATE, bytes, sizeof bytes, digest);
    rig_expect(&r, &m, KL_OK, &answer);
    assert_int_equal(kl_msg_num(&answer, KL_FIELD_DONE, 0), 1);
    m = with_nonce(KL_OP_CHALLENGE);
    rig_expect(&r, &m, KL_OK, NULL);
    m = request(KL_OP_SEAL);
    rig_expect(&r, &m, KL_OK, &answer);
    assert_int_equal(kl_msg_num(&answer, KL_FIELD_DONE, 0), 1);
    assert_int_equal(r.flash.changes, changes);
    rig_done(&r);
}

static void test_replace_drops_certificate(void **state)
{
    static const uint8_t bytes[40] = {7};
    static struct rig r;
    uint8_t key[KL_KEY_MAX];

    (void)state;
    rig_init(&r);
    rig_hello(&r);
    generate(&r, KL_KEY_P256, -1, KL_OK);
    install(&r, KL_OBJECT_CERTIFICATE, bytes, sizeof bytes);
    struct rig_object *kept = &r.flash.objects[KL_OBJECT_KEY];
    memcpy(key, kept->kept, kept->kept_len);
    generate(&r, KL_KEY_P256, 0, KL_OK);
    assert_memory_equal(key, kept->kept, kept->kept_len);
    generate(&r, KL_KEY_P384, 0, KL_ERROR_KEY_EXISTS);
    assert_int_equal(kl_device_state(&r.device), KL_STATE_INSTALLED);
    generate(&r, KL_KEY_P384, 1, KL_OK);
    assert_int_equal(kl_device_state(&r.device), KL_STATE_KEYED);
    generate(&r, KL_KEY_P384, 0, KL_OK);
    for (size_t i = 0; i < sizeof r.device.key; i++)
        assert_int_equal(r.device.key[i], 0); /* wiped */
    rig_done(&r);
}

/* The private key's bytes are in nothing the device ever sends, whatever object is asked for. */
static void test_key_stays(void **state)
{
    static struct rig r;
    struct kl_msg m, answer;

    (void)state;
    rig_init(&r);
    rig_hello(&r);
    generate(&r, KL_KEY_P256, -1, KL_OK);
    const struct rig_object *key = &r.flash.objects[KL_OBJECT_KEY];
    assert_true(key->kept_len > 36 + 100);
    for (uint32_t object = 0; object < 300; object++) {
        m = read_at(object, 0, 4000);
        if (rig_ask(&r, &m, &answer))
            assert_int_equal(answer.kind, KL_REFUSAL);
        assert_null(memmem(r.queue, r.tail, key->kept + 36 + 40, 24));
    }
    rig_done(&r);
}

/* The same bytes again: the same answer, no work; HELLO is always carried out. */
static void test_at_most_once(void **state)
{
    static struct rig r;
    uint8_t payload[64], wire[128], first[256];
    struct kl_msg m = request(KL_OP_GENERATE_KEY);

    (void)state;
    rig_init(&r);
    rig_hello(&r);
    kl_msg_put_num(&m, KL_FIELD_KEY_TYPE, KL_KEY_P256);
    kl_msg_put_num(&m, KL_FIELD_REPLACE, 1);
    m.seq = 0x7777;
    size_t len =
            kl_frame_encode(payload, kl_msg_encode(&m, payload, sizeof payload), wire, sizeof wire);
    r.head = r.tail = 0;
    kl_device_input(&r.device, wire, len);
    size_t answer_len = r.tail;
    memcpy(first, r.queue, answer_len);
    unsigned changes = r.flash.changes;
    for (unsigned i = 0; i < 5; i++) {
        r.head = r.tail = 0;
        kl_device_input(&r.device, wire, len);
        assert_int_equal(r.tail, answer_len);
        assert_memory_equal(r.queue, first, answer_len);
    }
    assert_int_equal(r.ran[KL_OP_GENERATE_KEY], 1);
    assert_int_equal(r.flash.changes, changes);
    /* The same but for its number is another request. */
    m.seq++;
    len = kl_frame_encode(payload, kl_msg_encode(&m, payload, sizeof payload), wire, sizeof wire);
    kl_device_input(&r.device, wire, len);
    assert_int_equal(r.ran[KL_OP_GENERATE_KEY], 2);
    m = request(KL_OP_HELLO);
    kl_msg_put_num(&m, KL_FIELD_VERSION_MIN, 1);
    kl_msg_put_num(&m, KL_FIELD_VERSION_MAX, 1);
    kl_msg_put_num(&m, KL_FIELD_FRAME_MAX, 512);
    len = kl_frame_encode(payload, kl_msg_encode(&m, payload, sizeof payload), wire, sizeof wire);
    unsigned hellos = r.ran[KL_OP_HELLO];
    kl_device_input(&r.device, wire, len);
    kl_device_input(&r.device, wire, len);
    assert_int_equal(r.ran[KL_OP_HELLO], hellos + 2);
    rig_done(&r);
}

static void hello_is(struct rig *r, uint32_t low, uint32_t high, uint32_t frame, enum kl_error want)
{
    struct kl_msg m = request(KL_OP_HELLO);

    kl_msg_put_num(&m, KL_FIELD_VERSION_MIN, low);
    kl_msg_put_num(&m, KL_FIELD_VERSION_MAX, high);
    kl_msg_put_num(&m, KL_FIELD_FRAME_MAX, frame);
    rig_expect(r, &m, want, NULL);
}

static void test_bad_requests(void **state)
{
    static uint8_t bytes[200] = {7};
    static struct rig r;
    uint8_t digest[32];
    struct kl_msg m, answer;

    (void)state;
    rig_init(&r);
    hello_is(&r, 2, 9, 512, KL_ERROR_VERSION);
    hello_is(&r, 0, 1, 512, KL_ERROR_MALFORMED);
    hello_is(&r, 2, 1, 512, KL_ERROR_MALFORMED);
    hello_is(&r, 1, 1, 511, KL_ERROR_MALFORMED);
    hello_is(&r, 1, 1, UINT32_MAX, KL_OK);
    m = request((enum kl_op)99);
    rig_expect(&r, &m, KL_ERROR_UNSUPPORTED, NULL);
    generate(&r, (enum kl_key_type)0, -1, KL_ERROR_KEY_TYPE);
    generate(&r, (enum kl_key_type)32, -1, KL_ERROR_KEY_TYPE);
    generate(&r, (enum kl_key_type)1000, -1, KL_ERROR_KEY_TYPE);
    m = request(KL_OP_GENERATE_KEY);
    rig_expect(&r, &m, KL_ERROR_MALFORMED, NULL);
    generate(&r, KL_KEY_P256, -1, KL_OK);
    m = request(KL_OP_CSR);
    kl_msg_put_bytes(&m, KL_FIELD_NONCE, bytes, 31);
    rig_expect(&r, &m, KL_ERROR_MALFORMED, NULL);
    m = with_nonce(KL_OP_CSR);
    memset(bytes, 'a', sizeof bytes);
    kl_msg_put_bytes(&m, KL_FIELD_NAME, bytes, KL_TEXT_MAX + 1);
    rig_expect(&r, &m, KL_ERROR_MALFORMED, NULL);
    m = begin(KL_OBJECT_REQUEST, bytes, 10, digest);
    rig_expect(&r, &m, KL_ERROR_OBJECT, NULL);
    m = begin(KL_OBJECT_KEY, bytes, 10, digest);
    rig_expect(&r, &m, KL_ERROR_OBJECT, NULL);
    m = begin(KL_OBJECT_SEAL, bytes, 10, digest);
    rig_expect(&r, &m, KL_ERROR_OBJECT, NULL);
    m = begin(KL_OBJECT_CHAIN, bytes, 0, digest);
    rig_expect(&r, &m, KL_ERROR_MALFORMED, NULL);
    m = begin(KL_OBJECT_CHAIN, bytes, 10, digest);
    kl_msg_put_num(&m, KL_FIELD_LENGTH, UINT32_MAX);
    rig_expect(&r, &m, KL_ERROR_TOO_LARGE, NULL);
    m = begin(KL_OBJECT_CHAIN, bytes, 100, digest);
    rig_expect(&r, &m, KL_OK, NULL);
    m = write_at(KL_OBJECT_CHAIN, 1, bytes, 10);
    rig_expect(&r, &m, KL_ERROR_OFFSET, &answer);
    assert_int_equal(kl_msg_num(&answer, KL_FIELD_OFFSET, 99), 0);
    m = write_at(KL_OBJECT_CHAIN, 0, bytes, 101);
    rig_expect(&r, &m, KL_ERROR_OFFSET, NULL);
    m = write_at(KL_OBJECT_CHAIN, UINT32_MAX, bytes, 101);
    rig_expect(&r, &m, KL_ERROR_OFFSET, NULL);
    bytes[5] ^= 1; /* not what was announced */
    m = write_at(KL_OBJECT_CHAIN, 0, bytes, 100);
    rig_expect(&r, &m, KL_OK, NULL);
    m = with_object(KL_OP_COMMIT, KL_OBJECT_CHAIN);
    rig_expect(&r, &m, KL_ERROR_DIGEST, NULL);
    rig_expect(&r, &m, KL_ERROR_ORDER, NULL);
    m = read_at(KL_OBJECT_CHAIN, 0, 10);
    rig_expect(&r, &m, KL_ERROR_ABSENT, NULL);
    install(&r, KL_OBJECT_CHAIN, bytes, 100);
    m = read_at(KL_OBJECT_CHAIN, 101, 10);
    rig_expect(&r, &m, KL_ERROR_OFFSET, NULL);
    m = read_at(KL_OBJECT_CHAIN, UINT32_MAX, UINT32_MAX);
    rig_expect(&r, &m, KL_ERROR_OFFSET, NULL);
    m = read_at(KL_OBJECT_CHAIN, 98, UINT32_MAX);
    rig_expect(&r, &m, KL_OK, &answer);
    assert_int_equal(answer.field[KL_FIELD_DATA].num, 2);
    m = read_at(KL_OBJECT_CHAIN, 100, 1);
    rig_expect(&r, &m, KL_OK, &answer);
    assert_int_equal(answer.field[KL_FIELD_DATA].num, 0);
    m = request(KL_OP_VERDICT);
    rig_expect(&r, &m, KL_ERROR_MALFORMED, NULL);
    rig_done(&r);
}

/* The announced frame is never exceeded, and answers are the only thing sent. */
static void test_silence_to_noise(void **state)
{
    static struct rig r;
    uint64_t x = 7;

    (void)state;
    rig_init(&r);
    rig_hello(&r);
    unsigned sends = r.sends;
    for (unsigned i = 0; i < 2000000; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        uint8_t byte = (uint8_t)(x >> 56);
        kl_device_input(&r.device, &byte, 1);
    }
    assert_int_equal(r.sends, sends);
    /* A frame of kind answer, our own echo perhaps. */
    struct kl_msg m, answer;
    kl_msg_init(&m, 1, KL_OP_PING, KL_ANSWER);
    assert_false(rig_ask(&r, &m, &answer));
    rig_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_order),
            cmocka_unit_test(test_seal_is_final),
            cmocka_unit_test(test_replace_drops_certificate),
            cmocka_unit_test(test_key_stays),
            cmocka_unit_test(test_at_most_once),
            cmocka_unit_test(test_bad_requests),
            cmocka_unit_test(test_silence_to_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
