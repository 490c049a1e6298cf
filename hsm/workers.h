/* The pool of signerd-token workers: processes with one PKCS#11 session each, that may crash, hang and lie. A signature that
 * comes out of here verified under the CA's key. A worker that ends or does not answer in time is replaced and its request
 * is given to another; a PIN that was refused once is not tried again before signerd is restarted. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "hsm/worker.h"

struct ca;
struct err;
struct workers;

/* program: path of signerd-token. ca is borrowed until workers_close(). SIGCHLD must be blocked. */
int workers_open(sd_event *event, const char *program, size_t count, const struct ca *ca,
        struct workers **ret, struct err *e);
/* Kills the workers; requests that wait are dropped without their callback. */
void workers_close(struct workers **w);

/* sig: DER as certificates carry it, verified; NULL when e says why not. Borrowed for the call. */
typedef void (*workers_done_fn)(void *ctx, const uint8_t *sig, size_t len, const struct err *e);
/* Signs with the CA's algorithm; bytes are copied. While no worker works, and none is about to, the last failure is returned
 * at once and done is not called. ERR_UNAVAILABLE when too many requests wait. */
int workers_sign(struct workers *w, const void *bytes, size_t len, workers_done_fn done, void *ctx,
        struct err *e);

size_t workers_count(const struct workers *w);
void workers_info(const struct workers *w, size_t i, struct worker_info *ret);
/* The failure that keeps the pool from working; id ERR_NONE while it works. */
const struct err *workers_failure(const struct workers *w);
