/* Objects with a head (length and SHA-256), so that a transfer can be resumed, a torn one is found,
 * and a committed one proves itself. Private to the device library. */
#ifndef KEYLINE_SRC_OBJECT_H
#define KEYLINE_SRC_OBJECT_H

#include "keyline/device.h"

#define OBJECT_HEAD_BYTES (4u + KL_SHA256_BYTES) /* length little-endian, digest */

struct object_head {
    uint32_t len;
    uint8_t sha256[KL_SHA256_BYTES];
};

/* KL_ERROR_ABSENT when nothing is committed. */
enum kl_error object_find(const struct kl_storage *s, uint8_t object, struct object_head *ret);
/* Content bytes of the committed object; the caller has checked the range against the head. */
enum kl_error object_read(
        const struct kl_storage *s, uint8_t object, uint32_t offset, uint8_t *bytes, uint32_t len);
/* Stages an object, or goes on with what is staged when that has the same head; *ret_offset:
 * content bytes it holds. */
enum kl_error object_begin(const struct kl_storage *s, uint8_t object,
        const struct object_head *head, uint32_t *ret_offset);
/* The head and the content length of what is staged; KL_ERROR_ORDER when nothing is. */
enum kl_error object_staged(
        const struct kl_storage *s, uint8_t object, struct object_head *ret, uint32_t *ret_len);
/* Checks length and digest of what is staged, then keeps it. KL_ERROR_DIGEST drops it. */
enum kl_error object_commit(const struct kl_storage *s, const struct kl_crypto *c, uint8_t object);
/* All at once. */
enum kl_error object_put(const struct kl_storage *s, const struct kl_crypto *c, uint8_t object,
        const uint8_t *bytes, uint32_t len);
enum kl_error sha256(
        const struct kl_crypto *c, const uint8_t *bytes, size_t len, uint8_t ret[KL_SHA256_BYTES]);

#endif
