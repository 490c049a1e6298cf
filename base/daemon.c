/* What every process of ours does first and last. It never leaves secrets behind: no core file,
 * nobody of the same user may attach to it; and it never outlives the supervisor that started it.
 */
#include "base/daemon.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "base/err.h"
#include "base/log.h"
#include "base/text.h"

/* LeakSanitizer attaches to its own process with ptrace, which a process that is not dumpable
 * refuses. */
#if defined(__SANITIZE_ADDRESS__)
#define MAY_BE_TRACED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MAY_BE_TRACED 1
#endif
#endif
#ifndef MAY_BE_TRACED
#define MAY_BE_TRACED 0
#endif

static int forbid_cores(struct err *e)
{
    const struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_CORE, &none) < 0)
        return err_set_errno(e, errno, "forbid core files");
    if (!MAY_BE_TRACED && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return err_set_errno(e, errno, "forbid tracing");
    return 0;
}

static int follow_supervisor(struct err *e)
{
    const char *text = getenv("KEYLINE_SUPERVISED");
    uint64_t supervisor;
    if (text == NULL || text[0] == '\0')
        return 0;
    if (prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0) < 0)
        return err_set_errno(e, errno, "follow the supervisor");
    /* It may have died before prctl: then no signal will ever come. "1" names no process (it may be
     * the supervisor of a container, or just mean yes). */
    if (text_parse_u64(text, &supervisor) == 0 && supervisor > 1 &&
            (uint64_t)getppid() != supervisor)
        return err_set(e, ERR_UNAVAILABLE, "the supervisor has died");
    return 0;
}

/* on_end NULL: the loop ends with 0. */
static int end_on_signals(
        sd_event *event, sd_event_signal_handler_t on_end, void *ctx, struct err *e)
{
    static const int ends[] = {SIGTERM, SIGINT};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        sigaddset(&set, ends[i]);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return err_set_errno(e, errno, "block signals");
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        int r = sd_event_add_signal(event, NULL, ends[i], on_end, ctx);
        if (r < 0)
            return err_set_errno(e, -r, "wait for signal %d", ends[i]);
    }
    return 0;
}

int daemon_init(const char *program, sd_event **ret_event, struct err *e)
{
    return daemon_init_ending(program, NULL, NULL, ret_event, e);
}

int daemon_init_ending(const char *program, sd_event_signal_handler_t on_end, void *ctx,
        sd_event **ret_event, struct err *e)
{
    log_open(program);
    umask(027);
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
        return err_set_errno(e, errno, "ignore SIGPIPE");
    if (forbid_cores(e) < 0)
        return -1;
    if (ret_event == NULL)
        return follow_supervisor(e);
    sd_event *event = NULL;
    int r = sd_event_default(&event);
    if (r < 0)
        return err_set_errno(e, -r, "make the event loop");
    /* The handlers first: a supervisor that dies from here on ends us in order. */
    if (end_on_signals(event, on_end, ctx, e) < 0 || follow_supervisor(e) < 0) {
        sd_event_unref(event);
        return -1;
    }
    *ret_event = event;
    return 0;
}

int daemon_run(sd_event *event)
{
    int r = sd_event_set_watchdog(event, 1);
    if (r < 0)
        log_warning("watchdog-failed", LOG_STR("reason", strerror(-r)));
    sd_notify(0, "READY=1");
    log_debug("ready");
    r = sd_event_loop(event);
    sd_notify(0, "STOPPING=1");
    if (r < 0) {
        log_error("loop-failed", LOG_STR("reason", strerror(-r)));
        return EXIT_FAILURE;
    }
    return r;
}
