/* The ledger: what was committed is found after any cut of the last write; damage anywhere else is
 * refused. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "hsm/ledger/ledger.h"
#include "hsm/ledger/ledger_index.h"
#include "hsm/ledger/ledger_scrub.h"
#include "tests/hsm/help.h"

static char dir[64], path[128];

/* The disk's part: how far the file was synced, and whether the next sync fails. Nothing is really synced: no power is cut
 * here, and thousands of syncs take minutes. */
static off_t synced_bytes;
static int sync_fails;
int __wrap_fdatasync(int fd);

int __wrap_fdatasync(int fd)
{
    struct stat st;

    if (sync_fails) {
        errno = EIO;
        return -1;
    }
    assert_int_equal(fstat(fd, &st), 0);
    synced_bytes = st.st_size;
    return 0;
}

static int setup(void **state)
{
    (void)state;
    help_mkdir(dir);
    snprintf(path, sizeof path, "%s/ledger", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    help_rmdir(dir);
    return 0;
}

static struct ledger_entry entry(unsigned n, char *tail, size_t len)
{
    struct ledger_entry x = {
            .type = LEDGER_ISSUED, .row = n, .time_ms = 1000 + n, .tail = {(uint8_t *)tail, len}};

    x.job[0] = (uint8_t)(n % 3 + 1);
    memcpy(x.device, &n, sizeof n);
    x.device[15] = 1;
    memcpy(x.spki_sha256 + 4, &n, sizeof n);
    x.spki_sha256[31] = 1;
    memset(x.serial, (int)n, sizeof x.serial);
    snprintf(tail, len, "certificate %u", n);
    return x;
}

static void add(struct ledger *l, unsigned n, size_t len)
{
    char tail[4096] = {0};
    struct ledger_entry x;
    struct err e = {0};

    memset(tail, 'x', sizeof tail);
    x = entry(n, tail, len);
    ok(ledger_add(l, &x, &e));
}

static int has(struct ledger *l, unsigned n)
{
    char tail[64], wanted[64];
    struct ledger_entry x = entry(n, tail, sizeof tail), got;
    struct buf cert = BUF_INIT;
    struct err e = {0};
    int by_device = ledger_find_device(l, x.device, &got, &cert, &e), by_key;

    ok(by_device);
    if (by_device) {
        assert_int_equal(got.row, n);
        assert_memory_equal(got.spki_sha256, x.spki_sha256, 32);
        snprintf(wanted, sizeof wanted, "certificate %u", n);
        assert_memory_equal(cert.data, wanted, strlen(wanted) + 1);
    }
    by_key = ledger_find_key(l, x.spki_sha256, &got, &e);
    ok(by_key);
    assert_int_equal(by_device, by_key);
    buf_done(&cert);
    return by_device;
}

static struct ledger *reopen(void)
{
    struct ledger *l;
    struct err e = {0};

    ok(ledger_open(path, &l, &e));
    return l;
}

static void write_file(const void *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_int_equal(write(fd, bytes, len), len);
    close(fd);
}

static void committed_is_found(void **state)
{
    struct err e = {0};
    struct ledger *l = reopen(), *second;
    uint8_t job[LEDGER_ID_BYTES] = {1};

    (void)state;
    add(l, 1, 900);
    add(l, 2, 64);
    assert_int_equal(has(l, 1), 0); /* not before it is durable */
    assert_int_equal(ledger_waiting(l), 2);
    ok(ledger_commit(l, &e));
    assert_int_equal(has(l, 1) + has(l, 2), 2);
    add(l, 3, 64);
    add(l, 4, 64);
    refused(ledger_open(path, &second, &e), BAD_STATE);
    ledger_close(&l); /* 3 and 4 were never committed */
    l = reopen();
    assert_int_equal(has(l, 1) + has(l, 2), 2);
    assert_int_equal(has(l, 3) + has(l, 4), 0);
    assert_int_equal(ledger_job_count(l, job), 0);
    job[0] = 2;
    assert_int_equal(ledger_job_count(l, job), 1);
    assert_int_equal(ledger_counts(l).groups, 1);
    assert_int_equal(ledger_counts(l).issued, 2);
    ledger_close(&l);
}

static void refusals_count_but_do_not_certify(void **state)
{
    struct err e = {0};
    struct ledger *l = reopen();
    struct ledger_entry x = {.type = LEDGER_REFUSED,
            .job = {1},
            .device = {5},
            .spki_sha256 = {5},
            .tail = {(const uint8_t *)"Quota", 5}};
    struct ledger_entry got;

    (void)state;
    ok(ledger_add(l, &x, &e));
    ok(ledger_commit(l, &e));
    assert_int_equal(ledger_find_device(l, x.device, &got, NULL, &e), 0);
    assert_int_equal(ledger_job_count(l, x.job), 0);
    ledger_close(&l);
    l = reopen();
    assert_int_equal(ledger_counts(l).refused, 1);
    ledger_close(&l);
}

/* Two groups of two; the size after the first. */
static void two_groups(struct buf *ret, size_t *ret_first)
{
    struct err e = {0};
    struct ledger *l = reopen();
    struct stat st;

    add(l, 1, 300);
    add(l, 2, 40);
    ok(ledger_commit(l, &e));
    stat(path, &st);
    *ret_first = (size_t)st.st_size;
    add(l, 3, 700);
    add(l, 4, 40);
    ok(ledger_commit(l, &e));
    ledger_close(&l);
    ok(file_read(path, 1u << 20, ret, &e));
}

static void torn_tail_at_every_byte(void **state)
{
    struct err e = {0};
    struct buf whole = BUF_INIT;
    struct ledger *l;
    struct stat st;
    size_t first;

    (void)state;
    two_groups(&whole, &first);
    for (size_t len = first; len < whole.len; len++) {
        write_file(whole.data, len);
        l = reopen();
        assert_int_equal(has(l, 1) + has(l, 2), 2);
        assert_int_equal(has(l, 3) + has(l, 4), 0);
        stat(path, &st);
        assert_int_equal(st.st_size, first);
        /* and it goes on from there */
        add(l, 5, 50);
        ok(ledger_commit(l, &e));
        ledger_close(&l);
        l = reopen();
        assert_int_equal(has(l, 1) + has(l, 5), 2);
        ledger_close(&l);
    }
    buf_done(&whole);
}

/* The file got its length, but some of the sectors behind the old end were never written. */
static void unwritten_sectors_are_torn(void **state)
{
    struct buf whole = BUF_INIT;
    struct ledger *l;
    size_t first, sector;

    (void)state;
    two_groups(&whole, &first);
    sector = (first / 512 + 1) * 512;
    assert_true(sector + 512 < whole.len);
    memset(whole.data + sector, 0, 512);
    write_file(whole.data, whole.len);
    l = reopen();
    assert_int_equal(has(l, 2) + has(l, 3), 1);
    ledger_close(&l);
    memset(whole.data + first, 0, whole.len - first);
    write_file(whole.data, whole.len);
    l = reopen();
    assert_int_equal(has(l, 2) + has(l, 3), 1);
    ledger_close(&l);
    buf_done(&whole);
}

static void every_flipped_byte_is_refused(void **state)
{
    struct err e = {0};
    struct buf whole = BUF_INIT, after = BUF_INIT;
    struct ledger *l;
    size_t first;

    (void)state;
    two_groups(&whole, &first);
    for (size_t i = 0; i < whole.len; i++) {
        whole.data[i] ^= 0x20;
        write_file(whole.data, whole.len);
        refused(ledger_open(path, &l, &e), LEDGER);
        /* and the evidence is left as it was */
        buf_reset(&after);
        ok(file_read(path, 1u << 20, &after, &e));
        assert_int_equal(after.len, whole.len);
        assert_memory_equal(after.data, whole.data, whole.len);
        whole.data[i] ^= 0x20;
    }
    /* a whole group taken out of the middle, and one swapped in */
    memmove(whole.data + 32, whole.data + first, whole.len - first);
    write_file(whole.data, whole.len - first + 32);
    refused(ledger_open(path, &l, &e), LEDGER);
    write_file("SQLite format 3\0 and so on and so forth", 39);
    refused(ledger_open(path, &l, &e), LEDGER);
    /* of a Keyline before the groups were signed, or of one to come */
    whole.data[15] = 1;
    write_file(whole.data, whole.len);
    assert_int_equal(ledger_open(path, &l, &e), -1);
    assert_non_null(strstr(e.msg, "a ledger of format 1"));
    buf_done(&whole);
    buf_done(&after);
}

static void torn_header_starts_anew(void **state)
{
    struct ledger *l = reopen();
    struct buf whole = BUF_INIT;
    struct err e = {0};

    (void)state;
    ledger_close(&l);
    ok(file_read(path, 1024, &whole, &e));
    for (size_t len = 0; len < whole.len; len++) {
        write_file(whole.data, len);
        l = reopen();
        add(l, 1, 50);
        ok(ledger_commit(l, &e));
        ledger_close(&l);
    }
    buf_done(&whole);
}

/* RLIMIT_FSIZE stands in for a full disk: the write stops in the middle, and the ledger is as
 * before. */
static void failed_write_is_undone(void **state)
{
    struct rlimit was, small;
    struct err e = {0};
    struct ledger *l = reopen();
    struct stat st;

    (void)state;
    add(l, 1, 900);
    ok(ledger_commit(l, &e));
    stat(path, &st);
    getrlimit(RLIMIT_FSIZE, &was);
    small = was;
    small.rlim_cur = (rlim_t)st.st_size + 100;
    setrlimit(RLIMIT_FSIZE, &small);
    add(l, 2, 900);
    refused(ledger_commit(l, &e), IO);
    setrlimit(RLIMIT_FSIZE, &was);
    assert_int_equal(has(l, 1), 1);
    assert_int_equal(has(l, 2), 0);
    add(l, 3, 900);
    ok(ledger_commit(l, &e));
    ledger_close(&l);
    l = reopen();
    assert_int_equal(has(l, 1) + has(l, 3), 2);
    assert_int_equal(has(l, 2), 0);
    ledger_close(&l);
}

/* kill -9 between write and sync: the next signer finds the group in the kernel's memory. */
static void found_is_durable_before_it_counts(void **state)
{
    struct ledger *l = reopen();
    struct err e = {0};
    struct stat st;

    (void)state;
    add(l, 1, 40);
    ok(ledger_commit(l, &e));
    ledger_close(&l);
    assert_int_equal(stat(path, &st), 0);
    synced_bytes = 0;
    l = reopen();
    assert_int_equal(synced_bytes, st.st_size);
    assert_int_equal(has(l, 1), 1);
    ledger_close(&l);
}

static void failed_sync_is_not_believed_later(void **state)
{
    struct ledger *l = reopen();
    struct err e = {0};

    (void)state;
    add(l, 1, 40);
    ok(ledger_commit(l, &e));
    add(l, 2, 40);
    sync_fails = 1;
    assert_int_equal(ledger_commit(l, &e), -1);
    sync_fails = 0;
    assert_false(ledger_usable(l));
    assert_int_equal(has(l, 2), 0);
    ledger_close(&l);
    l = reopen();
    assert_true(ledger_usable(l));
    assert_int_equal(has(l, 1), 1);
    assert_int_equal(has(l, 2), 0);
    ledger_close(&l);
}

static void many_entries(void **state)
{
    enum { COUNT = 20000 };
    struct err e = {0};
    struct ledger *l = reopen();
    uint8_t job[LEDGER_ID_BYTES] = {1};

    (void)state;
    for (int round = 0; round < 2; round++) {
        for (unsigned i = 0; i < COUNT && round == 0; i++) {
            add(l, i, 40);
            if (ledger_waiting(l) == 1000)
                ok(ledger_commit(l, &e));
        }
        for (unsigned i = 0; i < COUNT; i += 7)
            assert_int_equal(has(l, i), 1);
        assert_int_equal(has(l, COUNT), 0);
        assert_int_equal(ledger_job_count(l, job), (COUNT + 2) / 3);
        ledger_close(&l);
        l = reopen();
    }
    ledger_close(&l);
}

/* What ledger_read() gave: numbers of rows, newest first, and how far it came. */
struct seen {
    unsigned rows[8192];
    size_t count, stop_at;
    uint64_t last;
    char refusal[LEDGER_REFUSAL_MAX + 1];
};

static int see(void *ctx, uint64_t place, const struct ledger_entry *x)
{
    struct seen *s = ctx;

    assert_true(place < s->last);
    s->last = place;
    if (x->type == LEDGER_REFUSED)
        snprintf(s->refusal, sizeof s->refusal, "%.*s", (int)x->tail.len,
                (const char *)x->tail.bytes);
    else
        assert_memory_equal(x->tail.bytes, "certificate ", 12);
    s->rows[s->count++] = (unsigned)x->row;
    return s->count == s->stop_at;
}

static void read_newest_first(void **state)
{
    enum { COUNT = 6000 }; /* of 700 bytes: four blocks and a bit */
    struct err e = {0}, why = {0};
    struct seen *s = calloc(1, sizeof *s);
    struct ledger *l = reopen();
    struct ledger_entry x = {.type = LEDGER_REFUSED, .row = COUNT};
    char tail[LEDGER_REFUSAL_MAX + 1], long_text[300];

    (void)state;
    s->last = LEDGER_NEWEST;
    ok(ledger_read(l, LEDGER_NEWEST, 10, see, s, &e)); /* an empty ledger has nothing to show */
    assert_int_equal(s->count, 0);
    for (unsigned i = 0; i < COUNT; i++) {
        add(l, i, 700 + i % 13);
        if (i % 7 == 0 || i % 11 == 0)
            ok(ledger_commit(l, &e));
    }
    ok(ledger_commit(l, &e));
    memset(long_text, 'x', sizeof long_text);
    memcpy(long_text + LEDGER_REFUSAL_MAX - 8, "\xc3\xbc", 2); /* halved by the cut */
    long_text[sizeof long_text - 1] = '\0';
    err_set(&why, ERR_QUOTA, "%s", long_text);
    ledger_refusal(&why, tail);
    assert_int_equal(strlen(tail), LEDGER_REFUSAL_MAX);
    x.tail = (struct cert_bytes){(const uint8_t *)tail, strlen(tail)};
    ok(ledger_add(l, &x, &e));
    ok(ledger_commit(l, &e));
    for (int round = 0; round < 2; round++) {
        s->count = s->stop_at = 0;
        s->last = LEDGER_NEWEST;
        ok(ledger_read(l, s->last, 3, see, s, &e));
        assert_int_equal(s->count, 3);
        assert_memory_equal(s->refusal, "Quota: xxx", 10);
        assert_int_equal(s->refusal[LEDGER_REFUSAL_MAX - 1], '?');
        s->stop_at = 10;
        ok(ledger_read(l, s->last, SIZE_MAX, see, s, &e));
        assert_int_equal(s->count, 10);
        s->stop_at = 0;
        for (size_t before = 0; before != s->count;) {
            before = s->count;
            ok(ledger_read(l, s->last, 1000, see, s, &e));
        }
        assert_int_equal(s->count, COUNT + 1);
        for (unsigned i = 0; i <= COUNT; i++)
            assert_int_equal(s->rows[i], COUNT - i);
        ledger_close(&l);
        l = reopen();
    }
    ledger_close(&l);
    free(s);
}

/* ---- the index beside the ledger */

static void index_path(char out[160])
{
    snprintf(out, 160, "%s.index", path);
}

static void put_file(const char *name, const void *bytes, size_t len)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_int_equal(write(fd, bytes, len), len);
    close(fd);
}

static void add_many(struct ledger *l, unsigned from, unsigned to)
{
    struct err e = {0};

    for (unsigned i = from; i < to; i++) {
        add(l, i, 40);
        if (ledger_waiting(l) == 1000)
            ok(ledger_commit(l, &e));
    }
    ok(ledger_commit(l, &e));
}

static void save(struct ledger *l)
{
    struct err e = {0};

    ok(ledger_save(l, &e));
    ok(ledger_saved(l, &e));
    assert_int_equal(ledger_unsaved(l), 0);
    ok(ledger_settle(l, &e));
}

static void has_all(struct ledger *l, unsigned count)
{
    uint8_t job[LEDGER_ID_BYTES] = {1};

    for (unsigned i = 0; i < count; i++)
        assert_int_equal(has(l, i), 1);
    for (unsigned i = count; i < count + 100; i++)
        assert_int_equal(has(l, i), 0);
    assert_int_equal(ledger_counts(l).issued, count);
    assert_int_equal(ledger_job_count(l, job), (count + 2) / 3);
}

static void index_spares_reading(void **state)
{
    struct err e = {0};
    struct ledger *l = reopen();
    struct ledger_entry x = {.type = LEDGER_REVOKED, .reason = 4, .serial = {9}};
    const struct ledger_crl crl = {.ca = {7}, .next_update_ms = 99, .entries = 1};
    uint8_t tail[LEDGER_CRL_TAIL];
    size_t revoked;

    (void)state;
    ledger_crl_tail(&crl, tail);
    x.tail = (struct cert_bytes){tail, CERT_KEY_ID_BYTES};
    ok(ledger_add(l, &x, &e));
    x.type = LEDGER_WITHDRAWN;
    x.job[0] = 77;
    x.tail.len = 0;
    ok(ledger_add(l, &x, &e));
    x.type = LEDGER_CRL;
    x.row = 41;
    x.tail.len = sizeof tail;
    ok(ledger_add(l, &x, &e));
    save(l); /* of nothing issued */
    add_many(l, 0, 1000);
    has_all(l, 1000);
    save(l);
    has_all(l, 1000);
    add_many(l, 1000, 1500);
    has_all(l, 1500); /* from both */
    save(l);
    add_many(l, 1500, 1600);
    ledger_close(&l);
    l = reopen();
    assert_int_equal(ledger_unsaved(l), 100);
    has_all(l, 1600);
    assert_int_equal(ledger_revoked(l, &revoked)->reason, 4);
    assert_int_equal(revoked, 1);
    assert_int_equal(ledger_crl_number(l), 41);
    assert_int_equal(ledger_last_crl(l, crl.ca)->next_update_ms, 99);
    assert_true(ledger_crl_complete(l, &crl));
    assert_true(ledger_job_withdrawn(l, x.job));
    /* one that is made but not settled is as good */
    ok(ledger_save(l, &e));
    ok(ledger_saved(l, &e));
    ok(ledger_save(l, &e)); /* while the other is in use */
    has_all(l, 1600);
    ok(ledger_saved(l, &e));
    ledger_close(&l);
    l = reopen();
    has_all(l, 1600);
    ledger_close(&l);
}

/* The newest certificate of a device counts, wherever the older ones are. */
static void newest_of_a_device(void **state)
{
    struct err e = {0};
    struct ledger *l = reopen();
    char tail[64];
    struct ledger_entry x = entry(1, tail, sizeof tail), got;

    (void)state;
    for (unsigned i = 1; i <= 6; i++) {
        x.row = i;
        x.spki_sha256[0] = (uint8_t)i;
        ok(ledger_add(l, &x, &e));
        ok(ledger_commit(l, &e));
        ok(ledger_find_device(l, x.device, &got, NULL, &e));
        assert_int_equal(got.row, i);
        if (i == 2 || i == 4)
            save(l);
        ok(ledger_find_device(l, x.device, &got, NULL, &e));
        assert_int_equal(got.row, i);
    }
    ledger_close(&l);
    l = reopen();
    ok(ledger_find_device(l, x.device, &got, NULL, &e));
    assert_int_equal(got.row, 6);
    ledger_close(&l);
}

/* Looks for all of `count`; when the index turns out to be damaged, in a ledger that was opened again. */
static void has_all_after_rot(unsigned count)
{
    struct ledger_entry got, x;
    struct err e = {0};
    char tail[64];
    struct ledger *l = reopen();

    for (unsigned i = 0; i < count; i++) {
        x = entry(i, tail, sizeof tail);
        if (ledger_find_device(l, x.device, &got, NULL, &e) < 0 ||
                ledger_find_key(l, x.spki_sha256, &got, &e) < 0) {
            assert_int_equal(e.id, ERR_UNAVAILABLE);
            assert_false(ledger_usable(l)); /* signerd ends and starts anew */
            ledger_close(&l);
            l = reopen();
            assert_int_equal(ledger_unsaved(l), count);
            break;
        }
    }
    has_all(l, count);
    ledger_close(&l);
}

static void rotten_index_is_left_aside(void **state)
{
    enum { COUNT = 300 };
    struct buf good = BUF_INIT;
    struct err e = {0};
    struct ledger *l = reopen();
    char name[160];

    (void)state;
    index_path(name);
    add_many(l, 0, COUNT);
    save(l);
    ledger_close(&l);
    ok(file_read(name, 1u << 20, &good, &e));
    for (size_t i = 0; i < good.len; i += i < 160 ? 1 : 11) {
        good.data[i] ^= 0x10;
        put_file(name, good.data, good.len);
        has_all_after_rot(COUNT);
        good.data[i] ^= 0x10;
    }
    for (size_t len = 0; len < good.len; len += 127) {
        put_file(name, good.data, len);
        has_all_after_rot(COUNT);
    }
    buf_done(&good);
}

/* Of another ledger, and of a later state of this one. */
static void foreign_index_is_left_aside(void **state)
{
    struct buf ahead = BUF_INIT, before = BUF_INIT;
    struct err e = {0};
    struct ledger *l = reopen();
    char name[160];

    (void)state;
    index_path(name);
    add_many(l, 0, 50);
    ok(file_read(path, 1u << 20, &before, &e));
    add_many(l, 50, 60);
    save(l);
    ledger_close(&l);
    ok(file_read(name, 1u << 20, &ahead, &e));
    /* ten certificates were never durable: others are in their place */
    put_file(path, before.data, before.len);
    l = reopen();
    has_all(l, 50);
    add_many(l, 70, 90);
    ledger_close(&l);
    put_file(name, ahead.data, ahead.len);
    l = reopen();
    assert_int_equal(ledger_unsaved(l), 70);
    assert_int_equal(has(l, 55), 0);
    assert_int_equal(has(l, 75), 1);
    ledger_close(&l);
    unlink(path);
    l = reopen();
    assert_int_equal(ledger_counts(l).issued, 0);
    assert_int_equal(has(l, 1), 0);
    ledger_close(&l);
    buf_done(&ahead);
    buf_done(&before);
}

/* What a start no longer reads is still never believed when it has changed. */
static void changed_entry_is_no_absence(void **state)
{
    struct buf whole = BUF_INIT;
    struct err e = {0};
    struct ledger *l = reopen();
    struct ledger_entry x, got;
    char tail[64], name[160];

    (void)state;
    index_path(name);
    add_many(l, 0, 20);
    save(l);
    ledger_close(&l);
    ok(file_read(path, 1u << 20, &whole, &e));
    for (size_t i = 0; i + 16 < whole.len; i++)
        if (memcmp(whole.data + i, entry(7, tail, sizeof tail).device, 16) == 0)
            whole.data[i + 9] ^= 1;
    put_file(path, whole.data, whole.len);
    l = reopen();
    x = entry(7, tail, sizeof tail);
    refused(ledger_find_device(l, x.device, &got, NULL, &e), LEDGER);
    /* nothing of it counts any more, now or after a restart */
    assert_int_equal(ledger_fault(l)->id, ERR_LEDGER);
    x = entry(8, tail, sizeof tail);
    refused(ledger_find_device(l, x.device, &got, NULL, &e), LEDGER);
    refused(ledger_add(l, &x, &e), LEDGER);
    ledger_close(&l);
    refused(ledger_open(path, &l, &e), LEDGER);
    buf_done(&whole);
}

/* Nor when what has changed is not what it is looked up by: a job, a serial, a byte of the certificate. */
static void changed_entry_is_not_given(void **state)
{
    enum { COUNT = 20, FIXED = 104, TAIL = 40 };
    struct buf whole = BUF_INIT, index = BUF_INIT;
    struct err e = {0};
    struct ledger *l = reopen();
    struct ledger_entry x, got;
    char tail[64], name[160];
    size_t at = 0;

    (void)state;
    index_path(name);
    add_many(l, 0, COUNT);
    save(l);
    ledger_close(&l);
    ok(file_read(path, 1u << 20, &whole, &e));
    ok(file_read(name, 1u << 20, &index, &e));
    x = entry(7, tail, sizeof tail);
    while (memcmp(whole.data + at + 24, x.device, sizeof x.device) != 0)
        at++; /* header 8, job 16, device 16 */
    for (size_t i = 4; i < FIXED + TAIL; i++) {
        for (int running = 0; running < 2; running++) {
            put_file(path, whole.data, whole.len);
            put_file(name, index.data, index.len);
            if (running) { /* the entries are behind the index */
                unlink(name);
                l = reopen();
            }
            whole.data[at + i] ^= 1;
            put_file(path, whole.data, whole.len);
            whole.data[at + i] ^= 1;
            if (!running)
                l = reopen();
            assert_int_equal(ledger_unsaved(l), running ? COUNT : 0);
            refused(ledger_find_device(l, x.device, &got, NULL, &e), LEDGER);
            assert_int_equal(ledger_fault(l)->id, ERR_LEDGER);
            refused(ledger_find_key(l, x.spki_sha256, &got, &e), LEDGER);
            ledger_close(&l);
        }
    }
    buf_done(&whole);
    buf_done(&index);
}

/* A whole pass in small steps; -1 with e when it found something. */
static int scrub(struct ledger *l, size_t bytes, struct err *e)
{
    struct ledger_scrub *s;
    uint64_t before = 0;
    int r;

    assert_int_equal(ledger_scrub_new(l, &s, e), 0);
    while ((r = ledger_scrub_step(s, bytes, e)) == 0) {
        assert_true(ledger_scrub_at(s) > before);
        before = ledger_scrub_at(s);
    }
    ledger_scrub_free(&s);
    return r;
}

static void scrub_finds_every_byte(void **state)
{
    struct buf whole = BUF_INIT;
    struct ledger_verified v;
    struct err e = {0};
    struct ledger *l = reopen();
    char name[160];

    (void)state;
    index_path(name);
    assert_int_equal(scrub(l, 1, &e), 1); /* nothing is whole */
    add_many(l, 0, 12);
    save(l);
    add_many(l, 12, 14);
    assert_int_equal(scrub(l, 1, &e), 1);
    assert_int_equal(scrub(l, 1u << 20, &e), 1);
    ok(ledger_verify(path, NULL, NULL, &v, &e));
    assert_int_equal(v.counts.issued, 14);
    assert_int_equal(v.torn, 0);
    ledger_close(&l);
    ok(file_read(path, 1u << 20, &whole, &e));
    ok(file_read(name, 1u << 20, &whole, &e)); /* behind it: the index to put back */
    size_t size = (size_t)v.bytes;
    for (size_t i = 32; i < size; i++) {
        int fd;

        put_file(name, whole.data + size, whole.len - size);
        put_file(path, whole.data, size);
        l = reopen();
        assert_int_equal(ledger_unsaved(l), 2); /* it was not read whole */
        whole.data[i] ^= 4;
        fd = open(path, O_WRONLY);
        assert_int_equal(pwrite(fd, whole.data + i, 1, (off_t)i), 1);
        close(fd);
        whole.data[i] ^= 4;
        refused(scrub(l, 200, &e), LEDGER);
        assert_int_equal(ledger_fault(l)->id, ERR_LEDGER);
        refused(ledger_verify(path, NULL, NULL, &v, &e), LEDGER);
        ledger_close(&l);
        refused(ledger_open(path, &l, &e), LEDGER); /* as damage at a start */
    }
    put_file(path, whole.data, size - 5);
    ok(ledger_verify(path, NULL, NULL, &v, &e));
    assert_true(v.torn > 0 && v.bytes + v.torn == size - 5);
    unlink(path);
    refused(ledger_verify(path, NULL, NULL, &v, &e), NOT_FOUND);
    buf_done(&whole);
}

/* An index with a right digest that lies: made of a ledger that lacks one certificate. */
static void scrub_finds_a_lying_index(void **state)
{
    struct buf index = BUF_INIT;
    struct ledger_entry got, x;
    struct err e = {0};
    struct ledger *l = reopen();
    uint8_t sum[32];
    char name[160], tail[64];

    (void)state;
    index_path(name);
    add_many(l, 0, 10);
    save(l);
    ledger_close(&l);
    ok(file_read(name, 1u << 20, &index, &e));
    /* a cell of the only page of the first table becomes its neighbour's copy, and all sums are made anew: the front ends
     * with its digest, before it are two pages' lists of 8 + 16 bytes, behind it the tables */
    size_t front = index.len - 2 * 10 * 16;
    memcpy(index.data + front, index.data + front + 16, 16);
    EVP_Digest(index.data + front, 160, sum, NULL, EVP_sha256(), NULL);
    memcpy(index.data + front - 32 - 2 * 24, index.data + front, 8);
    memcpy(index.data + front - 32 - 2 * 24 + 8, sum, 16);
    EVP_Digest(index.data, front - 32, sum, NULL, EVP_sha256(), NULL);
    memcpy(index.data + front - 32, sum, 32);
    put_file(name, index.data, index.len);
    l = reopen();
    assert_int_equal(ledger_unsaved(l), 0); /* it is believed */
    int absent = 0;
    for (unsigned i = 0; i < 10; i++) {
        x = entry(i, tail, sizeof tail);
        absent += ledger_find_device(l, x.device, &got, NULL, &e) == LEDGER_ABSENT;
    }
    assert_int_equal(absent, 1);
    refused(scrub(l, 100, &e), UNAVAILABLE);
    assert_false(ledger_usable(l)); /* signerd ends and starts anew: */
    ledger_close(&l);
    l = reopen();
    has_all(l, 10);
    ledger_close(&l);
    buf_done(&index);
}

/* More than is held in memory while the whole file is read. */
static void long_reading_spills(void **state)
{
    enum { COUNT = 150000 };
    struct ledger *l = reopen();
    char name[160];

    (void)state;
    index_path(name);
    add_many(l, 0, COUNT);
    ledger_close(&l);
    l = reopen();
    assert_int_equal(access(name, F_OK), -1);
    assert_int_equal(ledger_unsaved(l), COUNT);
    for (unsigned i = 0; i < COUNT; i += 13)
        assert_int_equal(has(l, i), 1);
    assert_int_equal(has(l, COUNT), 0);
    save(l);
    ledger_close(&l);
    l = reopen();
    assert_int_equal(ledger_unsaved(l), 0);
    for (unsigned i = 0; i < COUNT; i += 13)
        assert_int_equal(has(l, i), 1);
    ledger_close(&l);
}

/* Among many that are revoked each is found, and none that is not; with an index and without. */
static void revoked_among_many(void **state)
{
    enum { COUNT = 100000 };
    uint8_t ca[CERT_KEY_ID_BYTES] = {7}, other[LEDGER_ID_BYTES] = {9};
    struct ledger_entry x = {.type = LEDGER_REVOKED, .tail = {ca, sizeof ca}};
    struct ledger *l = reopen();
    struct err e = {0};
    int64_t begun;

    (void)state;
    for (unsigned i = 0; i < COUNT; i++) {
        memcpy(x.serial, &i, sizeof i);
        memcpy(x.device + 4, &i, sizeof i);
        memcpy(x.job + 8, &i, sizeof i);
        x.reason = (uint8_t)(i % 5);
        ok(ledger_add(l, &x, &e));
        if (ledger_waiting(l) == 10000)
            ok(ledger_commit(l, &e));
    }
    for (int round = 0; round < 2; round++) {
        begun = time_monotonic_ms();
        for (unsigned i = 0; i < 2 * COUNT; i++) {
            memcpy(x.serial, &i, sizeof i);
            memcpy(x.device + 4, &i, sizeof i);
            memcpy(x.job + 8, &i, sizeof i);
            const struct ledger_revoked *v = ledger_find_revoked(l, x.serial);

            assert_int_equal(v != NULL, i < COUNT);
            assert_true(!v || v->reason == i % 5);
            assert_int_equal(ledger_had(l, x.device, x.job), i < COUNT);
            assert_false(ledger_had(l, x.device, other));
        }
        /* some 0.1 s: none of these look-ups goes through all that are revoked */
        assert_true(time_monotonic_ms() - begun < 5000);
        save(l);
        ledger_close(&l);
        l = reopen();
    }
    ledger_close(&l);
}

/* A key that was made is found as such, before and after it is certified; it is no certificate. */
static void made_keys(void **state)
{
    uint8_t transport[LEDGER_KEY_MADE_TAIL] = {7};
    char tail[300] = {0};
    struct ledger_entry made = entry(1, tail, sizeof tail), issued = made, found;
    struct ledger *l;
    struct err e = {0};

    (void)state;
    made.type = LEDGER_KEY_MADE;
    made.tail = (struct cert_bytes){transport, sizeof transport};
    issued.flags = LEDGER_KEY_FROM_SIGNER;
    ok(ledger_open(path, &l, &e));
    ok(ledger_add(l, &made, &e));
    assert_int_equal(ledger_find_made_key(l, made.spki_sha256, &found, &e), LEDGER_ABSENT);
    ok(ledger_commit(l, &e));
    for (int again = 0; again < 2; again++) {
        assert_int_equal(ledger_find_made_key(l, made.spki_sha256, &found, &e), LEDGER_PRESENT);
        assert_int_equal(found.type, LEDGER_KEY_MADE);
        assert_memory_equal(found.device, made.device, sizeof found.device);
        assert_int_equal(ledger_find_key(l, made.spki_sha256, &found, &e), LEDGER_ABSENT);
        assert_int_equal(ledger_find_device(l, made.device, &found, NULL, &e), LEDGER_ABSENT);
        assert_int_equal(ledger_job_keys(l, made.job), 1);
        assert_int_equal(ledger_job_count(l, made.job), 0);
        assert_int_equal(ledger_counts(l).issued, 0);
        if (!again)
            save(l); /* then it is looked up in the index, and its count is among the sums */
        ledger_close(&l);
        ok(ledger_open(path, &l, &e));
    }
    ok(ledger_add(l, &issued, &e));
    ok(ledger_commit(l, &e));
    assert_int_equal(ledger_find_key(l, made.spki_sha256, &found, &e), LEDGER_PRESENT);
    assert_int_equal(found.flags, LEDGER_KEY_FROM_SIGNER);
    assert_int_equal(ledger_find_made_key(l, made.spki_sha256, &found, &e), LEDGER_PRESENT);
    assert_int_equal(ledger_job_count(l, made.job), 1);
    ledger_close(&l);
}

int main(void)
{
    log_open("test-hsm-ledger");
    signal(SIGXFSZ, SIG_IGN);
    const struct CMUnitTest tests[] = {
#define LEDGER_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
            LEDGER_TEST(committed_is_found),
            LEDGER_TEST(refusals_count_but_do_not_certify),
            LEDGER_TEST(torn_tail_at_every_byte),
            LEDGER_TEST(unwritten_sectors_are_torn),
            LEDGER_TEST(every_flipped_byte_is_refused),
            LEDGER_TEST(torn_header_starts_anew),
            LEDGER_TEST(failed_write_is_undone),
            LEDGER_TEST(found_is_durable_before_it_counts),
            LEDGER_TEST(failed_sync_is_not_believed_later),
            LEDGER_TEST(many_entries),
            LEDGER_TEST(made_keys),
            LEDGER_TEST(revoked_among_many),
            LEDGER_TEST(read_newest_first),
            LEDGER_TEST(index_spares_reading),
            LEDGER_TEST(newest_of_a_device),
            LEDGER_TEST(rotten_index_is_left_aside),
            LEDGER_TEST(foreign_index_is_left_aside),
            LEDGER_TEST(changed_entry_is_no_absence),
            LEDGER_TEST(changed_entry_is_not_given),
            LEDGER_TEST(scrub_finds_every_byte),
            LEDGER_TEST(scrub_finds_a_lying_index),
            LEDGER_TEST(long_reading_spills),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
