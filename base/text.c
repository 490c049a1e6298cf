/* Text forms of bytes and checks on text. Parsers here are strict: one value has one form, so that
 * two texts that differ never mean the same bytes. Nothing here allocates but through the caller's
 * buf. */
#include "base/text.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"

void hex_format(const uint8_t *bytes, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * len] = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int hex_parse(const char *text, size_t text_len, uint8_t *ret, size_t len)
{
    if (text_len % 2 != 0 || text_len / 2 != len)
        return -1;
    for (size_t i = 0; i < text_len; i++)
        if (hex_digit(text[i]) < 0)
            return -1;
    for (size_t i = 0; i < len; i++)
        ret[i] = (uint8_t)((unsigned)hex_digit(text[2 * i]) << 4 |
                           (unsigned)hex_digit(text[2 * i + 1]));
    return 0;
}

int base64url_encode(const void *bytes, size_t len, struct buf *out, struct err *e)
{
    static const char alphabet[] =
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const uint8_t *in = bytes;
    uint8_t *at;
    if (buf_reserve(out, len / 3 * 4 + 4, &at, e) < 0)
        return -1;
    size_t n = 0;
    for (size_t i = 0; i < len; i += 3) {
        size_t have = len - i < 3 ? len - i : 3;
        uint32_t word = (uint32_t)in[i] << 16;
        if (have > 1)
            word |= (uint32_t)in[i + 1] << 8;
        if (have > 2)
            word |= in[i + 2];
        for (size_t k = 0; k < have + 1; k++)
            at[n++] = (uint8_t)alphabet[word >> (18 - 6 * k) & 63];
    }
    out->len += n;
    return 0;
}

static int base64url_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

int base64url_decode(const char *text, size_t len, struct buf *out, struct err *e)
{
    if (len % 4 == 1)
        return err_set(e, ERR_ARGUMENT, "base64url text of impossible length %zu", len);
    uint8_t *at;
    if (buf_reserve(out, len / 4 * 3 + 3, &at, e) < 0)
        return -1;
    size_t n = 0;
    uint32_t word = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < len; i++) {
        int digit = base64url_digit(text[i]);
        if (digit < 0)
            return err_set(e, ERR_ARGUMENT, "not base64url at byte %zu", i + 1);
        word = word << 6 | (uint32_t)digit;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            at[n++] = (uint8_t)(word >> bits);
        }
    }
    /* RFC 4648, 3.5: left-over bits must be zero, else two texts would mean the same bytes. */
    if ((word & ((1u << bits) - 1)) != 0)
        return err_set(e, ERR_ARGUMENT, "base64url text with stray bits at its end");
    out->len += n;
    return 0;
}

size_t utf8_next(const char *s, size_t len, uint32_t *ret)
{
    const uint8_t *p = (const uint8_t *)s;
    if (len == 0)
        return 0;
    if (p[0] < 0x80) {
        *ret = p[0];
        return 1;
    }
    size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || len < n)
        return 0;
    static const uint32_t smallest[] = {[2] = 0x80, [3] = 0x800, [4] = 0x10000};
    uint32_t c = p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3fu);
    }
    if (c < smallest[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0;
    *ret = c;
    return n;
}

bool utf8_valid(const char *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        uint32_t c;
        size_t n = utf8_next(s + i, len - i, &c);
        if (n == 0 || c == 0)
            return false;
        i += n;
    }
    return true;
}

static bool is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029;
}

bool text_is_printable(const char *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        uint32_t c;
        size_t n = utf8_next(s + i, len - i, &c);
        if (n == 0 || is_control(c))
            return false;
        i += n;
    }
    return true;
}

bool text_is_printable_string(const char *s, size_t len)
{
    static const char allowed[] =
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 '()+,-./:=?";
    for (size_t i = 0; i < len; i++)
        if (!memchr(allowed, s[i], sizeof allowed - 1))
            return false;
    return true;
}

void text_make_printable(char *s)
{
    size_t len = strlen(s);
    char *to = s;
    for (size_t i = 0; i < len;) {
        uint32_t c;
        size_t n = utf8_next(s + i, len - i, &c);
        if (n == 0 || is_control(c)) {
            *to++ = '?';
            i += n == 0 ? 1 : n;
            continue;
        }
        memmove(to, s + i, n);
        to += n;
        i += n;
    }
    *to = '\0';
}

bool name_valid(const char *s, size_t len)
{
    if (len == 0 || len > NAME_BYTES_MAX || s[0] == ' ' || s[len - 1] == ' ')
        return false;
    if ((len == 1 && s[0] == '.') || (len == 2 && s[0] == '.' && s[1] == '.'))
        return false;
    return memchr(s, '/', len) == NULL && text_is_printable(s, len);
}

void time_format(int64_t unix_ms, char *out)
{
    /* RFC 3339 knows the years 0000 to 9999; a clock outside of them is broken, not a reason to
     * overflow. */
    const int64_t first = -62167219200000, last = 253402300799999;
    int64_t ms = unix_ms < first ? first : unix_ms > last ? last : unix_ms;
    int64_t sub = ms % 1000;
    if (sub < 0)
        sub += 1000;
    time_t seconds = (time_t)((ms - sub) / 1000);
    struct tm tm = {0};
    gmtime_r(&seconds, &tm);
    snprintf(out, TIME_TEXT_MAX, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ",
            (unsigned)(tm.tm_year + 1900) % 10000u, (unsigned)(tm.tm_mon + 1) % 100u,
            (unsigned)tm.tm_mday % 100u, (unsigned)tm.tm_hour % 100u, (unsigned)tm.tm_min % 100u,
            (unsigned)tm.tm_sec % 100u, (unsigned)sub % 1000u);
}

static int64_t clock_ms(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t time_now_ms(void)
{
    return clock_ms(CLOCK_REALTIME);
}

int64_t time_monotonic_ms(void)
{
    return clock_ms(CLOCK_MONOTONIC);
}

int text_parse_u64(const char *s, uint64_t *ret)
{
    uint64_t value = 0;
    if (*s == '\0')
        return -1;
    for (; *s != '\0'; s++) {
        if (*s < '0' || *s > '9')
            return -1;
        uint64_t digit = (uint64_t)(*s - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return -1;
        value = value * 10 + digit;
    }
    *ret = value;
    return 0;
}

size_t text_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t row[NAME_BYTES_MAX + 1];

    if (a_len > NAME_BYTES_MAX || b_len > NAME_BYTES_MAX)
        return SIZE_MAX;
    for (size_t k = 0; k <= b_len; k++)
        row[k] = k;
    for (size_t i = 0; i < a_len; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t k = 0; k < b_len; k++) {
            size_t best = diagonal + (a[i] != b[k]);
            diagonal = row[k + 1];
            if (row[k] + 1 < best)
                best = row[k] + 1;
            if (diagonal + 1 < best)
                best = diagonal + 1;
            row[k + 1] = best;
        }
    }
    return row[b_len];
}
