/* One signerd-token process: started, told to describe itself, made to sign a self-test, given requests, ended, reaped, and
 * started again by its owner. What comes out of it was verified under the CA's key; anything else ends it.
 * It has no timer: its owner calls worker_check() when worker_deadline() has come. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

struct ca;
struct err;
struct verifier;
struct worker;

enum worker_state {
    WORKER_DOWN,     /* waits for its next start */
    WORKER_STARTING, /* logs in and describes itself */
    WORKER_TESTING, /* signs its first bytes: proves module, PIN, key and CA certificate together */
    WORKER_READY,
    WORKER_BUSY,    /* has requests, and may have room for more */
    WORKER_PINGING, /* was idle for long: looks whether its session is still good */
    WORKER_DYING,   /* given up, not yet reaped */
    WORKER_STATE_COUNT
};
const char *worker_state_name(enum worker_state s); /* "down" ... */

struct worker_info {
    pid_t pid; /* 0 while down */
    enum worker_state state;
    uint64_t signatures, restarts;
};

/* How many requests may be in a worker: while one is signed the next lies in its socket, so that it never waits for
 * signerd. */
#define WORKER_REQUESTS_MAX 2

/* Bytes to be signed, or for another operation of the token. Who holds it frees it. */
struct worker_request {
    struct worker_request *next;
    void (*done)(void *ctx, const uint8_t *sig, size_t len, const struct err *e);
    void *ctx;
    uint8_t op; /* WIRE_SIGN; or another one (wire.h), whose answer is handed on as it is */
    unsigned
            tries; /* workers that failed while it was their turn to sign it, and the present one */
    uint64_t expires_us;  /* this and the next two are its owner's affair */
    unsigned avoid, only; /* sets of tokens */
    uint64_t turn_us;     /* when the present worker began it: latency_now_us() */
    size_t len;
    uint8_t bytes[];
};

/* What the owner hears. It may use the worker from inside any of these but on_failed, and free it in none. */
struct worker_owner {
    void *ctx;
    /* It passed its self-test, or signed q, which is the owner's again; sig is borrowed for the call. */
    void (*on_ready)(void *ctx);
    void (*on_signed)(void *ctx, struct worker_request *q, const uint8_t *sig, size_t len);
    /* It is given up; the requests it had are the owner's again, in their order. starting: it never got ready. */
    void (*on_failed)(void *ctx, const struct err *why, bool starting, struct worker_request *q);
    /* It does not even end when it is killed: nobody may wait for it. */
    void (*on_stuck)(void *ctx);
    /* Whatever changed: called last, after the others. */
    void (*on_change)(void *ctx);
};

struct worker_options {
    sd_event *event;
    const char *program; /* signerd-token */
    const char *section; /* of keyline.conf, which the program reads itself */
    const struct ca *ca;
    struct verifier *verifier; /* of the CA's key; borrowed, as all before it */
    uint64_t keepalive_ms;     /* idle for so long: it is pinged; 0: never */
    struct worker_owner owner;
};
/* It does not run yet. SIGCHLD must be blocked. */
int worker_new(const struct worker_options *o, struct worker **ret, struct err *e);
/* Kills the process. The requests in it, in their order, are the caller's. */
struct worker_request *worker_free(struct worker **k);

/* It is down, and its pause after a failure is over. */
bool worker_due(const struct worker *k);
/* A failure is logged and told the owner, but for one before there is a process: that is returned, and a pause begins. */
int worker_start(struct worker *k, struct err *e);
/* How many more requests it would take now. */
size_t worker_room(const struct worker *k);
/* Takes q; there must be room. */
void worker_sign(struct worker *k, struct worker_request *q);
/* When worker_check() has something to do: microseconds of CLOCK_MONOTONIC; UINT64_MAX: never. */
uint64_t worker_deadline(const struct worker *k);
void worker_check(struct worker *k, uint64_t now_us);

enum worker_state worker_state(const struct worker *k);
/* It passed its self-test and has not failed since; it may have no room all the same. */
bool worker_works(const struct worker *k);
void worker_info(const struct worker *k, struct worker_info *ret);
