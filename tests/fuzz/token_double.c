/* The pool of token workers for the door's fuzz target: processes cannot be started a thousand times a second, and must
 * not be when hostile bytes choose the moment. It signs at once, for real, with fuzz_key(). */
#include "base/err.h"
#include "hsm/workers.h"
#include "tests/fuzz/fuzz.h"

struct workers {
    uint64_t signatures;
};
static struct workers double_;

const char *worker_state_name(enum worker_state s)
{
    return s == WORKER_READY ? "ready" : "down";
}

int workers_open(sd_event *event, const char *program, size_t count, const struct ca *ca,
        struct workers **ret, struct err *e)
{
    (void)event, (void)program, (void)count, (void)ca, (void)e;
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
