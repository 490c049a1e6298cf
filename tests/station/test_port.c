/* A plug-in is noticed at once, however the port comes into being. */
#include "station_test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "station/port.h"

#define LATENCY_MAX_MS                                                                             \
    500 /* the machine may be busy with others; without a watch it would be 5 s */

static char dir[64], port[128];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/keyline-port-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(port, sizeof port, "%s/ports/slot01", dir);
    return 0;
}

static int remove_dir(void **state)
{
    char command[256];
    (void)state;
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    return system(command);
}

/* How long the watch sleeps when a child runs `command` after 100 ms. */
static int64_t latency(const char *command)
{
    struct port_watch *w = port_watch_new(port);
    assert_non_null(w);
    pid_t child = fork();
    if (child == 0) {
        usleep(100000);
        if (chdir(dir))
            _exit(1);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(1);
    }
    int64_t start = time_monotonic_ms();
    port_watch_wait(w, 5000);
    int64_t took = time_monotonic_ms() - start;
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    port_watch_free(&w);
    assert_null(w);
    return took;
}

static void sees_every_way_of_plugging_in(void **state)
{
    (void)state;
    /* not even the directory is there */
    assert_in_range(latency("mkdir ports"), 90, LATENCY_MAX_MS);
    /* a link to something not there yet */
    assert_in_range(latency("ln -s ../tty7 ports/slot01"), 90, LATENCY_MAX_MS);
    /* its target comes into being, in another directory */
    assert_in_range(latency(": > tty7"), 90, LATENCY_MAX_MS);
    /* it is pointed elsewhere, atomically */
    assert_in_range(latency("ln -s ../tty8 new && mv -T new ports/slot01"), 90, LATENCY_MAX_MS);
}

/* The simulator's way: the link stays, the pseudo-terminal behind it comes back under the same
 * number. */
static void sees_a_pseudo_terminal_come_back(void **state)
{
    (void)state;
    char pts[64];
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(master >= 0);
    assert_int_equal(ptsname_r(master, pts, sizeof pts), 0);
    snprintf(port, sizeof port, "%s/slot01", dir);
    assert_return_code(symlink(pts, port), errno);
    close(master);
    struct port_watch *w = port_watch_new(port);
    assert_non_null(w);
    master = posix_openpt(
            O_RDWR | O_NOCTTY | O_CLOEXEC); /* the lowest free number: the same, as a rule */
    char again[64];
    assert_int_equal(ptsname_r(master, again, sizeof again), 0);
    int64_t start = time_monotonic_ms();
    port_watch_wait(w, 2000);
    if (strcmp(again, pts) == 0)
        assert_true(time_monotonic_ms() - start < LATENCY_MAX_MS);
    close(master);
    port_watch_free(&w);
}

static void sleeps_through_what_is_none_of_its_business(void **state)
{
    (void)state;
    char other[128];
    snprintf(other, sizeof other, "%s/ports", dir);
    assert_return_code(mkdir(other, 0700), errno);
    struct port_watch *w = port_watch_new(port);
    assert_non_null(w);
    snprintf(other, sizeof other, "%s/ports/slot02", dir);
    int fd = open(other, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    int64_t start = time_monotonic_ms();
    port_watch_wait(w, 150);
    assert_in_range(time_monotonic_ms() - start, 149, 1000);
    port_watch_free(&w);
}

static void what_comes_between_watch_and_wait_is_not_missed(void **state)
{
    (void)state;
    struct port_watch *w = port_watch_new(port);
    char ports[128];
    snprintf(ports, sizeof ports, "%s/ports", dir);
    assert_return_code(mkdir(ports, 0700), errno);
    int64_t start = time_monotonic_ms();
    port_watch_wait(w, 5000);
    assert_true(time_monotonic_ms() - start < LATENCY_MAX_MS);
    port_watch_free(&w);
}

static void a_hopeless_path_costs_no_core(void **state)
{
    (void)state;
    char path[9000];
    memset(path, 'x', sizeof path);
    path[0] = '/';
    path[sizeof path - 1] = '\0';
    struct port_watch *w = port_watch_new(path);
    assert_null(w);
    int64_t start = time_monotonic_ms();
    port_watch_wait(w, 5000);
    assert_in_range(time_monotonic_ms() - start, 49, 1000);
    port_watch_free(&w);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)
    const struct CMUnitTest tests[] = {
            CASE(sees_every_way_of_plugging_in),
            CASE(sees_a_pseudo_terminal_come_back),
            CASE(sleeps_through_what_is_none_of_its_business),
            CASE(what_comes_between_watch_and_wait_is_not_missed),
            cmocka_unit_test(a_hopeless_path_costs_no_core),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
