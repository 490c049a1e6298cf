/* The index beside the ledger: it spares the reading, and is never believed against the ledger. */
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "base/log.h"
#include "tests/hsm/ledger_file_rig.h"

static void index_spares_reading(void **state)
{
    struct err e = {0};
    struct ledger *l = rig_open();
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
    rig_save(l); /* of nothing issued */
    rig_add_many(l, 0, 1000);
    rig_has_all(l, 1000);
    rig_save(l);
    rig_has_all(l, 1000);
    rig_add_many(l, 1000, 1500);
    rig_has_all(l, 1500); /* from both */
    rig_save(l);
    rig_add_many(l, 1500, 1600);
    ledger_close(&l);
    l = rig_open();
    assert_int_equal(ledger_unsaved(l), 100);
    rig_has_all(l, 1600);
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
    rig_has_all(l, 1600);
    ok(ledger_saved(l, &e));
    ledger_close(&l);
    l = rig_open();
    rig_has_all(l, 1600);
    ledger_close(&l);
}

/* The newest certificate of a device counts, wherever the older ones are. */
static void newest_of_a_device(void **state)
{
    struct err e = {0};
    struct ledger *l = rig_open();
    char tail[64];
    struct ledger_entry x = rig_entry(1, tail, sizeof tail), got;

    (void)state;
    for (unsigned i = 1; i <= 6; i++) {
        x.row = i;
        x.spki_sha256[0] = (uint8_t)i;
        ok(ledger_add(l, &x, &e));
        ok(ledger_commit(l, &e));
        ok(ledger_find_device(l, x.device, &got, NULL, &e));
        assert_int_equal(got.row, i);
        if (i == 2 || i == 4)
            rig_save(l);
        ok(ledger_find_device(l, x.device, &got, NULL, &e));
        assert_int_equal(got.row, i);
    }
    ledger_close(&l);
    l = rig_open();
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
    struct ledger *l = rig_open();

    for (unsigned i = 0; i < count; i++) {
        x = rig_entry(i, tail, sizeof tail);
        if (ledger_find_device(l, x.device, &got, NULL, &e) < 0 ||
                ledger_find_key(l, x.spki_sha256, &got, &e) < 0) {
            assert_int_equal(e.id, ERR_UNAVAILABLE);
            assert_false(ledger_usable(l)); /* signerd ends and starts anew */
            ledger_close(&l);
            l = rig_open();
            assert_int_equal(ledger_unsaved(l), count);
            break;
        }
    }
    rig_has_all(l, count);
    ledger_close(&l);
}

static void rotten_index_is_left_aside(void **state)
{
    enum { COUNT = 300 };
    struct buf good = BUF_INIT;
    struct err e = {0};
    struct ledger *l = rig_open();

    (void)state;
    rig_add_many(l, 0, COUNT);
    rig_save(l);
    ledger_close(&l);
    ok(file_read(rig_index, 1u << 20, &good, &e));
    for (size_t i = 0; i < good.len; i += i < 160 ? 1 : 11) {
        good.data[i] ^= 0x10;
        rig_put(rig_index, good.data, good.len);
        has_all_after_rot(COUNT);
        good.data[i] ^= 0x10;
    }
    for (size_t len = 0; len < good.len; len += 127) {
        rig_put(rig_index, good.data, len);
        has_all_after_rot(COUNT);
    }
    buf_done(&good);
}

/* Of another ledger, and of a later state of this one. */
static void foreign_index_is_left_aside(void **state)
{
    struct buf ahead = BUF_INIT, before = BUF_INIT;
    struct err e = {0};
    struct ledger *l = rig_open();

    (void)state;
    rig_add_many(l, 0, 50);
    ok(file_read(rig_path, 1u << 20, &before, &e));
    rig_add_many(l, 50, 60);
    rig_save(l);
    ledger_close(&l);
    ok(file_read(rig_index, 1u << 20, &ahead, &e));
    /* ten certificates were never durable: others are in their place */
    rig_put(rig_path, before.data, before.len);
    l = rig_open();
    rig_has_all(l, 50);
    rig_add_many(l, 70, 90);
    ledger_close(&l);
    rig_put(rig_index, ahead.data, ahead.len);
    l = rig_open();
    assert_int_equal(ledger_unsaved(l), 70);
    assert_int_equal(rig_has(l, 55), 0);
    assert_int_equal(rig_has(l, 75), 1);
    ledger_close(&l);
    unlink(rig_path);
    l = rig_open();
    assert_int_equal(ledger_counts(l).issued, 0);
    assert_int_equal(rig_has(l, 1), 0);
    ledger_close(&l);
    buf_done(&ahead);
    buf_done(&before);
}

/* What a start no longer reads is still never believed when it has changed. */
static void changed_entry_is_no_absence(void **state)
{
    struct buf whole = BUF_INIT;
    struct err e = {0};
    struct ledger *l = rig_open();
    struct ledger_entry x, got;
    char tail[64];

    (void)state;
    rig_add_many(l, 0, 20);
    rig_save(l);
    ledger_close(&l);
    ok(file_read(rig_path, 1u << 20, &whole, &e));
    for (size_t i = 0; i + 16 < whole.len; i++)
        if (memcmp(whole.data + i, rig_entry(7, tail, sizeof tail).device, 16) == 0)
            whole.data[i + 9] ^= 1;
    rig_put(rig_path, whole.data, whole.len);
    l = rig_open();
    x = rig_entry(7, tail, sizeof tail);
    refused(ledger_find_device(l, x.device, &got, NULL, &e), LEDGER);
    /* nothing of it counts any more, now or after a restart */
    assert_int_equal(ledger_fault(l)->id, ERR_LEDGER);
    x = rig_entry(8, tail, sizeof tail);
    refused(ledger_find_device(l, x.device, &got, NULL, &e), LEDGER);
    refused(ledger_add(l, &x, &e), LEDGER);
    ledger_close(&l);
    refused(ledger_open(rig_path, &l, &e), LEDGER);
    buf_done(&whole);
}

/* Nor when what has changed is not what it is looked up by: a job, a serial, a byte of the certificate. */
static void changed_entry_is_not_given(void **state)
{
    enum { COUNT = 20, FIXED = 104, TAIL = 40 };
    struct buf whole = BUF_INIT, index = BUF_INIT;
    struct err e = {0};
    struct ledger *l = rig_open();
    struct ledger_entry x, got;
    char tail[64];
    size_t at = 0;

    (void)state;
    rig_add_many(l, 0, COUNT);
    rig_save(l);
    ledger_close(&l);
    ok(file_read(rig_path, 1u << 20, &whole, &e));
    ok(file_read(rig_index, 1u << 20, &index, &e));
    x = rig_entry(7, tail, sizeof tail);
    while (memcmp(whole.data + at + 24, x.device, sizeof x.device) != 0)
        at++; /* header 8, job 16, device 16 */
    for (size_t i = 4; i < FIXED + TAIL; i++) {
        for (int running = 0; running < 2; running++) {
            rig_put(rig_path, whole.data, whole.len);
            rig_put(rig_index, index.data, index.len);
            if (running) { /* the entries are behind the index */
                unlink(rig_index);
                l = rig_open();
            }
            whole.data[at + i] ^= 1;
            rig_put(rig_path, whole.data, whole.len);
            whole.data[at + i] ^= 1;
            if (!running)
                l = rig_open();
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

/* More than is held in memory while the whole file is read. */
static void long_reading_spills(void **state)
{
    enum { COUNT = 150000 };
    struct ledger *l = rig_open();

    (void)state;
    rig_add_many(l, 0, COUNT);
    ledger_close(&l);
    l = rig_open();
    assert_int_equal(access(rig_index, F_OK), -1);
    assert_int_equal(ledger_unsaved(l), COUNT);
    for (unsigned i = 0; i < COUNT; i += 13)
        assert_int_equal(rig_has(l, i), 1);
    assert_int_equal(rig_has(l, COUNT), 0);
    rig_save(l);
    ledger_close(&l);
    l = rig_open();
    assert_int_equal(ledger_unsaved(l), 0);
    for (unsigned i = 0; i < COUNT; i += 13)
        assert_int_equal(rig_has(l, i), 1);
    ledger_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            LEDGER_TEST(index_spares_reading),
            LEDGER_TEST(newest_of_a_device),
            LEDGER_TEST(rotten_index_is_left_aside),
            LEDGER_TEST(foreign_index_is_left_aside),
            LEDGER_TEST(changed_entry_is_no_absence),
            LEDGER_TEST(changed_entry_is_not_given),
            LEDGER_TEST(long_reading_spills),
    };

    log_open("test-hsm-ledger-index");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
