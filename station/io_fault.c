/* The fault io. Promises: the same faults at the same bytes for the same settings and seed. Never
 * invents bytes. */
#include "station/io_fault.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/text.h"

struct direction {
    size_t flip_every, drop_every, gone_after;
    size_t passed; /* bytes that came this way so far */
};
struct io_faulty {
    struct io io;
    struct io *inner;
    struct io_fault fault;
    struct direction in, out;
    uint32_t random;
};

static unsigned next_bit(struct io_faulty *f)
{
    f->random = f->random * 1664525u + 1013904223u; /* Knuth's; only has to repeat */
    return f->random >> 29;
}

/* Applies the faults of one direction in place; returns how many bytes are left. */
static size_t distort(struct io_faulty *f, struct direction *d, uint8_t *bytes, size_t len)
{
    size_t kept = 0;
    for (size_t i = 0; i < len; i++) {
        d->passed++;
        if (d->drop_every && d->passed % d->drop_every == 0)
            continue;
        uint8_t byte = bytes[i];
        if (d->flip_every && d->passed % d->flip_every == 0)
            byte ^= (uint8_t)(1u << next_bit(f));
        bytes[kept++] = byte;
    }
    return kept;
}

static bool is_gone(const struct direction *d)
{
    return d->gone_after && d->passed >= d->gone_after;
}

/* No more than until the cut. */
static size_t until_gone(const struct direction *d, size_t len)
{
    if (d->gone_after && len > d->gone_after - d->passed)
        return d->gone_after - d->passed;
    return len;
}

static int faulty_read(
        struct io *io, void *bytes, size_t cap, size_t *ret_len, int64_t deadline_ms, struct err *e)
{
    struct io_faulty *f = io->ctx;
    if (f->fault.read_max && cap > f->fault.read_max)
        cap = f->fault.read_max;
    for (;;) {
        if (is_gone(&f->in) || is_gone(&f->out))
            return err_set(e, ERR_DEVICE_GONE, "injected: pulled after %zu bytes", f->in.passed);
        struct timespec pause = {.tv_sec = f->fault.read_delay_ms / 1000,
                .tv_nsec = (long)(f->fault.read_delay_ms % 1000) * 1000000};
        nanosleep(&pause, NULL);
        size_t len;
        if (f->inner->read(f->inner, bytes, until_gone(&f->in, cap), &len, deadline_ms, e))
            return -1;
        len = distort(f, &f->in, bytes, len);
        if (len > 0) {
            *ret_len = len;
            return 0;
        }
    }
}

static int faulty_write(
        struct io *io, const void *bytes, size_t len, int64_t deadline_ms, struct err *e)
{
    struct io_faulty *f = io->ctx;
    const uint8_t *at = bytes;
    while (len > 0) {
        if (is_gone(&f->in) || is_gone(&f->out))
            return err_set(e, ERR_DEVICE_GONE, "injected: pulled after %zu bytes", f->out.passed);
        uint8_t chunk[256];
        size_t n = until_gone(&f->out, len < sizeof chunk ? len : sizeof chunk);
        memcpy(chunk, at, n);
        at += n;
        len -= n;
        n = distort(f, &f->out, chunk, n);
        if (n > 0 && f->inner->write(f->inner, chunk, n, deadline_ms, e))
            return -1;
    }
    return 0;
}

static void faulty_close(struct io *io)
{
    struct io_faulty *f = io->ctx;
    io_close(&f->inner);
    free(f);
}

int io_fault_open(struct io *inner, const struct io_fault *fault, struct io **ret, struct err *e)
{
    struct io_faulty *f = malloc(sizeof *f);
    if (!f)
        return err_set(e, ERR_NOMEM, "no memory for the fault io");
    *f = (struct io_faulty){
            .io = {.read = faulty_read, .write = faulty_write, .close = faulty_close, .ctx = f},
            .inner = inner,
            .fault = *fault,
            .in = {.flip_every = fault->flip_every,
                    .drop_every = fault->drop_every,
                    .gone_after = fault->gone_after_read},
            .out = {.flip_every = fault->write_flip_every,
                    .drop_every = fault->write_drop_every,
                    .gone_after = fault->gone_after_write},
            .random = fault->seed};
    *ret = &f->io;
    return 0;
}
