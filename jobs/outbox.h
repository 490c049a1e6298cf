/* Records for upstream, in order and without gaps, and the batches they leave in. A batch's boundaries and bytes never
 * change once batch_next() gave them out. */
#pragma once
#include <stdint.h>
#include <jansson.h>
#include "base/buf.h"
#include "base/err.h"

struct event;
struct registry;
struct site;

int outbox_add(struct registry *r, const struct site *s, const struct event *ev, int64_t seq,
        json_t *members, int64_t device, struct err *e);

/* The oldest pending batch, or a new one; *ret_last 0 when there is nothing to send. Writes when it makes one. */
int batch_next(struct registry *r, uint64_t *ret_first, uint64_t *ret_last, struct buf *ret_ndjson,
        struct err *e);
/* ERR_NOT_FOUND when there is no such batch, ERR_UPSTREAM_CONFLICT when the digest is another's. Repeating it is fine. */
int batch_ack(
        struct registry *r, uint64_t first, uint64_t last, const uint8_t sha256[32], struct err *e);
int batch_refuse(struct registry *r, uint64_t first, uint64_t last, const char *error,
        const char *message, struct err *e);
/* Refused batches wait again. */
int batch_retry(struct registry *r, int *ret_count, struct err *e);

struct outbox_counts {
    uint64_t records, acknowledged, refused;
    int64_t oldest_waiting, last_ack;     /* Unix ms, 0: none */
    char error[64], message[ERR_MSG_MAX]; /* of the first refused batch */
};
int outbox_count(struct registry *r, struct outbox_counts *ret, struct err *e);
