/* Work that is best done when the event loop has nothing else to do, and must be done soon all the same: writing many things to the
 * disk in one go. A peer that never stops sending leaves a loop no idle moment. */
#pragma once
#include <stdint.h>
#include <systemd/sd-event.h>

struct err;
struct idle;

/* fn is called with ctx each time it was wanted. late_ms: so long after that at the latest, before whatever else is to be
 * done then. */
int idle_new(sd_event *event, uint64_t late_ms, void (*fn)(void *ctx), void *ctx, struct idle **ret,
        struct err *e);
void idle_free(struct idle **i);
/* Once more, if it is not wanted already. A negative errno: the loop cannot be told, and fn may not be called. */
int idle_want(struct idle *i);
