/* What a ledger says of itself, for those who compare it with what the token signed (checkpoint.h). Promises that a
 * state is one that the ledger has been in: the chain's value alone, somewhere in the file, proves nothing. */
#include <string.h>
#include "base/err.h"
#include "hsm/ledger/ledger_parts.h"

void ledger_state(const struct ledger *l, struct ledger_state *ret)
{
    memcpy(ret->id, l->file.start.chain, sizeof ret->id);
    ret->size = l->file.end.at;
    memcpy(ret->chain, l->file.end.chain, sizeof ret->chain);
}

const uint8_t *ledger_writer(const struct ledger *l)
{
    return ledger_writer_public(l->file.writer);
}

bool ledger_introduced(const struct ledger *l)
{
    return l->introduced || l->introducing;
}

/* Reads the group at the head, and moves the head behind it. */
static int step(struct ledger *l, struct ledger_head *head, struct buf *g, struct ledger_group *ret,
        struct err *e)
{
    enum ledger_group_state state;

    if (ledger_file_group(&l->file, head, l->file.end.at, g, ret, &state, e) < 0)
        return -1;
    return state == LEDGER_GROUP_GOOD
                   ? 0
                   : ledger_file_damaged(&l->file, head->at, "the chain of hashes is broken", e);
}

int ledger_contains(struct ledger *l, const struct ledger_state *state, struct err *e)
{
    struct ledger_group group;
    struct ledger_head head;
    struct buf g = BUF_INIT;
    int r;

    if (memcmp(state->id, l->file.start.chain, sizeof state->id) != 0 ||
            state->size > l->file.end.at || state->size < l->file.start.at)
        return LEDGER_ABSENT;
    /* group by group: what is written at that place could be the text of an entry */
    r = ledger_file_head(&l->file, ledger_tally_group_before(&l->tally, state->size), &head, e);
    while (r == 0 && head.at < state->size)
        r = step(l, &head, &g, &group, e);
    buf_done(&g);
    if (r < 0)
        return -1;
    return head.at == state->size && memcmp(head.chain, state->chain, sizeof head.chain) == 0;
}

int ledger_written_by(struct ledger *l, uint64_t from, const uint8_t writer[LEDGER_WRITER_BYTES],
        uint64_t *ret_at, struct err *e)
{
    struct ledger_group group;
    struct ledger_head head;
    struct buf g = BUF_INIT;
    struct err why = {0};
    int r = ledger_file_head(&l->file, from, &head, &why);

    while (r == 0 && head.at < l->file.end.at) {
        *ret_at = head.at;
        r = step(l, &head, &g, &group, &why);
        if (r == 0)
            r = ledger_writer_check(writer, group.digest, group.signature, &why);
    }
    buf_done(&g);
    /* the same bytes as those that were read before, to the last group */
    if (r == 0 && memcmp(head.chain, l->file.end.chain, sizeof head.chain) != 0)
        r = ledger_file_damaged(&l->file, from, "it changes while it is read", &why);
    if (r == 0)
        return LEDGER_PRESENT;
    if (why.id == ERR_SIGNATURE)
        return LEDGER_ABSENT;
    if (e)
        *e = why;
    return -1;
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
