/* The signer may start later than jobd, be restarted, or crash: the link comes back by itself, and
 * until then every caller hears Unavailable and tries again. The chain is fetched at each connect,
 * because a signer that was restarted may have another CA. */
#include "jobs/jobd/signer_link.h"

#include <stdlib.h>
#include <string.h>

#include "base/bus.h"
#include "base/log.h"
#include "hsm/signer_client.h"

#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 2000 /* it is on this machine, and slots wait for it */

struct signer_link {
    struct jobd *jobd;
    sd_bus *bus;
    sd_event_source *retry;
    unsigned backoff_ms;
    struct chains *chains;
    struct err error;
    struct pending *pending;
};

static void try_connect(struct signer_link *l);

static void retry_later(struct signer_link *l)
{
    int r = sd_event_source_set_time_relative(l->retry, l->backoff_ms * UINT64_C(1000));
    if (r >= 0)
        r = sd_event_source_set_enabled(l->retry, SD_EVENT_ONESHOT);
    if (r < 0)
        log_error("signer-retry-failed", LOG_STR("reason", strerror(-r)));
    l->backoff_ms = l->backoff_ms * 2 < BACKOFF_MAX_MS ? l->backoff_ms * 2 : BACKOFF_MAX_MS;
}

static void lose(struct signer_link *l, const struct err *why)
{
    if (l->error.id == ERR_NONE || l->error.id != why->id)
        log_err(LOG_WARNING, "signer-away", why);
    l->error = *why;
    chains_free(&l->chains);
    if (l->bus)
        sd_bus_close_unref(l->bus);
    l->bus = NULL;
    retry_later(l);
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct signer_link *l = userdata;
    struct err why = {0};
    (void)be;
    err_set(&why, ERR_UNAVAILABLE, "the signer is not running");
    if (l->bus == sd_bus_message_get_bus(m))
        lose(l, &why);
    return 0;
}

static void on_chain(
        void *ctx, const uint8_t *bytes, size_t len, unsigned marks, const struct err *e)
{
    struct signer_link *l = ctx;
    struct err why = {0};
    (void)marks;
    chains_free(&l->chains);
    if (e)
        why = *e;
    else
        (void)chains_parse(bytes, len, &l->chains, &why);
    l->error = why;
    if (why.id) {
        /* The connection stays, its end is heard of elsewhere; only the chain is asked for again.
         */
        log_err(LOG_WARNING, "signer-chain", &why);
        retry_later(l);
        return;
    }
    l->backoff_ms = BACKOFF_MIN_MS;
    log_info("signer-connected");
}

static void ask_chain(struct signer_link *l)
{
    struct err why = {0};
    if (signer_chain_async(l->bus, on_chain, l, &why))
        lose(l, &why);
}

static void try_connect(struct signer_link *l)
{
    static const char local[] = "org.freedesktop.DBus.Local";
    struct err why = {0};
    if (l->bus) {
        ask_chain(l);
        return;
    }
    if (signer_open(&l->jobd->paths, l->jobd->event, &l->bus, &why)) {
        lose(l, &why);
        return;
    }
    int r = sd_bus_match_signal(l->bus, NULL, local, "/org/freedesktop/DBus/Local", local,
            "Disconnected", on_disconnected, l);
    if (r < 0) {
        bus_err(&why, NULL, r);
        lose(l, &why);
        return;
    }
    ask_chain(l);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
    (void)source;
    (void)usec;
    try_connect(userdata);
    return 0;
}

int signer_link_open(struct jobd *j, struct signer_link **ret, struct err *e)
{
    struct signer_link *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(e, ERR_NOMEM, "no memory for the signer's link");
    l->jobd = j;
    l->backoff_ms = BACKOFF_MIN_MS;
    int r = sd_event_add_time_relative(j->event, &l->retry, CLOCK_MONOTONIC, 0, 0, on_retry, l);
    if (r < 0) {
        free(l);
        return err_set_errno(e, -r, "make the signer's timer");
    }
    err_set(&l->error, ERR_UNAVAILABLE, "the signer was not asked yet");
    *ret = l;
    return 0;
}

void signer_link_close(struct signer_link **link)
{
    struct signer_link *l = *link;
    if (!l)
        return;
    while (l->pending)
        pending_free(l->pending);
    sd_event_source_disable_unref(l->retry);
    if (l->bus)
        sd_bus_close_unref(l->bus);
    chains_free(&l->chains);
    free(l);
    *link = NULL;
}

static int away(const struct signer_link *l, struct err *e)
{
    return err_set(e, ERR_UNAVAILABLE, "the signer is away: %.300s", l->error.msg);
}

int signer_link_bus(const struct signer_link *l, sd_bus **ret, struct err *e)
{
    *ret = l->bus;
    return l->bus ? 0 : away(l, e);
}

int signer_link_chains(const struct signer_link *l, const struct chains **ret, struct err *e)
{
    *ret = l->chains;
    return l->bus && l->chains ? 0 : away(l, e);
}

const struct err *signer_link_error(const struct signer_link *l)
{
    return &l->error;
}

struct pending **signer_link_pending(struct signer_link *l)
{
    return &l->pending;
}
