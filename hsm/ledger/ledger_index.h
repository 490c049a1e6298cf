/* A hash table of 8-byte cells for a very large ledger: a cell holds where an entry is (40 bits) and its key's hash (24
 * bits); the key itself is read back from where it is. Growing needs no key: the hash alone says where a cell belongs.
 * Entries go only all at once, up to a place, when they are in a snapshot (ledger_snapshot.h). */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct err;

#define LEDGER_INDEX_KEY_BYTES         16 /* of every key, its first ones are hashed */
#define LEDGER_INDEX_PLACE_BITS        40
#define LEDGER_INDEX_PLACE_MAX         ((UINT64_C(1) << LEDGER_INDEX_PLACE_BITS) - 1)
#define LEDGER_INDEX_CELL(hash, place) ((uint64_t)(hash) << LEDGER_INDEX_PLACE_BITS | (place))

struct ledger_index {
    uint64_t *cells;
    size_t cap, used;
    uint64_t seed[2]; /* random: nobody can choose keys that all collide */
};
/* 1: the entry at `place` has this key, 0: it has not, -1: it cannot be read. */
typedef int (*ledger_match_fn)(void *ctx, uint64_t place, const uint8_t *key, struct err *e);

int ledger_index_init(struct ledger_index *x, struct err *e);
void ledger_index_done(struct ledger_index *x);
/* The 24 bits that cells hold of this key. */
uint64_t ledger_index_hash(const struct ledger_index *x, const uint8_t *key);
/* 1 with *ret_place, the highest place of this key; 0, or -1. */
int ledger_index_find(const struct ledger_index *x, const uint8_t *key, ledger_match_fn match,
        void *ctx, uint64_t *ret_place, struct err *e);
/* Room for `more` further entries, so that ledger_index_add() cannot fail for them. */
int ledger_index_reserve(struct ledger_index *x, size_t more, struct err *e);
/* place: 1 to LEDGER_INDEX_PLACE_MAX. Room must have been reserved. */
void ledger_index_add(struct ledger_index *x, const uint8_t *key, uint64_t place);
/* Its cells in rising order; ret has room for x->used. */
void ledger_index_sorted(const struct ledger_index *x, uint64_t *ret);
/* Takes out everything below this place. */
int ledger_index_drop(struct ledger_index *x, uint64_t below, struct err *e);
/* 1: this very cell is in it. */
int ledger_index_has(const struct ledger_index *x, uint64_t hash, uint64_t place);
