/* Rows: one row has one encoding. Whatever else a decoder might put up with is refused. */
#include "base_test.h"

#include "base/buf.h"
#include "base/limits.h"
#include "base/row.h"
#include "base/text.h"

static int add(struct row *r, const char *key, const char *value)
{
    struct err e = {0};
    return row_add(r, key, strlen(key), value, strlen(value), &e);
}

static void known_encoding(void **state)
{
    struct row r = {.count = 0};
    struct buf b = BUF_INIT;
    struct err e = {0};
    char hex[200];
    (void)state;
    /* Bytewise order of the encodings: shorter keys first, then by byte. */
    assert_int_equal(add(&r, "name", "x"), 0);
    assert_int_equal(add(&r, "b", "2"), 0);
    assert_int_equal(add(&r, "aa", "3"), 0);
    assert_int_equal(add(&r, "a", "1"), 0);
    assert_int_equal(add(&r, "empty", ""), 0);
    assert_ok(row_encode(&r, &b, &e), &e);
    hex_format(b.data, b.len, hex);
    assert_string_equal(hex, "a4"
                             "6161"
                             "6131"
                             "6162"
                             "6132"
                             "626161"
                             "6133"
                             "646e616d65"
                             "6178");
    buf_done(&b);
}

static void empty_row(void **state)
{
    struct row r = {.count = 0}, back;
    struct buf b = BUF_INIT;
    struct err e = {0};
    (void)state;
    assert_ok(row_encode(&r, &b, &e), &e);
    assert_int_equal(b.len, 1);
    assert_int_equal(b.data[0], 0xa0);
    assert_ok(row_decode(b.data, b.len, &back, &e), &e);
    assert_int_equal(back.count, 0);
    buf_done(&b);
}

/* Heads of 1, 2 and 3 bytes: lengths around 23/24 and 255/256, and all the fields there can be. */
static void round_trips(void **state)
{
    static const size_t lengths[] = {1, 22, 23, 24, 25, 255, 256, 257, 4096};
    static char text[5000];
    struct buf b = BUF_INIT, again = BUF_INIT;
    struct err e = {0};
    (void)state;
    memset(text, 'v', sizeof text);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        for (size_t k = 0; k < sizeof lengths / sizeof lengths[0]; k++) {
            struct row r = {.count = 0}, back;
            buf_reset(&b);
            buf_reset(&again);
            assert_ok(row_add(&r, text, lengths[k], text, lengths[i], &e), &e);
            assert_ok(row_add(&r, "u", 1, "\xc3\xa9", 2, &e), &e);
            assert_ok(row_encode(&r, &b, &e), &e);
            assert_ok(row_decode(b.data, b.len, &back, &e), &e);
            assert_int_equal(back.count, 2);
            assert_ok(row_encode(&back, &again, &e), &e);
            assert_int_equal(again.len, b.len);
            assert_memory_equal(again.data, b.data, b.len);
        }
    struct row full = {.count = 0}, back;
    char keys[ROW_FIELDS_MAX + 1][8];
    for (unsigned i = 0; i <= ROW_FIELDS_MAX; i++)
        snprintf(keys[i], sizeof keys[i], "k%u", (i * 37) % 1000);
    for (unsigned i = 0; i < ROW_FIELDS_MAX; i++)
        assert_int_equal(add(&full, keys[i], "v"), 0);
    assert_err(row_add(&full, "one more", 8, "v", 1, &e), &e, ERR_LIMIT);
    assert_ok(row_add(&full, "one more", 8, "", 0, &e), &e); /* left out, so it takes no place */
    buf_reset(&b);
    assert_ok(row_encode(&full, &b, &e), &e);
    assert_int_equal(b.data[0], 0xb8); /* a map head of two bytes */
    assert_ok(row_decode(b.data, b.len, &back, &e), &e);
    assert_int_equal(back.count, ROW_FIELDS_MAX);
    buf_done(&b);
    buf_done(&again);
}

static void encoder_refuses(void **state)
{
    struct row r = {.count = 0};
    struct buf b = BUF_INIT;
    struct err e = {0};
    static char big[ROW_BYTES_MAX];
    (void)state;
    memset(big, 'x', sizeof big);
    assert_int_equal(add(&r, "name", "a"), 0);
    assert_err(row_add(&r, "name", 4, "b", 1, &e), &e, ERR_EXISTS);
    assert_err(row_add(&r, "name", 4, "", 0, &e), &e, ERR_EXISTS);
    assert_ok(buf_append(&b, "kept", 4, &e), &e);
    static const struct {
        const char *key, *value;
        size_t key_len, value_len;
        enum err_id id;
    } bad[] = {{"k", "\xff", 1, 1, ERR_ARGUMENT}, {"\xc0\x80", "v", 2, 1, ERR_ARGUMENT},
            {"k", "a\0b", 1, 3, ERR_ARGUMENT}, {"", "v", 0, 1, ERR_ARGUMENT},
            {"k", big, 1, sizeof big, ERR_LIMIT}, {big, "v", sizeof big, 1, ERR_LIMIT}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct row x = {.count = 0};
        assert_ok(row_add(&x, bad[i].key, bad[i].key_len, bad[i].value, bad[i].value_len, &e), &e);
        assert_err(row_encode(&x, &b, &e), &e, bad[i].id);
        assert_int_equal(b.len, 4);
    }
    /* A caller that fills the struct by hand cannot get a double key through. */
    struct row twice = {.count = 2,
            .fields = {{.key = "k", .value = "1", .key_len = 1, .value_len = 1},
                    {.key = "k", .value = "2", .key_len = 1, .value_len = 1}}};
    assert_err(row_encode(&twice, &b, &e), &e, ERR_EXISTS);
    buf_done(&b);
}

/* The largest row there can be is taken back, one byte more is not written. */
static void size_limit_is_the_same_both_ways(void **state)
{
    static char text[ROW_BYTES_MAX];
    struct buf b = BUF_INIT;
    struct err e = {0};
    (void)state;
    memset(text, 'x', sizeof text);
    size_t overhead = 1 + 2 + 3; /* map, key "k", head of the value */
    struct row r = {.count = 0}, back;
    assert_ok(row_add(&r, "k", 1, text, ROW_BYTES_MAX - overhead, &e), &e);
    assert_ok(row_encode(&r, &b, &e), &e);
    assert_int_equal(b.len, ROW_BYTES_MAX);
    assert_ok(row_decode(b.data, b.len, &back, &e), &e);
    r.fields[0].value_len++;
    assert_err(row_encode(&r, &b, &e), &e, ERR_LIMIT);
    buf_done(&b);
}

static void decoder_refuses(void **state)
{
    static const struct {
        const char *hex, *why;
    } bad[] = {
            {"", "nothing"},
            {"a1", "a map without its field"},
            {"a16161", "a key without its value"},
            {"a1616161", "a cut value"},
            {"a1616162", "a value shorter than it says"},
            {"a06161", "stray bytes"},
            {"a161616131a0", "a second item"},
            {"bf61616131ff", "an indefinite map"},
            {"a17f6161ff6131", "an indefinite key"},
            {"a161617f6131ff", "an indefinite value"},
            {"b80161616131", "a map head longer than needed"},
            {"b9000161616131", "a map head longer than needed"},
            {"bb000000000000000161616131", "a map head longer than needed"},
            {"a17801616131", "a key head longer than needed"},
            {"a16161780131", "a value head longer than needed"},
            {"a1616179000131", "a value head longer than needed"},
            {"a161617b000000000000000131", "a value head longer than needed"},
            {"a261616131"
             "61616132",
                    "a key twice"},
            {"a261626131"
             "61616132",
                    "keys out of order"},
            {"a262616161316162"
             "6132",
                    "a longer key first"},
            {"a141616131", "a key that is bytes"},
            {"a161614131", "a value that is bytes"},
            {"a1616101", "a value that is a number"},
            {"a16161f6", "a value that is null"},
            {"a16161f4", "a value that is false"},
            {"a16161fb3ff0000000000000", "a value that is a float"},
            {"a16161c06131", "a tagged value"},
            {"a161618161"
             "31",
                    "a value that is an array"},
            {"a16161a0", "a value that is a map"},
            {"a1a06131", "a key that is a map"},
            {"a1616160", "an empty value"},
            {"a1606131", "an empty key"},
            {"a1616161ff", "a value that is not UTF-8"},
            {"a161ff6131", "a key that is not UTF-8"},
            {"a161616100", "a NUL"},
            {"d9d9f7a0", "a tagged map"},
            {"80", "an array"},
            {"6161", "a text"},
            {"00", "a number"},
            {"f6", "null"},
            {"ff", "a break"},
            {"a1617f", "a reserved head"},
            {"b841", "more fields than there can be"},
            {"bbffffffffffffffff", "a huge map"},
            {"a17bffffffffffffffff", "a huge key"},
            {"a161617affffffff31", "a huge value"},
            {"bc", "a reserved head"},
            {"fc", "a reserved head"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        /* On the heap in its exact size, so that the sanitizer sees a read beyond the end. */
        size_t len = strlen(bad[i].hex) / 2;
        uint8_t *bytes = malloc(len + (len == 0));
        struct row r;
        struct err e = {0};
        assert_int_equal(hex_parse(bad[i].hex, 2 * len, bytes, len), 0);
        int got = row_decode(bytes, len, &r, &e);
        if (got != -1 || e.id != ERR_PROOF || r.count != 0)
            fail_msg("%s (%s) was accepted, or refused with %s", bad[i].hex, bad[i].why,
                    err_name(e.id));
        free(bytes);
    }
}

/* A well-formed map of one field too many: only the limit keeps it from being written beyond struct
 * row. */
static void one_field_too_many(void **state)
{
    struct buf b = BUF_INIT;
    struct row r;
    struct err e = {0};
    (void)state;
    assert_ok(buf_append(&b, "\xb8\x41", 2, &e), &e);
    for (int i = 0; i <= (int)ROW_FIELDS_MAX; i++)
        assert_ok(buf_printf(&b, &e, "\x62%c%c\x61v", 'a' + i / 10, '0' + i % 10), &e);
    assert_int_equal(row_decode(b.data, b.len, &r, &e), -1);
    assert_non_null(strstr(e.msg, "at most 64 fields"));
    b.data[1] = ROW_FIELDS_MAX;
    err_clear(&e);
    assert_ok(row_decode(b.data, b.len - 5, &r, &e), &e); /* without the last one it is good */
    buf_done(&b);
}

/* Decodes bytes; when they are taken, they must be what the encoder writes. Returns whether they
 * were. */
static int only_the_canonical_form(const uint8_t *bytes, size_t len)
{
    struct row r;
    struct err e = {0};
    uint8_t *copy = malloc(len + 1);
    memcpy(copy, bytes, len);
    int taken = row_decode(copy, len, &r, &e) == 0;
    if (taken) {
        struct buf again = BUF_INIT;
        assert_ok(row_encode(&r, &again, &e), &e);
        assert_int_equal(again.len, len);
        assert_memory_equal(again.data, copy, len);
        buf_done(&again);
    } else {
        assert_int_equal(e.id, ERR_PROOF);
    }
    free(copy);
    return taken;
}

/* Every one-byte change, cut and random mixture of a good row: taken only where it is another good
 * row. */
static void mutations(void **state)
{
    struct row r = {.count = 0};
    struct buf b = BUF_INIT;
    struct err e = {0};
    uint32_t seed = 20261123;
    unsigned taken = 0;
    (void)state;
    assert_int_equal(add(&r, "name", "sensor-0001"), 0);
    assert_int_equal(add(&r, "group", "a group with a rather long name"), 0);
    assert_int_equal(add(&r, "id", "\xc3\xa9"), 0);
    assert_ok(row_encode(&r, &b, &e), &e);
    for (size_t i = 0; i < b.len; i++) {
        assert_false(only_the_canonical_form(b.data, i));
        uint8_t was = b.data[i];
        for (unsigned v = 0; v < 256; v++) {
            b.data[i] = (uint8_t)v;
            taken += (unsigned)only_the_canonical_form(b.data, b.len);
        }
        b.data[i] = was;
    }
    for (unsigned n = 0; n < 50000; n++) {
        uint8_t bytes[12];
        static const uint8_t likely[] = {0xa0, 0xa1, 0xa2, 0x61, 0x62, 0x78, 0x01, 'a', 'b', 0xbf,
                0xff, 0x7f, 0x60, 0xc3, 0xa9, 0x00};
        for (size_t i = 0; i < sizeof bytes; i++) {
            seed = seed * 1664525u + 1013904223u;
            bytes[i] = likely[seed >> 28];
        }
        taken += (unsigned)only_the_canonical_form(bytes, 1 + (seed >> 8) % sizeof bytes);
    }
    assert_true(taken > 1000); /* else the test tried nothing */
    buf_done(&b);
}

static void lookup(void **state)
{
    struct row r = {.count = 0};
    struct err e = {0};
    char out[6];
    (void)state;
    assert_int_equal(add(&r, "name", "12345"), 0);
    assert_int_equal(add(&r, "names", "123456"), 0);
    assert_non_null(row_get(&r, "name"));
    assert_null(row_get(&r, "nam"));
    assert_null(row_get(&r, "group"));
    assert_ok(row_copy(&r, "name", out, sizeof out, &e), &e);
    assert_string_equal(out, "12345");
    assert_ok(row_copy(&r, "group", out, sizeof out, &e), &e);
    assert_string_equal(out, "");
    assert_err(row_copy(&r, "names", out, sizeof out, &e), &e, ERR_LIMIT);
    assert_ok(row_add(&r, "nul", 3, "a\0b", 3, &e), &e);
    assert_err(row_copy(&r, "nul", out, sizeof out, &e), &e, ERR_PROOF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(known_encoding),
            cmocka_unit_test(empty_row),
            cmocka_unit_test(round_trips),
            cmocka_unit_test(encoder_refuses),
            cmocka_unit_test(size_limit_is_the_same_both_ways),
            cmocka_unit_test(decoder_refuses),
            cmocka_unit_test(one_field_too_many),
            cmocka_unit_test(mutations),
            cmocka_unit_test(lookup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
