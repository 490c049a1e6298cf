/* DER, written back to front. Promises the one shortest encoding that X.690, clause 10, allows;
 * never writes outside the caller's bytes: what does not fit makes the whole encoding fail. */
#include "hsm/x509/der.h"
#include <string.h>
#include <time.h>
#include "base/err.h"

void der_init(struct der *d, uint8_t *bytes, size_t cap)
{
    *d = (struct der){.bytes = bytes, .cap = cap, .left = cap};
}

size_t der_len(const struct der *d)
{
    return d->cap - d->left;
}

void der_put(struct der *d, const void *bytes, size_t len)
{
    if (d->full || len > d->left) {
        d->full = true;
        return;
    }
    d->left -= len;
    if (len)
        memcpy(d->bytes + d->left, bytes, len);
}

void der_wrap(struct der *d, uint8_t tag, size_t mark)
{
    size_t len = der_len(d) - mark;
    uint8_t header[2 + sizeof len];
    size_t at = sizeof header;

    if (len < 0x80) {
        header[--at] = (uint8_t)len;
    } else {
        size_t octets = 0;
        for (; len; len >>= 8, octets++)
            header[--at] = (uint8_t)len;
        header[--at] = (uint8_t)(0x80 | octets);
    }
    header[--at] = tag;
    der_put(d, header + at, sizeof header - at);
}

void der_tlv(struct der *d, uint8_t tag, const void *bytes, size_t len)
{
    size_t mark = der_len(d);

    der_put(d, bytes, len);
    der_wrap(d, tag, mark);
}

void der_oid(struct der *d, const struct der_oid *oid)
{
    der_tlv(d, DER_OID, oid->bytes, oid->len);
}

static int put_arc(uint64_t arc, struct der_oid *ret)
{
    unsigned octets = 1;

    for (uint64_t rest = arc >> 7; rest; rest >>= 7)
        octets++;
    if (ret->len + octets > DER_OID_BYTES_MAX)
        return -1;
    while (octets--)
        ret->bytes[ret->len++] = (uint8_t)((arc >> 7 * octets & 0x7f) | (octets ? 0x80 : 0));
    return 0;
}

/* X.690, 8.19: the first two arcs share an octet. */
int der_oid_parse(const char *dotted, size_t len, struct der_oid *ret)
{
    const char *at = dotted, *end = dotted + len;
    uint64_t arc, first = 0;
    size_t count = 0;

    *ret = (struct der_oid){0};
    do {
        const char *begin = at;

        for (arc = 0; at < end && *at >= '0' && *at <= '9'; at++) {
            if (arc > UINT64_MAX / 10 - 10)
                return -1;
            arc = arc * 10 + (uint64_t)(*at - '0');
        }
        if (at == begin || (*begin == '0' && at > begin + 1))
            return -1;
        if (count == 0)
            first = arc;
        else if (count == 1 ? first > 2 || (first < 2 && arc > 39) ||
                                      put_arc(first * 40 + arc, ret) < 0
                            : put_arc(arc, ret) < 0)
            return -1;
        count++;
    } while (at < end && *at++ == '.');
    return at == end && count > 1 && end[-1] != '.' ? 0 : -1;
}

void der_uint(struct der *d, const uint8_t *magnitude, size_t len)
{
    size_t mark = der_len(d);

    while (len && magnitude[0] == 0)
        magnitude++, len--;
    der_put(d, magnitude, len);
    /* a set top bit would make it negative; no bytes at all would be no number */
    if (!len || magnitude[0] & 0x80)
        der_put(d, "\0", 1);
    der_wrap(d, DER_INTEGER, mark);
}

void der_true(struct der *d)
{
    der_tlv(d, DER_BOOLEAN, "\xff", 1);
}

void der_wrap_bits(struct der *d, size_t mark)
{
    der_put(d, "\0", 1);
    der_wrap(d, DER_BIT_STRING, mark);
}

void der_time(struct der *d, int64_t unix_s)
{
    time_t when = (time_t)unix_s;
    struct tm tm;
    char text[32];
    size_t len;

    if (!gmtime_r(&when, &tm) || tm.tm_year < 50 || tm.tm_year > 9999 - 1900) {
        d->full = true;
        return;
    }
    len = strftime(text, sizeof text, "%Y%m%d%H%M%SZ", &tm);
    /* UTCTime is the same without the century */
    if (tm.tm_year < 2050 - 1900)
        der_tlv(d, DER_UTC_TIME, text + 2, len - 2);
    else
        der_tlv(d, DER_GENERALIZED_TIME, text, len);
}

int der_done(const struct der *d, const uint8_t **ret, size_t *ret_len, struct err *e)
{
    if (d->full)
        return err_set(e, ERR_LIMIT, "the encoding does not fit into %zu bytes", d->cap);
    *ret = d->bytes + d->left;
    *ret_len = der_len(d);
    return 0;
}
