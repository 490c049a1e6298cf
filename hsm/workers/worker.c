/* One worker's life. Promises: whatever the process does - crash, hang, lie - its owner gets each
 * request back, or a signature that verifies. Must never block on it. */
#include "hsm/workers/worker.h"
#include <assert.h>
#include <openssl/rand.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "hsm/ca.h"
#include "hsm/workers/child.h"
#include "hsm/workers/latency.h"
#include "hsm/x509/verifier.h"
#include "hsm/workers/wire.h"

#define START_TIMEOUT_MS                                                                           \
    20000 /* C_Initialize of a SoftHSM with 100,000 objects; a network HSM's slow login */
#define SIGN_TIMEOUT_MS                                                                            \
    4000 /* of the request whose turn it is; three tries stay within BUS_TIMEOUT_MS */
#define END_GRACE_MS                                                                               \
    1000 /* a worker logs out and ends within milliseconds when its socket closes */
#define BACKOFF_MIN_MS 250
#define BACKOFF_MAX_MS 30000
/* The self-test's bytes begin with this, so that they can be nothing but a self-test: DER begins
 * with 0x30. */
#define TEST_CONTEXT "keyline-signer-selftest-v1"
#define TEST_BYTES   (sizeof TEST_CONTEXT + 32)

struct worker {
    struct worker_options options;
    enum worker_state state;
    pid_t pid;
    int fd;
    sd_event_source *io, *child;
    uint64_t deadline_us;                /* of what it is doing, or of its pause */
    struct worker_request *head, **tail; /* what it was asked; it answers in this order */
    uint32_t sent, answered;             /* sequence numbers */
    uint8_t test[TEST_BYTES];
    unsigned failures; /* since it last worked */
    uint64_t signatures, restarts;
    struct wire_packet packet; /* scratch: too large for the stack of every call */
};

static const char *const state_names[WORKER_STATE_COUNT] = {
        [WORKER_DOWN] = "down",
        [WORKER_STARTING] = "starting",
        [WORKER_TESTING] = "testing",
        [WORKER_READY] = "ready",
        [WORKER_BUSY] = "busy",
        [WORKER_PINGING] = "pinging",
        [WORKER_DYING] = "dying",
};

const char *worker_state_name(enum worker_state s)
{
    return state_names[s];
}

static void tell_change(struct worker *k)
{
    k->options.owner.on_change(k->options.owner.ctx);
}

static void set_deadline(struct worker *k, uint64_t ms)
{
    uint64_t now_us = 0;

    /* the loop's own clock: it is read once for all that an iteration does */
    sd_event_now(k->options.event, CLOCK_MONOTONIC, &now_us);
    k->deadline_us = now_us + ms * 1000;
}

static void close_socket(struct worker *k)
{
    k->io = sd_event_source_disable_unref(k->io);
    if (k->fd >= 0)
        close(k->fd);
    k->fd = -1;
}

/* ---- failing */

/* Whatever went wrong: the requests move on, and the process ends by itself when it sees its socket
 * closed, so that it can log out of the HSM. What follows happens when it is reaped. */
static void fail(struct worker *k, const struct err *why)
{
    bool starting = k->state == WORKER_STARTING || k->state == WORKER_TESTING;
    struct worker_request *q = k->head;

    k->head = NULL;
    k->tail = &k->head;
    k->failures++;
    k->state = WORKER_DYING;
    close_socket(k);
    set_deadline(k, END_GRACE_MS);
    k->options.owner.on_failed(k->options.owner.ctx, why, starting, q);
    tell_change(k);
}

static uint64_t backoff_ms(unsigned failures)
{
    uint64_t ms = 0;

    if (failures > 1)
        for (ms = BACKOFF_MIN_MS; --failures > 1 && ms < BACKOFF_MAX_MS;)
            ms *= 2;
    return ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS;
}

/* ---- requests and answers */

static int send_request(
        struct worker *k, enum wire_op op, const void *bytes, size_t len, struct err *e)
{
    struct wire_packet *p = &k->packet;

    p->op = (uint8_t)op;
    p->alg = (uint8_t)k->options.ca->alg;
    p->error = 0;
    p->code = 0;
    p->sequence = ++k->sent;
    if (len > WIRE_BODY_MAX) {
        p->op = WIRE_SIGN_FILE;
        p->len = 0;
        return wire_send_file(k->fd, p, bytes, len, e);
    }
    p->len = len;
    if (len)
        memcpy(p->body, bytes, len);
    return wire_send(k->fd, p, e);
}

/* It is this request's turn now: what happens from here on is its affair. */
static void begin_turn(struct worker *k, struct worker_request *q)
{
    q->tries++;
    q->turn_us = latency_now_us();
    k->state = WORKER_BUSY;
    set_deadline(k, SIGN_TIMEOUT_MS);
}

/* The worker proved what it can do: from now on its failures are accidents, not a state. */
static void become_ready(struct worker *k)
{
    k->failures = 0;
    k->state = WORKER_READY;
    k->deadline_us = UINT64_MAX;
    if (k->options.keepalive_ms)
        set_deadline(k, k->options.keepalive_ms);
}

static int on_described(struct worker *k, const struct wire_packet *p, struct err *e)
{
    enum signature_alg alg = k->options.ca->alg;
    uint32_t mask;

    if (p->len < 4)
        return err_set(e, ERR_PROTOCOL, "the token worker does not say what it can sign");
    mask = (uint32_t)p->body[0] << 24 | (uint32_t)p->body[1] << 16 | (uint32_t)p->body[2] << 8 |
           p->body[3];
    log_info("token", LOG_MEM("token", p->body + 4, p->len - 4), LOG_NUM("pid", k->pid));
    if (!(mask & 1u << alg))
        return err_set(e, ERR_TOKEN, "the key in the token is not the %s key of the CA certificate",
                signature_info(alg)->name);
    memcpy(k->test, TEST_CONTEXT, sizeof TEST_CONTEXT);
    if (RAND_bytes(k->test + sizeof TEST_CONTEXT, 32) != 1)
        return err_set(e, ERR_IO, "the system gives no random bytes");
    k->state = WORKER_TESTING;
    return send_request(k, WIRE_SIGN, k->test, sizeof k->test, e);
}

static int on_tested(struct worker *k, const struct wire_packet *p, struct buf *sig, struct err *e)
{
    if (verifier_check_token(
                k->options.verifier, k->test, sizeof k->test, p->body, p->len, sig, e) < 0)
        return err_context(e, "the key in the token is not the one of the CA certificate");
    log_info("worker-ready", LOG_STR("section", k->options.section), LOG_NUM("pid", k->pid));
    become_ready(k);
    k->options.owner.on_ready(k->options.owner.ctx);
    return 0;
}

/* The worker is done with what it was asked first. */
static void end_turn(struct worker *k)
{
    struct worker_request *q = k->head;

    k->head = q->next;
    q->next = NULL;
    become_ready(k);
    if (k->head)
        begin_turn(k, k->head);
    else
        k->tail = &k->head;
}

static int on_signed(struct worker *k, const struct wire_packet *p, struct buf *sig, struct err *e)
{
    struct worker_request *q = k->head;

    if (verifier_check_token(k->options.verifier, q->bytes, q->len, p->body, p->len, sig, e) < 0)
        return err_context(e, "the token signed wrongly");
    k->signatures++;
    end_turn(k);
    k->options.owner.on_signed(k->options.owner.ctx, q, sig->data, sig->len);
    return 0;
}

static int on_signature(struct worker *k, const struct wire_packet *p, struct err *e)
{
    struct buf sig = BUF_INIT;
    int r = k->state == WORKER_TESTING ? on_tested(k, p, &sig, e) : on_signed(k, p, &sig, e);

    buf_done(&sig);
    return r;
}

/* Something else than a signature was asked for. */
static int on_done(struct worker *k, const struct wire_packet *p)
{
    struct worker_request *q = k->head;

    end_turn(k);
    k->options.owner.on_signed(k->options.owner.ctx, q, p->body, p->len);
    return 0;
}

/* Its failures are never defects of ours, whatever it says; and they have a reason, even if it says none. */
static int told_error(const struct wire_packet *p, struct err *e)
{
    enum err_id id = p->error < ERR_COUNT ? (enum err_id)p->error : ERR_PROTOCOL;

    if (err_class(id) == ERR_CLASS_BUG)
        id = ERR_PROTOCOL;
    if (strnlen((const char *)p->body, p->len) == 0)
        return err_set_code(e, id, (long)p->code, "the token worker fails and does not say why");
    return err_set_code(e, id, (long)p->code, "%.*s",
            (int)(p->len < ERR_MSG_MAX ? p->len : ERR_MSG_MAX), (const char *)p->body);
}

static int on_answer(struct worker *k, struct err *e)
{
    struct wire_packet *p = &k->packet;

    if (wire_receive(k->fd, p, e) < 0)
        return -1;
    if (k->answered == k->sent || p->sequence != ++k->answered)
        return err_set(e, ERR_PROTOCOL, "the token worker answers what was not asked");
    if (p->error)
        return told_error(p, e);
    if (k->state == WORKER_STARTING)
        return on_described(k, p, e);
    if (k->head && k->head->op != WIRE_SIGN && k->state != WORKER_PINGING)
        return on_done(k, p);
    if (k->state != WORKER_PINGING)
        return on_signature(k, p, e);
    become_ready(k);
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
    if (on_answer(k, &e) < 0) {
        if (e.id == ERR_UNAVAILABLE)
            close_socket(k); /* the same */
        else if (e.id != ERR_TIMEOUT)
            fail(k, &e);
        return 0;
    }
    tell_change(k);
    return 0;
}

/* ---- the end */

/* What it said before it ended: a refused PIN must not be lost behind an exit status. */
static int last_words(struct worker *k, struct err *e)
{
    int r = 0;

    while (r == 0 && k->fd >= 0)
        r = on_answer(k, e);
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
    set_deadline(k, backoff_ms(k->failures));
    tell_change(k); /* another may have waited for this one's end */
    return 0;
}

/* ---- the beginning */

int worker_start(struct worker *k, struct err *e)
{
    const struct buf *spki = &k->options.ca->spki;
    int r;

    if (child_spawn(k->options.program, k->options.section, &k->pid, &k->fd, e) < 0) {
        k->failures++;
        set_deadline(k, backoff_ms(k->failures + 1));
        return -1;
    }
    k->state = WORKER_STARTING;
    k->sent = k->answered = 0;
    r = sd_event_add_child(k->options.event, &k->child, k->pid, WEXITED, on_exit_child, k);
    if (r >= 0)
        r = sd_event_add_io(k->options.event, &k->io, k->fd, EPOLLIN, on_readable, k);
    if (r < 0) {
        err_set_errno(e, -r, "watch a worker");
    } else if (send_request(k, WIRE_DESCRIBE, spki->data, spki->len, e) == 0) {
        set_deadline(k, START_TIMEOUT_MS);
        return 0;
    }
    fail(k, e);
    return 0; /* it has been said */
}

int worker_new(const struct worker_options *o, struct worker **ret, struct err *e)
{
    struct worker *k = calloc(1, sizeof *k);

    if (!k)
        return err_set(e, ERR_NOMEM, "no memory for a worker");
    k->options = *o;
    k->fd = -1;
    k->tail = &k->head;
    *ret = k;
    return 0;
}

struct worker_request *worker_free(struct worker **pk)
{
    struct worker *k = *pk;
    struct worker_request *q;

    if (!k)
        return NULL;
    close_socket(k);
    sd_event_source_disable_unref(k->child);
    if (k->pid) {
        kill(k->pid, SIGKILL);
        waitpid(k->pid, NULL, 0);
    }
    q = k->head;
    free(k);
    *pk = NULL;
    return q;
}

/* ---- for its owner */

bool worker_due(const struct worker *k)
{
    uint64_t now_us = 0;

    if (k->state != WORKER_DOWN)
        return false;
    sd_event_now(k->options.event, CLOCK_MONOTONIC, &now_us);
    return k->deadline_us <= now_us;
}

bool worker_works(const struct worker *k)
{
    return k->state == WORKER_READY || k->state == WORKER_BUSY || k->state == WORKER_PINGING;
}

size_t worker_room(const struct worker *k)
{
    bool takes = k->state == WORKER_READY || k->state == WORKER_BUSY;

    return takes ? WORKER_REQUESTS_MAX - (k->sent - k->answered) : 0;
}

void worker_sign(struct worker *k, struct worker_request *q)
{
    struct err e = {0};

    assert(worker_room(k));
    *k->tail = q;
    k->tail = &q->next;
    if (k->head == q)
        begin_turn(k, q);
    if (send_request(k, q->op, q->bytes, q->len, &e) < 0) {
        q->tries -= k->head == q; /* it never got there */
        fail(k, &e);
    }
}

uint64_t worker_deadline(const struct worker *k)
{
    /* one that is down and may start waits for its owner, not for a time */
    return worker_due(k) ? UINT64_MAX : k->deadline_us;
}

/* A session that an HSM ended in silence is noticed now, and not by an operator's device. */
static void ping(struct worker *k)
{
    struct err e = {0};

    k->state = WORKER_PINGING;
    set_deadline(k, SIGN_TIMEOUT_MS);
    if (send_request(k, WIRE_PING, NULL, 0, &e) < 0)
        fail(k, &e);
}

static void give_up(struct worker *k)
{
    bool starting = k->state == WORKER_STARTING || k->state == WORKER_TESTING;
    struct err e = {0};

    err_set(&e, ERR_TOKEN, "the token did not answer within %d ms",
            starting ? START_TIMEOUT_MS : SIGN_TIMEOUT_MS);
    kill(k->pid, SIGKILL); /* it would not see its socket closed */
    fail(k, &e);
}

void worker_check(struct worker *k, uint64_t now_us)
{
    if (now_us < k->deadline_us || k->state == WORKER_DOWN)
        return;
    if (k->state == WORKER_READY) {
        ping(k);
    } else if (k->state != WORKER_DYING) {
        give_up(k);
    } else {
        /* in vendor code that not even a kill ends at once */
        kill(k->pid, SIGKILL);
        set_deadline(k, END_GRACE_MS);
        k->options.owner.on_stuck(k->options.owner.ctx);
        tell_change(k);
    }
}

enum worker_state worker_state(const struct worker *k)
{
    return k->state;
}

void worker_info(const struct worker *k, struct worker_info *ret)
{
    *ret = (struct worker_info){k->pid, k->state, k->signatures, k->restarts};
}
