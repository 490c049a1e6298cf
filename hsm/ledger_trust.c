/* What a ledger says of itself, for those who compare it with what the token signed (checkpoint.h). Promises that a
 * state is one that the ledger has been in: the chain's value alone, somewhere in the file, proves nothing. */
#include <string.h>
#include "base/err.h"
#include "hsm/ledger_parts.h"

void ledger_state(const struct ledger *l, struct ledger_state *ret)
{
    memcpy(ret->id, l->file.start.chain, sizeof ret->id);
    ret->size = l->file.end.at;
    memcpy(ret->chain, l->file.end.chain, sizeof ret->chain);
}

/* Moves the head on, group by group, to the first end of a group that is at `at` or behind it. */
static int walk(struct ledger *l, struct ledger_head *head, uint64_t at, struct err *e)
{
    enum ledger_group_state state;
    struct ledger_group group;
    struct buf g = BUF_INIT;
    int r = 0;

    while (r == 0 && head->at < at) {
        r = ledger_file_group(&l->file, head, l->file.end.at, &g, &group, &state, e);
        if (r == 0 && state != LEDGER_GROUP_GOOD)
            r = ledger_file_damaged(&l->file, head->at, "the chain of hashes is broken", e);
    }
    buf_done(&g);
    return r;
}

int ledger_contains(struct ledger *l, const struct ledger_state *state, struct err *e)
{
    struct ledger_head head;

    if (memcmp(state->id, l->file.start.chain, sizeof state->id) != 0 ||
            state->size > l->file.end.at || state->size < l->file.start.at)
        return LEDGER_ABSENT;
    /* not what is written there: an entry could say it */
    if (ledger_file_head(&l->file, ledger_tally_group_before(&l->tally, state->size), &head, e) <
                    0 ||
            walk(l, &head, state->size, e) < 0)
        return -1;
    return head.at == state->size && memcmp(head.chain, state->chain, sizeof head.chain) == 0;
}

int ledger_last_checkpoint(
        struct ledger *l, struct ledger_entry *ret, struct buf *tail, struct err *e)
{
    struct buf read = BUF_INIT;
    uint64_t place = l->tally.checkpoint;
    size_t at = tail->len;
    int r = LEDGER_ABSENT;

    if (place && ledger_read_entry(l, place, &read, ret, e) == 0 &&
            buf_append(tail, ret->tail.bytes, ret->tail.len, e) == 0)
        r = LEDGER_PRESENT;
    else if (place)
        r = -1;
    if (r == LEDGER_PRESENT)
        ret->tail.bytes = tail->data + at;
    buf_done(&read);
    return r;
}

void ledger_vouch(struct ledger *l)
{
    l->vouched = true;
}

bool ledger_vouched(const struct ledger *l)
{
    return l->vouched && !l->fault.id;
}
