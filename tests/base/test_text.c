/* Text forms: RFC 4648's vectors, and everything that is nearly right refused. */
#include "base_test.h"

#include "base/buf.h"
#include "base/limits.h"
#include "base/text.h"

static void hex(void **state)
{
    const uint8_t bytes[] = {0x00, 0x9f, 0xff};
    uint8_t back[3] = {1, 2, 3};
    char text[7];
    (void)state;
    hex_format(bytes, 3, text);
    assert_string_equal(text, "009fff");
    assert_int_equal(hex_parse("009FfF", 6, back, 3), 0);
    assert_memory_equal(back, bytes, 3);
    assert_int_equal(hex_parse("009ff", 5, back, 3), -1);
    assert_int_equal(hex_parse("009fff00", 8, back, 3), -1);
    assert_int_equal(hex_parse("009fg0", 6, back, 3), -1);
    assert_int_equal(hex_parse(" 09fff", 6, back, 3), -1);
    assert_int_equal(hex_parse("", 0, back, 0), 0);
    assert_memory_equal(back, bytes, 3);
}

static void base64url(void **state)
{
    static const struct {
        const char *plain, *text;
    } vectors[] = {{"", ""}, {"f", "Zg"}, {"fo", "Zm8"}, {"foo", "Zm9v"}, {"foob", "Zm9vYg"},
            {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}, {"\xff\xef\xbe", "_---"}};
    struct buf b = BUF_INIT;
    struct err e = {0};
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        buf_reset(&b);
        assert_ok(base64url_encode(vectors[i].plain, strlen(vectors[i].plain), &b, &e), &e);
        assert_string_equal(buf_str(&b), vectors[i].text);
        buf_reset(&b);
        assert_ok(base64url_decode(vectors[i].text, strlen(vectors[i].text), &b, &e), &e);
        assert_string_equal(buf_str(&b), vectors[i].plain);
    }
    static const char *const bad[] = {
            "Z", "Zg==", "Zm9vY", "Zh", "Zm9", "Zm+v", "Zm/v", "Zm 9", "Zm9v\n", "\xc3\xa9zz"};
    buf_reset(&b);
    assert_ok(buf_append(&b, "kept", 4, &e), &e);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_err(base64url_decode(bad[i], strlen(bad[i]), &b, &e), &e, ERR_ARGUMENT);
        assert_string_equal(buf_str(&b), "kept");
    }
    assert_err(base64url_decode("Zm\0v", 4, &b, &e), &e, ERR_ARGUMENT);
    buf_done(&b);
}

static void base64url_round_trips_every_length(void **state)
{
    uint8_t bytes[256];
    struct buf text = BUF_INIT, back = BUF_INIT;
    struct err e = {0};
    (void)state;
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 37 + 11);
    for (size_t len = 0; len <= sizeof bytes; len++) {
        buf_reset(&text);
        buf_reset(&back);
        assert_ok(base64url_encode(bytes, len, &text, &e), &e);
        assert_ok(base64url_decode((char *)text.data, text.len, &back, &e), &e);
        assert_int_equal(back.len, len);
        if (len > 0)
            assert_memory_equal(back.data, bytes, len);
    }
    buf_done(&text);
    buf_done(&back);
}

static bool utf8(const char *s)
{
    return utf8_valid(s, strlen(s));
}

static void utf8_is_strict(void **state)
{
    (void)state;
    assert_true(utf8(""));
    assert_true(utf8("plain"));
    assert_true(
            utf8("\xc2\x80 \xdf\xbf \xe0\xa0\x80 \xef\xbf\xbf \xf0\x90\x80\x80 \xf4\x8f\xbf\xbf"));
    assert_true(utf8("\xed\x9f\xbf \xee\x80\x80"));
    static const char *const bad[] = {
            "\x80", "\xbf", "\xc0\x80", "\xc1\xbf",                    /* stray, overlong */
            "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf",                        /* overlong */
            "\xed\xa0\x80", "\xed\xbf\xbf",                            /* surrogates */
            "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff",            /* beyond Unicode */
            "\xc3", "\xe2\x82", "\xf0\x9f\x98", "\xc3(", "a\xe2(\xa1", /* cut short */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (utf8(bad[i]))
            fail_msg("bad text %zu was taken for UTF-8", i);
    assert_false(utf8_valid("a\0b", 3));
    /* The length ends the text, even where a continuation byte would follow. */
    assert_false(utf8_valid("\xc3\xa9", 1));
}

/* Every code point there is, encoded by hand, is taken, and nothing is taken for another. */
static void utf8_takes_every_code_point(void **state)
{
    (void)state;
    for (uint32_t c = 1; c <= 0x10ffff; c++) {
        char s[4];
        size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
        for (size_t i = n; i-- > 1;)
            s[i] = (char)(0x80 | (c >> 6 * (n - 1 - i) & 0x3f));
        s[0] = (char)(n == 1 ? c : lead[n] | c >> 6 * (n - 1));
        uint32_t back = 0;
        size_t got = utf8_next(s, n, &back);
        if (c >= 0xd800 && c <= 0xdfff ? got != 0 : got != n || back != c)
            fail_msg("U+%04X: %zu bytes, U+%04X", c, got, back);
    }
}

static void names(void **state)
{
    char longest[NAME_BYTES_MAX + 1];
    (void)state;
    memset(longest, 'n', sizeof longest);
    assert_true(name_valid(longest, NAME_BYTES_MAX));
    assert_false(name_valid(longest, NAME_BYTES_MAX + 1));
    static const char *const good[] = {"a", "sensor-0001", "Ger\xc3\xa4t 7", "...", ".a", "a b"};
    static const char *const bad[] = {"", ".", "..", "a/b", "/", " a", "a ", "a\nb", "a\x7f",
            "a\xc2\x85z", "\xff", "a\x1b[m", "\x1f"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(name_valid(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (name_valid(bad[i], strlen(bad[i])))
            fail_msg("bad name %zu was accepted", i);
    assert_false(name_valid("a\0b", 3));
    assert_true(text_is_printable("", 0));
    assert_true(text_is_printable(" a/b \xc2\xa0\xe2\x82\xac", 10));
    assert_false(text_is_printable("a\0b", 3));
    assert_false(text_is_printable("a\xc2\x9b", 3)); /* C1: CSI */
    assert_false(text_is_printable("a\xe2\x80\xa8", 4));
    assert_false(text_is_printable("a\xc2", 2));
}

static void times(void **state)
{
    char out[TIME_TEXT_MAX];
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {{0, "1970-01-01T00:00:00.000Z"}, {1795429230123, "2026-11-23T10:20:30.123Z"},
            {-1, "1969-12-31T23:59:59.999Z"}, {951782400000, "2000-02-29T00:00:00.000Z"},
            {2147483648000, "2038-01-19T03:14:08.000Z"}, {INT64_MAX, "9999-12-31T23:59:59.999Z"},
            {INT64_MIN, "0000-01-01T00:00:00.000Z"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        time_format(cases[i].ms, out);
        assert_string_equal(out, cases[i].text);
    }
    int64_t a = time_monotonic_ms();
    assert_true(time_monotonic_ms() >= a);
    assert_true(time_now_ms() > 1600000000000);
}

static void numbers(void **state)
{
    uint64_t n = 7;
    (void)state;
    assert_int_equal(text_parse_u64("18446744073709551615", &n), 0);
    assert_true(n == UINT64_MAX);
    assert_int_equal(text_parse_u64("007", &n), 0);
    assert_int_equal(n, 7);
    static const char *const bad[] = {"", "-1", "+1", " 1", "1 ", "0x10", "1.0",
            "18446744073709551616", "99999999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(text_parse_u64(bad[i], &n), -1);
    assert_int_equal(n, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(hex),
            cmocka_unit_test(base64url),
            cmocka_unit_test(base64url_round_trips_every_length),
            cmocka_unit_test(utf8_is_strict),
            cmocka_unit_test(utf8_takes_every_code_point),
            cmocka_unit_test(names),
            cmocka_unit_test(times),
            cmocka_unit_test(numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
