/* Value templates of a profile: text with columns in braces, "{device_name}.example.com".
 *   {column}    the row must have it
 *   {column?}   the template is passed over when the row lacks it
 *   {column??}  and also when the filled template does not fit where it should stand
 * Columns are those of a manifest (base/columns.h) that hold a value, and device_id. In the addresses of a CA the only one is
 * ca_key_id, its subjectKeyIdentifier in lower-case hex. There is no escape: a brace is always a column's. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct err;
struct row;

enum template_scope { TEMPLATE_OF_DEVICE, TEMPLATE_OF_CA };

struct template_source {
    const struct row *row; /* NULL: none */
    const char *device_id; /* NULL: none */
    const char *ca_key_id;
};
struct template_text {
    char *text; /* where the next value goes */
    size_t room;
};

/* ERR_PROFILE when it is not a template of this scope; the message names the column. */
int template_check(const char *t, enum template_scope scope, struct err *e);
/* Whether the template has that column. */
bool template_has(const char *t, const char *column, size_t len);
/* Whether a column is marked "??". */
bool template_may_misfit(const char *t);
/* 1: filled, and `out` is advanced past *ret; 0: passed over; -1: ERR_PROFILE for a column that must be there, ERR_LIMIT. The
 * value is NOT NUL-terminated. */
int template_fill(const char *t, const struct template_source *s, struct template_text *out,
        const char **ret, size_t *ret_len, struct err *e);
