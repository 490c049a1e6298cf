/* The ledger: what was committed is found after any cut of the last write; damage anywhere else is
 * refused. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "tests/hsm/ledger_file_rig.h"

static void committed_is_found(void **state)
{
    struct err e = {0};
    struct ledger *l = rig_open(), *second;
    uint8_t job[LEDGER_ID_BYTES] = {1};

    (void)state;
    rig_add(l, 1, 900);
    rig_add(l, 2, 64);
    assert_int_equal(rig_has(l, 1), 0); /* not before it is durable */
    assert_int_equal(ledger_waiting(l), 2);
    ok(ledger_commit(l, &e));
    assert_int_equal(rig_has(l, 1) + rig_has(l, 2), 2);
    rig_add(l, 3, 64);
    rig_add(l, 4, 64);
    refused(ledger_open(rig_path, &second, &e), BAD_STATE);
    ledger_close(&l); /* 3 and 4 were never committed */
    l = rig_open();
    assert_int_equal(rig_has(l, 1) + rig_has(l, 2), 2);
    assert_int_equal(rig_has(l, 3) + rig_has(l, 4), 0);
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
    struct ledger *l = rig_open();
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
    l = rig_open();
    assert_int_equal(ledger_counts(l).refused, 1);
    ledger_close(&l);
}

/* Two groups of two; the size after the first. */
static void two_groups(struct buf *ret, size_t *ret_first)
{
    struct err e = {0};
    struct ledger *l = rig_open();
    struct stat st;

    rig_add(l, 1, 300);
    rig_add(l, 2, 40);
    ok(ledger_commit(l, &e));
    stat(rig_path, &st);
    *ret_first = (size_t)st.st_size;
    rig_add(l, 3, 700);
    rig_add(l, 4, 40);
    ok(ledger_commit(l, &e));
    ledger_close(&l);
    ok(file_read(rig_path, 1u << 20, ret, &e));
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
        rig_put(rig_path, whole.data, len);
        l = rig_open();
        assert_int_equal(rig_has(l, 1) + rig_has(l, 2), 2);
        assert_int_equal(rig_has(l, 3) + rig_has(l, 4), 0);
        stat(rig_path, &st);
        assert_int_equal(st.st_size, first);
        /* and it goes on from there */
        rig_add(l, 5, 50);
        ok(ledger_commit(l, &e));
        ledger_close(&l);
        l = rig_open();
        assert_int_equal(rig_has(l, 1) + rig_has(l, 5), 2);
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
    rig_put(rig_path, whole.data, whole.len);
    l = rig_open();
    assert_int_equal(rig_has(l, 2) + rig_has(l, 3), 1);
    ledger_close(&l);
    memset(whole.data + first, 0, whole.len - first);
    rig_put(rig_path, whole.data, whole.len);
    l = rig_open();
    assert_int_equal(rig_has(l, 2) + rig_has(l, 3), 1);
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
        rig_put(rig_path, whole.data, whole.len);
        refused(ledger_open(rig_path, &l, &e), LEDGER);
        /* and the evidence is left as it was */
        buf_reset(&after);
        ok(file_read(rig_path, 1u << 20, &after, &e));
        assert_int_equal(after.len, whole.len);
        assert_memory_equal(after.data, whole.data, whole.len);
        whole.data[i] ^= 0x20;
    }
    /* a whole group taken out of the middle, and one swapped in */
    memmove(whole.data + 32, whole.data + first, whole.len - first);
    rig_put(rig_path, whole.data, whole.len - first + 32);
    refused(ledger_open(rig_path, &l, &e), LEDGER);
    rig_put(rig_path, "SQLite format 3\0 and so on and so forth", 39);
    refused(ledger_open(rig_path, &l, &e), LEDGER);
    /* of a Keyline before the groups were signed, or of one to come */
    whole.data[15] = 1;
    rig_put(rig_path, whole.data, whole.len);
    assert_int_equal(ledger_open(rig_path, &l, &e), -1);
    assert_non_null(strstr(e.msg, "a ledger of format 1"));
    buf_done(&whole);
    buf_done(&after);
}

static void torn_header_starts_anew(void **state)
{
    struct ledger *l = rig_open();
    struct buf whole = BUF_INIT;
    struct err e = {0};

    (void)state;
    ledger_close(&l);
    ok(file_read(rig_path, 1024, &whole, &e));
    for (size_t len = 0; len < whole.len; len++) {
        rig_put(rig_path, whole.data, len);
        l = rig_open();
        rig_add(l, 1, 50);
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
    struct ledger *l = rig_open();
    struct stat st;

    (void)state;
    rig_add(l, 1, 900);
    ok(ledger_commit(l, &e));
    stat(rig_path, &st);
    getrlimit(RLIMIT_FSIZE, &was);
    small = was;
    small.rlim_cur = (rlim_t)st.st_size + 100;
    setrlimit(RLIMIT_FSIZE, &small);
    rig_add(l, 2, 900);
    refused(ledger_commit(l, &e), IO);
    setrlimit(RLIMIT_FSIZE, &was);
    assert_int_equal(rig_has(l, 1), 1);
    assert_int_equal(rig_has(l, 2), 0);
    rig_add(l, 3, 900);
    ok(ledger_commit(l, &e));
    ledger_close(&l);
    l = rig_open();
    assert_int_equal(rig_has(l, 1) + rig_has(l, 3), 2);
    assert_int_equal(rig_has(l, 2), 0);
    ledger_close(&l);
}

/* kill -9 between write and sync: the next signer finds the group in the kernel's memory. */
static void found_is_durable_before_it_counts(void **state)
{
    struct ledger *l = rig_open();
    struct err e = {0};
    struct stat st;

    (void)state;
    rig_add(l, 1, 40);
    ok(ledger_commit(l, &e));
    ledger_close(&l);
    assert_int_equal(stat(rig_path, &st), 0);
    rig_synced_bytes = 0;
    l = rig_open();
    assert_int_equal(rig_synced_bytes, st.st_size);
    assert_int_equal(rig_has(l, 1), 1);
    ledger_close(&l);
}

static void failed_sync_is_not_believed_later(void **state)
{
    struct ledger *l = rig_open();
    struct err e = {0};

    (void)state;
    rig_add(l, 1, 40);
    ok(ledger_commit(l, &e));
    rig_add(l, 2, 40);
    rig_sync_fails = true;
    assert_int_equal(ledger_commit(l, &e), -1);
    rig_sync_fails = false;
    assert_false(ledger_usable(l));
    assert_int_equal(rig_has(l, 2), 0);
    ledger_close(&l);
    l = rig_open();
    assert_true(ledger_usable(l));
    assert_int_equal(rig_has(l, 1), 1);
    assert_int_equal(rig_has(l, 2), 0);
    ledger_close(&l);
}

static void many_entries(void **state)
{
    enum { COUNT = 20000 };
    struct err e = {0};
    struct ledger *l = rig_open();
    uint8_t job[LEDGER_ID_BYTES] = {1};

    (void)state;
    for (int round = 0; round < 2; round++) {
        for (unsigned i = 0; i < COUNT && round == 0; i++) {
            rig_add(l, i, 40);
            if (ledger_waiting(l) == 1000)
                ok(ledger_commit(l, &e));
        }
        for (unsigned i = 0; i < COUNT; i += 7)
            assert_int_equal(rig_has(l, i), 1);
        assert_int_equal(rig_has(l, COUNT), 0);
        assert_int_equal(ledger_job_count(l, job), (COUNT + 2) / 3);
        ledger_close(&l);
        l = rig_open();
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
    struct ledger *l = rig_open();
    struct ledger_entry x = {.type = LEDGER_REFUSED, .row = COUNT};
    char tail[LEDGER_REFUSAL_MAX + 1], long_text[300];

    (void)state;
    s->last = LEDGER_NEWEST;
    ok(ledger_read(l, LEDGER_NEWEST, 10, see, s, &e)); /* an empty ledger has nothing to show */
    assert_int_equal(s->count, 0);
    for (unsigned i = 0; i < COUNT; i++) {
        rig_add(l, i, 700 + i % 13);
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
        l = rig_open();
    }
    ledger_close(&l);
    free(s);
}

/* Among many that are revoked each is found, and none that is not; with an index and without. */
static void revoked_among_many(void **state)
{
    enum { COUNT = 100000 };
    uint8_t ca[CERT_KEY_ID_BYTES] = {7}, other[LEDGER_ID_BYTES] = {9};
    struct ledger_entry x = {.type = LEDGER_REVOKED, .tail = {ca, sizeof ca}};
    struct ledger *l = rig_open();
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
        rig_save(l);
        ledger_close(&l);
        l = rig_open();
    }
    ledger_close(&l);
}

/* A key that was made is found as such, before and after it is certified; it is no certificate. */
static void made_keys(void **state)
{
    uint8_t transport[LEDGER_KEY_MADE_TAIL] = {7};
    char tail[300] = {0};
    struct ledger_entry made = rig_entry(1, tail, sizeof tail), issued = made, found;
    struct ledger *l;
    struct err e = {0};

    (void)state;
    made.type = LEDGER_KEY_MADE;
    made.tail = (struct cert_bytes){transport, sizeof transport};
    issued.flags = LEDGER_KEY_FROM_SIGNER;
    ok(ledger_open(rig_path, &l, &e));
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
            rig_save(l); /* then it is looked up in the index, and its count is among the sums */
        ledger_close(&l);
        ok(ledger_open(rig_path, &l, &e));
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
    const struct CMUnitTest tests[] = {
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
    };

    log_open("test-hsm-ledger");
    signal(SIGXFSZ, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
