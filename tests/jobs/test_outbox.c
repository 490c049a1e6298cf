/* The outbox: numbers without gaps, batches that never change, and events whose hashes can be made
 * again. */
#include "jobs_test.h"

#include <stdio.h>
#include <stdlib.h>

#include <openssl/evp.h>

#include "base/limits.h"
#include "base/merkle.h"
#include "base/text.h"
#include "jobs/event.h"
#include "jobs/outbox.h"

static void add(struct jobs_test *t, size_t filler)
{
    const struct event ev = {.actor = "test", .type = "run.failed", .subject = "s", .time = 1000};
    struct err e = {0};
    char *text = malloc(filler + 1);
    memset(text, 'x', filler);
    text[filler] = '\0';
    json_t *data = json_pack("{s:s}", "message", text);
    must(event_add_record(t->registry, &t->site, &ev, data, 0, &e), &e);
    json_decref(data);
    free(text);
}

static void next(struct jobs_test *t, uint64_t first, uint64_t last, struct buf *ret)
{
    struct err e = {0};
    uint64_t have_first, have_last;
    must(batch_next(t->registry, &have_first, &have_last, ret, &e), &e);
    assert_int_equal(have_last, last);
    if (last)
        assert_int_equal(have_first, first);
}

static void digest(const struct buf *b, uint8_t out[32])
{
    assert_int_equal(EVP_Digest(b->data, b->len, out, NULL, EVP_sha256(), NULL), 1);
}

static void batches_are_frozen(void **state)
{
    struct jobs_test *t = *state;
    struct buf one = BUF_INIT, again = BUF_INIT, two = BUF_INIT;
    struct err e = {0};
    uint8_t sha256[32], wrong[32] = {0};
    next(t, 0, 0, &one); /* nothing yet, and no batch made of nothing */
    add(t, 1);
    add(t, 1);
    next(t, 1, 2, &one);
    add(t, 1); /* comes too late for a batch that was given out */
    jobs_reopen(t);
    next(t, 1, 2, &again);
    assert_int_equal(one.len, again.len);
    assert_memory_equal(one.data, again.data, one.len);
    assert_int_equal(one.data[one.len - 1], '\n');
    digest(&one, sha256);
    must_fail(batch_ack(t->registry, 1, 2, wrong, &e), &e, ERR_UPSTREAM_CONFLICT, "1-2");
    must_fail(batch_ack(t->registry, 1, 3, sha256, &e), &e, ERR_NOT_FOUND, "1-3");
    must(batch_ack(t->registry, 1, 2, sha256, &e), &e);
    must(batch_ack(t->registry, 1, 2, sha256, &e), &e); /* its answer was lost */
    must_fail(
            batch_refuse(t->registry, 1, 2, "UpstreamConflict", "", &e), &e, ERR_NOT_FOUND, "1-2");
    next(t, 3, 3, &two);
    buf_done(&one);
    buf_done(&again);
    buf_done(&two);
}

static void a_refused_batch_stops_nothing(void **state)
{
    struct jobs_test *t = *state;
    struct buf b = BUF_INIT, c = BUF_INIT;
    struct outbox_counts n;
    struct err e = {0};
    uint8_t sha256[32];
    int count;
    add(t, 1);
    next(t, 1, 1, &b);
    add(t, 1);
    must(batch_refuse(t->registry, 1, 1, "UpstreamRefused", "403", &e), &e);
    next(t, 2, 2, &c);
    digest(&c, sha256);
    must(batch_ack(t->registry, 2, 2, sha256, &e), &e);
    must(outbox_count(t->registry, &n, &e), &e);
    assert_int_equal(n.records, 2);
    assert_int_equal(n.acknowledged, 1);
    assert_int_equal(n.refused, 1);
    assert_string_equal(n.error, "UpstreamRefused");
    assert_int_equal(n.oldest_waiting, 0);
    buf_reset(&c);
    next(t, 0, 0, &c);
    must(batch_retry(t->registry, &count, &e), &e);
    assert_int_equal(count, 1);
    next(t, 1, 1, &c);
    assert_memory_equal(b.data, c.data, b.len);
    must(outbox_count(t->registry, &n, &e), &e);
    assert_int_equal(n.oldest_waiting, 1000);
    buf_done(&b);
    buf_done(&c);
}

static void batches_are_bounded(void **state)
{
    struct jobs_test *t = *state;
    struct buf b = BUF_INIT;
    struct err e = {0};
    must(registry_begin(t->registry, &e), &e);
    for (unsigned i = 0; i < OUTBOX_BATCH_RECORDS + 1; i++)
        add(t, 1);
    must(registry_commit(t->registry, &e), &e);
    next(t, 1, OUTBOX_BATCH_RECORDS, &b);
    uint8_t sha256[32];
    digest(&b, sha256);
    must(batch_ack(t->registry, 1, OUTBOX_BATCH_RECORDS, sha256, &e), &e);
    for (unsigned i = 0; i < 5; i++)
        add(t, OUTBOX_BATCH_BYTES / 4);
    buf_reset(&b);
    next(t, OUTBOX_BATCH_RECORDS + 1, OUTBOX_BATCH_RECORDS + 4, &b);
    assert_true(b.len <= OUTBOX_BATCH_BYTES);
    buf_done(&b);
}

static void a_flipped_bit_is_seen(void **state)
{
    struct jobs_test *t = *state;
    struct buf b = BUF_INIT;
    struct err e = {0};
    uint64_t first, last;
    add(t, 1);
    next(t, 1, 1, &b);
    must(registry_run(t->registry, &e, "UPDATE outbox SET body = replace(body, '\"x\"', '\"y\"')"),
            &e);
    buf_reset(&b);
    must_fail(batch_next(t->registry, &first, &last, &b, &e), &e, ERR_STORE, "damaged");
    buf_done(&b);
}

/* docs/json.md: the members every record has, in their order. */
static void a_record_says_where_it_is_from(void **state)
{
    struct jobs_test *t = *state;
    add(t, 1);
    assert_string_equal(sql(t, "SELECT body FROM outbox"),
            "{\"record\":1,\"type\":\"run.failed\",\"time\":\"1970-01-01T00:00:01.000Z\","
            "\"station\":\"station-1\",\"account_id\":\"acc\",\"division_id\":\"div\","
            "\"message\":\"x\"}");
}

static void an_undone_request_leaves_no_gap(void **state)
{
    struct jobs_test *t = *state;
    struct err e = {0};
    must(registry_begin(t->registry, &e), &e);
    for (int i = 0; i < 6; i++) {
        must(registry_save(t->registry, &e), &e);
        add(t, 1);
        if (i % 2)
            registry_undo(t->registry);
        else
            must(registry_keep(t->registry, &e), &e);
    }
    must(registry_commit(t->registry, &e), &e);
    assert_string_equal(sql(t, "SELECT group_concat(record) FROM outbox"), "1,2,3");
}

static void leaves_can_be_made_again(void **state)
{
    struct jobs_test *t = *state;
    struct merkle_hash leaf;
    char hex[65];
    /* Event 1 is the group's: data first, as the keys sort. */
    static const char want[] = "{\"actor\":\"test\",\"data\":{\"description\":\"\",\"name\":"
                               "\"sensors\"},\"seq\":1,\"subject\":\"sensors\",\"time\":%s,"
                               "\"type\":\"group.added\"}";
    char text[512];
    snprintf(text, sizeof text, want, sql(t, "SELECT time FROM event"));
    merkle_leaf(text, strlen(text), &leaf);
    hex_format(leaf.bytes, sizeof leaf.bytes, hex);
    assert_string_equal(sql(t, "SELECT lower(hex(leaf)) FROM event"), hex);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, jobs_setup, jobs_teardown)
            TEST(batches_are_frozen),
            TEST(a_refused_batch_stops_nothing),
            TEST(batches_are_bounded),
            TEST(a_flipped_bit_is_seen),
            TEST(a_record_says_where_it_is_from),
            TEST(an_undone_request_leaves_no_gap),
            TEST(leaves_can_be_made_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
