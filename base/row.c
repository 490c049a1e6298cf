/* Manifest rows as deterministic CBOR (RFC 8949, 4.2.1). One row has exactly one encoding, because
 * its hash is what the approver signs: the decoder takes nothing that the encoder would not have
 * written. Never allocates but in out. */
#include "base/row.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cbor.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/text.h"

#define HEAD_MAX ((size_t)9) /* initial byte and a 64-bit argument */

/* The bytewise order of the encodings of two texts: the head grows with the length, so shorter
 * comes first. */
static int compare_texts(const char *a, size_t a_len, const char *b, size_t b_len)
{
    if (a_len != b_len)
        return a_len < b_len ? -1 : 1;
    return memcmp(a, b, a_len);
}

static int compare_fields(const void *a, const void *b)
{
    const struct row_field *x = a, *y = b;
    return compare_texts(x->key, x->key_len, y->key, y->key_len);
}

int row_add(struct row *r, const char *key, size_t key_len, const char *value, size_t value_len,
        struct err *e)
{
    for (size_t i = 0; i < r->count; i++)
        if (compare_texts(r->fields[i].key, r->fields[i].key_len, key, key_len) == 0)
            return err_set(e, ERR_EXISTS, "field '%.*s' stands twice in a row",
                    (int)(key_len < NAME_BYTES_MAX ? key_len : NAME_BYTES_MAX), key);
    if (value_len == 0)
        return 0;
    if (r->count == ROW_FIELDS_MAX)
        return err_set(e, ERR_LIMIT, "a row has more than %u fields", ROW_FIELDS_MAX);
    r->fields[r->count++] = (struct row_field){
            .key = key, .key_len = key_len, .value = value, .value_len = value_len};
    return 0;
}

static int check_field(const struct row_field *f, struct err *e)
{
    if (f->key_len == 0 || f->value_len == 0)
        return err_set(e, ERR_ARGUMENT, "a field of a row has no name or no value");
    if (!utf8_valid(f->key, f->key_len) || !utf8_valid(f->value, f->value_len))
        return err_set(e, ERR_ARGUMENT, "field '%.*s' is not UTF-8 text",
                (int)(f->key_len < NAME_BYTES_MAX ? f->key_len : NAME_BYTES_MAX), f->key);
    return 0;
}

/* The size of the encoding, which is bounded before anything is written. */
static int check_row(const struct row *r, size_t *ret_size, struct err *e)
{
    size_t size = HEAD_MAX;
    for (size_t i = 0; i < r->count; i++) {
        const struct row_field *f = &r->fields[i];
        if (check_field(f, e) < 0)
            return -1;
        if (i > 0 && compare_fields(f - 1, f) == 0)
            return err_set(e, ERR_EXISTS, "a field stands twice in a row");
        size_t room = ROW_BYTES_MAX;
        if (f->key_len > room || f->value_len > room || size > room)
            return err_set(e, ERR_LIMIT, "a row is larger than %u bytes", ROW_BYTES_MAX);
        size += 2 * HEAD_MAX + f->key_len + f->value_len;
    }
    *ret_size = size;
    return 0;
}

static size_t put_text(uint8_t *at, size_t room, const char *text, size_t len)
{
    size_t head = cbor_encode_string_start(len, at, room);
    memcpy(at + head, text, len);
    return head + len;
}

int row_encode(struct row *r, struct buf *out, struct err *e)
{
    qsort(r->fields, r->count, sizeof r->fields[0], compare_fields);
    size_t size = 0;
    uint8_t *at;
    if (check_row(r, &size, e) < 0 || buf_reserve(out, size, &at, e) < 0)
        return -1;
    size_t n = cbor_encode_map_start(r->count, at, size);
    for (size_t i = 0; i < r->count; i++) {
        const struct row_field *f = &r->fields[i];
        n += put_text(at + n, size - n, f->key, f->key_len);
        n += put_text(at + n, size - n, f->value, f->value_len);
    }
    if (n > ROW_BYTES_MAX)
        return err_set(e, ERR_LIMIT, "a row is larger than %u bytes", ROW_BYTES_MAX);
    out->len += n;
    return 0;
}

/* One item of the stream. */
struct item {
    bool is_map;
    bool is_text;
    size_t count;     /* of a map */
    const char *text; /* borrows from the input */
    size_t text_len;
};

static void on_map(void *ctx, size_t count)
{
    struct item *it = ctx;
    it->is_map = true;
    it->count = count;
}

static void on_text(void *ctx, cbor_data text, size_t len)
{
    struct item *it = ctx;
    it->is_text = true;
    it->text = (const char *)text;
    it->text_len = len;
}

/* Reads one item whose head is written as row_encode writes it; the callers check what it is. */
static int next_item(const uint8_t *bytes, size_t len, size_t *at, struct item *ret, struct err *e)
{
    struct cbor_callbacks callbacks = cbor_empty_callbacks;
    callbacks.map_start = on_map;
    callbacks.string = on_text;
    *ret = (struct item){0};
    struct cbor_decoder_result result = cbor_stream_decode(bytes + *at, len - *at, &callbacks, ret);
    if (result.status != CBOR_DECODER_FINISHED || (!ret->is_map && !ret->is_text))
        return err_set(e, ERR_PROOF, "row is not well-formed at byte %zu", *at);
    /* The shortest head for this type and length is the only one of its size. */
    uint8_t head[HEAD_MAX];
    size_t head_len = ret->is_map ? cbor_encode_map_start(ret->count, head, sizeof head)
                                  : cbor_encode_string_start(ret->text_len, head, sizeof head);
    if (head_len + ret->text_len != result.read)
        return err_set(e, ERR_PROOF, "row is not in its shortest form at byte %zu", *at);
    *at += result.read;
    return 0;
}

static int next_text(const uint8_t *bytes, size_t len, size_t *at, const char **ret,
        size_t *ret_len, struct err *e)
{
    struct item it;
    size_t start = *at;
    if (next_item(bytes, len, at, &it, e) < 0)
        return -1;
    if (!it.is_text || it.text_len == 0 || !utf8_valid(it.text, it.text_len))
        return err_set(e, ERR_PROOF, "row has no valid text at byte %zu", start);
    *ret = it.text;
    *ret_len = it.text_len;
    return 0;
}

int row_decode(const uint8_t *bytes, size_t len, struct row *ret, struct err *e)
{
    struct item map;
    size_t at = 0;
    ret->count = 0;
    if (len > ROW_BYTES_MAX)
        return err_set(e, ERR_PROOF, "row is larger than %u bytes", ROW_BYTES_MAX);
    if (next_item(bytes, len, &at, &map, e) < 0)
        return -1;
    if (!map.is_map || map.count > ROW_FIELDS_MAX)
        return err_set(e, ERR_PROOF, "row is not a map of at most %u fields", ROW_FIELDS_MAX);
    for (size_t i = 0; i < map.count; i++) {
        struct row_field *f = &ret->fields[i];
        if (next_text(bytes, len, &at, &f->key, &f->key_len, e) < 0 ||
                next_text(bytes, len, &at, &f->value, &f->value_len, e) < 0)
            return -1;
        /* Strictly growing keys are sorted and unique. */
        if (i > 0 && compare_fields(f - 1, f) >= 0)
            return err_set(e, ERR_PROOF, "row's fields are out of order");
    }
    if (at != len)
        return err_set(e, ERR_PROOF, "row is followed by %zu stray bytes", len - at);
    ret->count = map.count;
    return 0;
}

const struct row_field *row_get(const struct row *r, const char *key)
{
    size_t key_len = strlen(key);
    for (size_t i = 0; i < r->count; i++)
        if (compare_texts(r->fields[i].key, r->fields[i].key_len, key, key_len) == 0)
            return &r->fields[i];
    return NULL;
}

int row_copy(const struct row *r, const char *key, char *out, size_t cap, struct err *e)
{
    const struct row_field *f = row_get(r, key);
    size_t len = f == NULL ? 0 : f->value_len;
    if (len >= cap)
        return err_set(e, ERR_LIMIT, "'%s' has %zu bytes, %zu are allowed", key, len, cap - 1);
    if (len > 0 && memchr(f->value, '\0', len) != NULL)
        return err_set(e, ERR_PROOF, "'%s' holds a NUL byte", key);
    if (len > 0)
        memcpy(out, f->value, len);
    out[len] = '\0';
    return 0;
}
