/* The ledger and two tokens: either vouches for it, and none is talked into believing an older one while the other is away. */
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "tests/hsm/tokens_rig.h"

/* signerd asks the tokens about its ledger before it issues: either of them must do, also after a
 * restart without the other. */
static void either_token_vouches_for_the_ledger(void **state)
{
    static const char *const away[] = {"one", "two"};
    struct unplugged u;

    (void)state;
    station_start(&st);
    wait_both();
    for (size_t i = 0; i < 2; i++) {
        /* certificates while both are up, and the time in which both are told of them */
        wait_both();
        burst(4 * i, 4);
        help_rest_ms(3000);
        station_stop(&st, SIGTERM);
        unplug(away[i], &u);
        station_start(&st);
        wait_issued(10 + i);
        replug(&u);
        wait_token(i, "up");
    }
}

static void ledger_path(const char *more, char out[PATH_MAX])
{
    paths_get(&st.paths, PATH_LEDGER, out);
    strncat(out, more, PATH_MAX - strlen(out) - 1);
}

/* The ledger as it is now into a file beside it, or back; an index is of no use with another one. */
static void copy_ledger(bool back)
{
    char is[PATH_MAX], copy[PATH_MAX], path[PATH_MAX];
    struct buf bytes = BUF_INIT;
    struct err e = {0};

    ledger_path("", is);
    ledger_path(".copy", copy);
    ok(file_read(back ? copy : is, 16u << 20, &bytes, &e));
    ok(file_write(back ? is : copy, bytes.data, bytes.len, 0600, &e));
    buf_done(&bytes);
    ledger_path(".index", path);
    unlink(path);
    ledger_path(".index.new", path);
    unlink(path);
}

static void wait_refused(size_t i, size_t upto)
{
    struct err e = {0};

    while (station_issue_new(&st, i, &e) == 0) {
        help_rest_ms(50);
        assert_true(++i < upto);
    }
    print_message("%s\n", e.msg);
    assert_int_equal(e.id, ERR_LEDGER);
    assert_non_null(strstr(e.msg, "mark"));
}

/* An old copy of the ledger is put back while the token that knows better is away: it agrees with the other one, and nobody can
 * know. When that token is back it is heard before its mark is written over, and that is the end, now and after a restart. */
static void the_token_that_knows_better_comes_back(void **state)
{
    struct unplugged one, two;

    (void)state;
    station_start(&st);
    wait_both();
    burst(0, 4);
    station_wait_marked(&st); /* in both */
    station_stop(&st, SIGTERM);
    copy_ledger(false);
    unplug("one", &one);
    station_start(&st);
    wait_issued(4);
    burst(5, 3);
    station_wait_marked(&st); /* in the second alone */
    station_stop(&st, SIGTERM);
    copy_ledger(true);
    replug(&one);
    unplug("two", &two);
    station_start(&st);
    wait_issued(8);
    burst(9, 20);             /* the wrong ledger becomes the longer one */
    station_wait_marked(&st); /* and the first has the newest mark */
    replug(&two);
    wait_token(1, "up");
    wait_refused(29, STATION_QUOTA);
    for (int round = 0; round < 2; round++) {
        station_stop(&st, round ? SIGTERM : SIGKILL);
        station_start(&st);
        wait_both();
        wait_refused(STATION_QUOTA, STATION_QUOTA + 1);
    }
    /* a person's word counts for all that are connected; with a worker each, for SoftHSM takes it ill when a login is cut off */
    station_stop(&st, SIGTERM);
    tokens_config_workers(1, "workers = 1\n");
    assert_int_equal(station_run((const char *[]){SIGNERD, "--accept-ledger", NULL}), 0);
    station_start(&st);
    wait_working(0, 1);
    wait_working(1, 1);
    wait_issued(40);
    station_wait_marked(&st);
    wait_issued(41);
}

/* The ledger is deleted while the only token that has a mark of it is away: nothing says so, but the signer waits for that token. */
static void a_deleted_ledger_waits_for_the_token_that_is_away(void **state)
{
    struct unplugged one, two;
    char path[PATH_MAX];
    struct err e = {0};

    (void)state;
    unplug("two", &two);
    assert_int_equal(station_run((const char *[]){SIGNERD, "--accept-ledger", NULL}), 0);
    station_start(&st);
    wait_working(0, 4);
    wait_issued(0);
    station_wait_marked(&st);
    station_stop(&st, SIGTERM);
    ledger_path("", path);
    assert_int_equal(unlink(path), 0);
    unplug("one", &one);
    replug(&two);
    station_start(&st);
    wait_working(1, 2);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(station_issue_new(&st, 0, &e), -1);
        assert_int_equal(e.id, ERR_UNAVAILABLE);
        err_clear(&e);
        help_rest_ms(50);
    }
    replug(&one);
    for (int tries = 0; station_issue_new(&st, 0, &e) < 0 && e.id == ERR_UNAVAILABLE; tries++) {
        assert_true(tries < 400);
        err_clear(&e);
        help_rest_ms(50);
    }
    assert_int_equal(e.id, ERR_LEDGER);
    assert_non_null(strstr(e.msg, "another ledger"));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
            TOKENS_TEST(either_token_vouches_for_the_ledger),
            TOKENS_TEST(a_deleted_ledger_waits_for_the_token_that_is_away),
            TOKENS_TEST(the_token_that_knows_better_comes_back),
    };

    return FLOW_RUN(argc, argv, tests);
}
