/* syncd: carries jobd's outbox upstream, batch by batch, whenever the line is there. Promises that
 * a batch is acknowledged only when upstream holds it, that no failure of jobd, upstream or a batch
 * ends this process or holds up the batches behind it, and that being off-line is shown, not
 * complained about. Touches the network, and for that reason nothing else: no database, no keys of
 * the CA, no device. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/config.h"
#include "base/daemon.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/paths.h"
#include "base/text.h"
#include "jobs/outbox_client.h"
#include "jobs/sync/backoff.h"
#include "jobs/sync/http.h"
#include "jobs/sync/journal.h"

struct syncd {
    sd_event *event;
    sd_event_source *timer; /* the next turn() */
    struct paths paths;
    struct config *config;
    char station[NAME_BYTES_MAX + 1];
    const char *url; /* "": there is no upstream */
    int64_t interval_ms;

    sd_bus *jobd; /* NULL: not connected */
    struct backoff jobd_backoff;
    enum err_id jobd_problem; /* as logged; ERR_NONE: all is well */
    const char *reported;     /* the state jobd heard from this connection; NULL: none */

    struct http *http;
    struct backoff upstream_backoff;
    enum err_id upstream_problem; /* as logged */

    /* the batch under way; last 0: none */
    struct outbox_batch batch;
    struct journal journal;
    struct journal_sending sending;
};

static uint64_t random_bits(void)
{
    uint64_t bits;
    return getrandom(&bits, sizeof bits, 0) == (ssize_t)sizeof bits ? bits
                                                                    : (uint64_t)time_now_ms();
}

static void turn_after(struct syncd *s, int64_t ms)
{
    int r = sd_event_source_set_time_relative(s->timer, (uint64_t)ms * 1000);
    if (r >= 0)
        r = sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
    if (r < 0) { /* without a next turn this process would sit there and do nothing */
        log_error("timer-failed", LOG_STR("reason", strerror(-r)));
        sd_event_exit(s->event, EXIT_FAILURE);
    }
}

static void batch_drop(struct syncd *s)
{
    buf_done(&s->batch.ndjson);
    s->batch = (struct outbox_batch){.last = 0};
}

/* ---- jobd ---- */

static int on_retry(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct syncd *s = userdata;
    (void)m, (void)be;
    if (s->batch.last == 0)
        turn_after(s, 0);
    return 0;
}

static void jobd_close(struct syncd *s)
{
    s->jobd = sd_bus_flush_close_unref(s->jobd);
    s->reported = NULL;
}

static int jobd_open(struct syncd *s, struct err *e)
{
    if (s->jobd != NULL && sd_bus_is_open(s->jobd) <= 0)
        jobd_close(s);
    if (s->jobd != NULL)
        return 0;
    if (outbox_open(&s->paths, s->event, &s->jobd, e) < 0)
        return -1;
    if (outbox_on_retry(s->jobd, on_retry, s, e) == 0)
        return 0;
    jobd_close(s);
    return -1;
}

/* Whatever jobd failed at, nothing is lost: it gives the same batch again, and upstream knows
 * whether it has it. */
static void jobd_failed(struct syncd *s, const struct err *e)
{
    if (s->jobd_problem != e->id)
        log_err(LOG_WARNING, "jobd-away", e);
    s->jobd_problem = e->id;
    batch_drop(s);
    jobd_close(s);
    turn_after(s, backoff_next(&s->jobd_backoff, random_bits()));
}

/* A turn that ended as it should. */
static void jobd_worked(struct syncd *s)
{
    if (s->jobd_problem != ERR_NONE)
        log_info("jobd-back");
    s->jobd_problem = ERR_NONE;
    backoff_reset(&s->jobd_backoff);
}

static int report(struct syncd *s, const char *state, struct err *e)
{
    if (s->reported != NULL && strcmp(s->reported, state) == 0)
        return 0;
    if (outbox_report(s->jobd, state, NULL, 0, e) < 0)
        return -1;
    s->reported = state;
    return 0;
}

/* ---- upstream ---- */

static void upstream_worked(struct syncd *s)
{
    if (s->upstream_problem != ERR_NONE)
        log_info("upstream-back");
    s->upstream_problem = ERR_NONE;
    backoff_reset(&s->upstream_backoff);
}

static int64_t pause_ms(struct syncd *s, enum journal_pause kind, int64_t min_s)
{
    const uint32_t longest = UPSTREAM_BACKOFF_MAX_S * 1000u;
    uint32_t drawn = backoff_next(&s->upstream_backoff, random_bits());
    if (kind == JOURNAL_PAUSE_LONG)
        drawn = longest / 2 + (uint32_t)(random_bits() % (longest / 2 + 1));
    /* Upstream's own wish is a minimum, and the same for many stations. */
    return min_s * 1000 + drawn;
}

static void upstream_failed(
        struct syncd *s, const struct err *why, enum journal_pause kind, int64_t min_s)
{
    struct err e = {0};
    int64_t pause = pause_ms(s, kind, min_s);
    if (s->upstream_problem != why->id)
        log_err(LOG_WARNING, "upstream-away", why);
    s->upstream_problem = why->id;
    batch_drop(s);
    s->reported = NULL; /* each time: the moment of the next try is shown */
    if (outbox_report(s->jobd, "offline", why, time_now_ms() + pause, &e) < 0)
        jobd_failed(s, &e);
    else
        turn_after(s, pause);
}

static void batch_acked(struct syncd *s, const char *detail)
{
    struct err e = {0};
    if (outbox_ack(s->jobd, &s->batch, s->journal.sha256, detail, &e) < 0 ||
            report(s, "online", &e) < 0) {
        jobd_failed(s, &e);
        return;
    }
    log_debug("batch-acknowledged", LOG_NUM("first", s->batch.first),
            LOG_NUM("last", s->batch.last), LOG_STR("answer", detail));
    batch_drop(s);
    upstream_worked(s);
    jobd_worked(s);
    turn_after(s, 0);
}

static void batch_refused(struct syncd *s, const struct err *why)
{
    struct err e = {0};
    log_error("batch-refused", LOG_NUM("first", s->batch.first), LOG_NUM("last", s->batch.last),
            LOG_STR("error", err_name(why->id)), LOG_STR("msg", why->msg));
    if (outbox_refuse(s->jobd, &s->batch, why, &e) < 0 || report(s, "online", &e) < 0) {
        jobd_failed(s, &e);
        return;
    }
    batch_drop(s);
    upstream_worked(s);
    jobd_worked(s);
    turn_after(s, 0);
}

static void batch_send(struct syncd *s);

static void on_answer(void *ctx, const struct http_answer *answer, const struct err *why)
{
    struct syncd *s = ctx;
    struct journal_verdict v;
    journal_answer(&s->journal, answer, why, &v);
    switch (v.action) {
    case JOURNAL_SEND:
        batch_send(s);
        break;
    case JOURNAL_ACK:
        batch_acked(s, v.detail);
        break;
    case JOURNAL_REFUSE:
        batch_refused(s, &v.why);
        break;
    case JOURNAL_WAIT:
        upstream_failed(s, &v.why, v.pause, v.pause_min_s);
        break;
    }
}

static void batch_send(struct syncd *s)
{
    struct err e = {0};
    journal_request(&s->journal, &s->sending);
    if (http_send(s->http, &s->sending.request, on_answer, s, &e) < 0)
        upstream_failed(s, &e, JOURNAL_PAUSE_BACKOFF, 0);
}

/* The batch that jobd gave; everything that follows hangs on upstream's answer. */
static void batch_begin(struct syncd *s)
{
    struct err e = {0};
    if (s->upstream_problem != ERR_NONE && http_renew(s->http, &e) < 0)
        upstream_failed(s, &e, JOURNAL_PAUSE_BACKOFF, 0);
    else if (journal_init(&s->journal, s->url, s->station, s->batch.first, s->batch.last,
                     s->batch.ndjson.data, s->batch.ndjson.len, &e) < 0)
        upstream_failed(s, &e, JOURNAL_PAUSE_LONG, 0);
    else
        batch_send(s);
}

/* ---- the turn ---- */

static void rest(struct syncd *s)
{
    struct err e = {0};
    if (report(s, "idle", &e) < 0) {
        jobd_failed(s, &e);
        return;
    }
    jobd_worked(s);
    turn_after(s, s->interval_ms);
}

static int turn(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct syncd *s = userdata;
    struct err e = {0};
    bool has_upstream = s->url[0] != '\0';
    (void)source, (void)usec;
    if (jobd_open(s, &e) < 0 || (has_upstream && outbox_next(s->jobd, &s->batch, &e) < 0))
        jobd_failed(s, &e);
    else if (has_upstream && http_url_check(s->url, &e) < 0)
        upstream_failed(s, &e, JOURNAL_PAUSE_LONG, 0); /* said before anything waits */
    else if (s->batch.last == 0)
        rest(s);
    else
        batch_begin(s);
    return 0;
}

/* ---- beginning and end ---- */

static int open_upstream(struct syncd *s, struct err *e)
{
    const struct config *c = s->config;
    const struct http_options o = {
            .ca_file = config_get(c, "upstream", "ca_file"),
            .cert_file = config_get(c, "upstream", "cert_file"),
            .key_file = config_get(c, "upstream", "key_file"),
            .user = config_get(c, "upstream", "user"),
            .password_file = config_get(c, "upstream", "password_file"),
            .timeout_s = (unsigned)config_num(c, "upstream", "timeout_s"),
    };
    s->url = config_get(c, "upstream", "url");
    s->interval_ms = config_num(c, "upstream", "interval_s") * 1000;
    return http_open(s->event, &o, &s->http, e);
}

static int syncd_open(struct syncd *s, struct err *e)
{
    char conf[PATH_MAX];
    *s = (struct syncd){
            .jobd_backoff = {.min_ms = 100, .max_ms = JOBD_BACKOFF_MAX_S * 1000u},
            .upstream_backoff = {.min_ms = UPSTREAM_BACKOFF_MIN_S * 1000u,
                    .max_ms = UPSTREAM_BACKOFF_MAX_S * 1000u},
    };
    if (daemon_init("syncd", &s->event, e) < 0 || paths_init(&s->paths, e) < 0)
        return -1;
    paths_get(&s->paths, PATH_CONFIG, conf);
    if (config_load(conf, &s->config, e) < 0 || config_station(s->config, s->station, e) < 0 ||
            open_upstream(s, e) < 0)
        return -1;
    int r = sd_event_add_time_relative(s->event, &s->timer, CLOCK_MONOTONIC, 0, 0, turn, s);
    return r < 0 ? err_set_errno(e, -r, "make a timer") : 0;
}

static void syncd_close(struct syncd *s)
{
    http_close(&s->http);
    batch_drop(s);
    jobd_close(s);
    sd_event_source_disable_unref(s->timer);
    config_free(&s->config);
    sd_event_unref(s->event);
}

int main(int argc, char **argv)
{
    struct syncd s;
    struct err e = {0};
    int status = EXIT_FAILURE;
    if (argc > 1) {
        int help = strcmp(argv[1], "--help") == 0;
        fputs("usage: syncd\nSends Keyline's records upstream. It takes no arguments: [upstream] "
              "of "
              "keyline.conf(5) configures it, 'keyline sync status' shows how it is.\n",
                help ? stdout : stderr);
        return help ? EXIT_SUCCESS : 2;
    }
    if (syncd_open(&s, &e) < 0)
        log_err(LOG_ERR, "start-failed", &e);
    else
        status = daemon_run(s.event);
    syncd_close(&s);
    return status;
}
