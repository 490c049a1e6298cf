/* A set of byte strings that answers "where was this seen first?": how a manifest's duplicates are
 * found. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"

struct seen_slot {
    uint64_t hash;
    uint64_t tag;   /* the caller's, e.g. a line number; 0: free */
    size_t at, len; /* in bytes */
};
struct seen {
    struct seen_slot *slots;
    size_t capacity, count;
    struct buf bytes;
    uint64_t key; /* random, so that no manifest can be made of collisions */
};
/* ret_first: the tag under which the bytes were added before, or 0 when they are new and now are in
 * the set. tag must not be 0. */
int seen_add(struct seen *s, const void *bytes, size_t len, uint64_t tag, uint64_t *ret_first,
        struct err *e);
void seen_done(struct seen *s);
