/* A writer of DER (X.690), back to front: the contents of a value are written before its header, so that lengths are
 * known when they are needed and nothing is moved or measured twice. Errors stick; der_done() reports them once.
 *   size_t mark = der_len(&d);
 *   der_oid(&d, ...);  der_uint(&d, ...);      -- last member first
 *   der_wrap(&d, DER_SEQUENCE, mark);          -- everything written since the mark becomes the contents */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

#define DER_BOOLEAN          0x01
#define DER_INTEGER          0x02
#define DER_BIT_STRING       0x03
#define DER_OCTET_STRING     0x04
#define DER_NULL             0x05
#define DER_OID              0x06
#define DER_UTF8_STRING      0x0c
#define DER_PRINTABLE_STRING 0x13
#define DER_IA5_STRING       0x16
#define DER_UTC_TIME         0x17
#define DER_GENERALIZED_TIME 0x18
#define DER_SEQUENCE         0x30
#define DER_SET              0x31
#define DER_CONTEXT(n)       (0x80 | (n)) /* primitive */
#define DER_CONTEXT_OF(n)    (0xa0 | (n)) /* constructed */

struct der {
    uint8_t *bytes;
    size_t cap;
    size_t left; /* free bytes; what is written starts at bytes + left */
    bool full;
};

#define DER_OID_BYTES_MAX 39 /* a maker's enterprise number and a dozen arcs below it */
/* An object identifier by the contents of its encoding. */
struct der_oid {
    uint8_t len;
    uint8_t bytes[DER_OID_BYTES_MAX];
};
/* From dotted decimal, "1.3.6.1.4.1.32473"; -1 when it is no OID or a longer one than fits. */
int der_oid_parse(const char *dotted, size_t len, struct der_oid *ret);

/* bytes is borrowed as long as d is used. */
void der_init(struct der *d, uint8_t *bytes, size_t cap);
size_t der_len(const struct der *d);
void der_put(struct der *d, const void *bytes, size_t len);
void der_wrap(struct der *d, uint8_t tag, size_t mark);
void der_tlv(struct der *d, uint8_t tag, const void *bytes, size_t len);
void der_oid(struct der *d, const struct der_oid *oid);
/* A non-negative INTEGER from its big-endian magnitude, in the shortest form. */
void der_uint(struct der *d, const uint8_t *magnitude, size_t len);
void der_true(struct der *d);
/* BIT STRING without unused bits around everything since the mark. */
void der_wrap_bits(struct der *d, size_t mark);
/* RFC 5280, 4.1.2.5: UTCTime before 2050, GeneralizedTime from then on. Unix seconds, years 1950 to 9999. */
void der_time(struct der *d, int64_t unix_s);
/* The finished encoding, inside the caller's bytes. ERR_LIMIT when it did not fit. */
int der_done(const struct der *d, const uint8_t **ret, size_t *ret_len, struct err *e);
