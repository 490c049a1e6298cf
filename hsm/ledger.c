/* The issuance ledger. Promises: what ledger_commit() said is there after any crash; a damaged file
 * is never read past the damage, never repaired, never replaced. Must not write anything but whole
 * groups at the end of the file. */
#include "hsm/ledger.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "hsm/ledger_index.h"

enum {
    HASH = 32,
    FILE_HEADER = 32,
    CHECK = 8,
    GROUP_FACTS = 16,
    GROUP_HEADER = GROUP_FACTS + CHECK,
    ENTRY_HEADER = 8,
    ENTRY_FIXED = ENTRY_HEADER + 2 * LEDGER_ID_BYTES + 8 + 8 + 32 + CERT_SERIAL_BYTES,
    SECTOR = 512,
};
#define TAIL_MAX CERT_BYTES_MAX
#define GROUP_BYTES_MAX                                                                            \
    (4u << 20) /* far above what one round of the event loop collects; bounds memory when reading  \
                */
static const uint8_t file_magic[16] = "KEYLINE-LEDGER\n\1";
static const uint8_t group_magic[4] = "KLG1";

struct job_count {
    uint8_t job[LEDGER_ID_BYTES];
    uint64_t issued;
};

struct ledger {
    char *path;
    int fd;
    uint64_t size;       /* of what is durable */
    uint8_t chain[HASH]; /* of the last durable group */
    struct ledger_index devices, keys, jobs;
    struct job_count *job_counts;
    size_t job_count, job_cap;
    struct ledger_revoked *revoked;
    size_t revoked_count, revoked_cap;
    uint64_t crl_number;
    struct ledger_counts counts;
    struct buf group; /* GROUP_HEADER bytes of room, then the payload to come */
    size_t waiting;
    int broken; /* a sync failed: nothing more is written */
    EVP_MD_CTX *md;
};

static uint64_t get_be(const uint8_t *at, int bytes)
{
    uint64_t n = 0;

    while (bytes--)
        n = n << 8 | *at++;
    return n;
}

static void put_be(uint8_t *at, int bytes, uint64_t n)
{
    while (bytes--) {
        at[bytes] = (uint8_t)n;
        n >>= 8;
    }
}

/* SHA-256(chain || bytes) */
static int chain_hash(
        struct ledger *l, const uint8_t *bytes, size_t len, uint8_t ret[HASH], struct err *e)
{
    if (EVP_DigestInit_ex(l->md, EVP_sha256(), NULL) != 1 ||
            EVP_DigestUpdate(l->md, l->chain, HASH) != 1 ||
            EVP_DigestUpdate(l->md, bytes, len) != 1 || EVP_DigestFinal_ex(l->md, ret, NULL) != 1)
        return err_set(e, ERR_NOMEM, "no digest can be made");
    return 0;
}

static int damaged(struct ledger *l, uint64_t at, const char *what, struct err *e)
{
    return err_set(
            e, ERR_LEDGER, "%s: damaged at byte %llu: %s", l->path, (unsigned long long)at, what);
}

static int read_at(struct ledger *l, uint64_t at, void *bytes, size_t len, struct err *e)
{
    uint8_t *to = bytes;

    while (len) {
        ssize_t n = pread(l->fd, to, len, (off_t)at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(e, errno, "read %s", l->path);
        if (n == 0)
            return damaged(l, at, "it ends here", e);
        to += n, at += (uint64_t)n, len -= (size_t)n;
    }
    return 0;
}

/* ---- entries */

static int entry_encode(const struct ledger_entry *entry, struct buf *out, struct err *e)
{
    uint8_t fixed[ENTRY_FIXED] = {0}, *at = fixed + ENTRY_HEADER;

    if (entry->tail.len > TAIL_MAX)
        return err_set(e, ERR_LIMIT, "a certificate of %zu bytes does not fit into the ledger",
                entry->tail.len);
    put_be(fixed, 4, entry->tail.len);
    fixed[4] = (uint8_t)entry->type;
    fixed[5] = entry->flags;
    fixed[6] = entry->reason;
    memcpy(at, entry->job, LEDGER_ID_BYTES);
    memcpy(at + 16, entry->device, LEDGER_ID_BYTES);
    put_be(at + 32, 8, entry->row);
    put_be(at + 40, 8, (uint64_t)entry->time_ms);
    memcpy(at + 48, entry->spki_sha256, 32);
    memcpy(at + 80, entry->serial, CERT_SERIAL_BYTES);
    if (buf_append(out, fixed, sizeof fixed, e) < 0)
        return -1;
    return buf_append(out, entry->tail.bytes, entry->tail.len, e);
}

/* The fixed part; ret->tail has its length and no bytes. -1 (no err: callers say where) when it is
 * not an entry. */
static int entry_decode(const uint8_t fixed[ENTRY_FIXED], struct ledger_entry *ret)
{
    const uint8_t *at = fixed + ENTRY_HEADER;

    *ret = (struct ledger_entry){
            .type = fixed[4], .flags = fixed[5], .reason = fixed[6], .tail.len = get_be(fixed, 4)};
    if (ret->type < LEDGER_ISSUED || ret->type > LEDGER_CRL || fixed[7] ||
            ret->tail.len > TAIL_MAX ||
            (ret->type >= LEDGER_REVOKED && ret->tail.len != CERT_KEY_ID_BYTES))
        return -1;
    memcpy(ret->job, at, LEDGER_ID_BYTES);
    memcpy(ret->device, at + 16, LEDGER_ID_BYTES);
    ret->row = get_be(at + 32, 8);
    ret->time_ms = (int64_t)get_be(at + 40, 8);
    memcpy(ret->spki_sha256, at + 48, 32);
    memcpy(ret->serial, at + 80, CERT_SERIAL_BYTES);
    return 0;
}

/* ---- look-ups */

static int read_entry(struct ledger *l, uint64_t place, struct ledger_entry *ret, struct err *e)
{
    uint8_t fixed[ENTRY_FIXED];

    if (read_at(l, place, fixed, sizeof fixed, e) < 0)
        return -1;
    return entry_decode(fixed, ret) < 0
                   ? damaged(l, place, "an entry changed since it was checked", e)
                   : 0;
}

static int match_device(void *ctx, uint64_t place, const uint8_t *key, struct err *e)
{
    struct ledger_entry entry;

    if (read_entry(ctx, place, &entry, e) < 0)
        return -1;
    return memcmp(entry.device, key, LEDGER_ID_BYTES) == 0;
}

static int match_key(void *ctx, uint64_t place, const uint8_t *key, struct err *e)
{
    struct ledger_entry entry;

    if (read_entry(ctx, place, &entry, e) < 0)
        return -1;
    return memcmp(entry.spki_sha256, key, sizeof entry.spki_sha256) == 0;
}

static int match_job(void *ctx, uint64_t place, const uint8_t *key, struct err *e)
{
    struct ledger *l = ctx;

    (void)e;
    return memcmp(l->job_counts[place - 1].job, key, LEDGER_ID_BYTES) == 0;
}

int ledger_find_device(struct ledger *l, const uint8_t device[LEDGER_ID_BYTES],
        struct ledger_entry *ret, struct buf *ret_cert, struct err *e)
{
    uint64_t place;
    uint8_t *at;
    int r = ledger_index_find(&l->devices, device, match_device, l, &place, e);

    if (r <= 0)
        return r;
    if (read_entry(l, place, ret, e) < 0)
        return -1;
    if (ret_cert) {
        if (buf_reserve(ret_cert, ret->tail.len, &at, e) < 0 ||
                read_at(l, place + ENTRY_FIXED, at, ret->tail.len, e) < 0)
            return -1;
        ret_cert->len += ret->tail.len;
    }
    ret->tail = (struct cert_bytes){0};
    return LEDGER_PRESENT;
}

int ledger_find_key(
        struct ledger *l, const uint8_t spki_sha256[32], struct ledger_entry *ret, struct err *e)
{
    uint64_t place;
    int r = ledger_index_find(&l->keys, spki_sha256, match_key, l, &place, e);

    if (r <= 0)
        return r;
    if (read_entry(l, place, ret, e) < 0)
        return -1;
    ret->tail = (struct cert_bytes){0};
    return LEDGER_PRESENT;
}

static struct job_count *find_job(const struct ledger *l, const uint8_t job[LEDGER_ID_BYTES])
{
    uint64_t place;
    /* match_job() reads memory only: it neither changes the ledger nor fails */
    void *ctx = (void *)(uintptr_t)l;

    return ledger_index_find(&l->jobs, job, match_job, ctx, &place, NULL) == 1
                   ? &l->job_counts[place - 1]
                   : NULL;
}

uint64_t ledger_job_count(const struct ledger *l, const uint8_t job[LEDGER_ID_BYTES])
{
    const struct job_count *c = find_job(l, job);

    return c ? c->issued : 0;
}

struct ledger_counts ledger_counts(const struct ledger *l)
{
    return l->counts;
}

const struct ledger_revoked *ledger_revoked(const struct ledger *l, size_t *ret_count)
{
    *ret_count = l->revoked_count;
    return l->revoked;
}

bool ledger_is_revoked(const struct ledger *l, const uint8_t serial[CERT_SERIAL_BYTES])
{
    for (size_t i = 0; i < l->revoked_count; i++)
        if (memcmp(l->revoked[i].serial, serial, CERT_SERIAL_BYTES) == 0)
            return true;
    return false;
}

uint64_t ledger_crl_number(const struct ledger *l)
{
    return l->crl_number;
}

/* ---- the index in memory */

/* Room for `entries` more, before anything is written: what is durable must also be found. */
static int index_reserve(struct ledger *l, size_t entries, struct err *e)
{
    if (l->job_count + entries > l->job_cap) {
        size_t cap = l->job_cap + l->job_cap / 2 + entries;
        struct job_count *grown = reallocarray(l->job_counts, cap, sizeof *grown);

        if (!grown)
            return err_set(e, ERR_NOMEM, "no memory for the ledger's index");
        l->job_counts = grown;
        l->job_cap = cap;
    }
    if (l->revoked_count + entries > l->revoked_cap) {
        size_t cap = l->revoked_cap + l->revoked_cap / 2 + entries;
        struct ledger_revoked *grown = reallocarray(l->revoked, cap, sizeof *grown);

        if (!grown)
            return err_set(e, ERR_NOMEM, "no memory for the ledger's index");
        l->revoked = grown;
        l->revoked_cap = cap;
    }
    if (ledger_index_reserve(&l->devices, entries, e) < 0 ||
            ledger_index_reserve(&l->keys, entries, e) < 0 ||
            ledger_index_reserve(&l->jobs, entries, e) < 0)
        return -1;
    return 0;
}

static void index_entry(struct ledger *l, const struct ledger_entry *entry, uint64_t place)
{
    struct job_count *c;

    if (entry->type == LEDGER_REFUSED) {
        l->counts.refused++;
        return;
    }
    if (entry->type == LEDGER_REVOKED) {
        struct ledger_revoked *v = &l->revoked[l->revoked_count++];

        *v = (struct ledger_revoked){.reason = entry->reason, .time_ms = entry->time_ms};
        memcpy(v->ca, entry->tail.bytes, sizeof v->ca);
        memcpy(v->serial, entry->serial, sizeof v->serial);
        l->counts.revoked++;
        return;
    }
    if (entry->type == LEDGER_CRL) {
        l->crl_number = entry->row > l->crl_number ? entry->row : l->crl_number;
        return;
    }
    l->counts.issued++;
    ledger_index_add(&l->devices, entry->device, place);
    ledger_index_add(&l->keys, entry->spki_sha256, place);
    c = find_job(l, entry->job);
    if (!c) {
        c = &l->job_counts[l->job_count++];
        *c = (struct job_count){0};
        memcpy(c->job, entry->job, LEDGER_ID_BYTES);
        ledger_index_add(&l->jobs, entry->job, l->job_count);
    }
    c->issued++;
}

/* place: of the payload in the file. */
static int index_payload(struct ledger *l, const uint8_t *payload, size_t len, uint64_t entries,
        uint64_t place, struct err *e)
{
    struct ledger_entry entry;
    size_t at = 0;

    if (entries > len / ENTRY_FIXED || place + len > LEDGER_INDEX_PLACE_MAX)
        return damaged(l, place, "a group says it has more entries than it can hold", e);
    if (index_reserve(l, (size_t)entries, e) < 0)
        return -1;
    for (; entries; entries--) {
        if (len - at < ENTRY_FIXED || entry_decode(payload + at, &entry) < 0 ||
                entry.tail.len > len - at - ENTRY_FIXED)
            return damaged(l, place + at, "this is not an entry", e);
        entry.tail.bytes = payload + at + ENTRY_FIXED;
        index_entry(l, &entry, place + at);
        at += ENTRY_FIXED + entry.tail.len;
    }
    return at == len ? 0 : damaged(l, place + at, "a group has bytes behind its last entry", e);
}

/* ---- reading the file */

static bool all_zero(const uint8_t *bytes, size_t len)
{
    while (len && !*bytes)
        bytes++, len--;
    return len == 0;
}

/* A power cut may leave sectors of the last group unwritten, and an unwritten sector behind the old
 * end of the file reads as zeros. Entries never hold 512 zero bytes, so such a sector tells an
 * append that was cut off from later damage. */
static bool has_unwritten_sector(const uint8_t *bytes, size_t len, uint64_t place)
{
    size_t at = (size_t)((SECTOR - place % SECTOR) % SECTOR);

    for (; at < len; at += SECTOR)
        if (all_zero(bytes + at, len - at < SECTOR ? len - at : SECTOR))
            return true;
    return false;
}

enum group_state { GROUP_GOOD, GROUP_TORN, GROUP_BAD };

/* Reads the group at l->size into g. left: bytes from there to the end of the file, at least 1. */
static int read_group(
        struct ledger *l, uint64_t left, struct buf *g, enum group_state *ret, struct err *e)
{
    uint8_t header[GROUP_HEADER], hash[HASH], *at;
    uint64_t total;

    *ret = GROUP_TORN;
    buf_reset(g);
    if (left < GROUP_HEADER)
        return 0;
    if (read_at(l, l->size, header, sizeof header, e) < 0 ||
            chain_hash(l, header, GROUP_FACTS, hash, e) < 0)
        return -1;
    total = GROUP_HEADER + get_be(header + 4, 4) + HASH;
    if (memcmp(hash, header + GROUP_FACTS, CHECK) != 0 ||
            memcmp(header, group_magic, sizeof group_magic) != 0 || total > GROUP_BYTES_MAX) {
        /* only a group whose every byte is still unwritten may have no header */
        size_t rest = left < GROUP_BYTES_MAX ? (size_t)left : 0;

        *ret = GROUP_BAD;
        if (!rest || buf_reserve(g, rest, &at, e) < 0 || read_at(l, l->size, at, rest, e) < 0)
            return rest ? -1 : 0;
        if (all_zero(at, rest))
            *ret = GROUP_TORN;
        return 0;
    }
    if (total > left)
        return 0;
    if (buf_reserve(g, (size_t)total, &at, e) < 0 || read_at(l, l->size, at, (size_t)total, e) < 0)
        return -1;
    g->len = (size_t)total;
    if (chain_hash(l, at, g->len - HASH, hash, e) < 0)
        return -1;
    if (memcmp(hash, at + g->len - HASH, HASH) == 0)
        *ret = GROUP_GOOD;
    else if (total < left || !has_unwritten_sector(at, g->len, l->size))
        *ret = GROUP_BAD;
    return 0;
}

static int cut_off(struct ledger *l, uint64_t left, struct err *e)
{
    log_warning("ledger-tail-cut-off", LOG_STR("file", l->path), LOG_NUM("at", l->size),
            LOG_NUM("bytes", left));
    if (ftruncate(l->fd, (off_t)l->size) < 0 || fsync(l->fd) < 0)
        return err_set_errno(e, errno, "cut off the unfinished end of %s", l->path);
    return 0;
}

static int read_groups(struct ledger *l, uint64_t file_size, struct err *e)
{
    struct buf g = BUF_INIT;
    enum group_state state;
    int r = -1;

    while (l->size < file_size) {
        if (read_group(l, file_size - l->size, &g, &state, e) < 0)
            goto out;
        if (state == GROUP_BAD) {
            damaged(l, l->size, "the chain of hashes is broken", e);
            goto out;
        }
        if (state == GROUP_TORN) {
            r = cut_off(l, file_size - l->size, e);
            goto out;
        }
        if (index_payload(l, g.data + GROUP_HEADER, g.len - GROUP_HEADER - HASH,
                    get_be(g.data + 8, 4), l->size + GROUP_HEADER, e) < 0)
            goto out;
        memcpy(l->chain, g.data + g.len - HASH, HASH);
        l->size += g.len;
        l->counts.groups++;
    }
    r = 0;
out:
    buf_done(&g);
    return r;
}

static int sync_directory(const char *path, struct err *e)
{
    char *dir = strdup(path), *slash = dir ? strrchr(dir, '/') : NULL;
    int fd, r = 0;

    if (!dir)
        return err_set(e, ERR_NOMEM, "no memory for a path");
    if (slash)
        *slash = '\0';
    fd = open(slash ? (*dir ? dir : "/") : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        r = err_set_errno(e, errno, "sync the directory of %s", path);
    if (fd >= 0)
        close(fd);
    free(dir);
    return r;
}

static int start_file(struct ledger *l, uint8_t header[FILE_HEADER], struct err *e)
{
    memcpy(header, file_magic, sizeof file_magic);
    if (RAND_bytes(header + sizeof file_magic, FILE_HEADER - sizeof file_magic) != 1)
        return err_set(e, ERR_IO, "the system gives no random bytes");
    if (ftruncate(l->fd, 0) < 0 || pwrite(l->fd, header, FILE_HEADER, 0) != FILE_HEADER ||
            fsync(l->fd) < 0)
        return err_set_errno(e, errno, "create %s", l->path);
    return sync_directory(l->path, e);
}

static int read_file(struct ledger *l, struct err *e)
{
    uint8_t header[FILE_HEADER] = {0};
    struct stat st;

    if (fstat(l->fd, &st) < 0)
        return err_set_errno(e, errno, "look at %s", l->path);
    /* shorter than its header: created, and then the power went; nothing was ever acknowledged */
    if (st.st_size < FILE_HEADER) {
        if (read_at(l, 0, header, (size_t)st.st_size, e) < 0)
            return -1;
        if (memcmp(header, file_magic,
                    (size_t)st.st_size < sizeof file_magic ? (size_t)st.st_size
                                                           : sizeof file_magic) &&
                !all_zero(header, (size_t)st.st_size))
            return damaged(l, 0, "this is not a ledger", e);
        if (start_file(l, header, e) < 0)
            return -1;
        st.st_size = FILE_HEADER;
    } else if (read_at(l, 0, header, FILE_HEADER, e) < 0) {
        return -1;
    } else if (memcmp(header, file_magic, sizeof file_magic) != 0) {
        return damaged(l, 0, "this is not a ledger, or one of a newer Keyline", e);
    }
    if (EVP_Digest(header, FILE_HEADER, l->chain, NULL, EVP_sha256(), NULL) != 1)
        return err_set(e, ERR_NOMEM, "no digest can be made");
    l->size = FILE_HEADER;
    if (read_groups(l, (uint64_t)st.st_size, e) < 0)
        return -1;
    /* A signer that was killed between write and sync left a group that is only in the kernel's
     * memory: what is answered from it now must survive a power cut, too. */
    if (fdatasync(l->fd) < 0)
        return err_set_errno(e, errno, "sync %s", l->path);
    return 0;
}

int ledger_open(const char *path, struct ledger **ret, struct err *e)
{
    static const uint8_t room[GROUP_HEADER];
    struct ledger *l = calloc(1, sizeof *l);

    if (!l)
        return err_set(e, ERR_NOMEM, "no memory for the ledger");
    l->fd = -1;
    l->path = strdup(path);
    l->md = EVP_MD_CTX_new();
    if (!l->path || !l->md) {
        err_set(e, ERR_NOMEM, "no memory for the ledger");
        goto fail;
    }
    if (ledger_index_init(&l->devices, e) < 0 || ledger_index_init(&l->keys, e) < 0 ||
            ledger_index_init(&l->jobs, e) < 0 || buf_append(&l->group, room, sizeof room, e) < 0)
        goto fail;
    l->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (l->fd < 0) {
        err_set_errno(e, errno, "open the ledger %s", path);
        goto fail;
    }
    if (flock(l->fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK)
            err_set(e, ERR_BAD_STATE, "%s is in use: another signerd runs", path);
        else
            err_set_errno(e, errno, "lock %s", path);
        goto fail;
    }
    if (read_file(l, e) < 0)
        goto fail;
    *ret = l;
    return 0;
fail:
    ledger_close(&l);
    return -1;
}

void ledger_close(struct ledger **pl)
{
    struct ledger *l = *pl;

    if (!l)
        return;
    if (l->fd >= 0)
        close(l->fd);
    ledger_index_done(&l->devices);
    ledger_index_done(&l->keys);
    ledger_index_done(&l->jobs);
    buf_done(&l->group);
    EVP_MD_CTX_free(l->md);
    free(l->job_counts);
    free(l->revoked);
    free(l->path);
    free(l);
    *pl = NULL;
}

/* ---- writing */

int ledger_add(struct ledger *l, const struct ledger_entry *entry, struct err *e)
{
    size_t before = l->group.len;

    if (l->broken)
        return err_set(e, ERR_LEDGER, "%s: a write could not be made durable; restart the signer",
                l->path);
    if (before + ENTRY_FIXED + entry->tail.len + HASH > GROUP_BYTES_MAX)
        return err_set(e, ERR_UNAVAILABLE, "too many certificates wait for the disk");
    if (entry_encode(entry, &l->group, e) < 0) {
        l->group.len = before;
        return -1;
    }
    l->waiting++;
    return 0;
}

bool ledger_usable(const struct ledger *l)
{
    return !l->broken;
}

size_t ledger_waiting(const struct ledger *l)
{
    return l->waiting;
}

/* Turns the waiting entries into a whole group in l->group; hash: its chain value. */
static int finish_group(struct ledger *l, uint8_t hash[HASH], struct err *e)
{
    uint8_t *header = l->group.data;

    memcpy(header, group_magic, sizeof group_magic);
    put_be(header + 4, 4, l->group.len - GROUP_HEADER);
    put_be(header + 8, 4, l->waiting);
    put_be(header + 12, 4, 0);
    if (chain_hash(l, header, GROUP_FACTS, hash, e) < 0)
        return -1;
    memcpy(header + GROUP_FACTS, hash, CHECK);
    if (chain_hash(l, header, l->group.len, hash, e) < 0)
        return -1;
    return buf_append(&l->group, hash, HASH, e);
}

static int write_group(struct ledger *l, struct err *e)
{
    size_t done = 0;
    int cause;

    while (done < l->group.len) {
        ssize_t n =
                pwrite(l->fd, l->group.data + done, l->group.len - done, (off_t)(l->size + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        done += (size_t)n;
    }
    if (done == l->group.len && fdatasync(l->fd) == 0)
        return 0;
    cause = errno;
    /* A failed write is undone. So is one whose sync failed: its pages still read as if they were on
     * the disk, and a restart would believe them. Only that restart can go on, because the kernel
     * tells of a failed sync once and then forgets. */
    if (ftruncate(l->fd, (off_t)l->size) < 0 || done == l->group.len)
        l->broken = 1;
    return err_set_errno(e, cause, "write the ledger %s", l->path);
}

int ledger_commit(struct ledger *l, struct err *e)
{
    size_t payload_len = l->group.len - GROUP_HEADER;
    uint8_t hash[HASH];
    int r = -1;

    if (!l->waiting)
        return 0;
    if (l->broken) {
        err_set(e, ERR_LEDGER, "%s: a write could not be made durable; restart the signer",
                l->path);
        goto out;
    }
    if (index_reserve(l, l->waiting, e) < 0 || finish_group(l, hash, e) < 0 ||
            write_group(l, e) < 0)
        goto out;
    /* cannot fail: this process wrote the payload, and room is reserved */
    r = index_payload(
            l, l->group.data + GROUP_HEADER, payload_len, l->waiting, l->size + GROUP_HEADER, e);
    memcpy(l->chain, hash, HASH);
    l->size += l->group.len;
    l->counts.groups++;
out:
    l->group.len = GROUP_HEADER;
    l->waiting = 0;
    return r;
}
