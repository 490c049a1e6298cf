/* Second readings of the ledger. Promises to believe nothing that an earlier reading found out; must
 * not change the file. */
#include "hsm/ledger/ledger_scrub.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include "hsm/ledger/ledger_parts.h"

/* One reading, from the start to wherever it is. */
struct reading {
    const struct ledger_file *file;
    struct ledger_head head;
    struct ledger_tally tally;
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
    return ledger_tally_init(&r->tally, e);
}

static void end(struct reading *r)
{
    ledger_tally_done(&r->tally);
    buf_done(&r->g);
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

    if (ledger_file_group(r->file, &r->head, size, &r->g, &group, ret, e) < 0)
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
        if (fn(ctx, place, &entry, e) < 0)
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
    struct reading r;
    ledger_genuine_fn genuine;
    void *ctx;
    struct ledger_head
            *heads; /* between the groups, from the one on that the newest checkpoint vouches for */
    size_t head_count, head_cap;
    uint64_t checkpoints;                /* genuine ones */
    uint8_t writer[LEDGER_WRITER_BYTES]; /* that the newest of them names */
    struct err why; /* what is wrong with the group that is being read; or none */
    uint64_t foreign;
    struct err foreign_why;
};

static int note_head(struct verify *v, struct err *e)
{
    if (v->head_count == v->head_cap) {
        size_t cap = v->head_cap ? 2 * v->head_cap : 64;
        struct ledger_head *grown = reallocarray(v->heads, cap, sizeof *grown);

        if (!grown)
            return err_set(e, ERR_NOMEM, "no memory to check the ledger");
        v->heads = grown;
        v->head_cap = cap;
    }
    v->heads[v->head_count++] = v->r.head;
    return 0;
}

/* Whether a group ends where the checkpoint says, with its chain. Those before it are not needed any more. */
static bool is_content(struct verify *v, const struct ledger_entry *checkpoint)
{
    size_t i = 0;

    while (i < v->head_count && v->heads[i].at < checkpoint->row)
        i++;
    if (i == v->head_count || v->heads[i].at != checkpoint->row ||
            memcmp(v->heads[i].chain, checkpoint->spki_sha256, LEDGER_HASH_BYTES) != 0)
        return false;
    v->head_count -= i;
    memmove(v->heads, v->heads + i, v->head_count * sizeof *v->heads);
    return true;
}

static int judge(void *ctx, uint64_t place, const struct ledger_entry *entry, struct err *e)
{
    struct verify *v = ctx;
    const uint8_t *id = v->r.file->start.chain;
    struct err why = {0};

    if (entry->type != LEDGER_CHECKPOINT)
        return 0;
    if (v->genuine && v->genuine(v->ctx, id, entry, &why) < 0 && why.id != ERR_LEDGER) {
        *e = why;
        return -1;
    }
    /* a copy of an older one says nothing */
    if (!why.id && v->checkpoints && entry->row < v->heads->at)
        return 0;
    if (!why.id && !is_content(v, entry))
        ledger_file_damaged(v->r.file, place, "a checkpoint is about other content", &why);
    if (why.id) {
        v->why = why;
        return 0;
    }
    v->checkpoints++;
    memcpy(v->writer, ledger_checkpoint_writer(entry), sizeof v->writer);
    if (entry->flags & LEDGER_ACCEPTED && v->foreign < entry->row)
        v->foreign = 0;
    return 0;
}

/* A process comes with a checkpoint, in the first group that it writes: so the group is read before its writer is known. */
static int verify_group(
        struct verify *v, uint64_t size, enum ledger_group_state *ret, struct err *e)
{
    struct ledger_group group;
    uint64_t at = v->r.head.at;

    err_clear(&v->why);
    if (note_head(v, e) < 0 || read_group(&v->r, size, judge, v, &group, ret, e) < 0)
        return -1;
    if (*ret != LEDGER_GROUP_GOOD || v->foreign)
        return 0;
    if (!v->why.id && !v->checkpoints)
        err_set(&v->why, ERR_LEDGER, "the HSM had not vouched for any signer yet");
    else if (!v->why.id &&
             ledger_writer_check(v->writer, group.digest, group.signature, &v->why) < 0 &&
             v->why.id != ERR_SIGNATURE) {
        *e = v->why;
        return -1;
    }
    if (v->why.id) {
        v->foreign = at;
        v->foreign_why = v->why;
    }
    return 0;
}

int ledger_verify(const char *path, ledger_genuine_fn genuine, void *ctx,
        struct ledger_verified *ret, struct err *e)
{
    enum ledger_group_state state = LEDGER_GROUP_GOOD;
    struct verify v = {.genuine = genuine, .ctx = ctx};
    struct ledger_file f;
    uint64_t size;
    int r = -1;

    if (ledger_file_open_read(&f, path, e) < 0 || ledger_file_size(&f, &size, e) < 0 ||
            begin(&v.r, &f, e) < 0)
        goto out;
    while (v.r.head.at < size && state == LEDGER_GROUP_GOOD)
        if (verify_group(&v, size, &state, e) < 0)
            goto out;
    *ret = (struct ledger_verified){v.r.tally.counts, v.checkpoints, v.r.head.at,
            size - v.r.head.at, v.foreign, v.foreign_why};
    r = 0;
out:
    end(&v.r);
    free(v.heads);
    ledger_file_close(&f);
    return r;
}
