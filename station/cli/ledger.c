/* keyline ca ledger: what the signer issued, refused and revoked, newest first, page by page. The signer knows devices and
 * jobs by their IDs; people are shown names. */
#include <inttypes.h>
#include <string.h>

#include "jobs/jobs_client.h"
#include "station/cli/cli.h"
#include "station/cli/names.h"
#include "station/cli/table.h"
#include "station/cli/verbs.h"

#define ENTRIES_DEFAULT 20

struct listing {
    struct cli *cli;
    struct table table;
    struct names names;
    int64_t left; /* entries still to be shown */
    bool all, any;
    bool named; /* names are among what is shown */
};

/* One column for what only some kinds of entries have. */
static void add_text(json_t *entry)
{
    const char *type = json_text(entry, "type"), *serial = json_text(entry, "serial");
    char text[512] = "";
    if (strcmp(type, "refused") == 0)
        snprintf(text, sizeof text, "%s: %s", json_text(entry, "error"),
                json_text(entry, "message"));
    else if (strcmp(type, "revoked") == 0)
        snprintf(text, sizeof text, "%s %s", serial, json_text(entry, "reason"));
    else if (strcmp(type, "withdrawn") == 0)
        snprintf(text, sizeof text, "job \"%s\"", json_text(entry, "job_name"));
    else if (strcmp(type, "crl") == 0)
        snprintf(text, sizeof text, "number %" PRId64 ", %" PRId64 " revoked",
                json_number(entry, "number"), json_number(entry, "revoked"));
    else if (json_is_true(json_object_get(entry, "accepted")))
        snprintf(text, sizeof text, "a person vouched for what is before it");
    else if (strcmp(type, "checkpoint") == 0)
        snprintf(text, sizeof text, "signed up to byte %" PRId64, json_number(entry, "bytes"));
    else if (json_is_true(json_object_get(entry, "key_from_signer")))
        snprintf(text, sizeof text, "%s the signer made its key", serial);
    else
        snprintf(text, sizeof text, "%s", serial);
    (void)json_object_set_new(entry, "text", json_string(text));
}

/* The token's signatures over the ledger itself are of no interest but to who looks for them; that a person vouched is. */
static bool is_hidden(const struct listing *l, const json_t *entry)
{
    return !l->all && strcmp(json_text(entry, "type"), "checkpoint") == 0 &&
           !json_is_true(json_object_get(entry, "accepted"));
}

static void add_names(struct listing *l, json_t *entry)
{
    (void)json_object_set_new(entry, "device_name",
            json_string(names_device(&l->names, l->cli, json_text(entry, "device"))));
    (void)json_object_set_new(
            entry, "job_name", json_string(names_job(&l->names, l->cli, json_text(entry, "job"))));
}

static int show_page(struct listing *l, const json_t *entries)
{
    json_t *entry, *shown = json_array();
    size_t i;
    json_array_foreach(entries, i, entry)
    {
        if (is_hidden(l, entry))
            continue;
        if (l->named)
            add_names(l, entry);
        add_text(entry);
        (void)json_array_append(shown, entry);
    }
    l->any |= json_array_size(shown) > 0;
    l->left -= (int64_t)json_array_size(shown);
    table_rows(&l->table, shown);
    json_decref(shown);
    return fflush(l->cli->out.file);
}

static int next_page(struct cli *c, int64_t limit, uint64_t before, json_t **ret, struct err *e)
{
    const char *device = cli_option(c, "device");
    struct buf answer = BUF_INIT;
    int r = jobs_ledger(c->bus, device ? device : "", before, (unsigned)limit, &answer, e);
    if (r == 0)
        r = cli_parse(&answer, ret, e);
    buf_done(&answer);
    return r;
}

int ca_ledger(struct cli *c, struct err *e)
{
    static const struct table_column columns[] = {
            {"time", "TIME", CELL_TIME},
            {"type", "WHAT", CELL_TEXT, "withdrawn"},
            {"device_name", "DEVICE", CELL_TEXT},
            {"text", "SERIAL NUMBER, REASON", CELL_LONG},
            {"device", NULL, CELL_TEXT},
            {"serial", NULL, CELL_TEXT},
            {"job", NULL, CELL_TEXT},
            {"job_name", NULL, CELL_TEXT},
            {"row", NULL, CELL_NUMBER},
            {"spki_sha256", NULL, CELL_TEXT},
            {"error", NULL, CELL_TEXT},
            {"message", NULL, CELL_TEXT},
            {"reason", NULL, CELL_TEXT},
            {"number", NULL, CELL_NUMBER},
            {"place", NULL, CELL_NUMBER},
    };
    const char *chosen = cli_option(c, "columns");
    struct listing l = {.cli = c,
            .left = cli_number(c, "limit", ENTRIES_DEFAULT),
            .all = cli_has(c, "all"),
            .named = !chosen || strstr(chosen, "_name") || strstr(chosen, "text")};
    uint64_t before = 0;
    bool more = true;
    json_t *all = json_array();
    int r = table_init(&l.table, &c->out, columns, sizeof columns / sizeof *columns, chosen, e);
    if (r == 0)
        r = cli_connect(c, e);
    while (r == 0 && more && l.left > 0) {
        json_t *page = NULL, *entries;
        if ((r = next_page(c, l.left, before, &page, e)))
            break;
        entries = json_object_get(page, "entries");
        more = json_is_integer(json_object_get(page, "next"));
        before = (uint64_t)json_number(page, "next");
        if (c->json) {
            (void)json_array_extend(all, entries);
            l.left -= (int64_t)json_array_size(entries);
        } else {
            (void)show_page(&l, entries);
        }
        json_decref(page);
    }
    names_done(&l.names);
    if (r == 0 && c->json)
        return cli_print_json(json_pack("{s:o, s:o}", "entries", all, "next",
                                      more ? json_integer((json_int_t)before) : json_null()),
                e);
    if (r == 0 && !l.any && !chosen)
        screen_printf(&c->out, "The ledger has nothing of that.\n");
    json_decref(all);
    return r;
}
