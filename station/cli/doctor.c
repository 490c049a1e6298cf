/* keyline doctor: runs the checks and says what to do. Works with the appliance and without; changes
 * nothing. Exit status: 0 all is well, 1 something should be done, 2 something is wrong. */
#include "station/cli/doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/config.h"
#include "base/text.h"
#include "jobs/jobs_client.h"
#include "station/cli/cli.h"
#include "station/cli/verbs.h"

static const struct check {
    const char *name;
    doctor_check_fn look;
} checks[] = {
        {"configuration", doctor_check_config},
        {"users", doctor_check_users},
        {"secrets", doctor_check_secrets},
        {"clock", doctor_check_clock},
        {"disk", doctor_check_disk},
        {"CA chain", doctor_check_chain},
        {"issuing CA", doctor_check_issuing},
        {"root CA", doctor_check_root},
        {"CA request", doctor_check_request},
        {"CRL", doctor_check_crls},
        {"approvers", doctor_check_approvers},
        {"token", doctor_check_module},
        {"token PIN", doctor_check_pin},
        {"token files", doctor_check_objects},
        {"token copy", doctor_check_copy},
        {"put away", doctor_check_put_away},
        {"books", doctor_check_books},
        {"slots", doctor_check_slots},
        {"appliance", doctor_check_running},
        {"signer", doctor_check_signer},
        {"sync", doctor_check_sync},
};
#define CHECK_COUNT (sizeof checks / sizeof *checks)
#define NAME_WIDTH  14

static const struct {
    const char *name;
    enum style style;
} verdicts[DOCTOR_VERDICTS] = {
        [DOCTOR_OK] = {"OK", STYLE_GOOD},
        [DOCTOR_WARN] = {"WARN", STYLE_WARN},
        [DOCTOR_FAIL] = {"FAIL", STYLE_BAD},
};

void doctor_find(
        struct doctor_finding *f, enum doctor_verdict v, const char *next, const char *fmt, ...)
{
    va_list args;
    if (f->said[0] && v <= f->verdict)
        return;
    f->verdict = v;
    va_start(args, fmt);
    vsnprintf(f->said, sizeof f->said, fmt, args);
    va_end(args);
    text_make_printable(f->said);
    snprintf(f->next, sizeof f->next, "%s", next ? next : "");
}

void doctor_unseen(struct doctor_finding *f, const char *path)
{
    doctor_find(f, DOCTOR_WARN, "Run keyline doctor as root.", "%s is not ours to see", path);
}

/* ---- what the checks look at */

static void look_around(struct cli *c, struct doctor *d, struct err *e)
{
    struct buf answer = BUF_INIT;
    char path[PATH_MAX];
    d->paths = c->paths;
    d->now = time_now_ms() / 1000;
    paths_get(&c->paths, PATH_CONFIG, path);
    if (config_load(path, &d->config, &d->config_error))
        (void)config_load("/nonexistent/keyline.conf", &d->config, e);
    (void)ca_files_read(&c->paths, &d->ca, &d->ca_error);
    if (cli_connect(c, &d->status_error) == 0 &&
            jobs_call(c->bus, "Status", NULL, 0, &answer, &d->status_error) == 0)
        (void)cli_parse(&answer, &d->status, &d->status_error);
    buf_done(&answer);
}

static void doctor_done(struct doctor *d)
{
    config_free(&d->config);
    ca_files_done(&d->ca);
    json_decref(d->status);
}

/* ---- what is said */

/* Where a terminal's line is too short, what to do goes onto lines of its own. */
static void show(const struct screen *s, const char *name, const struct doctor_finding *f)
{
    const unsigned said_at = 4 + 2 + NAME_WIDTH + 1, next_at = said_at + sizeof "-> " - 1;
    unsigned columns = next_at + 1 + screen_measure(s, f->said) + screen_measure(s, f->next);
    screen_style(s, verdicts[f->verdict].style);
    screen_printf(s, "%-4s", verdicts[f->verdict].name);
    screen_style(s, STYLE_PLAIN);
    screen_printf(s, "  %-*s ", NAME_WIDTH, name);
    screen_put_long(s, f->said, s->width - said_at, said_at);
    if (f->next[0]) {
        if (s->width && columns > s->width)
            screen_printf(s, "\n%*s-> ", (int)said_at, "");
        else
            screen_printf(s, " -> ");
        screen_put_long(s, f->next, s->width - next_at, next_at);
    }
    screen_printf(s, "\n");
}

static json_t *finding_json(const char *name, const struct doctor_finding *f)
{
    return json_pack("{s:s,s:s,s:s,s:s}", "check", name, "verdict", verdicts[f->verdict].name,
            "message", f->said, "next", f->next);
}

int doctor_run(struct cli *c, struct err *e)
{
    struct doctor d = {0};
    enum doctor_verdict worst = DOCTOR_OK;
    json_t *list = json_array();
    look_around(c, &d, e);
    for (size_t i = 0; i < CHECK_COUNT && !e->id; i++) {
        struct doctor_finding f = {0};
        checks[i].look(&d, &f);
        if (!f.said[0])
            continue; /* it is about something that this station does not have */
        if (f.verdict > worst)
            worst = f.verdict;
        if (c->json)
            json_array_append_new(list, finding_json(checks[i].name, &f));
        else
            show(&c->out, checks[i].name, &f);
    }
    doctor_done(&d);
    if (e->id || (c->json && cli_print_json(json_pack("{s:s,s:O}", "verdict", verdicts[worst].name,
                                                    "checks", list),
                                     e))) {
        json_decref(list);
        return -1;
    }
    json_decref(list);
    return (int)worst;
}
