/* Runs: who may claim what, what a slot cannot skip, and what a crash at each step leaves. */
#include "jobs_test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/row.h"
#include "jobs/bootstrap.h"
#include "jobs/certificate.h"

static const uint8_t challenge[NONCE_BYTES] = {7};
static const char two[] = "device_name,hwid\na,1\nb,2\n";

static void who_may_be_claimed(void **state)
{
    struct jobs_test *t = *state;
    struct run_claim c;
    struct err e = {0};
    must_fail(claim(t, "01", "1", "", &c, &e), &e, ERR_DEVICE_UNKNOWN, "'1'");
    int64_t job = import_job(t, "line", two, LEAVE_PENDING);
    must_fail(claim(t, "01", "1", "", &c, &e), &e, ERR_NO_JOB, "Pending approval");
    approve_job(t, job);
    must_fail(claim(t, "01", "3", "c", &c, &e), &e, ERR_DEVICE_UNKNOWN, "'c'");
    must_fail(claim(t, "01", "", "", &c, &e), &e, ERR_ARGUMENT, "neither");
    must_fail(claim(t, "a/b", "1", "", &c, &e), &e, ERR_ARGUMENT, "slot");
    must_fail(claim(t, "01", "\xff", "", &c, &e), &e, ERR_ARGUMENT, "no text");
    char large[400];
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    must_fail(claim(t, "01", large, "", &c, &e), &e, ERR_ARGUMENT, "too long");
    must(claim(t, "01", "1", "anything", &c, &e), &e);
    assert_string_equal(c.device_name, "a");
    assert_int_equal(c.attempt, 1);
    assert_int_equal(c.cert.len, 0);
    assert_true(c.config.len > 100);
    run_claim_done(&c);
    provision(t, "01", "2");
    assert_done(t, "2");
    assert_string_equal(sql(t, "SELECT count(*) FROM run WHERE device = 2"), "1");
}

/* A row with a hwid is found by that alone: a device cannot become another by its name. */
static void identity_is_the_hwid_where_there_is_one(void **state)
{
    struct jobs_test *t = *state;
    struct run_claim c;
    struct err e = {0};
    (void)import_job(t, "line", "device_name,hwid\na,1\nnamed,\n", APPROVE);
    must_fail(claim(t, "01", "666", "a", &c, &e), &e, ERR_DEVICE_UNKNOWN, "another hwid");
    must_fail(claim(t, "01", "", "a", &c, &e), &e, ERR_DEVICE_UNKNOWN, "another hwid");
    must(claim(t, "01", "777", "named", &c, &e), &e);
    assert_string_equal(c.device_name, "named");
    run_claim_done(&c);
    /* A device that says a hwid only is looked up by it as a name, too. */
    must(claim(t, "01", "named", "", &c, &e), &e);
    assert_int_equal(c.attempt, 2);
    run_claim_done(&c);
}

static void a_name_in_two_groups(void **state)
{
    struct jobs_test *t = *state;
    struct run_claim c;
    struct err e = {0};
    must(registry_run(t->registry, &e,
                 "INSERT INTO device_group (name, description, created)"
                 " VALUES ('other', '', 1)"),
            &e);
    int64_t pending =
            import_job(t, "one", "device_name,device_group\nsame,sensors\n", LEAVE_PENDING);
    (void)import_job(t, "two", "device_name,device_group\nsame,other\n", APPROVE);
    must(claim(t, "01", "", "same", &c, &e), &e); /* one job is at work only */
    run_claim_done(&c);
    approve_job(t, pending);
    must_fail(claim(t, "02", "", "same", &c, &e), &e, ERR_DEVICE_UNKNOWN, "several groups");
}

static void one_identity_in_two_slots(void **state)
{
    struct jobs_test *t = *state;
    struct run_claim c, d;
    struct err e = {0};
    (void)import_job(t, "line", two, APPROVE);
    must(claim(t, "01", "1", "", &c, &e), &e);
    t->slot_alive = true;
    must_fail(claim(t, "02", "1", "", &d, &e), &e, ERR_DEVICE_BUSY, "slot 01");
    /* The same slot again: its slotd was restarted. */
    must(claim(t, "01", "1", "", &d, &e), &e);
    assert_int_equal(d.attempt, 2);
    run_claim_done(&d);
    /* The other slot when the first is dead. */
    t->slot_alive = false;
    must(claim(t, "02", "1", "", &d, &e), &e);
    assert_int_equal(d.attempt, 3);
    run_claim_done(&d);
    /* A slot that takes another device lets go of its last one. */
    must(claim(t, "02", "2", "", &d, &e), &e);
    assert_string_equal(sql(t, "SELECT count(*) FROM run WHERE ended IS NULL"), "1");
    assert_string_equal(sql(t, "SELECT count(*) FROM run WHERE error = 'Interrupted'"), "3");
    run_claim_done(&c);
    run_claim_done(&d);
}

static void certify(struct jobs_test *t, const char *run, EVP_PKEY *key)
{
    struct buf cert = BUF_INIT;
    struct err e = {0};
    test_ca_issue(&t->ca, key, &cert);
    must(run_certified(t->registry, run, cert.data, cert.len, false, &e), &e);
    buf_done(&cert);
}

static int complete(struct jobs_test *t, const char *run, EVP_PKEY *key, struct err *e)
{
    struct buf sig = BUF_INIT;
    test_sign_challenge(key, challenge, &sig);
    int r = run_complete(t->registry, &t->site, run, challenge, sig.data, sig.len, e);
    buf_done(&sig);
    return r;
}

/* As a request does it: undone when it fails. */
static int complete_in_savepoint(struct jobs_test *t, const char *run, EVP_PKEY *key, struct err *e)
{
    struct err e2 = {0};
    must(registry_begin(t->registry, &e2), &e2);
    must(registry_save(t->registry, &e2), &e2);
    int r = complete(t, run, key, e);
    if (r)
        registry_undo(t->registry);
    else
        must(registry_keep(t->registry, &e2), &e2);
    must(registry_commit(t->registry, &e2), &e2);
    return r;
}

static void no_step_is_skipped(void **state)
{
    struct jobs_test *t = *state;
    struct run_claim c;
    struct run_request q;
    struct err e = {0};
    EVP_PKEY *key = test_key("EC"), *other = test_key("EC");
    (void)import_job(t, "line", two, APPROVE);
    must(claim(t, "01", "1", "", &c, &e), &e);
    must_fail(run_installed(t->registry, c.run, &e), &e, ERR_BAD_STATE, "identified");
    must_fail(complete(t, c.run, key, &e), &e, ERR_BAD_STATE, "identified");
    must(run_request(t->registry, c.run, &q, &e), &e);
    assert_string_equal(q.ticket, "a-ticket");
    assert_int_equal(q.row_index, 0);
    assert_int_equal(q.proof.len, 32);
    run_request_done(&q);
    must_fail(run_certified(t->registry, c.run, (const uint8_t *)"x", 1, false, &e), &e,
            ERR_PROTOCOL, "not a certificate");
    certify(t, c.run, key);
    must_fail(complete(t, c.run, key, &e), &e, ERR_BAD_STATE, "certified");
    must(run_installed(t->registry, c.run, &e), &e);
    must_fail(complete_in_savepoint(t, c.run, other, &e), &e, ERR_DEVICE_CHALLENGE,
            "not the certified");
    assert_string_equal(sql(t, "SELECT step FROM run"), "installed");
    must(complete_in_savepoint(t, c.run, key, &e), &e);
    must_fail(complete(t, c.run, key, &e), &e, ERR_NOT_FOUND, "over");
    must_fail(run_fail(t->registry, &t->site, c.run, RUN_FAILED, "Bug", "", &e), &e, ERR_NOT_FOUND,
            "over");
    must_fail(run_request(t->registry, c.run, &q, &e), &e, ERR_NOT_FOUND, "over");
    assert_string_equal(sql(t, "SELECT state || result || attempts FROM device WHERE id = 1"),
            "Registeredpassed1");
    assert_string_equal(sql(t, "SELECT registered || state FROM job"), "1In progress");
    provision(t, "01", "2");
    assert_string_equal(sql(t, "SELECT registered || state FROM job"), "2Completed");
    assert_string_equal(sql(t, "SELECT group_concat(json_extract(body, '$.type')) FROM outbox"),
            "job.imported,job.approved,device.registered,device.registered,job.completed");
    run_claim_done(&c);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

/* The signer gives the same device the same certificate again, and never a second one. */
static void one_certificate_a_device(void **state)
{
    struct jobs_test *t = *state;
    struct run_claim c, again;
    struct buf cert = BUF_INIT, second = BUF_INIT;
    struct err e = {0};
    EVP_PKEY *key = test_key("EC");
    (void)import_job(t, "line", two, APPROVE);
    must(claim(t, "01", "1", "", &c, &e), &e);
    test_ca_issue(&t->ca, key, &cert);
    test_ca_issue(&t->ca, key, &second);
    must(run_certified(t->registry, c.run, cert.data, cert.len, false, &e), &e);
    must(run_certified(t->registry, c.run, cert.data, cert.len, false, &e), &e);
    must(registry_begin(t->registry, &e), &e);
    must(registry_save(t->registry, &e), &e);
    must_fail(run_certified(t->registry, c.run, second.data, second.len, false, &e), &e,
            ERR_KEY_CHANGED, "another certificate");
    registry_undo(t->registry);
    must(registry_commit(t->registry, &e), &e);
    must(run_fail(t->registry, &t->site, c.run, RUN_FAILED, "DeviceGone", "pulled", &e), &e);
    /* It comes back sealed: it gets its certificate and needs no new one. */
    must(claim(t, "01", "1", "", &again, &e), &e);
    assert_int_equal(again.cert.len, cert.len);
    assert_memory_equal(again.cert.data, cert.data, cert.len);
    assert_int_equal(again.config.len, c.config.len);
    assert_memory_equal(again.config.data, c.config.data, c.config.len);
    must(run_installed(t->registry, again.run, &e), &e);
    must(complete(t, again.run, key, &e), &e);
    assert_string_equal(sql(t, "SELECT count(*) FROM certificate"), "1");
    assert_string_equal(
            sql(t, "SELECT count(*) FROM event WHERE type = 'certificate.issued'"), "1");
    run_claim_done(&c);
    run_claim_done(&again);
    buf_done(&cert);
    buf_done(&second);
    EVP_PKEY_free(key);
}

static void every_key_type_is_verified(void **state)
{
    static const char *const types[] = {"EC", "RSA", "ED25519"};
    struct jobs_test *t = *state;
    struct err e = {0};
    for (size_t i = 0; i < 3; i++) {
        EVP_PKEY *key = test_key(types[i]);
        struct buf cert = BUF_INIT, sig = BUF_INIT;
        test_ca_issue(&t->ca, key, &cert);
        test_sign_challenge(key, challenge, &sig);
        must(certificate_check_challenge(&cert, challenge, 32, sig.data, sig.len, &e), &e);
        sig.data[sig.len / 2] ^= 1;
        must_fail(certificate_check_challenge(&cert, challenge, 32, sig.data, sig.len, &e), &e,
                ERR_DEVICE_CHALLENGE, "not the certified");
        must_fail(certificate_check_challenge(&cert, challenge, 32, sig.data, 0, &e), &e,
                ERR_DEVICE_CHALLENGE, "not the certified");
        buf_done(&cert);
        buf_done(&sig);
        EVP_PKEY_free(key);
    }
}

static void failures_and_quarantine(void **state)
{
    struct jobs_test *t = *state;
    struct run_claim c;
    struct err e = {0};
    (void)import_job(t, "line", two, APPROVE);
    must(claim(t, "01", "1", "", &c, &e), &e);
    must_fail(run_fail(t->registry, &t->site, c.run, RUN_FAILED, "NoSuchError", "", &e), &e,
            ERR_ARGUMENT, "NoSuchError");
    must(run_fail(t->registry, &t->site, c.run, RUN_FAILED, "ReadBack", "bad\x1b[2J\xff flash", &e),
            &e);
    assert_string_equal(sql(t, "SELECT message FROM run"), "bad?[2J? flash");
    assert_string_equal(
            sql(t, "SELECT json_extract(body, '$.type', '$.step', '$.error', '$.attempt')"
                   " FROM outbox ORDER BY record DESC LIMIT 1"),
            "[\"run.failed\",\"identified\",\"ReadBack\",1]");
    run_claim_done(&c);
    must(claim(t, "01", "1", "", &c, &e), &e);
    must(run_fail(t->registry, &t->site, c.run, RUN_QUARANTINED, "NoPossession", "it lied", &e),
            &e);
    run_claim_done(&c);
    must_fail(claim(t, "01", "1", "", &c, &e), &e, ERR_DEVICE_QUARANTINED, "'a'");
    assert_string_equal(
            sql(t, "SELECT state || result FROM device WHERE id = 1"), "Enrolledquarantined");
}

/* The plug pulled at each step, and right after a restart: no device is stuck, none gets a second
 * certificate. */
static void a_crash_at_every_step(void **state)
{
    struct jobs_test *t = *state;
    EVP_PKEY *key = test_key("EC");
    struct buf cert = BUF_INIT, sig = BUF_INIT;
    struct err e = {0};
    unsigned count;
    test_ca_issue(&t->ca, key, &cert);
    test_sign_challenge(key, challenge, &sig);
    (void)import_job(t, "line", two, APPROVE);
    for (unsigned stop = 0; stop < 4; stop++) {
        struct run_claim c;
        must(claim(t, "01", "1", "", &c, &e), &e);
        assert_int_equal(c.attempt, stop + 1);
        assert_int_equal(c.cert.len != 0, stop > 1); /* resumes with the same one */
        if (stop > 0)
            must(run_certified(t->registry, c.run, cert.data, cert.len, false, &e), &e);
        if (stop > 1)
            must(run_installed(t->registry, c.run, &e), &e);
        if (stop > 2)
            must(run_complete(t->registry, &t->site, c.run, challenge, sig.data, sig.len, &e), &e);
        jobs_reopen(t);
        must(run_recover(t->registry, &t->site, &count, &e), &e);
        assert_int_equal(count, stop < 3);
        assert_string_equal(sql(t, "SELECT count(*) FROM run WHERE ended IS NULL"), "0");
        run_claim_done(&c);
    }
    assert_string_equal(sql(t, "SELECT group_concat(step || coalesce(error, '')) FROM run"),
            "failedInterrupted,failedInterrupted,failedInterrupted,recorded");
    assert_string_equal(sql(t, "SELECT count(*) FROM certificate"), "1");
    must(run_recover(t->registry, &t->site, &count, &e), &e);
    assert_int_equal(count, 0);
    buf_done(&cert);
    buf_done(&sig);
    EVP_PKEY_free(key);
}

static void the_bootstrap_configuration(void **state)
{
    struct jobs_test *t = *state;
    struct row row = {0};
    struct buf a = BUF_INIT, b = BUF_INIT;
    struct err e = {0};
    static const char *const fields[][2] = {
            {"device_name", "n\"1"}, {"device_group", "g"}, {"attr.mac", "02:00"}, {"hwid", "H"}};
    for (size_t i = 0; i < 4; i++)
        must(row_add(&row, fields[i][0], strlen(fields[i][0]), fields[i][1], strlen(fields[i][1]),
                     &e),
                &e);
    must(bootstrap_format(&t->site, "the-id", &row, &a, &e), &e);
    must(bootstrap_format(&t->site, "the-id", &row, &b, &e), &e);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len);
    json_t *o = json_loadb((char *)a.data, a.len, 0, NULL);
    json_t *c = json_object_get(o, "configuration"), *attr;
    assert_string_equal(json_string_value(json_object_get(c, "device_id")), "the-id");
    assert_string_equal(json_string_value(json_object_get(c, "device_name")), "n\"1");
    attr = json_object_get(c, "device_attributes");
    assert_int_equal(json_array_size(attr), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(attr, 0), "key")), "mac");
    assert_string_equal(
            json_string_value(json_array_get(
                    json_object_get(json_object_get(json_object_get(c, "rendezvous_configuration"),
                                            "mqtt_endpoint"),
                            "primary"),
                    0)),
            "mqtts://rendezvous.example:8883");
    json_decref(o);
    buf_done(&a);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, jobs_setup, jobs_teardown)
            TEST(who_may_be_claimed),
            TEST(identity_is_the_hwid_where_there_is_one),
            TEST(a_name_in_two_groups),
            TEST(one_identity_in_two_slots),
            TEST(no_step_is_skipped),
            TEST(one_certificate_a_device),
            TEST(every_key_type_is_verified),
            TEST(failures_and_quarantine),
            TEST(a_crash_at_every_step),
            TEST(the_bootstrap_configuration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
