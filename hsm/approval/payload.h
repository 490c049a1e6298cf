/* Members of what approvers sign (jws.h): read one by one, each in the one form it may have. All of it is ERR_TICKET. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

/* An object whose "v" is this version. */
int payload_version(json_t *o, int64_t version, struct err *e);
/* An object that has no members but these. */
int payload_members(json_t *o, const char *const *members, size_t count, struct err *e);
/* 1 to cap - 1 bytes, none of them zero. */
int payload_text(json_t *o, const char *key, char *out, size_t cap, struct err *e);
int payload_number(json_t *o, const char *key, int64_t min, int64_t *ret, struct err *e);
int payload_flag(json_t *o, const char *key, bool *ret, struct err *e);
