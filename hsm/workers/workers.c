/* The worker pool: which request goes to which worker of which token, and when there is no hope.
 * Promises: each is answered once, within a bounded time, with a verified signature or with the
 * reason; what fails one token never stops another. Must never block on a worker. */
#include "hsm/workers/workers.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/config.h"
#include "base/err.h"
#include "hsm/ca.h"
#include "hsm/workers/pool_token.h"
#include "hsm/workers/request_queue.h"
#include "hsm/x509/verifier.h"
#include "hsm/workers/wire.h"

#define TRIES_MORE    2    /* than there are tokens: accidents come in pairs */
#define FIRST_POOL_MS 100  /* how often it is asked whether it still logs in: nobody tells us */
#define REQUESTS_MAX  1024 /* 16 a slot at 64 slots: above it something is wrong */

struct workers {
    struct workers_options options;
    sd_event_source *timer;
    uint64_t armed_us; /* when it will go off; UINT64_MAX: not armed */
    struct verifier *verifier;
    struct pool_token *tokens; /* in the order of the file */
    size_t token_count;
    bool spread;
    size_t turn; /* the token that is asked first, when the work is spread */
    struct request_queue queue;
    bool closing;
};

/* To the head of the queue, or back to who asked when it was tried often enough. The last one
 * first, so that their order stays. */
static void give_back(void *ctx, struct worker_request *q, const struct err *why)
{
    struct workers *w = ctx;

    if (!q)
        return;
    give_back(w, q->next, why); /* at most WORKER_REQUESTS_MAX deep */
    if (q->tries < w->token_count + TRIES_MORE)
        request_queue_push_back(&w->queue, q);
    else
        request_refuse(q, why);
}

/* ---- what is to be hoped of the tokens */

static bool hopeful(const struct workers *w)
{
    for (size_t i = 0; i < w->token_count; i++)
        if (pool_token_state(&w->tokens[i]) <= TOKEN_STARTING)
            return true;
    return false;
}

/* Of the first token that says something: with fail-over it is the one that should work. */
const struct err *workers_failure(const struct workers *w)
{
    static const struct err none;

    for (size_t i = 0; i < w->token_count; i++)
        if (pool_token_working(&w->tokens[i]))
            return &none;
    for (size_t i = 0; i < w->token_count; i++)
        if (pool_token_failure(&w->tokens[i])->id)
            return pool_token_failure(&w->tokens[i]);
    return &none;
}

static void copy_failure(const struct workers *w, struct err *ret)
{
    *ret = *workers_failure(w);
    if (!ret->id)
        err_set(ret, ERR_TOKEN, "no token took the request within %d ms", WORKERS_WAIT_MS);
}

static void refuse_next(struct workers *w, const struct err *why)
{
    request_refuse(request_queue_pop(&w->queue), why);
}

/* ---- handing out */

/* Tokens that work, and did not fail with this request already, unless there is no other. */
static unsigned candidates(const struct workers *w, const struct worker_request *q)
{
    unsigned works = 0;

    for (size_t i = 0; i < w->token_count; i++)
        if (pool_token_working(&w->tokens[i]))
            works |= w->tokens[i].options.bit;
    if (q->only)
        return works & q->only;
    return works & ~q->avoid ? works & ~q->avoid : works;
}

static struct worker *choose(struct workers *w, const struct worker_request *q)
{
    unsigned of = candidates(w, q);
    struct worker *best = NULL;

    for (size_t n = 0; n < w->token_count; n++) {
        const struct pool_token *t = &w->tokens[(w->turn + n) % w->token_count];

        if (!(of & t->options.bit))
            continue;
        best = pool_token_roomier(t, best);
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
    uint64_t first_us = w->queue.head ? w->queue.head->expires_us : UINT64_MAX;

    for (size_t i = 0; i < w->token_count; i++) {
        take_earlier(&first_us, pool_token_deadline(&w->tokens[i]));
        if (pool_token_waits_for_first(&w->tokens[i]))
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
        pool_token_start(&w->tokens[i]);
    while (w->queue.head) {
        if (w->queue.head->only && !candidates(w, w->queue.head)) {
            err_set(&why, ERR_UNAVAILABLE, "the token that was asked is not up");
            refuse_next(w, &why); /* it would hold up all that can be signed elsewhere */
            err_clear(&why);
        } else if ((k = choose(w, w->queue.head))) {
            worker_sign(k, request_queue_pop(&w->queue));
        } else {
            break;
        }
    }
    while (w->queue.head && !hopeful(w)) {
        copy_failure(w, &why);
        refuse_next(w, &why);
    }
    arm(w);
}

static void on_change(void *ctx)
{
    pump(ctx);
}

static int on_timer(sd_event_source *s, uint64_t usec, void *ctx)
{
    struct workers *w = ctx;
    uint64_t now = now_us(w);
    struct err why = {0};

    (void)s, (void)usec;
    w->armed_us = UINT64_MAX;
    for (size_t i = 0; i < w->token_count; i++)
        pool_token_check(&w->tokens[i], now);
    while (w->queue.head && w->queue.head->expires_us <= now) {
        copy_failure(w, &why);
        refuse_next(w, &why);
    }
    pump(w);
    return 0;
}

/* ---- life */

static int open_token(struct workers *w, size_t i, const char *section, struct err *e)
{
    const struct workers_options *o = &w->options;
    size_t workers = (size_t)config_num(o->config, section, "workers");
    const struct pool_token_options t = {.event = o->event,
            .program = o->program,
            .section = section,
            .label = config_get(o->config, section, "label"),
            .ca = o->ca,
            .verifier = w->verifier,
            .keepalive_ms = (uint64_t)config_num(o->config, section, "keepalive_s") * 1000,
            .workers = o->workers_max && workers > o->workers_max ? o->workers_max : workers,
            .bit = 1u << i,
            .several = w->token_count > 1,
            .first = o->first ? &o->first->tokens[i] : NULL,
            .ctx = w,
            .give_back = give_back,
            .on_change = on_change};

    return pool_token_open(&w->tokens[i], &t, e);
}

static int open_tokens(struct workers *w, struct err *e)
{
    const char *const *sections;
    size_t count = config_tokens(w->options.config, &sections);

    w->tokens = calloc(count, sizeof *w->tokens);
    if (!w->tokens)
        return err_set(e, ERR_NOMEM, "no memory for the workers");
    w->token_count = count;
    for (size_t i = 0; i < count; i++)
        if (open_token(w, i, sections[i], e) < 0)
            return -1;
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
    request_queue_init(&w->queue);
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
    for (size_t i = 0; i < w->token_count; i++)
        for (struct worker_request *q = pool_token_close(&w->tokens[i]), *next; q; q = next) {
            next = q->next;
            q->next = NULL;
            request_queue_push(&w->queue, q);
        }
    err_set(&why, ERR_UNAVAILABLE, "the signer stops");
    while (w->queue.head)
        refuse_next(w, &why);
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
    if (w->queue.waiting >= REQUESTS_MAX)
        return err_set(e, ERR_UNAVAILABLE, "%d requests wait for the HSM already", REQUESTS_MAX);
    q = malloc(sizeof *q + wanted->len);
    if (!q)
        return err_set(e, ERR_NOMEM, "no memory for a request");
    *q = *wanted;
    q->expires_us = now_us(w) + (uint64_t)WORKERS_WAIT_MS * 1000;
    memcpy(q->bytes, bytes, wanted->len);
    request_queue_push(&w->queue, q);
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
    if (!pool_token_working(&w->tokens[token]))
        return err_set(e, ERR_UNAVAILABLE, "[%s] is not up", w->tokens[token].options.section);
    q.only = w->tokens[token].options.bit;
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
static const struct pool_token *token_of(const struct workers *w, size_t *i)
{
    const struct pool_token *t = w->tokens;

    for (; *i >= t->count; t++)
        *i -= t->count;
    return t;
}

void workers_info(const struct workers *w, size_t i, struct worker_info *ret)
{
    const struct pool_token *t = token_of(w, &i);

    worker_info(t->all[i], ret);
}

const char *workers_section(const struct workers *w, size_t i)
{
    return token_of(w, &i)->options.section;
}

size_t workers_tokens(const struct workers *w)
{
    return w->token_count;
}

static unsigned tokens_in(const struct workers *w, enum token_state state)
{
    unsigned set = 0;

    for (size_t i = 0; i < w->token_count; i++)
        if (pool_token_state(&w->tokens[i]) == state)
            set |= w->tokens[i].options.bit;
    return set;
}

unsigned workers_up(const struct workers *w)
{
    return tokens_in(w, TOKEN_UP);
}

unsigned workers_starting(const struct workers *w)
{
    return tokens_in(w, TOKEN_STARTING);
}

void workers_token(const struct workers *w, size_t i, struct token_info *ret)
{
    pool_token_info(&w->tokens[i], ret);
}

size_t workers_waiting(const struct workers *w)
{
    return w->queue.waiting;
}
