/* Columns and errors as JSON. jansson answers NULL for whatever fails, and its builders take NULL,
 * so one check at the end (json_made) is enough. */
#include "jobs/json.h"

#include <stdlib.h>

#include "base/text.h"
#include "jobs/registry.h"

json_t *json_time(int64_t unix_ms)
{
    char text[TIME_TEXT_MAX];
    time_format(unix_ms, text);
    return json_string(text);
}

json_t *json_time_column(const struct query *q, int column)
{
    return query_null(q, column) ? json_null() : json_time(query_int(q, column));
}

json_t *json_text_column(const struct query *q, int column)
{
    return json_string(query_text(q, column));
}

json_t *json_text_or_null(const struct query *q, int column)
{
    return query_null(q, column) ? json_null() : json_text_column(q, column);
}

json_t *json_hex_column(const struct query *q, int column)
{
    char text[2 * 64 + 1];
    size_t len;
    const void *bytes = query_blob(q, column, &len);
    hex_format(bytes, len < 64 ? len : 64, text);
    return json_string(text);
}

json_t *json_error(const struct err *e)
{
    if (!e || e->id == ERR_NONE)
        return json_null();
    return json_pack(
            "{s:s, s:s, s:s}", "name", err_name(e->id), "message", e->msg, "hint", err_hint(e->id));
}

int json_made(json_t *made, json_t **ret, struct err *e)
{
    *ret = made;
    return made ? 0 : err_set(e, ERR_NOMEM, "no memory for an answer");
}

int json_format(const json_t *value, char **ret, struct err *e)
{
    *ret = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    return *ret ? 0 : err_set(e, ERR_NOMEM, "no memory for an answer");
}
