/* The ledger's mark in a token that does not find it at a bad moment. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "tests/hsm/ledger_rig.h"

/* What the faulty module was asked since the file was made, as text. */
static char *read_calls(struct buf *text)
{
    struct err e = {0};
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/calls", st.root);
    buf_reset(text);
    ok(file_read(path, 16u << 20, text, &e));
    assert_non_null(buf_str(text));
    return (char *)text->data;
}

/* Which C_FindObjectsInit of a worker looks for the mark: that of the third session it opens. */
static unsigned call_that_finds_mark(void)
{
    struct buf text = BUF_INIT;
    char function[40], *next = NULL;
    unsigned number, sessions = 0, found = 0;

    for (char *line = strtok_r(read_calls(&text), "\n", &next); line && !found;
            line = strtok_r(NULL, "\n", &next)) {
        assert_int_equal(sscanf(line, "%*d %39s %u", function, &number), 2);
        sessions += strcmp(function, "C_OpenSession") == 0;
        if (sessions == 3 && strcmp(function, "C_FindObjectsInit") == 0)
            found = number;
    }
    buf_done(&text);
    assert_true(found);
    return found;
}

/* A token that answers once that it cannot, and can: signing waits, and nobody has to come. */
static void token_that_is_not_well_is_asked_again(void **state)
{
    static const struct {
        const char *answer, *logged;
    } rows[] = {{"CKR_GENERAL_ERROR", "0x5\n"}, {"CKR_FUNCTION_FAILED", "0x6\n"}};
    struct buf calls = BUF_INIT;
    struct err e = {0};
    char path[PATH_MAX], rule[64];
    unsigned call;

    (void)state;
    station_config(&st, "mark_every_s = 0\nworkers = 1\n");
    station_start(&st);
    ok(station_issue_new(&st, 0, &e));
    station_wait_marked(&st);
    ok(station_issue_new(&st, 1, &e)); /* the next checkpoint says that there is a mark */
    station_wait_marked(&st);
    station_stop(&st, SIGTERM);
    snprintf(path, sizeof path, "%s/calls", st.root);
    ok(file_write(path, "", 0, 0600, &e));
    station_start(&st);
    ok(station_issue_new(&st, 2, &e));
    station_stop(&st, SIGTERM);
    call = call_that_finds_mark();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(rule, sizeof rule, "C_FindObjectsInit %u %s", call, rows[i].answer);
        station_fault(&st, rule);
        station_start(&st);
        for (int n = 0; station_issue_new(&st, 3 + i, &e) < 0; n++) {
            if (n > 200 || e.id != ERR_UNAVAILABLE)
                fail_msg("%s: %s", err_name(e.id), e.msg);
            err_clear(&e);
            help_rest_ms(20);
        }
        station_stop(&st, SIGTERM);
        assert_non_null(strstr(read_calls(&calls), rows[i].logged));
    }
    buf_done(&calls);
}

/* The ledger is deleted, so that nothing says that there is a mark, and the token does not find it at that moment: it is no
 * token that keeps none, but is waited for. */
static void deleted_ledger_is_noticed_later(void **state)
{
    static const char *const answers[] = {
            "CKR_GENERAL_ERROR", "CKR_FUNCTION_FAILED", "CKR_SESSION_COUNT"};
    struct err e = {0};
    char path[PATH_MAX], rule[64];
    unsigned call;

    (void)state;
    station_config(&st, "mark_every_s = 0\nworkers = 1\n");
    snprintf(path, sizeof path, "%s/calls", st.root);
    ok(file_write(path, "", 0, 0600, &e));
    station_start(&st);
    ok(station_issue_new(&st, 0, &e));
    station_wait_marked(&st);
    station_stop(&st, SIGTERM);
    call = call_that_finds_mark();
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        assert_int_equal(unlink(rig_path), 0);
        snprintf(rule, sizeof rule, "C_FindObjectsInit %u %s", call, answers[i]);
        station_fault(&st, rule);
        station_start(&st);
        assert_int_equal(station_issue_new(&st, 0, &e), -1);
        err_clear(&e);
        station_fault(&st, "");
        for (int n = 0; station_issue_new(&st, 0, &e) < 0 && e.id != ERR_LEDGER; n++) {
            assert_true(n < 500);
            err_clear(&e);
            help_rest_ms(20);
        }
        assert_int_equal(e.id, ERR_LEDGER);
        err_clear(&e);
        rig_refuses("another ledger");
        station_stop(&st, SIGTERM);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
            LEDGER_TEST(token_that_is_not_well_is_asked_again),
            LEDGER_TEST(deleted_ledger_is_noticed_later),
    };

    return FLOW_RUN(argc, argv, tests);
}
