/* Answers in pages. Promises an end: a cursor that does not move is refused. */
#include "station/cli/pages.h"

#include <string.h>

#include "station/cli/cli.h"
#include "station/cli/table.h"

int pages_each(struct pages *p, pages_fn each, void *ctx, struct err *e)
{
    json_t *page = NULL;
    int r = 0;
    for (bool more = true; more && r == 0;) {
        struct buf answer = BUF_INIT;
        json_t *next = json_incref(json_object_get(page, "next"));
        json_decref(page);
        page = NULL;
        r = p->fetch(p->ctx, next, &answer, e);
        if (r == 0)
            r = cli_parse(&answer, &page, e);
        if (r == 0)
            r = each(ctx, page, json_object_get(page, p->rows), e);
        const json_t *now = json_object_get(page, "next");
        more = now && !json_is_null(now);
        if (r == 0 && more && next && json_equal(next, now))
            r = err_set(e, ERR_PROTOCOL, "the appliance gives the same page again and again");
        json_decref(next);
        buf_done(&answer);
    }
    json_decref(page);
    return r;
}

int pages_to_table(void *ctx, const json_t *page, const json_t *rows, struct err *e)
{
    (void)page;
    (void)e;
    table_rows(ctx, rows);
    return 0;
}

struct printing {
    FILE *file;
    const char *rows;
    bool begun, any;
};

static int print_page(void *ctx, const json_t *page, const json_t *rows, struct err *e)
{
    struct printing *p = ctx;
    const char *key;
    json_t *value;
    size_t i;
    (void)e;
    if (!p->begun) {
        fputc('{', p->file);
        json_object_foreach((json_t *)(uintptr_t)page, key, value)
        {
            if (strcmp(key, p->rows) == 0 || strcmp(key, "next") == 0)
                continue;
            fprintf(p->file, "\"%s\":", key);
            json_dumpf(value, p->file, JSON_COMPACT | JSON_ENCODE_ANY);
            fputc(',', p->file);
        }
        fprintf(p->file, "\"%s\":[", p->rows);
        p->begun = true;
    }
    json_array_foreach(rows, i, value)
    {
        if (p->any)
            fputc(',', p->file);
        p->any = true;
        json_dumpf(value, p->file, JSON_COMPACT | JSON_ENCODE_ANY);
    }
    return 0;
}

int pages_print(struct pages *p, FILE *f, struct err *e)
{
    struct printing printing = {.file = f, .rows = p->rows};
    if (pages_each(p, print_page, &printing, e))
        return -1;
    fputs("],\"next\":null}\n", f);
    return 0;
}
