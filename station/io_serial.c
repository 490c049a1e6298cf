/* Serial ports as struct io. Promises: raw bytes, nobody talks in between, every call ends at its
 * deadline, and a pulled device is always ERR_DEVICE_GONE whatever the kernel calls it. Never waits
 * for a carrier, never resets the device by dropping DTR on close, never becomes the controlling
 * terminal. */
#include "station/io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/text.h"

struct io_serial {
    struct io io;
    int fd;
};

static const struct {
    unsigned baud;
    speed_t speed;
} speeds[] = {
        {9600, B9600},
        {19200, B19200},
        {38400, B38400},
        {57600, B57600},
        {115200, B115200},
        {230400, B230400},
        {460800, B460800},
        {500000, B500000},
        {576000, B576000},
        {921600, B921600},
        {1000000, B1000000},
        {1152000, B1152000},
        {1500000, B1500000},
        {2000000, B2000000},
        {2500000, B2500000},
        {3000000, B3000000},
        {3500000, B3500000},
        {4000000, B4000000},
};

static int speed_find(unsigned baud, speed_t *ret, struct err *e)
{
    for (size_t i = 0; i < sizeof speeds / sizeof *speeds; i++)
        if (speeds[i].baud == baud) {
            *ret = speeds[i].speed;
            return 0;
        }
    return err_set(e, ERR_PORT, "%u baud is no rate a serial port has: use a usual one of %d to %d",
            baud, SLOT_BAUD_MIN, SLOT_BAUD_MAX);
}

/* EIO: a pty whose master closed, a USB adapter that was pulled while open; ENXIO, ENODEV: the same
 * a moment later. */
static bool errno_is_gone(int errnum)
{
    return errnum == EIO || errnum == ENXIO || errnum == ENODEV;
}

static int fail(struct err *e, int errnum, const char *doing)
{
    if (errno_is_gone(errnum))
        return err_set_code(e, ERR_DEVICE_GONE, errnum, "%s: the device was pulled", doing);
    return err_set_code(e, ERR_PORT, errnum, "%s: %s", doing, strerror(errnum));
}

/* 0 when the descriptor is ready for `events`, or hung up with nothing left to read: the caller's
 * read or write says which. Never trusts POLLHUP alone, because the last bytes before a hang-up
 * still count. */
static int wait_ready(int fd, short events, int64_t deadline_ms, struct err *e)
{
    for (;;) {
        int64_t left = deadline_ms - time_monotonic_ms();
        if (left < 0)
            left = 0;
        struct pollfd p = {.fd = fd, .events = events};
        int n = poll(&p, 1, left > INT32_MAX ? INT32_MAX : (int)left);
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return fail(e, errno, "waiting for the port");
        if (n == 0 && left == 0)
            return err_set(e, ERR_DEVICE_SILENT,
                    events & POLLIN ? "the device did not answer in time"
                                    : "the device did not take the bytes in time");
    }
}

static int serial_read(
        struct io *io, void *bytes, size_t cap, size_t *ret_len, int64_t deadline_ms, struct err *e)
{
    struct io_serial *s = io->ctx;
    for (;;) {
        if (wait_ready(s->fd, POLLIN, deadline_ms, e))
            return -1;
        ssize_t n = read(s->fd, bytes, cap);
        if (n > 0) {
            *ret_len = (size_t)n;
            return 0;
        }
        if (n == 0) /* VMIN is 1, so an end of file is a hang-up */
            return fail(e, EIO, "reading");
        if (errno != EAGAIN && errno != EINTR)
            return fail(e, errno, "reading");
    }
}

static int serial_write(
        struct io *io, const void *bytes, size_t len, int64_t deadline_ms, struct err *e)
{
    struct io_serial *s = io->ctx;
    const uint8_t *at = bytes;
    while (len > 0) {
        ssize_t n = write(s->fd, at, len);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return fail(e, errno, "writing");
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
        if (len > 0 && wait_ready(s->fd, POLLOUT, deadline_ms, e))
            return -1;
    }
    return 0;
}

static void serial_close(struct io *io)
{
    struct io_serial *s = io->ctx;
    tcflush(s->fd, TCIOFLUSH); /* else close() waits for bytes that a dead device never takes */
    ioctl(s->fd, TIOCNXCL);
    close(s->fd);
    free(s);
}

/* flock keeps out our own kind and every polite program; TIOCEXCL the others. Not on a pty: there
 * the kernel keeps the flag after the last close for as long as the other side is open, so after a
 * kill -9 nobody could open it again. */
static int lock_port(int fd, struct err *e)
{
    if (flock(fd, LOCK_EX | LOCK_NB)) {
        if (errno == EWOULDBLOCK)
            return err_set_code(e, ERR_PORT, EWOULDBLOCK, "another process holds the port");
        return fail(e, errno, "locking the port");
    }
    struct stat st;
    if (fstat(fd, &st))
        return fail(e, errno, "looking at the port");
    bool is_pty = major(st.st_rdev) >= 136 && major(st.st_rdev) <= 143;
    if (!is_pty && ioctl(fd, TIOCEXCL))
        return fail(e, errno, "locking the port");
    return 0;
}

static int set_raw(int fd, speed_t speed, struct err *e)
{
    struct termios t;
    if (tcgetattr(fd, &t))
        return errno == ENOTTY ? err_set_code(e, ERR_PORT, ENOTTY, "it is not a serial port")
                               : fail(e, errno, "reading the port's settings");
    cfmakeraw(&t);
    t.c_cflag &= ~(tcflag_t)(CSTOPB | CRTSCTS | HUPCL);
    t.c_cflag |= CLOCAL | CREAD;
    t.c_iflag |= IGNBRK; /* a plug going in reads as a break */
    t.c_cc[VMIN] = 1;
    t.c_cc[VTIME] = 0;
    cfsetispeed(&t, speed);
    cfsetospeed(&t, speed);
    if (tcsetattr(fd, TCSANOW, &t))
        return fail(e, errno, "setting the port up");
    tcflush(fd, TCIOFLUSH); /* what an earlier device said is not this one's answer */
    return 0;
}

static int open_path(const char *path, struct err *e)
{
    int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0)
        return fd;
    if (errno == ENOENT || errno == ENOTDIR || errno_is_gone(errno))
        return err_set_code(e, ERR_DEVICE_GONE, errno, "nothing is plugged in");
    if (errno == EBUSY)
        return err_set_code(e, ERR_PORT, EBUSY, "another process holds the port");
    return err_set_code(e, ERR_PORT, errno, "%s", strerror(errno));
}

int io_serial_open(const char *path, unsigned baud, struct io **ret, struct err *e)
{
    struct io_serial *s = NULL;
    speed_t speed = B0;
    if (speed_find(baud, &speed, e))
        return err_context(e, "%s", path);
    int fd = open_path(path, e);
    if (fd < 0 || lock_port(fd, e) || set_raw(fd, speed, e))
        goto fail;
    s = malloc(sizeof *s);
    if (!s) {
        err_set(e, ERR_NOMEM, "no memory for the port");
        goto fail;
    }
    *s = (struct io_serial){
            .io = {.read = serial_read, .write = serial_write, .close = serial_close, .ctx = s},
            .fd = fd};
    *ret = &s->io;
    return 0;
fail:
    if (fd >= 0)
        close(fd);
    return err_context(e, "%s", path);
}
