/* A registry of its own for each test, and the ways of a job and a device in few words. */
#pragma once
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>
#include <jansson.h>
#include "base/err.h"
#include "jobs/registry.h"
#include "jobs/run.h"
#include "jobs/site.h"
#include "test_ca.h"

struct jobs_test {
    char dir[64], path[96];
    struct registry *registry;
    struct site site;
    struct test_ca ca;
    struct profile *profile; /* of all imports; the built-in one */
    bool reissue;            /* imports are re-issue jobs */
    bool slot_alive;         /* what the claims' alive() says of other runs */
};
int jobs_setup(void **state); /* an open registry with the group "sensors" */
int jobs_teardown(void **state);
void jobs_reopen(struct jobs_test *t);

/* Fails the test with the error's text unless r is 0. */
#define must(r, e) must_at(r, e, __FILE__, __LINE__)
void must_at(int r, const struct err *e, const char *file, int line);
/* ... unless r is -1 with this error, whose text has `words`. */
#define must_fail(r, e, id, words) must_fail_at(r, e, id, words, __FILE__, __LINE__)
void must_fail_at(
        int r, struct err *e, enum err_id id, const char *words, const char *file, int line);

/* Imports a manifest text into the group "sensors"; the answer (a new reference). */
json_t *import_text(struct jobs_test *t, const char *name, const char *csv);
/* The same, which must be good; approves it when asked; its row. */
enum approval { LEAVE_PENDING, APPROVE };
int64_t import_job(struct jobs_test *t, const char *name, const char *csv, enum approval a);
void approve_job(struct jobs_test *t, int64_t job);
int claim(struct jobs_test *t, const char *slot, const char *hwid, const char *name,
        struct run_claim *ret, struct err *e);
/* A device through the whole way; its key is made here. */
void provision(struct jobs_test *t, const char *slot, const char *hwid);
/* A claim of this registered device gives its valid certificate, and begins nothing. */
void assert_done(struct jobs_test *t, const char *hwid);
/* The first value of a statement, as text (static storage). */
const char *sql(struct jobs_test *t, const char *statement);
