/* The scrubber's clock. Promises to come last: its slices are small, and only an idle loop runs them. */
#include "hsm/scrubber.h"
#include <stdlib.h>
#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "hsm/ledger/ledger_scrub.h"

/* 2 MB a second: a million certificates in seven minutes, with 2 % of a core */
#define SLICE_BYTES (128u << 10)
#define SLICE_US    62500
#define PASS_US     (24 * UINT64_C(3600000000))
#define AGAIN_US    UINT64_C(60000000) /* after a read error */

struct scrubber {
    struct ledger *l;
    struct ledger_scrub *scrub;
    sd_event_source *timer;
    struct scrubber_info info;
};

static int on_timer(sd_event_source *source, uint64_t usec, void *ctx)
{
    struct scrubber *s = ctx;
    struct ledger_state end;
    struct err e = {0};
    int r;

    (void)usec;
    ledger_state(s->l, &end);
    r = ledger_scrub_step(s->scrub, SLICE_BYTES, &e);
    if (r < 0) {
        if (ledger_fault(s->l)->id || !ledger_usable(s->l))
            return 0; /* it has been said, and there is nothing more to look for */
        log_err(LOG_WARNING, "ledger-not-readable", &e);
    } else if (r == 0) {
        s->info.verified_bytes = ledger_scrub_at(s->scrub);
    } else {
        s->info = (struct scrubber_info){end.size, time_now_ms()};
        log_info("ledger-scrubbed", LOG_NUM("bytes", end.size));
    }
    sd_event_source_set_time_relative(source, r < 0 ? AGAIN_US : r > 0 ? PASS_US : SLICE_US);
    sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    return 0;
}

int scrubber_open(sd_event *event, struct ledger *l, struct scrubber **ret, struct err *e)
{
    struct scrubber *s = calloc(1, sizeof *s);
    int r;

    if (!s)
        return err_set(e, ERR_NOMEM, "no memory to check the ledger");
    s->l = l;
    if (ledger_scrub_new(l, &s->scrub, e) < 0) {
        scrubber_close(&s);
        return -1;
    }
    r = sd_event_add_time_relative(
            event, &s->timer, CLOCK_MONOTONIC, SLICE_US, SLICE_US / 4, on_timer, s);
    if (r >= 0)
        r = sd_event_source_set_priority(s->timer, SD_EVENT_PRIORITY_IDLE);
    if (r < 0) {
        scrubber_close(&s);
        return err_set_errno(e, -r, "prepare to check the ledger");
    }
    *ret = s;
    return 0;
}

void scrubber_close(struct scrubber **ps)
{
    struct scrubber *s = *ps;

    if (!s)
        return;
    sd_event_source_disable_unref(s->timer);
    ledger_scrub_free(&s->scrub);
    free(s);
    *ps = NULL;
}

void scrubber_info(const struct scrubber *s, struct scrubber_info *ret)
{
    *ret = s->info;
}
