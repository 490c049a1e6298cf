/* keyline job watch: asks five times a second how the job and the slots are, until the job is done.
 * Changes nothing. An appliance that goes away is waited for; only a refusal ends the watching. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/text.h"
#include "jobs/jobs_client.h"
#include "jobs/states.h"
#include "station/cli/cli.h"
#include "station/cli/live.h"
#include "station/cli/summary.h"
#include "station/cli/verbs.h"
#include "station/cli/watch_view.h"

#define TICK_MS      200
#define LINE_MS      5000 /* between lines where there is no terminal */
#define QUIET_MS     3000 /* nobody works and nothing moves: no forecast any more */
#define RATE_SAMPLES 60u  /* a second each: the rate is that of the last minute */

struct watch {
    struct cli *cli;
    const char *job_name;
    json_t *job, *slots; /* the last answers */
    json_t *failed;      /* name: device of slots whose failure was told already */
    struct {
        int64_t at_ms, registered;
    } samples[RATE_SAMPLES];
    size_t sample_count;
    int64_t moved_ms, line_ms, idle_ms; /* idle_ms: ends the watching, 0: never */
    bool live;
    char notice[ERR_MSG_MAX + 64], quiet[80];
};

/* ---- asking */

static int ask(struct watch *w, const char *method, const char *arg, const char *member,
        json_t **keep, struct err *e)
{
    struct buf answer = BUF_INIT;
    json_t *o = NULL;
    int r = jobs_call(w->cli->bus, method, &arg, arg ? 1 : 0, &answer, e);
    if (r == 0)
        r = cli_parse(&answer, &o, e);
    if (r == 0) {
        json_t *now = json_incref(json_object_get(o, member));
        if (!json_equal(now, *keep))
            w->moved_ms = time_monotonic_ms();
        json_decref(*keep);
        *keep = now;
    }
    json_decref(o);
    buf_done(&answer);
    return r;
}

static bool is_away(const struct err *e)
{
    return e->id == ERR_UNAVAILABLE || e->id == ERR_TIMEOUT;
}

/* While the appliance is away nothing can move: that time does not count as idle. */
static int look(struct watch *w, struct err *e)
{
    struct err why = {0};
    *w->notice = '\0';
    if ((w->cli->bus || jobs_open(&w->cli->paths, &w->cli->bus, &why) == 0) &&
            ask(w, "JobShow", w->job_name, "job", &w->job, &why) == 0 &&
            ask(w, "SlotList", NULL, "slots", &w->slots, &why) == 0)
        return 0;
    w->cli->bus = sd_bus_close_unref(w->cli->bus);
    if (!is_away(&why)) {
        *e = why;
        return -1;
    }
    snprintf(w->notice, sizeof w->notice, "Waiting for the appliance: it does not answer (%s)",
            why.msg);
    w->moved_ms = time_monotonic_ms();
    return 0;
}

/* A device that works may say nothing for minutes. */
static bool is_quiet(const struct watch *w)
{
    size_t i;
    json_t *slot;
    json_array_foreach(w->slots, i, slot)
    {
        if (strcasecmp(json_text(slot, "state"), "working") == 0)
            return false;
    }
    return time_monotonic_ms() - w->moved_ms >= QUIET_MS;
}

/* ---- the rate */

static void sample(struct watch *w)
{
    int64_t now = time_monotonic_ms();
    size_t n = w->sample_count;
    if (n > 0 && now - w->samples[n - 1].at_ms < 1000)
        return;
    if (n == RATE_SAMPLES) {
        memmove(w->samples, w->samples + 1, (n - 1) * sizeof *w->samples);
        n--;
    }
    w->samples[n].at_ms = now;
    w->samples[n].registered = json_number(w->job, "registered");
    w->sample_count = n + 1;
}

static void estimate(const struct watch *w, struct watch_view *v)
{
    int64_t registered = json_number(w->job, "registered");
    int64_t left = json_number(w->job, "rows") - registered;
    int64_t took = w->sample_count ? time_monotonic_ms() - w->samples[0].at_ms : 0;
    int64_t done = w->sample_count ? registered - w->samples[0].registered : 0;
    v->per_hour = -1;
    v->left_ms = -1;
    if (took < 2000 || done <= 0 || is_quiet(w))
        return;
    v->per_hour = (double)done * 3600e3 / (double)took;
    if (left > 0)
        v->left_ms = (left * took / done + 999) / 1000 * 1000;
}

/* ---- showing */

static bool in_state(const struct watch *w, enum job_state state)
{
    return strcmp(json_text(w->job, "state"), job_state_name(state)) == 0;
}

static bool is_over(const struct watch *w)
{
    return in_state(w, JOB_COMPLETED) || in_state(w, JOB_TERMINATED) || in_state(w, JOB_REJECTED) ||
           in_state(w, JOB_FAILED);
}

static const char *job_notice(struct watch *w)
{
    const char *state = json_text(w->job, "state");
    if (*w->notice)
        return w->notice;
    if (strcmp(state, job_state_name(JOB_PENDING_APPROVAL)) == 0)
        return "The job waits for its approval: keyline job approve";
    if (w->idle_ms > 0 && is_quiet(w)) {
        int64_t left = w->moved_ms + w->idle_ms - time_monotonic_ms();
        snprintf(w->quiet, sizeof w->quiet,
                "Nothing is in work: the watching ends in %" PRId64 " s",
                left > 0 ? (left + 999) / 1000 : 0);
        return w->quiet;
    }
    return NULL;
}

static void tell_failures(struct watch *w)
{
    size_t i;
    json_t *slot;
    json_array_foreach(w->slots, i, slot)
    {
        const char *name = json_text(slot, "name");
        bool fails = strcasecmp(json_text(slot, "state"), "fail") == 0;
        json_t *told = json_object_get(w->failed, name);
        if (!fails)
            json_object_del(w->failed, name);
        else if (!told || strcmp(json_string_value(told), json_text(slot, "device_name")) != 0) {
            watch_view_failure(&w->cli->out, slot);
            json_object_set_new(w->failed, name, json_string(json_text(slot, "device_name")));
        }
    }
}

static void draw(struct watch *w, const struct watch_view *v)
{
    struct screen *out = &w->cli->out, picture;
    char *text = NULL;
    size_t len = 0;
    if (screen_resize(out))
        live_forget();
    picture = *out;
    picture.file = open_memstream(&text, &len);
    if (!picture.file)
        return; /* the next one may have memory */
    watch_view_draw(&picture, v);
    fclose(picture.file);
    live_draw(out, text, len);
    free(text);
}

static void show(struct watch *w)
{
    struct watch_view v = {.job = w->job,
            .slots = w->slots,
            .notice = job_notice(w),
            .over = !*w->notice && is_over(w)};
    int64_t now = time_monotonic_ms();
    if (w->cli->json || !w->job)
        return;
    sample(w);
    estimate(w, &v);
    if (w->live) {
        draw(w, &v);
        return;
    }
    tell_failures(w);
    if (w->line_ms == 0 || now - w->line_ms >= LINE_MS) {
        watch_view_line(&w->cli->out, &v);
        w->line_ms = now;
    }
    fflush(w->cli->out.file);
}

/* ---- the end */

static int summarise(struct watch *w, struct err *e)
{
    struct buf answer = BUF_INIT;
    json_t *report = NULL;
    int r = jobs_report(w->cli->bus, w->job_name, 0, 1, &answer, e);
    if (r == 0)
        r = cli_answer(w->cli, &answer, &report, e);
    if (report) {
        screen_printf(&w->cli->out, "\n");
        summary_show(w->cli, report, NULL);
    }
    json_decref(report);
    buf_done(&answer);
    return r;
}

static int follow(struct watch *w, struct err *e)
{
    const struct timespec tick = {.tv_nsec = TICK_MS * 1000000L};
    w->moved_ms = time_monotonic_ms();
    for (;;) {
        if (look(w, e))
            return -1;
        if (!*w->notice && is_over(w))
            w->line_ms = 0; /* the last line is always said */
        show(w);
        if (!*w->notice && is_over(w))
            return in_state(w, JOB_COMPLETED) ? 0 : CLI_FAILED;
        if (w->idle_ms > 0 && time_monotonic_ms() - w->moved_ms >= w->idle_ms)
            return CLI_IDLE;
        if (w->live)
            live_wait(TICK_MS);
        else
            nanosleep(&tick, NULL);
    }
}

int job_watch(struct cli *c, struct err *e)
{
    struct watch w = {.cli = c,
            .job_name = c->args[0],
            .failed = json_object(),
            .idle_ms = cli_number(c, "until-idle", 0) * 1000};
    if (cli_connect(c, e))
        return -1;
    w.live = c->out.tty && !c->json;
    if (w.live)
        live_begin();
    int r = follow(&w, e);
    if (w.live)
        live_end();
    if (r == CLI_IDLE && !c->json)
        screen_printf(&c->out, "\nNothing has moved for %" PRId64 " s: the watching ends here.\n",
                cli_number(c, "until-idle", 0));
    if (r >= 0 && summarise(&w, e))
        r = -1;
    json_decref(w.job);
    json_decref(w.slots);
    json_decref(w.failed);
    return r;
}
