/* Device groups. Every device belongs to exactly one, from registration on. */
#pragma once
#include <stdint.h>
#include <jansson.h>
#include "base/err.h"

struct registry;

/* {"group":{..}}. ERR_ARGUMENT for a name that is none, ERR_EXISTS. */
int group_add(struct registry *r, const char *actor, const char *name, const char *description,
        json_t **ret, struct err *e);
int group_list(struct registry *r, json_t **ret, struct err *e);
/* ERR_NOT_FOUND, with the command that adds it. */
int group_find(struct registry *r, const char *name, int64_t *ret, struct err *e);
