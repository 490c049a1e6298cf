/* Device groups: made by a person before the first manifest names them, so that a typing mistake in
 * a manifest never makes a group of its own. */
#include "jobs/group.h"

#include <string.h>

#include "base/text.h"
#include "jobs/event.h"
#include "jobs/json.h"
#include "jobs/registry.h"

#define DESCRIPTION_MAX 1024

static int check(const char *name, const char *description, struct err *e)
{
    if (!name_valid(name, strlen(name)))
        return err_set(e, ERR_ARGUMENT,
                "a group's name takes 1 to %u bytes without '/', control characters or spaces at "
                "its ends",
                NAME_BYTES_MAX);
    if (strlen(description) > DESCRIPTION_MAX || !utf8_valid(description, strlen(description)))
        return err_set(e, ERR_ARGUMENT, "a group's description takes at most %d bytes of UTF-8",
                DESCRIPTION_MAX);
    return 0;
}

int group_add(struct registry *r, const char *actor, const char *name, const char *description,
        json_t **ret, struct err *e)
{
    const struct event ev = {
            .actor = actor, .type = "group.added", .subject = name, .time = time_now_ms()};
    json_t *data = NULL;
    int changes, result = -1;
    if (check(name, description, e) ||
            registry_run_counted(r, e, &changes,
                    "INSERT INTO device_group (name, description, created) VALUES (?1, ?2, ?3)"
                    " ON CONFLICT (name) DO NOTHING",
                    BIND_TEXT(name), BIND_TEXT(description), BIND_INT(ev.time)))
        return -1;
    if (!changes)
        return err_set(e, ERR_EXISTS, "there is a group '%s' already", name);
    if (json_made(json_pack("{s:s, s:s}", "name", name, "description", description), &data, e) ==
                    0 &&
            event_add(r, &ev, data, NULL, e) == 0)
        result = json_made(json_pack("{s:{s:s, s:s, s:o}}", "group", "name", name, "description",
                                   description, "created", json_time(ev.time)),
                ret, e);
    json_decref(data);
    return result;
}

int group_list(struct registry *r, json_t **ret, struct err *e)
{
    struct query q;
    json_t *groups = json_array();
    int n;
    if (query_open(&q, r, e,
                "SELECT name, description, created, coalesce(n, 0) FROM device_group g"
                " LEFT JOIN (SELECT device_group, count(*) AS n FROM device"
                "   WHERE state <> 'Deleted' GROUP BY device_group) d ON d.device_group = g.id"
                " ORDER BY name")) {
        json_decref(groups);
        return -1;
    }
    while ((n = query_next(&q, e)) > 0)
        (void)json_array_append_new(
                groups, json_pack("{s:o, s:o, s:o, s:I}", "name", json_text_column(&q, 0),
                                "description", json_text_column(&q, 1), "created",
                                json_time_column(&q, 2), "devices", (json_int_t)query_int(&q, 3)));
    query_done(&q);
    if (n < 0) {
        json_decref(groups);
        return -1;
    }
    return json_made(json_pack("{s:o}", "groups", groups), ret, e);
}

int group_find(struct registry *r, const char *name, int64_t *ret, struct err *e)
{
    struct err cause = {0};
    if (registry_number(r, &cause, ret, "SELECT id FROM device_group WHERE name = ?1",
                BIND_TEXT(name)) == 0)
        return 0;
    if (cause.id == ERR_NOT_FOUND)
        return err_set(e, ERR_NOT_FOUND,
                "there is no group '%s': add it with 'keyline group add %s'", name, name);
    return err_set_code(e, cause.id, cause.code, "%s", cause.msg);
}
