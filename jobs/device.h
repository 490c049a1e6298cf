/* Devices as people look at them. */
#pragma once
#include <stdint.h>
#include <jansson.h>
#include "base/err.h"
#include "hsm/profile/profile.h"

struct buf;
struct registry;

#define DEVICE_PAGE_MAX 1000 /* rows of one answer: about 300 KB of JSON */

struct device_filter {
    int64_t job;       /* 0: any */
    const char *group; /* NULL or "": any */
    const char *state; /* NULL or "": every device that is not deleted */
    const char *name;  /* NULL or "": any; else a prefix */
};
/* {"devices":[DEVICE],"next":cursor or null}. cursor: "" to begin. limit 0: the largest page. */
int device_list(struct registry *r, const struct device_filter *f, const char *cursor,
        unsigned limit, json_t **ret, struct err *e);
/* text: device ID, "group/name", name unique in the registry, or hwid. ERR_NOT_FOUND, ERR_ARGUMENT. */
int device_find(struct registry *r, const char *text, int64_t *ret, struct err *e);
int device_json(struct registry *r, int64_t device, json_t **ret, struct err *e); /* DEVICE */
/* Its canonical row (base/row.h), appended. */
int device_row(struct registry *r, int64_t device, struct buf *ret, struct err *e);
/* The name of the certificate profile of the job that it is in. */
int device_profile(
        struct registry *r, int64_t device, char ret[PROFILE_NAME_MAX + 1], struct err *e);
/* DEVICE, its row, certificates and runs; text as above. */
int device_show(struct registry *r, const char *text, json_t **ret, struct err *e);
