/* Import: all or nothing, every conflict named, and a tree whose proofs hold. */
#include "jobs_test.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/merkle.h"
#include "base/row.h"
#include "base/text.h"
#include "hsm/profile/profile.h"
#include "jobs/device.h"
#include "jobs/group.h"
#include "jobs/job.h"
#include "jobs/manifest.h"
#include "jobs/outbox.h"

static void assert_refused(json_t *o, size_t i, int row, const char *column, const char *words)
{
    json_t *error = json_array_get(json_object_get(o, "errors"), i);
    const char *reason = json_string_value(json_object_get(error, "reason"));
    assert_true(json_is_false(json_object_get(o, "imported")));
    assert_non_null(reason);
    if (!strstr(reason, words))
        fail_msg("'%s' does not say '%s'", reason, words);
    assert_string_equal(json_string_value(json_object_get(error, "column")), column);
    assert_int_equal(json_integer_value(json_object_get(error, "row")), row);
}

static void assert_nothing_new(struct jobs_test *t, const char *jobs, const char *devices)
{
    assert_string_equal(sql(t, "SELECT count(*) FROM job"), jobs);
    assert_string_equal(sql(t, "SELECT count(*) FROM device"), devices);
    assert_string_equal(sql(t, "SELECT count(*) FROM job_row"), devices);
}

static void rows_become_devices(void **state)
{
    struct jobs_test *t = *state;
    struct err e = {0};
    json_t *o;
    (void)import_job(t, "line",
            "device_name,hwid,attr.mac,attr.model\nalpha,H1,02:00,EX\nbeta,,,\n", LEAVE_PENDING);
    assert_string_equal(
            sql(t, "SELECT group_concat(name || state || status || row_index) FROM device"),
            "alphaEnrolledEnabled0,betaEnrolledEnabled1");
    assert_string_equal(sql(t, "SELECT group_concat(key || '=' || value) FROM attribute"),
            "mac=02:00,model=EX");
    assert_string_equal(sql(t, "SELECT state || rows || quota || stations || profile || binding"
                               " FROM job"),
            "Pending approval22*idevididentity");
    assert_string_equal(
            sql(t, "SELECT json_extract(body, '$.type', '$.rows', '$.record') FROM outbox"),
            "[\"job.imported\",2,1]");
    must(device_show(t->registry, "sensors/alpha", &o, &e), &e);
    assert_string_equal(
            json_string_value(json_object_get(json_object_get(o, "row"), "attr.mac")), "02:00");
    json_decref(o);
}

static void what_only_the_registry_knows(void **state)
{
    struct jobs_test *t = *state;
    struct err e = {0};
    json_t *o;
    (void)import_job(t, "first", "device_name,hwid\na,1\nb,2\n", LEAVE_PENDING);
    o = import_text(t, "second",
            "device_name,hwid,device_group\nnew,9,\n\"a\",8,\nc,2,\nd,7,nowhere\ne,6,nowhere\n");
    assert_refused(o, 0, 3, "device_name", "'a' is in the registry already, by job 'first'");
    assert_refused(o, 1, 4, "hwid", "as device 'b' of job 'first'");
    assert_refused(o, 2, 5, "device_group", "keyline group add nowhere");
    assert_int_equal(json_array_size(json_object_get(o, "errors")), 3); /* a missing group once */
    json_decref(o);
    assert_nothing_new(t, "1", "2");
    /* The same name in another group is another device. */
    must(group_add(t->registry, "test", "nowhere", "", &o, &e), &e);
    json_decref(o);
    (void)import_job(t, "third", "device_name,device_group\na,nowhere\n", LEAVE_PENDING);
    assert_nothing_new(t, "2", "3");
}

static int import_error(
        struct jobs_test *t, const char *csv, const struct job_options *jo, struct err *e)
{
    const struct manifest_options mo = {.default_group = "sensors"};
    struct manifest m;
    json_t *o = NULL;
    FILE *f = tmpfile();
    fputs(csv, f);
    rewind(f);
    must(manifest_read(fileno(f), &mo, &m, e), e);
    int r = job_import(t->registry, &t->site, "test", &m, jo, &o, e);
    json_decref(o);
    manifest_done(&m);
    fclose(f);
    return r;
}

static void options_are_checked(void **state)
{
    static const char csv[] = "device_name\nx\n";
    struct jobs_test *t = *state;
    struct err e = {0};
    struct job_options o = {"line", t->profile, "", "", false};
    (void)import_job(t, "line", "device_name\na\n", LEAVE_PENDING);
    must_fail(import_error(t, csv, &o, &e), &e, ERR_EXISTS, "job 'line' already");
    o.name = "other";
    must_fail(import_error(t, "device_name\na\n", &o, &e), &e, ERR_EXISTS, "as job 'line'");
    o.name = "a/b";
    must_fail(import_error(t, csv, &o, &e), &e, ERR_ARGUMENT, "a/b");
    o = (struct job_options){"other", t->profile, "scan", "", false};
    must_fail(import_error(t, csv, &o, &e), &e, ERR_ARGUMENT, "binding");
    o = (struct job_options){"other", t->profile, "", "a,,b", false};
    must_fail(import_error(t, csv, &o, &e), &e, ERR_ARGUMENT, "station");
    o = (struct job_options){"other", t->profile, "", "a,", false};
    must_fail(import_error(t, csv, &o, &e), &e, ERR_ARGUMENT, "comma");
    o = (struct job_options){"other", t->profile, "", "", false, .keys = "host"};
    must_fail(import_error(t, csv, &o, &e), &e, ERR_ARGUMENT, "'device' or 'signer'");
    assert_nothing_new(t, "1", "1");
    o = (struct job_options){"other", t->profile, "", "a,b", true};
    must(import_error(t, "device_name,device_group\nx,fresh\n", &o, &e), &e);
    assert_string_equal(sql(t, "SELECT count(*) FROM device_group WHERE name = 'fresh'"), "1");
}

/* Imports are for this profile from now on: its CN and its O as said, and nothing else. */
static void use_profile(struct jobs_test *t, const char *cn, const char *o)
{
    struct err e = {0};
    char json[400];
    snprintf(json, sizeof json,
            "{\"keys\":[\"P-256\"],\"subject\":[{\"attribute\":\"CN\",\"value\":\"%s\"},"
            "{\"attribute\":\"O\",\"value\":\"%s\"}],\"validity\":{\"days\":30,"
            "\"beyond_ca\":false},\"key_usage\":[\"digitalSignature\"]}",
            cn, o);
    profile_free(&t->profile);
    must(profile_parse("ours", json, strlen(json), &t->profile, NULL, &e), &e);
}

/* As the signer would say it of each device, but of all of them, and before there is a job. */
static void rows_must_fit_their_profile(void **state)
{
    struct jobs_test *t = *state;
    use_profile(t, "{device_name}", "{subject.organization_name}");
    json_t *o = import_text(t, "order",
            "device_name,subject.organization_name,subject.locality,device_group\n"
            "good,Ours,,\n"
            "nobodys,,,\n"
            "placed,Ours,Ulm,\n"
            "grouped,,,nowhere\n"
            /* 65 characters, of which a CN takes 64 */
            "n1234567890123456789012345678901234567890123456789012345678901234,Ours,,\n");
    assert_refused(o, 0, 3, "",
            "does not fit profile ours: column subject.organization_name: the row lacks it");
    assert_refused(o, 1, 4, "", "column subject.locality: profile ours has no place for it");
    assert_refused(o, 2, 5, "", "column subject.organization_name: the row lacks it");
    assert_refused(o, 3, 5, "device_group", "nowhere"); /* all that is wrong with it */
    assert_refused(o, 4, 6, "", "CN from \"{device_name}\": ");
    assert_refused(o, 4, 6, "", "at most 64 characters");
    assert_int_equal(json_array_size(json_object_get(o, "errors")), 5);
    json_decref(o);
    assert_nothing_new(t, "0", "0");
    /* and the good row alone is a job of that profile */
    (void)import_job(
            t, "order", "device_name,subject.organization_name\ngood,Ours\n", LEAVE_PENDING);
    assert_string_equal(sql(t, "SELECT profile FROM job"), "ours");
}

/* Devices that there are get new certificates, which must fit no less. */
static void so_must_rows_of_a_reissue(void **state)
{
    struct jobs_test *t = *state;
    (void)import_job(t, "line", "device_name,hwid\na,1\n", APPROVE);
    provision(t, "01", "1");
    t->reissue = true;
    use_profile(t, "{subject.common_name}", "Ours");
    json_t *o = import_text(t, "again", "device_name,hwid,subject.common_name\na,1,\nnew,2,\n");
    assert_refused(o, 0, 2, "", "column subject.common_name: the row lacks it");
    assert_refused(o, 1, 3, "", "column subject.common_name: the row lacks it");
    json_decref(o);
    assert_nothing_new(t, "1", "1");
    assert_string_equal(sql(t, "SELECT count(*) FROM job_next"), "0");
}

static void a_configuration_no_device_takes(void **state)
{
    struct jobs_test *t = *state;
    struct buf csv = BUF_INIT;
    char value[1000];
    /* Quotes double in JSON: 11,000 bytes of values become 22,000 of configuration. */
    memset(value, '\\', sizeof value);
    assert_int_equal(buf_printf(&csv, NULL, "device_name"), 0);
    for (int i = 0; i < 11; i++)
        assert_int_equal(buf_printf(&csv, NULL, ",attr.k%d", i), 0);
    assert_int_equal(buf_printf(&csv, NULL, "\nx"), 0);
    for (int i = 0; i < 11; i++)
        assert_int_equal(buf_printf(&csv, NULL, ",%.*s", (int)sizeof value, value), 0);
    assert_int_equal(buf_printf(&csv, NULL, "\n"), 0);
    json_t *o = import_text(t, "large", buf_str(&csv));
    assert_refused(o, 0, 2, "", "shorten the attributes");
    json_decref(o);
    buf_done(&csv);
    assert_nothing_new(t, "0", "0");
}

/* Sizes around the tiles' borders: every row's proof leads to the root that was signed for. */
static void every_proof_holds(void **state)
{
    static const unsigned sizes[] = {1, 2, 255, 256, 257, 700};
    struct jobs_test *t = *state;
    struct err e = {0};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        struct buf csv = BUF_INIT;
        char name[16];
        assert_int_equal(buf_printf(&csv, NULL, "device_name\n"), 0);
        for (unsigned i = 0; i < sizes[s]; i++)
            assert_int_equal(buf_printf(&csv, NULL, "%u-%u\n", sizes[s], i), 0);
        snprintf(name, sizeof name, "job%u", sizes[s]);
        int64_t job = import_job(t, name, buf_str(&csv), LEAVE_PENDING);
        buf_done(&csv);
        struct query q;
        struct merkle_hash root, leaf;
        size_t len;
        must(query_open(&q, t->registry, &e, "SELECT root FROM job WHERE id = ?1", BIND_INT(job)),
                &e);
        assert_int_equal(query_next(&q, &e), 1);
        memcpy(&root, query_blob(&q, 0, &len), sizeof root);
        query_done(&q);
        must(query_open(&q, t->registry, &e,
                     "SELECT d.row_index, w.row FROM device d JOIN job_row w ON w.device = d.id"
                     " WHERE d.job = ?1",
                     BIND_INT(job)),
                &e);
        unsigned count = 0;
        for (; query_next(&q, &e) > 0; count++) {
            struct buf proof = BUF_INIT;
            uint64_t index = (uint64_t)query_int(&q, 0);
            const void *row = query_blob(&q, 1, &len);
            must(job_prove(t->registry, job, sizes[s], index, &proof, &e), &e);
            merkle_leaf(row, len, &leaf);
            must(merkle_verify(&leaf, index, sizes[s],
                         (const struct merkle_hash *)(void *)proof.data, proof.len / sizeof leaf,
                         &root, &e),
                    &e);
            buf_done(&proof);
        }
        query_done(&q);
        assert_int_equal(count, sizes[s]);
    }
}

static void the_end_of_a_job_frees_its_names(void **state)
{
    struct jobs_test *t = *state;
    struct err e = {0};
    int64_t job = import_job(t, "wrong", "device_name,hwid\na,1\nb,2\n", LEAVE_PENDING);
    must(job_end(t->registry, &t->site, "test", job, JOB_REJECTED, "typing mistake", &e), &e);
    must_fail(job_end(t->registry, &t->site, "test", job, JOB_TERMINATED, "", &e), &e,
            ERR_BAD_STATE, "Rejected");
    must_fail(job_check_pending(t->registry, job, &e), &e, ERR_BAD_STATE, "Rejected");
    job = import_job(t, "right", "device_name,hwid\na,1\nb,2\n", APPROVE);
    provision(t, "01", "1");
    must_fail(job_end(t->registry, &t->site, "test", job, JOB_REJECTED, "", &e), &e, ERR_BAD_STATE,
            "In progress");
    must(job_end(t->registry, &t->site, "test", job, JOB_TERMINATED, "line moves", &e), &e);
    assert_string_equal(sql(t, "SELECT group_concat(name || state) FROM device WHERE job = 2"),
            "aRegistered,bDeleted");
    struct run_claim c;
    must_fail(claim(t, "01", "2", "", &c, &e), &e, ERR_DEVICE_UNKNOWN, "2");
    json_t *o = import_text(t, "third", "device_name,hwid\nb,2\na,3\n");
    assert_refused(o, 0, 3, "device_name", "by job 'right'"); /* registered devices stay */
    json_decref(o);
}

static void a_ticket_for_another_job(void **state)
{
    struct jobs_test *t = *state;
    struct err e = {0};
    int64_t one = import_job(t, "one", "device_name\na\n", LEAVE_PENDING);
    int64_t two = import_job(t, "two", "device_name\nb\n", LEAVE_PENDING);
    json_t *facts;
    must(job_request(t->registry, &t->site, one, &facts, &e), &e);
    json_object_set_new(facts, "approver", json_string("Mallory"));
    json_object_set_new(facts, "exp", json_integer(4102444800));
    json_object_set_new(facts, "key_type", json_string("P-256"));
    char *text = json_dumps(facts, 0);
    must_fail(
            job_approve(t->registry, &t->site, "test", two, "t", text, &e), &e, ERR_TICKET, "job");
    free(text);
    json_object_set_new(facts, "rows", json_integer(2));
    text = json_dumps(facts, 0);
    must_fail(
            job_approve(t->registry, &t->site, "test", one, "t", text, &e), &e, ERR_TICKET, "rows");
    free(text);
    must_fail(job_approve(t->registry, &t->site, "test", one, "t", "[", &e), &e, ERR_PROTOCOL,
            "JSON");
    json_decref(facts);
    approve_job(t, one);
    assert_string_equal(sql(t, "SELECT state || approver || not_after FROM job WHERE id = 1"),
            "In progressAlice4102444800000");
    assert_string_equal(sql(t, "SELECT state FROM job WHERE id = 2"), "Pending approval");
}

static void jobs_are_found(void **state)
{
    struct jobs_test *t = *state;
    struct err e = {0};
    int64_t job, id = import_job(t, "line", "device_name\na\n", LEAVE_PENDING);
    char uuid[40];
    snprintf(uuid, sizeof uuid, "%s", sql(t, "SELECT uuid FROM job"));
    must(job_find(t->registry, uuid, &job, &e), &e);
    assert_int_equal(job, id);
    uuid[5] = '\0';
    must(job_find(t->registry, uuid, &job, &e), &e);
    uuid[3] = '\0';
    must_fail(job_find(t->registry, uuid, &job, &e), &e, ERR_NOT_FOUND, uuid);
    must_fail(job_find(t->registry, "%", &job, &e), &e, ERR_NOT_FOUND, "%");
    must_fail(job_find(t->registry, "", &job, &e), &e, ERR_NOT_FOUND, "");
    char large[4000];
    memset(large, 'a', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    must_fail(job_find(t->registry, large, &job, &e), &e, ERR_NOT_FOUND, "long");
    /* A name that looks like the beginning of another's UUID is still a name. */
    uuid[3] = sql(t, "SELECT uuid FROM job")[3];
    uuid[4] = '\0';
    int64_t second = import_job(t, uuid, "device_name\nb\n", LEAVE_PENDING);
    must(job_find(t->registry, uuid, &job, &e), &e);
    assert_int_equal(job, second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, jobs_setup, jobs_teardown)
            TEST(rows_become_devices),
            TEST(what_only_the_registry_knows),
            TEST(options_are_checked),
            TEST(rows_must_fit_their_profile),
            TEST(so_must_rows_of_a_reissue),
            TEST(a_configuration_no_device_takes),
            TEST(every_proof_holds),
            TEST(the_end_of_a_job_frees_its_names),
            TEST(a_ticket_for_another_job),
            TEST(jobs_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
