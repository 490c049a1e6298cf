/* One token of a pool (workers.h): its workers, what is to be hoped of it, and what is known of its PIN. Its workers log in one
 * after the other, and never again after a refused PIN. Which request goes to which token is its owner's affair. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "base/err.h"
#include "hsm/workers/latency.h"
#include "hsm/workers/worker.h"
#include "hsm/workers/workers.h"

struct pool_token;

struct pool_token_options {
    sd_event *event;
    const char *program;         /* signerd-token */
    const char *section, *label; /* of keyline.conf */
    const struct ca *ca;
    struct verifier *verifier;
    uint64_t keepalive_ms;
    size_t workers;
    unsigned bit; /* in a request's sets of tokens */
    bool several; /* its errors say which one it is */
    /* The same token in the pool that was opened first, which knows what happened to its PIN; NULL: this one. */
    struct pool_token *first;
    void *ctx; /* of both */
    /* A worker that failed had these requests, in their order. */
    void (*give_back)(void *ctx, struct worker_request *q, const struct err *why);
    /* Whatever changed; called last. */
    void (*on_change)(void *ctx);
};
struct pool_token {
    struct pool_token_options options;
    struct worker **all;
    size_t count;
    struct err last_error;
    struct err refused;     /* why its PIN is given no more */
    bool pin_proven;        /* a worker has logged in since a login failed without a reason */
    unsigned failed_starts; /* in a row, of whichever worker */
    uint64_t errors;
    struct latency latency;
};

/* t stays where it is; what o borrows lives longer. On failure it is to be closed all the same. */
int pool_token_open(struct pool_token *t, const struct pool_token_options *o, struct err *e);
/* Kills its workers; the requests that were in them are the caller's, in their order. */
struct worker_request *pool_token_close(struct pool_token *t);

size_t pool_token_working(const struct pool_token *t);
enum token_state pool_token_state(const struct pool_token *t);
/* What a person must mend stands before what happened since; id ERR_NONE: nothing so far. */
const struct err *pool_token_failure(const struct pool_token *t);
void pool_token_info(const struct pool_token *t, struct token_info *ret);

/* Starts the workers that are due, as far as another login may be tried. */
void pool_token_start(struct pool_token *t);
/* A login that is under way in the first pool holds up those of this one. */
bool pool_token_waits_for_first(const struct pool_token *t);
/* The worker with the most room, if that is more than `best` (or NULL) has: a second request is given to nobody while another
 * is idle. */
struct worker *pool_token_roomier(const struct pool_token *t, struct worker *best);
/* When pool_token_check() has something to do: microseconds of CLOCK_MONOTONIC; UINT64_MAX: never. */
uint64_t pool_token_deadline(const struct pool_token *t);
void pool_token_check(struct pool_token *t, uint64_t now_us);
