/* Group commit. Requests that arrive together share one transaction and so one fsync: each runs in a savepoint of its
 * own (undone alone when it fails), and no answer leaves before the commit it depends on. The commit comes when the loop
 * has nothing else to do, COMMIT_REPLIES_MAX answers wait, or one has waited for COMMIT_WAIT_MS. */
#pragma once
#include <stdint.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>
#include "base/err.h"

struct commit;
struct registry;

#define COMMIT_REPLIES_MAX                                                                         \
    256 /* more slots than that do not fit one machine; bounds the wait of the first */
#define COMMIT_WAIT_MS 50 /* the same while the loop is never idle; a commit takes 1 to 20 ms */

int commit_new(sd_event *event, struct registry *r, struct commit **ret, struct err *e);
/* Commits what is open, answers everybody. */
void commit_free(struct commit **c);

/* A request that writes: begin, work, end. When begin fails, commit_answer() the error. */
int commit_begin(struct commit *c, struct err *e);
/* Keeps the work when e holds no error, else undoes it; m (may be NULL: nobody asked) is answered with reply (taken,
 * may be NULL) or with the error after the commit. Returns what a bus handler returns. */
int commit_end(struct commit *c, sd_bus_message *m, sd_bus_message *reply, const struct err *e);
/* The answer of a request that wrote nothing: at once, or behind the commit of what it may have seen. */
int commit_answer(struct commit *c, sd_bus_message *m, sd_bus_message *reply, const struct err *e);
uint64_t commit_requests(const struct commit *c); /* ended with commit_end(), for measuring */
