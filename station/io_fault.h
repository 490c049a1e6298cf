/* An io that makes another one misbehave in a repeatable way, so that any driver can be tried against a bad cable, a
 * bad device, or one that is pulled at any byte. For tests; slotd never opens one. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "station/io.h"

/* 0 in any field: this fault does not happen. Counts are bytes, per direction. */
struct io_fault {
    size_t read_max;        /* a read gives at most this many bytes */
    unsigned read_delay_ms; /* before each read */
    size_t flip_every;      /* one bit of every Nth byte read is flipped (which one: seeded) */
    size_t drop_every;      /* every Nth byte read is lost */
    size_t write_flip_every;
    size_t write_drop_every;
    size_t gone_after_read; /* after N bytes in this direction everything is ERR_DEVICE_GONE */
    size_t gone_after_write;
    uint32_t seed;
};
/* Wraps inner; on success *ret owns it and closing *ret closes it; on failure inner stays the caller's. */
int io_fault_open(struct io *inner, const struct io_fault *fault, struct io **ret, struct err *e);
