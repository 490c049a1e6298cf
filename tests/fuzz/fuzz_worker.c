/* A token worker that says anything: the real worker.c with the other end of its socket in our hand, at every stage of a
 * worker's life. Promises that no signature comes out that is not the CA key's over the request's bytes, that a request is
 * answered once or given back, and that what ends a worker is told. The process behind it only sleeps.
 *
 * The input is what happens, one after the other: 0, the true answer to what was asked; 1, u16 length and so many bytes, as
 * they are; 2, u16 place, u8: the true answer with a byte changed by exclusive or; 3, the socket is closed; 4, one request
 * more, if there is room, or 5, of another kind. */
#include <fcntl.h>
#include <openssl/ecdsa.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/err.h"
#include "hsm/ca.h"
#include "hsm/x509/verifier.h"
#include "hsm/workers/wire.h"
#include "hsm/workers/worker.h"
#include "tests/fuzz/fuzz.h"

#define HALF 32

/* ---- the process, and its end of the socket */

static int peer = -1;

int __real_socketpair(int domain, int type, int protocol, int pair[2]);
int __wrap_socketpair(int domain, int type, int protocol, int pair[2]);
int __real_posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
        const posix_spawnattr_t *attr, char *const argv[], char *const env[]);
int __wrap_posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
        const posix_spawnattr_t *attr, char *const argv[], char *const env[]);

int __wrap_socketpair(int domain, int type, int protocol, int pair[2])
{
    int r = __real_socketpair(domain, type, protocol, pair);

    if (r == 0) {
        peer = fcntl(pair[1], F_DUPFD_CLOEXEC, 10);
        must(peer >= 0 && fcntl(peer, F_SETFL, O_NONBLOCK) == 0);
    }
    return r;
}

int __wrap_posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
        const posix_spawnattr_t *attr, char *const argv[], char *const env[])
{
    char *const sleeps[] = {(char *)(uintptr_t) "sleep", (char *)(uintptr_t) "10", NULL};

    (void)path, (void)actions, (void)argv;
    return __real_posix_spawn(pid, "/bin/sleep", NULL, attr, sleeps, env);
}

/* ---- the owner */

static size_t given, returned;

static void take_back(struct worker_request *q)
{
    while (q) {
        struct worker_request *next = q->next;

        returned++;
        free(q);
        q = next;
    }
}

static void on_ready(void *ctx)
{
    (void)ctx;
}

static void on_signed(void *ctx, struct worker_request *q, const uint8_t *sig, size_t len)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();

    (void)ctx;
    if (q->op == WIRE_SIGN)
        promise(EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, fuzz_key()) == 1 &&
                EVP_DigestVerify(md, sig, len, q->bytes, q->len) == 1);
    EVP_MD_CTX_free(md);
    promise(!q->next);
    take_back(q);
}

static void on_failed(void *ctx, const struct err *why, bool starting, struct worker_request *q)
{
    (void)ctx, (void)starting;
    fuzz_outcome(-1, why);
    take_back(q);
}

static void on_nothing(void *ctx)
{
    (void)ctx;
}

/* ---- what is said to it */

struct plan {
    const uint8_t *at;
    size_t left;
};

static size_t take(struct plan *p, size_t bytes)
{
    size_t n = 0;

    while (bytes-- && p->left) {
        n = n << 8 | *p->at++;
        p->left--;
    }
    return n;
}

static size_t sign_raw(const void *bytes, size_t len, uint8_t ret[2 * HALF])
{
    uint8_t der[FUZZ_SIGNATURE_MAX];
    const uint8_t *at = der;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)fuzz_sign(bytes, len, der));

    must(sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), ret, HALF) == HALF &&
            BN_bn2binpad(ECDSA_SIG_get0_s(sig), ret + HALF, HALF) == HALF);
    ECDSA_SIG_free(sig);
    return 2 * HALF;
}

/* The true answer to the oldest question; 0: nothing was asked. */
static size_t true_answer(uint8_t ret[WIRE_PACKET_MAX])
{
    static uint8_t asked[WIRE_PACKET_MAX];
    ssize_t n = recv(peer, asked, sizeof asked, MSG_DONTWAIT);
    size_t body = 0;

    if (n < WIRE_HEADER)
        return 0;
    memcpy(ret, asked, WIRE_HEADER);
    memset(ret + 2, 0, 2);
    if (asked[0] == WIRE_DESCRIBE) {
        memcpy(ret + WIRE_HEADER, "\0\0\0\1a token", 11);
        ret[WIRE_HEADER + 3] = 1u << SIGNATURE_ECDSA_P256;
        body = 11;
    } else if (asked[0] == WIRE_SIGN) {
        body = sign_raw(asked + WIRE_HEADER, (size_t)n - WIRE_HEADER, ret + WIRE_HEADER);
    }
    return WIRE_HEADER + body;
}

static void answer(struct plan *p, size_t how)
{
    static uint8_t packet[WIRE_PACKET_MAX];
    size_t n = 0, at;

    if (how == 1) {
        n = take(p, 2);
        n = n < p->left ? n : p->left;
        if (n)
            send(peer, p->at, n, MSG_NOSIGNAL);
        p->at += n, p->left -= n;
        return;
    }
    n = true_answer(packet);
    if (how == 2) {
        at = take(p, 2);
        if (n)
            packet[at % n] ^= (uint8_t)take(p, 1);
    }
    if (n)
        send(peer, packet, n, MSG_NOSIGNAL);
}

static void ask(struct worker *k, uint8_t op)
{
    struct worker_request *q;

    if (!worker_room(k))
        return;
    q = calloc(1, sizeof *q + 48);
    must(q);
    q->op = op;
    q->len = 48;
    memset(q->bytes, (int)given, q->len);
    given++;
    worker_sign(k, q);
}

static void settle(sd_event *event)
{
    int r;

    do
        r = sd_event_run(event, 0);
    while (r > 0);
    promise(r == 0);
}

/* ---- the target */

static struct worker_options options;

static void make_options(void)
{
    static struct ca *ca;
    static sd_event *event;
    static struct verifier *verifier;
    struct err e = {0};
    sigset_t child;

    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    must(sigprocmask(SIG_BLOCK, &child, NULL) == 0 && sd_event_new(&event) >= 0);
    must(ca_load(fuzz_file(fuzz_chain()->data, fuzz_chain()->len), &ca, &e) == 0);
    must(verifier_new(ca->key, ca->alg, &verifier, &e) == 0);
    options = (struct worker_options){.event = event,
            .program = "signerd-token",
            .section = "token",
            .ca = ca,
            .verifier = verifier,
            .keepalive_ms = 1,
            .owner = {.on_ready = on_ready,
                    .on_signed = on_signed,
                    .on_failed = on_failed,
                    .on_stuck = on_nothing,
                    .on_change = on_nothing}};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct plan p = {data, size};
    struct worker *k = NULL;
    struct err e = {0};

    if (!options.event)
        make_options();
    given = returned = 0;
    must(worker_new(&options, &k, &e) == 0 && worker_start(k, &e) == 0);
    while (p.left && worker_state(k) != WORKER_DYING && worker_state(k) != WORKER_DOWN) {
        size_t what = take(&p, 1) % 6;

        if (what == 3)
            shutdown(peer, SHUT_RDWR);
        else if (what >= 4)
            ask(k, what == 4 ? WIRE_SIGN : WIRE_MARK_READ);
        else
            answer(&p, what);
        settle(options.event);
        promise(worker_works(k) || worker_room(k) == 0);
    }
    worker_check(k, worker_deadline(k));
    settle(options.event);
    take_back(worker_free(&k));
    promise(returned == given);
    close(peer);
    return 0;
}

void fuzz_seeds(fuzz_seed_fn add)
{
    static const uint8_t life[] = {0, 0, 4, 0, 4, 4, 0, 0, 5, 0},
                         wrong_signature[] = {0, 0, 4, 2, 0, 20, 1},
                         wrong_test[] = {0, 2, 0, 20, 1}, wrong_kind[] = {2, 0, 19, 2},
                         sequence[] = {0, 0, 4, 2, 0, 7, 1}, error[] = {0, 0, 4, 2, 0, 3, 40},
                         our_bug[] = {0, 0, 4, 2, 0, 3, 1},
                         no_reason[] = {0, 0, 4, 1, 0, 16, 2, 0, 0, 40, 0, 0, 0, 3, 0, 0, 0, 0, 0,
                                 0, 0, 0},
                         unasked[] = {0, 0, 1, 0, 16, 2, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0,
                                 0},
                         gone[] = {0, 0, 4, 3};

    add("life", life, sizeof life);
    add("wrong-signature", wrong_signature, sizeof wrong_signature);
    add("wrong-test", wrong_test, sizeof wrong_test);
    add("wrong-kind", wrong_kind, sizeof wrong_kind);
    add("wrong-sequence", sequence, sizeof sequence);
    add("an-error", error, sizeof error);
    add("our-bug", our_bug, sizeof our_bug);
    add("no-reason", no_reason, sizeof no_reason);
    add("unasked", unasked, sizeof unasked);
    add("gone", gone, sizeof gone);
}
