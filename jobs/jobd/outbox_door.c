/* The sync's door. What syncd reports of the line to upstream is kept for the screen only; what it
 * acknowledges is durable before it hears so. */
#include "jobs/jobd/doors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bus.h"
#include "base/config.h"
#include "base/log.h"
#include "base/text.h"
#include "jobs/jobd/commit.h"
#include "jobs/json.h"
#include "jobs/outbox.h"

#define DETAIL_MAX 512

struct outbox_door {
    struct jobd *jobd;
    struct bus_server *server;
    sd_bus *syncd;  /* who reported last; borrowed until on_gone() */
    char state[16]; /* "" before the first report */
    struct err error;
    int64_t retry_at; /* 0: none */
};

static int on_next(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct outbox_door *d = userdata;
    struct jobd *j = d->jobd;
    struct buf ndjson = BUF_INIT;
    struct err e = {0};
    sd_bus_message *reply = NULL;
    uint64_t first, last;
    (void)be;
    if (commit_begin(j->commit, &e))
        return commit_answer(j->commit, m, NULL, &e);
    if (batch_next(j->registry, &first, &last, &ndjson, &e) == 0)
        reply = empty_reply(m, &e);
    if (reply && (sd_bus_message_append(reply, "tt", first, last) < 0 ||
                         sd_bus_message_append_array(reply, 'y', ndjson.data, ndjson.len) < 0))
        err_set(&e, ERR_NOMEM, "no memory for a batch");
    buf_done(&ndjson);
    return commit_end(j->commit, m, reply, &e);
}

static int on_ack(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct outbox_door *d = userdata;
    struct jobd *j = d->jobd;
    struct err e = {0};
    const uint8_t *sha256;
    const char *detail;
    size_t len;
    uint64_t first, last;
    (void)be;
    if (read_args(m, &e, "tt", &first, &last) || bus_read_bytes(m, 32, &sha256, &len, &e) ||
            read_args(m, &e, "s", &detail) ||
            (len != 32 && err_set(&e, ERR_PROTOCOL, "a SHA-256 has 32 bytes")) ||
            commit_begin(j->commit, &e))
        return commit_answer(j->commit, m, NULL, &e);
    if (batch_ack(j->registry, first, last, sha256, &e) == 0)
        log_info("batch-acknowledged", LOG_NUM("first", first), LOG_NUM("last", last),
                LOG_MEM("detail", detail, strnlen(detail, DETAIL_MAX)));
    return commit_end(j->commit, m, empty_reply(m, &e), &e);
}

static int on_refuse(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct outbox_door *d = userdata;
    struct jobd *j = d->jobd;
    struct err e = {0};
    const char *error, *message;
    char text[ERR_MSG_MAX];
    uint64_t first, last;
    (void)be;
    if (read_args(m, &e, "ttss", &first, &last, &error, &message) ||
            (err_from_name(error) == ERR_NONE &&
                    err_set(&e, ERR_ARGUMENT, "'%.40s' is not the name of an error", error)) ||
            commit_begin(j->commit, &e))
        return commit_answer(j->commit, m, NULL, &e);
    snprintf(text, sizeof text, "%s", message);
    text_make_printable(text);
    if (batch_refuse(j->registry, first, last, error, text, &e) == 0)
        log_warning("batch-refused", LOG_NUM("first", first), LOG_NUM("last", last),
                LOG_STR("error", error), LOG_STR("msg", text));
    return commit_end(j->commit, m, empty_reply(m, &e), &e);
}

static int is_sync_state(const char *state)
{
    return strcmp(state, "online") == 0 || strcmp(state, "offline") == 0 ||
           strcmp(state, "idle") == 0;
}

static int on_report(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct outbox_door *d = userdata;
    struct err e = {0}, why = {0};
    const char *state, *error, *message;
    uint64_t retry_at;
    (void)be;
    if (read_args(m, &e, "ssst", &state, &error, &message, &retry_at) == 0) {
        if (!is_sync_state(state))
            err_set(&e, ERR_ARGUMENT, "'%.40s' is not a state of the sync", state);
        else if (*error && err_from_name(error) == ERR_NONE)
            err_set(&e, ERR_ARGUMENT, "'%.40s' is not the name of an error", error);
    }
    if (!e.id) {
        if (*error)
            err_set(&why, err_from_name(error), "%s", message);
        text_make_printable(why.msg);
        snprintf(d->state, sizeof d->state, "%s", state);
        d->error = why;
        d->syncd = sd_bus_message_get_bus(m);
        d->retry_at = retry_at < INT64_MAX ? (int64_t)retry_at : 0;
    }
    return commit_answer(d->jobd->commit, m, empty_reply(m, &e), &e);
}

static void on_gone(void *userdata, sd_bus *peer)
{
    struct outbox_door *d = userdata;
    if (peer == d->syncd)
        d->syncd = NULL;
    d->state[0] = '\0';
    d->retry_at = 0;
    d->error = (struct err){0};
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Next", "", "ttay", on_next, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Ack", "ttays", "", on_ack, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Refuse", "ttss", "", on_refuse, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Report", "ssst", "", on_report, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL("Retry", "", 0),
        SD_BUS_VTABLE_END,
};

int outbox_door_open(struct jobd *j, struct outbox_door **ret, struct err *e)
{
    char path[PATH_MAX];
    struct outbox_door *d = calloc(1, sizeof *d);
    if (!d)
        return err_set(e, ERR_NOMEM, "no memory for a door");
    d->jobd = j;
    paths_get(&j->paths, PATH_OUTBOX_SOCKET, path);
    struct bus_door door = {.path = path,
            .object = "/org/keyline/Outbox1",
            .interface = "org.keyline.Outbox1",
            .vtable = vtable,
            .userdata = d,
            .on_gone = on_gone};
    if (config_user(j->config, "sync_user", door.uids, &door.uid_count, e) ||
            bus_server_open(j->event, &door, &d->server, e)) {
        free(d);
        return -1;
    }
    *ret = d;
    return 0;
}

void outbox_door_close(struct outbox_door **d)
{
    if (!*d)
        return;
    bus_server_close(&(*d)->server);
    free(*d);
    *d = NULL;
}

void outbox_door_retry(const struct outbox_door *d)
{
    int r = d->syncd ? sd_bus_emit_signal(
                               d->syncd, "/org/keyline/Outbox1", "org.keyline.Outbox1", "Retry", "")
                     : 0;
    if (r < 0)
        log_warning("retry-not-said", LOG_STR("reason", strerror(-r)));
}

/* The line's own error, else why a batch was refused. */
static void current_error(
        const struct outbox_door *d, const struct outbox_counts *counts, struct err *ret)
{
    *ret = d->error;
    if (!ret->id && counts->error[0])
        err_set(ret, err_from_name(counts->error), "%s", counts->message);
    if (!ret->id && !d->state[0] && *d->jobd->site.upstream_url)
        err_set(ret, ERR_UNAVAILABLE, "syncd is not running");
}

int outbox_door_status(const struct outbox_door *d, json_t **ret, struct err *e)
{
    struct outbox_counts n;
    struct err error = {0};
    const char *url = d->jobd->site.upstream_url;
    const char *state = !*url ? "off" : d->state[0] ? d->state : "offline";
    if (outbox_count(d->jobd->registry, &n, e))
        return -1;
    if (*url)
        current_error(d, &n, &error);
    return json_made(json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "state", state,
                             "url", url, "records", (json_int_t)n.records, "acknowledged",
                             (json_int_t)n.acknowledged, "waiting",
                             (json_int_t)(n.records - n.acknowledged - n.refused), "refused",
                             (json_int_t)n.refused, "oldest_waiting",
                             n.oldest_waiting ? json_time(n.oldest_waiting) : json_null(),
                             "last_ack", n.last_ack ? json_time(n.last_ack) : json_null(),
                             "retry_at", d->retry_at ? json_time(d->retry_at) : json_null(),
                             "error", json_error(&error)),
            ret, e);
}
