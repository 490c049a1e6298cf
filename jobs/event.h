/* The audit's events. Every one is a leaf of the log to come: its canonical bytes are the compact JSON, keys sorted, of
 * {"actor","data","seq","subject","time","type"}, and their leaf hash (RFC 6962) is stored beside it. */
#pragma once
#include <stdint.h>
#include <jansson.h>
#include "base/err.h"
#include "base/merkle.h"

struct registry;
struct site;

struct event {
    const char *actor;   /* "uid 0", "slot 01", "jobd" */
    const char *type;    /* "device.registered" */
    const char *subject; /* the UUID or name it is about */
    int64_t time;        /* Unix milliseconds */
};
/* data: an object, borrowed. */
int event_add(
        struct registry *r, const struct event *ev, json_t *data, int64_t *ret_seq, struct err *e);
/* The same, and a record for upstream with the same members. device: its row, or 0. */
int event_add_record(struct registry *r, const struct site *s, const struct event *ev, json_t *data,
        int64_t device, struct err *e);
