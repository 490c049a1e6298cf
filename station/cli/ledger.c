/* keyline ca ledger: what the signer issued, refused and revoked, newest first, page by page. */
#include <inttypes.h>
#include <string.h>

#include "jobs/jobs_client.h"
#include "station/cli/cli.h"
#include "station/cli/table.h"
#include "station/cli/verbs.h"

#define ENTRIES_DEFAULT 20

/* One column for what only some kinds of entries have. */
static void add_text(json_t *entry)
{
    const char *type = json_text(entry, "type");
    char text[512] = "";
    if (strcmp(type, "refused") == 0)
        snprintf(text, sizeof text, "%s: %s", json_text(entry, "error"),
                json_text(entry, "message"));
    else if (strcmp(type, "revoked") == 0)
        snprintf(text, sizeof text, "%s", json_text(entry, "reason"));
    else if (strcmp(type, "crl") == 0)
        snprintf(text, sizeof text, "number %" PRId64 ", %" PRId64 " revoked",
                json_number(entry, "number"), json_number(entry, "revoked"));
    else if (json_is_true(json_object_get(entry, "accepted")))
        snprintf(text, sizeof text, "a person vouched for what is before it");
    else if (strcmp(type, "checkpoint") == 0)
        snprintf(text, sizeof text, "signed up to byte %" PRId64, json_number(entry, "bytes"));
    else if (json_is_true(json_object_get(entry, "key_from_signer")))
        snprintf(text, sizeof text, "the signer made its key");
    (void)json_object_set_new(entry, "text", json_string(text));
}

static int show_page(struct cli *c, struct table *t, const json_t *entries)
{
    json_t *entry;
    size_t i;
    json_array_foreach(entries, i, entry) add_text(entry);
    table_rows(t, entries);
    return fflush(c->out.file);
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
            {"type", "WHAT", CELL_TEXT},
            {"device", "DEVICE", CELL_TEXT},
            {"serial", "SERIAL", CELL_TEXT},
            {"text", "WHY", CELL_TEXT},
            {"job", NULL, CELL_TEXT},
            {"row", NULL, CELL_NUMBER},
            {"spki_sha256", NULL, CELL_TEXT},
            {"error", NULL, CELL_TEXT},
            {"message", NULL, CELL_TEXT},
            {"reason", NULL, CELL_TEXT},
            {"number", NULL, CELL_NUMBER},
            {"place", NULL, CELL_NUMBER},
    };
    int64_t left = cli_number(c, "limit", ENTRIES_DEFAULT);
    uint64_t before = 0;
    bool more = true, any = false;
    json_t *all = json_array();
    struct table t;
    int r = table_init(
            &t, &c->out, columns, sizeof columns / sizeof *columns, cli_option(c, "columns"), e);
    if (r == 0)
        r = cli_connect(c, e);
    while (r == 0 && more && left > 0) {
        json_t *page = NULL, *entries;
        if ((r = next_page(c, left, before, &page, e)))
            break;
        entries = json_object_get(page, "entries");
        any |= json_array_size(entries) > 0;
        left -= (int64_t)json_array_size(entries);
        more = json_is_integer(json_object_get(page, "next"));
        before = (uint64_t)json_number(page, "next");
        if (c->json)
            (void)json_array_extend(all, entries);
        else
            (void)show_page(c, &t, entries);
        json_decref(page);
    }
    if (r == 0 && c->json)
        return cli_print_json(json_pack("{s:o, s:o}", "entries", all, "next",
                                      more ? json_integer((json_int_t)before) : json_null()),
                e);
    if (r == 0 && !any && !cli_has(c, "columns"))
        screen_printf(&c->out, "The ledger has nothing of that.\n");
    json_decref(all);
    return r;
}
