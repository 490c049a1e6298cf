/* keyline job approve: shows what is to be certified, asks, and signs it with the approver's key.
 * On the station, or far from it with only the request and the manifest: then the rows are counted
 * and the root computed here, so that nothing the station says has to be believed. Never signs what
 * it has not shown. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/text.h"
#include "hsm/approval/ticket.h"
#include "jobs/jobs_client.h"
#include "jobs/manifest.h"
#include "station/cli/approver.h"
#include "station/cli/cli.h"
#include "station/cli/manifest_file.h"
#include "station/cli/profile.h"
#include "station/cli/verbs.h"

#define DAYS_DEFAULT 30
#define CLOCK_SLACK  300 /* seconds: the approver's clock may be ahead of the station's */
#define SAMPLES      3

/* What the decision is about. */
struct approval {
    struct ticket ticket;
    struct profile *profile;       /* as this computer has it: what is shown is what is signed */
    char name[NAME_BYTES_MAX + 1]; /* the job's; "" away from the station */
    char samples[4 * NAME_BYTES_MAX + 8]; /* "a, b, c .." */
    bool recomputed;                      /* rows and root come from the manifest itself */
};

static int check_options(const struct cli *c, struct err *e)
{
    bool away = cli_has(c, "request");
    if (away != cli_has(c, "manifest"))
        return cli_usage(
                e, "--request and --manifest go together: what is asked for, and what for");
    if (away && (c->arg_count > 0 || !cli_has(c, "ticket-out")))
        return cli_usage(
                e, "with --request there is no JOB, and --ticket-out says where the ticket goes");
    if (!away && c->arg_count == 0)
        return cli_usage(e, "job approve needs a JOB, or --request and --manifest");
    if (cli_has(c, "ticket") &&
            (away || cli_has(c, "ticket-out") || cli_has(c, "key") || cli_has(c, "cert") ||
                    cli_has(c, "module") || cli_has(c, "quota") || cli_has(c, "days") ||
                    cli_has(c, "profile-file")))
        return cli_usage(e,
                "--ticket hands in a finished ticket: nothing is signed, so no other option fits");
    if (cli_has(c, "group") && !away)
        return cli_usage(e, "--group goes with --manifest");
    return 0;
}

/* ---- what is asked for */

static void add_sample(struct approval *a, size_t i, const char *name)
{
    size_t len = strlen(a->samples);
    if (i < SAMPLES)
        snprintf(a->samples + len, sizeof a->samples - len, "%s%s", i ? ", " : "", name);
    else if (i == SAMPLES)
        snprintf(a->samples + len, sizeof a->samples - len, " ..");
}

/* The first rows' names and the job's name are for the eye only: what is signed is the root. */
static int describe(struct cli *c, const char *job, struct approval *a, struct err *e)
{
    struct buf answer = BUF_INIT;
    json_t *o = NULL, *row;
    size_t i;
    int r = jobs_report(c->bus, job, 0, SAMPLES + 1, &answer, e);
    if (r == 0 && (r = cli_parse(&answer, &o, e)) == 0) {
        snprintf(a->name, sizeof a->name, "%s", json_text(json_object_get(o, "job"), "name"));
        json_array_foreach(json_object_get(o, "rows"), i, row)
                add_sample(a, i, json_text(row, "device_name"));
    }
    json_decref(o);
    buf_done(&answer);
    return r;
}

static int ask_station(struct cli *c, struct approval *a, struct err *e)
{
    struct buf answer = BUF_INIT;
    int r = cli_connect(c, e);
    if (r == 0)
        r = jobs_call(c->bus, "JobRequest", c->args, 1, &answer, e);
    if (r == 0)
        r = buf_str(&answer) ? ticket_request_parse(buf_str(&answer), &a->ticket, e)
                             : err_set(e, ERR_NOMEM, "no memory for the request");
    if (r == 0)
        r = describe(c, c->args[0], a, e);
    buf_done(&answer);
    return r;
}

static int read_request(const char *path, struct ticket *ret, struct err *e)
{
    struct buf text = BUF_INIT;
    int r = file_read(path, TICKET_BYTES_MAX, &text, e);
    if (r == 0 && text.len == 0)
        r = err_set(e, ERR_TICKET, "%s is empty", path);
    else if (r == 0 && (r = buf_str(&text) ? ticket_request_parse(buf_str(&text), ret, e)
                                           : err_set(e, ERR_NOMEM, "no memory for it")))
        err_context(e, "%s", path);
    if (r)
        err_advise(e, "It must be what 'keyline job request JOB' has printed at the station: have "
                      "it made again, and bring that file.");
    buf_done(&text);
    return r;
}

static int advise_other_file(struct err *e)
{
    return err_advise(e,
            "Find out which of the two is right, the station's request or this manifest, "
            "before you sign anything.");
}

static int compare_manifest(struct approval *a, const struct manifest *m, struct err *e)
{
    char asked[2 * MERKLE_HASH_BYTES + 1], found[2 * MERKLE_HASH_BYTES + 1];
    char name[NAME_BYTES_MAX + 1];
    if (m->rows != a->ticket.rows) {
        err_set(e, ERR_PROOF, "the manifest has %" PRIu64 " rows, the request asks for %" PRIu64,
                m->rows, a->ticket.rows);
        return advise_other_file(e);
    }
    hex_format(a->ticket.root.bytes, MERKLE_HASH_BYTES, asked);
    hex_format(m->root.bytes, MERKLE_HASH_BYTES, found);
    if (strcmp(asked, found) != 0) {
        err_set(e, ERR_PROOF,
                "the manifest's root is %.16s.., the request asks for %.16s..: another file, or "
                "another --group than at import",
                found, asked);
        return advise_other_file(e);
    }
    for (uint64_t i = 0; i < m->rows && i <= SAMPLES; i++) {
        struct row row = {0};
        if (row_decode(
                    m->encoded.data + m->offsets[i], m->offsets[i + 1] - m->offsets[i], &row, e) ||
                row_copy(&row, "device_name", name, sizeof name, e))
            return -1;
        add_sample(a, i, name);
    }
    a->recomputed = true;
    return 0;
}

static int read_away(struct cli *c, struct approval *a, struct err *e)
{
    struct manifest m = {0};
    int r = read_request(cli_option(c, "request"), &a->ticket, e);
    if (r == 0)
        r = manifest_file_read(cli_option(c, "manifest"), cli_option(c, "group"), &m, e);
    if (r == 0)
        r = compare_manifest(a, &m, e);
    manifest_done(&m);
    return r;
}

/* A ticket binds what the profile says, by its digest; the signer refuses when its own says something
 * else. So it is read here, and never taken from the station's answer. */
static int find_profile(const struct cli *c, struct approval *a, struct err *e)
{
    const char *file = cli_option(c, "profile-file"), *name = a->ticket.profile;
    int r = file ? profile_read(file, &a->profile, NULL, e)
                 : profile_find(c, name, &a->profile, NULL, e);
    if (r && e->id == ERR_NOT_FOUND && !file)
        return err_context(e, "the job's profile must be seen to be approved, give --profile-file");
    if (r)
        return -1;
    if (strcmp(a->profile->name, name) != 0)
        return err_set(e, ERR_PROFILE, "the job is for profile %s, the file is %s.json", name,
                a->profile->name);
    memcpy(a->ticket.profile_sha256, a->profile->sha256, sizeof a->ticket.profile_sha256);
    return 0;
}

/* ---- the decision */

static void show_validity(struct cli *c, const struct ticket *t)
{
    char from[32], to[32];
    time_t nbf = (time_t)t->not_before, exp = (time_t)t->not_after;
    struct tm tm;
    strftime(from, sizeof from, "%Y-%m-%d %H:%M", localtime_r(&nbf, &tm));
    strftime(to, sizeof to, "%Y-%m-%d %H:%M", localtime_r(&exp, &tm));
    screen_factf(&c->out, "Valid", "%s to %s", from, to);
}

static void show(struct cli *c, const struct approval *a)
{
    const struct ticket *t = &a->ticket;
    char n[NUMBER_TEXT_MAX], root[2 * MERKLE_HASH_BYTES + 1];
    char stations[TICKET_STATIONS_MAX * (NAME_BYTES_MAX + 2)] =
            ""; /* all of them: they are signed */
    hex_format(t->root.bytes, MERKLE_HASH_BYTES, root);
    for (size_t i = 0; i < t->station_count; i++) {
        size_t len = strlen(stations);
        snprintf(stations + len, sizeof stations - len, "%s%s", i ? ", " : "", t->stations[i]);
    }
    screen_style(&c->out, STYLE_BOLD);
    screen_printf(&c->out, "To be approved\n");
    screen_style(&c->out, STYLE_PLAIN);
    screen_fact(&c->out, "Job", *a->name ? a->name : t->job);
    if (*a->name)
        screen_fact(&c->out, "ID", t->job);
    screen_factf(&c->out, "Devices", "%s: %s", number_format((int64_t)t->rows, n), a->samples);
    screen_factf(&c->out, "Merkle root", "%s%s", root,
            a->recomputed ? " (computed from the manifest)" : "");
    screen_factf(&c->out, "Certificates", "at most %s", number_format((int64_t)t->quota, n));
    profile_show_facts(&c->out, a->profile);
    screen_fact(&c->out, "Binding", t->binding);
    if (t->keys == TICKET_KEYS_SIGNER)
        screen_fact(
                &c->out, "Keys", "made by the signer and handed to the devices, not born in them");
    if (t->reissue)
        screen_fact(
                &c->out, "Re-issue", "new certificates; the ones these devices have are revoked");
    show_validity(c, t);
    screen_fact(&c->out, "Stations", strcmp(stations, "*") == 0 ? "any of this account" : stations);
    screen_fact(&c->out, "Account", t->account);
    screen_fact(&c->out, "Division", t->division);
    screen_fact(&c->out, "Approver", t->approver);
}

/* ---- the signature */

static int fill_terms(const struct cli *c, struct ticket *t, struct err *e)
{
    int64_t now = time_now_ms() / 1000;
    int64_t quota = cli_number(c, "quota", (int64_t)t->quota);
    if (quota > (int64_t)t->rows)
        return cli_usage(
                e, "--quota %" PRId64 ": the job has only %" PRIu64 " rows", quota, t->rows);
    t->quota = (uint64_t)quota;
    t->issued_at = now;
    t->not_before = now - CLOCK_SLACK;
    t->not_after = now + cli_number(c, "days", DAYS_DEFAULT) * 86400;
    return 0;
}

/* Shows, asks, signs. The key is read only after the yes. */
static int sign(struct cli *c, struct approval *a, char **ret_ticket, struct err *e)
{
    struct approver by = {0};
    int r = fill_terms(c, &a->ticket, e);
    if (r == 0)
        r = approver_open(c, &by, e);
    if (r == 0) {
        snprintf(a->ticket.approver, sizeof a->ticket.approver, "%s", by.name);
        if (!c->json)
            show(c, a);
        r = approver_confirm(c, "Approve?", "keyline job show", e);
    }
    fflush(stdout);
    if (r == 0)
        r = approver_unlock(c, &by, e);
    if (r == 0)
        r = ticket_sign_by(&a->ticket, &by.signer, ret_ticket, e);
    approver_done(&by);
    return r;
}

/* ---- what becomes of it */

static int hand_in(struct cli *c, const char *job, const char *ticket, struct err *e)
{
    json_t *answer = NULL;
    if (cli_call(c, "JobApprove", (const char *[]){job, ticket}, 2, &answer, e))
        return -1;
    if (answer) {
        screen_style(&c->out, STYLE_GOOD);
        screen_printf(&c->out, "Approved.");
        screen_style(&c->out, STYLE_PLAIN);
        screen_printf(&c->out, " Plug devices in; keyline job watch \"");
        screen_put(&c->out, json_text(json_object_get(answer, "job"), "name"), 0);
        screen_printf(&c->out, "\" shows them.\n");
    }
    json_decref(answer);
    return 0;
}

static int write_ticket(struct cli *c, const struct approval *a, const char *ticket, struct err *e)
{
    const char *path = cli_option(c, "ticket-out");
    if (approver_write_jws(path, ticket, e))
        return -1;
    if (c->json)
        return cli_print_json(json_pack("{s:s}", "ticket", ticket), e);
    screen_printf(&c->out,
            "The ticket is in %s. On the station: keyline job approve %s --ticket %s\n", path,
            a->ticket.job, path);
    return 0;
}

static int hand_in_file(struct cli *c, const char *path, struct err *e)
{
    struct buf text = BUF_INIT;
    int r = approver_read_jws(path, &text, e);
    if (r == 0)
        r = hand_in(c, c->args[0], buf_str(&text), e);
    buf_done(&text);
    return r;
}

int job_approve(struct cli *c, struct err *e)
{
    struct approval a = {0};
    char *ticket = NULL;
    int r = check_options(c, e);
    if (r)
        return r;
    if (cli_has(c, "ticket"))
        return hand_in_file(c, cli_option(c, "ticket"), e);
    r = cli_has(c, "request") ? read_away(c, &a, e) : ask_station(c, &a, e);
    if (r == 0)
        r = find_profile(c, &a, e);
    if (r == 0)
        r = sign(c, &a, &ticket, e);
    if (r == 0)
        r = cli_has(c, "ticket-out") ? write_ticket(c, &a, ticket, e)
                                     : hand_in(c, c->args[0], ticket, e);
    profile_free(&a.profile);
    free(ticket);
    return r;
}
