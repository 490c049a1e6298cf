/* Paths: one directory holds a private instance, every socket fits, programs are found beside the
 * running one. */
#include "base_test.h"

#include <sys/stat.h>
#include <sys/un.h>

#include "base/file.h"
#include "base/paths.h"

static void system_paths(void **state)
{
    struct paths p;
    struct err e = {0};
    char out[PATH_MAX];
    (void)state;
    unsetenv("KEYLINE_ROOT");
    assert_ok(paths_init(&p, &e), &e);
    paths_get(&p, PATH_CONFIG, out);
    assert_string_equal(out, "/etc/keyline/keyline.conf");
    paths_get(&p, PATH_LEDGER, out);
    assert_string_equal(out, "/var/lib/keyline/signer/ledger");
    paths_get(&p, PATH_SIGNER_SOCKET, out);
    assert_string_equal(out, "/run/keyline/signer.sock");
    setenv("KEYLINE_ROOT", "", 1);
    assert_ok(paths_init(&p, &e), &e);
    assert_string_equal(p.etc, "/etc/keyline");
}

static void private_root(void **state)
{
    struct paths p;
    struct err e = {0};
    char out[PATH_MAX], want[2 * PATH_MAX], cwd[PATH_MAX];
    setenv("KEYLINE_ROOT", *state, 1);
    assert_ok(paths_init(&p, &e), &e);
    paths_get(&p, PATH_REGISTRY, out);
    snprintf(want, sizeof want, "%s/lib/jobs/registry.db", (char *)*state);
    assert_string_equal(out, want);

    assert_non_null(getcwd(cwd, sizeof cwd));
    assert_int_equal(chdir(*state), 0);
    setenv("KEYLINE_ROOT", "demo", 1);
    assert_ok(paths_init(&p, &e), &e);
    paths_get(&p, PATH_JOBS_SOCKET, out);
    snprintf(want, sizeof want, "%s/demo/run/jobs.sock", (char *)*state);
    assert_string_equal(out, want);
    assert_int_equal(chdir(cwd), 0);
}

/* The longest root that is accepted leaves room for every socket; one more is refused with a
 * reason. */
static void roots_are_short_enough_for_sockets(void **state)
{
    struct paths p;
    struct err e = {0};
    char root[PATH_MAX] = "/";
    size_t len = 1;
    (void)state;
    for (; len < 300; len++) {
        root[len] = 'r';
        root[len + 1] = '\0';
        setenv("KEYLINE_ROOT", root, 1);
        if (paths_init(&p, &e) < 0)
            break;
        for (unsigned id = 0; id < PATH_COUNT; id++) {
            char out[PATH_MAX];
            paths_get(&p, (enum path_id)id, out);
            if (strstr(out, ".sock") != NULL)
                assert_true(strlen(out) < sizeof((struct sockaddr_un *)0)->sun_path);
        }
    }
    assert_true(len > 60 && len < 110);
    assert_non_null(strstr(e.msg, "KEYLINE_ROOT"));
    assert_err(-1, &e, ERR_CONFIG);
}

static void all_names_are_set(void **state)
{
    struct paths p;
    struct err e = {0};
    (void)state;
    unsetenv("KEYLINE_ROOT");
    assert_ok(paths_init(&p, &e), &e);
    for (unsigned a = 0; a < PATH_COUNT; a++)
        for (unsigned b = 0; b < a; b++) {
            char x[PATH_MAX], y[PATH_MAX];
            paths_get(&p, (enum path_id)a, x);
            paths_get(&p, (enum path_id)b, y);
            assert_string_not_equal(x, y);
            assert_null(strstr(x, "(null)"));
        }
}

static void programs(void **state)
{
    char self[PATH_MAX], out[PATH_MAX];
    (void)state;
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(n > 0);
    self[n] = '\0';
    paths_program("test-base-paths", out);
    assert_string_equal(out, self);
    paths_program("no-such-program", out);
    const char *end = strstr(out, "/keyline/no-such-program");
    assert_non_null(end);
    assert_int_equal(out[0], '/');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(system_paths),
            scratch_test(private_root),
            cmocka_unit_test(roots_are_short_enough_for_sockets),
            cmocka_unit_test(all_names_are_set),
            cmocka_unit_test(programs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
