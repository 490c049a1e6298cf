/* The tables of states.c, and that the SQL constraints repeat them word by word. */
#include "jobs_test.h"

#include <stdio.h>

#include "jobs/states.h"

/* The quoted words of `CHECK (column IN (...))` in a table's SQL, each followed by '|'. */
static void words_of(struct jobs_test *t, const char *table, const char *column, char out[512])
{
    static char schema[8192];
    char statement[128], start[64];
    struct err e = {0};
    snprintf(statement, sizeof statement, "SELECT sql FROM sqlite_schema WHERE name = '%s'", table);
    must(registry_scalar(t->registry, statement, schema, sizeof schema, &e), &e);
    snprintf(start, sizeof start, "CHECK (%s IN (", column);
    const char *at = strstr(schema, start), *end;
    assert_non_null(at);
    end = strstr(at, "))");
    assert_non_null(end);
    *out = '\0';
    for (at = strchr(at, '\''); at && at < end; at = strchr(at, '\'')) {
        const char *close = strchr(++at, '\'');
        strncat(out, at, (size_t)(close - at));
        strcat(out, "|");
        at = close + 1;
    }
}

static void constraints_repeat_the_tables(void **state)
{
    struct jobs_test *t = *state;
    char want[512] = "", have[512];
    for (unsigned i = 0; i < DEVICE_STATE_COUNT; i++)
        strcat(strcat(want, device_state_name(i)), "|");
    words_of(t, "device", "state", have);
    assert_string_equal(have, want);
    *want = '\0';
    for (unsigned i = 0; i < JOB_STATE_COUNT; i++)
        strcat(strcat(want, job_state_name(i)), "|");
    words_of(t, "job", "state", have);
    assert_string_equal(have, want);
    *want = '\0';
    for (unsigned i = 0; i < RUN_STEP_COUNT; i++)
        strcat(strcat(want, run_step_info(i)->name), "|");
    words_of(t, "run", "step", have);
    assert_string_equal(have, want);
}

static void names_lead_back(void **state)
{
    (void)state;
    for (unsigned i = 0; i < RUN_STEP_COUNT; i++) {
        enum run_step step;
        assert_int_equal(run_step_from_name(run_step_info(i)->name, &step), 0);
        assert_int_equal(step, i);
        assert_true(*run_step_info(i)->doing);
    }
    enum run_step step;
    assert_int_equal(run_step_from_name("Recorded", &step), -1);
    assert_int_equal(run_step_from_name("", &step), -1);
}

/* Nothing gets to the record without each step before it, and nothing leaves an end. */
static void the_way_has_no_short_cut(void **state)
{
    static const enum run_step way[] = {RUN_CLAIMED, RUN_IDENTIFIED, RUN_KEYED, RUN_CERTIFIED,
            RUN_INSTALLED, RUN_VERIFIED, RUN_RECORDED};
    static const struct {
        enum run_step from, to;
    } back[] = {{RUN_IDENTIFIED, RUN_CERTIFIED}, /* the certificate of an earlier run */
            {RUN_KEYED, RUN_KEYED}, {RUN_CERTIFIED, RUN_KEYED}};
    struct err e = {0};
    (void)state;
    for (size_t i = 0; i < 7; i++)
        for (size_t k = 0; k < 7; k++) {
            int allowed = k == i + 1;
            for (size_t b = 0; b < sizeof back / sizeof *back; b++)
                allowed |= back[b].from == way[i] && back[b].to == way[k];
            int r = run_step_advance(way[i], way[k], &e);
            if (allowed)
                must(r, &e);
            else
                must_fail(r, &e, ERR_BAD_STATE, run_step_info(way[i])->name);
        }
    for (enum run_step end = RUN_RECORDED; end < RUN_STEP_COUNT; end++) {
        assert_int_equal(run_step_info(end)->next, 0);
        assert_int_equal(run_step_info(end)->recovery, RUN_RECOVER_DONE);
    }
    for (enum run_step s = RUN_CLAIMED; s < RUN_RECORDED; s++) {
        must(run_step_advance(s, RUN_FAILED, &e), &e);
        must(run_step_advance(s, RUN_QUARANTINED, &e), &e);
        assert_int_equal(run_step_info(s)->recovery,
                s < RUN_CERTIFIED ? RUN_RECOVER_REPEAT : RUN_RECOVER_RESUME);
    }
    must_fail(run_step_advance(RUN_STEP_COUNT, RUN_FAILED, &e), &e, ERR_BAD_STATE, "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(
                    constraints_repeat_the_tables, jobs_setup, jobs_teardown),
            cmocka_unit_test(names_lead_back),
            cmocka_unit_test(the_way_has_no_short_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
