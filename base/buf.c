/* Owned, growing bytes. A secret buffer never leaves a copy behind: it grows by moving into fresh
 * memory and wiping the old (realloc would leave the old bytes on the heap). */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define BUF_FIRST_CAP 64u

static int grow(struct buf *b, size_t cap, struct err *e)
{
    uint8_t *data;
    if (b->secret) {
        data = malloc(cap);
        if (data != NULL && b->data != NULL) {
            memcpy(data, b->data, b->len);
            explicit_bzero(b->data, b->cap);
            free(b->data);
        }
    } else {
        data = realloc(b->data, cap);
    }
    if (data == NULL)
        return err_set(e, ERR_NOMEM, "no memory for %zu bytes", cap);
    b->data = data;
    b->cap = cap;
    return 0;
}

int buf_reserve(struct buf *b, size_t len, uint8_t **ret_at, struct err *e)
{
    if (len > SIZE_MAX / 2 - b->len)
        return err_set(e, ERR_NOMEM, "no memory for %zu more bytes", len);
    size_t need = b->len + len;
    if (need > b->cap || b->data == NULL) {
        size_t cap = b->cap < BUF_FIRST_CAP ? BUF_FIRST_CAP : b->cap;
        while (cap < need)
            cap *= 2;
        if (grow(b, cap, e) < 0)
            return -1;
    }
    *ret_at = b->data + b->len;
    return 0;
}

int buf_append(struct buf *b, const void *bytes, size_t len, struct err *e)
{
    if (len == 0)
        return 0;
    uint8_t *at;
    if (buf_reserve(b, len, &at, e) < 0)
        return -1;
    memcpy(at, bytes, len);
    b->len += len;
    return 0;
}

int buf_printf(struct buf *b, struct err *e, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        return err_set(e, ERR_BUG, "bad format string");
    uint8_t *at;
    if (buf_reserve(b, (size_t)n + 1, &at, e) < 0) /* vsnprintf writes a NUL, too */
        return -1;
    va_start(ap, fmt);
    vsnprintf((char *)at, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
    return 0;
}

void buf_reset(struct buf *b)
{
    if (b->secret && b->data != NULL)
        explicit_bzero(b->data, b->cap);
    b->len = 0;
}

void buf_done(struct buf *b)
{
    buf_reset(b);
    free(b->data);
    b->data = NULL;
    b->cap = 0;
}

const char *buf_str(struct buf *b)
{
    uint8_t *at;
    if (buf_reserve(b, 1, &at, NULL) < 0)
        return NULL;
    *at = '\0';
    return (const char *)b->data;
}
