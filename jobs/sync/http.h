/* HTTP requests on the event loop: libcurl's multi interface as sd-event sources. It knows no
 * contract: whoever asks decides what an answer means. It never follows a redirect (credentials
 * must not go elsewhere), never talks to a server whose certificate does not verify, never takes
 * more of an answer than was asked for, and never logs one. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "base/buf.h"

struct err;
struct http;

/* Texts are copied; NULL or "" where there is none. */
struct http_options {
    const char *ca_file;       /* PEM; none: the system's CAs */
    const char *cert_file;     /* PEM, our client certificate */
    const char *key_file;      /* PEM, its key */
    const char *user;          /* Basic authentication (inside TLS) */
    const char *password_file; /* read for every request, so that a corrected one takes effect */
    unsigned timeout_s;        /* silence of the server that ends a request */
};
/* Borrowed until the answer came or the request was cancelled. */
struct http_request {
    const char *method;         /* "PUT", "GET", "MKCOL", ... */
    const char *url;            /* as http_url_check() accepts it */
    const char *const *headers; /* "Name: value"; NULL ends the list; NULL: none */
    const uint8_t *body;        /* NULL: none */
    size_t body_len;
    size_t answer_max; /* bytes of the answer's body to take */
};
struct http_answer {
    int status;            /* 0: there was none, why says what happened */
    int64_t retry_after_s; /* from Retry-After in either form, 0: not given */
    struct buf body;       /* at most answer_max bytes */
    bool cut;              /* the body was longer; the rest was not taken */
};
/* Once for every http_send that succeeded. why is NULL when there is a status, else UpstreamDown,
 * UpstreamUntrusted, or Config when a file named in the options cannot be used. Both are borrowed
 * for the call, in which http_send may be called again. */
typedef void (*http_done_fn)(void *ctx, const struct http_answer *answer, const struct err *why);

/* ERR_CONFIG unless url is absolute, https (or http to a loopback address: there is no line to
 * listen on, and a server in the same machine needs no certificate), without user, query and
 * fragment. */
int http_url_check(const char *url, struct err *e);

int http_open(sd_event *event, const struct http_options *o, struct http **ret, struct err *e);
void http_close(struct http **h); /* cancels; nobody is called back */
/* Forgets kept connections and looked-up names: after trouble (a line that moved, a server that
 * left bytes behind its answer) the next request begins from nothing. Not while a request is under
 * way. */
int http_renew(struct http *h, struct err *e);
/* One request at a time. Errors are those that come before anything is sent. */
int http_send(
        struct http *h, const struct http_request *r, http_done_fn done, void *ctx, struct err *e);
