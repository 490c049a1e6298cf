/* keyline-sim as a program: real pseudo-terminals, plugged and unplugged, with the driver as the
 * host. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/text.h"

static char dir[] = "/tmp/keyline-test-sim-XXXXXX";
static char ports[64], flash[64], list[64], log_file[64];

/* --- an io on a file descriptor --- */

static int fd_read(
        struct io *io, void *bytes, size_t cap, size_t *ret_len, int64_t deadline_ms, struct err *e)
{
    struct pollfd p = {.fd = *(int *)io->ctx, .events = POLLIN};
    int64_t left = deadline_ms - time_monotonic_ms();

    if (poll(&p, 1, left > 0 ? (int)left : 0) == 0)
        return err_set(e, ERR_DEVICE_SILENT, "time is up");
    ssize_t n = read(p.fd, bytes, cap);
    if (n <= 0)
        return err_set(e, ERR_DEVICE_GONE, "hung up");
    *ret_len = (size_t)n;
    return 0;
}

static int fd_write(
        struct io *io, const void *bytes, size_t len, int64_t deadline_ms, struct err *e)
{
    (void)deadline_ms;
    return write(*(int *)io->ctx, bytes, len) == (ssize_t)len
                   ? 0
                   : err_set(e, ERR_DEVICE_GONE, "hung up");
}

/* --- the program --- */

static pid_t start(char *const argv[])
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        int out = open(log_file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(out, STDOUT_FILENO);
        execv(KEYLINE_SIM, argv);
        _exit(127);
    }
    return pid;
}

static int ended(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Opens the port when a device is there; -1 when the program ended first. */
static int wait_port(const char *port, pid_t pid, int *ret_status)
{
    for (unsigned i = 0; i < 10000; i++) {
        int fd = open(port, O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (fd >= 0)
            return fd;
        int status;
        if (pid && waitpid(pid, &status, WNOHANG) == pid) {
            *ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : 255;
            return -1;
        }
        usleep(1000);
    }
    fail_msg("no device came to %s", port);
    return -1;
}

static void wait_gone(int fd)
{
    struct pollfd p = {.fd = fd, .events = 0};

    assert_int_equal(poll(&p, 1, 30000), 1);
    assert_true(p.revents & POLLHUP);
}

/* What a station does with one device; the verdict is pass when all went well. */
static bool provision(struct driver_session *s, struct driver_identity *id, struct err *e)
{
    static const uint8_t nonce[NONCE_BYTES] = {5}, cert[1200] = {0x30}, config[3000] = {'{'};
    struct buf csr = BUF_INIT, back = BUF_INIT, sig = BUF_INIT;
    bool good = driver_keyline.identify(s, id, e) == 0 &&
                driver_keyline.keygen(s, "P-256", e) == 0 &&
                driver_keyline.csr(s, id->name, nonce, &csr, e) == 0 &&
                driver_keyline.install(s, DRIVER_CERT, cert, sizeof cert, e) == 0 &&
                driver_keyline.install(s, DRIVER_CONFIG, config, sizeof config, e) == 0 &&
                driver_keyline.readback(s, DRIVER_CERT, &back, e) == 0 &&
                driver_keyline.challenge(s, nonce, &sig, e) == 0 && driver_keyline.seal(s, e) == 0;

    if (good && (back.len != sizeof cert || memcmp(back.data, cert, sizeof cert) != 0))
        good = err_set(e, ERR_DEVICE_READBACK, "other bytes") == 0;
    buf_done(&csr);
    buf_done(&back);
    buf_done(&sig);
    return good;
}

static bool serve(int fd, struct driver_identity *id, struct err *e)
{
    struct io io = {.read = fd_read, .write = fd_write, .ctx = &fd};
    struct driver_session s = {.driver = &driver_keyline, .io = &io};
    struct err ignored = {0};

    if (driver_keyline.open(&s, 1500, e) < 0)
        return false;
    bool good = provision(&s, id, e);
    driver_keyline.verdict(&s, good, good ? "PASS" : "FAIL", &ignored);
    driver_keyline.close(&s);
    return good;
}

static void write_list(unsigned count)
{
    FILE *f = fopen(list, "w");

    assert_non_null(f);
    for (unsigned i = 1; i <= count; i++)
        fprintf(f, "HW-%u\tsensor-%u\n", i, i);
    fclose(f);
}

static bool logged(const char *text)
{
    char content[8192] = "";
    FILE *f = fopen(log_file, "r");

    assert_non_null(f);
    content[fread(content, 1, sizeof content - 1, f)] = 0;
    fclose(f);
    return strstr(content, text) != NULL;
}

#define FLEET(...)                                                                                 \
    (char *[])                                                                                     \
    {                                                                                              \
        (char[]){"keyline-sim"}, (char[]){"fleet"}, (char[]){"--slots"}, (char[]){"1"},            \
                (char[]){"--ports"}, ports, (char[]){"--flash"}, flash, (char[]){"--list"},        \
                list __VA_OPT__(, ) __VA_ARGS__, NULL                                              \
    }

/* Serves one port until the fleet ends; counts per outcome. */
static int serve_fleet(
        pid_t pid, unsigned *ret_good, unsigned *ret_plugs, unsigned errors[ERR_COUNT])
{
    char port[96];
    int status = 255, fd;

    snprintf(port, sizeof port, "%s/slot01", ports);
    *ret_good = *ret_plugs = 0;
    while ((fd = wait_port(port, pid, &status)) >= 0) {
        struct driver_identity id;
        struct err e = {0};
        ++*ret_plugs;
        *ret_good += serve(fd, &id, &e);
        errors[e.id]++;
        wait_gone(fd);
        close(fd);
    }
    return status;
}

static void test_fleet(void **state)
{
    unsigned good, plugs, errors[ERR_COUNT] = {0};

    (void)state;
    write_list(8);
    assert_int_equal(serve_fleet(start(FLEET()), &good, &plugs, errors), 0);
    assert_int_equal(good, 8);
    assert_int_equal(plugs, 8);
    assert_true(logged("devices 8 passed 8 failed 0 not-tried 0 plugged 8\n"));
}

static void test_pulled_devices_come_back(void **state)
{
    unsigned good, plugs, errors[ERR_COUNT] = {0};

    (void)state;
    snprintf(flash, sizeof flash, "%s/flash-pull", dir);
    write_list(10);
    pid_t pid = start(FLEET((char[]){"--faults"}, (char[]){"pull:100%*1,noise:100%"}));
    assert_int_equal(serve_fleet(pid, &good, &plugs, errors), 0);
    assert_int_equal(good, 10);
    assert_int_equal(plugs, 20);
    assert_int_equal(errors[ERR_DEVICE_GONE], 10);
}

static void one_fault(const char *spec, enum err_id want)
{
    unsigned good, plugs, errors[ERR_COUNT] = {0};
    char faults[64];

    snprintf(flash, sizeof flash, "%s/flash-%d", dir, (int)want);
    snprintf(faults, sizeof faults, "%s", spec);
    write_list(1);
    pid_t pid = start(FLEET((char[]){"--tries"}, (char[]){"1"}, (char[]){"--faults"}, faults));
    assert_int_equal(serve_fleet(pid, &good, &plugs, errors), 1);
    assert_int_equal(good, 0);
    if (errors[want] != 1)
        fail_msg("%s: not %s", spec, err_name(want));
    assert_true(logged("passed 0 failed 1 "));
}

static void test_faults(void **state)
{
    (void)state;
    one_fault("garbage:100%", ERR_DEVICE_GARBAGE);
    one_fault("forget:100%", ERR_DEVICE_READBACK);
    one_fault("refuse@seal:100%", ERR_DEVICE_REFUSED);
    one_fault("midframe@identified:100%", ERR_DEVICE_SILENT);
}

/* A device alone; the host dies in mid-frame, the next one works; SIGTERM removes the port. */
static void test_device(void **state)
{
    char port[96];
    struct driver_identity id;
    struct err e = {0};

    (void)state;
    snprintf(port, sizeof port, "%s/alone", dir);
    snprintf(flash, sizeof flash, "%s/flash-alone", dir);
    char *argv[] = {(char[]){"keyline-sim"}, (char[]){"device"}, (char[]){"--port"}, port,
            (char[]){"--flash"}, flash, (char[]){"--hwid"}, (char[]){"../HW/1"}, (char[]){"--name"},
            (char[]){"alone"}, NULL};
    pid_t pid = start(argv);
    int fd = wait_port(port, 0, NULL);
    assert_int_equal(write(fd, "\0\5half", 6), 6);
    close(fd);
    fd = wait_port(port, 0, NULL);
    assert_true(serve(fd, &id, &e));
    assert_string_equal(id.hwid, "../HW/1");
    assert_string_equal(id.name, "alone");
    close(fd);
    kill(pid, SIGTERM);
    assert_int_equal(ended(pid), 0);
    assert_int_equal(access(port, F_OK), -1);
    char escaped[96];
    snprintf(escaped, sizeof escaped, "%s/_._HW_1/seal", flash);
    assert_int_equal(access(escaped, F_OK), 0); /* inside its directory */
}

static void test_fleet_stops(void **state)
{
    char port[96];

    (void)state;
    write_list(3);
    pid_t pid = start(FLEET());
    snprintf(port, sizeof port, "%s/slot01", ports);
    int fd = wait_port(port, 0, NULL);
    kill(pid, SIGTERM);
    assert_int_equal(ended(pid), 128 + SIGTERM);
    wait_gone(fd);
    close(fd);
    assert_int_equal(access(port, F_OK), -1);
}

static void test_usage(void **state)
{
    static const char *const wrong[] = {
            "bogus:1%", "garbage", "garbage:101%", "pull@nowhere:1%", "noise:1", "noise:1%;"};

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char faults[64];
        snprintf(faults, sizeof faults, "%s", wrong[i]);
        int null = dup(STDERR_FILENO), none = open("/dev/null", O_WRONLY);
        dup2(none, STDERR_FILENO);
        int status = ended(start(FLEET((char[]){"--faults"}, faults)));
        dup2(null, STDERR_FILENO);
        close(null);
        close(none);
        assert_int_equal(status, 2);
    }
}

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    snprintf(ports, sizeof ports, "%s/ports", dir);
    snprintf(flash, sizeof flash, "%s/flash", dir);
    snprintf(list, sizeof list, "%s/list", dir);
    snprintf(log_file, sizeof log_file, "%s/log", dir);
    return 0;
}

static int tear_down(void **state)
{
    char command[96];

    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command) == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_fleet),
            cmocka_unit_test(test_pulled_devices_come_back),
            cmocka_unit_test(test_faults),
            cmocka_unit_test(test_device),
            cmocka_unit_test(test_fleet_stops),
            cmocka_unit_test(test_usage),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
