/* Lists. A column's width is that of its widest cell so far; where the terminal is too narrow the
 * widest columns give way. */
#include "station/cli/table.h"

#include <inttypes.h>
#include <string.h>

#include "base/err.h"
#include "base/text.h"
#include "station/cli/cli.h"

#define GAP       2u
#define NARROWEST 6u

static const struct table_column *find(
        const struct table_column *columns, size_t n, const char *key, size_t len)
{
    for (size_t i = 0; i < n; i++)
        if (strlen(columns[i].key) == len && memcmp(columns[i].key, key, len) == 0)
            return &columns[i];
    return NULL;
}

static int unknown_column(
        const struct table_column *columns, size_t n, const char *key, size_t len, struct err *e)
{
    char all[256] = "";
    for (size_t i = 0; i < n; i++)
        snprintf(
                all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", columns[i].key);
    return cli_usage(e, "--columns: there is no column \"%.*s\"; there are %s",
            (int)(len > 40 ? 40 : len), key, all);
}

int table_init(struct table *t, const struct screen *s, const struct table_column *columns,
        size_t n, const char *chosen, struct err *e)
{
    *t = (struct table){.screen = s, .plain = chosen != NULL};
    for (size_t i = 0; !chosen && i < n; i++)
        if (columns[i].title) {
            unsigned title = screen_measure(s, columns[i].title),
                     room = columns[i].room ? screen_measure(s, columns[i].room) : 0;
            t->widths[t->count] = title > room ? title : room;
            t->columns[t->count++] = &columns[i];
        }
    while (chosen) {
        size_t len = strcspn(chosen, ",");
        const struct table_column *c = find(columns, n, chosen, len);
        if (!c)
            return unknown_column(columns, n, chosen, len, e);
        if (t->count == TABLE_COLUMNS_MAX)
            return cli_usage(e, "--columns: at most %d columns", TABLE_COLUMNS_MAX);
        t->columns[t->count++] = c;
        chosen = chosen[len] ? chosen + len + 1 : NULL;
    }
    return 0;
}

void cell_raw(const json_t *v, char out[CELL_BYTES_MAX])
{
    if (json_is_string(v))
        snprintf(out, CELL_BYTES_MAX, "%s", json_string_value(v));
    else if (json_is_integer(v))
        snprintf(out, CELL_BYTES_MAX, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    else if (json_is_real(v))
        snprintf(out, CELL_BYTES_MAX, "%g", json_real_value(v));
    else
        snprintf(out, CELL_BYTES_MAX, "%s",
                json_is_true(v)    ? "true"
                : json_is_false(v) ? "false"
                                   : "");
}

static void cell_shown(const struct table_column *c, const json_t *v, char out[CELL_BYTES_MAX])
{
    char text[NUMBER_TEXT_MAX];
    if (c->kind == CELL_NUMBER && json_is_integer(v))
        snprintf(out, CELL_BYTES_MAX, "%s", number_format(json_integer_value(v), text));
    else if (c->kind == CELL_TIME && json_is_string(v))
        snprintf(out, CELL_BYTES_MAX, "%s", clock_format(json_string_value(v), text));
    else if (c->kind == CELL_YES)
        snprintf(out, CELL_BYTES_MAX, "%s", json_is_true(v) ? "yes" : "no");
    else
        cell_raw(v, out);
}

static void row_plain(const struct table *t, const json_t *row)
{
    char cell[CELL_BYTES_MAX];
    for (size_t i = 0; i < t->count; i++) {
        cell_raw(json_object_get(row, t->columns[i]->key), cell);
        if (i > 0)
            fputc('\t', t->screen->file);
        if (t->screen->tty) { /* a person looks on */
            screen_put(t->screen, cell, 0);
            continue;
        }
        text_make_printable(cell); /* scripts split at tabs and line ends */
        fputs(cell, t->screen->file);
    }
    fputc('\n', t->screen->file);
}

static void measure(struct table *t, const json_t *rows)
{
    char cell[CELL_BYTES_MAX];
    size_t r;
    json_t *row;
    json_array_foreach(rows, r, row)
    {
        for (size_t i = 0; i < t->count; i++) {
            cell_shown(t->columns[i], json_object_get(row, t->columns[i]->key), cell);
            unsigned width = screen_measure(t->screen, cell);
            if (width > t->widths[i])
                t->widths[i] = width;
        }
    }
}

static bool gives_way(const struct table *t, size_t i)
{
    enum cell_kind kind = t->columns[i]->kind;
    return kind != CELL_TIME && kind != CELL_NUMBER && t->widths[i] > NARROWEST;
}

static void narrow(struct table *t)
{
    for (;;) {
        unsigned total = 0;
        size_t widest = t->count;
        for (size_t i = 0; i < t->count; i++) {
            total += t->widths[i] + (i ? GAP : 0);
            if (gives_way(t, i) && (widest == t->count || t->widths[i] > t->widths[widest]))
                widest = i;
        }
        if (t->screen->width == 0 || total <= t->screen->width || widest == t->count)
            return;
        t->widths[widest]--;
    }
}

static void put_long(const struct table *t, size_t column, const char *text)
{
    unsigned indent = 0;
    for (size_t i = 0; i < column; i++)
        indent += t->widths[i] + GAP;
    screen_put_long(t->screen, text, t->widths[column], indent);
}

static void put_cell(const struct table *t, size_t i, const char *text)
{
    if (t->columns[i]->kind == CELL_NUMBER)
        screen_cell_right(t->screen, text, t->widths[i]);
    else if (t->columns[i]->kind == CELL_LONG && i + 1 == t->count)
        put_long(t, i, text);
    else if (i + 1 < t->count)
        screen_cell(t->screen, text, t->widths[i]);
    else
        screen_put(t->screen, text, t->widths[i]); /* no spaces at the end of a line */
    if (i + 1 < t->count)
        screen_space(t->screen, GAP);
}

static void row_shown(const struct table *t, const json_t *row)
{
    char cell[CELL_BYTES_MAX];
    for (size_t i = 0; i < t->count; i++) {
        bool state = t->columns[i]->kind == CELL_STATE;
        cell_shown(t->columns[i], json_object_get(row, t->columns[i]->key), cell);
        if (state)
            screen_style(t->screen, screen_state_style(cell));
        put_cell(t, i, cell);
        if (state)
            screen_style(t->screen, STYLE_PLAIN);
    }
    screen_printf(t->screen, "\n");
}

static void header(const struct table *t)
{
    screen_style(t->screen, STYLE_BOLD);
    for (size_t i = 0; i < t->count; i++)
        put_cell(t, i, t->columns[i]->title);
    screen_style(t->screen, STYLE_PLAIN);
    screen_printf(t->screen, "\n");
}

void table_rows(struct table *t, const json_t *rows)
{
    size_t r;
    json_t *row;
    if (!t->plain && json_array_size(rows) > 0) {
        measure(t, rows);
        narrow(t);
        if (!t->begun)
            header(t);
        t->begun = true;
    }
    json_array_foreach(rows, r, row)
    {
        if (t->plain)
            row_plain(t, row);
        else
            row_shown(t, row);
    }
}
