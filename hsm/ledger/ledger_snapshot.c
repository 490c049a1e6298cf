/* The index file. Promises that no byte of it is believed before it was checked: the front when it is
 * opened, a page whenever it is read. Must not change a file it reads. */
#include "hsm/ledger/ledger_snapshot.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/err.h"
#include "hsm/ledger/ledger_file.h"
#include "hsm/ledger/ledger_index.h"
#include "hsm/ledger/ledger_seals.h"
#include "hsm/ledger/ledger_tally.h"

#define PAGE_CELLS 128
#define PAGE_SUM   16
#define OUR_ORDER  UINT64_C(0x0102030405060708)
/* 16 GB of ledger have a front of 12 MB; a larger one is not ours */
#define FRONT_BYTES_MAX (256u << 20)

static const char magic[16] = "KEYLINE-INDEX\n\2"; /* the last byte: change it with what is below */

struct front {
    char magic[16];
    uint64_t order;
    uint8_t start[LEDGER_HASH_BYTES]; /* the chain behind the ledger's header: which ledger it is */
    uint64_t end;                     /* how far the ledger is in here */
    uint8_t chain[LEDGER_HASH_BYTES]; /* and its chain there */
    uint64_t issued;                  /* in it */
    uint64_t sums;                    /* bytes of them */
    uint64_t seed[LEDGER_TABLES][2], cells[LEDGER_TABLES];
};
struct cell {
    uint64_t cell, seal;
};
struct page {
    uint64_t first; /* the lowest cell in it */
    uint8_t sum[PAGE_SUM];
};
struct table {
    uint64_t offset, cells;
    size_t pages;
    const struct page *page; /* in the front */
};
struct ledger_snapshot {
    int fd;
    struct buf bytes; /* the front with all that belongs to it */
    struct front front;
    struct table table[LEDGER_TABLES];
    uint8_t digest[LEDGER_INDEX_DIGEST];
    bool damaged;
};

static size_t page_count(uint64_t cells)
{
    return (size_t)((cells + PAGE_CELLS - 1) / PAGE_CELLS);
}

/* Everything before the tables, its digest with it. 0: this cannot be. */
static size_t front_size(const struct front *f)
{
    uint64_t parts[] = {f->sums, f->cells[0], f->cells[1]};
    size_t n;

    if (f->sums % 8)
        return 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i] > LEDGER_INDEX_PLACE_MAX / LEDGER_ENTRY_FIXED)
            return 0;
    n = sizeof *f + f->sums + LEDGER_INDEX_DIGEST;
    for (int i = 0; i < LEDGER_TABLES; i++)
        n += page_count(f->cells[i]) * sizeof(struct page);
    return n <= FRONT_BYTES_MAX ? n : 0;
}

static int digest(const void *bytes, size_t len, uint8_t ret[32], struct err *e)
{
    return EVP_Digest(bytes, len, ret, NULL, EVP_sha256(), NULL) == 1
                   ? 0
                   : err_set(e, ERR_NOMEM, "no digest can be made");
}

/* ---- writing */

struct writer {
    int fd;
    uint64_t at;
    struct cell page[PAGE_CELLS];
    size_t filled;
    struct buf pages; /* struct page, of both tables */
    struct buf out;   /* not written yet */
};

static int write_all(int fd, const uint8_t *bytes, size_t len, uint64_t at, struct err *e)
{
    while (len) {
        ssize_t n = pwrite(fd, bytes, len, (off_t)at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(e, errno, "write the ledger's index");
        bytes += n, at += (uint64_t)n, len -= (size_t)n;
    }
    return 0;
}

static int flush(struct writer *w, size_t until, struct err *e)
{
    if (w->out.len < until || w->out.len == 0)
        return 0;
    if (write_all(w->fd, w->out.data, w->out.len, w->at, e) < 0)
        return -1;
    w->at += w->out.len;
    buf_reset(&w->out);
    return 0;
}

static int end_page(struct writer *w, struct err *e)
{
    struct page p = {.first = w->page[0].cell};
    uint8_t sum[32];

    if (w->filled == 0)
        return 0;
    if (digest(w->page, w->filled * sizeof *w->page, sum, e) < 0)
        return -1;
    memcpy(p.sum, sum, sizeof p.sum);
    if (buf_append(&w->pages, &p, sizeof p, e) < 0 ||
            buf_append(&w->out, w->page, w->filled * sizeof *w->page, e) < 0)
        return -1;
    w->filled = 0;
    return flush(w, 256u << 10, e);
}

static int put_cell(struct writer *w, struct cell cell, struct err *e)
{
    w->page[w->filled++] = cell;
    return w->filled == PAGE_CELLS ? end_page(w, e) : 0;
}

static int read_page(struct ledger_snapshot *s, enum ledger_table table, size_t i,
        struct cell ret[PAGE_CELLS], size_t *ret_count, struct err *e)
{
    const struct table *t = &s->table[table];
    uint64_t at = t->offset + (uint64_t)i * PAGE_CELLS * sizeof *ret;
    size_t count = i + 1 < t->pages ? PAGE_CELLS : (size_t)(t->cells - i * PAGE_CELLS);
    size_t len = count * sizeof *ret, done = 0;
    uint8_t sum[32];

    while (done < len) {
        ssize_t n = pread(s->fd, (uint8_t *)ret + done, len - done, (off_t)(at + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    if (digest(ret, done, sum, e) < 0)
        return -1;
    if (done < len || memcmp(sum, t->page[i].sum, PAGE_SUM) != 0) {
        s->damaged = true;
        return err_set(e, ERR_UNAVAILABLE,
                "the ledger's index is damaged at byte %llu: it is made anew",
                (unsigned long long)at);
    }
    *ret_count = count;
    return 0;
}

static int put_new(struct writer *w, const struct ledger_seals *seals, uint64_t cell, struct err *e)
{
    return put_cell(
            w, (struct cell){cell, ledger_seals_get(seals, cell & LEDGER_INDEX_PLACE_MAX)}, e);
}

/* The new cells, in rising order, among those of the base. */
static int merge(struct writer *w, const struct ledger_snapshot_parts *p, enum ledger_table table,
        struct err *e)
{
    size_t count = p->cells[table].used, at = 0, n;
    size_t base_pages = p->base ? p->base->table[table].pages : 0;
    uint64_t *cells = calloc(count + 1, sizeof *cells);
    struct cell page[PAGE_CELLS];
    int r = -1;

    if (!cells) {
        err_set(e, ERR_NOMEM, "no memory to write the ledger's index");
        goto out;
    }
    ledger_index_sorted(&p->cells[table], cells);
    for (size_t i = 0; i < base_pages; i++) {
        if (read_page(p->base, table, i, page, &n, e) < 0)
            goto out;
        for (size_t k = 0; k < n; k++) {
            for (; at < count && cells[at] < page[k].cell; at++)
                if (put_new(w, p->seals, cells[at], e) < 0)
                    goto out;
            if (put_cell(w, page[k], e) < 0)
                goto out;
        }
    }
    for (; at < count; at++)
        if (put_new(w, p->seals, cells[at], e) < 0)
            goto out;
    r = end_page(w, e);
out:
    free(cells);
    return r;
}

static int write_front(
        struct writer *w, const struct front *f, const struct buf *sums, struct err *e)
{
    uint8_t sum[LEDGER_INDEX_DIGEST];

    w->at = 0;
    if (buf_append(&w->out, f, sizeof *f, e) < 0 ||
            buf_append(&w->out, sums->data, sums->len, e) < 0 ||
            buf_append(&w->out, w->pages.data, w->pages.len, e) < 0 ||
            digest(w->out.data, w->out.len, sum, e) < 0 ||
            buf_append(&w->out, sum, sizeof sum, e) < 0)
        return -1;
    assert(w->out.len == front_size(f));
    return flush(w, 0, e);
}

int ledger_snapshot_write(int fd, const struct ledger_snapshot_parts *p, struct err *e)
{
    struct writer w = {.fd = fd};
    struct buf sums = BUF_INIT;
    struct front f;
    int r = -1;

    memset(&f, 0, sizeof f);
    memcpy(f.magic, magic, sizeof magic);
    f.order = OUR_ORDER;
    memcpy(f.start, p->file->start.chain, sizeof f.start);
    f.end = p->file->end.at;
    memcpy(f.chain, p->file->end.chain, sizeof f.chain);
    f.issued = p->tally->counts.issued;
    if (ledger_tally_encode(p->tally, &sums, e) < 0)
        goto out;
    f.sums = sums.len;
    for (int i = 0; i < LEDGER_TABLES; i++) {
        memcpy(f.seed[i], p->cells[i].seed, sizeof f.seed[i]);
        f.cells[i] = p->cells[i].used + (p->base ? p->base->table[i].cells : 0);
    }
    w.at = front_size(&f);
    if (w.at == 0)
        err_set(e, ERR_LIMIT, "the ledger is too large for an index");
    else if (merge(&w, p, LEDGER_BY_DEVICE, e) == 0 && merge(&w, p, LEDGER_BY_KEY, e) == 0 &&
             flush(&w, 0, e) == 0)
        r = write_front(&w, &f, &sums, e);
out:
    buf_done(&sums);
    buf_done(&w.pages);
    buf_done(&w.out);
    return r;
}

/* ---- opening */

static int useless(struct err *e, const char *path, const char *why)
{
    return err_set(e, ERR_LEDGER, "%s: %s", path, why);
}

static int read_front(struct ledger_snapshot *s, const char *path, struct err *e)
{
    uint8_t sum[LEDGER_INDEX_DIGEST], *at;
    struct stat st;
    size_t size;

    if (fstat(s->fd, &st) < 0)
        return err_set_errno(e, errno, "look at %s", path);
    if (pread(s->fd, &s->front, sizeof s->front, 0) != sizeof s->front ||
            memcmp(s->front.magic, magic, sizeof magic) != 0 || s->front.order != OUR_ORDER)
        return useless(e, path, "this is not an index that this Keyline made");
    size = front_size(&s->front);
    if (size == 0 || size + (s->front.cells[0] + s->front.cells[1]) * sizeof(struct cell) !=
                             (uint64_t)st.st_size)
        return useless(e, path, "it has a wrong size");
    if (buf_reserve(&s->bytes, size, &at, e) < 0)
        return -1;
    if (pread(s->fd, at, size, 0) != (ssize_t)size)
        return useless(e, path, "it cannot be read");
    s->bytes.len = size;
    size -= sizeof sum;
    if (digest(at, size, sum, e) < 0)
        return -1;
    memcpy(s->digest, at + size, sizeof s->digest);
    return memcmp(sum, s->digest, sizeof sum) == 0 ? 0 : useless(e, path, "it is damaged");
}

static int check_ledger(const struct ledger_snapshot *s, const char *path,
        const struct ledger_file *file, struct err *e)
{
    struct ledger_head head;
    uint64_t size;

    if (ledger_file_size(file, &size, e) < 0)
        return -1;
    if (memcmp(s->front.start, file->start.chain, sizeof s->front.start) != 0)
        return useless(e, path, "it is of another ledger");
    if (s->front.end > size)
        return useless(e, path, "it is ahead of the ledger");
    if (ledger_file_head(file, s->front.end, &head, e) < 0)
        return -1;
    return memcmp(head.chain, s->front.chain, sizeof head.chain) == 0
                   ? 0
                   : useless(e, path, "the ledger has another content there");
}

/* Where the parts of the checked front are. */
static void lay_out(struct ledger_snapshot *s)
{
    const struct front *f = &s->front;
    uint64_t offset = s->bytes.len;
    const uint8_t *at = s->bytes.data + sizeof *f + f->sums;

    for (int i = 0; i < LEDGER_TABLES; i++) {
        struct table *t = &s->table[i];

        *t = (struct table){
                .offset = offset, .cells = f->cells[i], .pages = page_count(f->cells[i])};
        t->page = (const void *)at;
        at += t->pages * sizeof *t->page;
        offset += t->cells * sizeof(struct cell);
    }
}

int ledger_snapshot_reopen(const char *path, const struct ledger_file *file,
        struct ledger_snapshot **ret, struct err *e)
{
    struct ledger_snapshot *s = calloc(1, sizeof *s);

    static_assert(sizeof(struct front) % 8 == 0 && sizeof(struct page) % 8 == 0, "aligned");
    if (!s)
        return err_set(e, ERR_NOMEM, "no memory for the ledger's index");
    s->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (s->fd < 0 && errno == ENOENT)
        err_set(e, ERR_NOT_FOUND, "%s is not there", path);
    else if (s->fd < 0)
        err_set_errno(e, errno, "open %s", path);
    else if (read_front(s, path, e) == 0 && check_ledger(s, path, file, e) == 0) {
        lay_out(s);
        *ret = s;
        return 0;
    }
    ledger_snapshot_close(&s);
    return -1;
}

int ledger_snapshot_open(const char *path, const struct ledger_file *file,
        struct ledger_tally *tally, struct ledger_index *tables, struct ledger_snapshot **ret,
        struct err *e)
{
    struct ledger_snapshot *s;

    if (ledger_snapshot_reopen(path, file, &s, e) < 0)
        return -1;
    if (ledger_tally_decode(tally, s->bytes.data + sizeof s->front, s->front.sums, e) < 0) {
        ledger_snapshot_close(&s);
        return -1;
    }
    for (int i = 0; i < LEDGER_TABLES; i++)
        memcpy(tables[i].seed, s->front.seed[i], sizeof tables[i].seed);
    *ret = s;
    return 0;
}

void ledger_snapshot_close(struct ledger_snapshot **ps)
{
    struct ledger_snapshot *s = *ps;

    if (!s)
        return;
    if (s->fd >= 0)
        close(s->fd);
    buf_done(&s->bytes);
    free(s);
    *ps = NULL;
}

/* ---- look-ups */

uint64_t ledger_snapshot_end(const struct ledger_snapshot *s)
{
    return s->front.end;
}

bool ledger_snapshot_damaged(const struct ledger_snapshot *s)
{
    return s->damaged;
}

uint64_t ledger_snapshot_issued(const struct ledger_snapshot *s)
{
    return s->front.issued;
}

const uint8_t *ledger_snapshot_digest(const struct ledger_snapshot *s)
{
    return s->digest;
}

/* The last page that begins at or below this cell, or the first. */
static size_t find_page(const struct table *t, uint64_t cell)
{
    size_t low = 0, high = t->pages;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (t->page[middle].first <= cell)
            low = middle;
        else
            high = middle;
    }
    return low;
}

int ledger_snapshot_each(struct ledger_snapshot *s, enum ledger_table table, uint64_t hash,
        ledger_cell_fn fn, void *ctx, struct err *e)
{
    const struct table *t = &s->table[table];
    uint64_t lowest = LEDGER_INDEX_CELL(hash, 0),
             highest = LEDGER_INDEX_CELL(hash, LEDGER_INDEX_PLACE_MAX);
    struct cell cells[PAGE_CELLS];
    size_t count;
    int r = 0;

    if (t->pages == 0)
        return 0;
    for (size_t i = find_page(t, highest) + 1; i-- > 0 && r == 0;) {
        if (read_page(s, table, i, cells, &count, e) < 0)
            return -1;
        while (count && r == 0 && cells[count - 1].cell >= lowest)
            if (cells[--count].cell <= highest)
                r = fn(ctx, cells[count].cell & LEDGER_INDEX_PLACE_MAX, cells[count].seal, e);
        if (count)
            break;
    }
    return r;
}
