/* Several tokens with one CA key: the real signerd and its workers, of which some fail or lose their token. (flow_tokens_ledger.c
 * has what the tokens say of the ledger, flow_pools.c two pools of workers.) */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "tests/hsm/tokens_rig.h"

static void the_first_signs_alone(void **state)
{
    (void)state;
    station_start(&st);
    wait_both();
    json_int_t first = token_number(0, "signatures"), second = token_number(1, "signatures");
    burst(0, 24); /* and whatever the signer signs for itself */
    assert_true(token_number(0, "signatures") >= first + 24);
    assert_int_equal(token_number(1, "signatures"), second);
    assert_int_equal(token_number(0, "errors"), 0);

    json_t *t = token_status(0);
    assert_string_equal(json_string_value(json_object_get(t, "section")), "token");
    assert_string_equal(json_string_value(json_object_get(t, "label")), "one");
    assert_true(json_real_value(json_object_get(t, "sign_ms_p50")) > 0);
    assert_true(json_real_value(json_object_get(t, "sign_ms_p99")) >=
                json_real_value(json_object_get(t, "sign_ms_p50")));
    assert_true(json_is_null(json_object_get(t, "last_error")));
    json_decref(t);
}

/* Taken away under load: nothing is lost. Back: it signs again. */
static void the_next_takes_over(void **state)
{
    struct burst *b = malloc(sizeof *b);
    struct unplugged u;
    struct err e = {0};

    (void)state;
    station_start(&st);
    wait_both();
    burst_begin(b, 0, 40);
    crowd_wait(&b->crowd, 4);
    unplug("one", &u);
    burst_end(b);
    wait_token(0, "down");
    ok(station_issue_new(&st, 40, &e));
    assert_true(token_number(1, "signatures") > 0);
    assert_true(token_number(0, "errors") > 0);

    json_t *o = station_status(&st);
    assert_true(json_is_null(json_object_get(o, "error"))); /* the signer as a whole works */
    json_decref(o);

    replug(&u);
    wait_token(0, "up");
    json_int_t before = token_number(0, "signatures");
    burst(41, 5);
    assert_true(token_number(0, "signatures") >= before + 5);
    free(b);
}

static void work_is_shared(void **state)
{
    (void)state;
    tokens_config("[signer]\ntokens = spread\n");
    station_start(&st);
    wait_both();
    burst(0, 40);
    assert_true(token_number(0, "signatures") + token_number(1, "signatures") >= 40);
    /* who has more workers, or gets more of a busy machine, gets more; nobody gets none */
    assert_true(token_number(0, "signatures") >= 4);
    assert_true(token_number(1, "signatures") >= 4);
}

/* One hangs, crashes or lies: its requests go to the other. */
static void a_faulty_token_is_passed_over(void **state)
{
    static const char *const faults[] = {"wrong", "crash", "CKR_DEVICE_ERROR", "hang"};
    struct err e = {0};

    (void)state;
    station_start(&st);
    wait_working(1, 2);
    for (size_t i = 0; i < 4; i++) {
        wait_working(0, 4);
        station_fault(&st, faults[i]);
        ok(station_issue_new(&st, i, &e));
        station_fault(&st, "");
    }
}

static void a_wrong_pin_stops_one_only(void **state)
{
    size_t before;

    (void)state;
    station_start(&st); /* the first of all is with all tokens */
    wait_issued(20);
    wait_working(0, 4);
    station_stop(&st, SIGTERM);
    before = station_logins(&st);
    station_write(&st, "pin.one", "11111111\n");
    station_start(&st);
    wait_token(0, "stopped");
    wait_working(1, 2);
    for (size_t i = 0; i < 3; i++) {
        burst(5 * i, 5);
        help_rest_ms(400);
    }
    assert_int_equal(station_logins(&st), before + 1);
    assert_true(token_number(1, "signatures") >= 15);
    assert_true(token_is(0, "stopped"));

    json_t *t = token_status(0);
    assert_string_equal(
            json_string_value(json_object_get(json_object_get(t, "last_error"), "name")),
            "TokenPin");
    json_decref(t);
}

static void all_away_is_told_and_ends(void **state)
{
    struct unplugged one, two;
    struct err e = {0};
    int tries = 0;

    (void)state;
    station_start(&st);
    wait_both();
    unplug("one", &one);
    unplug("two", &two);
    for (size_t i = 0; i < 6; i++) {
        time_t begun = time(NULL);

        assert_int_equal(station_issue_new(&st, 0, &e), -1);
        assert_true(time(NULL) - begun <= BUS_TIMEOUT_MS / 1000);
        assert_int_equal(err_class(e.id), ERR_CLASS_HSM);
        assert_non_null(strstr(e.msg, "[token")); /* it says whose failure that is */
        err_clear(&e);
    }
    replug(&two);
    while (station_issue_new(&st, 1, &e) < 0) {
        assert_true(++tries < 400);
        err_clear(&e);
        help_rest_ms(50);
    }
    assert_true(token_is(1, "up"));
    replug(&one);
    wait_token(0, "up");
}

/* Seen without a single request. */
static void an_idle_token_is_looked_after(void **state)
{
    (void)state;
    station_start(&st);
    wait_working(0, 4);
    station_write(&st, "removed", "");
    wait_token(0, "down");
    assert_true(token_number(0, "errors") >= 1);
    char path[PATH_MAX];
    station_path(&st, "removed", path);
    unlink(path);
    wait_token(0, "up");
}

/* A stopped worker holds two requests; a killed one had two. */
static void two_in_flight_are_not_lost(void **state)
{
    struct burst *b = malloc(sizeof *b);
    pid_t frozen;

    (void)state;
    tokens_config("workers = 1\n"); /* of the second, which is not needed here */
    station_start(&st);
    wait_working(0, 4);
    burst_begin(b, 0, 44);
    crowd_wait(&b->crowd, 2);
    frozen = station_worker(&st, 0);
    kill(frozen, SIGSTOP);
    kill(station_worker(&st, 1), SIGKILL);
    burst_end(b);
    free(b);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
            TOKENS_TEST(the_first_signs_alone),
            TOKENS_TEST(the_next_takes_over),
            TOKENS_TEST(work_is_shared),
            TOKENS_TEST(a_faulty_token_is_passed_over),
            TOKENS_TEST(a_wrong_pin_stops_one_only),
            TOKENS_TEST(all_away_is_told_and_ends),
            TOKENS_TEST(an_idle_token_is_looked_after),
            TOKENS_TEST(two_in_flight_are_not_lost),
    };

    return FLOW_RUN(argc, argv, tests);
}
