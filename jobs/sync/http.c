/* libcurl's multi interface as sd-event sources. Promises that every request ends, by an answer or
 * by a time-out, and that the peer's identity was verified before a byte of ours left. Must never
 * follow a redirect, take an unbounded answer, or let a password reach the log. */
#include "jobs/sync/http.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"
#include "base/limits.h"

enum option { CA_FILE, CERT_FILE, KEY_FILE, USER, PASSWORD_FILE, OPTION_COUNT };

struct http {
    sd_event *event;
    CURLM *multi;
    CURL *easy;
    sd_event_source *timer;
    char *options[OPTION_COUNT]; /* NULL where there is none */
    unsigned timeout_s;

    /* the request under way */
    http_done_fn done; /* NULL: none */
    void *ctx;
    struct curl_slist *headers;
    const uint8_t *upload;
    size_t upload_len, upload_at;
    struct http_answer answer;
    size_t answer_max, header_bytes;
    char curl_message[CURL_ERROR_SIZE];
};

/* ---- the address ---- */

static bool is_loopback(const char *host)
{
    struct in_addr v4;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return (ntohl(v4.s_addr) >> 24) == 127;
    return strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0;
}

static bool has_part(CURLU *u, CURLUPart part)
{
    char *text = NULL;
    bool has = curl_url_get(u, part, &text, 0) == CURLUE_OK;
    curl_free(text);
    return has;
}

static int check_parts(CURLU *u, struct err *e)
{
    char *scheme = NULL, *host = NULL;
    int r = -1;
    if (curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
            curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK)
        err_set(e, ERR_CONFIG, "[upstream] url names no server");
    else if (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0)
        err_set(e, ERR_CONFIG, "[upstream] url must begin with https://");
    else if (strcmp(scheme, "http") == 0 && !is_loopback(host))
        err_set(e, ERR_CONFIG,
                "[upstream] url must begin with https://: without TLS anybody on the line could "
                "read and acknowledge records (http:// is for servers in this machine only)");
    else if (has_part(u, CURLUPART_USER) || has_part(u, CURLUPART_PASSWORD))
        err_set(e, ERR_CONFIG,
                "[upstream] url must hold no credentials: use user and password_file");
    else if (has_part(u, CURLUPART_QUERY) || has_part(u, CURLUPART_FRAGMENT))
        err_set(e, ERR_CONFIG, "[upstream] url must end with its path: '?' and '#' have no place");
    else
        r = 0;
    curl_free(scheme);
    curl_free(host);
    return r;
}

int http_url_check(const char *url, struct err *e)
{
    if (strlen(url) > UPSTREAM_URL_MAX)
        return err_set(e, ERR_CONFIG, "[upstream] url is longer than %u bytes", UPSTREAM_URL_MAX);
    CURLU *u = curl_url();
    if (u == NULL)
        return err_set(e, ERR_NOMEM, "out of memory");
    CURLUcode c = curl_url_set(u, CURLUPART_URL, url, 0);
    int r = c == CURLUE_OK ? check_parts(u, e)
                           : err_set_code(e, ERR_CONFIG, (long)c,
                                     "[upstream] url is no address like https://host/path: %s",
                                     curl_url_strerror(c));
    curl_url_cleanup(u);
    return r;
}

/* ---- the end of a request ---- */

static void request_reset(struct http *h)
{
    curl_slist_free_all(h->headers);
    h->headers = NULL;
    h->done = NULL;
    h->upload = NULL;
    buf_done(&h->answer.body);
    h->answer = (struct http_answer){.body = BUF_INIT};
}

static int failure(const struct http *h, CURLcode c, struct err *e)
{
    const char *why = h->curl_message[0] != '\0' ? h->curl_message : curl_easy_strerror(c);
    if (h->header_bytes > UPSTREAM_HEADER_MAX)
        return err_set(e, ERR_UPSTREAM_NONSENSE, "upstream's headers have more than %u bytes",
                UPSTREAM_HEADER_MAX);
    switch (c) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
        return err_set_code(e, ERR_UPSTREAM_UNTRUSTED, (long)c, "%s", why);
    case CURLE_SSL_CACERT_BADFILE:
        return err_set_code(e, ERR_CONFIG, (long)c, "[upstream] ca_file cannot be used: %s", why);
    case CURLE_SSL_CERTPROBLEM:
        return err_set_code(
                e, ERR_CONFIG, (long)c, "[upstream] cert_file or key_file cannot be used: %s", why);
    case CURLE_UNSUPPORTED_PROTOCOL: /* HTTP/0.9: something that is no HTTP at all */
    case CURLE_WEIRD_SERVER_REPLY:
        return err_set_code(e, ERR_UPSTREAM_NONSENSE, (long)c, "%s", why);
    case CURLE_OUT_OF_MEMORY:
        return err_set_code(e, ERR_NOMEM, (long)c, "%s", why);
    default:
        return err_set_code(e, ERR_UPSTREAM_DOWN, (long)c, "%s", why);
    }
}

/* A refusal counts even when the line broke behind its status: a server may answer 413 and hang up
 * while we still send. A success whose answer broke off does not: the next try will find out. */
static bool answered(const struct http *h, CURLcode c)
{
    return c == CURLE_OK || (c == CURLE_WRITE_ERROR && h->answer.cut) || h->answer.status >= 400;
}

static void request_end(struct http *h, CURLcode c)
{
    http_done_fn done = h->done;
    void *ctx = h->ctx;
    struct err e = {0}, *why = NULL;
    long status = 0;
    curl_off_t retry_after = 0;

    curl_multi_remove_handle(h->multi, h->easy);
    curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(h->easy, CURLINFO_RETRY_AFTER, &retry_after);
    h->answer.status = (int)status;
    h->answer.retry_after_s = retry_after > 0 ? (int64_t)retry_after : 0;
    if (!answered(h, c) || status == 0) {
        h->answer.status = 0;
        failure(h, c, &e);
        why = &e;
    }
    /* The answer moves out, so that the callback may send the next request. */
    struct http_answer answer = h->answer;
    h->answer.body = BUF_INIT;
    request_reset(h);
    done(ctx, &answer, why);
    buf_done(&answer.body);
}

/* ---- libcurl on the event loop ---- */

static void reap(struct http *h)
{
    int left;
    CURLMsg *m;
    while ((m = curl_multi_info_read(h->multi, &left)) != NULL)
        if (m->msg == CURLMSG_DONE) {
            request_end(h, m->data.result);
            return; /* one request at a time; the next one may just have begun */
        }
}

static int on_io(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
    struct http *h = userdata;
    int running, mask = 0;
    (void)s;
    if (revents & EPOLLIN)
        mask |= CURL_CSELECT_IN;
    if (revents & EPOLLOUT)
        mask |= CURL_CSELECT_OUT;
    if (revents & (EPOLLERR | EPOLLHUP))
        mask |= CURL_CSELECT_ERR;
    curl_multi_socket_action(h->multi, fd, mask, &running);
    reap(h);
    return 0;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
    struct http *h = userdata;
    int running;
    (void)s, (void)usec;
    curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    reap(h);
    return 0;
}

static int want_socket(CURL *easy, curl_socket_t fd, int what, void *userdata, void *socket_ctx)
{
    struct http *h = userdata;
    sd_event_source *s = socket_ctx;
    uint32_t events = 0;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        sd_event_source_disable_unref(s);
        curl_multi_assign(h->multi, fd, NULL);
        return 0;
    }
    if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
        events |= EPOLLIN;
    if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
        events |= EPOLLOUT;
    if (s != NULL)
        return sd_event_source_set_io_events(s, events) < 0 ? -1 : 0;
    if (sd_event_add_io(h->event, &s, fd, events, on_io, h) < 0)
        return -1;
    curl_multi_assign(h->multi, fd, s);
    return 0;
}

static int want_timer(CURLM *multi, long timeout_ms, void *userdata)
{
    struct http *h = userdata;
    (void)multi;
    if (timeout_ms < 0)
        return sd_event_source_set_enabled(h->timer, SD_EVENT_OFF) < 0 ? -1 : 0;
    if (sd_event_source_set_time_relative(h->timer, (uint64_t)timeout_ms * 1000) < 0)
        return -1;
    return sd_event_source_set_enabled(h->timer, SD_EVENT_ONESHOT) < 0 ? -1 : 0;
}

/* ---- bytes ---- */

static size_t take_header(char *bytes, size_t size, size_t count, void *userdata)
{
    struct http *h = userdata;
    (void)bytes;
    h->header_bytes += size * count;
    return h->header_bytes > UPSTREAM_HEADER_MAX ? 0 : size * count;
}

static size_t take_body(char *bytes, size_t size, size_t count, void *userdata)
{
    struct http *h = userdata;
    size_t len = size * count, room = h->answer_max - h->answer.body.len;
    if (buf_append(&h->answer.body, bytes, len < room ? len : room, NULL) < 0)
        return 0;
    h->answer.cut = len > room;
    return h->answer.cut ? 0 : len; /* 0 ends the transfer */
}

static size_t give_body(char *bytes, size_t size, size_t count, void *userdata)
{
    struct http *h = userdata;
    size_t left = h->upload_len - h->upload_at;
    size_t len = size * count < left ? size * count : left;
    memcpy(bytes, h->upload + h->upload_at, len);
    h->upload_at += len;
    return len;
}

/* libcurl begins again when a kept connection turns out to be dead. */
static int rewind_body(void *userdata, curl_off_t offset, int origin)
{
    struct http *h = userdata;
    if (origin != SEEK_SET || offset < 0 || (size_t)offset > h->upload_len)
        return CURL_SEEKFUNC_FAIL;
    h->upload_at = (size_t)offset;
    return CURL_SEEKFUNC_OK;
}

/* ---- sending ---- */

/* Nothing here may fail quietly: an option that did not take could mean an unverified peer. */
#define SET(option, value)                                                                         \
    do {                                                                                           \
        CURLcode c_ = curl_easy_setopt(h->easy, CURLOPT_##option, value);                          \
        if (c_ != CURLE_OK)                                                                        \
            return err_set_code(e, ERR_BUG, (long)c_, "libcurl refuses option " #option);          \
    } while (0)

static int set_tls(struct http *h, struct err *e)
{
    SET(SSL_VERIFYPEER, 1L);
    SET(SSL_VERIFYHOST, 2L);
    SET(SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (h->options[CA_FILE] != NULL) {
        SET(CAINFO, h->options[CA_FILE]);
        SET(CAPATH, NULL); /* else Debian's libcurl trusts /etc/ssl/certs as well */
    }
    if (h->options[CERT_FILE] != NULL)
        SET(SSLCERT, h->options[CERT_FILE]);
    if (h->options[KEY_FILE] != NULL)
        SET(SSLKEY, h->options[KEY_FILE]);
    return 0;
}

static int set_user(struct http *h, struct err *e)
{
    struct buf password = BUF_INIT_SECRET;
    int r = -1;
    if (h->options[USER] == NULL)
        return 0;
    SET(HTTPAUTH, (long)CURLAUTH_BASIC);
    SET(USERNAME, h->options[USER]);
    if (h->options[PASSWORD_FILE] == NULL)
        return 0;
    struct err cause = {0};
    if (file_read_secret(h->options[PASSWORD_FILE], &password, &cause) < 0)
        err_set(e, ERR_CONFIG, "[upstream] password_file: %s", cause.msg);
    else if (buf_str(&password) == NULL)
        err_set(e, ERR_NOMEM, "out of memory");
    else if (curl_easy_setopt(h->easy, CURLOPT_PASSWORD, buf_str(&password)) != CURLE_OK)
        err_set(e, ERR_BUG, "libcurl refuses the password");
    else
        r = 0;
    buf_done(&password);
    return r;
}

static int set_bounds(struct http *h, struct err *e)
{
    unsigned connect_s = h->timeout_s < UPSTREAM_CONNECT_S ? h->timeout_s : UPSTREAM_CONNECT_S;
    SET(CONNECTTIMEOUT, (long)connect_s);
    SET(LOW_SPEED_LIMIT, 1L);
    SET(LOW_SPEED_TIME, (long)h->timeout_s);
    SET(TIMEOUT, (long)UPSTREAM_EXCHANGE_S);
    SET(NOSIGNAL, 1L);
    SET(QUICK_EXIT, 1L); /* SIGTERM must not wait for a name server */
    SET(FOLLOWLOCATION, 0L);
    /* One request after the other: HTTP/2 would bring nothing but its state machine. */
    SET(HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(USERAGENT, "keyline/" KEYLINE_VERSION);
    SET(ERRORBUFFER, h->curl_message);
    return 0;
}

static int set_request(struct http *h, const struct http_request *r, struct err *e)
{
    bool plain = strncasecmp(r->url, "http:", 5) == 0;
    SET(URL, r->url);
    SET(PROTOCOLS_STR, plain ? "http" : "https");
    if (plain)
        SET(NOPROXY, "*"); /* what is allowed in clear for this machine must not leave it */
    if (r->body != NULL) {
        SET(UPLOAD, 1L);
        SET(INFILESIZE_LARGE, (curl_off_t)r->body_len);
        SET(READFUNCTION, give_body);
        SET(READDATA, h);
        SET(SEEKFUNCTION, rewind_body);
        SET(SEEKDATA, h);
    }
    SET(CUSTOMREQUEST, r->method);
    SET(WRITEFUNCTION, take_body);
    SET(WRITEDATA, h);
    SET(HEADERFUNCTION, take_header);
    SET(HEADERDATA, h);
    for (size_t i = 0; r->headers != NULL && r->headers[i] != NULL; i++) {
        struct curl_slist *longer = curl_slist_append(h->headers, r->headers[i]);
        if (longer == NULL)
            return err_set(e, ERR_NOMEM, "out of memory");
        h->headers = longer;
    }
    SET(HTTPHEADER, h->headers);
    return 0;
}

int http_send(
        struct http *h, const struct http_request *r, http_done_fn done, void *ctx, struct err *e)
{
    if (h->done != NULL)
        return err_set(e, ERR_BUG, "a request is under way already");
    if (http_url_check(r->url, e) < 0)
        return -1;
    curl_easy_reset(h->easy); /* keeps connections */
    h->curl_message[0] = '\0';
    h->header_bytes = 0;
    h->answer_max = r->answer_max;
    h->upload = r->body;
    h->upload_len = r->body_len;
    h->upload_at = 0;
    if (set_bounds(h, e) < 0 || set_tls(h, e) < 0 || set_user(h, e) < 0 ||
            set_request(h, r, e) < 0) {
        request_reset(h);
        return -1;
    }
    h->done = done;
    h->ctx = ctx;
    CURLMcode c = curl_multi_add_handle(h->multi, h->easy);
    if (c != CURLM_OK) {
        request_reset(h);
        return err_set_code(e, ERR_BUG, (long)c, "libcurl: %s", curl_multi_strerror(c));
    }
    return 0;
}

/* ---- opening and closing ---- */

static int copy_options(struct http *h, const struct http_options *o, struct err *e)
{
    const char *const from[OPTION_COUNT] = {
            [CA_FILE] = o->ca_file,
            [CERT_FILE] = o->cert_file,
            [KEY_FILE] = o->key_file,
            [USER] = o->user,
            [PASSWORD_FILE] = o->password_file,
    };
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (from[i] != NULL && from[i][0] != '\0' && (h->options[i] = strdup(from[i])) == NULL)
            return err_set(e, ERR_NOMEM, "out of memory");
    h->timeout_s = o->timeout_s;
    return 0;
}

static int start_curl(struct http *h, struct err *e)
{
    h->multi = curl_multi_init();
    h->easy = curl_easy_init();
    if (h->multi == NULL || h->easy == NULL ||
            curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, want_socket) != CURLM_OK ||
            curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h) != CURLM_OK ||
            curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, want_timer) != CURLM_OK ||
            curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h) != CURLM_OK)
        return err_set(e, ERR_NOMEM, "libcurl cannot start");
    return 0;
}

static void stop_curl(struct http *h)
{
    curl_easy_cleanup(h->easy);
    h->easy = NULL;
    curl_multi_cleanup(h->multi);
    h->multi = NULL;
}

static int make_timer(struct http *h, struct err *e)
{
    int r = sd_event_add_time_relative(h->event, &h->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, h);
    if (r >= 0)
        r = sd_event_source_set_enabled(h->timer, SD_EVENT_OFF);
    return r < 0 ? err_set_errno(e, -r, "make a timer") : 0;
}

int http_renew(struct http *h, struct err *e)
{
    if (h->done != NULL)
        return err_set(e, ERR_BUG, "a request is under way");
    stop_curl(h);
    return start_curl(h, e);
}

int http_open(sd_event *event, const struct http_options *o, struct http **ret, struct err *e)
{
    struct http *h = calloc(1, sizeof *h);
    if (h == NULL)
        return err_set(e, ERR_NOMEM, "out of memory");
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        free(h);
        return err_set(e, ERR_NOMEM, "libcurl cannot start");
    }
    h->event = sd_event_ref(event);
    if (copy_options(h, o, e) < 0 || make_timer(h, e) < 0 || start_curl(h, e) < 0) {
        http_close(&h);
        return -1;
    }
    *ret = h;
    return 0;
}

void http_close(struct http **hp)
{
    struct http *h = *hp;
    if (h == NULL)
        return;
    if (h->done != NULL)
        curl_multi_remove_handle(h->multi, h->easy);
    request_reset(h);
    stop_curl(h);
    sd_event_source_disable_unref(h->timer);
    sd_event_unref(h->event);
    for (size_t i = 0; i < OPTION_COUNT; i++)
        free(h->options[i]);
    free(h);
    curl_global_cleanup();
    *hp = NULL;
}
