/* The journal contract with upstream (docs/upstream.md): immutable numbered batches, each PUT once.
 * One struct journal is the way of one batch. Pure: an answer goes in, the next action comes out;
 * no network, no clock, no random numbers, so that a test can walk every path. Whatever upstream
 * answers, a batch counts as delivered only on 201, or when upstream was seen to hold these very
 * bytes. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/limits.h"
#include "jobs/sync/http.h"

enum journal_step {
    JOURNAL_PUT,
    JOURNAL_COMPARE,       /* GET what upstream holds under this batch's name */
    JOURNAL_MAKE_STATIONS, /* MKCOL the collections above it, outermost first (WebDAV) */
    JOURNAL_MAKE_STATION,
    JOURNAL_MAKE_BATCHES,
};
enum journal_action {
    JOURNAL_SEND,   /* the request of journal_request() */
    JOURNAL_ACK,    /* delivered */
    JOURNAL_REFUSE, /* this batch will never be taken: set it aside, go on with later ones */
    JOURNAL_WAIT,   /* try again later, from the start */
};
enum journal_pause {
    JOURNAL_PAUSE_BACKOFF, /* upstream may be back any moment: exponential back-off */
    JOURNAL_PAUSE_LONG,    /* a person must act first: the longest pause */
};
/* The address of the batch's resource, and where the addresses of the collections above it end. */
struct journal_path {
    char url[UPSTREAM_URL_MAX + 1];
    size_t stations_len, station_len, batches_len;
};
struct journal {
    enum journal_step step;
    bool collections_made; /* a second 409 is not about them */
    int put_status;        /* what the PUT said that led to JOURNAL_COMPARE */
    const uint8_t *body;   /* borrowed */
    size_t body_len;
    uint8_t sha256[32];
    char digest_header[96]; /* RFC 9530 */
    struct journal_path path;
};
struct journal_verdict {
    enum journal_action action;
    struct err why; /* of JOURNAL_REFUSE and JOURNAL_WAIT */
    enum journal_pause pause;
    int64_t pause_min_s; /* upstream's Retry-After, capped; 0: none */
    const char *detail;  /* of JOURNAL_ACK: how we know */
};

/* url: [upstream] url. The body is borrowed for the life of j, which holds nothing else. */
int journal_init(struct journal *j, const char *url, const char *station, uint64_t first,
        uint64_t last, const uint8_t *body, size_t body_len, struct err *e);

/* The request of the current step; its texts lie in *ret and in j, which the caller keeps until the
 * answer came. */
struct journal_sending {
    struct http_request request;
    const char *headers[4];
    char url[UPSTREAM_URL_MAX + 1];
};
void journal_request(const struct journal *j, struct journal_sending *ret);

/* What an answer to that request means; j moves on when the verdict is JOURNAL_SEND. why: as
 * http_done_fn gets it. */
void journal_answer(struct journal *j, const struct http_answer *a, const struct err *why,
        struct journal_verdict *ret);
