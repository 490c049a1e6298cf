/* The summary of a job. Shows what the appliance has counted; counts nothing itself. */
#include "station/cli/summary.h"

#include <inttypes.h>
#include <string.h>

#include "jobs/jobs_client.h"

#define FAILURES_SHOWN 8
#define BAR            16u

static void show_yield(struct cli *c, const json_t *s)
{
    char n[NUMBER_TEXT_MAX], of[NUMBER_TEXT_MAX];
    int64_t failed = json_number(s, "failed"), left = json_number(s, "untouched");
    double yield = json_ratio(s, "first_pass_yield");
    screen_style(&c->out, STYLE_PLAIN);
    screen_factf(&c->out, "Passed", "%s of %s", number_format(json_number(s, "passed"), n),
            number_format(json_number(s, "rows"), of));
    screen_factf(&c->out, "Failed", "%s", number_format(failed, n));
    if (left > 0)
        screen_factf(&c->out, "Without a run yet", "%s", number_format(left, n));
    if (json_number(s, "in_progress") > 0)
        screen_factf(&c->out, "In progress", "%s", number_format(json_number(s, "in_progress"), n));
    if (yield >= 0)
        screen_factf(&c->out, "First-pass yield", "%.1f %%", yield * 100);
    if (json_number(s, "keys_from_signer") > 0)
        screen_factf(&c->out, "Keys made by signer", "%s, not born in their devices",
                number_format(json_number(s, "keys_from_signer"), n));
}

static void show_speed(struct cli *c, const json_t *s)
{
    char p50[NUMBER_TEXT_MAX], p95[NUMBER_TEXT_MAX], n[NUMBER_TEXT_MAX];
    char from[NUMBER_TEXT_MAX], to[NUMBER_TEXT_MAX];
    double rate = json_ratio(s, "devices_per_hour");
    if (json_is_number(json_object_get(s, "cycle_ms_p50")) && json_number(s, "passed") > 0)
        screen_factf(&c->out, "Cycle time", "%s (median), %s (95th percentile)",
                duration_format((int64_t)json_ratio(s, "cycle_ms_p50"), p50),
                duration_format((int64_t)json_ratio(s, "cycle_ms_p95"), p95));
    if (rate > 0)
        screen_factf(&c->out, "Devices per hour", "%s", number_format((int64_t)rate, n));
    if (*json_text(s, "started") && *json_text(s, "ended"))
        screen_factf(&c->out, "Worked on", "%s to %s", clock_format(json_text(s, "started"), from),
                clock_format(json_text(s, "ended"), to));
}

/* Of all records of the station only the counts are known; of this job, how many devices. */
static void show_upstream(struct cli *c, const json_t *summary, json_t **ret_sync)
{
    struct buf answer = BUF_INIT;
    struct err ignored = {0}; /* the summary stands without it */
    char n[NUMBER_TEXT_MAX], of[NUMBER_TEXT_MAX], when[NUMBER_TEXT_MAX];
    if (!c->bus || jobs_call(c->bus, "SyncStatus", NULL, 0, &answer, &ignored) ||
            cli_parse(&answer, ret_sync, &ignored))
        *ret_sync = NULL;
    buf_done(&answer);
    const char *state = json_text(*ret_sync, "state"), *retry = json_text(*ret_sync, "retry_at");
    bool off = strcmp(state, "off") == 0, offline = strcmp(state, "offline") == 0;
    screen_factf(&c->out, "Synced upstream", "%s of %s%s%s%s",
            number_format(json_number(summary, "synced"), n),
            number_format(json_number(summary, "passed"), of),
            off       ? ": no upstream is set"
            : offline ? ": upstream is offline, the rest waits here"
                      : "",
            offline && *retry ? "; next try " : "",
            offline && *retry ? clock_format(retry, when) : "");
    if (json_number(*ret_sync, "refused") > 0)
        screen_factf(&c->out, "", "%s records refused by upstream: keyline sync status",
                number_format(json_number(*ret_sync, "refused"), n));
}

static void show_failures(struct cli *c, const json_t *failures)
{
    uint64_t most = (uint64_t)json_number(json_array_get(failures, 0), "count");
    char n[NUMBER_TEXT_MAX];
    json_t *f;
    size_t i;
    if (json_array_size(failures) == 0)
        return;
    screen_style(&c->out, STYLE_BOLD);
    screen_printf(&c->out, "\nFailed runs by reason\n");
    screen_style(&c->out, STYLE_PLAIN);
    json_array_foreach(failures, i, f)
    {
        if (i == FAILURES_SHOWN) {
            screen_printf(&c->out, "  ... and %zu more reasons: --json lists them\n",
                    json_array_size(failures) - i);
            break;
        }
        screen_printf(&c->out, "  ");
        screen_cell(&c->out, json_text(f, "error"), SCREEN_LABEL);
        screen_cell_right(&c->out, number_format(json_number(f, "count"), n), 6);
        screen_printf(&c->out, "  ");
        screen_bar(&c->out, (uint64_t)json_number(f, "count"), most, BAR);
        screen_style(&c->out, STYLE_DIM);
        screen_printf(&c->out, "%s", *json_text(f, "example") ? "  e.g. " : "");
        screen_put(&c->out, json_text(f, "example"), 0);
        screen_style(&c->out, STYLE_PLAIN);
        screen_printf(&c->out, "\n    ");
        screen_put(&c->out, json_text(f, "hint"), 0);
        screen_printf(&c->out, "\n");
    }
}

static void show_places(struct cli *c, const json_t *report, const json_t *sync, const char *csv)
{
    const char *job = json_text(json_object_get(report, "job"), "name");
    const char *device =
            json_text(json_array_get(json_object_get(report, "rows"), 0), "device_name");
    char registry[PATH_MAX];
    paths_get(&c->paths, PATH_REGISTRY, registry);
    screen_printf(&c->out, "\n");
    if (csv && strcmp(csv, "-") != 0)
        screen_fact(&c->out, "Report", csv);
    else
        screen_factf(&c->out, "Report", "keyline job report \"%s\" --csv FILE", job);
    screen_fact(&c->out, "Records", registry);
    screen_fact(&c->out, "Records upstream", json_text(sync, "url"));
    screen_factf(&c->out, "Look a device up", "keyline device show %s", *device ? device : "NAME");
}

void summary_show(struct cli *c, const json_t *report, const char *csv)
{
    const json_t *job = json_object_get(report, "job"), *s = json_object_get(report, "summary");
    const char *state = json_text(job, "state");
    json_t *sync = NULL;
    screen_style(&c->out, STYLE_BOLD);
    screen_printf(&c->out, "Job \"");
    screen_put(&c->out, json_text(job, "name"), 0);
    screen_printf(&c->out, "\": ");
    screen_style(&c->out, screen_state_style(state));
    screen_put(&c->out, state, 0);
    screen_style(&c->out, STYLE_PLAIN);
    screen_printf(&c->out, "\n");
    show_yield(c, s);
    show_speed(c, s);
    show_upstream(c, s, &sync);
    show_failures(c, json_object_get(s, "failures"));
    show_places(c, report, sync, csv);
    json_decref(sync);
}
