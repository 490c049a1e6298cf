/* The scrub: whatever has changed in a ledger or its index since they were opened is found, and then nothing of them counts. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "base/log.h"
#include "hsm/ledger/ledger_index.h"
#include "hsm/ledger/ledger_scrub.h"
#include "tests/hsm/ledger_file_rig.h"

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
    struct ledger *l = rig_open();

    (void)state;
    assert_int_equal(scrub(l, 1, &e), 1); /* nothing is whole */
    rig_add_many(l, 0, 12);
    rig_save(l);
    rig_add_many(l, 12, 14);
    assert_int_equal(scrub(l, 1, &e), 1);
    assert_int_equal(scrub(l, 1u << 20, &e), 1);
    ok(ledger_verify(rig_path, NULL, NULL, &v, &e));
    assert_int_equal(v.counts.issued, 14);
    assert_int_equal(v.torn, 0);
    ledger_close(&l);
    ok(file_read(rig_path, 1u << 20, &whole, &e));
    ok(file_read(rig_index, 1u << 20, &whole, &e)); /* behind it: the index to put back */
    size_t size = (size_t)v.bytes;
    for (size_t i = 32; i < size; i++) {
        int fd;

        rig_put(rig_index, whole.data + size, whole.len - size);
        rig_put(rig_path, whole.data, size);
        l = rig_open();
        assert_int_equal(ledger_unsaved(l), 2); /* it was not read whole */
        whole.data[i] ^= 4;
        fd = open(rig_path, O_WRONLY);
        assert_int_equal(pwrite(fd, whole.data + i, 1, (off_t)i), 1);
        close(fd);
        whole.data[i] ^= 4;
        refused(scrub(l, 200, &e), LEDGER);
        assert_int_equal(ledger_fault(l)->id, ERR_LEDGER);
        refused(ledger_verify(rig_path, NULL, NULL, &v, &e), LEDGER);
        ledger_close(&l);
        refused(ledger_open(rig_path, &l, &e), LEDGER); /* as damage at a start */
    }
    rig_put(rig_path, whole.data, size - 5);
    ok(ledger_verify(rig_path, NULL, NULL, &v, &e));
    assert_true(v.torn > 0 && v.bytes + v.torn == size - 5);
    unlink(rig_path);
    refused(ledger_verify(rig_path, NULL, NULL, &v, &e), NOT_FOUND);
    buf_done(&whole);
}

/* An index with a right digest that lies: made of a ledger that lacks one certificate. */
static void scrub_finds_a_lying_index(void **state)
{
    struct buf index = BUF_INIT;
    struct ledger_entry got, x;
    struct err e = {0};
    struct ledger *l = rig_open();
    uint8_t sum[32];
    char tail[64];

    (void)state;
    rig_add_many(l, 0, 10);
    rig_save(l);
    ledger_close(&l);
    ok(file_read(rig_index, 1u << 20, &index, &e));
    /* a cell of the only page of the first table becomes its neighbour's copy, and all sums are made anew: the front ends
     * with its digest, before it are two pages' lists of 8 + 16 bytes, behind it the tables */
    size_t front = index.len - 2 * 10 * 16;
    memcpy(index.data + front, index.data + front + 16, 16);
    EVP_Digest(index.data + front, 160, sum, NULL, EVP_sha256(), NULL);
    memcpy(index.data + front - 32 - 2 * 24, index.data + front, 8);
    memcpy(index.data + front - 32 - 2 * 24 + 8, sum, 16);
    EVP_Digest(index.data, front - 32, sum, NULL, EVP_sha256(), NULL);
    memcpy(index.data + front - 32, sum, 32);
    rig_put(rig_index, index.data, index.len);
    l = rig_open();
    assert_int_equal(ledger_unsaved(l), 0); /* it is believed */
    int absent = 0;
    for (unsigned i = 0; i < 10; i++) {
        x = rig_entry(i, tail, sizeof tail);
        absent += ledger_find_device(l, x.device, &got, NULL, &e) == LEDGER_ABSENT;
    }
    assert_int_equal(absent, 1);
    refused(scrub(l, 100, &e), UNAVAILABLE);
    assert_false(ledger_usable(l)); /* signerd ends and starts anew: */
    ledger_close(&l);
    l = rig_open();
    rig_has_all(l, 10);
    ledger_close(&l);
    buf_done(&index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            LEDGER_TEST(scrub_finds_every_byte),
            LEDGER_TEST(scrub_finds_a_lying_index),
    };

    log_open("test-hsm-ledger-scrub");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
