/* The result file: RFC 4180, UTF-8, a header, every field quoted. It appears under its name only when it is complete
 * and on disk. Spreadsheets run a cell that begins with = + - or @ as a formula, and names come from devices: such a
 * cell gets an apostrophe in front, which spreadsheets take as "this is text". Programs that need the very bytes read
 * --json. */
#pragma once
#include <jansson.h>
#include <stddef.h>
#include "base/err.h"
#include "station/cli/table.h"

struct csv_file;

/* path "-": standard output. */
int csv_file_open(const char *path, const struct table_column *columns, size_t count,
        struct csv_file **ret, struct err *e);
int csv_file_row(struct csv_file *f, const struct table_column *columns, size_t count,
        const json_t *row, struct err *e);
int csv_file_commit(struct csv_file *f, struct err *e);
/* Without a commit before, nothing is left behind. */
void csv_file_close(struct csv_file **f);
