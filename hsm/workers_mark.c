/* The ledger's mark where there are several tokens: written to each that is up, read from each, and
 * the newest counts. Promises one answer, after the last of theirs. A token that was away when the
 * mark was written has an older one, which is no lie: the ledger has that state behind it too. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "hsm/checkpoint.h"
#include "hsm/wire.h"
#include "hsm/workers.h"

struct round {
    struct workers *workers;
    uint8_t op;
    size_t len;
    uint8_t bytes[MARK_BYTES + NAME_BYTES_MAX];
    workers_done_fn done;
    void *ctx;
    size_t pending, answered;
    struct buf best;
    struct err first_error;
    bool asked_any; /* the first request was for whichever token comes up */
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

static void finish(struct round *r)
{
    static const uint8_t elsewhere[] = {MARK_ELSEWHERE};
    bool all = r->answered >= workers_tokens(r->workers);

    if (!r->best.len && !r->first_error.id)
        err_set(&r->first_error, ERR_PROTOCOL, "the token workers say nothing about the mark");
    if (!r->best.len)
        r->done(r->ctx, NULL, 0, &r->first_error);
    else if (r->op == WIRE_MARK_READ && r->best.data[0] != MARK_FOUND && !all)
        r->done(r->ctx, elsewhere, sizeof elsewhere, NULL);
    else
        r->done(r->ctx, r->best.data, r->best.len, NULL);
    buf_done(&r->best);
    free(r);
}

static void ask_all(struct round *r);

static void on_answer(void *ctx, const uint8_t *answer, size_t len, const struct err *why)
{
    struct round *r = ctx;

    if (r->asked_any && !why) {
        /* somebody is up: now each that is */
        r->asked_any = false;
        ask_all(r);
        return;
    }
    r->answered += !why;
    if (why && !r->first_error.id)
        r->first_error = *why;
    if (!why && len && is_better(answer, len, &r->best)) {
        buf_reset(&r->best);
        buf_append(&r->best, answer, len, &r->first_error);
    }
    if (--r->pending == 0)
        finish(r);
}

static int ask(struct round *r, size_t token, struct err *e)
{
    const struct worker_request q = {.op = r->op, .done = on_answer, .ctx = r, .len = r->len};

    return workers_ask(r->workers, token, &q, r->bytes, e);
}

static void ask_all(struct round *r)
{
    struct err e = {0};

    /* r->pending is one too many until all were asked: answers may come at once */
    for (size_t i = 0; i < workers_tokens(r->workers); i++) {
        r->pending++;
        if (ask(r, i, &e) < 0) {
            r->pending--;
            if (!r->first_error.id)
                r->first_error = e;
            err_clear(&e);
        }
    }
    if (--r->pending == 0)
        finish(r);
}

static bool is_up(const struct workers *w)
{
    struct token_info t;

    for (size_t i = 0; i < workers_tokens(w); i++) {
        workers_token(w, i, &t);
        if (t.state == TOKEN_UP)
            return true;
    }
    return false;
}

int workers_mark(struct workers *w, const char *station, const uint8_t *mark, workers_done_fn done,
        void *ctx, struct err *e)
{
    size_t name_len = strlen(station), mark_len = mark ? MARK_BYTES : 0;
    struct round *r = calloc(1, sizeof *r);

    if (!r)
        return err_set(e, ERR_NOMEM, "no memory for the ledger's mark");
    assert(name_len <= NAME_BYTES_MAX);
    *r = (struct round){.workers = w, .done = done, .ctx = ctx, .pending = 1, .best = BUF_INIT};
    r->op = mark ? WIRE_MARK_WRITE : WIRE_MARK_READ;
    r->len = mark_len + name_len;
    if (mark)
        memcpy(r->bytes, mark, MARK_BYTES);
    memcpy(r->bytes + mark_len, station, name_len);
    if (workers_tokens(w) > 1 && is_up(w)) {
        ask_all(r);
        return 0;
    }
    r->asked_any = workers_tokens(w) > 1;
    if (ask(r, WORKERS_ANY, e) == 0)
        return 0;
    free(r);
    return -1;
}
