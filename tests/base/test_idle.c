/* Idle moments: at once in a quiet loop, in time in one that is never quiet, once for many wishes. */
#include "base/idle.h"

#include "base/text.h"
#include "base_test.h"

#define LATE_MS 100

static struct bench {
    sd_event *event;
    sd_event_source *busy;
    struct idle *idle;
    unsigned calls, turns, again;
} b;

static void on_idle(void *ctx)
{
    struct bench *t = ctx;
    t->calls++;
    if (t->again) {
        t->again--;
        assert_int_equal(idle_want(t->idle), 0);
    }
}

/* Always ready, like a peer that never stops sending. */
static int on_busy(sd_event_source *source, void *ctx)
{
    struct bench *t = ctx;
    (void)source;
    t->turns++;
    return 0;
}

static int setup(void **state)
{
    struct err e = {0};
    (void)state;
    b = (struct bench){0};
    assert_true(sd_event_new(&b.event) >= 0);
    assert_true(sd_event_add_defer(b.event, &b.busy, on_busy, &b) >= 0);
    sd_event_source_set_enabled(b.busy, SD_EVENT_OFF);
    assert_int_equal(idle_new(b.event, LATE_MS, on_idle, &b, &b.idle, &e), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    idle_free(&b.idle);
    sd_event_source_disable_unref(b.busy);
    sd_event_unref(b.event);
    return 0;
}

/* Wants it, and turns the loop until it was called; ms from the one to the other. */
static int64_t want_and_turn(void)
{
    int64_t start = time_monotonic_ms();
    unsigned calls = b.calls + 1;
    assert_int_equal(idle_want(b.idle), 0);
    while (b.calls < calls && time_monotonic_ms() - start < 20 * LATE_MS)
        sd_event_run(b.event, 1000);
    assert_int_equal(b.calls, calls);
    return time_monotonic_ms() - start;
}

static void turn_for(int64_t ms)
{
    int64_t start = time_monotonic_ms();
    while (time_monotonic_ms() - start < ms)
        sd_event_run(b.event, 1000);
}

static void at_once_when_nothing_else_is(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++)
        assert_int_equal(idle_want(b.idle), 0);
    assert_int_equal(sd_event_run(b.event, 0), 1);
    assert_int_equal(b.calls, 1);
    /* what is wanted in the middle of it comes again */
    b.again = 3;
    idle_want(b.idle);
    for (int i = 0; i < 4; i++)
        assert_int_equal(sd_event_run(b.event, 0), 1);
    assert_int_equal(b.calls, 5);
    turn_for(2 * LATE_MS); /* the timer has nothing to say */
    assert_int_equal(b.calls, 5);
}

static void after_all_others(void **state)
{
    (void)state;
    idle_want(b.idle);
    sd_event_source_set_enabled(b.busy, SD_EVENT_ONESHOT);
    sd_event_run(b.event, 0);
    assert_int_equal(b.turns, 1);
    assert_int_equal(b.calls, 0);
    sd_event_run(b.event, 0);
    assert_int_equal(b.calls, 1);
}

static void in_time_when_it_is_never_idle(void **state)
{
    int64_t took;
    (void)state;
    sd_event_source_set_enabled(b.busy, SD_EVENT_ON);
    for (int i = 0; i < 3; i++) {
        took = want_and_turn();
        assert_true(took >= LATE_MS - 1);
    }
    assert_true(b.turns > 100);
    turn_for(2 * LATE_MS);
    assert_int_equal(b.calls, 3);
}

/* The timer of an earlier wish goes off: that is too early for this one, which must come all the same. */
static void late_is_counted_from_the_wish(void **state)
{
    int64_t took;
    (void)state;
    idle_want(b.idle);
    sd_event_run(b.event, 0);
    assert_int_equal(b.calls, 1);
    turn_for(LATE_MS / 2);
    sd_event_source_set_enabled(b.busy, SD_EVENT_ON);
    took = want_and_turn();
    assert_true(took >= LATE_MS - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
            TEST(at_once_when_nothing_else_is),
            TEST(after_all_others),
            TEST(in_time_when_it_is_never_idle),
            TEST(late_is_counted_from_the_wish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
