/* keyline job report: every row of a job, page by page, to the screen, to a script, or into a CSV
 * file; then the summary. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "jobs/jobs_client.h"
#include "station/cli/cli.h"
#include "station/cli/csv_file.h"
#include "station/cli/pages.h"
#include "station/cli/summary.h"
#include "station/cli/table.h"
#include "station/cli/verbs.h"

#define PAGE_ROWS 500u

/* The result file's columns are those of --columns: this table is the schema. */
static const struct table_column columns[] = {
        {"row", "ROW", CELL_NUMBER},
        {"device_id", NULL, CELL_TEXT},
        {"device_name", "DEVICE", CELL_TEXT},
        {"device_group", NULL, CELL_TEXT},
        {"hwid", NULL, CELL_TEXT},
        {"state", "STATE", CELL_STATE},
        {"verdict", "VERDICT", CELL_STATE},
        {"attempts", "RUNS", CELL_NUMBER},
        {"slot", "SLOT", CELL_TEXT},
        {"finished", "FINISHED", CELL_TIME},
        {"serial", NULL, CELL_TEXT},
        {"key_origin", NULL, CELL_TEXT},
        {"error", "ERROR", CELL_TEXT},
        {"message", "MESSAGE", CELL_TEXT},
};
#define COLUMN_COUNT (sizeof columns / sizeof *columns)

struct reporting {
    struct cli *cli;
    struct table *table;
    struct csv_file *csv;
    json_t *last; /* the last page, for the summary */
};

static int next_page(void *ctx, const json_t *next, struct buf *ret, struct err *e)
{
    struct reporting *r = ctx;
    return jobs_report(
            r->cli->bus, r->cli->args[0], (uint64_t)json_integer_value(next), PAGE_ROWS, ret, e);
}

static int take_page(void *ctx, const json_t *page, const json_t *rows, struct err *e)
{
    struct reporting *r = ctx;
    size_t i;
    json_t *row;
    json_decref(r->last);
    r->last = json_incref((json_t *)(uintptr_t)page);
    if (r->table)
        table_rows(r->table, rows);
    json_array_foreach(rows, i, row)
    {
        if (r->csv && csv_file_row(r->csv, columns, COLUMN_COUNT, row, e))
            return -1;
    }
    return 0;
}

static int to_csv(struct reporting *r, struct pages *p, const char *path, struct err *e)
{
    if (csv_file_open(path, columns, COLUMN_COUNT, &r->csv, e))
        return -1;
    int result = pages_each(p, take_page, r, e);
    if (result == 0)
        result = csv_file_commit(r->csv, e);
    csv_file_close(&r->csv);
    return result;
}

/* With --json and --csv both: the file, and the summary's page as the answer. */
static int print_last(struct reporting *r, struct err *e)
{
    json_t *o = json_incref(r->last);
    json_object_set_new(o, "rows", json_array());
    return cli_print_json(o, e);
}

int job_report(struct cli *c, struct err *e)
{
    const char *csv = cli_option(c, "csv"), *chosen = cli_option(c, "columns");
    struct reporting reporting = {.cli = c};
    struct pages p = {.rows = "rows", .fetch = next_page, .ctx = &reporting};
    struct table table;
    int r = csv && chosen ? cli_usage(e, "--csv writes every column: leave --columns out")
                          : table_init(&table, &c->out, columns, COLUMN_COUNT, chosen, e);
    if (r)
        return r;
    if (cli_connect(c, e))
        return -1;
    if (c->json && !csv)
        return pages_print(&p, stdout, e);
    reporting.table = csv ? NULL : &table;
    r = csv ? to_csv(&reporting, &p, csv, e) : pages_each(&p, take_page, &reporting, e);
    if (r == 0 && c->json)
        r = print_last(&reporting, e);
    else if (r == 0 && !chosen && !(csv && strcmp(csv, "-") == 0)) {
        if (!csv)
            screen_printf(&c->out, "\n");
        summary_show(c, reporting.last, csv);
    }
    json_decref(reporting.last);
    return r;
}
