/* The sync's door, org.keyline.Outbox1 at /org/keyline/Outbox1 on PATH_OUTBOX_SOCKET. syncd alone uses it.
 * Batches are numbered by their records, first-last, and immutable: once Next has answered with a batch, its boundaries
 * are durable and every later Next gives the same bytes until it is acknowledged.
 *   Next() -> (t first, t last, ay ndjson)   last 0: nothing to send
 *   Ack(t first, t last, ay sha256, s detail) -> ()       durable; the digest must be the batch's
 *   Refuse(t first, t last, s error, s message) -> ()     upstream holds something else or refuses: kept, shown, not retried
 *        before a person says `keyline sync retry`; later batches go on (one poison record never stops the sync)
 *   Report(s state, s error, s message, t retry_at_ms) -> ()  "online" | "offline" | "idle": for the screen
 *   Retry                                                 signal: a person asked for a try now */
#pragma once
#include <stdint.h>
#include <systemd/sd-bus.h>
#include "base/buf.h"
#include "base/err.h"

struct paths;

struct outbox_batch {
    uint64_t first, last; /* last 0: none */
    struct buf ndjson;
};
int outbox_open(const struct paths *p, sd_event *event, sd_bus **ret, struct err *e);
int outbox_next(sd_bus *bus, struct outbox_batch *ret, struct err *e);
int outbox_ack(sd_bus *bus, const struct outbox_batch *b, const uint8_t sha256[32],
        const char *detail, struct err *e);
int outbox_refuse(sd_bus *bus, const struct outbox_batch *b, const struct err *why, struct err *e);
int outbox_report(
        sd_bus *bus, const char *state, const struct err *why, int64_t retry_at_ms, struct err *e);
/* fn is called from the event loop whenever jobd asks for a try now, as long as the connection stands. */
int outbox_on_retry(sd_bus *bus, sd_bus_message_handler_t fn, void *ctx, struct err *e);
