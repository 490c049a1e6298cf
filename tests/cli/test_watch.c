/* job watch on a terminal of 80x24 and others: it fits, it keeps its place, it leaves the terminal
 * as it was; and without a terminal, and without an appliance. */
#include "cli_test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static int start(void **state)
{
    if (test_root_make(state))
        return -1;
    fake_start();
    fake_answer("SyncStatus", "{\"state\":\"online\",\"url\":\"https://up.example\"}");
    fake_answer("JobReport", "{\"job\":{\"name\":\"demo\",\"state\":\"Completed\"},\"summary\":{"
                             "\"rows\":1000,\"passed\":997,"
                             "\"failed\":3,\"first_pass_yield\":0.992,\"cycle_ms_p50\":1800,"
                             "\"cycle_ms_p95\":2400,\"failures\":[],"
                             "\"devices_per_hour\":28800,\"synced\":997},\"rows\":[{\"device_"
                             "name\":\"SENSOR-000001\"}]}");
    return 0;
}

static int stop(void **state)
{
    fake_stop();
    return test_root_remove(state);
}

static void job_is(unsigned registered, unsigned failed, const char *state)
{
    fake_answer("JobShow",
            "{\"job\":{\"name\":\"demo\",\"state\":\"%s\",\"rows\":1000,\"registered\":%u,"
            "\"failed\":%u}}",
            state, registered, failed);
}

static void slots_are(unsigned count, unsigned turn)
{
    static const struct {
        const char *state, *device, *text;
    } kinds[] = {
            {"working", "SENSOR-%06u", "making its key"},
            {"pass", "SENSOR-%06u", "registered in 1.8 s; take it out"},
            {"fail", "SENSOR-%06u",
                    "the device did not answer within 3,000 ms (The device stopped answering: "
                    "check its power and "
                    "contact, put it in again.)"},
            {"empty", "", ""},
            {"waiting", "SENSOR-%06u", "the HSM is not there \\u001b[31m(connect it)"},
    };
    char text[32768] = "", device[32];
    for (unsigned i = 0; i < count; i++) {
        unsigned kind = i == 2 ? 2 : (i + turn) % 5 == 2 ? 0 : (i + turn) % 5;
        snprintf(device, sizeof device, kind == 3 ? "%.0u" : "SENSOR-%06u",
                kind == 3 ? 0 : turn * 100 + i + 1);
        snprintf(text + strlen(text), sizeof text - strlen(text),
                "%s{\"name\":\"%02u\",\"port\":\"p\",\"state\":\"%s\",\"device_name\":\"%s\","
                "\"text\":\"%s\",\"run\":\"\",\"since\":\"\"}",
                i ? "," : "", i + 1, kinds[kind].state, device, kinds[kind].text);
    }
    fake_answer("SlotList", "{\"slots\":[%s]}", text);
}

static char *picture(const struct tty *t, unsigned columns, unsigned rows)
{
    char *p = tty_picture(t->seen, t->len, columns, rows);
    if (getenv("SHOW"))
        fprintf(stderr, "%s\n", p);
    return p;
}

/* The cursor is shown, wrapping is on, and echo is back after the last picture. */
static void assert_terminal_in_order(const struct tty *t)
{
    const char *shown = NULL, *hidden = NULL;
    struct termios settings;
    for (const char *s = t->seen; (s = strstr(s, "\033[?25")); s++)
        *(s[5] == 'h' ? &shown : &hidden) = s;
    assert_true(shown && hidden && shown > hidden);
    assert_int_equal(tcgetattr(t->fd, &settings), 0);
    assert_true(settings.c_lflag & ECHO);
}

static void sixteen_slots_fit_80x24(void **state)
{
    const char *const args[] = {"keyline", "job", "watch", "demo", NULL};
    struct tty t;
    (void)state;
    job_is(100, 1, "In progress");
    slots_are(16, 0);
    tty_start(&t, 80, 24, args);
    assert_true(tty_expect(&t, "1 failed", 5000));
    for (unsigned i = 1; i <= 12; i++) {
        usleep(250000);
        job_is(100 + 50 * i, 3, "In progress");
        slots_are(16, i);
    }
    assert_true(tty_expect(&t, "an hour", 5000) && tty_expect(&t, "about ", 5000));
    assert_true(tty_expect(&t, "700 / 1,000", 5000));
    usleep(300000);
    while (tty_expect(&t, "no such text", 50))
        ;
    char *p = picture(&t, 80, 24);
    static const char *const parts[] = {"demo", "In progress", "700 / 1,000   70 %", "3 failed   ",
            "01  ", "16  ", "03  FAIL     SENSOR-001203  the device did not answer", "\u2026",
            "Ctrl-C ends the watching"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        assert_says(p, parts[i]);
    assert_int_equal(strncmp(p, "demo", 4), 0); /* nothing scrolled: it is drawn in its place */
    free(p);
    job_is(1000, 0, "Completed");
    assert_int_equal(tty_end(&t), 0);
    assert_terminal_in_order(&t);
    p = picture(&t, 80, 60);
    assert_says(p, "Job \"demo\": Completed");
    assert_says(p, "997 of 1,000");
    assert_says(p, "keyline device show SENSOR-000001");
    free(p);
    tty_done(&t);
}

static void many_slots_stand_in_columns(void **state)
{
    static const struct {
        unsigned slots, columns, rows;
        const char *says;
    } cases[] = {
            {64, 80, 24, "64 "},
            {64, 200, 50, "64 "},
            {64, 40, 12, "more slots: make the window larger"},
            {200, 80, 24, "more slots"},
            {16, 40, 24, "16  "},
            {1, 80, 7, "01  "},
    };
    const char *const args[] = {"keyline", "job", "watch", "demo", NULL};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tty t;
        job_is(100, 1, "In progress");
        slots_are(cases[i].slots, 1);
        tty_start(&t, cases[i].columns, cases[i].rows, args);
        assert_true(
                tty_expect(&t, "make the window larger", 400) || tty_expect(&t, "Ctrl-C", 1000));
        usleep(500000);
        while (tty_expect(&t, "no such text", 50))
            ;
        char *p = picture(&t, cases[i].columns, cases[i].rows);
        assert_says(p, cases[i].says);
        assert_int_equal(strncmp(p, "demo", 4), 0);
        free(p);
        tty_type(&t, "\003");
        assert_int_equal(tty_end(&t), -SIGINT);
        assert_terminal_in_order(&t);
        tty_done(&t);
    }
}

static void waits_for_an_appliance_that_went_away(void **state)
{
    const char *const args[] = {"keyline", "job", "watch", "demo", "--until-idle", "2", NULL};
    struct tty t;
    (void)state;
    job_is(5, 0, "In progress");
    slots_are(2, 1);
    tty_start(&t, 80, 24, args);
    assert_true(tty_expect(&t, "5 / 1,000", 5000));
    fake_stop();
    assert_true(tty_expect(&t, "Waiting for the appliance", 5000));
    usleep(2500000); /* longer than the idle time: absence is not idleness */
    fake_start();
    job_is(6, 0, "In progress");
    assert_true(tty_expect(&t, "6 / 1,000", 5000));
    assert_int_equal(tty_end(&t), 3);
    assert_says(t.seen, "Nothing has moved for 2 s");
    assert_says(t.seen, "First-pass yield");
    assert_terminal_in_order(&t);
    tty_done(&t);
}

/* A stopped and a resized watch goes on: neither breaks a call off. */
static void survives_ctrl_z_and_resizing(void **state)
{
    const char *const args[] = {"keyline", "job", "watch", "demo", NULL};
    struct winsize size = {.ws_row = 24};
    struct tty t;
    int status;
    (void)state;
    job_is(8, 0, "In progress");
    slots_are(16, 1);
    test_write("answers/delay-ms", "80");
    tty_start(&t, 80, 24, args);
    assert_true(tty_expect(&t, "8 / 1,000", 5000));
    for (unsigned i = 0; i < 40; i++) {
        size.ws_col = (unsigned short)(60 + i % 40);
        assert_int_equal(ioctl(t.fd, TIOCSWINSZ, &size), 0);
        tty_expect(&t, "no such text", 5);
    }
    for (unsigned i = 0; i < 5; i++) {
        tty_type(&t, "\032");
        assert_int_equal(waitpid(t.pid, &status, WUNTRACED), t.pid);
        assert_true(WIFSTOPPED(status));
        assert_int_equal(kill(t.pid, SIGCONT), 0);
        tty_expect(&t, "no such text", 200);
    }
    unlink(test_path("answers/delay-ms"));
    job_is(1000, 0, "Completed");
    assert_int_equal(tty_end(&t), 0);
    assert_terminal_in_order(&t);
    tty_done(&t);
}

static void says_lines_without_a_terminal(void **state)
{
    (void)state;
    job_is(7, 1, "In progress");
    slots_are(3, 0);
    const struct outcome *o = keyline("job", "watch", "demo", "--until-idle", "1", NULL);
    assert_int_equal(o->status, 3);
    assert_says(o->out, "7 of 1,000 (0 %), 1 failed, 1 working");
    assert_says(o->out, "slot 03 FAIL SENSOR-000003: the device did not answer");
    test_assert_tame(o->out, false);
    job_is(1000, 0, "Completed");
    o = keyline("job", "watch", "demo", NULL);
    assert_int_equal(o->status, 0);
    assert_says(o->out, "1,000 of 1,000 (100 %)");
    o = keyline("job", "watch", "demo", "--json", NULL);
    assert_int_equal(o->status, 0);
    assert_int_equal(strncmp(o->out, "{\"job\":{\"name\":\"demo\"", 21), 0);
    job_is(10, 0, "Terminated");
    assert_int_equal(keyline("job", "watch", "demo", NULL)->status, 1);
    fake_refuse("JobShow", "NotFound", "no job is called \"demo\"");
    o = keyline("job", "watch", "demo", NULL);
    assert_int_equal(o->status, 1);
    assert_says(o->err, "[NotFound]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(sixteen_slots_fit_80x24),
            cmocka_unit_test(many_slots_stand_in_columns),
            cmocka_unit_test(waits_for_an_appliance_that_went_away),
            cmocka_unit_test(survives_ctrl_z_and_resizing),
            cmocka_unit_test(says_lines_without_a_terminal),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
