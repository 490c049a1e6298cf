/* Secrets in memory that is locked, between guard pages, in no core file, and wiped when it is given back: OpenSSL's
 * secure heap, which OpenSSL's own private numbers use, too. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct err;

struct secret {
    uint8_t *bytes; /* NULL: none */
    size_t len;
};
#define SECRET_INIT ((struct secret){0})

/* Once in a process, before its first secret; again is no harm. ERR_NOMEM when the memory cannot be locked: a secret is
 * never put elsewhere instead. */
int secret_open(struct err *e);
/* Zeros. ERR_NOMEM; ERR_BUG without secret_open(). */
int secret_new(size_t len, struct secret *ret, struct err *e);
void secret_done(struct secret *s); /* wipes; safe to repeat */
