/* One device's stay. Promises: PASS is shown only after flow_run returned 0, a verdict stays until
 * the device is out, a fault that is not the unit's is waited out without unplugging. A bug aborts;
 * the supervisor starts a fresh process. */
#include "station/serve.h"

#include <stdlib.h>

#include "base/limits.h"
#include "base/log.h"
#include "station/flow.h"

/* Until the device is out, or for at most ms when ms is not 0. -1: it is out. */
static int stay(struct driver_session *s, struct panel *panel, unsigned ms)
{
    struct err gone = {0};
    do {
        if (driver_watch(s, ms && ms < SLOT_WATCH_MS ? ms : SLOT_WATCH_MS, &gone))
            return -1;
        panel_refresh(panel);
        ms = ms > SLOT_WATCH_MS ? ms - SLOT_WATCH_MS : 0;
    } while (ms);
    return 0;
}

static void keep_verdict(struct driver_session *s, struct panel *panel, bool pass, const char *text)
{
    struct err ignored = {0}; /* a device without a lamp is no worse for it */
    s->driver->verdict(s, pass, text, &ignored);
    while (stay(s, panel, 0) == 0)
        ;
}

static void fail(struct flow *f, const struct err *e)
{
    log_err(err_class(e->id) == ERR_CLASS_DEVICE ? LOG_INFO : LOG_WARNING, "failed", e);
    panel_show_err(f->panel, SLOT_FAIL, flow_name(f), e);
    keep_verdict(f->session, f->panel, false, err_name(e->id));
}

/* Waits for what is away, longer each time. -1: the device went meanwhile. */
static int wait_for_others(struct flow *f, const struct err *e, unsigned *backoff_ms)
{
    if (*backoff_ms == SLOT_RETRY_FIRST_MS) /* once: a night without jobd must not fill the log */
        log_err(LOG_WARNING, "waiting", e);
    panel_show_err(f->panel, SLOT_WAITING, flow_name(f), e);
    /* Ends the run as interrupted; a token that is away needs no new connection, a lost one does.
     */
    panel_disconnect(f->panel);
    if (stay(f->session, f->panel, *backoff_ms))
        return -1;
    *backoff_ms = *backoff_ms * 2 > SLOT_RETRY_MAX_MS ? SLOT_RETRY_MAX_MS : *backoff_ms * 2;
    return 0;
}

static void provision(struct driver_session *s, struct panel *panel)
{
    unsigned backoff_ms = SLOT_RETRY_FIRST_MS;
    struct flow f;
    flow_init(&f, s, panel);
    for (;;) {
        struct err e = {0};
        if (flow_run(&f, &e) == 0) {
            panel_show(panel, SLOT_PASS, flow_name(&f), "");
            keep_verdict(s, panel, true, "PASS");
            break;
        }
        if (err_class(e.id) == ERR_CLASS_BUG) {
            log_err(LOG_ERR, "bug", &e);
            abort();
        }
        if (e.id == ERR_DEVICE_GONE) {
            log_err(LOG_INFO, "gone", &e);
            break;
        }
        if (!flow_may_retry(e.id)) {
            fail(&f, &e);
            break;
        }
        if (wait_for_others(&f, &e, &backoff_ms))
            break;
    }
    flow_done(&f);
}

int serve_device(const struct driver *driver, struct io *io, struct panel *panel, struct err *e)
{
    struct driver_session s = {.driver = driver, .io = io};
    if (driver->open(&s, SLOT_HELLO_MS, e))
        return -1;
    provision(&s, panel);
    driver->close(&s);
    panel_show(panel, SLOT_EMPTY, "", "");
    return 0;
}
