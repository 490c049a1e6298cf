/* Appends events, and the outbox records made from them. Never changes or removes one. */
#include "jobs/event.h"

#include <stdlib.h>
#include <string.h>

#include "jobs/json.h"
#include "jobs/outbox.h"
#include "jobs/registry.h"

static int leaf_of(
        const struct event *ev, int64_t seq, json_t *data, struct merkle_hash *ret, struct err *e)
{
    json_t *o = NULL;
    char *text = NULL;
    int r = -1;
    if (json_made(json_pack("{s:s, s:O, s:I, s:s, s:I, s:s}", "actor", ev->actor, "data", data,
                          "seq", (json_int_t)seq, "subject", ev->subject, "time",
                          (json_int_t)ev->time, "type", ev->type),
                &o, e) ||
            json_format(o, &text, e))
        goto out;
    merkle_leaf(text, strlen(text), ret);
    r = 0;
out:
    free(text);
    json_decref(o);
    return r;
}

int event_add(
        struct registry *r, const struct event *ev, json_t *data, int64_t *ret_seq, struct err *e)
{
    struct merkle_hash leaf;
    char *text = NULL;
    int64_t seq;
    int result = -1;
    if (registry_number(r, e, &seq, "SELECT coalesce(max(seq), 0) + 1 FROM event") ||
            leaf_of(ev, seq, data, &leaf, e) || json_format(data, &text, e))
        goto out;
    result = registry_run(r, e,
            "INSERT INTO event (seq, time, actor, type, subject, data, leaf)"
            " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            BIND_INT(seq), BIND_INT(ev->time), BIND_TEXT(ev->actor), BIND_TEXT(ev->type),
            BIND_TEXT(ev->subject), BIND_TEXT(text), BIND_BLOB(leaf.bytes, sizeof leaf.bytes));
    if (result == 0 && ret_seq)
        *ret_seq = seq;
out:
    free(text);
    return result;
}

int event_add_record(struct registry *r, const struct site *s, const struct event *ev, json_t *data,
        int64_t device, struct err *e)
{
    int64_t seq;
    if (event_add(r, ev, data, &seq, e))
        return -1;
    return outbox_add(r, s, ev, seq, data, device, e);
}
