/* The worker pool. Promises: each request is answered once, within a bounded time, with a verified
 * signature or with the reason; the workers of a token log in one after the other, and never again
 * after a refused PIN; what fails one token never stops another. Must never block on a worker. */
#include "hsm/workers.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/config.h"
#include "base/err.h"
#include "base/log.h"
#include "hsm/ca.h"
#include "hsm/checkpoint.h"
#include "hsm/latency.h"
#include "hsm/verifier.h"
#include "hsm/wire.h"

#define HOPELESS_STARTS 2    /* failed ones in a row: the first may have been an accident */
#define TRIES_MORE      2    /* than there are tokens: accidents come in pairs */
#define FIRST_POOL_MS   100  /* how often it is asked whether it still logs in: nobody tells us */
#define REQUESTS_MAX    1024 /* 16 a slot at 64 slots: above it something is wrong */

struct token {
    struct workers *pool;
    const char *section, *label;
    struct worker **all;
    size_t count;
    struct err last_error;
    struct err refused;     /* why its PIN is given no more */
    bool pin_proven;        /* a worker has logged in since a login failed without a reason */
    unsigned failed_starts; /* in a row, of whichever worker */
    uint64_t errors;
    struct latency latency;
};

struct workers {
    struct workers_options options;
    sd_event_source *timer;
    uint64_t armed_us; /* when it will go off; UINT64_MAX: not armed */
    struct verifier *verifier;
    struct token *tokens; /* in the order of the file */
    size_t token_count;
    bool spread;
    size_t turn; /* the token that is asked first, when the work is spread */
    struct worker_request *head, **tail;
    size_t waiting;
    bool closing;
};

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

/* ---- the queue */

static void push(struct workers *w, struct worker_request *q)
{
    *w->tail = q;
    w->tail = &q->next;
    w->waiting++;
}

static void push_back(struct workers *w, struct worker_request *q)
{
    q->next = w->head;
    w->head = q;
    if (!q->next)
        w->tail = &q->next;
    w->waiting++;
}

static struct worker_request *pop(struct workers *w)
{
    struct worker_request *q = w->head;

    w->head = q->next;
    if (!w->head)
        w->tail = &w->head;
    q->next = NULL;
    w->waiting--;
    return q;
}

static void refuse(struct worker_request *q, const struct err *why)
{
    q->done(q->ctx, NULL, 0, why);
    free(q);
}

/* To the head of the queue, or back to who asked when it was tried often enough. The last one
 * first, so that their order stays. */
static void give_back(struct workers *w, struct worker_request *q, const struct err *why)
{
    if (!q)
        return;
    give_back(w, q->next, why); /* at most WORKER_REQUESTS_MAX deep */
    if (q->tries < w->token_count + TRIES_MORE)
        push_back(w, q);
    else
        refuse(q, why);
}

/* ---- what is to be hoped of a token */

/* The same token in the pool that was opened first, which knows what happened to its PIN. */
static struct token *first_of(struct token *t)
{
    struct workers *first = t->pool->options.first;

    return first ? &first->tokens[t - t->pool->tokens] : t;
}

/* Why its PIN is given no more; NULL: it may be. */
static const struct err *refusal(const struct token *t)
{
    const struct token *first = first_of((struct token *)(uintptr_t)t);

    return first->refused.id ? &first->refused : NULL;
}

static unsigned bit_of(const struct token *t)
{
    return 1u << (t - t->pool->tokens);
}

static size_t working(const struct token *t)
{
    size_t n = 0;

    for (size_t i = 0; i < t->count; i++)
        n += worker_works(t->all[i]);
    return n;
}

static enum token_state state_of(const struct token *t)
{
    if (working(t))
        return TOKEN_UP;
    if (refusal(t))
        return TOKEN_STOPPED;
    /* after an accident, and once more after a start that failed */
    return t->failed_starts < HOPELESS_STARTS ? TOKEN_STARTING : TOKEN_DOWN;
}

static bool hopeful(const struct workers *w)
{
    for (size_t i = 0; i < w->token_count; i++)
        if (state_of(&w->tokens[i]) <= TOKEN_STARTING)
            return true;
    return false;
}

/* What a person must mend stands before what happened since. */
static const struct err *failure(const struct token *t)
{
    return refusal(t) ? refusal(t) : &t->last_error;
}

/* Of the first token that says something: with fail-over it is the one that should work. */
const struct err *workers_failure(const struct workers *w)
{
    static const struct err none;

    for (size_t i = 0; i < w->token_count; i++)
        if (working(&w->tokens[i]))
            return &none;
    for (size_t i = 0; i < w->token_count; i++)
        if (failure(&w->tokens[i])->id)
            return failure(&w->tokens[i]);
    return &none;
}

static void copy_failure(const struct workers *w, struct err *ret)
{
    *ret = *workers_failure(w);
    if (!ret->id)
        err_set(ret, ERR_TOKEN, "no token took the request within %d ms", WORKERS_WAIT_MS);
}

/* ---- what the workers tell */

static void on_ready(void *ctx)
{
    struct token *t = ctx;

    t->failed_starts = 0;
    first_of(t)->pin_proven = true;
}

static void on_signed(void *ctx, struct worker_request *q, const uint8_t *sig, size_t len)
{
    struct token *t = ctx;

    if (q->op == WIRE_SIGN)
        latency_end(&t->latency, q->turn_us);
    q->done(q->ctx, sig, len, NULL);
    free(q);
}

/* After a login that failed without a reason the PIN is given once more if it was right before: a
 * token that is pulled in the middle of one must come back by itself. */
static bool pin_in_doubt(const struct token *t, const struct err *why)
{
    return why->id == ERR_TOKEN_PIN || why->id == ERR_TOKEN_LOCKED ||
           (why->id == ERR_TOKEN_LOGIN && !first_of((struct token *)(uintptr_t)t)->pin_proven);
}

static void note_error(struct token *t, const struct err *why)
{
    bool refused = pin_in_doubt(t, why);

    if (why->id == ERR_TOKEN_LOGIN)
        first_of(t)->pin_proven = false;
    t->last_error = *why;
    t->errors++;
    if (refused)
        err_context(&t->last_error, "restart the signer when this is corrected");
    if (t->pool->token_count > 1)
        err_context(&t->last_error, "[%s]", t->section);
    if (refused)
        first_of(t)->refused = t->last_error;
}

static void on_failed(void *ctx, const struct err *why, bool starting, struct worker_request *q)
{
    struct token *t = ctx;

    note_error(t, why);
    log_err(LOG_WARNING, "worker-failed", &t->last_error);
    t->failed_starts += starting;
    if (q)
        q->avoid |= bit_of(t);
    give_back(t->pool, q, &t->last_error);
}

static void on_stuck(void *ctx)
{
    struct token *t = ctx;

    t->failed_starts = HOPELESS_STARTS;
}

/* ---- starting */

static bool logs_in(const struct token *t)
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
static bool may_start(struct token *t)
{
    return !refusal(t) && !logs_in(t) && !logs_in(first_of(t));
}

static void start_workers(struct token *t)
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

/* ---- handing out */

/* The worker of this token with the most room, if that is more than `best` has: a second request is
 * given to nobody while another is idle. */
static struct worker *roomier(const struct token *t, struct worker *best)
{
    for (size_t i = 0; i < t->count; i++)
        if (worker_room(t->all[i]) > (best ? worker_room(best) : 0))
            best = t->all[i];
    return best;
}

/* Tokens that work, and did not fail with this request already, unless there is no other. */
static unsigned candidates(const struct workers *w, const struct worker_request *q)
{
    unsigned works = 0;

    for (size_t i = 0; i < w->token_count; i++)
        if (working(&w->tokens[i]))
            works |= bit_of(&w->tokens[i]);
    if (q->only)
        return works & q->only;
    return works & ~q->avoid ? works & ~q->avoid : works;
}

static struct worker *choose(struct workers *w, const struct worker_request *q)
{
    unsigned of = candidates(w, q);
    struct worker *best = NULL;

    for (size_t n = 0; n < w->token_count; n++) {
        const struct token *t = &w->tokens[(w->turn + n) % w->token_count];

        if (!(of & bit_of(t)))
            continue;
        best = roomier(t, best);
        if (!w->spread)
            return best; /* the first has all of it, also when its workers are all busy */
    }
    if (w->spread)
        w->turn = (w->turn + 1) % w->token_count;
    return best;
}

static uint64_t now_us(const struct workers *w)
{
    uint64_t us = 0;

    sd_event_now(w->options.event, CLOCK_MONOTONIC, &us);
    return us;
}

static void take_earlier(uint64_t *first_us, uint64_t us)
{
    if (us < *first_us)
        *first_us = us;
}

/* The timer is moved only when something is due before it goes off: deadlines that are met in time
 * cost no system call. */
static void arm(struct workers *w)
{
    uint64_t first_us = w->head ? w->head->expires_us : UINT64_MAX;

    for (size_t t = 0; t < w->token_count; t++) {
        for (size_t i = 0; i < w->tokens[t].count; i++)
            take_earlier(&first_us, worker_deadline(w->tokens[t].all[i]));
        if (first_of(&w->tokens[t]) != &w->tokens[t] && logs_in(first_of(&w->tokens[t])))
            take_earlier(&first_us, now_us(w) + FIRST_POOL_MS * 1000);
    }
    if (first_us >= w->armed_us)
        return;
    w->armed_us = first_us;
    sd_event_source_set_time(w->timer, first_us);
    sd_event_source_set_enabled(w->timer, SD_EVENT_ONESHOT);
}

/* Starts what may be started, hands out what waits, refuses what has no hope. Anything may call it.
 */
static void pump(struct workers *w)
{
    struct worker *k;
    struct err why = {0};

    for (size_t i = 0; i < w->token_count; i++)
        start_workers(&w->tokens[i]);
    while (w->head) {
        if (w->head->only && !candidates(w, w->head)) {
            err_set(&why, ERR_UNAVAILABLE, "the token that was asked is not up");
            refuse(pop(w), &why); /* it would hold up all that can be signed elsewhere */
            err_clear(&why);
        } else if ((k = choose(w, w->head))) {
            worker_sign(k, pop(w));
        } else {
            break;
        }
    }
    while (w->head && !hopeful(w)) {
        copy_failure(w, &why);
        refuse(pop(w), &why);
    }
    arm(w);
}

static void on_change(void *ctx)
{
    struct token *t = ctx;

    pump(t->pool);
}

static int on_timer(sd_event_source *s, uint64_t usec, void *ctx)
{
    struct workers *w = ctx;
    uint64_t now = now_us(w);
    struct err why = {0};

    (void)s, (void)usec;
    w->armed_us = UINT64_MAX;
    for (size_t t = 0; t < w->token_count; t++)
        for (size_t i = 0; i < w->tokens[t].count; i++)
            worker_check(w->tokens[t].all[i], now);
    while (w->head && w->head->expires_us <= now) {
        copy_failure(w, &why);
        refuse(pop(w), &why);
    }
    pump(w);
    return 0;
}

/* ---- life */

static int open_token(struct workers *w, struct token *t, const char *section, struct err *e)
{
    const struct config *c = w->options.config;
    size_t max = w->options.workers_max, count = (size_t)config_num(c, section, "workers");
    struct worker_options o = {.event = w->options.event,
            .program = w->options.program,
            .section = section,
            .ca = w->options.ca,
            .verifier = w->verifier,
            .keepalive_ms = (uint64_t)config_num(c, section, "keepalive_s") * 1000,
            .owner = {t, on_ready, on_signed, on_failed, on_stuck, on_change}};

    t->pool = w;
    t->section = section;
    t->label = config_get(c, section, "label");
    if (max && count > max)
        count = max;
    t->all = calloc(count, sizeof(struct worker *));
    if (!t->all)
        return err_set(e, ERR_NOMEM, "no memory for the workers");
    for (; t->count < count; t->count++)
        if (worker_new(&o, &t->all[t->count], e) < 0)
            return -1;
    return 0;
}

static int open_tokens(struct workers *w, struct err *e)
{
    const char *const *sections;
    size_t count = config_tokens(w->options.config, &sections);

    w->tokens = calloc(count, sizeof *w->tokens);
    if (!w->tokens)
        return err_set(e, ERR_NOMEM, "no memory for the workers");
    for (; w->token_count < count; w->token_count++)
        if (open_token(w, &w->tokens[w->token_count], sections[w->token_count], e) < 0) {
            w->token_count++;
            return -1;
        }
    return 0;
}

int workers_open(const struct workers_options *o, struct workers **ret, struct err *e)
{
    struct workers *w = calloc(1, sizeof *w);
    int r;

    if (!w)
        return err_set(e, ERR_NOMEM, "no memory for the workers");
    w->options = *o;
    w->options.program = strdup(o->program);
    sd_event_ref(o->event);
    w->tail = &w->head;
    w->armed_us = UINT64_MAX;
    w->spread = strcmp(config_get(o->config, "signer", "tokens"), "spread") == 0;
    if (!w->options.program) {
        err_set(e, ERR_NOMEM, "no memory for the workers");
        goto failed;
    }
    r = sd_event_add_time(o->event, &w->timer, CLOCK_MONOTONIC, UINT64_MAX, 1000, on_timer, w);
    if (r < 0) {
        err_set_errno(e, -r, "prepare the workers");
        goto failed;
    }
    if (verifier_new(o->ca->key, o->ca->alg, &w->verifier, e) < 0 || open_tokens(w, e) < 0)
        goto failed;
    pump(w);
    *ret = w;
    return 0;
failed:
    workers_close(&w);
    return -1;
}

void workers_close(struct workers **pw)
{
    struct workers *w = *pw;
    struct err why = {0};

    if (!w)
        return;
    w->closing = true;
    for (size_t t = 0; t < w->token_count; t++) {
        for (size_t i = 0; i < w->tokens[t].count; i++)
            for (struct worker_request *q = worker_free(&w->tokens[t].all[i]), *next; q; q = next) {
                next = q->next;
                push(w, q);
                q->next = NULL;
            }
        free(w->tokens[t].all);
    }
    err_set(&why, ERR_UNAVAILABLE, "the signer stops");
    while (w->head)
        refuse(pop(w), &why);
    sd_event_source_disable_unref(w->timer);
    sd_event_unref(w->options.event);
    verifier_free(&w->verifier);
    free(w->tokens);
    free((void *)(uintptr_t)w->options.program);
    free(w);
    *pw = NULL;
}

static int enqueue(
        struct workers *w, const struct worker_request *wanted, const void *bytes, struct err *e)
{
    struct worker_request *q;
    struct err why = {0};

    assert(wanted->len <= CRL_BYTES_MAX);
    if (w->closing)
        return err_set(e, ERR_UNAVAILABLE, "the signer stops");
    if (!hopeful(w)) {
        copy_failure(w, &why);
        return err_set_code(e, why.id, why.code, "%s", why.msg);
    }
    if (w->waiting >= REQUESTS_MAX)
        return err_set(e, ERR_UNAVAILABLE, "%d requests wait for the HSM already", REQUESTS_MAX);
    q = malloc(sizeof *q + wanted->len);
    if (!q)
        return err_set(e, ERR_NOMEM, "no memory for a request");
    *q = *wanted;
    q->expires_us = now_us(w) + (uint64_t)WORKERS_WAIT_MS * 1000;
    memcpy(q->bytes, bytes, wanted->len);
    push(w, q);
    pump(w);
    return 0;
}

int workers_sign(struct workers *w, const void *bytes, size_t len, workers_done_fn done, void *ctx,
        struct err *e)
{
    const struct worker_request q = {.op = WIRE_SIGN, .done = done, .ctx = ctx, .len = len};

    return enqueue(w, &q, bytes, e);
}

int workers_ask(struct workers *w, size_t token, const struct worker_request *kind,
        const void *bytes, struct err *e)
{
    struct worker_request q = *kind;

    if (token == WORKERS_ANY)
        return enqueue(w, &q, bytes, e);
    if (!working(&w->tokens[token]))
        return err_set(e, ERR_UNAVAILABLE, "[%s] is not up", w->tokens[token].section);
    q.only = bit_of(&w->tokens[token]);
    return enqueue(w, &q, bytes, e);
}

/* ---- health */

size_t workers_count(const struct workers *w)
{
    size_t n = 0;

    for (size_t i = 0; i < w->token_count; i++)
        n += w->tokens[i].count;
    return n;
}

/* The token of worker i of all; i becomes its place in the token. */
static const struct token *token_of(const struct workers *w, size_t *i)
{
    const struct token *t = w->tokens;

    for (; *i >= t->count; t++)
        *i -= t->count;
    return t;
}

void workers_info(const struct workers *w, size_t i, struct worker_info *ret)
{
    const struct token *t = token_of(w, &i);

    worker_info(t->all[i], ret);
}

const char *workers_section(const struct workers *w, size_t i)
{
    return token_of(w, &i)->section;
}

size_t workers_tokens(const struct workers *w)
{
    return w->token_count;
}

void workers_token(const struct workers *w, size_t i, struct token_info *ret)
{
    const struct token *t = &w->tokens[i];

    *ret = (struct token_info){.section = t->section,
            .label = t->label,
            .state = state_of(t),
            .workers = t->count,
            .working = working(t),
            .signatures = t->latency.count,
            .errors = t->errors,
            .sign_us_p50 = latency_percentile(&t->latency, 50),
            .sign_us_p99 = latency_percentile(&t->latency, 99),
            .last_error = failure(t)};
}

size_t workers_waiting(const struct workers *w)
{
    return w->waiting;
}
