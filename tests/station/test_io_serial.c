/* Serial ports, tried on pseudo-terminals: the other end is the device. */
#include "station_test.h"

#include <fcntl.h>
#include <sys/wait.h>

#include "station/io.h"

struct cable {
    int device; /* the pty's master */
    char port[64];
    struct io *io;
};

static int open_cable(void **state)
{
    static struct cable c;
    struct err e = {0};
    c = (struct cable){.device = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)};
    assert_true(c.device >= 0);
    assert_return_code(grantpt(c.device), errno);
    assert_return_code(unlockpt(c.device), errno);
    assert_int_equal(ptsname_r(c.device, c.port, sizeof c.port), 0);
    assert_ok(io_serial_open(c.port, 115200, &c.io, &e), &e);
    *state = &c;
    return 0;
}

static int close_cable(void **state)
{
    struct cable *c = *state;
    io_close(&c->io);
    if (c->device >= 0)
        close(c->device);
    return 0;
}

static void carries_every_byte_both_ways(void **state)
{
    struct cable *c = *state;
    struct err e = {0};
    uint8_t all[256], got[256] = {0};
    for (size_t i = 0; i < sizeof all; i++)
        all[i] = (uint8_t)i;
    assert_ok(c->io->write(c->io, all, sizeof all, time_monotonic_ms() + 1000, &e), &e);
    for (size_t at = 0; at < sizeof got;) {
        ssize_t n = read(c->device, got + at, sizeof got - at);
        assert_true(n > 0);
        at += (size_t)n;
    }
    assert_memory_equal(got, all, sizeof all); /* no echo, no CR, no XON, no signal characters */
    memset(got, 0, sizeof got);
    assert_int_equal(write(c->device, all, sizeof all), sizeof all);
    for (size_t at = 0, n = 0; at < sizeof got; at += n)
        assert_ok(c->io->read(c->io, got + at, sizeof got - at, &n, time_monotonic_ms() + 1000, &e),
                &e);
    assert_memory_equal(got, all, sizeof all);
}

static void gives_up_at_the_deadline(void **state)
{
    struct cable *c = *state;
    struct err e = {0};
    char byte;
    size_t n;
    int64_t start = time_monotonic_ms();
    assert_err(c->io->read(c->io, &byte, 1, &n, start + 50, &e), &e, ERR_DEVICE_SILENT);
    assert_in_range(time_monotonic_ms() - start, 50, 1000);
    /* a deadline in the past does not wait, but takes what is there */
    assert_int_equal(write(c->device, "x", 1), 1);
    usleep(10000);
    err_clear(&e);
    assert_ok(c->io->read(c->io, &byte, 1, &n, start - 1000, &e), &e);
    assert_int_equal(byte, 'x');
}

static void a_device_that_takes_nothing_does_not_hold_us(void **state)
{
    struct cable *c = *state;
    struct err e = {0};
    static uint8_t much[1 << 20];
    assert_err(c->io->write(c->io, much, sizeof much, time_monotonic_ms() + 50, &e), &e,
            ERR_DEVICE_SILENT);
    int64_t start = time_monotonic_ms();
    io_close(&c->io); /* nor does closing */
    assert_true(time_monotonic_ms() - start < 1000);
}

static void last_words_count_then_it_is_gone(void **state)
{
    struct cable *c = *state;
    struct err e = {0};
    char text[16];
    size_t n;
    assert_int_equal(write(c->device, "bye", 3), 3);
    usleep(10000);
    close(c->device);
    c->device = -1;
    /* the kernel may drop them with the hang-up, but we may not take them for silence */
    if (c->io->read(c->io, text, sizeof text, &n, time_monotonic_ms() + 5000, &e) == 0)
        assert_int_equal(n, 3);
    assert_err(c->io->read(c->io, text, sizeof text, &n, time_monotonic_ms() + 5000, &e), &e,
            ERR_DEVICE_GONE);
    assert_err(c->io->write(c->io, "x", 1, time_monotonic_ms() + 1000, &e), &e, ERR_DEVICE_GONE);
}

static void a_waiting_read_sees_the_pull_at_once(void **state)
{
    struct cable *c = *state;
    struct err e = {0};
    char byte;
    size_t n;
    pid_t puller = fork();
    if (puller == 0) {
        usleep(50000);
        _exit(0); /* with it goes the last master */
    }
    close(c->device);
    c->device = -1;
    int64_t start = time_monotonic_ms();
    assert_err(c->io->read(c->io, &byte, 1, &n, start + 10000, &e), &e, ERR_DEVICE_GONE);
    assert_true(time_monotonic_ms() - start < 2000);
    assert_int_equal(waitpid(puller, NULL, 0), puller);
}

static void a_port_is_for_one(void **state)
{
    struct cable *c = *state;
    struct err e = {0};
    struct io *second = NULL;
    assert_err(io_serial_open(c->port, 115200, &second, &e), &e, ERR_PORT);
    assert_null(second);
    assert_non_null(strstr(e.msg, c->port));
    assert_non_null(strstr(e.msg, "another process"));
    io_close(&c->io); /* and free again at once */
    err_clear(&e);
    assert_ok(io_serial_open(c->port, 9600, &c->io, &e), &e);
}

static void bytes_for_an_earlier_device_are_not_ours(void **state)
{
    struct cable *c = *state;
    struct err e = {0};
    char byte;
    size_t n;
    assert_int_equal(write(c->device, "old", 3), 3);
    usleep(10000);
    io_close(&c->io);
    assert_ok(io_serial_open(c->port, 115200, &c->io, &e), &e);
    assert_err(
            c->io->read(c->io, &byte, 1, &n, time_monotonic_ms() + 30, &e), &e, ERR_DEVICE_SILENT);
}

static void says_why_it_cannot_open(void **state)
{
    static const struct {
        const char *path;
        unsigned baud;
        enum err_id want;
    } cases[] = {
            {"/nonexistent/keyline/slot01", 115200, ERR_DEVICE_GONE},
            {"/etc/passwd/slot01", 115200, ERR_DEVICE_GONE}, {"/dev/null", 115200, ERR_PORT},
            {"/etc/passwd", 115200, ERR_PORT}, {"/tmp", 115200, ERR_PORT},
            {"/nonexistent/rate", 12345, ERR_PORT}, /* said before the port is touched */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = {0};
        struct io *io = NULL;
        assert_err(io_serial_open(cases[i].path, cases[i].baud, &io, &e), &e, cases[i].want);
        assert_non_null(strstr(e.msg, cases[i].path));
        assert_null(io);
    }
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, open_cable, close_cable)
    const struct CMUnitTest tests[] = {
            CASE(carries_every_byte_both_ways),
            CASE(gives_up_at_the_deadline),
            CASE(a_device_that_takes_nothing_does_not_hold_us),
            CASE(last_words_count_then_it_is_gone),
            CASE(a_waiting_read_sees_the_pull_at_once),
            CASE(a_port_is_for_one),
            CASE(bytes_for_an_earlier_device_are_not_ours),
            cmocka_unit_test(says_why_it_cannot_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
