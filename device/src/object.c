/* Objects on top of the caller's store. The order matters: the digest is checked on what the store
 * gives back, not on what came over the line, and only then is it committed. */
#include "object.h"

#include <string.h>

static void head_encode(const struct object_head *h, uint8_t out[OBJECT_HEAD_BYTES])
{
    for (unsigned i = 0; i < 4; i++)
        out[i] = (uint8_t)(h->len >> 8 * i);
    memcpy(out + 4, h->sha256, KL_SHA256_BYTES);
}

static void head_decode(const uint8_t in[OBJECT_HEAD_BYTES], struct object_head *ret)
{
    ret->len = in[0] | (uint32_t)in[1] << 8 | (uint32_t)in[2] << 16 | (uint32_t)in[3] << 24;
    memcpy(ret->sha256, in + 4, KL_SHA256_BYTES);
}

enum kl_error object_find(const struct kl_storage *s, uint8_t object, struct object_head *ret)
{
    uint8_t head[OBJECT_HEAD_BYTES];
    uint32_t size;

    enum kl_error error = s->size(s->ctx, object, &size);
    if (error)
        return error;
    if (size == 0)
        return KL_ERROR_ABSENT;
    if (size < OBJECT_HEAD_BYTES)
        return KL_ERROR_STORAGE;
    error = s->read(s->ctx, object, 0, head, OBJECT_HEAD_BYTES);
    if (error)
        return error;
    head_decode(head, ret);
    return ret->len == size - OBJECT_HEAD_BYTES ? KL_OK : KL_ERROR_STORAGE;
}

enum kl_error object_read(
        const struct kl_storage *s, uint8_t object, uint32_t offset, uint8_t *bytes, uint32_t len)
{
    return s->read(s->ctx, object, OBJECT_HEAD_BYTES + offset, bytes, len);
}

enum kl_error object_staged(
        const struct kl_storage *s, uint8_t object, struct object_head *ret, uint32_t *ret_len)
{
    uint8_t head[OBJECT_HEAD_BYTES];
    uint32_t staged;

    enum kl_error error = s->staged(s->ctx, object, &staged);
    if (error)
        return error;
    if (staged < OBJECT_HEAD_BYTES)
        return KL_ERROR_ORDER;
    error = s->read_staged(s->ctx, object, 0, head, OBJECT_HEAD_BYTES);
    if (error)
        return error;
    head_decode(head, ret);
    *ret_len = staged - OBJECT_HEAD_BYTES;
    return *ret_len <= ret->len ? KL_OK : KL_ERROR_ORDER;
}

enum kl_error object_begin(const struct kl_storage *s, uint8_t object,
        const struct object_head *head, uint32_t *ret_offset)
{
    struct object_head old;
    uint8_t bytes[OBJECT_HEAD_BYTES];

    enum kl_error error = object_staged(s, object, &old, ret_offset);
    if (error == KL_OK && old.len == head->len &&
            memcmp(old.sha256, head->sha256, KL_SHA256_BYTES) == 0)
        return KL_OK;
    if (error && error != KL_ERROR_ORDER)
        return error;
    *ret_offset = 0;
    error = s->stage(s->ctx, object, OBJECT_HEAD_BYTES + head->len);
    if (error)
        return error;
    head_encode(head, bytes);
    return s->append(s->ctx, object, bytes, OBJECT_HEAD_BYTES);
}

static enum kl_error staged_digest(const struct kl_storage *s, const struct kl_crypto *c,
        uint8_t object, uint32_t len, uint8_t ret[KL_SHA256_BYTES])
{
    uint8_t piece[64];
    enum kl_error error = c->sha256_begin(c->ctx);

    for (uint32_t at = 0; !error && at < len;) {
        uint32_t n = len - at < sizeof piece ? len - at : (uint32_t)sizeof piece;
        error = s->read_staged(s->ctx, object, OBJECT_HEAD_BYTES + at, piece, n);
        if (!error)
            error = c->sha256_add(c->ctx, piece, n);
        at += n;
    }
    return error ? error : c->sha256_end(c->ctx, ret);
}

enum kl_error object_commit(const struct kl_storage *s, const struct kl_crypto *c, uint8_t object)
{
    struct object_head head;
    uint32_t len;
    uint8_t digest[KL_SHA256_BYTES];

    enum kl_error error = object_staged(s, object, &head, &len);
    if (!error && len != head.len)
        error = KL_ERROR_ORDER;
    if (!error)
        error = staged_digest(s, c, object, len, digest);
    if (error)
        return error;
    if (memcmp(digest, head.sha256, KL_SHA256_BYTES) != 0) {
        error = s->stage(s->ctx, object, 0); /* torn or falsified: the host starts over */
        return error ? error : KL_ERROR_DIGEST;
    }
    return s->commit(s->ctx, object);
}

enum kl_error sha256(
        const struct kl_crypto *c, const uint8_t *bytes, size_t len, uint8_t ret[KL_SHA256_BYTES])
{
    enum kl_error error = c->sha256_begin(c->ctx);

    if (!error)
        error = c->sha256_add(c->ctx, bytes, len);
    return error ? error : c->sha256_end(c->ctx, ret);
}

enum kl_error object_put(const struct kl_storage *s, const struct kl_crypto *c, uint8_t object,
        const uint8_t *bytes, uint32_t len)
{
    struct object_head head = {.len = len};
    uint8_t encoded[OBJECT_HEAD_BYTES];

    enum kl_error error = sha256(c, bytes, len, head.sha256);
    if (!error)
        error = s->stage(s->ctx, object, OBJECT_HEAD_BYTES + len);
    head_encode(&head, encoded);
    if (!error)
        error = s->append(s->ctx, object, encoded, OBJECT_HEAD_BYTES);
    if (!error)
        error = s->append(s->ctx, object, bytes, len);
    return error ? error : object_commit(s, c, object);
}
