/* The ledger's file. Promises that a group is there whole or not at all, and that nothing is read
 * past damage, repaired or replaced. Must not write anything but whole groups at the end. */
#include "hsm/ledger/ledger_file.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "hsm/ledger/ledger_index.h"

enum {
    CHECK = 8,
    GROUP_FACTS = LEDGER_GROUP_HEADER - CHECK,
    SECTOR = 512,
    LOCK_TRIES = 50,
    LOCK_PAUSE_NS = 10000000, /* half a second in all */
};
static const uint8_t file_magic[16] = "KEYLINE-LEDGER\n\2"; /* the last byte: the format */
static const uint8_t group_magic[4] = "KLG2";

/* SHA-256(chain || bytes) */
static int chain_hash(const struct ledger_file *f, const uint8_t chain[LEDGER_HASH_BYTES],
        const uint8_t *bytes, size_t len, uint8_t ret[LEDGER_HASH_BYTES], struct err *e)
{
    if (EVP_DigestInit_ex(f->md, EVP_sha256(), NULL) != 1 ||
            EVP_DigestUpdate(f->md, chain, LEDGER_HASH_BYTES) != 1 ||
            EVP_DigestUpdate(f->md, bytes, len) != 1 || EVP_DigestFinal_ex(f->md, ret, NULL) != 1)
        return err_set(e, ERR_NOMEM, "no digest can be made");
    return 0;
}

int ledger_file_damaged(const struct ledger_file *f, uint64_t at, const char *what, struct err *e)
{
    return err_set(
            e, ERR_LEDGER, "%s: damaged at byte %llu: %s", f->path, (unsigned long long)at, what);
}

int ledger_file_read(
        const struct ledger_file *f, uint64_t at, void *bytes, size_t len, struct err *e)
{
    uint8_t *to = bytes;

    while (len) {
        ssize_t n = pread(f->fd, to, len, (off_t)at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(e, errno, "read %s", f->path);
        if (n == 0)
            return ledger_file_damaged(f, at, "it ends here", e);
        to += n, at += (uint64_t)n, len -= (size_t)n;
    }
    return 0;
}

int ledger_file_size(const struct ledger_file *f, uint64_t *ret, struct err *e)
{
    struct stat st;

    if (fstat(f->fd, &st) < 0)
        return err_set_errno(e, errno, "look at %s", f->path);
    *ret = (uint64_t)st.st_size;
    return 0;
}

/* ---- reading groups */

int ledger_file_head(
        const struct ledger_file *f, uint64_t at, struct ledger_head *ret, struct err *e)
{
    if (at <= f->start.at) {
        *ret = f->start;
        return 0;
    }
    ret->at = at;
    return ledger_file_read(f, at - LEDGER_HASH_BYTES, ret->chain, LEDGER_HASH_BYTES, e);
}

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

/* A group without a header may only be one whose every byte is still unwritten. */
static int look_for_nothing(const struct ledger_file *f, uint64_t at, uint64_t left, struct buf *g,
        enum ledger_group_state *ret, struct err *e)
{
    uint8_t *bytes;

    *ret = LEDGER_GROUP_BAD;
    if (left >= LEDGER_GROUP_BYTES_MAX)
        return 0;
    if (buf_reserve(g, (size_t)left, &bytes, e) < 0 ||
            ledger_file_read(f, at, bytes, (size_t)left, e) < 0)
        return -1;
    if (all_zero(bytes, (size_t)left))
        *ret = LEDGER_GROUP_TORN;
    return 0;
}

static int open_group(const struct ledger_file *f, const struct buf *g, uint64_t at,
        const uint8_t digest[LEDGER_DIGEST_BYTES], struct ledger_group *ret, struct err *e)
{
    *ret = (struct ledger_group){
            .payload = g->data + LEDGER_GROUP_HEADER,
            .len = g->len - LEDGER_GROUP_HEADER - LEDGER_GROUP_END,
            .entries = ledger_get_be(g->data + 8, 4),
            .place = at + LEDGER_GROUP_HEADER,
    };
    memcpy(ret->digest, digest, sizeof ret->digest);
    memcpy(ret->signature, ret->payload + ret->len, sizeof ret->signature);
    if (ret->entries > ret->len / LEDGER_ENTRY_FIXED ||
            ret->place + ret->len > LEDGER_INDEX_PLACE_MAX)
        return ledger_file_damaged(
                f, ret->place, "a group says it has more entries than it can hold", e);
    return 0;
}

int ledger_file_group(const struct ledger_file *f, struct ledger_head *head, uint64_t size,
        struct buf *g, struct ledger_group *ret, enum ledger_group_state *ret_state, struct err *e)
{
    uint8_t header[LEDGER_GROUP_HEADER], hash[LEDGER_HASH_BYTES], digest[LEDGER_DIGEST_BYTES], *at;
    uint64_t left = size - head->at, total;

    *ret_state = LEDGER_GROUP_TORN;
    buf_reset(g);
    if (left < LEDGER_GROUP_HEADER)
        return 0;
    if (ledger_file_read(f, head->at, header, sizeof header, e) < 0 ||
            chain_hash(f, head->chain, header, GROUP_FACTS, hash, e) < 0)
        return -1;
    total = LEDGER_GROUP_HEADER + ledger_get_be(header + 4, 4) + LEDGER_GROUP_END;
    if (memcmp(hash, header + GROUP_FACTS, CHECK) != 0 ||
            memcmp(header, group_magic, sizeof group_magic) != 0 || total > LEDGER_GROUP_BYTES_MAX)
        return look_for_nothing(f, head->at, left, g, ret_state, e);
    if (total > left)
        return 0;
    if (buf_reserve(g, (size_t)total, &at, e) < 0 ||
            ledger_file_read(f, head->at, at, (size_t)total, e) < 0)
        return -1;
    g->len = (size_t)total;
    if (chain_hash(f, head->chain, at, g->len - LEDGER_GROUP_END, digest, e) < 0 ||
            chain_hash(f, digest, at + g->len - LEDGER_GROUP_END, LEDGER_SIGNATURE_BYTES, hash, e) <
                    0)
        return -1;
    if (memcmp(hash, at + g->len - LEDGER_HASH_BYTES, LEDGER_HASH_BYTES) != 0) {
        if (total < left || !has_unwritten_sector(at, g->len, head->at))
            *ret_state = LEDGER_GROUP_BAD;
        return 0;
    }
    if (open_group(f, g, head->at, digest, ret, e) < 0)
        return -1;
    *ret_state = LEDGER_GROUP_GOOD;
    memcpy(head->chain, hash, sizeof hash);
    head->at += total;
    return 0;
}

/* ---- opening */

int ledger_file_cut(struct ledger_file *f, uint64_t size, struct err *e)
{
    log_warning("ledger-tail-cut-off", LOG_STR("file", f->path), LOG_NUM("at", f->end.at),
            LOG_NUM("bytes", size - f->end.at));
    if (ftruncate(f->fd, (off_t)f->end.at) < 0 || fsync(f->fd) < 0)
        return err_set_errno(e, errno, "cut off the unfinished end of %s", f->path);
    return 0;
}

int ledger_file_sync(struct ledger_file *f, struct err *e)
{
    return fdatasync(f->fd) < 0 ? err_set_errno(e, errno, "sync %s", f->path) : 0;
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

static int start_file(struct ledger_file *f, uint8_t header[LEDGER_FILE_HEADER], struct err *e)
{
    memcpy(header, file_magic, sizeof file_magic);
    if (RAND_bytes(header + sizeof file_magic, LEDGER_FILE_HEADER - sizeof file_magic) != 1)
        return err_set(e, ERR_IO, "the system gives no random bytes");
    if (ftruncate(f->fd, 0) < 0 ||
            pwrite(f->fd, header, LEDGER_FILE_HEADER, 0) != LEDGER_FILE_HEADER || fsync(f->fd) < 0)
        return err_set_errno(e, errno, "create %s", f->path);
    return sync_directory(f->path, e);
}

static int use_header(
        struct ledger_file *f, const uint8_t header[LEDGER_FILE_HEADER], struct err *e)
{
    size_t format = sizeof file_magic - 1;

    if (memcmp(header, file_magic, format) != 0)
        return ledger_file_damaged(f, 0, "this is not a ledger", e);
    if (header[format] != file_magic[format])
        return err_set(e, ERR_LEDGER, "%s: a ledger of format %u; this Keyline reads %u alone",
                f->path, header[format], file_magic[format]);
    if (EVP_Digest(header, LEDGER_FILE_HEADER, f->start.chain, NULL, EVP_sha256(), NULL) != 1)
        return err_set(e, ERR_NOMEM, "no digest can be made");
    f->start.at = LEDGER_FILE_HEADER;
    f->end = f->start;
    return 0;
}

static int read_header(struct ledger_file *f, struct err *e)
{
    uint8_t header[LEDGER_FILE_HEADER] = {0};
    uint64_t size;

    if (ledger_file_size(f, &size, e) < 0)
        return -1;
    /* shorter than its header: created, and then the power went; nothing was ever acknowledged */
    if (size < LEDGER_FILE_HEADER) {
        size_t magic = size < sizeof file_magic ? (size_t)size : sizeof file_magic;

        if (ledger_file_read(f, 0, header, (size_t)size, e) < 0)
            return -1;
        if (memcmp(header, file_magic, magic) != 0 && !all_zero(header, (size_t)size))
            return ledger_file_damaged(f, 0, "this is not a ledger", e);
        if (start_file(f, header, e) < 0)
            return -1;
    } else if (ledger_file_read(f, 0, header, sizeof header, e) < 0) {
        return -1;
    }
    return use_header(f, header, e);
}

int ledger_file_open_read(struct ledger_file *f, const char *path, struct err *e)
{
    uint8_t header[LEDGER_FILE_HEADER];

    *f = (struct ledger_file){.fd = -1, .path = strdup(path), .md = EVP_MD_CTX_new()};
    if (!f->path || !f->md)
        return err_set(e, ERR_NOMEM, "no memory for the ledger");
    f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (f->fd < 0 && errno == ENOENT)
        return err_set(e, ERR_NOT_FOUND, "there is no ledger at %s", path);
    if (f->fd < 0)
        return err_set_errno(e, errno, "open the ledger %s", path);
    return ledger_file_read(f, 0, header, sizeof header, e) < 0 ? -1 : use_header(f, header, e);
}

/* A signer that was killed in the moment of starting a worker leaves a process that holds its files
 * until it has become that worker. */
static int take_lock(const struct ledger_file *f, struct err *e)
{
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE_NS};
    int tries = LOCK_TRIES;

    while (flock(f->fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK)
            return err_set_errno(e, errno, "lock %s", f->path);
        if (--tries == 0)
            return err_set(e, ERR_BAD_STATE, "%s is in use: another signerd runs", f->path);
        nanosleep(&pause, NULL);
    }
    return 0;
}

int ledger_file_open(struct ledger_file *f, const char *path, struct err *e)
{
    *f = (struct ledger_file){.fd = -1, .path = strdup(path), .md = EVP_MD_CTX_new()};
    if (!f->path || !f->md)
        return err_set(e, ERR_NOMEM, "no memory for the ledger");
    f->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (f->fd < 0)
        return err_set_errno(e, errno, "open the ledger %s", path);
    return take_lock(f, e) < 0 || ledger_writer_new(&f->writer, e) < 0 ? -1 : read_header(f, e);
}

void ledger_file_close(struct ledger_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    EVP_MD_CTX_free(f->md);
    ledger_writer_free(&f->writer);
    free(f->path);
    *f = (struct ledger_file){.fd = -1};
}

/* ---- writing */

/* Turns header room and payload into a whole, signed group; hash: its chain value. */
static int finish_group(const struct ledger_file *f, struct buf *group, size_t entries,
        uint8_t hash[LEDGER_HASH_BYTES], struct err *e)
{
    uint8_t *header = group->data, digest[LEDGER_DIGEST_BYTES], signature[LEDGER_SIGNATURE_BYTES];

    memcpy(header, group_magic, sizeof group_magic);
    ledger_put_be(header + 4, 4, group->len - LEDGER_GROUP_HEADER);
    ledger_put_be(header + 8, 4, entries);
    ledger_put_be(header + 12, 4, 0);
    if (chain_hash(f, f->end.chain, header, GROUP_FACTS, hash, e) < 0)
        return -1;
    memcpy(header + GROUP_FACTS, hash, CHECK);
    if (chain_hash(f, f->end.chain, header, group->len, digest, e) < 0 ||
            ledger_writer_sign(f->writer, digest, signature, e) < 0 ||
            chain_hash(f, digest, signature, sizeof signature, hash, e) < 0 ||
            buf_append(group, signature, sizeof signature, e) < 0)
        return -1;
    return buf_append(group, hash, LEDGER_HASH_BYTES, e);
}

static int write_group(struct ledger_file *f, const struct buf *group, struct err *e)
{
    size_t done = 0;
    int cause;

    while (done < group->len) {
        ssize_t n = pwrite(f->fd, group->data + done, group->len - done, (off_t)(f->end.at + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        done += (size_t)n;
    }
    if (done == group->len && fdatasync(f->fd) == 0)
        return 0;
    cause = errno;
    /* A failed write is undone. So is one whose sync failed: its pages still read as if they were on
     * the disk, and a restart would believe them. Only that restart can go on, because the kernel
     * tells of a failed sync once and then forgets. */
    if (ftruncate(f->fd, (off_t)f->end.at) < 0 || done == group->len)
        f->broken = true;
    return err_set_errno(e, cause, "write the ledger %s", f->path);
}

int ledger_file_append(struct ledger_file *f, struct buf *group, size_t entries, struct err *e)
{
    uint8_t hash[LEDGER_HASH_BYTES];

    if (f->broken)
        return err_set(e, ERR_LEDGER, "%s: a write could not be made durable; restart the signer",
                f->path);
    if (finish_group(f, group, entries, hash, e) < 0 || write_group(f, group, e) < 0)
        return -1;
    memcpy(f->end.chain, hash, sizeof hash);
    f->end.at += group->len;
    return 0;
}
