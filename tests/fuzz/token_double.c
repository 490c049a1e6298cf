/* The pool of token workers for the door's fuzz target: processes cannot be started a thousand times a second, and must
 * not be when hostile bytes choose the moment. It signs at once, for real, with fuzz_key(). */
#include "base/err.h"
#include "hsm/ledger/checkpoint.h"
#include "hsm/workers/workers.h"
#include "tests/fuzz/fuzz.h"

struct workers {
    uint64_t signatures;
};
static struct workers double_;

const char *worker_state_name(enum worker_state s)
{
    return s == WORKER_READY ? "ready" : "down";
}

int workers_open(const struct workers_options *o, struct workers **ret, struct err *e)
{
    (void)o, (void)e;
    *ret = &double_;
    return 0;
}

void workers_close(struct workers **w)
{
    *w = NULL;
}

int workers_sign(struct workers *w, const void *bytes, size_t len, workers_done_fn done, void *ctx,
        struct err *e)
{
    uint8_t sig[FUZZ_SIGNATURE_MAX];

    (void)e;
    w->signatures++;
    done(ctx, sig, fuzz_sign(bytes, len, sig), NULL);
    return 0;
}

/* A token without data objects: then the ledger is bound by signatures alone. */
int workers_mark(struct workers *w, const char *station, const uint8_t *mark, unsigned *heard,
        workers_done_fn done, void *ctx, struct err *e)
{
    const uint8_t cannot[] = {MARK_CANNOT};

    (void)w, (void)station, (void)mark, (void)e;
    *heard = workers_up(w);
    done(ctx, cannot, sizeof cannot, NULL);
    return 0;
}

size_t workers_count(const struct workers *w)
{
    (void)w;
    return 1;
}

void workers_info(const struct workers *w, size_t i, struct worker_info *ret)
{
    (void)i;
    *ret = (struct worker_info){.state = WORKER_READY, .signatures = w->signatures};
}

const struct err *workers_failure(const struct workers *w)
{
    static const struct err none;

    (void)w;
    return &none;
}

const char *workers_section(const struct workers *w, size_t i)
{
    (void)w, (void)i;
    return "token";
}

const char *token_state_name(enum token_state s)
{
    return s == TOKEN_UP ? "up" : "down";
}

unsigned workers_up(const struct workers *w)
{
    (void)w;
    return 1;
}

unsigned workers_starting(const struct workers *w)
{
    (void)w;
    return 0;
}

size_t workers_tokens(const struct workers *w)
{
    return workers_count(w);
}

void workers_token(const struct workers *w, size_t i, struct token_info *ret)
{
    (void)i;
    *ret = (struct token_info){.section = "token",
            .label = "double",
            .workers = 1,
            .working = 1,
            .signatures = w->signatures,
            .last_error = workers_failure(w)};
}

size_t workers_waiting(const struct workers *w)
{
    (void)w;
    return 0;
}
