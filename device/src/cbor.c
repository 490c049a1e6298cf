/* Reader and writer of the link's CBOR subset. The reader decides by remaining length before it
 * moves; no length from the wire is ever added to a pointer unchecked. */
#include "keyline/cbor.h"

#include <string.h>

void kl_cbor_put_raw(struct kl_cbor_out *o, const void *encoded, size_t len)
{
    if (o->full || (size_t)(o->end - o->at) < len) {
        o->full = true;
        return;
    }
    if (len)
        memcpy(o->at, encoded, len);
    o->at += len;
}

void kl_cbor_put_head(struct kl_cbor_out *o, enum kl_major major, uint32_t value)
{
    uint8_t head[5];
    uint8_t type = (uint8_t)((unsigned)major << 5);
    size_t extra = value < 24 ? 0 : value < 0x100 ? 1 : value < 0x10000 ? 2 : 4;

    head[0] = (uint8_t)(type | (extra == 0 ? value : extra == 1 ? 24u : extra == 2 ? 25u : 26u));
    for (size_t i = 0; i < extra; i++)
        head[1 + i] = (uint8_t)(value >> 8 * (extra - 1 - i));
    kl_cbor_put_raw(o, head, 1 + extra);
}

bool kl_cbor_get_head(struct kl_cbor_in *in, enum kl_major *ret_major, uint32_t *ret_value)
{
    if (in->at == in->end)
        return false;
    unsigned major = *in->at >> 5, info = *in->at & 31u;
    if (major == 1 || major == 6 || info > 26)
        return false; /* negative, tagged, 64-bit, reserved or indefinite */
    size_t extra = info < 24 ? 0 : (size_t)1 << (info - 24);
    if ((size_t)(in->end - in->at) < 1 + extra)
        return false;
    uint32_t value = extra ? 0 : info;
    for (size_t i = 0; i < extra; i++)
        value = value << 8 | in->at[1 + i];
    uint32_t least = extra == 0 ? 0 : extra == 1 ? 24 : extra == 2 ? 0x100 : 0x10000;
    if (value < least)
        return false; /* 4.2.1: shortest form only */
    if (major == KL_CBOR_SIMPLE && (extra || (value != 20 && value != 21)))
        return false; /* floats, null, undefined */
    in->at += 1 + extra;
    *ret_major = (enum kl_major)major;
    *ret_value = value;
    return true;
}

void kl_cbor_put_string(struct kl_cbor_out *o, enum kl_major major, const void *bytes, size_t len)
{
    if (len > UINT32_MAX) {
        o->full = true;
        return;
    }
    kl_cbor_put_head(o, major, (uint32_t)len);
    kl_cbor_put_raw(o, bytes, len);
}

bool kl_cbor_get(struct kl_cbor_in *in, enum kl_major major, uint32_t *ret_value)
{
    struct kl_cbor_in next = *in;
    enum kl_major found;
    uint32_t value;

    if (!kl_cbor_get_head(&next, &found, &value) || found != major)
        return false;
    *in = next;
    *ret_value = value;
    return true;
}

bool kl_cbor_get_string(
        struct kl_cbor_in *in, enum kl_major major, const uint8_t **ret, uint32_t *ret_len)
{
    struct kl_cbor_in next = *in;
    uint32_t len;

    if (!kl_cbor_get(&next, major, &len) || len > (size_t)(next.end - next.at))
        return false;
    if (major == KL_CBOR_TEXT && !kl_utf8_valid(next.at, len))
        return false;
    *ret = next.at;
    *ret_len = len;
    in->at = next.at + len;
    return true;
}

void kl_cbor_put_bool(struct kl_cbor_out *o, bool value)
{
    kl_cbor_put_head(o, KL_CBOR_SIMPLE, value ? 21 : 20);
}

bool kl_cbor_get_bool(struct kl_cbor_in *in, bool *ret)
{
    uint32_t value;

    if (!kl_cbor_get(in, KL_CBOR_SIMPLE, &value))
        return false;
    *ret = value == 21;
    return true;
}

bool kl_cbor_skip(struct kl_cbor_in *in)
{
    struct kl_cbor_in next = *in;
    uint64_t left[KL_CBOR_DEPTH_MAX + 1] = {1}; /* items still to read on each level */
    unsigned depth = 0;

    for (;;) {
        while (left[depth] == 0) {
            if (depth == 0) {
                *in = next;
                return true;
            }
            depth--;
        }
        left[depth]--;
        struct kl_cbor_in item = next;
        enum kl_major major;
        uint32_t value;
        const uint8_t *bytes;
        if (!kl_cbor_get_head(&next, &major, &value))
            return false;
        if (major == KL_CBOR_BYTES || major == KL_CBOR_TEXT) {
            if (!kl_cbor_get_string(&item, major, &bytes, &value))
                return false;
            next = item;
        } else if (major == KL_CBOR_ARRAY || major == KL_CBOR_MAP) {
            if (++depth > KL_CBOR_DEPTH_MAX)
                return false;
            left[depth] = major == KL_CBOR_MAP ? 2 * (uint64_t)value : value;
        }
    }
}

bool kl_utf8_valid(const uint8_t *text, size_t len)
{
    static const uint32_t least[4] = {
            1, 0x80, 0x800, 0x10000}; /* NUL and overlong forms fall below */

    for (size_t i = 0; i < len;) {
        uint8_t lead = text[i++];
        size_t more = lead < 0x80   ? 0
                      : lead < 0xC0 ? 4
                      : lead < 0xE0 ? 1
                      : lead < 0xF0 ? 2
                      : lead < 0xF8 ? 3
                                    : 4;
        if (more > 3 || more > len - i)
            return false;
        uint32_t point = more == 0 ? lead : lead & (0x3Fu >> more);
        for (size_t k = 0; k < more; k++, i++) {
            if ((text[i] & 0xC0) != 0x80)
                return false;
            point = point << 6 | (text[i] & 0x3Fu);
        }
        if (point < least[more] || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000))
            return false;
    }
    return true;
}
