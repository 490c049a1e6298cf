/* Text forms of bytes: hex, base64url (RFC 4648 section 5, no padding), times, and checks on names and UTF-8. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct buf;

/* out needs 2*len+1 bytes; lower case. */
void hex_format(const uint8_t *bytes, size_t len, char *out);
/* Exactly len bytes from 2*len hex digits of either case; -1 otherwise (no err: callers say what it was). */
int hex_parse(const char *text, size_t text_len, uint8_t *ret, size_t len);
int base64url_encode(const void *bytes, size_t len, struct buf *out, struct err *e);
/* Strict: no padding, no white space, no stray bits; ERR_ARGUMENT otherwise, and out is as it was. */
int base64url_decode(const char *text, size_t len, struct buf *out, struct err *e);
/* The character that s begins with; its length in bytes, or 0 when that is not valid UTF-8 (or len is 0). */
size_t utf8_next(const char *s, size_t len, uint32_t *ret);
bool utf8_valid(
        const char *s, size_t len); /* RFC 3629; NUL, surrogates and overlong forms refused */
/* UTF-8 without control characters (C0, DEL, C1) or line separators. */
bool text_is_printable(const char *s, size_t len);
/* ASN.1's PrintableString (X.680, 41.4): letters, digits, space and '()+,-./:=? */
bool text_is_printable_string(const char *s, size_t len);
/* Puts '?' for every control character and for bytes that are not UTF-8: safe for terminals, logs and D-Bus. */
void text_make_printable(char *s);
/* A name people type and programs put into paths and topics: 1..NAME_BYTES_MAX bytes of valid UTF-8,
 * no control characters, no '/', not "." or "..", no leading or trailing space. */
bool name_valid(const char *s, size_t len);
/* RFC 3339 UTC with milliseconds: "2026-11-23T10:20:30.123Z"; out needs TIME_TEXT_MAX bytes. */
#define TIME_TEXT_MAX 32
void time_format(int64_t unix_ms, char *out);
int64_t time_now_ms(void); /* CLOCK_REALTIME */
int64_t time_monotonic_ms(void);
int text_parse_u64(
        const char *s, uint64_t *ret); /* decimal digits only, no sign, no space; -1 otherwise */
/* Levenshtein's distance in bytes, for "did you mean": how many insertions, deletions and replacements lead from one
 * text to the other. Texts longer than NAME_BYTES_MAX count as far away (SIZE_MAX). */
size_t text_distance(const char *a, size_t a_len, const char *b, size_t b_len);
