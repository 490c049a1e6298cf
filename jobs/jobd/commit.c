/* The one place where jobd commits and answers. Promises: an answer is sent once, and only when
 * what it says is durable; when the commit fails every caller hears of it and jobd goes on. */
#include "jobs/jobd/commit.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/bus.h"
#include "base/log.h"
#include "jobs/registry.h"

struct waiting {
    sd_bus_message *call, *reply; /* reply NULL: the error */
    struct err error;
};

struct commit {
    struct registry *registry;
    sd_event_source *idle, *late;
    struct waiting queue[COMMIT_REPLIES_MAX];
    size_t count;
    uint64_t requests;
};

static void answer(sd_bus_message *call, sd_bus_message *reply, const struct err *e)
{
    /* A peer that is gone is told nothing, and that is fine. */
    if (reply)
        (void)sd_bus_send(NULL, reply, NULL);
    else
        (void)bus_reply_err(call, e);
}

static void answer_all(struct commit *c, const struct err *failed)
{
    for (size_t i = 0; i < c->count; i++) {
        struct waiting *w = &c->queue[i];
        bool done = w->reply && !failed->id;
        answer(w->call, done ? w->reply : NULL, w->reply ? failed : &w->error);
        sd_bus_message_unref(w->reply);
        sd_bus_message_unref(w->call);
    }
    c->count = 0;
}

static bool has_promises(const struct commit *c)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->queue[i].reply)
            return true;
    return false;
}

static void flush(struct commit *c)
{
    struct err e = {0};
    if ((registry_in_transaction(c->registry) || has_promises(c)) &&
            registry_commit(c->registry, &e))
        log_err(LOG_ERR, "commit-failed", &e);
    answer_all(c, &e);
    (void)sd_event_source_set_enabled(c->late, SD_EVENT_OFF);
}

/* SQLite ends the transaction by itself when the disk is full or cannot be read: the work of all who
 * wait is lost for the same cause. */
static void tell_lost(struct commit *c, const struct err *why)
{
    if (why->id && !registry_in_transaction(c->registry))
        answer_all(c, why);
}

static int on_idle(sd_event_source *source, void *userdata)
{
    (void)source;
    flush(userdata);
    return 0;
}

static int on_late(sd_event_source *source, uint64_t usec, void *userdata)
{
    (void)usec;
    return on_idle(source, userdata);
}

/* A defer source is always ready; at idle priority it runs when nothing else is. A peer that never
 * stops sending must not hold up the others: hence the timer. */
static void arm(struct commit *c)
{
    int r = sd_event_source_set_enabled(c->idle, SD_EVENT_ONESHOT);
    if (r >= 0 && sd_event_source_get_enabled(c->late, NULL) == 0) {
        r = sd_event_source_set_time_relative(c->late, COMMIT_WAIT_MS * UINT64_C(1000));
        if (r >= 0)
            r = sd_event_source_set_enabled(c->late, SD_EVENT_ONESHOT);
    }
    if (r < 0 || c->count == COMMIT_REPLIES_MAX)
        flush(c);
}

int commit_new(sd_event *event, struct registry *r, struct commit **ret, struct err *e)
{
    struct commit *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(e, ERR_NOMEM, "no memory for the commit queue");
    c->registry = r;
    int n = sd_event_add_defer(event, &c->idle, on_idle, c);
    if (n < 0 || (n = sd_event_source_set_priority(c->idle, SD_EVENT_PRIORITY_IDLE)) < 0 ||
            (n = sd_event_source_set_enabled(c->idle, SD_EVENT_OFF)) < 0 ||
            (n = sd_event_add_time_relative(
                     event, &c->late, CLOCK_MONOTONIC, 0, 1000, on_late, c)) < 0 ||
            (n = sd_event_source_set_priority(c->late, SD_EVENT_PRIORITY_IMPORTANT)) < 0 ||
            (n = sd_event_source_set_enabled(c->late, SD_EVENT_OFF)) < 0) {
        commit_free(&c);
        return err_set_errno(e, -n, "make the commit queue");
    }
    *ret = c;
    return 0;
}

void commit_free(struct commit **c)
{
    if (!*c)
        return;
    flush(*c);
    sd_event_source_disable_unref((*c)->idle);
    sd_event_source_disable_unref((*c)->late);
    free(*c);
    *c = NULL;
}

/* Takes reply; keeps a reference to call. */
static int enqueue(
        struct commit *c, sd_bus_message *call, sd_bus_message *reply, const struct err *e)
{
    if (call) {
        assert(c->count < COMMIT_REPLIES_MAX);
        c->queue[c->count++] =
                (struct waiting){sd_bus_message_ref(call), reply, reply ? (struct err){0} : *e};
    }
    arm(c);
    return 1;
}

int commit_begin(struct commit *c, struct err *e)
{
    /* Promises to a transaction that is gone must not be kept by the next one. */
    if (!registry_in_transaction(c->registry))
        flush(c);
    if (registry_begin(c->registry, e))
        return -1;
    if (registry_save(c->registry, e) == 0)
        return 0;
    if (!registry_in_transaction(c->registry))
        answer_all(c, e);
    return -1;
}

int commit_end(struct commit *c, sd_bus_message *m, sd_bus_message *reply, const struct err *e)
{
    struct err cause = *e;
    c->requests++;
    if (cause.id)
        registry_undo(c->registry);
    else if (registry_keep(c->registry, &cause))
        registry_undo(c->registry);
    if (m && !cause.id && !reply)
        err_set(&cause, ERR_NOMEM, "no memory for an answer");
    if (cause.id)
        reply = sd_bus_message_unref(reply);
    tell_lost(c, &cause);
    return enqueue(c, m, reply, &cause);
}

int commit_answer(struct commit *c, sd_bus_message *m, sd_bus_message *reply, const struct err *e)
{
    struct err cause = *e;
    if (!cause.id && !reply)
        err_set(&cause, ERR_NOMEM, "no memory for an answer");
    if (cause.id)
        reply = sd_bus_message_unref(reply);
    tell_lost(c, &cause);
    if (registry_in_transaction(c->registry))
        return enqueue(c, m, reply, &cause);
    answer(m, reply, &cause);
    sd_bus_message_unref(reply);
    return 1;
}

uint64_t commit_requests(const struct commit *c)
{
    return c->requests;
}
