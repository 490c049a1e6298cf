/* Pauses: within their bounds whatever is drawn, doubling, and never overflowing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "jobs/sync/backoff.h"

static void ceilings_double_up_to_the_maximum(void **state)
{
    struct backoff b = {.min_ms = 1000, .max_ms = 300000};
    const uint32_t want[] = {
            1000, 2000, 4000, 8000, 16000, 32000, 64000, 128000, 256000, 300000, 300000};
    (void)state;
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        assert_int_equal(backoff_ceiling(&b), want[i]);
        assert_true(backoff_next(&b, UINT64_C(0x9e3779b97f4a7c15) * (i + 1)) <= want[i]);
    }
    backoff_reset(&b);
    assert_int_equal(backoff_ceiling(&b), 1000);
}

static void the_whole_range_is_drawn(void **state)
{
    (void)state;
    for (uint32_t failures = 0; failures < 4; failures++) {
        struct backoff low = {.min_ms = 1000, .max_ms = 300000, .failures = failures}, high = low;
        uint32_t ceiling = backoff_ceiling(&low);
        assert_int_equal(backoff_next(&low, 0), 0);
        assert_int_equal(backoff_next(&high, ceiling), ceiling);
    }
}

static void years_of_failures_do_not_overflow(void **state)
{
    struct backoff b = {.min_ms = 1, .max_ms = UINT32_MAX, .failures = UINT32_MAX - 1};
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(backoff_ceiling(&b), UINT32_MAX);
        assert_int_equal(backoff_next(&b, UINT32_MAX), UINT32_MAX);
    }
    assert_int_equal(b.failures, UINT32_MAX);
}

static void a_maximum_below_the_minimum_holds(void **state)
{
    struct backoff b = {.min_ms = 1000, .max_ms = 10};
    (void)state;
    assert_true(backoff_next(&b, UINT64_MAX) <= 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(ceilings_double_up_to_the_maximum),
            cmocka_unit_test(the_whole_range_is_drawn),
            cmocka_unit_test(years_of_failures_do_not_overflow),
            cmocka_unit_test(a_maximum_below_the_minimum_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
