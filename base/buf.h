/* Owned, growing bytes. A secret buffer is wiped whenever its memory is given back or moved. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

struct buf {
    uint8_t *data;
    size_t len;
    size_t cap;
    bool secret;
};
#define BUF_INIT        ((struct buf){0})
#define BUF_INIT_SECRET ((struct buf){.secret = true})

int buf_append(struct buf *b, const void *bytes, size_t len, struct err *e);
int buf_printf(struct buf *b, struct err *e, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));
/* Room for len more bytes; *ret_at points to them, b->len is NOT advanced. */
int buf_reserve(struct buf *b, size_t len, uint8_t **ret_at, struct err *e);
void buf_reset(struct buf *b); /* len = 0, wiped when secret, memory kept */
void buf_done(struct buf *b);  /* frees, wipes when secret, safe to repeat */
/* The bytes as a C string (a NUL is put behind them, not counted); NULL only when out of memory. */
const char *buf_str(struct buf *b);
