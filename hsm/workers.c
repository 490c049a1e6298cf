/* The worker pool. Promises: each request is answered once, within a bounded time, with a verified
 * signature or with the reason; workers log in one after the other, and never again after a refused
 * PIN. Must never block on a worker. */
#include "hsm/workers.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/log.h"
#include "hsm/ca.h"
#include "hsm/verifier.h"
#include "hsm/wire.h"

#define HOPELESS_STARTS 2 /* failed ones in a row: the first may have been an accident */
#define TRIES_MAX       3
#define REQUESTS_MAX    1024 /* 16 a slot at 64 slots: above it something is wrong */

struct workers {
    sd_event *event;
    sd_event_source *timer;
    uint64_t armed_us; /* when it will go off; UINT64_MAX: not armed */
    char *program;
    struct verifier *verifier;
    struct worker **all;
    size_t count;
    struct worker_request *head, **tail;
    size_t waiting;
    struct err failure;
    int pin_refused;
    unsigned failed_starts; /* in a row, of whichever worker */
};

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

/* ---- what the workers tell */

static void on_ready(void *ctx)
{
    struct workers *w = ctx;

    w->failure = (struct err){0};
    w->failed_starts = 0;
}

static void on_signed(void *ctx, struct worker_request *q, const uint8_t *sig, size_t len)
{
    (void)ctx;
    q->done(q->ctx, sig, len, NULL);
    free(q);
}

/* To the head of the queue, or back to who asked when it was tried often enough. The last one
 * first, so that their order stays. */
static void give_back(struct workers *w, struct worker_request *q, const struct err *why)
{
    if (!q)
        return;
    give_back(w, q->next, why); /* at most WORKER_REQUESTS_MAX deep */
    if (q->tries < TRIES_MAX) {
        push_back(w, q);
        return;
    }
    q->done(q->ctx, NULL, 0, why);
    free(q);
}

static void on_failed(void *ctx, const struct err *why, bool starting, struct worker_request *q)
{
    struct workers *w = ctx;

    w->failure = *why;
    if (why->id == ERR_TOKEN_PIN || why->id == ERR_TOKEN_LOCKED) {
        w->pin_refused = 1;
        err_context(&w->failure, "restart the signer when this is corrected");
    }
    log_err(LOG_WARNING, "worker-failed", &w->failure);
    w->failed_starts += starting;
    give_back(w, q, why);
}

static void on_stuck(void *ctx)
{
    struct workers *w = ctx;

    w->failed_starts = HOPELESS_STARTS;
}

/* ---- the pool */

static int may_start(const struct workers *w)
{
    if (w->pin_refused)
        return 0;
    /* one login at a time: with a wrong PIN, two at once would be two tries; and one that is being
     * killed may be in the middle of its own */
    for (size_t i = 0; i < w->count; i++) {
        enum worker_state s = worker_state(w->all[i]);

        if (s == WORKER_STARTING || s == WORKER_TESTING || s == WORKER_DYING)
            return 0;
    }
    return 1;
}

/* Some worker works, or may be expected to in a moment: after an accident, and once more after a
 * start that failed. */
static int hopeful(const struct workers *w)
{
    int r = !w->pin_refused && w->failed_starts < HOPELESS_STARTS;

    for (size_t i = 0; i < w->count && !r; i++)
        r = worker_works(w->all[i]);
    return r;
}

/* The one with the most room: a second request is given to nobody while another is idle. */
static struct worker *choose(const struct workers *w)
{
    struct worker *best = NULL;

    for (size_t i = 0; i < w->count; i++)
        if (worker_room(w->all[i]) > (best ? worker_room(best) : 0))
            best = w->all[i];
    return best;
}

/* The timer is moved only when something is due before it goes off: deadlines that are met in time
 * cost no system call. */
static void arm(struct workers *w)
{
    uint64_t first_us = UINT64_MAX;

    for (size_t i = 0; i < w->count; i++)
        if (worker_deadline(w->all[i]) < first_us)
            first_us = worker_deadline(w->all[i]);
    if (first_us >= w->armed_us)
        return;
    w->armed_us = first_us;
    sd_event_source_set_time(w->timer, first_us);
    sd_event_source_set_enabled(w->timer, SD_EVENT_ONESHOT);
}

/* Starts what may be started, hands out what waits, refuses what has no hope. Anything may call it.
 */
static void pump(void *ctx)
{
    struct workers *w = ctx;
    struct worker *k;
    struct err e = {0};

    for (size_t i = 0; i < w->count; i++)
        if (worker_due(w->all[i]) && may_start(w) && worker_start(w->all[i], &e) < 0) {
            log_err(LOG_ERR, "worker-not-started", &e);
            w->failure = e;
            w->failed_starts++;
            err_clear(&e);
        }
    while (w->head && (k = choose(w)))
        worker_sign(k, pop(w));
    while (w->head && !hopeful(w)) {
        struct worker_request *q = pop(w);

        q->done(q->ctx, NULL, 0, &w->failure);
        free(q);
    }
    arm(w);
}

static int on_timer(sd_event_source *s, uint64_t usec, void *ctx)
{
    struct workers *w = ctx;
    uint64_t now_us = usec;

    (void)s;
    w->armed_us = UINT64_MAX;
    sd_event_now(w->event, CLOCK_MONOTONIC, &now_us);
    for (size_t i = 0; i < w->count; i++)
        worker_check(w->all[i], now_us);
    pump(w);
    return 0;
}

int workers_open(sd_event *event, const char *program, size_t count, const struct ca *ca,
        struct workers **ret, struct err *e)
{
    struct workers *w = calloc(1, sizeof *w);
    struct worker_options o = {
            .event = event, .ca = ca, .owner = {w, on_ready, on_signed, on_failed, on_stuck, pump}};
    int r;

    if (!w)
        return err_set(e, ERR_NOMEM, "no memory for the workers");
    w->tail = &w->head;
    w->event = sd_event_ref(event);
    w->armed_us = UINT64_MAX;
    r = sd_event_add_time(event, &w->timer, CLOCK_MONOTONIC, UINT64_MAX, 1000, on_timer, w);
    if (r < 0) {
        err_set_errno(e, -r, "prepare the workers");
        goto failed;
    }
    o.program = w->program = strdup(program);
    w->all = calloc(count, sizeof(struct worker *));
    if (!w->program || !w->all) {
        err_set(e, ERR_NOMEM, "no memory for the workers");
        goto failed;
    }
    if (verifier_new(ca->key, ca->alg, &w->verifier, e) < 0)
        goto failed;
    o.verifier = w->verifier;
    for (; w->count < count; w->count++)
        if (worker_new(&o, &w->all[w->count], e) < 0)
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

    if (!w)
        return;
    for (size_t i = 0; i < w->count; i++)
        worker_free(&w->all[i]);
    while (w->head)
        free(pop(w));
    sd_event_source_disable_unref(w->timer);
    sd_event_unref(w->event);
    free(w->all);
    free(w->program);
    verifier_free(&w->verifier);
    free(w);
    *pw = NULL;
}

int workers_sign(struct workers *w, const void *bytes, size_t len, workers_done_fn done, void *ctx,
        struct err *e)
{
    struct worker_request *q;

    assert(len <= WIRE_BODY_MAX);
    if (!hopeful(w))
        return err_set_code(e, w->failure.id ? w->failure.id : ERR_TOKEN, w->failure.code, "%s",
                w->failure.msg);
    if (w->waiting >= REQUESTS_MAX)
        return err_set(e, ERR_UNAVAILABLE, "%d requests wait for the HSM already", REQUESTS_MAX);
    q = malloc(sizeof *q + len);
    if (!q)
        return err_set(e, ERR_NOMEM, "no memory for a request");
    *q = (struct worker_request){.done = done, .ctx = ctx, .len = len};
    memcpy(q->bytes, bytes, len);
    push(w, q);
    pump(w);
    return 0;
}

size_t workers_count(const struct workers *w)
{
    return w->count;
}

void workers_info(const struct workers *w, size_t i, struct worker_info *ret)
{
    worker_info(w->all[i], ret);
}

const struct err *workers_failure(const struct workers *w)
{
    return &w->failure;
}
