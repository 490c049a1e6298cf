/* The ledger's mark where there are several tokens: written to each that is up, read from each. A token
 * that was away when the mark was written has an older one, which is no lie as long as the ledger has
 * that state behind it; so each of them is told, not the newest alone. Promises one answer, after the
 * last of theirs, and that no token's mark is written over before it was read. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "hsm/ledger/checkpoint.h"
#include "hsm/workers/wire.h"
#include "hsm/workers/workers.h"

#define TOKENS_MAX (CONF_TOKENS_MAX + 1)

struct question {
    struct round *round;
    unsigned bit;
};
struct round {
    struct workers *workers;
    uint8_t op;
    size_t len;
    uint8_t bytes[MARK_BYTES + NAME_BYTES_MAX];
    workers_done_fn done;
    void *ctx;
    unsigned *heard;
    struct question questions[TOKENS_MAX]; /* to each token */
    struct question any;                   /* to whichever token comes up, so that somebody does */
    size_t pending, answered;
    struct buf best, others; /* others: their marks, without the byte before */
    struct err first_error;
};

/* What says more stands before what says less; of two marks the newer one. */
static bool is_better(const uint8_t *answer, size_t len, const struct buf *best)
{
    static const int rank[] = {
            [MARK_CANNOT] = 1, [MARK_NONE] = 2, [MARK_FOUND] = 3, [MARK_WRITTEN] = 3};
    int a = answer[0] < sizeof rank / sizeof *rank ? rank[answer[0]] : 0;
    int b = best->len ? rank[best->data[0]] : 0;
    struct mark mine, other;

    if (a != b || answer[0] != MARK_FOUND)
        return a > b;
    return mark_decode(answer + 1, len - 1, &mine) == 0 &&
           (mark_decode(best->data + 1, best->len - 1, &other) < 0 || mine.writes > other.writes);
}

static void keep_other(struct round *r, const uint8_t *answer, size_t len)
{
    if (len && answer[0] == MARK_FOUND)
        buf_append(&r->others, answer + 1, len - 1, &r->first_error);
}

static void keep(struct round *r, const uint8_t *answer, size_t len)
{
    if (!is_better(answer, len, &r->best)) {
        keep_other(r, answer, len);
        return;
    }
    keep_other(r, r->best.data, r->best.len);
    buf_reset(&r->best);
    buf_append(&r->best, answer, len, &r->first_error);
}

static void finish(struct round *r)
{
    static const uint8_t elsewhere[] = {MARK_ELSEWHERE};
    bool all = r->answered >= workers_tokens(r->workers);

    if (!r->best.len && !r->first_error.id)
        err_set(&r->first_error, ERR_PROTOCOL, "the token workers say nothing about the mark");
    if (!r->best.len || buf_append(&r->best, r->others.data, r->others.len, &r->first_error) < 0)
        r->done(r->ctx, NULL, 0, &r->first_error);
    else if (r->op == WIRE_MARK_READ && r->best.data[0] != MARK_FOUND && !all)
        r->done(r->ctx, elsewhere, sizeof elsewhere, NULL);
    else
        r->done(r->ctx, r->best.data, r->best.len, NULL);
    buf_done(&r->best);
    buf_done(&r->others);
    free(r);
}

static void ask_all(struct round *r);

static void on_answer(void *ctx, const uint8_t *answer, size_t len, const struct err *why)
{
    struct question *q = ctx;
    struct round *r = q->round;
    struct err unsaid = {0};

    if (!why && len && answer[0] == MARK_NOT_NOW) {
        err_set(&unsaid, ERR_UNAVAILABLE, "%.*s", (int)len - 1, (const char *)answer + 1);
        why = &unsaid;
    }
    if (q == &r->any && !why) {
        /* somebody is up: now each that is */
        ask_all(r);
        return;
    }
    r->answered += !why;
    if (why && !r->first_error.id)
        r->first_error = *why;
    if (!why && len)
        keep(r, answer, len);
    if (!why && r->op == WIRE_MARK_READ)
        *r->heard |= q->bit;
    if (--r->pending == 0)
        finish(r);
}

static int ask(struct round *r, size_t token, struct question *as, struct err *e)
{
    const struct worker_request q = {.op = r->op, .done = on_answer, .ctx = as, .len = r->len};

    as->round = r;
    return workers_ask(r->workers, token, &q, r->bytes, e);
}

static void ask_all(struct round *r)
{
    unsigned whom = workers_up(r->workers);
    struct err e = {0};

    if (r->op == WIRE_MARK_WRITE)
        whom &= *r->heard;
    /* r->pending is one too many until all were asked: answers may come at once */
    for (size_t i = 0; i < workers_tokens(r->workers); i++) {
        struct question *q = &r->questions[i];

        if (!(whom & 1u << i))
            continue;
        q->bit = 1u << i;
        r->pending++;
        if (ask(r, i, q, &e) < 0) {
            r->pending--;
            if (!r->first_error.id)
                r->first_error = e;
            err_clear(&e);
        }
    }
    if (--r->pending == 0)
        finish(r);
}

static struct round *round_new(struct workers *w, const char *station, const uint8_t *mark)
{
    size_t name_len = strlen(station), mark_len = mark ? MARK_BYTES : 0;
    struct round *r = calloc(1, sizeof *r);

    assert(name_len <= NAME_BYTES_MAX && workers_tokens(w) <= TOKENS_MAX);
    if (!r)
        return NULL;
    *r = (struct round){.workers = w, .pending = 1};
    r->best = r->others = BUF_INIT;
    r->op = mark ? WIRE_MARK_WRITE : WIRE_MARK_READ;
    r->len = mark_len + name_len;
    if (mark)
        memcpy(r->bytes, mark, MARK_BYTES);
    memcpy(r->bytes + mark_len, station, name_len);
    return r;
}

int workers_mark(struct workers *w, const char *station, const uint8_t *mark, unsigned *heard,
        workers_done_fn done, void *ctx, struct err *e)
{
    struct round *r;

    if (mark && !(workers_up(w) & *heard))
        return err_set(e, ERR_UNAVAILABLE, "no HSM is up of which the ledger's mark is known");
    r = round_new(w, station, mark);
    if (!r)
        return err_set(e, ERR_NOMEM, "no memory for the ledger's mark");
    r->done = done;
    r->ctx = ctx;
    r->heard = heard;
    if (workers_tokens(w) > 1 && workers_up(w)) {
        ask_all(r);
        return 0;
    }
    r->questions[0].bit = 1; /* of the only one, if it is that */
    if (ask(r, WORKERS_ANY, workers_tokens(w) > 1 ? &r->any : &r->questions[0], e) == 0)
        return 0;
    free(r);
    return -1;
}
