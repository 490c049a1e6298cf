/* Processes that make keys. Promises one answer for each order, within MAKE_TIMEOUT_MS, and that no
 * process outlives its order by more than its own end. Must never block on one. */
#include "hsm/born/key_maker.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/err.h"
#include "base/log.h"
#include "hsm/workers/child.h"
#include "hsm/workers/wire.h"

#define MAKE_TIMEOUT_MS 12000 /* RSA-3072 on a busy machine; below BUS_TIMEOUT_MS */
#define MAKERS_MAX      16    /* at once: a P-256 key takes 10 ms, and each has its process */

struct birth {
    struct birth *next;
    struct key_maker *maker;
    pid_t pid;
    int fd;
    sd_event_source *io, *child, *timer;
    key_maker_done_fn done; /* NULL once it was called */
    void *ctx;
};

struct key_maker {
    sd_event *event;
    char *program;
    struct birth *births;
    size_t count;
    struct wire_packet packet; /* scratch */
};

static void answer(struct birth *b, const struct made_key *k, const struct err *why)
{
    key_maker_done_fn done = b->done;

    b->done = NULL;
    if (why)
        log_err(LOG_WARNING, "key-not-made", why);
    if (done)
        done(b->ctx, k, why);
}

/* It must not have a process any more. */
static void birth_free(struct birth *b)
{
    struct birth **at = &b->maker->births;

    while (*at && *at != b)
        at = &(*at)->next;
    if (*at) {
        *at = b->next;
        b->maker->count--;
    }
    sd_event_source_disable_unref(b->io);
    sd_event_source_disable_unref(b->child);
    sd_event_source_disable_unref(b->timer);
    if (b->fd >= 0)
        close(b->fd);
    free(b);
}

/* ---- what it says */

static int read_answer(struct birth *b, struct made_key *ret, struct err *e)
{
    struct wire_packet *p = &b->maker->packet;
    size_t spki_len;

    if (wire_receive(b->fd, p, e) < 0) {
        err_clear(e);
        return err_set(e, ERR_UNAVAILABLE, "signerd-key ended without an answer");
    }
    if (p->error)
        return err_set(e, p->error < ERR_COUNT ? (enum err_id)p->error : ERR_PROTOCOL, "%.*s",
                (int)(p->len < ERR_MSG_MAX ? p->len : ERR_MSG_MAX), (const char *)p->body);
    spki_len = p->len < KEY_MAKER_HEAD ? 0 : (size_t)p->body[0] << 8 | p->body[1];
    if (spki_len == 0 || spki_len > SPKI_BYTES_MAX || p->len <= KEY_MAKER_HEAD + spki_len)
        return err_set(e, ERR_PROTOCOL, "signerd-key's answer has an unexpected form");
    *ret = (struct made_key){.spki = p->body + KEY_MAKER_HEAD,
            .spki_len = spki_len,
            .jwe = p->body + KEY_MAKER_HEAD + spki_len,
            .jwe_len = p->len - KEY_MAKER_HEAD - spki_len};
    return 0;
}

static int on_readable(sd_event_source *s, int fd, uint32_t events, void *ctx)
{
    struct birth *b = ctx;
    struct made_key k;
    struct err e = {0};
    int r = read_answer(b, &k, &e);

    (void)s, (void)fd, (void)events;
    b->io = sd_event_source_disable_unref(b->io);
    answer(b, r == 0 ? &k : NULL, r == 0 ? NULL : &e);
    return 0;
}

static int on_child(sd_event_source *s, const siginfo_t *info, void *ctx)
{
    struct birth *b = ctx;
    struct made_key k;
    struct err e = {0};
    int r;

    (void)s, (void)info;
    b->pid = 0;
    if (b->done) { /* what it said last may still lie in the socket */
        r = read_answer(b, &k, &e);
        answer(b, r == 0 ? &k : NULL, r == 0 ? NULL : &e);
    }
    birth_free(b);
    return 0;
}

static int on_late(sd_event_source *s, uint64_t usec, void *ctx)
{
    struct birth *b = ctx;
    struct err e = {0};

    (void)s, (void)usec;
    kill(b->pid, SIGKILL); /* on_child() frees it */
    b->io = sd_event_source_disable_unref(b->io);
    err_set(&e, ERR_TIMEOUT, "no key was made within %d ms", MAKE_TIMEOUT_MS);
    if (b->done)
        answer(b, NULL, &e);
    return 0;
}

/* ---- starting */

static int start(struct birth *b, struct err *e)
{
    struct err why = {0};
    int r;

    if (child_spawn(b->maker->program, NULL, &b->pid, &b->fd, &why) < 0)
        return err_set_code(e, ERR_UNAVAILABLE, why.code, "%s", why.msg);
    r = sd_event_add_child(b->maker->event, &b->child, b->pid, WEXITED, on_child, b);
    if (r >= 0)
        r = sd_event_add_io(b->maker->event, &b->io, b->fd, EPOLLIN, on_readable, b);
    if (r >= 0)
        r = sd_event_add_time_relative(b->maker->event, &b->timer, CLOCK_MONOTONIC,
                MAKE_TIMEOUT_MS * UINT64_C(1000), 0, on_late, b);
    return r < 0 ? err_set_errno(e, -r, "watch signerd-key")
                 : wire_send(b->fd, &b->maker->packet, e);
}

static void end(struct birth *b)
{
    if (b->pid) {
        kill(b->pid, SIGKILL);
        waitpid(b->pid, NULL, 0);
    }
    birth_free(b);
}

int key_maker_make(struct key_maker *m, enum born_key_type type, const uint8_t *transport_spki,
        size_t transport_len, key_maker_done_fn done, void *ctx, struct err *e)
{
    struct birth *b;

    if (m->count >= MAKERS_MAX)
        return err_set(e, ERR_UNAVAILABLE, "%d keys are being made already", MAKERS_MAX);
    if (transport_len > sizeof m->packet.body)
        return err_set(e, ERR_LIMIT, "a transport key of %zu bytes", transport_len);
    b = calloc(1, sizeof *b);
    if (!b)
        return err_set(e, ERR_NOMEM, "no memory for a key");
    *b = (struct birth){.next = m->births, .maker = m, .fd = -1, .done = done, .ctx = ctx};
    m->births = b;
    m->count++;
    m->packet =
            (struct wire_packet){.op = KEY_MAKER_OP, .alg = (uint8_t)type, .len = transport_len};
    memcpy(m->packet.body, transport_spki, transport_len);
    if (start(b, e) == 0)
        return 0;
    b->done = NULL;
    end(b);
    return -1;
}

/* ---- life */

int key_maker_open(sd_event *event, const char *program, struct key_maker **ret, struct err *e)
{
    struct key_maker *m = calloc(1, sizeof *m);

    if (m)
        m->program = strdup(program);
    if (!m || !m->program) {
        free(m);
        return err_set(e, ERR_NOMEM, "no memory for making keys");
    }
    m->event = sd_event_ref(event);
    *ret = m;
    return 0;
}

void key_maker_close(struct key_maker **pm)
{
    struct key_maker *m = *pm;
    struct err e = {0};

    if (!m)
        return;
    err_set(&e, ERR_UNAVAILABLE, "the signer stops");
    while (m->births) {
        struct birth *b = m->births;

        if (b->done)
            answer(b, NULL, &e);
        end(b);
    }
    sd_event_unref(m->event);
    free(m->program);
    free(m);
    *pm = NULL;
}
