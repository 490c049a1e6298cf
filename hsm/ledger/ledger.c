/* The issuance ledger. Promises: what ledger_commit() said is there after any crash; what is durable
 * is also found. The file itself is ledger_file.c's: this is what is known about its content. */
#include "hsm/ledger/ledger.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "hsm/ledger/ledger_parts.h"

/* ---- look-ups */

static int changed(const struct ledger *l, uint64_t place, struct err *e)
{
    return ledger_file_damaged(&l->file, place, "an entry changed since it was checked", e);
}

/* ret->tail is borrowed until the next entry is read. */
static int read_entry(struct ledger *l, uint64_t place, struct ledger_entry *ret, struct err *e)
{
    uint8_t *at;

    buf_reset(&l->entry);
    if (buf_reserve(&l->entry, LEDGER_ENTRY_FIXED, &at, e) < 0 ||
            ledger_file_read(&l->file, place, at, LEDGER_ENTRY_FIXED, e) < 0)
        return -1;
    l->entry.len = LEDGER_ENTRY_FIXED;
    if (ledger_entry_decode(at, ret) < 0)
        return changed(l, place, e);
    if (buf_reserve(&l->entry, ret->tail.len, &at, e) < 0 ||
            ledger_file_read(&l->file, place + LEDGER_ENTRY_FIXED, at, ret->tail.len, e) < 0)
        return -1;
    l->entry.len += ret->tail.len;
    ret->tail.bytes = at;
    return 0;
}

/* The file is read again, long after it was checked: no byte may have changed since. */
static int read_sealed(
        struct ledger *l, uint64_t place, uint64_t seal, struct ledger_entry *ret, struct err *e)
{
    uint64_t is;

    if (read_entry(l, place, ret, e) < 0 ||
            ledger_seal(l->file.md, l->entry.data, l->entry.len, &is, e) < 0)
        return -1;
    return is == seal ? 0 : changed(l, place, e);
}

bool ledger_is_in(const struct ledger_entry *entry, enum ledger_table table)
{
    return entry->type == LEDGER_ISSUED ||
           (entry->type == LEDGER_KEY_MADE && table == LEDGER_BY_KEY);
}

const uint8_t *ledger_key(const struct ledger_entry *entry, enum ledger_table table)
{
    return table == LEDGER_BY_DEVICE ? entry->device : entry->spki_sha256;
}

struct search {
    struct ledger *l;
    enum ledger_table table;
    enum ledger_type type;
    const uint8_t *key;
    size_t key_len;
    uint64_t hash;
    struct ledger_sealed found;
};

/* 1: this is the entry. One that could not have been put here has changed since. */
static int match(struct search *s, uint64_t place, uint64_t seal, struct err *e)
{
    struct ledger_entry entry;
    const uint8_t *key;

    if (read_sealed(s->l, place, seal, &entry, e) < 0)
        return -1;
    key = ledger_key(&entry, s->table);
    if (!ledger_is_in(&entry, s->table) ||
            ledger_index_hash(&s->l->cells[s->table], key) != s->hash)
        return ledger_file_damaged(
                &s->l->file, place, "this entry is not the one that was indexed", e);
    return entry.type == s->type && memcmp(key, s->key, s->key_len) == 0;
}

static int match_saved(void *ctx, uint64_t place, uint64_t seal, struct err *e)
{
    struct search *s = ctx;

    s->found = (struct ledger_sealed){place, seal};
    return match(s, place, seal, e);
}

static int match_cell(void *ctx, uint64_t place, const uint8_t *key, struct err *e)
{
    struct search *s = ctx;

    (void)key;
    return match(s, place, ledger_seals_get(&s->l->seals, place), e);
}

/* The newest entry with this key; ret->tail is borrowed until the next look-up. What was written since the snapshot is newer
 * than all in it. */
static int find(struct search *s, struct ledger_entry *ret, struct err *e)
{
    struct ledger *l = s->l;
    struct err why = {0};
    int r;

    if (l->fault.id) {
        if (e)
            *e = l->fault;
        return -1;
    }
    s->hash = ledger_index_hash(&l->cells[s->table], s->key);
    r = ledger_index_find(&l->cells[s->table], s->key, match_cell, s, &s->found.place, &why);
    if (r > 0)
        s->found.seal = ledger_seals_get(&l->seals, s->found.place);
    else if (r == 0 && l->snapshot)
        r = ledger_snapshot_each(l->snapshot, s->table, s->hash, match_saved, s, &why);
    if (r > 0 && read_sealed(l, s->found.place, s->found.seal, ret, &why) < 0)
        r = -1;
    if (r < 0 && l->snapshot && ledger_snapshot_damaged(l->snapshot))
        ledger_lose_index(l, &why);
    else if (r < 0 && why.id == ERR_LEDGER)
        ledger_give_up(l, &why);
    if (r < 0 && e)
        *e = why;
    return r;
}

int ledger_find_device(struct ledger *l, const uint8_t device[LEDGER_ID_BYTES],
        struct ledger_entry *ret, struct buf *ret_cert, struct err *e)
{
    struct search s = {l, LEDGER_BY_DEVICE, LEDGER_ISSUED, device, LEDGER_ID_BYTES, 0, {0, 0}};
    int r = find(&s, ret, e);

    if (r <= 0)
        return r;
    if (ret_cert && buf_append(ret_cert, ret->tail.bytes, ret->tail.len, e) < 0)
        return -1;
    ret->tail = (struct cert_bytes){0};
    return LEDGER_PRESENT;
}

static int find_spki(struct ledger *l, enum ledger_type type, const uint8_t spki_sha256[32],
        struct ledger_entry *ret, struct err *e)
{
    struct search s = {l, LEDGER_BY_KEY, type, spki_sha256, sizeof ret->spki_sha256, 0, {0, 0}};
    int r = find(&s, ret, e);

    if (r <= 0)
        return r;
    ret->tail = (struct cert_bytes){0};
    return LEDGER_PRESENT;
}

int ledger_find_key(
        struct ledger *l, const uint8_t spki_sha256[32], struct ledger_entry *ret, struct err *e)
{
    return find_spki(l, LEDGER_ISSUED, spki_sha256, ret, e);
}

int ledger_find_made_key(
        struct ledger *l, const uint8_t spki_sha256[32], struct ledger_entry *ret, struct err *e)
{
    return find_spki(l, LEDGER_KEY_MADE, spki_sha256, ret, e);
}

uint64_t ledger_job_count(const struct ledger *l, const uint8_t job[LEDGER_ID_BYTES])
{
    const struct ledger_job *j = ledger_tally_job(&l->tally, job);

    return j ? j->issued : 0;
}

uint64_t ledger_job_keys(const struct ledger *l, const uint8_t job[LEDGER_ID_BYTES])
{
    const struct ledger_job *j = ledger_tally_job(&l->tally, job);

    return j ? j->keys_made : 0;
}

bool ledger_job_withdrawn(const struct ledger *l, const uint8_t job[LEDGER_ID_BYTES])
{
    const struct ledger_job *j = ledger_tally_job(&l->tally, job);

    return j && j->withdrawn;
}

struct ledger_counts ledger_counts(const struct ledger *l)
{
    return l->tally.counts;
}

const struct ledger_revoked *ledger_revoked(const struct ledger *l, size_t *ret_count)
{
    *ret_count = l->tally.revoked_count;
    return l->tally.revoked;
}

const struct ledger_revoked *ledger_find_revoked(
        const struct ledger *l, const uint8_t serial[CERT_SERIAL_BYTES])
{
    return ledger_tally_revoked(&l->tally, serial);
}

bool ledger_key_compromised(const struct ledger *l, const uint8_t spki_sha256[32])
{
    return ledger_tally_compromised(&l->tally, spki_sha256);
}

bool ledger_had(const struct ledger *l, const uint8_t device[LEDGER_ID_BYTES],
        const uint8_t job[LEDGER_ID_BYTES])
{
    return ledger_tally_had(&l->tally, device, job);
}

uint64_t ledger_crl_number(const struct ledger *l)
{
    return l->tally.crl_number;
}

const struct ledger_crl *ledger_last_crl(
        const struct ledger *l, const uint8_t ca[CERT_KEY_ID_BYTES])
{
    const struct ledger_ca *c = ledger_tally_ca(&l->tally, ca);

    return c && c->crl.number ? &c->crl : NULL;
}

void ledger_crl_count(const struct ledger *l, struct ledger_crl *crl)
{
    const struct ledger_ca *c = ledger_tally_ca(&l->tally, crl->ca);

    crl->entries = c ? c->revoked : 0;
    crl->compromised = c ? c->compromised : 0;
}

bool ledger_crl_complete(const struct ledger *l, const struct ledger_crl *crl)
{
    struct ledger_crl now = *crl;

    ledger_crl_count(l, &now);
    return now.entries == crl->entries && now.compromised == crl->compromised;
}

/* ---- the end of trust */

void ledger_lose_index(struct ledger *l, const struct err *why)
{
    log_err(LOG_ERR, "ledger-index-lost", why);
    for (int i = 0; i < LEDGER_INDEX_FILES; i++)
        unlink(l->index_path[i]);
    l->index_lost = true;
}

void ledger_refuse(struct ledger *l, const struct err *why)
{
    if (l->fault.id)
        return;
    l->fault = *why;
    log_err(LOG_ERR, "ledger-refused", why);
}

int ledger_give_up(struct ledger *l, const struct err *why)
{
    ledger_refuse(l, why);
    for (int i = 0; i < LEDGER_INDEX_FILES; i++)
        unlink(l->index_path[i]);
    return -1;
}

const struct err *ledger_fault(const struct ledger *l)
{
    return &l->fault;
}

/* ---- what is known of the file's content */

/* Room before anything is written: what is durable must also be found. */
static int reserve(struct ledger *l, size_t entries, struct err *e)
{
    for (int i = 0; i < LEDGER_TABLES; i++)
        if (ledger_index_reserve(&l->cells[i], entries, e) < 0)
            return -1;
    return ledger_seals_reserve(&l->seals, entries, e) < 0
                   ? -1
                   : ledger_tally_reserve(&l->tally, entries, e);
}

/* at: where the group begins. */
static int take_group(struct ledger *l, uint64_t at, struct ledger_group *g, struct err *e)
{
    struct ledger_entry entry;
    uint64_t place, seal;
    int r;

    if (reserve(l, (size_t)g->entries, e) < 0)
        return -1;
    ledger_tally_group(&l->tally, at);
    while ((r = ledger_group_next(g, &entry, &place)) > 0) {
        ledger_tally_add(&l->tally, &entry, place);
        if (ledger_is_in(&entry, LEDGER_BY_KEY)) { /* as all that are in any table */
            if (ledger_seal(l->file.md, ledger_entry_bytes(&entry),
                        LEDGER_ENTRY_FIXED + entry.tail.len, &seal, e) < 0)
                return -1;
            ledger_seals_add(&l->seals, place, seal);
        }
        for (int i = 0; i < LEDGER_TABLES; i++)
            if (ledger_is_in(&entry, i))
                ledger_index_add(&l->cells[i], ledger_key(&entry, i), place);
    }
    if (r < 0)
        return ledger_file_damaged(&l->file, g->place, "this is not an entry", e);
    return 0;
}

static int read_groups(struct ledger *l, struct err *e)
{
    struct ledger_head head = l->file.end;
    struct ledger_group group;
    enum ledger_group_state state;
    struct buf g = BUF_INIT;
    uint64_t size;
    int r = ledger_file_size(&l->file, &size, e);

    while (r == 0 && head.at < size) {
        r = ledger_file_group(&l->file, &head, size, &g, &group, &state, e);
        if (r == 0 && state == LEDGER_GROUP_BAD)
            r = ledger_file_damaged(&l->file, head.at, "the chain of hashes is broken", e);
        if (r < 0)
            break;
        if (state == LEDGER_GROUP_TORN) {
            r = ledger_file_cut(&l->file, size, e);
            break;
        }
        r = take_group(l, l->file.end.at, &group, e);
        if (r == 0) {
            l->file.end = head;
            r = ledger_spill(l, e);
        }
    }
    buf_done(&g);
    return r;
}

/* ---- life */

static void forget(struct ledger *l)
{
    ledger_snapshot_close(&l->snapshot);
    for (int i = 0; i < LEDGER_TABLES; i++)
        ledger_index_done(&l->cells[i]);
    ledger_seals_done(&l->seals);
    ledger_tally_done(&l->tally);
}

static int start_empty(struct ledger *l, struct err *e)
{
    forget(l);
    l->file.end = l->file.start;
    l->snapshot_kept = false;
    for (int i = 0; i < LEDGER_TABLES; i++)
        if (ledger_index_init(&l->cells[i], e) < 0)
            return -1;
    return ledger_tally_init(&l->tally, e);
}

/* What the index knows, if there is one that is of use. */
static int use_index(struct ledger *l, enum ledger_index_file file, struct err *e)
{
    if (start_empty(l, e) < 0 || ledger_snapshot_open(l->index_path[file], &l->file, &l->tally,
                                         l->cells, &l->snapshot, e) < 0)
        return -1;
    l->snapshot_file = file;
    l->snapshot_kept = true;
    return ledger_file_head(&l->file, ledger_snapshot_end(l->snapshot), &l->file.end, e);
}

/* Whether the newest checkpoint, whose signature is checked later, names the index that was used. Without a checkpoint
 * nobody vouches for the ledger either (checkpoint_check() sees to that). */
static int index_named(struct ledger *l, struct err *e)
{
    struct buf tail = BUF_INIT;
    struct ledger_entry c;
    int r = ledger_last_checkpoint(l, &c, &tail, e);

    if (r == LEDGER_PRESENT &&
            memcmp(ledger_checkpoint_index(&c), ledger_index_digest(l), LEDGER_INDEX_DIGEST) != 0)
        r = err_set(e, ERR_LEDGER, "%s: the newest checkpoint names another",
                l->index_path[l->snapshot_file]);
    buf_done(&tail);
    return r < 0 ? -1 : 0;
}

/* With the help of an index, or by reading all of it: the result is the same. */
static int read_content(struct ledger *l, int indexes, struct err *e)
{
    struct err why = {0};

    for (int i = 0; i < indexes; i++) {
        if (use_index(l, i, &why) == 0) {
            if (read_groups(l, e) < 0)
                return -1;
            if (index_named(l, &why) == 0)
                return 0;
        }
        if (why.id != ERR_NOT_FOUND)
            log_err(LOG_WARNING, "ledger-index-left-aside", &why);
        err_clear(&why);
    }
    return start_empty(l, e) < 0 ? -1 : read_groups(l, e);
}

static int fill(struct ledger *l, const char *path, int indexes, struct err *e)
{
    static const uint8_t room[LEDGER_GROUP_HEADER];

    /* Synced before it is read: a signer that was killed between write and sync left a group that is
     * only in the kernel's memory, and what is answered from it must survive a power cut, too. */
    if (ledger_file_open(&l->file, path, e) < 0 || ledger_index_paths(l, path, e) < 0 ||
            buf_append(&l->group, room, sizeof room, e) < 0 || ledger_file_sync(&l->file, e) < 0)
        return -1;
    return read_content(l, indexes, e);
}

static int open_with(const char *path, int indexes, struct ledger **ret, struct err *e)
{
    struct ledger *l = calloc(1, sizeof *l);

    if (!l)
        return err_set(e, ERR_NOMEM, "no memory for the ledger");
    if (fill(l, path, indexes, e) < 0) {
        ledger_close(&l);
        return -1;
    }
    *ret = l;
    return 0;
}

int ledger_open(const char *path, struct ledger **ret, struct err *e)
{
    return open_with(path, LEDGER_INDEX_FILES, ret, e);
}

int ledger_open_whole(const char *path, struct ledger **ret, struct err *e)
{
    return open_with(path, 0, ret, e);
}

int ledger_open_or_refuse(const char *path, struct ledger **ret, struct err *e)
{
    struct ledger *l = calloc(1, sizeof *l);
    struct err why = {0}, none = {0};

    if (!l)
        return err_set(e, ERR_NOMEM, "no memory for the ledger");
    if (fill(l, path, LEDGER_INDEX_FILES, &why) < 0) {
        /* what was read before the damage is not all there was */
        if (why.id != ERR_LEDGER || start_empty(l, &none) < 0) {
            ledger_close(&l);
            if (e)
                *e = none.id ? none : why;
            return -1;
        }
        ledger_refuse(l, &why);
    }
    *ret = l;
    return 0;
}

void ledger_close(struct ledger **pl)
{
    struct ledger *l = *pl;

    if (!l)
        return;
    ledger_file_close(&l->file);
    forget(l);
    for (int i = 0; i < LEDGER_INDEX_FILES; i++)
        free(l->index_path[i]);
    buf_done(&l->group);
    buf_done(&l->entry);
    free(l);
    *pl = NULL;
}

/* ---- writing */

static int add_one(struct ledger *l, const struct ledger_entry *entry, struct err *e)
{
    if (l->group.len + LEDGER_ENTRY_FIXED + entry->tail.len + LEDGER_GROUP_END >
            LEDGER_GROUP_BYTES_MAX)
        return err_set(e, ERR_UNAVAILABLE, "too many certificates wait for the disk");
    if (ledger_entry_encode(entry, &l->group, e) < 0)
        return -1;
    l->introducing |=
            entry->type == LEDGER_CHECKPOINT &&
            memcmp(ledger_checkpoint_writer(entry), ledger_writer(l), LEDGER_WRITER_BYTES) == 0;
    return 0;
}

int ledger_add_all(
        struct ledger *l, const struct ledger_entry *entries, size_t count, struct err *e)
{
    size_t before = l->group.len;

    if (l->fault.id) {
        if (e)
            *e = l->fault;
        return -1;
    }
    if (l->file.broken)
        return err_set(e, ERR_LEDGER, "%s: a write could not be made durable; restart the signer",
                l->file.path);
    for (size_t i = 0; i < count; i++)
        if (add_one(l, &entries[i], e) < 0) {
            l->group.len = before;
            return -1;
        }
    l->waiting += count;
    return 0;
}

int ledger_add(struct ledger *l, const struct ledger_entry *entry, struct err *e)
{
    return ledger_add_all(l, entry, 1, e);
}

bool ledger_usable(const struct ledger *l)
{
    return !l->file.broken && !l->index_lost;
}

size_t ledger_waiting(const struct ledger *l)
{
    return l->waiting;
}

int ledger_commit(struct ledger *l, struct err *e)
{
    uint64_t at = l->file.end.at;
    struct ledger_group group = {
            .len = l->group.len - LEDGER_GROUP_HEADER,
            .entries = l->waiting,
            .place = at + LEDGER_GROUP_HEADER,
    };
    int r = -1;

    if (!l->waiting)
        return 0;
    if (l->fault.id && e)
        *e = l->fault;
    if (!l->fault.id && reserve(l, l->waiting, e) == 0 &&
            ledger_file_append(&l->file, &l->group, l->waiting, e) == 0) {
        group.payload = l->group.data + LEDGER_GROUP_HEADER;
        /* cannot fail: this process wrote it, and room is reserved */
        r = take_group(l, at, &group, e);
    }
    l->introduced |= r == 0 && l->introducing;
    l->introducing = false;
    l->group.len = LEDGER_GROUP_HEADER;
    l->waiting = 0;
    return r;
}
