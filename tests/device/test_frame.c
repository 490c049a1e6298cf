/* Frames: every way a wire can hurt one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "keyline/frame.h"

static uint64_t seed = 88172645463325252u;
static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

/* Pushes bytes; counts good and bad; the last good payload stays in rx. */
static unsigned push(struct kl_frame_rx *rx, const uint8_t *bytes, size_t len, unsigned *ret_bad)
{
    unsigned good = 0;

    for (size_t i = 0; i < len; i++) {
        enum kl_frame_event event = kl_frame_push(rx, bytes[i]);
        good += event == KL_FRAME_GOOD;
        if (ret_bad)
            *ret_bad += event == KL_FRAME_BAD;
    }
    return good;
}

static void test_crc(void **state)
{
    (void)state;
    assert_int_equal(kl_crc32(0, (const uint8_t *)"123456789", 9), 0xCBF43926);
    assert_int_equal(kl_crc32(kl_crc32(0, (const uint8_t *)"1234", 4), (const uint8_t *)"56789", 5),
            0xCBF43926);
}

static void fill(uint8_t *bytes, size_t len, unsigned kind)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = kind == 0 ? 0 : kind == 1 ? (uint8_t)(i % 255 + 1) : (uint8_t)next_random();
}

/* Every length, with no zeros, only zeros, and random; encoded in place too. */
static void test_round_trip(void **state)
{
    static uint8_t payload[KL_FRAME_LARGEST], wire[KL_WIRE_BUFFER(KL_FRAME_LARGEST)],
            shifted[sizeof wire];
    static uint8_t got[KL_FRAME_LARGEST];
    struct kl_frame_rx rx;

    (void)state;
    kl_frame_rx_init(&rx, got, sizeof got);
    for (size_t len = KL_HEAD_BYTES + 1; len <= KL_FRAME_LARGEST - KL_CRC_BYTES;
            len += len < 1100 ? 1 : 97)
        for (unsigned kind = 0; kind < 3; kind++) {
            fill(payload, len, kind);
            size_t n = kl_frame_encode(payload, len, wire, sizeof wire);
            assert_true(n > 0 && n <= KL_WIRE_BYTES(len + KL_CRC_BYTES));
            assert_int_equal(wire[0], 0);
            assert_null(memchr(wire + 1, 0, n - 2));
            assert_int_equal(push(&rx, wire, n, NULL), 1);
            assert_int_equal(rx.len, len);
            assert_memory_equal(rx.bytes, payload, len);
            uint8_t *inside = shifted + KL_WIRE_SHIFT(len + KL_CRC_BYTES);
            memcpy(inside, payload, len);
            assert_int_equal(kl_frame_encode(inside, len, shifted, sizeof shifted), n);
            assert_memory_equal(shifted, wire, n);
        }
    assert_int_equal(kl_frame_encode(payload, 100, wire, KL_WIRE_BYTES(104) - 1), 0);
    assert_int_equal(kl_frame_encode(payload, KL_FRAME_LARGEST, wire, sizeof wire), 0);
}

/* A piece of 254 bytes at the end may be followed by an empty one (document, "COBS"). */
static void test_both_forms_of_a_full_block(void **state)
{
    static uint8_t payload[250], wire[400], got[512];
    struct kl_frame_rx rx;

    (void)state;
    kl_frame_rx_init(&rx, got, sizeof got);
    for (unsigned tries = 0;;
            tries++) { /* until the CRC has no zero, so that all is one block of 254 */
        fill(payload, sizeof payload, 1);
        payload[0] = (uint8_t)(1 + tries);
        size_t n = kl_frame_encode(payload, sizeof payload, wire, sizeof wire);
        if (wire[1] != 0xFF)
            continue;
        assert_int_equal(n, 257);
        assert_int_equal(push(&rx, wire, n, NULL), 1);
        wire[256] = 1;
        wire[257] = 0;
        assert_int_equal(push(&rx, wire, 258, NULL), 1);
        assert_int_equal(rx.len, sizeof payload);
        return;
    }
}

/* Every byte of a frame replaced by every other value: never accepted, and the next frame is. */
static void test_every_flip(void **state)
{
    uint8_t payload[60], wire[80], hurt[80], got[512];
    struct kl_frame_rx rx;

    (void)state;
    fill(payload, sizeof payload, 2);
    payload[20] = payload[21] = payload[40] = 0;
    size_t n = kl_frame_encode(payload, sizeof payload, wire, sizeof wire);
    kl_frame_rx_init(&rx, got, sizeof got);
    for (size_t at = 1; at < n - 1; at++)
        for (unsigned value = 0; value < 256; value++) {
            if (value == wire[at])
                continue;
            unsigned bad = 0;
            memcpy(hurt, wire, n);
            hurt[at] = (uint8_t)value;
            assert_int_equal(push(&rx, hurt, n, &bad), 0);
            assert_true(bad >= 1);
            assert_int_equal(push(&rx, wire, n, NULL), 1);
        }
}

/* Cut anywhere, glued to the next; lost and doubled bytes; garbage of any length between. */
static void test_resynchronises(void **state)
{
    uint8_t payload[60], wire[80], junk[3000], got[128];
    struct kl_frame_rx rx;

    (void)state;
    fill(payload, sizeof payload, 2);
    size_t n = kl_frame_encode(payload, sizeof payload, wire, sizeof wire);
    kl_frame_rx_init(&rx, got, sizeof got);
    for (size_t cut = 0; cut < n; cut++) {
        assert_int_equal(push(&rx, wire, cut, NULL), 0);
        assert_int_equal(
                push(&rx, wire, n, NULL), cut == n - 1 ? 2 : 1); /* the next one's 0x00 ends it */
    }
    for (unsigned round = 0; round < 2000; round++) {
        size_t len = next_random() % sizeof junk;
        fill(junk, len, round % 3);
        assert_int_equal(push(&rx, junk, len, NULL), 0);
        assert_int_equal(push(&rx, wire, n, NULL), 1);
        assert_memory_equal(rx.bytes, payload, sizeof payload);
    }
    for (size_t at = 1; at < n - 1; at++) {
        push(&rx, wire, at, NULL);
        assert_int_equal(push(&rx, wire + at + 1, n - at - 1, NULL), 0);
        assert_int_equal(push(&rx, wire, n, NULL), 1);
    }
}

static void test_too_long(void **state)
{
    uint8_t payload[100], wire[128], got[103];
    struct kl_frame_rx rx;
    unsigned bad = 0;

    (void)state;
    fill(payload, sizeof payload, 2);
    size_t n = kl_frame_encode(payload, sizeof payload, wire, sizeof wire);
    kl_frame_rx_init(&rx, got, sizeof got); /* one byte short of payload + CRC */
    assert_int_equal(push(&rx, wire, n, &bad), 0);
    assert_int_equal(bad, 1);
    n = kl_frame_encode(payload, sizeof payload - 1, wire, sizeof wire);
    assert_int_equal(push(&rx, wire, n, NULL), 1);
}

static void test_line_ms(void **state)
{
    (void)state;
    assert_int_equal(kl_line_ms(KL_WIRE_BYTES(512), 9600), 539);
    assert_int_equal(kl_line_ms(1, 4000000), 1);
    assert_int_equal(kl_line_ms(1000, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_crc),
            cmocka_unit_test(test_round_trip),
            cmocka_unit_test(test_both_forms_of_a_full_block),
            cmocka_unit_test(test_every_flip),
            cmocka_unit_test(test_resynchronises),
            cmocka_unit_test(test_too_long),
            cmocka_unit_test(test_line_ms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
