/* Starts keyline-approver-key and reads what it says. Promises that nothing of it is believed: a certificate and a signature
 * are judged by whoever asked for them. */
#include "hsm/approval/card_client.h"
#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/paths.h"
#include "base/text.h"

#define NOISE_MAX 4096 /* of what the module said: the beginning tells */

extern char **environ;

/* ---- frames */

int card_frame_next(const struct buf *frames, size_t *at, uint8_t *ret_kind,
        const uint8_t **ret_bytes, size_t *ret_len, struct err *e)
{
    const uint8_t *p = frames->data + *at;
    size_t left = frames->len - *at, len;

    if (left == 0)
        return 0;
    len = left < CARD_FRAME_HEADER
                  ? SIZE_MAX
                  : (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
    if (left < CARD_FRAME_HEADER || len > left - CARD_FRAME_HEADER)
        return err_set(e, ERR_PROTOCOL, "%s says something that is cut off", CARD_PROGRAM);
    *ret_kind = p[0];
    *ret_bytes = p + CARD_FRAME_HEADER;
    *ret_len = len;
    *at += CARD_FRAME_HEADER + len;
    return 1;
}

static int told_error(const uint8_t *bytes, size_t len, struct err *e)
{
    unsigned id = len >= 2 ? (unsigned)bytes[0] << 8 | bytes[1] : 0;
    size_t text = len > 2 ? len - 2 : 0;

    if (id == ERR_NONE || id >= ERR_COUNT || err_class((enum err_id)id) == ERR_CLASS_BUG)
        id = ERR_PROTOCOL;
    return err_set(e, (enum err_id)id, "%.*s", (int)(text < ERR_MSG_MAX ? text : ERR_MSG_MAX),
            (const char *)bytes + 2);
}

/* The bytes of the frame of this kind, copied; none is no error. */
static int pick(const struct buf *frames, uint8_t wanted, struct buf *ret, struct err *e)
{
    const uint8_t *bytes;
    size_t at = 0, len;
    uint8_t kind;
    int r;

    while ((r = card_frame_next(frames, &at, &kind, &bytes, &len, e)) > 0) {
        if (kind == 'E')
            return told_error(bytes, len, e);
        if (kind == wanted && !ret->len && buf_append(ret, bytes, len, e) < 0)
            return -1;
    }
    return r;
}

/* ---- the program */

enum purpose { USE, CHECK };

/* noise: where the module's own words go, or -1. */
static int start(
        const struct card_client *c, enum purpose why, int fd, int noise, pid_t *ret, struct err *e)
{
    char path[PATH_MAX];
    const char *argv[7] = {path};
    posix_spawn_file_actions_t actions;
    size_t n = 1;
    int r;

    paths_program(CARD_PROGRAM, path);
    if (c->module) {
        argv[n++] = "--module";
        argv[n++] = c->module;
    }
    if (c->last_try)
        argv[n++] = "--last-try";
    if (why == CHECK)
        argv[n++] = "--check";
    argv[n++] = c->uri;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fd, 0);
    posix_spawn_file_actions_adddup2(&actions, fd, 1);
    if (noise >= 0)
        posix_spawn_file_actions_adddup2(&actions, noise, 2);
    posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    r = posix_spawn(ret, path, &actions, NULL, (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return r ? err_set_errno(e, r, "start %s", path) : 0;
}

static int exchange(int fd, const void *bytes, size_t len, struct buf *frames, struct err *e)
{
    const uint8_t *out = bytes;
    uint8_t *at;
    ssize_t n;

    while (len) {
        n = send(fd, out, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break; /* it has ended: what it said before tells why */
        out += n, len -= (size_t)n;
    }
    shutdown(fd, SHUT_WR);
    if (buf_reserve(frames, CARD_FRAMES_MAX, &at, e) < 0)
        return -1;
    for (;;) {
        n = recv(fd, at + frames->len, CARD_FRAMES_MAX - frames->len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return 0;
        frames->len += (size_t)n;
    }
}

/* bytes NULL: nothing is to be signed. */
static int run(const struct card_client *c, enum purpose why, int noise, const void *bytes,
        size_t len, struct buf *frames, struct err *e)
{
    int pair[2], status = 0, r;
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_set_errno(e, errno, "talk to %s", CARD_PROGRAM);
    r = start(c, why, pair[1], noise, &pid, e);
    close(pair[1]);
    if (r == 0) {
        r = exchange(pair[0], bytes, len, frames, e);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
    }
    close(pair[0]);
    if (r == 0 && status != 0 && frames->len == 0)
        r = err_set_code(e, ERR_CARD, status,
                WIFSIGNALED(status) ? "%s was ended by signal %d: the card's module failed"
                                    : "%s ended with status %d and said nothing",
                CARD_PROGRAM, WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return r;
}

/* Modules talk: p11-kit's proxy loads all there are, and a TPM's complains on a computer that has none. A person needs it
 * when the card did not do what it should, or is not where its own module looks. */
static bool is_worth_telling(const struct card_client *c, const struct err *e)
{
    return e->id == ERR_CARD || (e->id == ERR_CARD_ABSENT && c->module);
}

static void tell_noise(int noise)
{
    char text[NOISE_MAX + 1], *rest = text, *line;
    ssize_t n = pread(noise, text, NOISE_MAX, 0);

    text[n > 0 ? n : 0] = '\0';
    while ((line = strsep(&rest, "\n"))) {
        text_make_printable(line);
        if (*line)
            fprintf(stderr, "the card's module: %s\n", line);
    }
}

/* Runs the program and takes the frame of this kind; none is no error. */
static int ask(const struct card_client *c, enum purpose why, const void *bytes, size_t len,
        uint8_t wanted, struct buf *ret, struct err *e)
{
    int noise =
            memfd_create("card-module", MFD_CLOEXEC); /* without it there is only more to read */
    struct buf frames = BUF_INIT;
    int r = run(c, why, noise, bytes, len, &frames, e);

    if (r == 0)
        r = pick(&frames, wanted, ret, e);
    if (r < 0 && noise >= 0 && is_worth_telling(c, e))
        tell_noise(noise);
    if (r < 0 && (e->id == ERR_ARGUMENT || e->id == ERR_NOT_FOUND))
        err_advise(e, "Correct the URI after --key, or what it names; docs/approving.md lists its "
                      "parts.");
    if (noise >= 0)
        close(noise);
    buf_done(&frames);
    return r;
}

/* ---- what is wanted of it */

int card_client_check(const struct card_client *c, struct err *e)
{
    struct buf none = BUF_INIT;

    return ask(c, CHECK, NULL, 0, 0, &none, e); /* an error, or nothing */
}

int card_client_certificate(const struct card_client *c, X509 **ret, struct err *e)
{
    struct buf der = BUF_INIT;
    const uint8_t *at;
    int r = -1;

    *ret = NULL;
    if (ask(c, USE, NULL, 0, 'C', &der, e) < 0)
        goto out;
    if (der.len) {
        at = der.data;
        *ret = d2i_X509(NULL, &at, (long)der.len);
        /* some cards give a certificate in a file that is longer than it */
        if (!*ret) {
            err_set(e, ERR_CARD, "the card's certificate cannot be read");
            goto out;
        }
    }
    r = 0;
out:
    buf_done(&der);
    return r;
}

int card_client_sign(void *ctx, const void *bytes, size_t len, struct buf *ret_der, struct err *e)
{
    size_t before = ret_der->len;

    if (ask(ctx, USE, bytes, len, 'S', ret_der, e) < 0)
        return -1;
    return ret_der->len > before ? 0 : err_set(e, ERR_CARD, "%s gave no signature", CARD_PROGRAM);
}
