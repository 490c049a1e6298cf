/* The small part of CBOR (RFC 8949) the link uses, bounded and strict: unsigned numbers below 2^32,
 * byte and text strings, arrays, maps and booleans, in the deterministic encoding of section 4.2.1.
 * The reader refuses everything else and never looks behind its end. */
#ifndef KEYLINE_CBOR_H
#define KEYLINE_CBOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kl_major {
    KL_CBOR_UINT = 0,
    KL_CBOR_BYTES = 2,
    KL_CBOR_TEXT = 3,
    KL_CBOR_ARRAY = 4,
    KL_CBOR_MAP = 5,
    KL_CBOR_SIMPLE = 7 /* value 20 false, 21 true */
};
#define KL_CBOR_DEPTH_MAX 4u /* of nested arrays and maps: bounds the stack */

struct kl_cbor_out {
    uint8_t *at;
    uint8_t *end;
    bool full; /* something did not fit; nothing was written from there on */
};
void kl_cbor_put_head(struct kl_cbor_out *o, enum kl_major major, uint32_t value);
void kl_cbor_put_string(struct kl_cbor_out *o, enum kl_major major, const void *bytes, size_t len);
void kl_cbor_put_raw(struct kl_cbor_out *o, const void *encoded, size_t len); /* whole items */
void kl_cbor_put_bool(struct kl_cbor_out *o, bool value);

struct kl_cbor_in {
    const uint8_t *at;
    const uint8_t *end;
};
/* All return false, and leave *in where it was, on anything but the item asked for, well-formed and
 * in bounds. */
bool kl_cbor_get_head(struct kl_cbor_in *in, enum kl_major *ret_major, uint32_t *ret_value);
bool kl_cbor_get(
        struct kl_cbor_in *in, enum kl_major major, uint32_t *ret_value); /* a head of this type */
bool kl_cbor_get_string(
        struct kl_cbor_in *in, enum kl_major major, const uint8_t **ret, uint32_t *ret_len);
bool kl_cbor_get_bool(struct kl_cbor_in *in, bool *ret);
bool kl_cbor_skip(
        struct kl_cbor_in *in); /* one item with all that is in it; map keys are not compared */

bool kl_utf8_valid(const uint8_t *text, size_t len); /* RFC 3629, NUL refused */

#endif
