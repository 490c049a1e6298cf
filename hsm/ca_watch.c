/* Watching the CA in force. Promises that a chain which would not do leaves the signer as it is:
 * what is in memory serves on. Decides nothing else. */
#include "hsm/ca_watch.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "hsm/ca.h"

#define DAY_S 86400

struct ca_watch {
    struct ca_watch_parts parts;
    char file[PATH_MAX], dir[PATH_MAX];
    sd_event_source *changes, *daily;
};

static void look_at_expiry(const struct ca *ca)
{
    int64_t days = (ca->not_after - time_now_ms() / 1000) / DAY_S;

    if (days >= CA_EXPIRY_NOTICE_DAYS)
        return;
    log_warning("ca-expires", LOG_STR("subject", ca->subject_text),
            LOG_NUM("days_left", days > 0 ? (uint64_t)days : 0),
            LOG_STR("hint", err_hint(ERR_CA_EXPIRED)));
}

static int on_day(sd_event_source *source, uint64_t usec, void *ctx)
{
    struct ca_watch *w = ctx;

    (void)usec;
    look_at_expiry(w->parts.active);
    sd_event_source_set_time_relative(source, DAY_S * UINT64_C(1000000));
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* Renamed into place: what is there now is whole. */
static int on_change(sd_event_source *source, const struct inotify_event *event, void *ctx)
{
    struct ca_watch *w = ctx;
    const struct ca *active = w->parts.active;
    struct ca_set now;
    struct err e = {0};

    (void)source;
    if (!(event->mask & IN_Q_OVERFLOW) &&
            (!event->len || strcmp(event->name, strrchr(w->file, '/') + 1) != 0))
        return 0;
    if (ca_set_load(w->parts.paths, &now, &e) < 0) {
        log_err(LOG_ERR, "ca-change-refused", &e);
        return 0;
    }
    if (X509_cmp(now.active->cert, active->cert) != 0 ||
            now.active->chain.len != active->chain.len) {
        log_info("ca-changed", LOG_STR("old", active->subject_text),
                LOG_STR("new", now.active->subject_text));
        w->parts.on_changed(w->parts.ctx);
    }
    ca_set_done(&now);
    return 0;
}

int ca_watch_open(const struct ca_watch_parts *p, struct ca_watch **ret, struct err *e)
{
    struct ca_watch *w = calloc(1, sizeof *w);
    int r;

    if (!w)
        return err_set(e, ERR_NOMEM, "no memory for watching the CA");
    w->parts = *p;
    paths_get(p->paths, PATH_CA_CHAIN, w->file);
    memcpy(w->dir, w->file, sizeof w->dir);
    *strrchr(w->dir, '/') = '\0';
    r = sd_event_add_inotify(p->event, &w->changes, w->dir, IN_MOVED_TO | IN_ONLYDIR, on_change, w);
    if (r >= 0)
        r = sd_event_add_time_relative(
                p->event, &w->daily, CLOCK_MONOTONIC, DAY_S * UINT64_C(1000000), 0, on_day, w);
    if (r < 0) {
        ca_watch_close(&w);
        return err_set_errno(e, -r, "watch the CA");
    }
    look_at_expiry(p->active);
    *ret = w;
    return 0;
}

void ca_watch_close(struct ca_watch **pw)
{
    struct ca_watch *w = *pw;

    if (!w)
        return;
    sd_event_source_disable_unref(w->changes);
    sd_event_source_disable_unref(w->daily);
    free(w);
    *pw = NULL;
}
