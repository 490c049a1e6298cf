/* Idle moments. A defer source is always ready, and with a low priority it runs when nothing else is;
 * a timer with a high one sees to it that it does run. The timer is left alone when it goes off too
 * early for what is wanted by then: in a busy loop it costs a system call now and then, not for each
 * want. */
#include "base/idle.h"

#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "base/err.h"

#define AFTER_ALL_OTHERS (SD_EVENT_PRIORITY_NORMAL + 10)

struct idle {
    sd_event_source *lull, *late;
    uint64_t late_us, since_us; /* since_us: CLOCK_MONOTONIC, when it was wanted first */
    bool wanted;
    void (*fn)(void *ctx);
    void *ctx;
};

/* Not the loop's time, which is that of its last turn: a turn may take long. */
static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void run(struct idle *i)
{
    i->wanted = false;
    i->fn(i->ctx);
}

static int on_lull(sd_event_source *source, void *ctx)
{
    struct idle *i = ctx;
    (void)source;
    if (i->wanted)
        run(i);
    return 0;
}

static int set_late(struct idle *i)
{
    int r = sd_event_source_set_time(i->late, i->since_us + i->late_us);
    return r < 0 ? r : sd_event_source_set_enabled(i->late, SD_EVENT_ONESHOT);
}

static int on_late(sd_event_source *source, uint64_t usec, void *ctx)
{
    struct idle *i = ctx;
    (void)source, (void)usec;
    if (!i->wanted)
        return 0;
    if (now_us() < i->since_us + i->late_us)
        return set_late(i);
    sd_event_source_set_enabled(i->lull, SD_EVENT_OFF);
    run(i);
    return 0;
}

int idle_want(struct idle *i)
{
    int r;
    if (i->wanted)
        return 0;
    r = sd_event_source_set_enabled(i->lull, SD_EVENT_ONESHOT);
    i->since_us = now_us();
    if (r >= 0 && sd_event_source_get_enabled(i->late, NULL) == 0)
        r = set_late(i);
    i->wanted = r >= 0;
    return r;
}

int idle_new(sd_event *event, uint64_t late_ms, void (*fn)(void *ctx), void *ctx, struct idle **ret,
        struct err *e)
{
    struct idle *i = calloc(1, sizeof *i);
    int r;
    if (!i)
        return err_set(e, ERR_NOMEM, "no memory for an idle moment");
    *i = (struct idle){.late_us = late_ms * 1000, .fn = fn, .ctx = ctx};
    if ((r = sd_event_add_defer(event, &i->lull, on_lull, i)) < 0 ||
            (r = sd_event_source_set_priority(i->lull, AFTER_ALL_OTHERS)) < 0 ||
            (r = sd_event_source_set_enabled(i->lull, SD_EVENT_OFF)) < 0 ||
            (r = sd_event_add_time(event, &i->late, CLOCK_MONOTONIC, 0, 1000, on_late, i)) < 0 ||
            (r = sd_event_source_set_priority(i->late, SD_EVENT_PRIORITY_IMPORTANT)) < 0 ||
            (r = sd_event_source_set_enabled(i->late, SD_EVENT_OFF)) < 0) {
        idle_free(&i);
        return err_set_errno(e, -r, "wait for idle moments");
    }
    *ret = i;
    return 0;
}

void idle_free(struct idle **i)
{
    if (!*i)
        return;
    sd_event_source_disable_unref((*i)->lull);
    sd_event_source_disable_unref((*i)->late);
    free(*i);
    *i = NULL;
}
