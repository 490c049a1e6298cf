/* The whole signer under a module that fails: what a worker's fault does to those who ask for
 * certificates. A named refusal of class HSM while it lasts, one login where the PIN is in question,
 * and all goes on by itself when it is over. (flow_faults.c tries all faults on one worker.) */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include "base/text.h"
#include "hsm/signer_client.h"
#include "tests/hsm/station.h"

#define COMES_BACK_MS 40000

static size_t next_row;

/* A certificate for a new device within the time that pauses and deadlines add up to. */
static void works_again(const char *rule)
{
    EVP_PKEY *key = help_key("P-256");
    int64_t start = time_monotonic_ms();
    struct err e = {0};

    while (station_issue_once(&st, next_row, key, &e) < 0) {
        if (err_class(e.id) != ERR_CLASS_HSM && err_class(e.id) != ERR_CLASS_RETRY)
            fail_msg("after %s: %s: %s", rule, err_name(e.id), e.msg);
        if (time_monotonic_ms() - start > COMES_BACK_MS)
            fail_msg("after %s: not within %d ms: %s", rule, COMES_BACK_MS, e.msg);
        err_clear(&e);
        help_rest_ms(50);
    }
    next_row++;
    EVP_PKEY_free(key);
    assert_int_equal(waitpid(st.signerd, NULL, WNOHANG), 0);
}

/* The fault from the start on. */
static void fault_at_start(const char *rule, enum err_id wanted)
{
    EVP_PKEY *key = help_key("P-256");
    struct err e = {0};
    int r;

    station_fault(&st, rule);
    station_start(&st);
    r = station_issue_once(&st, next_row, key, &e);
    if (r == 0 || e.id != wanted)
        fail_msg("%s: %s: %s", rule, err_name(e.id), e.msg);
    EVP_PKEY_free(key);
}

static void named_while_it_lasts_and_over_by_itself(void **state)
{
    static const struct {
        const char *rule;
        enum err_id wanted;
    } rows[] = {
            {"C_Initialize * CKR_GENERAL_ERROR", ERR_TOKEN},
            {"C_GetSlotList * CKR_DEVICE_ERROR", ERR_TOKEN},
            {"C_GetTokenInfo * CKR_TOKEN_NOT_PRESENT", ERR_TOKEN_ABSENT},
            {"C_OpenSession * CKR_SESSION_COUNT", ERR_TOKEN_BUSY},
            {"C_FindObjects * crash", ERR_TOKEN},
            {"C_SignInit * CKR_KEY_FUNCTION_NOT_PERMITTED", ERR_TOKEN_REFUSED},
            {"C_Sign * CKR_DEVICE_MEMORY", ERR_TOKEN_FULL},
            {"C_Sign * wrong", ERR_SIGNATURE},
            {"C_Sign * long", ERR_TOKEN},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fault_at_start(rows[i].rule, rows[i].wanted);
        station_fault(&st, "");
        works_again(rows[i].rule);
        station_stop(&st, SIGTERM);
    }
}

static void refused_pin_is_tried_once(void **state)
{
    static const struct {
        const char *rule;
        enum err_id wanted;
    } rows[] = {
            {"C_Login * CKR_PIN_INCORRECT", ERR_TOKEN_PIN},
            {"C_Login * CKR_PIN_EXPIRED", ERR_TOKEN_PIN},
            {"C_Login * CKR_GENERAL_ERROR", ERR_TOKEN_LOGIN},
            {"C_Login * 0x80000001", ERR_TOKEN_LOGIN},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t before = station_logins(&st);

        fault_at_start(rows[i].rule, rows[i].wanted);
        help_rest_ms(1500); /* the pauses between starts are shorter */
        assert_int_equal(station_logins(&st), before + 1);
        station_stop(&st, SIGTERM);
    }
    station_fault(&st, "");
}

/* A token that is pulled in the middle of a login says no more than that it failed. The PIN was right
 * until then: it is given once more, and after that only if that login succeeds. */
static void login_without_a_reason_is_tried_once_more(void **state)
{
    static const char once[] = "C_Login * CKR_GENERAL_ERROR once";
    EVP_PKEY *key = help_key("P-256");
    size_t before = station_logins(&st);
    struct err e = {0};

    (void)state;
    station_config(&st, "workers = 1\n");
    station_start(&st);
    works_again("no fault");
    assert_int_equal(station_logins(&st) - before, 1);
    for (size_t i = 0; i < 2; i++) {
        station_fault(&st, once);
        kill(station_worker(&st, 0), SIGKILL);
        works_again(once);
        assert_int_equal(station_logins(&st) - before, 3 + 2 * i);
    }
    station_fault(&st, "C_Login * CKR_GENERAL_ERROR");
    kill(station_worker(&st, 0), SIGKILL);
    while (station_issue_once(&st, next_row, key, &e) == 0 || e.id != ERR_TOKEN_LOGIN) {
        err_clear(&e);
        help_rest_ms(50);
    }
    station_fault(&st, "");
    help_rest_ms(1500);
    assert_int_equal(station_logins(&st) - before, 7);
    /* what is to be done is said for as long as it is to be done */
    refused(station_issue_once(&st, next_row, key, &e), TOKEN_LOGIN);
    station_stop(&st, SIGTERM);
    station_config(&st, "");
    EVP_PKEY_free(key);
}

/* A login that fails for the cable's sake is tried again, at a pace. */
static void broken_cable_at_login(void **state)
{
    size_t before = station_logins(&st);

    (void)state;
    fault_at_start("C_Login * CKR_DEVICE_ERROR", ERR_TOKEN);
    help_rest_ms(2000);
    assert_in_range(station_logins(&st) - before, 2, 12);
    station_fault(&st, "");
    works_again("C_Login * CKR_DEVICE_ERROR");
    station_stop(&st, SIGTERM);
}

/* Under way: the worker that hangs at its end is killed, and the other one and the next go on. */
static void faults_under_way(void **state)
{
    static const char *const rules[] = {"C_Sign * crash", "C_Sign * removed",
            "C_SignInit * CKR_SESSION_HANDLE_INVALID", "C_Sign * CKR_USER_NOT_LOGGED_IN",
            "C_Finalize * hang", "C_Sign * delay 300"};
    char path[PATH_MAX];

    (void)state;
    snprintf(path, sizeof path, "%s/removed", st.root);
    station_start(&st);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        EVP_PKEY *key = help_key("P-256");
        struct err e = {0};

        works_again("what was before");
        station_fault(&st, rules[i]);
        if (station_issue_once(&st, next_row, key, &e) < 0) {
            if (err_class(e.id) != ERR_CLASS_HSM)
                fail_msg("%s: %s: %s", rules[i], err_name(e.id), e.msg);
        } else
            next_row++;
        station_fault(&st, "");
        remove(path);
        works_again(rules[i]);
        EVP_PKEY_free(key);
    }
    station_stop(&st, SIGTERM);
}

/* Of the workers: how often they were replaced, and whether all are ready. */
static json_int_t restarts(bool *ret_ready)
{
    json_t *o = station_status(&st), *w;
    json_int_t n = 0;
    size_t i;

    *ret_ready = true;
    json_array_foreach(json_object_get(o, "workers"), i, w)
    {
        n += json_integer_value(json_object_get(w, "restarts"));
        *ret_ready &= strcmp(json_string_value(json_object_get(w, "state")), "ready") == 0;
    }
    json_decref(o);
    return n;
}

/* A session that the HSM closed for its idleness is found by the keep-alive, and replaced before a
 * device has to wait for that. */
static void idle_session_is_kept_alive(void **state)
{
    static const char *const rules[] = {"C_FindObjectsInit * CKR_SESSION_HANDLE_INVALID",
            "C_GetTokenInfo * CKR_DEVICE_REMOVED", "C_FindObjects * hang"};

    (void)state;
    station_config(&st, "keepalive_s = 1\n");
    station_start(&st);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        EVP_PKEY *key = help_key("P-256");
        struct err e = {0};
        json_int_t before;
        bool ready = false;
        int tries = 0;

        works_again("what was before");
        before = restarts(&ready);
        station_fault(&st, rules[i]);
        help_rest_ms(2500);
        station_fault(&st, "");
        while (restarts(&ready) == before || !ready) {
            if (++tries > 300)
                fail_msg("%s: nobody saw it", rules[i]);
            help_rest_ms(100);
        }
        ok(station_issue_once(&st, next_row++, key, &e));
        EVP_PKEY_free(key);
    }
    station_stop(&st, SIGTERM);
    station_config(&st, "");
}

/* A login that never ends: given up after its deadline, and nobody waits longer than for that. */
static void hanging_login(void **state)
{
    EVP_PKEY *key = help_key("P-256");
    struct err e = {0};
    int64_t start = time_monotonic_ms();

    (void)state;
    station_fault(&st, "C_Login * hang");
    station_start(&st);
    assert_int_equal(station_issue_once(&st, next_row, key, &e), -1);
    assert_true(time_monotonic_ms() - start < 30000);
    next_row++; /* the request waits in signerd, and is answered when it can be: to nobody */
    station_fault(&st, "");
    works_again("C_Login * hang");
    station_stop(&st, SIGTERM);
    EVP_PKEY_free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(named_while_it_lasts_and_over_by_itself),
            cmocka_unit_test(refused_pin_is_tried_once),
            cmocka_unit_test(login_without_a_reason_is_tried_once_more),
            cmocka_unit_test(broken_cable_at_login),
            cmocka_unit_test(faults_under_way),
            cmocka_unit_test(idle_session_is_kept_alive),
            cmocka_unit_test(hanging_login),
    };

    return cmocka_run_group_tests(tests, station_setup, station_teardown);
}
