/* A token and its workers. Promises: one login at a time, and none after a PIN was refused; what
 * happens to this token is nobody else's affair. */
#include "hsm/workers/pool_token.h"
#include <stdlib.h>
#include "base/log.h"
#include "hsm/workers/wire.h"

#define HOPELESS_STARTS 2 /* failed ones in a row: the first may have been an accident */

/* ---- what is to be hoped of it */

static const char *const state_names[TOKEN_STATE_COUNT] = {
        [TOKEN_UP] = "up",
        [TOKEN_STARTING] = "starting",
        [TOKEN_DOWN] = "down",
        [TOKEN_STOPPED] = "stopped",
};

const char *token_state_name(enum token_state s)
{
    return state_names[s];
}

static struct pool_token *first_of(struct pool_token *t)
{
    return t->options.first ? t->options.first : t;
}

/* Why its PIN is given no more; NULL: it may be. */
static const struct err *refusal(const struct pool_token *t)
{
    const struct pool_token *first = first_of((struct pool_token *)(uintptr_t)t);

    return first->refused.id ? &first->refused : NULL;
}

size_t pool_token_working(const struct pool_token *t)
{
    size_t n = 0;

    for (size_t i = 0; i < t->count; i++)
        n += worker_works(t->all[i]);
    return n;
}

enum token_state pool_token_state(const struct pool_token *t)
{
    if (pool_token_working(t))
        return TOKEN_UP;
    if (refusal(t))
        return TOKEN_STOPPED;
    /* after an accident, and once more after a start that failed */
    return t->failed_starts < HOPELESS_STARTS ? TOKEN_STARTING : TOKEN_DOWN;
}

const struct err *pool_token_failure(const struct pool_token *t)
{
    return refusal(t) ? refusal(t) : &t->last_error;
}

void pool_token_info(const struct pool_token *t, struct token_info *ret)
{
    *ret = (struct token_info){.section = t->options.section,
            .label = t->options.label,
            .state = pool_token_state(t),
            .workers = t->count,
            .working = pool_token_working(t),
            .signatures = t->latency.count,
            .errors = t->errors,
            .sign_us_p50 = latency_percentile(&t->latency, 50),
            .sign_us_p99 = latency_percentile(&t->latency, 99),
            .last_error = pool_token_failure(t)};
}

/* ---- what the workers tell */

static void on_ready(void *ctx)
{
    struct pool_token *t = ctx;

    t->failed_starts = 0;
    first_of(t)->pin_proven = true;
}

static void on_signed(void *ctx, struct worker_request *q, const uint8_t *sig, size_t len)
{
    struct pool_token *t = ctx;

    if (q->op == WIRE_SIGN)
        latency_end(&t->latency, q->turn_us);
    q->done(q->ctx, sig, len, NULL);
    free(q);
}

/* After a login that failed without a reason the PIN is given once more if it was right before: a
 * token that is pulled in the middle of one must come back by itself. */
static bool pin_in_doubt(const struct pool_token *t, const struct err *why)
{
    return why->id == ERR_TOKEN_PIN || why->id == ERR_TOKEN_LOCKED ||
           (why->id == ERR_TOKEN_LOGIN && !first_of((struct pool_token *)(uintptr_t)t)->pin_proven);
}

static void note_error(struct pool_token *t, const struct err *why)
{
    bool refused = pin_in_doubt(t, why);

    if (why->id == ERR_TOKEN_LOGIN)
        first_of(t)->pin_proven = false;
    t->last_error = *why;
    t->errors++;
    if (refused)
        err_context(&t->last_error, "restart the signer when this is corrected");
    if (t->options.several)
        err_context(&t->last_error, "[%s]", t->options.section);
    if (refused)
        first_of(t)->refused = t->last_error;
}

static void on_failed(void *ctx, const struct err *why, bool starting, struct worker_request *q)
{
    struct pool_token *t = ctx;

    note_error(t, why);
    log_err(LOG_WARNING, "worker-failed", &t->last_error);
    t->failed_starts += starting;
    if (q)
        q->avoid |= t->options.bit;
    t->options.give_back(t->options.ctx, q, &t->last_error);
}

static void on_stuck(void *ctx)
{
    struct pool_token *t = ctx;

    t->failed_starts = HOPELESS_STARTS;
}

static void on_change(void *ctx)
{
    const struct pool_token *t = ctx;

    t->options.on_change(t->options.ctx);
}

/* ---- starting */

static bool logs_in(const struct pool_token *t)
{
    for (size_t i = 0; i < t->count; i++) {
        enum worker_state s = worker_state(t->all[i]);

        /* one that is being killed may be in the middle of it */
        if (s == WORKER_STARTING || s == WORKER_TESTING || s == WORKER_DYING)
            return true;
    }
    return false;
}

/* One login at a time: with a wrong PIN, two at once would be two tries. */
static bool may_start(struct pool_token *t)
{
    return !refusal(t) && !logs_in(t) && !logs_in(first_of(t));
}

void pool_token_start(struct pool_token *t)
{
    struct err e = {0};

    for (size_t i = 0; i < t->count; i++)
        if (worker_due(t->all[i]) && may_start(t) && worker_start(t->all[i], &e) < 0) {
            log_err(LOG_ERR, "worker-not-started", &e);
            note_error(t, &e);
            t->failed_starts++;
            err_clear(&e);
        }
}

bool pool_token_waits_for_first(const struct pool_token *t)
{
    return t->options.first && logs_in(t->options.first);
}

struct worker *pool_token_roomier(const struct pool_token *t, struct worker *best)
{
    for (size_t i = 0; i < t->count; i++)
        if (worker_room(t->all[i]) > (best ? worker_room(best) : 0))
            best = t->all[i];
    return best;
}

uint64_t pool_token_deadline(const struct pool_token *t)
{
    uint64_t first_us = UINT64_MAX;

    for (size_t i = 0; i < t->count; i++)
        if (worker_deadline(t->all[i]) < first_us)
            first_us = worker_deadline(t->all[i]);
    return first_us;
}

void pool_token_check(struct pool_token *t, uint64_t now_us)
{
    for (size_t i = 0; i < t->count; i++)
        worker_check(t->all[i], now_us);
}

/* ---- life */

int pool_token_open(struct pool_token *t, const struct pool_token_options *o, struct err *e)
{
    struct worker_options w = {.event = o->event,
            .program = o->program,
            .section = o->section,
            .ca = o->ca,
            .verifier = o->verifier,
            .keepalive_ms = o->keepalive_ms,
            .owner = {t, on_ready, on_signed, on_failed, on_stuck, on_change}};

    *t = (struct pool_token){.options = *o};
    t->all = calloc(o->workers, sizeof(struct worker *));
    if (!t->all)
        return err_set(e, ERR_NOMEM, "no memory for the workers");
    for (; t->count < o->workers; t->count++)
        if (worker_new(&w, &t->all[t->count], e) < 0)
            return -1;
    return 0;
}

struct worker_request *pool_token_close(struct pool_token *t)
{
    struct worker_request *all = NULL, **end = &all;

    for (size_t i = 0; i < t->count; i++) {
        *end = worker_free(&t->all[i]);
        while (*end)
            end = &(*end)->next;
    }
    free(t->all);
    t->all = NULL;
    t->count = 0;
    return all;
}
