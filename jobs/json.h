/* What the answers' JSON is made of, beside jansson. */
#pragma once
#include <stdint.h>
#include <jansson.h>
#include "base/err.h"

struct query;

json_t *json_time(int64_t unix_ms);                           /* RFC 3339 */
json_t *json_time_column(const struct query *q, int column);  /* null for NULL */
json_t *json_text_column(const struct query *q, int column);  /* "" for NULL */
json_t *json_text_or_null(const struct query *q, int column); /* null for NULL */
json_t *json_hex_column(const struct query *q, int column);   /* of a blob */
json_t *json_error(const struct err *e); /* {"name","message","hint"}, null for none */
/* An object or array that a chain of jansson calls built, or ERR_NOMEM when one of them failed. Takes made. */
int json_made(json_t *made, json_t **ret, struct err *e);
/* The compact text, keys sorted: one object has one text. malloc'd. */
int json_format(const json_t *value, char **ret, struct err *e);
