/* Second readings of the ledger. Promises to believe nothing that an earlier reading found out; must
 * not change the file. */
#include "hsm/ledger_scrub.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include "hsm/ledger_parts.h"

/* One reading, from the start to wherever it is. */
struct reading {
    const struct ledger_file *file;
    struct ledger_head head;
    struct ledger_tally tally;
    uint64_t checkpoints;
    struct ledger_head *heads; /* between the groups, from what the newest checkpoint vouches for */
    size_t head_count, head_cap;
    struct buf g;
};
struct ledger_scrub {
    struct ledger *l;
    struct reading r;
};

static int begin(struct reading *r, const struct ledger_file *f, struct err *e)
{
    ledger_tally_done(&r->tally);
    r->file = f;
    r->head = f->start;
    r->checkpoints = 0;
    r->head_count = 0;
    return ledger_tally_init(&r->tally, e);
}

static void end(struct reading *r)
{
    ledger_tally_done(&r->tally);
    buf_done(&r->g);
    free(r->heads);
}

static int note_head(struct reading *r, struct err *e)
{
    if (r->head_count == r->head_cap) {
        size_t cap = r->head_cap ? 2 * r->head_cap : 64;
        struct ledger_head *grown = reallocarray(r->heads, cap, sizeof *grown);

        if (!grown)
            return err_set(e, ERR_NOMEM, "no memory to check the ledger");
        r->heads = grown;
        r->head_cap = cap;
    }
    r->heads[r->head_count++] = r->head;
    return 0;
}

/* A checkpoint is about what stands before it in this very file, up to the end of a group; one that is older than another
 * before it says nothing. */
static int check_checkpoint(
        struct reading *r, const struct ledger_entry *entry, uint64_t place, struct err *e)
{
    size_t i = 0;

    r->checkpoints++;
    if (entry->row < r->heads->at)
        return 0;
    while (i < r->head_count && r->heads[i].at < entry->row)
        i++;
    if (i == r->head_count || r->heads[i].at != entry->row ||
            memcmp(r->heads[i].chain, entry->spki_sha256, LEDGER_HASH_BYTES) != 0)
        return ledger_file_damaged(r->file, place, "a checkpoint is about other content", e);
    r->head_count -= i;
    memmove(r->heads, r->heads + i, r->head_count * sizeof *r->heads);
    return 0;
}

typedef int (*entry_fn)(void *ctx, uint64_t place, const struct ledger_entry *entry, struct err *e);

/* Reads the group at the head of a file that ends at `size`. */
static int read_group(struct reading *r, uint64_t size, entry_fn fn, void *ctx,
        struct ledger_group *ret_group, enum ledger_group_state *ret, struct err *e)
{
    struct ledger_group group;
    struct ledger_entry entry;
    uint64_t at = r->head.at, place;
    int more;

    if (note_head(r, e) < 0 ||
            ledger_file_group(r->file, &r->head, size, &r->g, &group, ret, e) < 0)
        return -1;
    if (*ret == LEDGER_GROUP_BAD)
        return ledger_file_damaged(r->file, at, "the chain of hashes is broken", e);
    if (*ret == LEDGER_GROUP_TORN)
        return 0;
    if (ledger_tally_reserve(&r->tally, (size_t)group.entries, e) < 0)
        return -1;
    *ret_group = group;
    ledger_tally_group(&r->tally, at);
    while ((more = ledger_group_next(&group, &entry, &place)) > 0) {
        ledger_tally_add(&r->tally, &entry, place);
        if ((entry.type == LEDGER_CHECKPOINT && check_checkpoint(r, &entry, place, e) < 0) ||
                fn(ctx, place, &entry, e) < 0)
            return -1;
    }
    return more < 0 ? ledger_file_damaged(r->file, group.place, "this is not an entry", e) : 0;
}

/* ---- beside the signer's work */

int ledger_scrub_new(struct ledger *l, struct ledger_scrub **ret, struct err *e)
{
    struct ledger_scrub *s = calloc(1, sizeof *s);

    if (!s)
        return err_set(e, ERR_NOMEM, "no memory to check the ledger");
    s->l = l;
    if (begin(&s->r, &l->file, e) < 0) {
        ledger_scrub_free(&s);
        return -1;
    }
    *ret = s;
    return 0;
}

void ledger_scrub_free(struct ledger_scrub **ps)
{
    struct ledger_scrub *s = *ps;

    if (!s)
        return;
    end(&s->r);
    free(s);
    *ps = NULL;
}

/* A seal that is not the entry's would end the ledger's use at the next look-up. */
static int is_this(void *ctx, uint64_t place, uint64_t seal, struct err *e)
{
    const struct ledger_sealed *wanted = ctx;

    (void)e;
    return place == wanted->place && seal == wanted->seal;
}

/* What is not found here would be issued again. */
static int check_entry(void *ctx, uint64_t place, const struct ledger_entry *entry, struct err *e)
{
    struct ledger *l = ctx;
    struct ledger_sealed wanted = {.place = place};

    if (ledger_seal(l->file.md, ledger_entry_bytes(entry), LEDGER_ENTRY_FIXED + entry->tail.len,
                &wanted.seal, e) < 0)
        return -1;
    for (int i = 0; i < LEDGER_TABLES; i++) {
        if (!ledger_is_in(entry, i))
            continue;
        uint64_t hash = ledger_index_hash(&l->cells[i], ledger_key(entry, i));
        int found = ledger_index_has(&l->cells[i], hash, place);

        if (!found && l->snapshot)
            found = ledger_snapshot_each(l->snapshot, i, hash, is_this, &wanted, e);
        if (found < 0)
            return -1;
        if (!found)
            return err_set(e, ERR_UNAVAILABLE,
                    "the ledger's index lacks the entry at byte %llu: it is made anew",
                    (unsigned long long)place);
    }
    return 0;
}

static int check_sums(const struct reading *r, const struct ledger *l, struct err *e)
{
    const struct ledger_tally *a = &r->tally, *b = &l->tally;
    int same = a->counts.issued == b->counts.issued && a->counts.refused == b->counts.refused &&
               a->counts.revoked == b->counts.revoked && a->counts.groups == b->counts.groups &&
               a->crl_number == b->crl_number && a->checkpoint == b->checkpoint &&
               a->vouched == b->vouched && a->job_count == b->job_count &&
               a->revoked_count == b->revoked_count && a->block_count == b->block_count;

    for (size_t i = 0; same && i < a->job_count; i++)
        same = memcmp(a->jobs[i].job, b->jobs[i].job, LEDGER_ID_BYTES) == 0 &&
               a->jobs[i].issued == b->jobs[i].issued &&
               a->jobs[i].keys_made == b->jobs[i].keys_made;
    for (size_t i = 0; same && i < a->revoked_count; i++)
        same = memcmp(a->revoked[i].serial, b->revoked[i].serial, CERT_SERIAL_BYTES) == 0 &&
               a->revoked[i].reason == b->revoked[i].reason;
    for (size_t i = 0; same && i < a->block_count; i++)
        same = a->blocks[i] == b->blocks[i];
    if (same)
        return 0;
    return err_set(e, ERR_UNAVAILABLE,
            "the ledger's index does not add up to the ledger: it is made anew");
}

static int advance(struct ledger_scrub *s, size_t bytes, struct err *e)
{
    const struct ledger_file *f = &s->l->file;
    uint64_t until = s->r.head.at + bytes;
    enum ledger_group_state state;
    struct ledger_group group;

    /* not what the kernel remembers: what the disk has */
    posix_fadvise(f->fd, (off_t)s->r.head.at, (off_t)bytes, POSIX_FADV_DONTNEED);
    while (s->r.head.at < f->end.at && s->r.head.at < until) {
        if (read_group(&s->r, f->end.at, check_entry, s->l, &group, &state, e) < 0)
            return -1;
        if (state == LEDGER_GROUP_TORN)
            return ledger_file_damaged(f, s->r.head.at, "a group is not whole any more", e);
    }
    if (s->r.head.at < f->end.at)
        return 0;
    if (memcmp(s->r.head.chain, f->end.chain, sizeof f->end.chain) != 0)
        return ledger_file_damaged(f, s->r.head.at, "the chain leads elsewhere", e);
    return check_sums(&s->r, s->l, e) < 0 || begin(&s->r, f, e) < 0 ? -1 : 1;
}

int ledger_scrub_step(struct ledger_scrub *s, size_t bytes, struct err *e)
{
    struct err why = {0};
    int r = s->l->fault.id ? -1 : advance(s, bytes, &why);

    if (s->l->fault.id)
        why = s->l->fault;
    else if (r < 0 && why.id == ERR_LEDGER)
        ledger_give_up(s->l, &why);
    else if (r < 0 && why.id == ERR_UNAVAILABLE)
        ledger_lose_index(s->l, &why);
    if (r < 0 && e)
        *e = why;
    return r;
}

uint64_t ledger_scrub_at(const struct ledger_scrub *s)
{
    return s->r.head.at;
}

/* ---- from outside */

struct verify {
    ledger_verify_fn fn;
    void *ctx;
    const uint8_t *id;
    uint64_t vouched; /* bytes, by the newest checkpoint; 0: there was none */
    uint8_t writer[LEDGER_WRITER_BYTES];
    uint64_t foreign;
};

static int tell(void *ctx, uint64_t place, const struct ledger_entry *entry, struct err *e)
{
    struct verify *v = ctx;

    if (v->fn && v->fn(v->ctx, v->id, entry, e) < 0)
        return err_context(e, "the entry at byte %llu", (unsigned long long)place);
    if (entry->type != LEDGER_CHECKPOINT || entry->row <= v->vouched)
        return 0;
    v->vouched = entry->row;
    memcpy(v->writer, ledger_checkpoint_writer(entry), sizeof v->writer);
    if (entry->flags & LEDGER_ACCEPTED && v->foreign < entry->row)
        v->foreign = 0;
    return 0;
}

/* A process comes with a checkpoint, in the first group that it writes: so the group is read before its writer is known. */
static int verify_group(struct reading *r, struct verify *v, uint64_t size,
        enum ledger_group_state *ret, struct err *e)
{
    struct ledger_group group;
    uint64_t at = r->head.at;
    struct err why = {0};

    if (read_group(r, size, tell, v, &group, ret, e) < 0)
        return -1;
    if (*ret != LEDGER_GROUP_GOOD || v->foreign ||
            (v->vouched &&
                    ledger_writer_check(v->writer, group.digest, group.signature, &why) == 0))
        return 0;
    v->foreign = at;
    return !why.id || why.id == ERR_SIGNATURE ? 0 : err_set(e, why.id, "%s", why.msg);
}

int ledger_verify(const char *path, ledger_verify_fn fn, void *ctx, struct ledger_verified *ret,
        struct err *e)
{
    enum ledger_group_state state = LEDGER_GROUP_GOOD;
    struct reading r = {0};
    struct ledger_file f;
    struct verify v = {.fn = fn, .ctx = ctx};
    uint64_t size;
    int result = -1;

    if (ledger_file_open_read(&f, path, e) < 0 || ledger_file_size(&f, &size, e) < 0 ||
            begin(&r, &f, e) < 0)
        goto out;
    v.id = f.start.chain;
    while (r.head.at < size && state == LEDGER_GROUP_GOOD)
        if (verify_group(&r, &v, size, &state, e) < 0)
            goto out;
    *ret = (struct ledger_verified){
            r.tally.counts, r.checkpoints, r.head.at, size - r.head.at, v.foreign};
    result = 0;
out:
    end(&r);
    ledger_file_close(&f);
    return result;
}
