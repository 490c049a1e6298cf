/* Jobs as facts and lists, and the import of a manifest. */
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "jobs/jobs_client.h"
#include "station/cli/job.h"
#include "station/cli/manifest_file.h"
#include "station/cli/plain.h"
#include "station/cli/verbs.h"

/* ---- shown */

int job_list(struct cli *c, json_t *answer, struct err *e)
{
    static const struct table_column columns[] = {
            {"name", "JOB", CELL_TEXT},
            {"state", "STATE", CELL_STATE},
            {"rows", "ROWS", CELL_NUMBER},
            {"registered", "REGISTERED", CELL_NUMBER},
            {"failed", "FAILED", CELL_NUMBER},
            {"created", "CREATED", CELL_TIME},
            {"id", NULL, CELL_TEXT},
            {"approved", NULL, CELL_TIME},
            {"completed", NULL, CELL_TIME},
            {"approver", NULL, CELL_TEXT},
            {"profile", NULL, CELL_TEXT},
            {"binding", NULL, CELL_TEXT},
            {"keys", NULL, CELL_TEXT},
            {"quota", NULL, CELL_NUMBER},
            {"not_after", NULL, CELL_TIME},
            {"manifest_sha256", NULL, CELL_TEXT},
            {"root", NULL, CELL_TEXT},
    };
    return plain_list(c, json_object_get(answer, "jobs"), columns, sizeof columns / sizeof *columns,
            "No job yet: keyline job import FILE", e);
}

static void fact_time(struct cli *c, const char *label, const json_t *job, const char *key)
{
    char text[NUMBER_TEXT_MAX];
    if (*json_text(job, key))
        screen_fact(&c->out, label, clock_format(json_text(job, key), text));
}

int job_show(struct cli *c, json_t *answer, struct err *e)
{
    const json_t *job = json_object_get(answer, "job");
    char n[3][NUMBER_TEXT_MAX];
    (void)e;
    screen_fact(&c->out, "Job", json_text(job, "name"));
    screen_fact(&c->out, "ID", json_text(job, "id"));
    screen_fact(&c->out, "State", json_text(job, "state"));
    screen_factf(&c->out, "Devices", "%s: %s registered, %s failed",
            number_format(json_number(job, "rows"), n[0]),
            number_format(json_number(job, "registered"), n[1]),
            number_format(json_number(job, "failed"), n[2]));
    fact_time(c, "Imported", job, "created");
    fact_time(c, "Approved", job, "approved");
    screen_fact(&c->out, "Approver", json_text(job, "approver"));
    if (json_number(job, "quota") > 0)
        screen_fact(&c->out, "Quota", number_format(json_number(job, "quota"), n[0]));
    fact_time(c, "Approval ends", job, "not_after");
    fact_time(c, "Completed", job, "completed");
    screen_fact(&c->out, "Profile", json_text(job, "profile"));
    screen_fact(&c->out, "Binding", json_text(job, "binding"));
    if (json_is_true(json_object_get(job, "reissue")))
        screen_fact(&c->out, "Re-issue", "its devices' earlier certificates are revoked");
    if (strcmp(json_text(job, "keys"), "signer") == 0)
        screen_fact(&c->out, "Keys", "made by the signer where a device cannot");
    screen_fact(&c->out, "Manifest SHA-256", json_text(job, "manifest_sha256"));
    screen_fact(&c->out, "Merkle root", json_text(job, "root"));
    return 0;
}

int job_request_show(struct cli *c, json_t *answer, struct err *e)
{
    (void)e;
    json_dumpf(answer, c->out.file, JSON_COMPACT);
    screen_printf(&c->out, "\n");
    /* it went into a file, and the person who typed that is told where to take it */
    if (isatty(2) && !c->out.tty)
        fprintf(stderr,
                "Take it and the manifest to the approver's computer; there: keyline job approve "
                "--request FILE --manifest FILE --ticket-out FILE\n");
    return 0;
}

/* ---- import */

static void show_import_errors(const char *file, const json_t *answer)
{
    int64_t total = json_number(answer, "errors_total");
    char n[NUMBER_TEXT_MAX];
    struct screen s;
    size_t i;
    json_t *error;
    fflush(stdout);
    screen_init(&s, stderr);
    json_array_foreach(json_object_get(answer, "errors"), i, error) manifest_file_fault(&s, file,
            json_number(error, "row"), json_text(error, "column"), json_text(error, "reason"));
    manifest_file_more(&s, total - (int64_t)i);
    screen_style(&s, STYLE_BAD);
    screen_printf(&s, "Nothing was imported: %s error%s.", number_format(total, n),
            total == 1 ? "" : "s");
    screen_style(&s, STYLE_PLAIN);
    screen_printf(&s, file ? " Correct the file and import it again.\n" : "\n");
}

static void show_imported(struct cli *c, const json_t *job)
{
    char n[NUMBER_TEXT_MAX];
    screen_printf(&c->out, "Job \"");
    screen_put(&c->out, json_text(job, "name"), 0);
    screen_printf(&c->out, "\": %s device%s imported, %s.\n",
            number_format(json_number(job, "rows"), n), json_number(job, "rows") == 1 ? "" : "s",
            strcmp(json_text(job, "state"), "Pending approval") == 0 ? "waiting for approval"
                                                                     : json_text(job, "state"));
    screen_printf(&c->out, "Next: keyline job approve \"");
    screen_put(&c->out, json_text(job, "name"), 0);
    screen_printf(&c->out, "\"\n");
}

int job_import_answer(struct cli *c, const char *file, struct buf *answer, struct err *e)
{
    json_t *o = NULL, *shown = NULL;
    if (cli_parse(answer, &o, e))
        return -1;
    int r = json_is_true(json_object_get(o, "imported")) ? 0 : CLI_FAILED;
    if (cli_answer(c, answer, &shown, e))
        r = -1;
    else if (shown && r == 0)
        show_imported(c, json_object_get(shown, "job"));
    else if (shown)
        show_import_errors(file, shown);
    json_decref(shown);
    json_decref(o);
    return r;
}

#define IMPORT_OPTIONS 7

static size_t import_options(const struct cli *c, struct jobs_option out[IMPORT_OPTIONS])
{
    static const struct {
        const char *option, *key;
    } texts[] = {{"name", "name"}, {"group", "group"}, {"profile", "profile"}, {"keys", "keys"},
            {"station", "station"}};
    size_t n = 0;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (cli_has(c, texts[i].option))
            out[n++] = (struct jobs_option){texts[i].key, cli_option(c, texts[i].option)};
    if (cli_has(c, "add-groups"))
        out[n++] = (struct jobs_option){"add_groups", "yes"};
    if (cli_has(c, "reissue"))
        out[n++] = (struct jobs_option){"reissue", "yes"};
    return n;
}

int job_import(struct cli *c, struct err *e)
{
    struct jobs_option options[IMPORT_OPTIONS + 1];
    struct buf answer = BUF_INIT;
    char file[PATH_MAX];
    bool is_stdin = strcmp(c->args[0], "-") == 0;
    if (is_stdin && isatty(0))
        return cli_usage(e, "\"-\" is a pipe or a file on standard input, not the terminal");
    if (is_stdin && !cli_has(c, "name"))
        return cli_usage(e, "\"-\" has no name for the job: give --name");
    int fd = manifest_file_open(c->args[0], e);
    if (fd < 0)
        return -1;
    size_t n = import_options(c, options);
    snprintf(file, sizeof file, "%s", c->args[0]);
    if (!cli_has(c, "name"))
        options[n++] = (struct jobs_option){"name", basename(file)};
    int r = cli_connect(c, e);
    if (r == 0)
        r = jobs_import(c->bus, fd, options, n, &answer, e);
    if (r && e->id == ERR_EXISTS && !cli_has(c, "reissue"))
        err_advise(e, "Go on with that job, or give another file a --name of its own; --reissue "
                      "imports a file again, for new certificates.");
    if (r == 0)
        r = job_import_answer(c, c->args[0], &answer, e);
    close(fd);
    buf_done(&answer);
    return r;
}
