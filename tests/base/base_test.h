/* What the tests of base/ share: cmocka with the headers it needs, a scratch directory, and the
 * error a test prints when something fails that should not. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"

/* Succeeds when r is 0, else shows why it is not. */
#define assert_ok(r, e)                                                                            \
    do {                                                                                           \
        int ok_ = (r);                                                                             \
        if (ok_ != 0)                                                                              \
            fail_msg("%s: %s: %s", #r, err_name((e)->id), (e)->msg);                               \
    } while (0)

/* Succeeds when r is -1 and e holds that error; clears e. */
#define assert_err(r, e, want)                                                                     \
    do {                                                                                           \
        int r_ = (r);                                                                              \
        if (r_ != -1 || (e)->id != (want))                                                         \
            fail_msg("%s: got %d with %s (%s), not %s", #r, r_, err_name((e)->id), (e)->msg,       \
                    err_name(want));                                                               \
        err_clear(e);                                                                              \
    } while (0)

static inline int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

/* *state becomes the path of a new directory. */
static inline int scratch_setup(void **state)
{
    char *dir = strdup("/tmp/keyline-base-XXXXXX");
    *state = dir;
    return dir != NULL && mkdtemp(dir) != NULL ? 0 : -1;
}

static inline int scratch_teardown(void **state)
{
    int r = nftw(*state, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return r;
}

static inline const char *scratch_path(void **state, const char *name)
{
    static char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", (const char *)*state, name);
    return path;
}

#define scratch_test(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)
