/* What every test of this room includes. */
#pragma once
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/text.h"

/* A condition that comes about by itself, or never: the machine may be busy with others. */
#define PATIENCE_MS 20000
#define wait_until(condition)                                                                      \
    do {                                                                                           \
        int64_t end_ms_ = time_monotonic_ms() + PATIENCE_MS;                                       \
        while (!(condition)) {                                                                     \
            if (time_monotonic_ms() > end_ms_)                                                     \
                fail_msg("never came about: %s", #condition);                                      \
            usleep(5000);                                                                          \
        }                                                                                          \
    } while (0)
#define assert_ok(call, e)                                                                         \
    do {                                                                                           \
        if (call)                                                                                  \
            fail_msg("%s: %s: %s", #call, err_name((e)->id), (e)->msg);                            \
    } while (0)
#define assert_err(call, e, want)                                                                  \
    do {                                                                                           \
        (e)->id = ERR_NONE;                                                                        \
        assert_int_equal(call, -1);                                                                \
        assert_string_equal(err_name((e)->id), err_name(want));                                    \
    } while (0)
