/* The journal contract: what to ask upstream, and what its answers mean. Promises that no answer
 * but the two proofs of delivery (201, or the same bytes seen there) makes a batch count as
 * delivered. Must never touch the network itself. */
#include "jobs/sync/journal.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

/* ---- asking ---- */

static int make_path(struct journal_path *p, const char *url, const char *station, uint64_t first,
        uint64_t last, struct err *e)
{
    size_t url_len = strlen(url);
    while (url_len > 0 && url[url_len - 1] == '/')
        url_len--;
    char *escaped = curl_easy_escape(NULL, station, 0);
    if (escaped == NULL)
        return err_set(e, ERR_NOMEM, "out of memory");
    size_t escaped_len = strlen(escaped);
    int n = snprintf(p->url, sizeof p->url,
            "%.*s/stations/%s/batches/%012" PRIu64 "-%012" PRIu64 ".ndjson", (int)url_len, url,
            escaped, first, last);
    curl_free(escaped);
    if (n < 0 || (size_t)n >= sizeof p->url)
        return err_set(e, ERR_CONFIG, "[upstream] url is too long");
    p->stations_len = url_len + strlen("/stations/");
    p->station_len = p->stations_len + escaped_len + strlen("/");
    p->batches_len = p->station_len + strlen("batches/");
    return 0;
}

int journal_init(struct journal *j, const char *url, const char *station, uint64_t first,
        uint64_t last, const uint8_t *body, size_t body_len, struct err *e)
{
    unsigned char base64[64];
    *j = (struct journal){.step = JOURNAL_PUT, .body = body, .body_len = body_len};
    if (make_path(&j->path, url, station, first, last, e) < 0)
        return -1;
    SHA256(body, body_len, j->sha256);
    EVP_EncodeBlock(base64, j->sha256, (int)sizeof j->sha256);
    snprintf(j->digest_header, sizeof j->digest_header,
            "Content-Digest: sha-256=:%s:", (const char *)base64);
    return 0;
}

static void ask_collection(const struct journal *j, size_t len, struct journal_sending *ret)
{
    memcpy(ret->url, j->path.url, len);
    ret->url[len] = '\0';
    ret->request.method = "MKCOL";
    ret->request.url = ret->url;
}

void journal_request(const struct journal *j, struct journal_sending *ret)
{
    size_t n = 0;
    *ret = (struct journal_sending){
            .request = {.url = j->path.url, .answer_max = UPSTREAM_ANSWER_MAX}};
    switch (j->step) {
    case JOURNAL_PUT:
        ret->request.method = "PUT";
        ret->request.body = j->body;
        ret->request.body_len = j->body_len;
        ret->headers[n++] = "Content-Type: application/x-ndjson";
        ret->headers[n++] = "If-None-Match: *"; /* never over what is there: RFC 9110, 13.1.2 */
        ret->headers[n++] = j->digest_header;
        break;
    case JOURNAL_COMPARE:
        ret->request.method = "GET";
        ret->request.answer_max = j->body_len;         /* a longer one is another one */
        ret->headers[n++] = "Cache-Control: no-cache"; /* the store itself is asked */
        break;
    case JOURNAL_MAKE_STATIONS:
        ask_collection(j, j->path.stations_len, ret);
        break;
    case JOURNAL_MAKE_STATION:
        ask_collection(j, j->path.station_len, ret);
        break;
    case JOURNAL_MAKE_BATCHES:
        ask_collection(j, j->path.batches_len, ret);
        break;
    }
    ret->request.headers = ret->headers;
}

/* ---- understanding ---- */

static void send_step(struct journal *j, enum journal_step step, struct journal_verdict *ret)
{
    j->step = step;
    ret->action = JOURNAL_SEND;
}

static void ack(const char *detail, struct journal_verdict *ret)
{
    ret->action = JOURNAL_ACK;
    ret->detail = detail;
}

/* Upstream refuses us, whatever the batch: an account, an address, a right. Only a person can mend
 * that, and asking often may lock the account. */
static void wait_for_person(int status, struct journal_verdict *ret)
{
    ret->pause = JOURNAL_PAUSE_LONG;
    switch (status) {
    case 401:
        err_set_code(&ret->why, ERR_UPSTREAM_REFUSED, status,
                "upstream does not accept our credentials (401): check user, password_file and "
                "cert_file in [upstream]");
        break;
    case 403:
        err_set_code(&ret->why, ERR_UPSTREAM_REFUSED, status,
                "upstream does not allow it (403): the account needs the rights to read and to "
                "create below [upstream] url");
        break;
    case 404:
        err_set_code(&ret->why, ERR_UPSTREAM_REFUSED, status,
                "upstream does not know this address (404): check [upstream] url");
        break;
    case 405:
        err_set_code(&ret->why, ERR_UPSTREAM_REFUSED, status,
                "upstream takes no PUT at this address (405): check [upstream] url, and that the "
                "server has WebDAV switched on there");
        break;
    default:
        err_set_code(
                &ret->why, ERR_UPSTREAM_REFUSED, status, "upstream refuses: status %d", status);
    }
}

/* What every request may get. */
static void wait_after(const struct http_answer *a, struct journal_verdict *ret)
{
    int s = a->status;
    ret->action = JOURNAL_WAIT;
    ret->pause = JOURNAL_PAUSE_BACKOFF;
    ret->pause_min_s = a->retry_after_s < UPSTREAM_RETRY_AFTER_MAX_S ? a->retry_after_s
                                                                     : UPSTREAM_RETRY_AFTER_MAX_S;
    if (s == 408 || s == 423 || s == 425 || s == 429 || s >= 500)
        err_set_code(&ret->why, ERR_UPSTREAM_DOWN, s, "upstream cannot take records now (%d)", s);
    else if (s >= 400)
        wait_for_person(s, ret);
    else if (s >= 300)
        err_set_code(&ret->why, ERR_UPSTREAM_NONSENSE, s,
                "upstream sends us elsewhere (%d), which is not followed: put the final address "
                "into [upstream] url",
                s);
    else
        err_set_code(&ret->why, ERR_UPSTREAM_NONSENSE, s,
                "upstream answered %d, but does not hold what it was sent", s);
}

static void refuse(enum err_id id, int status, const char *text, struct journal_verdict *ret)
{
    ret->action = JOURNAL_REFUSE;
    err_set_code(&ret->why, id, status, "%s", text);
}

static void answer_put(struct journal *j, const struct http_answer *a, struct journal_verdict *ret)
{
    j->put_status = a->status;
    switch (a->status) {
    case 201:
        ack("201 Created", ret);
        return;
    case 412: /* something is there: our own earlier PUT, we hope */
        send_step(j, JOURNAL_COMPARE, ret);
        return;
    case 409: /* RFC 4918, 9.7.1: a collection above is missing */
        if (!j->collections_made) {
            send_step(j, JOURNAL_MAKE_STATIONS, ret);
            return;
        }
        break;
    case 400:
    case 422:
        refuse(ERR_UPSTREAM_REFUSED, a->status,
                "upstream rejects the content of these records: its log says why; when it is "
                "mended there, 'keyline sync retry' sends them again",
                ret);
        return;
    case 413:
        refuse(ERR_UPSTREAM_REFUSED, a->status,
                "upstream takes no body of this size: raise its limit (apache2: "
                "LimitRequestBody), then 'keyline sync retry'",
                ret);
        return;
    default:
        /* A success that is not "Created": any web page says so (a portal, a proxy, a server that
         * does not know If-None-Match). Only what it holds counts. */
        if (a->status >= 200 && a->status < 300) {
            send_step(j, JOURNAL_COMPARE, ret);
            return;
        }
    }
    wait_after(a, ret);
}

static bool begins_alike(const struct journal *j, const struct http_answer *a)
{
    return a->body.len == 0 ||
           (a->body.len <= j->body_len && memcmp(a->body.data, j->body, a->body.len) == 0);
}

static void conflict(
        const struct journal *j, const struct http_answer *a, struct journal_verdict *ret)
{
    char sha256[2 * sizeof j->sha256 + 1];
    ret->action = JOURNAL_REFUSE;
    hex_format(j->sha256, sizeof j->sha256, sha256);
    if (!a->cut && a->body.len < j->body_len && begins_alike(j, a))
        err_set(&ret->why, ERR_UPSTREAM_CONFLICT,
                "upstream kept only the first %zu of %zu bytes: it must store a PUT whole or not "
                "at all; remove the piece there, then 'keyline sync retry'",
                a->body.len, j->body_len);
    else
        err_set(&ret->why, ERR_UPSTREAM_CONFLICT,
                "upstream holds other bytes under the name of this batch; ours have the SHA-256 %s",
                sha256);
}

static void answer_compare(
        const struct journal *j, const struct http_answer *a, struct journal_verdict *ret)
{
    bool same = a->status == 200 && !a->cut && a->body.len == j->body_len && begins_alike(j, a);
    if (same)
        ack(j->put_status == 412 ? "412, the same bytes are there" : "the same bytes are there",
                ret);
    else if (a->status == 200 && j->put_status == 412)
        conflict(j, a, ret);
    else if (a->status == 404) {
        ret->action = JOURNAL_WAIT;
        err_set_code(&ret->why, ERR_UPSTREAM_NONSENSE, j->put_status,
                "upstream answered %d, but has nothing under the name of the batch", j->put_status);
    } else
        wait_after(a, ret);
}

static void answer_collection(
        struct journal *j, const struct http_answer *a, struct journal_verdict *ret)
{
    if (a->status == 409 && j->step == JOURNAL_MAKE_STATIONS) {
        ret->action = JOURNAL_WAIT;
        ret->pause = JOURNAL_PAUSE_LONG;
        err_set_code(&ret->why, ERR_UPSTREAM_REFUSED, a->status,
                "the collection that [upstream] url names does not exist at upstream: create it "
                "there, or correct the address");
        return;
    }
    /* 405: it exists already (RFC 4918, 9.3.1). Whether all is well the PUT will say. */
    if (a->status != 405 && (a->status < 200 || a->status >= 300)) {
        wait_after(a, ret);
        return;
    }
    j->collections_made = j->step == JOURNAL_MAKE_BATCHES;
    send_step(j, j->collections_made ? JOURNAL_PUT : j->step + 1, ret);
}

void journal_answer(struct journal *j, const struct http_answer *a, const struct err *why,
        struct journal_verdict *ret)
{
    *ret = (struct journal_verdict){.pause = JOURNAL_PAUSE_BACKOFF};
    if (why != NULL) {
        ret->action = JOURNAL_WAIT;
        ret->why = *why;
    } else if (j->step == JOURNAL_PUT) {
        answer_put(j, a, ret);
    } else if (j->step == JOURNAL_COMPARE) {
        answer_compare(j, a, ret);
    } else {
        answer_collection(j, a, ret);
    }
    if (ret->action == JOURNAL_WAIT)
        j->step = JOURNAL_PUT; /* what is true now may not be then */
}
