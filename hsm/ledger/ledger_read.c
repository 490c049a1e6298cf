/* Going back through the ledger. Promises each durable entry once, newest first, and nothing that is
 * not covered by the chain of its group. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "hsm/ledger/ledger_parts.h"

/* The entries of one block: groups can only be read forwards. */
struct block {
    uint64_t *places;
    size_t count, cap;
    struct buf g, tail;
};

static int note(struct block *b, uint64_t place, struct err *e)
{
    if (b->count == b->cap) {
        size_t cap = b->cap ? 2 * b->cap : 1024;
        uint64_t *grown = reallocarray(b->places, cap, sizeof *grown);

        if (!grown)
            return err_set(e, ERR_NOMEM, "no memory to read the ledger");
        b->places = grown;
        b->cap = cap;
    }
    b->places[b->count++] = place;
    return 0;
}

/* Notes the entries between `from`, where a group begins, and `before`. */
static int read_block(
        struct ledger *l, struct block *b, uint64_t from, uint64_t before, struct err *e)
{
    enum ledger_group_state state;
    struct ledger_entry entry;
    struct ledger_group group;
    struct ledger_head head;
    uint64_t place;
    int r;

    b->count = 0;
    if (ledger_file_head(&l->file, from, &head, e) < 0)
        return -1;
    while (head.at < before) {
        if (ledger_file_group(&l->file, &head, l->file.end.at, &b->g, &group, &state, e) < 0)
            return -1;
        if (state != LEDGER_GROUP_GOOD)
            return ledger_file_damaged(&l->file, head.at, "the chain of hashes is broken", e);
        while ((r = ledger_group_next(&group, &entry, &place)) > 0)
            if (place < before && note(b, place, e) < 0)
                return -1;
        if (r < 0)
            return ledger_file_damaged(&l->file, group.place, "this is not an entry", e);
    }
    return 0;
}

int ledger_read_entry(
        struct ledger *l, uint64_t place, struct buf *tail, struct ledger_entry *ret, struct err *e)
{
    uint8_t fixed[LEDGER_ENTRY_FIXED], *at;

    buf_reset(tail);
    if (ledger_file_read(&l->file, place, fixed, sizeof fixed, e) < 0)
        return -1;
    if (ledger_entry_decode(fixed, ret) < 0)
        return ledger_file_damaged(&l->file, place, "an entry changed since it was checked", e);
    if (buf_reserve(tail, ret->tail.len, &at, e) < 0 ||
            ledger_file_read(&l->file, place + sizeof fixed, at, ret->tail.len, e) < 0)
        return -1;
    ret->tail.bytes = at;
    return 0;
}

int ledger_read(struct ledger *l, uint64_t before, size_t limit, ledger_read_fn fn, void *ctx,
        struct err *e)
{
    const struct ledger_tally *t = &l->tally;
    struct block b = {0};
    struct ledger_entry entry;
    size_t i = t->block_count;
    int r = -1;

    if (l->fault.id && t->counts.groups == 0) {
        if (e)
            *e = l->fault;
        return -1;
    }
    if (before > l->file.end.at)
        before = l->file.end.at;
    while (i && limit) {
        uint64_t from = t->blocks[--i];

        if (from >= before)
            continue;
        if (read_block(l, &b, from, before, e) < 0)
            goto out;
        for (; b.count && limit; limit--) {
            uint64_t place = b.places[--b.count];

            if (ledger_read_entry(l, place, &b.tail, &entry, e) < 0)
                goto out;
            if (fn(ctx, place, &entry) != 0)
                limit = 1;
        }
        before = from;
    }
    r = 0;
out:
    free(b.places);
    buf_done(&b.g);
    buf_done(&b.tail);
    return r;
}
