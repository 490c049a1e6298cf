/* One device's stay. Promises: PASS is shown only after flow_run returned 0, a verdict stays until
 * the device is out, a fault that is not the unit's is waited out without unplugging. A bug aborts;
 * the supervisor starts a fresh process. */
#include "station/serve.h"

#include <stdlib.h>
#include <unistd.h>

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
    if (e->id != ERR_DEVICE_SILENT) /* else there is nobody to tell, and nobody to ping */
        keep_verdict(f->session, f->panel, false, err_name(e->id));
}

/* Waits for what is away, longer each time. -1: the device went meanwhile. */
static int wait_for_others(struct flow *f, const struct err *e, unsigned *backoff_ms)
{
    if (*backoff_ms == SLOT_RETRY_FIRST_MS) /* once: a night without jobd must not fill the log */
        log_err(LOG_WARNING, "waiting", e);
    panel_show_err(f->panel, SLOT_WAITING, flow_name(f), e);
    /* Ends the run as interrupted. A token that is away needs no new connection, a lost one does. */
    panel_disconnect(f->panel);
    if (stay(f->session, f->panel, *backoff_ms))
        return -1;
    *backoff_ms = *backoff_ms * 2 > SLOT_RETRY_MAX_MS ? SLOT_RETRY_MAX_MS : *backoff_ms * 2;
    return 0;
}

/* Returns how it ended: ERR_NONE, or why the device failed. */
static enum err_id provision(struct driver_session *s, struct panel *panel)
{
    enum err_id end = ERR_NONE;
    unsigned backoff_ms = SLOT_RETRY_FIRST_MS;
    struct flow f;
    flow_init(&f, s, panel);
    for (;;) {
        struct err e = {0};
        if (flow_run(&f, &e) == 0) {
            panel_show(panel, SLOT_PASS, flow_name(&f),
                    f.claim.registered ? "registered before; it has proven its key again" : "");
            keep_verdict(s, panel, true, "PASS");
            break;
        }
        if (err_class(e.id) == ERR_CLASS_BUG) {
            log_err(LOG_ERR, "bug", &e);
            abort();
        }
        if (e.id == ERR_DEVICE_GONE) {
            log_err(LOG_INFO, "gone", &e);
            /* A hang-up ends this at once. One that only restarted must not cost a run each time
             * its power breaks down, as fast as it boots. */
            driver_watch(s, SLOT_TROUBLE_MS, &e);
            break;
        }
        if (!flow_may_retry(e.id)) {
            fail(&f, &e);
            end = e.id;
            break;
        }
        if (wait_for_others(&f, &e, &backoff_ms))
            break;
    }
    flow_done(&f);
    return end;
}

/* A device that fell silent is dead in its port, or out of one that cannot tell: nobody knows
 * which. Its FAIL stays until the port hangs up, or until somebody answers a hello again after one
 * went unanswered. */
static void outlast_silence(const struct driver *driver, struct io *io, struct panel *panel)
{
    for (bool was_silent = false;;) {
        struct driver_session s = {.driver = driver, .io = io};
        struct err e = {0};
        if (driver->open(&s, SLOT_HELLO_MS, &e) == 0) {
            /* The same device, only slow, is not tried again by itself. */
            while (!was_silent && stay(&s, panel, 0) == 0)
                ;
            driver->close(&s);
            return;
        }
        if (e.id == ERR_DEVICE_GONE)
            return;
        was_silent |= e.id == ERR_DEVICE_SILENT;
        panel_refresh(panel);
        usleep(SLOT_TROUBLE_MS * 1000);
    }
}

int serve_device(const struct driver *driver, struct io *io, struct panel *panel, struct err *e)
{
    struct driver_session s = {.driver = driver, .io = io};
    if (driver->open(&s, SLOT_HELLO_MS, e))
        return -1;
    enum err_id end = provision(&s, panel);
    driver->close(&s);
    if (end == ERR_DEVICE_SILENT)
        outlast_silence(driver, io, panel);
    panel_show(panel, SLOT_EMPTY, "", "");
    return 0;
}
