/* The worker pool. Promises: each request is answered once, within a bounded time, with a verified
 * signature or with the reason; workers log in one after the other, and never again after a refused
 * PIN. Must never block on a worker. */
#include "hsm/workers.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/rand.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "hsm/ca.h"
#include "hsm/wire.h"

#define START_TIMEOUT_MS                                                                           \
    20000 /* C_Initialize of a SoftHSM with 100,000 objects; a network HSM's slow login */
#define SIGN_TIMEOUT_MS 4000 /* three tries stay within BUS_TIMEOUT_MS */
#define END_GRACE_MS                                                                               \
    1000 /* a worker logs out and ends within milliseconds when its socket closes */
#define HOPELESS_STARTS 2 /* failed ones in a row: the first may have been an accident */
#define TRIES_MAX       3
#define REQUESTS_MAX    1024 /* 16 a slot at 64 slots: above it something is wrong */
#define BACKOFF_MIN_MS  250
#define BACKOFF_MAX_MS  30000
/* The self-test's bytes begin with this, so that they can be nothing but a self-test: DER begins
 * with 0x30. */
#define TEST_CONTEXT "keyline-signer-selftest-v1"
#define TEST_BYTES   (sizeof TEST_CONTEXT + 32)

extern char **environ;

struct request {
    struct request *next;
    workers_done_fn done;
    void *ctx;
    unsigned tries;
    size_t len;
    uint8_t bytes[];
};

struct worker {
    struct workers *pool;
    enum worker_state state;
    pid_t pid;
    int fd;
    sd_event_source *io, *child, *timer;
    struct request *request; /* while busy */
    uint8_t test[TEST_BYTES];
    uint32_t sequence;
    unsigned failures; /* since it last worked */
    uint64_t signatures, restarts;
};

struct workers {
    sd_event *event;
    char *program;
    const struct ca *ca;
    struct worker *all;
    size_t count;
    struct request *head, **tail;
    size_t waiting;
    struct err failure;
    int pin_refused;
    unsigned failed_starts;    /* in a row, of whichever worker */
    struct wire_packet packet; /* scratch: too large for the stack of every call */
};

static const char *const state_names[WORKER_STATE_COUNT] = {
        [WORKER_DOWN] = "down",
        [WORKER_STARTING] = "starting",
        [WORKER_TESTING] = "testing",
        [WORKER_READY] = "ready",
        [WORKER_BUSY] = "busy",
        [WORKER_DYING] = "dying",
};

const char *worker_state_name(enum worker_state s)
{
    return state_names[s];
}

static void pump(struct workers *w);
static int on_exit_child(sd_event_source *s, const siginfo_t *info, void *ctx);

/* ---- one worker's life */

static void set_timer(struct worker *k, uint64_t ms)
{
    sd_event_source_set_time_relative(k->timer, ms * 1000);
    sd_event_source_set_enabled(k->timer, SD_EVENT_ONESHOT);
}

static void close_socket(struct worker *k)
{
    k->io = sd_event_source_disable_unref(k->io);
    if (k->fd >= 0)
        close(k->fd);
    k->fd = -1;
}

/* The request goes to the head of the queue, or back to its owner when it was tried often enough.
 */
static void give_back(struct worker *k, const struct err *why)
{
    struct workers *w = k->pool;
    struct request *q = k->request;

    if (!q)
        return;
    k->request = NULL;
    if (q->tries >= TRIES_MAX) {
        q->done(q->ctx, NULL, 0, why);
        free(q);
        return;
    }
    q->next = w->head;
    w->head = q;
    if (!q->next)
        w->tail = &q->next;
    w->waiting++;
}

/* Whatever went wrong: the request moves on, and the process ends by itself when it sees its socket
 * closed, so that it can log out of the HSM. What follows happens when it is reaped. */
static void fail(struct worker *k, const struct err *why)
{
    struct workers *w = k->pool;

    w->failure = *why;
    if (why->id == ERR_TOKEN_PIN || why->id == ERR_TOKEN_LOCKED) {
        w->pin_refused = 1;
        err_context(&w->failure, "restart the signer when this is corrected");
    }
    log_err(LOG_WARNING, "worker-failed", &w->failure);
    k->failures++;
    w->failed_starts += k->state == WORKER_STARTING || k->state == WORKER_TESTING;
    k->state = WORKER_DYING;
    close_socket(k);
    set_timer(k, END_GRACE_MS);
    give_back(k, why);
    pump(w);
}

static uint64_t backoff_ms(unsigned failures)
{
    uint64_t ms = 0;

    if (failures > 1)
        for (ms = BACKOFF_MIN_MS; --failures > 1 && ms < BACKOFF_MAX_MS;)
            ms *= 2;
    return ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS;
}

static int send_request(
        struct worker *k, enum wire_op op, const void *bytes, size_t len, struct err *e)
{
    struct wire_packet *p = &k->pool->packet;

    *p = (struct wire_packet){.op = (uint8_t)op,
            .alg = (uint8_t)k->pool->ca->alg,
            .sequence = ++k->sequence,
            .len = len};
    if (len)
        memcpy(p->body, bytes, len);
    return wire_send(k->fd, p, e);
}

/* ---- answers */

/* The worker proved what it can do: from now on its failures are accidents, not a state. */
static void became_ready(struct worker *k)
{
    struct workers *w = k->pool;

    if (k->state == WORKER_TESTING) {
        log_info("worker-ready", LOG_NUM("pid", k->pid));
        w->failure = (struct err){0};
        w->failed_starts = 0;
    }
    k->failures = 0;
    k->state = WORKER_READY;
    sd_event_source_set_enabled(k->timer, SD_EVENT_OFF);
}

static int on_described(struct worker *k, const struct wire_packet *p, struct err *e)
{
    uint32_t mask;

    if (p->len < 4)
        return err_set(e, ERR_PROTOCOL, "the token worker does not say what it can sign");
    mask = (uint32_t)p->body[0] << 24 | (uint32_t)p->body[1] << 16 | (uint32_t)p->body[2] << 8 |
           p->body[3];
    log_info("token", LOG_MEM("token", p->body + 4, p->len - 4), LOG_NUM("pid", k->pid));
    if (!(mask & 1u << k->pool->ca->alg))
        return err_set(e, ERR_TOKEN, "the key in the token is not the %s key of the CA certificate",
                signature_info(k->pool->ca->alg)->name);
    memcpy(k->test, TEST_CONTEXT, sizeof TEST_CONTEXT);
    if (RAND_bytes(k->test + sizeof TEST_CONTEXT, 32) != 1)
        return err_set(e, ERR_IO, "the system gives no random bytes");
    k->state = WORKER_TESTING;
    return send_request(k, WIRE_SIGN, k->test, sizeof k->test, e);
}

static int on_signed(struct worker *k, const struct wire_packet *p, struct err *e)
{
    const struct ca *ca = k->pool->ca;
    struct request *q = k->request;
    const uint8_t *bytes = q ? q->bytes : k->test;
    size_t len = q ? q->len : sizeof k->test;
    struct buf sig = BUF_INIT;
    int r = -1;

    if (signature_from_token(ca->alg, p->body, p->len, &sig, e) == 0 &&
            signature_verify(ca->key, ca->alg, bytes, len, sig.data, sig.len, e) == 0) {
        k->signatures++;
        k->request = NULL;
        became_ready(k);
        r = 0;
        if (q)
            q->done(q->ctx, sig.data, sig.len, NULL);
        free(q);
    } else if (!q) {
        err_context(e, "the key in the token is not the one of the CA certificate");
    }
    buf_done(&sig);
    return r;
}

static int on_answer(struct worker *k, struct wire_packet *p, struct err *e)
{
    if (wire_receive(k->fd, p, e) < 0)
        return -1;
    if (p->sequence != k->sequence || k->state == WORKER_READY)
        return err_set(e, ERR_PROTOCOL, "the token worker answers what was not asked");
    if (p->error)
        return err_set_code(e, p->error < ERR_COUNT ? (enum err_id)p->error : ERR_PROTOCOL,
                (long)p->code, "%.*s", (int)(p->len < ERR_MSG_MAX ? p->len : ERR_MSG_MAX),
                (const char *)p->body);
    return k->state == WORKER_STARTING ? on_described(k, p, e) : on_signed(k, p, e);
}

/* What it said before it ended: a refused PIN must not be lost behind an exit status. */
static int last_words(struct worker *k, struct err *e)
{
    int r = 0;

    while (r == 0 && k->fd >= 0)
        r = on_answer(k, &k->pool->packet, e);
    if (e->id == ERR_UNAVAILABLE || e->id == ERR_TIMEOUT)
        err_clear(e);
    return e->id ? -1 : 0;
}

static int on_exit_child(sd_event_source *s, const siginfo_t *info, void *ctx)
{
    struct worker *k = ctx;
    struct err e = {0};

    (void)s;
    k->child = sd_event_source_disable_unref(k->child);
    if (k->state != WORKER_DYING) {
        if (last_words(k, &e) == 0)
            err_set_code(&e, ERR_TOKEN, info->si_status,
                    info->si_code == CLD_EXITED ? "the token worker ended with status %d"
                                                : "the token worker was killed by signal %d",
                    info->si_status);
        fail(k, &e);
    }
    k->pid = 0;
    k->state = WORKER_DOWN;
    k->restarts++;
    set_timer(k, backoff_ms(k->failures));
    pump(k->pool); /* another may have waited for this one's end */
    return 0;
}

static int on_readable(sd_event_source *s, int fd, uint32_t events, void *ctx)
{
    struct worker *k = ctx;
    struct err e = {0};

    (void)s, (void)fd;
    if (!(events & EPOLLIN)) {
        /* it ended: on_exit_child() knows how */
        close_socket(k);
        return 0;
    }
    if (on_answer(k, &k->pool->packet, &e) < 0) {
        if (e.id == ERR_UNAVAILABLE)
            close_socket(k); /* the same */
        else if (e.id != ERR_TIMEOUT)
            fail(k, &e);
        return 0;
    }
    pump(k->pool);
    return 0;
}

/* ---- starting */

static int spawn(struct worker *k, int fd, struct err *e)
{
    char *argv[] = {k->pool->program, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none;
    int r;

    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(
            &attr, &none); /* the event loop blocks signals: a worker must die of them */
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    posix_spawn_file_actions_adddup2(&actions, fd, WIRE_FD);
    posix_spawn_file_actions_addclosefrom_np(
            &actions, WIRE_FD + 1); /* the ledger is none of its business */
    r = posix_spawn(&k->pid, argv[0], &actions, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    if (r) {
        k->pid = 0;
        return err_set_errno(e, r, "start %s", argv[0]);
    }
    return 0;
}

static int start(struct worker *k, struct err *e)
{
    int pair[2], r;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_set_errno(e, errno, "make a socket for a worker");
    k->fd = pair[0];
    r = fcntl(k->fd, F_SETFL, O_NONBLOCK) < 0 ? err_set_errno(e, errno, "prepare a worker's socket")
                                              : spawn(k, pair[1], e);
    close(pair[1]);
    if (r < 0) {
        close_socket(k);
        return -1;
    }
    k->state = WORKER_STARTING;
    r = sd_event_add_child(k->pool->event, &k->child, k->pid, WEXITED, on_exit_child, k);
    if (r >= 0)
        r = sd_event_add_io(k->pool->event, &k->io, k->fd, EPOLLIN, on_readable, k);
    if (r < 0) {
        err_set_errno(e, -r, "watch a worker");
    } else if (send_request(k, WIRE_DESCRIBE, NULL, 0, e) == 0) {
        set_timer(k, START_TIMEOUT_MS);
        return 0;
    }
    fail(k, e);
    return 0; /* it has been said */
}

static int may_start(const struct workers *w)
{
    if (w->pin_refused)
        return 0;
    /* one login at a time: with a wrong PIN, two at once would be two tries; and one that is being
     * killed may be in the middle of its own */
    for (size_t i = 0; i < w->count; i++)
        if (w->all[i].state == WORKER_STARTING || w->all[i].state == WORKER_TESTING ||
                w->all[i].state == WORKER_DYING)
            return 0;
    return 1;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *ctx)
{
    struct worker *k = ctx;
    struct err e = {0};

    (void)s, (void)usec;
    if (k->state == WORKER_DOWN) {
        pump(k->pool);
    } else if (k->state == WORKER_DYING) {
        /* in vendor code that not even a kill ends at once: nobody may wait for it */
        kill(k->pid, SIGKILL);
        k->pool->failed_starts = HOPELESS_STARTS;
        set_timer(k, END_GRACE_MS);
        pump(k->pool);
    } else {
        err_set(&e, ERR_TOKEN, "the token did not answer within %d ms",
                k->state == WORKER_BUSY ? SIGN_TIMEOUT_MS : START_TIMEOUT_MS);
        kill(k->pid, SIGKILL); /* it would not see its socket closed */
        fail(k, &e);
    }
    return 0;
}

/* Its pause is over, or it has not been started yet. */
static int is_due(const struct worker *k)
{
    int enabled = SD_EVENT_OFF;

    sd_event_source_get_enabled(k->timer, &enabled);
    return k->state == WORKER_DOWN && enabled == SD_EVENT_OFF;
}

/* ---- the pool */

/* Some worker works, or may be expected to in a moment: after an accident, and once more after a
 * start that failed. */
static int hopeful(const struct workers *w)
{
    int r = !w->pin_refused && w->failed_starts < HOPELESS_STARTS;

    for (size_t i = 0; i < w->count && !r; i++)
        r = w->all[i].state == WORKER_READY || w->all[i].state == WORKER_BUSY;
    return r;
}

static struct request *pop(struct workers *w)
{
    struct request *q = w->head;

    w->head = q->next;
    if (!w->head)
        w->tail = &w->head;
    q->next = NULL;
    w->waiting--;
    return q;
}

static void dispatch(struct worker *k)
{
    struct request *q = pop(k->pool);
    struct err e = {0};

    q->tries++;
    k->request = q;
    k->state = WORKER_BUSY;
    set_timer(k, SIGN_TIMEOUT_MS);
    if (send_request(k, WIRE_SIGN, q->bytes, q->len, &e) < 0) {
        k->request->tries--; /* it never got there */
        fail(k, &e);
    }
}

/* Starts what may be started, hands out what waits, refuses what has no hope. Anything may call it.
 */
static void pump(struct workers *w)
{
    struct err e = {0};

    for (size_t i = 0; i < w->count; i++)
        if (is_due(&w->all[i]) && may_start(w) && start(&w->all[i], &e) < 0) {
            log_err(LOG_ERR, "worker-not-started", &e);
            w->failure = e;
            w->all[i].failures++;
            w->failed_starts++;
            set_timer(&w->all[i], backoff_ms(w->all[i].failures + 1));
            err_clear(&e);
        }
    for (size_t i = 0; i < w->count && w->head; i++)
        if (w->all[i].state == WORKER_READY)
            dispatch(&w->all[i]);
    while (w->head && !hopeful(w)) {
        struct request *q = pop(w);

        q->done(q->ctx, NULL, 0, &w->failure);
        free(q);
    }
}

int workers_open(sd_event *event, const char *program, size_t count, const struct ca *ca,
        struct workers **ret, struct err *e)
{
    struct workers *w = calloc(1, sizeof *w);
    int r;

    if (!w)
        return err_set(e, ERR_NOMEM, "no memory for the workers");
    w->event = sd_event_ref(event);
    w->ca = ca;
    w->tail = &w->head;
    w->program = strdup(program);
    w->all = calloc(count, sizeof *w->all);
    if (!w->program || !w->all) {
        err_set(e, ERR_NOMEM, "no memory for the workers");
        workers_close(&w);
        return -1;
    }
    for (; w->count < count; w->count++) {
        struct worker *k = &w->all[w->count];

        *k = (struct worker){.pool = w, .fd = -1};
        r = sd_event_add_time_relative(event, &k->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, k);
        if (r >= 0)
            r = sd_event_source_set_enabled(k->timer, SD_EVENT_OFF);
        if (r < 0) {
            err_set_errno(e, -r, "prepare the workers");
            sd_event_source_disable_unref(k->timer);
            workers_close(&w);
            return -1;
        }
    }
    pump(w);
    *ret = w;
    return 0;
}

void workers_close(struct workers **pw)
{
    struct workers *w = *pw;

    if (!w)
        return;
    for (size_t i = 0; i < w->count; i++) {
        struct worker *k = &w->all[i];

        close_socket(k);
        sd_event_source_disable_unref(k->timer);
        sd_event_source_disable_unref(k->child);
        if (k->pid) {
            kill(k->pid, SIGKILL);
            waitpid(k->pid, NULL, 0);
        }
        free(k->request);
    }
    while (w->head)
        free(pop(w));
    sd_event_unref(w->event);
    free(w->all);
    free(w->program);
    free(w);
    *pw = NULL;
}

int workers_sign(struct workers *w, const void *bytes, size_t len, workers_done_fn done, void *ctx,
        struct err *e)
{
    struct request *q;

    assert(len <= WIRE_BODY_MAX);
    if (!hopeful(w))
        return err_set_code(e, w->failure.id ? w->failure.id : ERR_TOKEN, w->failure.code, "%s",
                w->failure.msg);
    if (w->waiting >= REQUESTS_MAX)
        return err_set(e, ERR_UNAVAILABLE, "%d requests wait for the HSM already", REQUESTS_MAX);
    q = malloc(sizeof *q + len);
    if (!q)
        return err_set(e, ERR_NOMEM, "no memory for a request");
    *q = (struct request){.done = done, .ctx = ctx, .len = len};
    memcpy(q->bytes, bytes, len);
    *w->tail = q;
    w->tail = &q->next;
    w->waiting++;
    pump(w);
    return 0;
}

size_t workers_count(const struct workers *w)
{
    return w->count;
}

void workers_info(const struct workers *w, size_t i, struct worker_info *ret)
{
    const struct worker *k = &w->all[i];

    *ret = (struct worker_info){k->pid, k->state, k->signatures, k->restarts};
}

const struct err *workers_failure(const struct workers *w)
{
    return &w->failure;
}
