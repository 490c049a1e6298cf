/* The ledger's index: open addressing, linear probing, at most three quarters full. Holds no keys
 * and no pointers into the file: a million entries take 11 to 16 MB. */
#include "hsm/ledger/ledger_index.h"
#include <assert.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"

#define HASH_BITS   24
#define CAP_INITIAL 1024

int ledger_index_init(struct ledger_index *x, struct err *e)
{
    *x = (struct ledger_index){0};
    if (RAND_bytes((uint8_t *)x->seed, sizeof x->seed) != 1)
        return err_set(e, ERR_IO, "the system gives no random bytes");
    return ledger_index_reserve(x, 1, e);
}

void ledger_index_done(struct ledger_index *x)
{
    free(x->cells);
    *x = (struct ledger_index){0};
}

static uint64_t mix(uint64_t n)
{
    n ^= n >> 32;
    n *= UINT64_C(0xd6e8feb86659fd93);
    n ^= n >> 32;
    n *= UINT64_C(0xd6e8feb86659fd93);
    return n ^ n >> 32;
}

uint64_t ledger_index_hash(const struct ledger_index *x, const uint8_t *key)
{
    uint64_t halves[2];

    static_assert(sizeof halves == LEDGER_INDEX_KEY_BYTES, "the hash covers the whole prefix");
    memcpy(halves, key, sizeof halves);
    return mix(mix(halves[0] ^ x->seed[0]) + (halves[1] ^ x->seed[1])) >> (64 - HASH_BITS);
}

/* In proportion, so that a larger table keeps the order and needs only the 24 bits. No overflow:
 * places have 40. */
static size_t home(size_t cap, uint64_t h)
{
    return (size_t)(h * cap >> HASH_BITS);
}

static void place_cell(uint64_t *cells, size_t cap, uint64_t cell)
{
    size_t i = home(cap, cell >> LEDGER_INDEX_PLACE_BITS);

    while (cells[i])
        i = i + 1 < cap ? i + 1 : 0;
    cells[i] = cell;
}

int ledger_index_find(const struct ledger_index *x, const uint8_t *key, ledger_match_fn match,
        void *ctx, uint64_t *ret_place, struct err *e)
{
    uint64_t h = ledger_index_hash(x, key);
    int found = 0;

    /* a key may have been added again: the newest place is the highest */
    for (size_t i = home(x->cap, h); x->cells[i]; i = i + 1 < x->cap ? i + 1 : 0) {
        uint64_t place = x->cells[i] & LEDGER_INDEX_PLACE_MAX;
        int r = x->cells[i] >> LEDGER_INDEX_PLACE_BITS == h ? match(ctx, place, key, e) : 0;

        if (r < 0)
            return -1;
        if (r && (!found || place > *ret_place)) {
            *ret_place = place;
            found = 1;
        }
    }
    return found;
}

int ledger_index_reserve(struct ledger_index *x, size_t more, struct err *e)
{
    size_t cap = x->cap ? x->cap : CAP_INITIAL;
    uint64_t *cells;

    while (x->used + more > cap / 4 * 3)
        cap += cap / 2;
    if (cap == x->cap)
        return 0;
    cells = calloc(cap, sizeof *cells);
    if (!cells)
        return err_set(e, ERR_NOMEM, "no memory for the ledger's index");
    for (size_t i = 0; i < x->cap; i++)
        if (x->cells[i])
            place_cell(cells, cap, x->cells[i]);
    free(x->cells);
    x->cells = cells;
    x->cap = cap;
    return 0;
}

void ledger_index_add(struct ledger_index *x, const uint8_t *key, uint64_t place)
{
    assert(place > 0 && place <= LEDGER_INDEX_PLACE_MAX && x->used < x->cap / 4 * 3);
    place_cell(x->cells, x->cap, LEDGER_INDEX_CELL(ledger_index_hash(x, key), place));
    x->used++;
}

static int compare_cells(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

void ledger_index_sorted(const struct ledger_index *x, uint64_t *ret)
{
    size_t n = 0;

    for (size_t i = 0; i < x->cap; i++)
        if (x->cells[i])
            ret[n++] = x->cells[i];
    assert(n == x->used);
    qsort(ret, n, sizeof *ret, compare_cells);
}

int ledger_index_drop(struct ledger_index *x, uint64_t below, struct err *e)
{
    struct ledger_index kept = {.seed = {x->seed[0], x->seed[1]}};
    size_t count = 0;

    for (size_t i = 0; i < x->cap; i++)
        count += x->cells[i] && (x->cells[i] & LEDGER_INDEX_PLACE_MAX) >= below;
    if (ledger_index_reserve(&kept, count + 1, e) < 0)
        return -1;
    for (size_t i = 0; i < x->cap; i++)
        if (x->cells[i] && (x->cells[i] & LEDGER_INDEX_PLACE_MAX) >= below)
            place_cell(kept.cells, kept.cap, x->cells[i]);
    kept.used = count;
    free(x->cells);
    *x = kept;
    return 0;
}

int ledger_index_has(const struct ledger_index *x, uint64_t hash, uint64_t place)
{
    uint64_t cell = LEDGER_INDEX_CELL(hash, place);
    size_t i = home(x->cap, hash);

    while (x->cells[i] && x->cells[i] != cell)
        i = i + 1 < x->cap ? i + 1 : 0;
    return x->cells[i] == cell;
}
