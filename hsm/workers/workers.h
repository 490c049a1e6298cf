/* The pool of signerd-token workers for one CA's key: processes with one PKCS#11 session each, that may crash, hang and lie,
 * for one token or several that hold the key. A signature that comes out of here verified under the CA's key. A worker that
 * ends or does not answer in time is replaced and its requests are given to others; a token whose PIN was refused once is
 * not tried again before signerd is restarted, the others go on. A process may have several pools: all but the first are
 * told of it, so that a PIN refused to one is given by none. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "hsm/workers/worker.h"

struct ca;
struct config;
struct err;
struct workers;

struct workers_options {
    sd_event *event;
    const char *program; /* path of signerd-token */
    const struct ca *ca;
    const struct config *config; /* [token], [token NAME], [signer] tokens */
    size_t workers_max;          /* for each token; 0: as many as the configuration says */
    struct workers *
            first; /* NULL, or the pool with the same configuration that was opened first; it is closed last */
};
/* ca and config are borrowed until workers_close(). SIGCHLD must be blocked. */
int workers_open(const struct workers_options *o, struct workers **ret, struct err *e);
/* Kills the workers; requests that wait are answered with ERR_UNAVAILABLE. */
void workers_close(struct workers **w);

/* sig: DER as certificates carry it, verified; NULL when e says why not. Borrowed for the call. */
typedef void (*workers_done_fn)(void *ctx, const uint8_t *sig, size_t len, const struct err *e);
/* Signs with the CA's algorithm; bytes are copied, at most CRL_BYTES_MAX. While no worker works, and none is about to, the last failure is returned
 * at once and done is not called. ERR_UNAVAILABLE when too many requests wait. A request that no token took within
 * WORKERS_WAIT_MS is answered with the failure that kept it waiting. */
#define WORKERS_WAIT_MS 12000 /* within BUS_TIMEOUT_MS, so that the answer is heard */
int workers_sign(struct workers *w, const void *bytes, size_t len, workers_done_fn done, void *ctx,
        struct err *e);

/* The ledger's mark in the tokens (checkpoint.h, mark.h), queued and answered like a signature, with the bytes of the answer.
 * station: its name, part of the mark's. mark: MARK_BYTES, or NULL to read. heard: the caller's set of tokens (bit 0: the first)
 * whose mark it knows; borrowed until the answer. Reading asks every token that is up, adds those that answered to the set,
 * and answers MARK_FOUND with their marks, the newest first; when there is none and some token could not be asked,
 * MARK_ELSEWHERE. Writing goes to those of the set that are up: what another one has to say would be lost. */
int workers_mark(struct workers *w, const char *station, const uint8_t *mark, unsigned *heard,
        workers_done_fn done, void *ctx, struct err *e);
/* A request of this kind for one token, or for WORKERS_ANY. ERR_UNAVAILABLE when that token is not up. */
#define WORKERS_ANY SIZE_MAX
int workers_ask(struct workers *w, size_t token, const struct worker_request *kind,
        const void *bytes, struct err *e);

/* ---- health */

size_t workers_count(const struct workers *w);
void workers_info(const struct workers *w, size_t i, struct worker_info *ret);
/* The section of the token that worker i belongs to. */
const char *workers_section(const struct workers *w, size_t i);

enum token_state {
    TOKEN_UP,       /* at least one worker works */
    TOKEN_STARTING, /* none does, but one is expected to in a moment */
    TOKEN_DOWN,     /* it is tried again, less and less often */
    TOKEN_STOPPED,  /* the PIN was refused: a restart of signerd is needed */
    TOKEN_STATE_COUNT
};
const char *token_state_name(enum token_state s); /* "up" ... */

struct token_info {
    const char *section, *label; /* as keyline.conf says: "token" or "token NAME" */
    enum token_state state;
    size_t workers, working;
    uint64_t signatures, errors; /* since the pool was opened; errors: workers that failed */
    uint32_t sign_us_p50,
            sign_us_p99; /* of the last LATENCY_KEPT, from the worker's turn to the verified answer */
    const struct err *last_error; /* id ERR_NONE: none so far */
};
size_t workers_tokens(const struct workers *w);
/* The set of those that are up (bit 0: the first); or of those that are expected to be in a moment. */
unsigned workers_up(const struct workers *w);
unsigned workers_starting(const struct workers *w);
void workers_token(const struct workers *w, size_t i, struct token_info *ret);
/* Requests that no worker has yet. */
size_t workers_waiting(const struct workers *w);
/* The failure that keeps the pool from working; id ERR_NONE while some token is up. */
const struct err *workers_failure(const struct workers *w);
