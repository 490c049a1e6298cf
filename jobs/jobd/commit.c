/* The one place where jobd commits and answers. Promises: an answer is sent once, and only when
 * what it says is durable; when the commit fails every caller hears of it and jobd goes on. */
#include "jobs/jobd/commit.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/bus.h"
#include "base/idle.h"
#include "base/log.h"
#include "jobs/registry.h"

struct waiting {
    sd_bus_message *call, *reply; /* reply NULL: the error */
    struct err error;
};

struct commit {
    struct registry *registry;
    struct idle *idle;
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

static void flush(void *ctx)
{
    struct commit *c = ctx;
    struct err e = {0};
    if ((registry_in_transaction(c->registry) || has_promises(c)) &&
            registry_commit(c->registry, &e))
        log_err(LOG_ERR, "commit-failed", &e);
    answer_all(c, &e);
}

/* SQLite ends the transaction by itself when the disk is full or cannot be read: the work of all who
 * wait is lost for the same cause. */
static void tell_lost(struct commit *c, const struct err *why)
{
    if (why->id && !registry_in_transaction(c->registry))
        answer_all(c, why);
}

static void arm(struct commit *c)
{
    if (idle_want(c->idle) < 0 || c->count == COMMIT_REPLIES_MAX)
        flush(c);
}

int commit_new(sd_event *event, struct registry *r, struct commit **ret, struct err *e)
{
    struct commit *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(e, ERR_NOMEM, "no memory for the commit queue");
    c->registry = r;
    if (idle_new(event, COMMIT_WAIT_MS, flush, c, &c->idle, e)) {
        commit_free(&c);
        return -1;
    }
    *ret = c;
    return 0;
}

void commit_free(struct commit **c)
{
    if (!*c)
        return;
    flush(*c);
    idle_free(&(*c)->idle);
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
