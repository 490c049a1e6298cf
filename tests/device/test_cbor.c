/* CBOR and messages: what we write is read by libcbor; what must not be read is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <cbor.h>

#include "keyline/cbor.h"
#include "keyline/message.h"

/* Each must be refused as one item. */
static const struct {
    const char *what;
    uint8_t bytes[24];
    size_t len;
} hostile[] = {
#define ITEM(what, ...)                                                                            \
    {                                                                                              \
        what, {__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__})                                      \
    }
        ITEM("1 in two bytes", 0x18, 0x01),
        ITEM("255 in three", 0x19, 0x00, 0xFF),
        ITEM("65535 in five", 0x1A, 0x00, 0x00, 0xFF, 0xFF),
        ITEM("64 bits", 0x1B, 0, 0, 0, 1, 0, 0, 0, 0),
        ITEM("reserved 28", 0x1C),
        ITEM("indefinite bytes", 0x5F, 0x41, 0x00, 0xFF),
        ITEM("indefinite array", 0x9F, 0x01, 0xFF),
        ITEM("indefinite map", 0xBF, 0x01, 0x01, 0xFF),
        ITEM("negative", 0x20),
        ITEM("tag", 0xC0, 0x01),
        ITEM("null", 0xF6),
        ITEM("undefined", 0xF7),
        ITEM("float", 0xFA, 0, 0, 0, 0),
        ITEM("simple 32", 0xF8, 0x20),
        ITEM("break", 0xFF),
        ITEM("cut head", 0x19, 0x01),
        ITEM("bytes beyond", 0x45, 1, 2, 3, 4),
        ITEM("bytes far beyond", 0x5A, 0xFF, 0xFF, 0xFF, 0xFF, 0),
        ITEM("array of 4 G", 0x9A, 0xFF, 0xFF, 0xFF, 0xFF, 0),
        ITEM("map of 4 G", 0xBA, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0),
        ITEM("array cut", 0x82, 0x01),
        ITEM("map without value", 0xA1, 0x01),
        ITEM("too deep", 0x81, 0x81, 0x81, 0x81, 0x81, 0x01),
        ITEM("text: lone continuation", 0x61, 0x80),
        ITEM("text: overlong", 0x62, 0xC0, 0x80),
        ITEM("text: overlong 3", 0x63, 0xE0, 0x80, 0x80),
        ITEM("text: surrogate", 0x63, 0xED, 0xA0, 0x80),
        ITEM("text: beyond Unicode", 0x64, 0xF4, 0x90, 0x80, 0x80),
        ITEM("text: cut", 0x62, 0xE2, 0x82),
        ITEM("text: NUL", 0x61, 0x00),
#undef ITEM
};

static void test_hostile(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        /* On the heap and exact, so that asan sees a byte read behind the end. */
        uint8_t *copy = malloc(hostile[i].len);
        memcpy(copy, hostile[i].bytes, hostile[i].len);
        struct kl_cbor_in in = {copy, copy + hostile[i].len};
        if (kl_cbor_skip(&in))
            fail_msg("accepted: %s", hostile[i].what);
        assert_ptr_equal(in.at, copy);
        free(copy);
    }
    struct kl_cbor_in empty = {NULL, NULL};
    assert_false(kl_cbor_skip(&empty));
}

static void test_depth_allowed(void **state)
{
    static const uint8_t four[] = {0x81, 0x81, 0x81, 0xA1, 0x01, 0x02, 0x05};
    struct kl_cbor_in in = {four, four + sizeof four};

    (void)state;
    assert_true(kl_cbor_skip(&in));
    assert_ptr_equal(in.at, four + 6);
}

static void test_numbers_by_libcbor(void **state)
{
    static const uint32_t values[] = {0, 1, 23, 24, 255, 256, 65535, 65536, 0x7FFFFFFF, UINT32_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        uint8_t bytes[8];
        struct kl_cbor_out o = {bytes, bytes + sizeof bytes, false};
        kl_cbor_put_head(&o, KL_CBOR_UINT, values[i]);
        assert_false(o.full);
        uint8_t theirs[16];
        cbor_item_t *item = values[i] < 256     ? cbor_build_uint8((uint8_t)values[i])
                            : values[i] < 65536 ? cbor_build_uint16((uint16_t)values[i])
                                                : cbor_build_uint32(values[i]);
        size_t n = cbor_serialize(item, theirs, sizeof theirs);
        cbor_decref(&item);
        assert_int_equal(n, (size_t)(o.at - bytes));
        assert_memory_equal(bytes, theirs, n);
        struct kl_cbor_in in = {bytes, o.at};
        uint32_t back;
        assert_true(kl_cbor_get(&in, KL_CBOR_UINT, &back));
        assert_int_equal(back, values[i]);
    }
}

/* A message with every field, read by libcbor key by key, and back by our own reader. */
static void test_message_by_libcbor(void **state)
{
    static const uint8_t digest[32] = {0, 1, 2}, types[] = {0x82, 1, 2},
                         sizes[] = {0xA1, 1, 0x19, 0x20, 0};
    uint8_t payload[512];
    struct kl_msg m, back;
    struct cbor_load_result result;

    (void)state;
    kl_msg_init(&m, 0xBEEF, KL_OP_HELLO, KL_ANSWER);
    kl_msg_put_num(&m, KL_FIELD_WAIT_MS, 300000);
    kl_msg_put_text(&m, KL_FIELD_TEXT, "gr\xC3\xBC\xC3\x9F");
    kl_msg_put_bytes(&m, KL_FIELD_SHA256, digest, sizeof digest);
    kl_msg_put_bytes(&m, KL_FIELD_KEY_TYPES, types, sizeof types);
    kl_msg_put_bytes(&m, KL_FIELD_OBJECTS, sizes, sizeof sizes);
    kl_msg_put_num(&m, KL_FIELD_PASS, 1);
    kl_msg_put_num(&m, KL_FIELD_DONE, 0);
    size_t len = kl_msg_encode(&m, payload, sizeof payload);
    assert_true(len > 0);
    for (size_t cap = 0; cap < len; cap++)
        assert_int_equal(kl_msg_encode(&m, payload, cap), 0);
    kl_msg_encode(&m, payload, sizeof payload);
    assert_int_equal(payload[0] | payload[1] << 8, 0xBEEF);

    cbor_item_t *map = cbor_load(payload + KL_HEAD_BYTES, len - KL_HEAD_BYTES, &result);
    assert_non_null(map);
    assert_int_equal(result.error.code, CBOR_ERR_NONE);
    assert_int_equal(result.read, len - KL_HEAD_BYTES);
    assert_true(cbor_isa_map(map) && cbor_map_is_definite(map));
    assert_int_equal(cbor_map_size(map), 7);
    struct cbor_pair *p = cbor_map_handle(map);
    for (size_t i = 1; i < 7; i++)
        assert_true(cbor_get_int(p[i].key) > cbor_get_int(p[i - 1].key));
    assert_int_equal(cbor_get_int(p[0].key), KL_FIELD_KEY_TYPES);
    assert_int_equal(cbor_array_size(p[0].value), 2);
    assert_int_equal(cbor_map_size(p[1].value), 1);
    assert_int_equal(cbor_bytestring_length(p[2].value), sizeof digest);
    assert_memory_equal(cbor_bytestring_handle(p[2].value), digest, sizeof digest);
    assert_true(cbor_is_bool(p[3].value) && !cbor_get_bool(p[3].value));
    assert_true(cbor_get_bool(p[4].value));
    assert_int_equal(cbor_string_length(p[5].value), 6);
    assert_int_equal(cbor_get_int(p[6].value), 300000);
    cbor_decref(&map);

    assert_int_equal(kl_msg_decode(&back, payload, len), KL_MSG_GOOD);
    assert_int_equal(back.has, m.has);
    assert_int_equal(kl_msg_num(&back, KL_FIELD_WAIT_MS, 0), 300000);
    assert_memory_equal(back.field[KL_FIELD_TEXT].bytes, "gr\xC3\xBC\xC3\x9F", 6);
    /* Cut anywhere, or with a byte more: not this message. */
    for (size_t cut = 0; cut < len; cut++)
        assert_int_not_equal(kl_msg_decode(&back, payload, cut), KL_MSG_GOOD);
    payload[len] = 0;
    assert_int_equal(kl_msg_decode(&back, payload, len + 1), KL_MSG_MALFORMED);
    assert_int_equal(back.has, 0);
}

static void test_message_rules(void **state)
{
#define MAP(...)                                                                                   \
    {                                                                                              \
        {1, 0, KL_OP_PING, 0, __VA_ARGS__}, 4 + sizeof((uint8_t[]){__VA_ARGS__})                   \
    }
    static const struct {
        uint8_t bytes[24];
        size_t len;
    } bad[] = {MAP(0xA2, 0x02, 0x01, 0x01, 0x01), MAP(0xA2, 0x01, 0x01, 0x01, 0x01),
            MAP(0xA1, 0x01, 0x41, 0x00), MAP(0xA1, 0x15, 0x01), MAP(0xA1, 0x61, 0x61, 0x01),
            MAP(0x80), MAP(0xA1, 0x05, 0x81, 0x41, 0x00), MAP(0xA1, 0x06, 0xA1, 0x01, 0xF5),
            MAP(0xA0, 0xA0), MAP(0xA1, 0x18, 0x64, 0x5F)},
      good[] = {MAP(0xA0), MAP(0xA1, 0x18, 0x64, 0x82, 0x01, 0x62, 0x68, 0x69),
              MAP(0xA2, 0x13, 0x00, 0x19, 0x01, 0x00, 0xA0)};
    struct kl_msg m;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (kl_msg_decode(&m, bad[i].bytes, bad[i].len) != KL_MSG_MALFORMED)
            fail_msg("accepted: %zu", i);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (kl_msg_decode(&m, good[i].bytes, good[i].len) != KL_MSG_GOOD)
            fail_msg("refused: %zu", i);
    assert_int_equal(kl_msg_decode(&m, bad[0].bytes, 3), KL_MSG_HEADLESS);
}

/* Anything at all: it is decoded or refused, and what is decoded can be encoded to the same bytes
 * again unless a field was unknown. */
static void test_random_bytes(void **state)
{
    uint64_t x = 42;
    unsigned good = 0;

    (void)state;
    for (unsigned round = 0; round < 300000; round++) {
        size_t len = 4 + round % 20;
        uint8_t *bytes = malloc(len), again[64];
        struct kl_msg m;
        for (size_t i = 0; i < len; i++) {
            x = x * 6364136223846793005u + 1442695040888963407u;
            bytes[i] = (uint8_t)(x >> 56);
        }
        bytes[4 % len] = (uint8_t)(0xA0 | (bytes[4 % len] & 3));
        if (kl_msg_decode(&m, bytes, len) == KL_MSG_GOOD) {
            size_t n = kl_msg_encode(&m, again, sizeof again);
            assert_true(n > 0 && n <= len);
            if (n == len)
                assert_memory_equal(again, bytes, len);
            good++;
        }
        free(bytes);
    }
    assert_true(good > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_hostile),
            cmocka_unit_test(test_depth_allowed),
            cmocka_unit_test(test_numbers_by_libcbor),
            cmocka_unit_test(test_message_by_libcbor),
            cmocka_unit_test(test_message_rules),
            cmocka_unit_test(test_random_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
