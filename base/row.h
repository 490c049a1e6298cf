/* A manifest row in its canonical form: what the approver signs for, the registry stores, and the signer certifies.
 * Encoding: one CBOR map, text keys to text values, in the core deterministic encoding (RFC 8949, 4.2.1): shortest
 * heads, definite lengths, keys in bytewise order of their encodings, no duplicates. Fields with an empty value are
 * left out, so a missing column and an empty cell are the same row. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "base/limits.h"

struct err;
struct buf;

struct row_field {
    const char *key, *value; /* borrowed, NOT NUL-terminated */
    size_t key_len, value_len;
};
struct row {
    struct row_field fields[ROW_FIELDS_MAX];
    size_t count;
};

/* Borrows both texts; an empty value is dropped; a key twice or too many fields: ERR_LIMIT/ERR_EXISTS. */
int row_add(struct row *r, const char *key, size_t key_len, const char *value, size_t value_len,
        struct err *e);
/* Sorts r and appends its encoding. ERR_ARGUMENT for what is not UTF-8 text or has a NUL inside, ERR_LIMIT above
 * ROW_BYTES_MAX. */
int row_encode(struct row *r, struct buf *out, struct err *e);
/* Strict: anything that row_encode would not have written is ERR_PROOF. Fields borrow from bytes. */
int row_decode(const uint8_t *bytes, size_t len, struct row *ret, struct err *e);
const struct row_field *row_get(const struct row *r, const char *key); /* NULL when absent */
/* The value as a C string into out (cap bytes); "" when absent; ERR_LIMIT when it does not fit, ERR_PROOF on a NUL inside. */
int row_copy(const struct row *r, const char *key, char *out, size_t cap, struct err *e);
