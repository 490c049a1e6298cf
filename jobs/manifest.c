/* The manifest reader. It promises that a manifest it accepts is exactly what its author meant:
 * every byte is UTF-8, every column known, every row complete and unique; and that a file it
 * refuses is refused with every fault named.
 *
 * The file is cut into records here (a line break outside quotes ends one), which gives true line
 * numbers and finds blank lines; libcsv, in strict mode, parses each record. libcsv alone would
 * drop blank lines, trim spaces and keep a byte order mark. */
#include "jobs/manifest.h"

#include <csv.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "base/text.h"
#include "base/columns.h"
#include "jobs/seen.h"

struct cell {
    size_t at, len; /* in reader.cells */
};
struct reader {
    struct manifest *out;
    const char *default_group;
    struct csv_parser parser;
    uint64_t line; /* where the record begins */

    /* the header */
    const struct column *columns[ROW_FIELDS_MAX];
    char *names[ROW_FIELDS_MAX]; /* as written; attr.<key> keeps its key */
    size_t column_count;

    /* the record being read */
    struct buf cells;
    struct cell cell[ROW_FIELDS_MAX];
    size_t cell_count; /* may exceed ROW_FIELDS_MAX: the surplus is only counted */

    struct seen names_seen, hwids_seen;
    size_t offsets_capacity;
    struct err *e;
    bool has_name; /* the header has device_name */
    bool broken;   /* out of memory: stop */
};

/* Takes the text as it is, made printable: it holds values from the file. */
static void complain(struct manifest *m, uint64_t line, const char *column, char *text)
{
    struct manifest_error *error;

    m->errors_total++;
    if (m->error_count == MANIFEST_ERRORS_MAX)
        return;
    if (!m->errors)
        m->errors = calloc(MANIFEST_ERRORS_MAX, sizeof *m->errors);
    if (!m->errors)
        return;
    text_make_printable(text);
    error = &m->errors[m->error_count];
    error->row = line;
    error->column = strdup(column);
    error->reason = strdup(text);
    if (!error->column || !error->reason) {
        free(error->column);
        free(error->reason);
        *error = (struct manifest_error){0};
        return;
    }
    text_make_printable(error->column);
    m->error_count++;
}

/* Values are shown in messages, so they are cut. */
#define REASON_MAX 512

void manifest_complain(struct manifest *m, uint64_t line, const char *column, const char *fmt, ...)
{
    char text[REASON_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    complain(m, line, column, text);
}

static void report(struct reader *r, uint64_t line, const char *column, const char *fmt, ...)
        __attribute__((format(printf, 4, 5)));

static void report(struct reader *r, uint64_t line, const char *column, const char *fmt, ...)
{
    char text[REASON_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    complain(r->out, line, column, text);
}

static int by_line(const void *a, const void *b)
{
    const struct manifest_error *x = a, *y = b;

    return x->row < y->row ? -1 : x->row > y->row;
}

void manifest_sort_errors(struct manifest *m)
{
    if (m->error_count > 1)
        qsort(m->errors, m->error_count, sizeof *m->errors, by_line);
}

static const char *cell_text(const struct reader *r, size_t i)
{
    /* a line of nothing but empty cells has no bytes yet */
    return r->cells.data ? (const char *)r->cells.data + r->cell[i].at : "";
}

/* libcsv: one field. */
static void on_field(void *bytes, size_t len, void *ctx)
{
    struct reader *r = ctx;

    if (r->cell_count < ROW_FIELDS_MAX) {
        r->cell[r->cell_count] = (struct cell){.at = r->cells.len, .len = len};
        if (buf_append(&r->cells, bytes ? bytes : "", len, r->e) < 0)
            r->broken = true;
    }
    r->cell_count++;
}

/* No character is a space to us: names and values are taken as they are written. */
static int no_space(unsigned char c)
{
    (void)c;
    return 0;
}

static void read_header_cell(struct reader *r, size_t i)
{
    const char *name = cell_text(r, i);
    size_t len = r->cell[i].len;
    const struct column *c = column_find(name, len);

    r->names[i] = strndup(name, len);
    if (!r->names[i]) {
        r->broken = true;
        return;
    }
    r->columns[i] = c;
    if (!utf8_valid(name, len)) {
        report(r, r->line, "",
                "the name of column %zu is not UTF-8 text: save the file with the encoding UTF-8",
                i + 1);
    } else if (!c && len == 0) {
        report(r, r->line, "", "column %zu has no name: name it or remove it", i + 1);
    } else if (!c) {
        const char *nearest = column_nearest(name, len);
        report(r, r->line, r->names[i],
                nearest ? "unknown column; is '%s' meant?"
                        : "unknown column; write attr.<key> for an attribute%.0s",
                nearest ? nearest : "");
    }
    for (size_t k = 0; k < i; k++)
        if (r->names[k] && strcmp(r->names[k], r->names[i]) == 0)
            report(r, r->line, r->names[i], "this column stands twice: remove one");
}

static void read_header(struct reader *r)
{
    if (r->cell_count > ROW_FIELDS_MAX) {
        report(r, r->line, "", "%zu columns; at most %u are read", r->cell_count, ROW_FIELDS_MAX);
        r->cell_count = ROW_FIELDS_MAX;
    }
    r->column_count = r->cell_count;
    for (size_t i = 0; i < r->column_count && !r->broken; i++) {
        read_header_cell(r, i);
        r->has_name =
                r->has_name || (r->columns[i] && strcmp(r->columns[i]->name, "device_name") == 0);
    }
    if (!r->has_name)
        report(r, r->line, "device_name", "the header has no column device_name: add it");
}

/* A text that may stand in this file once. */
static void check_unique(struct reader *r, struct seen *seen, const char *column, const char *bytes,
        size_t len, const char *what)
{
    uint64_t first;

    if (seen_add(seen, bytes, len, r->line, &first, r->e) < 0)
        r->broken = true;
    else if (first)
        report(r, r->line, column, "%s stands twice: also on line %llu", what,
                (unsigned long long)first);
}

static void check_identity(struct reader *r, const struct row *row)
{
    const struct row_field *name = row_get(row, "device_name"),
                           *group = row_get(row, "device_group"), *hwid = row_get(row, "hwid");
    char key[2 * NAME_BYTES_MAX + 2], what[NAME_BYTES_MAX + 32];

    if (!name && r->has_name)
        report(r, r->line, "device_name", "is empty: every device needs a name");
    if (!group)
        report(r, r->line, "device_group",
                "no group: fill the column device_group, or name one with --group");
    if (name && group && name->value_len <= NAME_BYTES_MAX && group->value_len <= NAME_BYTES_MAX) {
        int len = snprintf(key, sizeof key, "%.*s/%.*s", (int)group->value_len, group->value,
                (int)name->value_len, name->value);
        snprintf(what, sizeof what, "device_name '%.*s'", (int)name->value_len, name->value);
        check_unique(r, &r->names_seen, "device_name", key, (size_t)len, what);
    }
    if (hwid && hwid->value_len <= HWID_BYTES_MAX) {
        snprintf(what, sizeof what, "hwid '%.*s'", (int)hwid->value_len, hwid->value);
        check_unique(r, &r->hwids_seen, "hwid", hwid->value, hwid->value_len, what);
    }
}

/* Room for one more row: offsets holds rows + 1, lines and leaves rows. */
static int reserve_row(struct reader *r)
{
    struct manifest *m = r->out;
    size_t capacity = r->offsets_capacity ? 2 * r->offsets_capacity : 4096;
    size_t *offsets;
    struct merkle_hash *leaves;
    uint32_t *lines;

    if (m->rows + 1 < r->offsets_capacity)
        return 0;
    offsets = reallocarray(m->offsets, capacity, sizeof *offsets);
    if (offsets)
        m->offsets = offsets;
    leaves = reallocarray(m->leaves, capacity, sizeof *leaves);
    if (leaves)
        m->leaves = leaves;
    lines = reallocarray(m->lines, capacity, sizeof *lines);
    if (lines)
        m->lines = lines;
    if (!offsets || !leaves || !lines)
        return err_set(r->e, ERR_NOMEM, "no memory for %llu rows", (unsigned long long)m->rows);
    r->offsets_capacity = capacity;
    return 0;
}

static int store_row(struct reader *r, struct row *row)
{
    struct manifest *m = r->out;
    struct err e = {0};
    size_t at = m->encoded.len;

    if (m->rows == MANIFEST_ROWS_MAX)
        return err_set(
                r->e, ERR_LIMIT, "the manifest has more than %u rows: split it", MANIFEST_ROWS_MAX);
    if (reserve_row(r) < 0)
        return -1;
    if (row_encode(row, &m->encoded, &e) < 0) {
        if (e.id == ERR_NOMEM) {
            *r->e = e;
            return -1;
        }
        m->encoded.len = at;
        report(r, r->line, "", "%s", e.msg);
        return 0;
    }
    m->offsets[m->rows] = at;
    m->lines[m->rows] = (uint32_t)r->line; /* at most MANIFEST_BYTES_MAX */
    merkle_leaf(m->encoded.data + at, m->encoded.len - at, &m->leaves[m->rows]);
    m->rows++;
    m->offsets[m->rows] = m->encoded.len;
    return 0;
}

static void read_row(struct reader *r)
{
    struct row row = {0};
    uint64_t before = r->out->errors_total;

    if (r->cell_count != r->column_count) {
        report(r, r->line, "", "%zu fields, but the header has %zu columns", r->cell_count,
                r->column_count);
        return;
    }
    for (size_t i = 0; i < r->column_count; i++) {
        const char *value = cell_text(r, i);
        size_t len = r->cell[i].len;
        const char *fault;

        if (!r->columns[i])
            continue; /* the header's fault is reported already */
        fault = column_check(r->columns[i], value, len);
        if (fault)
            report(r, r->line, r->names[i],
                    len > r->columns[i]->max ? "%s: at most %zu bytes" : "%s%.0zu", fault,
                    r->columns[i]->max);
        /* A column named twice is the header's fault, too. */
        else if (row_add(&row, r->names[i], strlen(r->names[i]), value, len, NULL) < 0 &&
                 r->out->errors_total == 0)
            report(r, r->line, r->names[i], "more than %u fields have a value", ROW_FIELDS_MAX);
    }
    if (!row_get(&row, "device_group") && *r->default_group)
        row_add(&row, "device_group", strlen("device_group"), r->default_group,
                strlen(r->default_group), NULL);
    if (r->out->errors_total > before)
        return; /* a refused cell must not be reported again as a missing one */
    check_identity(r, &row);
    if (!r->broken && store_row(r, &row) < 0)
        r->broken = true;
}

static void on_record(int terminator, void *ctx)
{
    struct reader *r = ctx;

    (void)terminator;
    if (r->broken)
        return;
    if (r->column_count == 0)
        read_header(r);
    else
        read_row(r);
    buf_reset(&r->cells);
    r->cell_count = 0;
}

/* One record with its line break. */
static void parse_record(struct reader *r, const char *text, size_t len, bool last)
{
    bool bad = csv_parse(&r->parser, text, len, on_field, on_record, r) != len;

    if (!bad && last)
        bad = csv_fini(&r->parser, on_field, on_record, r) != 0;
    if (!bad)
        return;
    report(r, r->line, "",
            csv_error(&r->parser) == CSV_EPARSE
                    ? "the quotes are not closed, or stand in the middle of a field: double a "
                      "quote inside a quoted field"
                    : "cannot be parsed: too large");
    r->broken = r->broken || csv_error(&r->parser) != CSV_EPARSE;
    csv_free(&r->parser);
    csv_init(&r->parser, CSV_STRICT | CSV_STRICT_FINI);
    csv_set_space_func(&r->parser, no_space);
    buf_reset(&r->cells);
    r->cell_count = 0;
}

/* The length of the record at text, its line break included; ret_lines counts the lines it spans.
 */
static size_t record_length(const char *text, size_t len, uint64_t *ret_lines)
{
    bool quoted = false;
    uint64_t lines = 0;
    size_t i;

    for (i = 0; i < len; i++) {
        char c = text[i];
        if (c == '"')
            quoted = !quoted;
        if (c != '\n' && c != '\r')
            continue;
        if (c == '\r' && i + 1 < len && text[i + 1] == '\n')
            i++;
        lines++;
        if (!quoted) {
            i++;
            break;
        }
    }
    *ret_lines = lines ? lines : 1;
    return i;
}

static void parse_text(struct reader *r, const char *text, size_t len)
{
    size_t at = 0;

    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        at = 3;
    r->line = 1;
    while (at < len && !r->broken) {
        uint64_t lines;
        size_t record = record_length(text + at, len - at, &lines);
        bool blank = text[at] == '\n' || text[at] == '\r';

        if (blank && at + record < len)
            report(r, r->line, "", "blank line: remove it");
        else if (!blank)
            parse_record(r, text + at, record, at + record == len);
        at += record;
        r->line += lines;
    }
}

static int read_whole(int fd, struct buf *out, struct err *e)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return err_set_errno(e, errno, "manifest");
    if (S_ISDIR(st.st_mode))
        return err_set(e, ERR_ARGUMENT, "the manifest is a directory: name the CSV file in it");
    if (S_ISREG(st.st_mode) && st.st_size > (off_t)MANIFEST_BYTES_MAX)
        goto too_large;
    for (;;) {
        uint8_t *at;
        ssize_t n;

        if (buf_reserve(out, 1u << 16, &at, e) < 0)
            return -1;
        n = read(fd, at, 1u << 16);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(e, errno, "reading the manifest");
        if (n == 0)
            return 0;
        out->len += (size_t)n;
        if (out->len > MANIFEST_BYTES_MAX)
            goto too_large;
    }
too_large:
    return err_set(e, ERR_LIMIT, "the manifest is larger than %u MB: split it into several jobs",
            MANIFEST_BYTES_MAX / 1000000);
}

static int finish(struct manifest *m, const struct buf *text, struct err *e)
{
    struct merkle_range range = {0};
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len;

    for (uint64_t i = 0; i < m->rows; i++)
        merkle_range_add(&range, &m->leaves[i]);
    merkle_range_root(&range, &m->root);
    if (EVP_Digest(text->data ? text->data : (const uint8_t *)"", text->len, digest, &len,
                EVP_sha256(), NULL) != 1)
        return err_set(e, ERR_NOMEM, "cannot digest the manifest");
    hex_format(digest, len, m->sha256);
    return 0;
}

int manifest_read(int fd, const struct manifest_options *o, struct manifest *ret, struct err *e)
{
    struct reader r = {
            .out = ret, .default_group = o->default_group ? o->default_group : "", .e = e};
    struct buf text = BUF_INIT;
    int rc = -1;

    *ret = (struct manifest){0};
    if (csv_init(&r.parser, CSV_STRICT | CSV_STRICT_FINI) != 0) {
        err_set(e, ERR_NOMEM, "no memory for the manifest");
        goto out;
    }
    csv_set_space_func(&r.parser, no_space);
    if (read_whole(fd, &text, e) < 0)
        goto out;
    parse_text(&r, (const char *)text.data, text.len);
    if (r.broken) {
        err_set(e, ERR_NOMEM, "no memory to read the manifest");
        goto out;
    }
    if (r.column_count == 0 && ret->errors_total == 0)
        report(&r, 0, "", "the file is empty: the first line is the header, e.g. device_name,hwid");
    else if (ret->rows == 0 && ret->errors_total == 0)
        report(&r, 0, "", "the file has a header but no row: add a row for each device");
    if (finish(ret, &text, e) < 0)
        goto out;
    if (ret->errors_total) {
        err_set(e, ERR_MANIFEST, "%llu fault%s in the manifest",
                (unsigned long long)ret->errors_total, ret->errors_total == 1 ? "" : "s");
        goto out;
    }
    rc = 0;
out:
    csv_free(&r.parser);
    buf_done(&text);
    buf_done(&r.cells);
    for (size_t i = 0; i < ROW_FIELDS_MAX; i++)
        free(r.names[i]);
    seen_done(&r.names_seen);
    seen_done(&r.hwids_seen);
    return rc;
}

void manifest_done(struct manifest *m)
{
    for (size_t i = 0; i < m->error_count; i++) {
        free(m->errors[i].column);
        free(m->errors[i].reason);
    }
    free(m->errors);
    free(m->offsets);
    free(m->lines);
    free(m->leaves);
    buf_done(&m->encoded);
    *m = (struct manifest){0};
}
