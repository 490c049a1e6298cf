/* signerd-token: a worker of signerd and the only process with the PKCS#11 module and the PIN in
 * it. It answers its parent over descriptor 3, one request at a time: the first opens the token. It
 * ends with the first failure of the token: a fresh process is the one dependable way to reset
 * vendor code. It decides nothing: what to sign is signerd's affair. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/config.h"
#include "base/daemon.h"
#include "base/err.h"
#include "base/log.h"
#include "base/paths.h"
#include "hsm/ledger/checkpoint.h"
#include "hsm/token/embedded.h"
#include "hsm/token/pin_file.h"
#include "hsm/token/token.h"
#include "hsm/workers/wire.h"

struct worker {
    struct paths paths;
    const char *section; /* of the configuration: which token this is */
    struct config *config;
    struct token *token; /* from the first DESCRIBE on */
    struct err failed;   /* what kept the configuration from being read */
    char pin_file[PATH_MAX];
    uint8_t spki[WIRE_BODY_MAX];
    size_t spki_len;
};

static int open_token(struct worker *w, struct err *e)
{
    struct token_options o = {
            .module = config_get(w->config, w->section, "module"),
            .init_args = config_get(w->config, w->section, "init_args"),
            .label = config_get(w->config, w->section, "label"),
            .key_label = config_get(w->config, w->section, "key_label"),
            .key_id = config_get(w->config, w->section, "key_id"),
            .pin_file = w->pin_file,
            .spki = w->spki,
            .spki_len = w->spki_len,
    };
    int lock = -1, r = -1;

    pin_file_find(&w->paths, w->config, w->section, w->pin_file);
    if (!embedded_env(&w->paths))
        return token_open(&o, &w->token, e);
    /* held until the login is over: only then do the token's files have their content again */
    if (embedded_lock(&w->paths, &lock, e) == 0 && embedded_restore(&w->paths, e) == 0)
        r = token_open(&o, &w->token, e);
    if (lock >= 0)
        close(lock);
    return r;
}

static void answer_error(struct wire_packet *p, const struct err *e)
{
    p->error = (uint16_t)e->id;
    p->code = (uint64_t)e->code;
    p->len = strlen(e->msg);
    memcpy(p->body, e->msg, p->len);
}

static int describe(struct worker *w, struct wire_packet *p, struct err *e)
{
    const char *text;
    uint32_t mask;

    if (w->token && (w->spki_len != p->len || memcmp(w->spki, p->body, p->len) != 0))
        return err_set(e, ERR_PROTOCOL, "this worker has opened the key of another CA");
    if (!w->token) {
        memcpy(w->spki, p->body, p->len);
        w->spki_len = p->len;
        if (open_token(w, e) < 0)
            return -1;
    }
    text = token_description(w->token);
    mask = 1u << token_alg(w->token);
    for (int i = 0; i < 4; i++)
        p->body[i] = (uint8_t)(mask >> (24 - 8 * i));
    p->len = 4 + strlen(text);
    memcpy(p->body + 4, text, p->len - 4);
    return 0;
}

static int sign(
        struct token *t, struct wire_packet *p, const uint8_t *bytes, size_t len, struct err *e)
{
    struct buf raw = BUF_INIT;
    int r = -1;

    if (p->alg != (uint8_t)token_alg(t))
        err_set(e, ERR_TOKEN, "the token's key is a %s key, not the one of the CA certificate",
                signature_info(token_alg(t))->name);
    else if (token_sign(t, bytes, len, &raw, e) == 0) {
        memcpy(p->body, raw.data, raw.len);
        p->len = raw.len;
        r = 0;
    }
    buf_done(&raw);
    return r;
}

static int sign_file(struct token *t, struct wire_packet *p, int file, struct err *e)
{
    const uint8_t *bytes;
    size_t len;
    int r;

    if (wire_map_file(file, &bytes, &len, e) < 0)
        return -1;
    r = sign(t, p, bytes, len, e);
    munmap((void *)(uintptr_t)bytes, len);
    return r;
}

static int ping(struct token *t, struct wire_packet *p, struct err *e)
{
    p->len = 0;
    return token_ping(t, e);
}

/* A mark that is being written must not look to another worker's login like one that was cut off. */
static int write_mark(struct worker *w, const char *station, const uint8_t mark[MARK_BYTES],
        struct buf *out, struct err *e)
{
    int lock = -1, r = -1;

    if (!embedded_env(&w->paths) || embedded_lock(&w->paths, &lock, e) == 0)
        r = token_mark_write(w->token, station, mark, out, e);
    if (lock >= 0)
        close(lock);
    return r;
}

static int mark(struct worker *w, struct wire_packet *p, struct err *e)
{
    size_t name_at = p->op == WIRE_MARK_WRITE ? MARK_BYTES : 0;
    char station[NAME_BYTES_MAX + 1];
    struct buf out = BUF_INIT;
    int r;

    if (p->len < name_at || p->len - name_at > NAME_BYTES_MAX)
        return err_set(e, ERR_PROTOCOL, "a request for the mark has a wrong size");
    snprintf(station, sizeof station, "%.*s", (int)(p->len - name_at),
            (const char *)p->body + name_at);
    r = p->op == WIRE_MARK_READ ? token_mark_read(w->token, station, &out, e)
                                : write_mark(w, station, p->body, &out, e);
    if (r == 0) {
        memcpy(p->body, out.data, out.len);
        p->len = out.len;
    }
    buf_done(&out);
    return r;
}

static int answer(struct worker *w, struct wire_packet *p, int file, struct err *e)
{
    if (w->failed.id) {
        *e = w->failed;
        return -1;
    }
    if (p->op == WIRE_DESCRIBE)
        return describe(w, p, e);
    if (w->token && p->op == WIRE_SIGN)
        return sign(w->token, p, p->body, p->len, e);
    if (w->token && p->op == WIRE_SIGN_FILE)
        return sign_file(w->token, p, file, e);
    if (w->token && p->op == WIRE_PING)
        return ping(w->token, p, e);
    if (w->token && (p->op == WIRE_MARK_READ || p->op == WIRE_MARK_WRITE))
        return mark(w, p, e);
    return err_set(e, ERR_PROTOCOL, "unknown or untimely request %u", p->op);
}

/* Ends when signerd goes away (0) or the token fails (1): then signerd has the reason already. */
static int serve(struct worker *w)
{
    struct wire_packet p;
    struct err e = {0};
    int file;

    for (;;) {
        if (wire_receive_file(WIRE_FD, &p, &file, &e) < 0)
            return 0;
        p.error = 0;
        if (answer(w, &p, file, &e) < 0)
            answer_error(&p, &e);
        if (file >= 0)
            close(file);
        if (wire_send(WIRE_FD, &p, NULL) < 0)
            return 0;
        if (e.id)
            return 1;
    }
}

int main(int argc, char **argv)
{
    struct worker w = {.section = argc > 1 ? argv[1] : "token"};
    char path[PATH_MAX];
    struct stat st;
    int r;

    if (fstat(WIRE_FD, &st) < 0 || !S_ISSOCK(st.st_mode)) {
        fprintf(stderr, "signerd-token is started by signerd, not by hand: run signerd, or "
                        "'keyline run'.\n");
        return 2;
    }
    /* a module that hangs must not outlive signerd; a closed descriptor would not tell it */
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (daemon_init("signerd-token", NULL, &w.failed) == 0 &&
            paths_init(&w.paths, &w.failed) == 0) {
        paths_get(&w.paths, PATH_CONFIG, path);
        config_load(path, &w.config, &w.failed);
    }
    r = serve(&w);
    token_close(&w.token);
    config_free(&w.config);
    return r;
}
