/* slotd itself, with the simulator's devices in its port and a scripted jobd behind the door. */
#include "station_test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "fake_jobd.h"

static struct fake_jobd *jobd;
static char port[128], flash[128];
static pid_t slotd;

static pid_t spawn(const char *const argv[])
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int log = open(getenv("SLOTD_TEST_LOG") ? getenv("SLOTD_TEST_LOG") : "/dev/null",
            O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (log < 0 || dup2(log, STDERR_FILENO) < 0)
        _exit(126);
    execv(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

static pid_t plug_in(const char *hwid, const char *faults)
{
    const char *const argv[] = {KEYLINE_SIM, "device", "--port", port, "--flash", flash, "--hwid",
            hwid, faults ? "--faults" : NULL, faults, NULL};
    return spawn(argv);
}

static void end(pid_t *pid, int signal_number)
{
    if (*pid) {
        assert_return_code(kill(*pid, signal_number), errno);
        assert_int_equal(waitpid(*pid, NULL, 0), *pid);
    }
    *pid = 0;
}

static int set_up(void **state)
{
    (void)state;
    jobd = fake_jobd_new();
    fake_jobd_start(jobd);
    snprintf(port, sizeof port, "%s/slot01", jobd->root);
    snprintf(flash, sizeof flash, "%s/flash", jobd->root);
    assert_return_code(mkdir(flash, 0700), errno);
    const char *const argv[] = {
            SLOTD, "--slot", "01", "--port", port, "--driver", "keyline", "--baud", "115200", NULL};
    slotd = spawn(argv);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    end(&slotd, SIGTERM);
    fake_jobd_free(jobd);
    return 0;
}

/* Everything noted so far is an earlier device's. */
static void forget(void)
{
    jobd->tile_count = 0;
    jobd->registered = jobd->quarantined = jobd->certified_before = false;
    jobd->cert_len = 0;
    memset(jobd->order, 0, sizeof jobd->order);
    memset(jobd->failed_with, 0, sizeof jobd->failed_with);
}

static void shown(const char *prefix)
{
    for (int64_t end_ms = time_monotonic_ms() + PATIENCE_MS; !fake_jobd_saw(jobd, prefix);
            usleep(2000))
        if (time_monotonic_ms() > end_ms) {
            for (unsigned i = 0; i < jobd->tile_count && i < TILES_MAX; i++)
                print_message("tile: %s\n", jobd->tiles[i]);
            fail_msg("never shown: %s (calls: %s)", prefix, jobd->order);
        }
}

static void one_after_the_other_in_one_port(void **state)
{
    (void)state;
    shown("empty : ");
    for (int i = 0; i < 3; i++) {
        char hwid[16];
        snprintf(hwid, sizeof hwid, "SN-%d", i);
        forget();
        pid_t device = plug_in(hwid, NULL);
        shown("pass sensor-0001: ");
        assert_string_equal(jobd->order, "CNZAK");
        assert_string_equal(jobd->claimed_hwid, hwid);
        assert_false(jobd->pass_too_early);
        end(&device, SIGKILL);
        shown("empty : ");
    }
}

static void pulled_in_the_middle_it_goes_on_when_it_is_back(void **state)
{
    (void)state;
    pid_t device = plug_in("SN-1", NULL);
    jobd->complete_delay_ms = 60000; /* it is pulled while jobd takes its time */
    wait_until(jobd->calls[M_COMPLETE] == 1);
    end(&device, SIGKILL);
    end(&slotd, SIGKILL); /* and the station dies: sealed, but not recorded */
    wait_until(jobd->connections_lost == 1);
    uint8_t cert[CERT_BYTES_MAX];
    size_t len = jobd->cert_len;
    memcpy(cert, jobd->cert, len);
    forget();
    memcpy(jobd->cert, cert, len);
    jobd->cert_len = len;
    jobd->certified_before = true;
    jobd->complete_delay_ms = 0;
    device = plug_in("SN-1", NULL);
    const char *const argv[] = {
            SLOTD, "--slot=01", "--port", port, "--driver=keyline", "--baud=9600", NULL};
    slotd = spawn(argv);
    shown("pass sensor-0001: ");
    assert_string_equal(jobd->order, "CAK");
    end(&device, SIGTERM);
}

static void bad_devices_fail_and_the_next_passes(void **state)
{
    static const struct {
        const char *faults, *tile;
        bool quarantine;
    } cases[] = {
            {"wrongkey:100%", "fail sensor-0001: ", true},
            {"refuse@install:100%", "fail sensor-0001: ", false},
            {"forget:100%", "fail sensor-0001: ", false},
            {"midframe@install:100%", "fail ", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char hwid[16];
        snprintf(hwid, sizeof hwid, "BAD-%zu", i);
        forget();
        pid_t device = plug_in(hwid, cases[i].faults);
        shown(cases[i].tile);
        usleep(700000); /* it stays, also when the device is dead */
        assert_int_equal(strncmp(jobd->tiles[jobd->tile_count - 1], "fail", 4), 0);
        assert_int_equal(jobd->quarantined, cases[i].quarantine);
        assert_int_equal(jobd->calls[M_COMPLETE], 0);
        forget();
        end(&device, SIGKILL);
        shown("empty : ");
    }
    forget();
    pid_t device = plug_in("GOOD", NULL);
    shown("pass sensor-0001: ");
    end(&device, SIGKILL);
}

static void a_held_port_is_said_and_tried_again(void **state)
{
    (void)state;
    char pts[64];
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_return_code(grantpt(master), errno);
    assert_return_code(unlockpt(master), errno);
    assert_int_equal(ptsname_r(master, pts, sizeof pts), 0);
    int holder = open(pts, O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_return_code(flock(holder, LOCK_EX), errno);
    assert_return_code(symlink(pts, port), errno);
    shown("fail : ");
    assert_true(fake_jobd_saw(jobd, "fail : ") &&
                strstr(jobd->tiles[jobd->tile_count - 1], "another process holds"));
    close(holder);
    forget();
    shown("empty : "); /* nobody says hello */
    close(master);
}

static void what_is_no_port_is_said(void **state)
{
    (void)state;
    int fd = open(port, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    close(fd);
    shown("fail : ");
    unlink(port);
    shown("empty : ");
}

static void comes_up_without_jobd(void **state)
{
    (void)state;
    fake_jobd_kill(jobd);
    forget();
    pid_t device = plug_in("SN-1", NULL);
    usleep(300000);
    fake_jobd_start(jobd);
    shown("pass sensor-0001: ");
    end(&device, SIGKILL);
}

static void refuses_a_wrong_command_line(void **state)
{
    static const char *const wrong[][4] = {
            {SLOTD, NULL}, {SLOTD, "--slot=a/b", "--port=/x", NULL},
            {SLOTD, "--slot=01", "--baud=12x", NULL}, {SLOTD, "--slot=01", "--driver=none", NULL},
            {SLOTD, "--slot=77", "--baud=9600", NULL}, /* and keyline.conf has no such section */
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int status;
        pid_t pid = spawn(wrong[i]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_in_range(WEXITSTATUS(status), 1, 2);
    }
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
            CASE(one_after_the_other_in_one_port),
            CASE(pulled_in_the_middle_it_goes_on_when_it_is_back),
            CASE(bad_devices_fail_and_the_next_passes),
            CASE(a_held_port_is_said_and_tried_again),
            CASE(what_is_no_port_is_said),
            CASE(comes_up_without_jobd),
            CASE(refuses_a_wrong_command_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
