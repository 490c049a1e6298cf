/* Lists of objects: aligned for people, or with --columns tab-separated for scripts. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include "station/cli/screen.h"

struct err;

/* Where the terminal is narrow, times and numbers stay whole, and a CELL_LONG, which is the last column, goes on in further
 * lines; every other text is cut. */
enum cell_kind { CELL_TEXT, CELL_NUMBER, CELL_TIME, CELL_STATE, CELL_YES, CELL_LONG };
struct table_column {
    const char *key;   /* the member's name, and its name in --columns */
    const char *title; /* NULL: only when asked for by --columns */
    enum cell_kind kind;
    const char *
            room; /* NULL, or a text that fits: where later rows have longer texts than the first ones */
};
#define TABLE_COLUMNS_MAX 20
#define CELL_BYTES_MAX    1024

struct table {
    const struct screen *screen;
    const struct table_column *columns[TABLE_COLUMNS_MAX];
    unsigned widths[TABLE_COLUMNS_MAX];
    size_t count;
    bool plain, begun;
};
/* columns: an array of n. chosen: the value of --columns or NULL. CLI_USAGE with e set when it names what is not there. */
int table_init(struct table *t, const struct screen *s, const struct table_column *columns,
        size_t n, const char *chosen, struct err *e);
/* May be called again with further rows: widths only grow. */
void table_rows(struct table *t, const json_t *rows);
/* The value as scripts get it: text as it is, numbers in digits, null as "". */
void cell_raw(const json_t *v, char out[CELL_BYTES_MAX]);
