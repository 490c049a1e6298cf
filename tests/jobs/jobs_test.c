/* Fixtures of the registry's tests. */
#include "jobs_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hsm/profile/profile.h"
#include "jobs/certificate.h"
#include "jobs/group.h"
#include "jobs/job.h"
#include "jobs/manifest.h"

void must_at(int r, const struct err *e, const char *file, int line)
{
    if (r == 0)
        return;
    print_error("%s: %s\n", err_name(e->id), e->msg);
    _fail(file, line);
}

void must_fail_at(
        int r, struct err *e, enum err_id id, const char *words, const char *file, int line)
{
    if (r == -1 && e->id == id && strstr(e->msg, words)) {
        err_clear(e);
        return;
    }
    print_error("returned %d with %s: \"%s\", not %s: \"..%s..\"\n", r, err_name(e->id), e->msg,
            err_name(id), words);
    _fail(file, line);
}

static void open_registry(struct jobs_test *t)
{
    struct err e = {0};
    must(registry_open(t->path, &t->registry, &e), &e);
}

int jobs_setup(void **state)
{
    struct jobs_test *t = calloc(1, sizeof *t);
    struct err e = {0};
    json_t *o;
    assert_non_null(t);
    strcpy(t->dir, "/tmp/keyline-jobs.XXXXXX");
    assert_non_null(mkdtemp(t->dir));
    snprintf(t->path, sizeof t->path, "%s/registry.db", t->dir);
    t->site = (struct site){.station = "station-1",
            .account = "acc",
            .division = "div",
            .mqtt_primary = "mqtts://rendezvous.example:8883",
            .mqtt_secondary = "",
            .upstream_url = ""};
    test_ca_init(&t->ca);
    must(profile_builtin(&t->profile, &e), &e);
    open_registry(t);
    must(group_add(t->registry, "test", "sensors", "", &o, &e), &e);
    json_decref(o);
    *state = t;
    return 0;
}

int jobs_teardown(void **state)
{
    struct jobs_test *t = *state;
    char command[128];
    registry_close(&t->registry);
    test_ca_done(&t->ca);
    profile_free(&t->profile);
    snprintf(command, sizeof command, "rm -rf '%s'", t->dir);
    assert_int_equal(system(command), 0);
    free(t);
    return 0;
}

void jobs_reopen(struct jobs_test *t)
{
    registry_close(&t->registry);
    open_registry(t);
}

json_t *import_text(struct jobs_test *t, const char *name, const char *csv)
{
    const struct manifest_options mo = {.default_group = "sensors"};
    const struct job_options jo = {.name = name,
            .profile = t->profile,
            .binding = "",
            .stations = "",
            .reissue = t->reissue};
    struct manifest m;
    struct err e = {0};
    json_t *o = NULL;
    int fd = memfd_create("manifest", 0);
    assert_true(write(fd, csv, strlen(csv)) == (ssize_t)strlen(csv));
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    must(manifest_read(fd, &mo, &m, &e), &e);
    must(job_import(t->registry, &t->site, "test", &m, &jo, &o, &e), &e);
    manifest_done(&m);
    close(fd);
    return o;
}

int64_t import_job(struct jobs_test *t, const char *name, const char *csv, enum approval a)
{
    struct err e = {0};
    int64_t job;
    json_t *o = import_text(t, name, csv);
    char *text = json_dumps(o, 0);
    if (!json_is_true(json_object_get(o, "imported")))
        fail_msg("not imported: %s", text);
    free(text);
    json_decref(o);
    must(job_find(t->registry, name, &job, &e), &e);
    if (a == APPROVE)
        approve_job(t, job);
    return job;
}

void approve_job(struct jobs_test *t, int64_t job)
{
    struct err e = {0};
    json_t *facts;
    must(job_request(t->registry, &t->site, job, &facts, &e), &e);
    json_object_set_new(facts, "approver", json_string("Alice"));
    json_object_set_new(facts, "exp", json_integer(4102444800));
    json_object_set_new(facts, "key_type", json_string("P-256"));
    char *text = json_dumps(facts, 0);
    must(job_approve(t->registry, &t->site, "test", job, "a-ticket", text, &e), &e);
    free(text);
    json_decref(facts);
}

static bool alive(void *ctx, const char *run)
{
    (void)run;
    return ((struct jobs_test *)ctx)->slot_alive;
}

int claim(struct jobs_test *t, const char *slot, const char *hwid, const char *name,
        struct run_claim *ret, struct err *e)
{
    return run_claim(t->registry, &t->site, slot, "keyline", hwid, name, alive, t, ret, e);
}

void provision(struct jobs_test *t, const char *slot, const char *hwid)
{
    static const uint8_t challenge[NONCE_BYTES] = {1, 2, 3};
    struct run_claim c;
    struct buf cert = BUF_INIT, sig = BUF_INIT;
    struct err e = {0};
    EVP_PKEY *key = test_key("EC");
    must(claim(t, slot, hwid, "", &c, &e), &e);
    test_ca_issue(&t->ca, key, &cert);
    must(run_certified(t->registry, c.run, cert.data, cert.len, false, &e), &e);
    must(run_installed(t->registry, c.run, &e), &e);
    test_sign_challenge(key, challenge, &sig);
    must(run_complete(t->registry, &t->site, c.run, challenge, sig.data, sig.len, &e), &e);
    run_claim_done(&c);
    buf_done(&cert);
    buf_done(&sig);
    EVP_PKEY_free(key);
}

void assert_done(struct jobs_test *t, const char *hwid)
{
    struct run_claim c;
    struct buf valid = BUF_INIT;
    struct err e = {0};
    char runs[32];
    int64_t device;
    snprintf(runs, sizeof runs, "%s", sql(t, "SELECT count(*) FROM run"));
    must(claim(t, "09", hwid, "", &c, &e), &e);
    must(registry_number(t->registry, &e, &device, "SELECT id FROM device WHERE hwid = ?1",
                 BIND_TEXT(hwid)),
            &e);
    assert_int_equal(certificate_of_device(t->registry, device, &valid, &e), 1);
    assert_string_equal(c.run, "");
    assert_int_equal(c.config.len, 0);
    assert_int_equal(c.cert.len, valid.len);
    assert_memory_equal(c.cert.data, valid.data, valid.len);
    assert_string_equal(sql(t, "SELECT count(*) FROM run"), runs);
    run_claim_done(&c);
    buf_done(&valid);
}

const char *sql(struct jobs_test *t, const char *statement)
{
    static char text[512];
    struct err e = {0};
    must(registry_scalar(t->registry, statement, text, sizeof text, &e), &e);
    return text;
}
