/* Re-issue jobs and revocations in the registry: who may move to another job and when, what a job goes on
 * to report, which certificate counts, and that upstream hears of everything once. */
#include "jobs_test.h"

#include <stdio.h>
#include <stdlib.h>

#include "jobs/certificate.h"
#include "jobs/device.h"
#include "jobs/job.h"
#include "jobs/report.h"
#include "jobs/revocation.h"

static const char two[] = "device_name,hwid,attr.color\na,1,red\nb,2,red\n";

static int64_t import_again(struct jobs_test *t, const char *name, const char *csv, enum approval a)
{
    t->reissue = true;
    int64_t job = import_job(t, name, csv, a);
    t->reissue = false;
    return job;
}

/* "revoked reason" of the device's Nth certificate, the newest first, as device show has them */
static void assert_told(struct jobs_test *t, size_t n, const char *revoked, const char *reason)
{
    json_t *list = NULL, *one;
    struct err e = {0};
    must(certificate_list(
                 t->registry, atoi(sql(t, "SELECT id FROM device WHERE hwid = '1'")), &list, &e),
            &e);
    one = json_array_get(list, n);
    assert_non_null(one);
    for (int i = 0; i < 2; i++) {
        const char *wanted = i ? reason : revoked;
        const char *told = json_string_value(json_object_get(one, i ? "reason" : "revoked"));
        if (!wanted)
            assert_null(told);
        else {
            assert_non_null(told);
            assert_string_equal(told, wanted);
        }
    }
    json_decref(list);
}

/* Must be refused, with these words. */
static void import_refused(struct jobs_test *t, bool reissue, const char *csv, const char *words)
{
    t->reissue = reissue;
    json_t *o = import_text(t, "refused", csv);
    t->reissue = false;
    char *text = json_dumps(o, 0);
    if (json_is_true(json_object_get(o, "imported")) || !strstr(text, words))
        fail_msg("wanted '%s': %s", words, text);
    free(text);
    json_decref(o);
}

/* Certified, and then the device refuses: no PASS. */
static void certify_and_fail(struct jobs_test *t, const char *hwid, char ret_serial[41])
{
    struct run_claim c;
    struct buf cert = BUF_INIT;
    struct certificate_facts facts;
    struct err e = {0};
    EVP_PKEY *key = test_key("EC");
    must(claim(t, "01", hwid, "", &c, &e), &e);
    test_ca_issue(&t->ca, key, &cert);
    must(run_certified(t->registry, c.run, cert.data, cert.len, false, &e), &e);
    must(certificate_parse(cert.data, cert.len, &facts, &e), &e);
    snprintf(ret_serial, 41, "%s", facts.serial);
    must(run_fail(t->registry, &t->site, c.run, RUN_FAILED, "DeviceRefused", "no", &e), &e);
    run_claim_done(&c);
    buf_done(&cert);
    EVP_PKEY_free(key);
}

static void end(struct jobs_test *t, int64_t job, enum job_state how)
{
    struct err e = {0};
    must(job_end(t->registry, &t->site, "test", job, how, "", &e), &e);
}

static json_t *report(struct jobs_test *t, int64_t job)
{
    struct err e = {0};
    json_t *o;
    must(report_make(t->registry, job, 0, 0, &o, &e), &e);
    return o;
}

static json_int_t count_of(struct jobs_test *t, int64_t job, const char *what)
{
    json_t *o = report(t, job);
    json_int_t n = json_integer_value(json_object_get(json_object_get(o, "summary"), what));
    json_decref(o);
    return n;
}

/* ---- */

static void certified_devices_outlive_their_job(void **state)
{
    struct jobs_test *t = *state;
    char serial[41];
    int64_t first = import_job(t, "first", two, APPROVE);
    certify_and_fail(t, "1", serial);
    end(t, first, JOB_TERMINATED);
    assert_string_equal(sql(t, "SELECT group_concat(state) FROM device"), "Enrolled,Deleted");
    /* b was never certified: anybody may name it again; a needs a re-issue */
    import_refused(t, false, two, "--reissue");
    (void)import_job(t, "b", "device_name,hwid\nb,2\n", APPROVE);
    import_refused(t, true, two, "still to be done in job 'b'");
    provision(t, "01", "2");
    int64_t again = import_again(t, "again", two, LEAVE_PENDING);
    assert_int_equal(count_of(t, again, "untouched"), 2);
    assert_string_equal(sql(t, "SELECT job FROM device WHERE hwid = '1'"), "1");
}

static void moved_with_the_approval(void **state)
{
    struct jobs_test *t = *state;
    struct run_claim c;
    struct err e = {0};
    char serial[41];
    int64_t first = import_job(t, "first", two, APPROVE);
    certify_and_fail(t, "1", serial);
    certify_and_fail(t, "2", serial);
    end(t, first, JOB_TERMINATED);
    int64_t second = import_again(
            t, "second", "device_name,hwid,attr.size\nb,2,small\na,1,large\nc,3,\n", LEAVE_PENDING);
    import_refused(t, true, two, "waits in re-issue job 'second'");
    /* nothing has moved yet, and nothing does when it is rejected */
    must_fail(claim(t, "01", "1", "", &c, &e), &e, ERR_NO_JOB, "first");
    end(t, second, JOB_REJECTED);
    assert_string_equal(sql(t, "SELECT count(*) FROM job_next"), "0");
    assert_string_equal(sql(t, "SELECT state FROM device WHERE hwid = '3'"), "Deleted");
    int64_t third =
            import_again(t, "third", "device_name,hwid,attr.size\nb,2,small\na,1,large\n", APPROVE);
    assert_string_equal(sql(t, "SELECT count(*) FROM job_next"), "0");
    assert_string_equal(sql(t, "SELECT group_concat(key || value) FROM attribute a"
                               " JOIN device d ON d.id = a.device WHERE d.hwid = '1'"),
            "sizelarge");
    assert_string_equal(
            sql(t, "SELECT row_index || result || attempts FROM device WHERE hwid = '1'"),
            "1untouched0");
    /* the first job goes on to say what happened in it */
    assert_int_equal(count_of(t, first, "failed"), 2);
    assert_int_equal(count_of(t, first, "runs"), 2);
    json_t *o = report(t, first), *row = json_array_get(json_object_get(o, "rows"), 0);
    assert_string_equal(json_string_value(json_object_get(row, "verdict")), "FAIL");
    assert_string_equal(json_string_value(json_object_get(row, "error")), "DeviceRefused");
    assert_int_equal(json_array_size(json_object_get(o, "rows")), 2);
    json_decref(o);
    /* a claim does not resume with the first job's certificate */
    must(claim(t, "01", "1", "", &c, &e), &e);
    assert_int_equal(c.attempt, 1);
    assert_int_equal(c.cert.len, 0);
    run_claim_done(&c);
    provision(t, "01", "1");
    provision(t, "01", "2");
    assert_string_equal(sql(t, "SELECT group_concat(state, ' ') FROM (SELECT state FROM"
                               " certificate ORDER BY id)"),
            "revoked revoked valid valid");
    snprintf(serial, sizeof serial, "%s",
            sql(t, "SELECT strftime('%Y-%m-%dT%H:%M:%fZ', max(issued) / 1000.0, 'unixepoch')"
                   " FROM certificate c JOIN device d ON d.id = c.device WHERE d.hwid = '1'"));
    assert_told(t, 0, NULL, NULL);
    assert_told(t, 1, serial, "superseded");
    assert_int_equal(count_of(t, third, "passed"), 2);
    assert_int_equal(count_of(t, third, "first_pass"), 1); /* the other's first claim was cut off */
    assert_string_equal(sql(t, "SELECT group_concat(state || registered, ' ') FROM job"
                               " WHERE name <> 'second'"),
            "Terminated0 Completed2");
    assert_int_equal(count_of(t, first, "failed"), 2);
    assert_done(t, "1");
}

static void registered_devices_again(void **state)
{
    struct jobs_test *t = *state;
    int64_t first = import_job(t, "first", two, APPROVE);
    provision(t, "01", "1");
    /* b is still to be done; a alone may go, while its job goes on */
    import_refused(t, true, two, "still to be done in job 'first'");
    import_refused(t, true, "device_name,hwid\na,another\n", "known with hwid '1'");
    int64_t second = import_again(t, "second", "device_name,hwid\na,1\n", APPROVE);
    assert_int_equal(count_of(t, first, "passed"), 1);
    assert_int_equal(count_of(t, second, "untouched"), 1);
    assert_int_equal(count_of(t, second, "synced"), 0);
    assert_string_equal(sql(t, "SELECT state FROM device WHERE hwid = '1'"), "Registered");
    provision(t, "01", "1");
    assert_int_equal(count_of(t, second, "passed"), 1);
    provision(t, "01", "2");
    assert_string_equal(sql(t, "SELECT group_concat(state || registered, ' ') FROM job"),
            "Completed2 Completed1");
    assert_int_equal(count_of(t, first, "passed"), 2);
    assert_string_equal(sql(t, "SELECT count(*) FROM outbox WHERE json_extract(body, '$.type') ="
                               " 'device.registered'"),
            "3");
    /* the same file again is no mistake for a re-issue, and one for any other job */
    t->reissue = true;
    int64_t third = import_job(t, "third", two, APPROVE);
    t->reissue = false;
    end(t, third, JOB_TERMINATED);
    /* ended before it was plugged in: it has a certificate still, and is done */
    assert_done(t, "1");
}

/* An ordinary job never replaces a certificate, whatever the signer gives. */
static void only_a_reissue_replaces(void **state)
{
    struct jobs_test *t = *state;
    struct run_claim c;
    struct buf cert = BUF_INIT;
    struct err e = {0};
    char serial[41];
    EVP_PKEY *key = test_key("EC");
    (void)import_job(t, "first", two, APPROVE);
    certify_and_fail(t, "1", serial);
    must(claim(t, "01", "1", "", &c, &e), &e);
    assert_true(c.cert.len > 0);
    test_ca_issue(&t->ca, key, &cert);
    must_fail(run_certified(t->registry, c.run, cert.data, cert.len, false, &e), &e,
            ERR_KEY_CHANGED, "another certificate");
    run_claim_done(&c);
    buf_done(&cert);
    EVP_PKEY_free(key);
}

/* ---- revocation */

static json_t *facts_of(const char *device, const char *serial, bool fresh)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b}", "order", "revoke", "device", device,
            "serial", serial, "reason", "keyCompromise", "revoked", "2026-11-23T11:20:12.000Z",
            "approver", "Alice", "fresh", (int)fresh);
}

static json_t *record(struct jobs_test *t, json_t *facts)
{
    struct err e = {0};
    json_t *o;
    must(revocation_record(t->registry, &t->site, "test", facts, &o, &e), &e);
    json_decref(facts);
    return o;
}

static const char *records(struct jobs_test *t, const char *type)
{
    static char statement[160];
    snprintf(statement, sizeof statement,
            "SELECT count(*) FROM outbox WHERE json_extract(body, '$.type') = '%s'", type);
    return sql(t, statement);
}

static void revoked_once(void **state)
{
    struct jobs_test *t = *state;
    struct run_claim c;
    struct err e = {0};
    char device[64], serial[64];
    (void)import_job(t, "first", two, APPROVE);
    provision(t, "01", "1");
    snprintf(device, sizeof device, "%s", sql(t, "SELECT uuid FROM device WHERE hwid = '1'"));
    snprintf(serial, sizeof serial, "%s", sql(t, "SELECT serial FROM certificate"));
    for (int i = 0; i < 2; i++) {
        json_t *o = record(t, facts_of(device, serial, i == 0));
        assert_string_equal(
                json_string_value(json_object_get(json_object_get(o, "device"), "status")),
                "Disabled");
        json_decref(o);
        assert_string_equal(records(t, "device.revoked"), "1");
    }
    assert_string_equal(sql(t, "SELECT state FROM certificate"), "revoked");
    assert_told(t, 0, "2026-11-23T11:20:12.000Z", "keyCompromise");
    must_fail(claim(t, "01", "1", "", &c, &e), &e, ERR_CERT_REVOKED, "'a'");
    /* a certificate, and a device, that this registry has never seen: the signer's word counts */
    json_decref(record(t, facts_of(device, "77", true)));
    json_t *o = record(t, facts_of("21111111-1111-4111-8111-111111111111", "78", true));
    assert_true(json_is_null(json_object_get(o, "device")));
    json_decref(o);
    json_decref(record(t, facts_of(device, "77", false)));
    assert_string_equal(records(t, "device.revoked"), "3");
    /* a new certificate, and it may connect again */
    (void)import_again(t, "second", "device_name,hwid\na,1\n", APPROVE);
    provision(t, "01", "1");
    assert_string_equal(
            sql(t, "SELECT state || status FROM device WHERE hwid = '1'"), "RegisteredEnabled");
    assert_told(t, 0, NULL, NULL);
    assert_told(t, 1, "2026-11-23T11:20:12.000Z", "keyCompromise");
    /* an order for the old one changes nothing for the device */
    json_decref(record(t, facts_of(device, serial, false)));
    assert_string_equal(sql(t, "SELECT status FROM device WHERE hwid = '1'"), "Enabled");
    assert_string_equal(records(t, "device.revoked"), "3");
}

static json_t *worse(const char *device, const char *serial, bool fresh)
{
    json_t *facts = facts_of(device, serial, fresh);
    json_object_set_new(facts, "reason_before", json_string("superseded"));
    return facts;
}

/* A certificate that a re-issue superseded, which is no record: its key turns out to be stolen, which is one, also when a crash
 * kept the first answer from being recorded. */
static void stolen_afterwards(void **state)
{
    struct jobs_test *t = *state;
    char device[64], serial[64];
    (void)import_job(t, "first", two, APPROVE);
    provision(t, "01", "1");
    snprintf(device, sizeof device, "%s", sql(t, "SELECT uuid FROM device WHERE hwid = '1'"));
    snprintf(serial, sizeof serial, "%s", sql(t, "SELECT serial FROM certificate"));
    (void)import_again(t, "second", "device_name,hwid\na,1\n", APPROVE);
    provision(t, "01", "1");
    json_t *facts = facts_of(device, serial, false);
    json_object_set_new(facts, "reason", json_string("superseded"));
    json_decref(record(t, facts));
    assert_string_equal(records(t, "device.revoked"), "0");
    for (int i = 0; i < 3; i++) { /* the first answer was lost */
        json_decref(record(t, worse(device, serial, false)));
        assert_string_equal(records(t, "device.revoked"), "1");
    }
    assert_string_equal(sql(t, "SELECT status FROM device WHERE hwid = '1'"), "Enabled");
    /* revoked by an order, and then for worse */
    snprintf(serial, sizeof serial, "%s",
            sql(t, "SELECT serial FROM certificate WHERE state = 'valid'"));
    facts = facts_of(device, serial, true);
    json_object_set_new(facts, "reason", json_string("superseded"));
    json_decref(record(t, facts));
    assert_string_equal(records(t, "device.revoked"), "2");
    for (int i = 0; i < 3; i++) {
        json_decref(record(t, worse(device, serial, i == 0)));
        assert_string_equal(records(t, "device.revoked"), "3");
    }
    assert_string_equal(sql(t, "SELECT status FROM device WHERE hwid = '1'"), "Disabled");
}

static void revoked_in_a_run(void **state)
{
    struct jobs_test *t = *state;
    struct run_claim c;
    struct err e = {0};
    struct buf cert = BUF_INIT;
    char device[64], serial[64];
    EVP_PKEY *key = test_key("EC");
    (void)import_job(t, "first", two, APPROVE);
    must(claim(t, "01", "1", "", &c, &e), &e);
    test_ca_issue(&t->ca, key, &cert);
    must(run_certified(t->registry, c.run, cert.data, cert.len, false, &e), &e);
    snprintf(device, sizeof device, "%s", sql(t, "SELECT uuid FROM device WHERE hwid = '1'"));
    snprintf(serial, sizeof serial, "%s", sql(t, "SELECT serial FROM certificate"));
    json_decref(record(t, facts_of(device, serial, true)));
    must_fail(run_installed(t->registry, c.run, &e), &e, ERR_NOT_FOUND, "over");
    assert_string_equal(sql(t, "SELECT message FROM run"), "its certificate was revoked");
    run_claim_done(&c);
    buf_done(&cert);
    EVP_PKEY_free(key);
}

static void withdrawn(void **state)
{
    struct jobs_test *t = *state;
    struct err e = {0};
    json_t *o, *facts;
    (void)import_job(t, "first", two, APPROVE);
    const char *job = sql(t, "SELECT uuid FROM job");
    facts = json_pack("{s:s, s:s, s:s, s:b}", "order", "withdraw", "job", job, "approver", "Alice",
            "fresh", 1);
    for (int i = 0; i < 2; i++) {
        must(revocation_record(t->registry, &t->site, "test", facts, &o, &e), &e);
        assert_string_equal(json_string_value(json_object_get(json_object_get(o, "job"), "state")),
                "Terminated");
        json_decref(o);
    }
    json_object_set_new(facts, "job", json_string("21111111-1111-4111-8111-111111111111"));
    must(revocation_record(t->registry, &t->site, "test", facts, &o, &e), &e);
    assert_true(json_is_null(json_object_get(o, "job")));
    json_decref(o);
    json_object_set_new(facts, "order", json_string("dance"));
    must_fail(revocation_record(t->registry, &t->site, "test", facts, &o, &e), &e, ERR_PROTOCOL,
            "order");
    json_decref(facts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, jobs_setup, jobs_teardown)
            TEST(certified_devices_outlive_their_job),
            TEST(moved_with_the_approval),
            TEST(registered_devices_again),
            TEST(only_a_reissue_replaces),
            TEST(revoked_once),
            TEST(stolen_afterwards),
            TEST(revoked_in_a_run),
            TEST(withdrawn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
