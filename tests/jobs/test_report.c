/* Numbers and lists, on a job whose runs have known times. */
#include "jobs_test.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "jobs/device.h"
#include "jobs/outbox.h"
#include "jobs/report.h"

static double number(json_t *o, const char *key)
{
    json_t *v = json_object_get(o, key);
    assert_true(json_is_number(v));
    return json_number_value(v);
}

/* 20 devices: 17 pass (the first of them at the second try), 1 fails, 2 are untouched. */
static int64_t make_job(struct jobs_test *t)
{
    struct buf csv = BUF_INIT;
    struct run_claim c;
    struct err e = {0};
    char hwid[16];
    assert_int_equal(buf_printf(&csv, NULL, "device_name,hwid\n"), 0);
    for (int i = 0; i < 20; i++)
        assert_int_equal(buf_printf(&csv, NULL, "d%02d,H%02d\n", i, i), 0);
    int64_t job = import_job(t, "line", buf_str(&csv), APPROVE);
    buf_done(&csv);
    must(claim(t, "01", "H00", "", &c, &e), &e);
    must(run_fail(t->registry, &t->site, c.run, RUN_FAILED, "DeviceGone", "pulled", &e), &e);
    run_claim_done(&c);
    for (int i = 0; i < 17; i++) {
        snprintf(hwid, sizeof hwid, "H%02d", i);
        provision(t, "01", hwid);
    }
    for (int i = 0; i < 2; i++) {
        must(claim(t, "02", "H17", "", &c, &e), &e);
        must(run_fail(t->registry, &t->site, c.run, RUN_FAILED, "ReadBack", "bad flash", &e), &e);
        run_claim_done(&c);
    }
    /* Known times: passed runs take 100, 200 .. 1700 ms, all within an hour. */
    must(registry_run(t->registry, &e, "UPDATE run SET started = 1000, ended = 1001"), &e);
    must(registry_run(t->registry, &e,
                 "UPDATE run SET ended = 1000 + 100 * device WHERE step = 'recorded'"),
            &e);
    must(registry_run(t->registry, &e,
                 "UPDATE run SET ended = 3601000 WHERE id = (SELECT max(id) FROM run)"),
            &e);
    return job;
}

static void the_summary_adds_up(void **state)
{
    struct jobs_test *t = *state;
    struct err e = {0};
    json_t *o, *s, *f;
    int64_t job = make_job(t);
    must(report_make(t->registry, job, 0, 0, &o, &e), &e);
    s = json_object_get(o, "summary");
    assert_true(number(s, "rows") == 20 && number(s, "passed") == 17 && number(s, "failed") == 1);
    assert_true(number(s, "untouched") == 2 && number(s, "in_progress") == 0);
    assert_true(number(s, "runs") == 20 && number(s, "first_pass") == 16);
    assert_true(number(s, "first_pass_yield") > 16 / 18.0 - 1e-9 &&
                number(s, "first_pass_yield") < 16 / 18.0 + 1e-9);
    assert_true(number(s, "cycle_ms_p50") == 900); /* the 9th of 17 */
    assert_true(number(s, "cycle_ms_p95") == 1700);
    assert_true(number(s, "devices_per_hour") == 17);
    assert_true(number(s, "synced") == 0);
    f = json_object_get(s, "failures");
    assert_int_equal(json_array_size(f), 2);
    assert_string_equal(
            json_string_value(json_object_get(json_array_get(f, 0), "error")), "ReadBack");
    assert_true(number(json_array_get(f, 0), "count") == 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(f, 0), "example")), "d17");
    assert_true(strstr(json_string_value(json_object_get(json_array_get(f, 0), "hint")), "aside"));
    json_decref(o);
}

static void rows_come_in_pages(void **state)
{
    struct jobs_test *t = *state;
    struct err e = {0};
    json_t *o, *row;
    int64_t job = make_job(t);
    uint64_t after = 0;
    int seen = 0, pages = 0;
    for (;; pages++) {
        size_t i;
        must(report_make(t->registry, job, after, 8, &o, &e), &e);
        json_array_foreach(json_object_get(o, "rows"), i, row)
        {
            char name[16];
            snprintf(name, sizeof name, "d%02d", seen++);
            assert_true(number(row, "row") == seen);
            assert_string_equal(json_string_value(json_object_get(row, "device_name")), name);
        }
        json_t *next = json_object_get(o, "next");
        bool end = json_is_null(next);
        after = (uint64_t)json_integer_value(next);
        json_decref(o);
        if (end)
            break;
    }
    assert_int_equal(seen, 20);
    assert_int_equal(pages, 2);
    must(report_make(t->registry, job, 16, 2, &o, &e), &e);
    row = json_array_get(json_object_get(o, "rows"), 1);
    assert_string_equal(json_string_value(json_object_get(row, "verdict")), "FAIL");
    assert_string_equal(json_string_value(json_object_get(row, "message")), "bad flash");
    assert_true(number(row, "attempts") == 2);
    json_decref(o);
    must(report_make(t->registry, job, UINT64_MAX, 0, &o, &e), &e);
    assert_int_equal(json_array_size(json_object_get(o, "rows")), 0);
    json_decref(o);
}

static size_t count(struct jobs_test *t, const struct device_filter *f, unsigned limit)
{
    struct err e = {0};
    char cursor[32] = "";
    size_t n = 0;
    for (;;) {
        json_t *o;
        must(device_list(t->registry, f, cursor, limit, &o, &e), &e);
        n += json_array_size(json_object_get(o, "devices"));
        const char *next = json_string_value(json_object_get(o, "next"));
        snprintf(cursor, sizeof cursor, "%s", next ? next : "");
        json_decref(o);
        if (!*cursor)
            return n;
    }
}

static void lists_are_filtered(void **state)
{
    struct jobs_test *t = *state;
    struct err e = {0};
    json_t *o;
    int64_t job = make_job(t);
    (void)import_job(t, "next", "device_name\ne\n", LEAVE_PENDING);
    assert_int_equal(count(t, &(struct device_filter){0}, 3), 21);
    assert_int_equal(count(t, &(struct device_filter){.job = job}, 3), 20);
    assert_int_equal(count(t, &(struct device_filter){.state = "Registered"}, 3), 17);
    assert_int_equal(count(t, &(struct device_filter){.job = job, .state = "Enrolled"}, 1), 3);
    assert_int_equal(count(t, &(struct device_filter){.name = "d1"}, 3), 10);
    assert_int_equal(count(t, &(struct device_filter){.name = "%"}, 3), 0);
    assert_int_equal(count(t, &(struct device_filter){.group = "sensors"}, 0), 21);
    assert_int_equal(count(t, &(struct device_filter){.group = "x' OR 1=1 --"}, 0), 0);
    assert_int_equal(count(t, &(struct device_filter){.state = "Deleted"}, 0), 0);
    must_fail(device_list(t->registry, &(struct device_filter){.state = "Gone"}, "", 0, &o, &e), &e,
            ERR_ARGUMENT, "Gone");
    must_fail(device_list(t->registry, &(struct device_filter){0}, "x", 0, &o, &e), &e,
            ERR_ARGUMENT, "cursor");
}

static void a_device_shows_what_reached_upstream(void **state)
{
    struct jobs_test *t = *state;
    struct err e = {0};
    uint64_t first, last;
    uint8_t sha256[32];
    struct buf b = BUF_INIT;
    json_t *o;
    int64_t job = make_job(t);
    must(device_show(t->registry, "H03", &o, &e), &e);
    assert_true(json_is_false(json_object_get(json_object_get(o, "device"), "synced")));
    json_t *cert = json_array_get(json_object_get(o, "certificates"), 0);
    assert_true(strstr(json_string_value(json_object_get(cert, "pem")), "BEGIN CERTIFICATE"));
    assert_string_equal(
            json_string_value(json_object_get(cert, "not_after")), "9999-12-31T23:59:59.000Z");
    assert_int_equal(json_array_size(json_object_get(o, "runs")), 1);
    json_decref(o);
    must(batch_next(t->registry, &first, &last, &b, &e), &e);
    assert_int_equal(EVP_Digest(b.data, b.len, sha256, NULL, EVP_sha256(), NULL), 1);
    must(batch_ack(t->registry, first, last, sha256, &e), &e);
    must(device_show(t->registry, "d03", &o, &e), &e);
    assert_true(json_is_true(json_object_get(json_object_get(o, "device"), "synced")));
    json_decref(o);
    must(report_make(t->registry, job, 0, 1, &o, &e), &e);
    assert_true(number(json_object_get(o, "summary"), "synced") == 17);
    json_decref(o);
    must_fail(device_show(t->registry, "nosuch", &o, &e), &e, ERR_NOT_FOUND, "nosuch");
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, jobs_setup, jobs_teardown)
            TEST(the_summary_adds_up),
            TEST(rows_come_in_pages),
            TEST(lists_are_filtered),
            TEST(a_device_shows_what_reached_upstream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
