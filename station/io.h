/* The only way bytes go to and from a device. Serial, USB, capture, replay and fault are all struct io, so any of them
 * can stand around any driver. Deadlines are absolute (CLOCK_MONOTONIC milliseconds, time_monotonic_ms()). */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

struct io {
    /* At least 1 byte, at most cap, as soon as there are any. ERR_DEVICE_SILENT at the deadline, ERR_DEVICE_GONE when
     * the device was pulled. */
    int (*read)(struct io *io, void *bytes, size_t cap, size_t *ret_len, int64_t deadline_ms,
            struct err *e);
    /* All of it. */
    int (*write)(struct io *io, const void *bytes, size_t len, int64_t deadline_ms, struct err *e);
    void (*close)(struct io *io); /* frees io */
    void *ctx;
};
static inline void io_close(struct io **io)
{
    if (*io)
        (*io)->close(*io);
    *io = NULL;
}

/* Serial: raw 8N1 termios, TIOCEXCL and flock so that no other program talks in between. A path that does not exist is
 * ERR_DEVICE_GONE (nothing plugged in), one that cannot be opened or is held by another process ERR_PORT. */
int io_serial_open(const char *path, unsigned baud, struct io **ret, struct err *e);
