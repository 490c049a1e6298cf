/* Lists and the page of one device. Reads only. */
#include "jobs/device.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/row.h"
#include "base/text.h"
#include "base/uuid.h"
#include "jobs/certificate.h"
#include "jobs/json.h"
#include "jobs/registry.h"
#include "jobs/states.h"

#define DEVICE_COLUMNS                                                                             \
    "SELECT d.id, d.row_index, d.uuid, d.name, g.name, d.state, d.status, d.hwid, j.uuid,"         \
    " (SELECT serial FROM certificate c WHERE c.device = d.id AND c.state = 'valid'),"             \
    " EXISTS (SELECT 1 FROM outbox o JOIN batch b"                                                 \
    "   ON b.first = (SELECT max(first) FROM batch WHERE first <= o.record)"                       \
    "   WHERE o.record = (SELECT max(record) FROM outbox WHERE device = d.id)"                     \
    "   AND o.record <= b.last AND b.state = 'acknowledged'),"                                     \
    " d.updated, j.name FROM device d JOIN device_group g ON g.id = d.device_group"                \
    " JOIN job j ON j.id = d.job "
/* NULL: not asked for. ?4 is the first name behind the prefix ?3. */
#define DEVICE_FILTER                                                                              \
    "AND (?2 IS NULL OR g.name = ?2) AND (?3 IS NULL OR (d.name >= ?3 AND d.name < ?4))"           \
    " AND CASE WHEN ?5 IS NULL THEN d.state <> 'Deleted' ELSE d.state = ?5 END "

/* Of one job in the order of its rows; else in the order of registration: both walk an index from
 * the cursor on. */
static const char list_of_job[] = DEVICE_COLUMNS
        "WHERE d.job = ?1 AND d.row_index > ?6 " DEVICE_FILTER "ORDER BY d.row_index LIMIT ?7";
static const char list_of_all[] =
        DEVICE_COLUMNS "WHERE d.id > ?6 AND ?1 = 0 " DEVICE_FILTER "ORDER BY d.id LIMIT ?7";

static json_t *device_row_json(const struct query *q)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o, s:o}", "id",
            json_text_column(q, 2), "name", json_text_column(q, 3), "group", json_text_column(q, 4),
            "state", json_text_column(q, 5), "status", json_text_column(q, 6), "hwid",
            json_text_column(q, 7), "job", json_text_column(q, 8), "serial", json_text_column(q, 9),
            "synced", (int)query_int(q, 10), "updated", json_time_column(q, 11), "job_name",
            json_text_column(q, 12));
}

/* ---- lists */

static int check_state(const char *state, struct err *e)
{
    for (unsigned i = 0; i < DEVICE_STATE_COUNT; i++)
        if (strcmp(state, device_state_name(i)) == 0)
            return 0;
    return err_set(e, ERR_ARGUMENT,
            "state: '%.40s' is none of Enrolled, Registered, Provisioned, Deleted", state);
}

/* The bytes after every text with this prefix: UTF-8 has no byte 0xFF. */
static int prefix_end(const char *prefix, char out[NAME_BYTES_MAX + 2], struct err *e)
{
    size_t len = strlen(prefix);
    if (len > NAME_BYTES_MAX)
        return err_set(e, ERR_ARGUMENT, "name: longer than any name");
    memcpy(out, prefix, len);
    out[len] = '\xff';
    out[len + 1] = '\0';
    return 0;
}

static int parse_cursor(const char *cursor, int64_t *ret, struct err *e)
{
    uint64_t n;
    if (!*cursor) {
        *ret = -1;
        return 0;
    }
    if (text_parse_u64(cursor, &n) || n > INT64_MAX)
        return err_set(e, ERR_ARGUMENT, "the cursor is not one that this list gave");
    *ret = (int64_t)n;
    return 0;
}

static const char *given(const char *text)
{
    return text && *text ? text : NULL;
}

int device_list(struct registry *r, const struct device_filter *f, const char *cursor,
        unsigned limit, json_t **ret, struct err *e)
{
    char end[NAME_BYTES_MAX + 2] = "", next[24] = "";
    unsigned page = limit && limit < DEVICE_PAGE_MAX ? limit : DEVICE_PAGE_MAX, count = 0;
    const char *sql = f->job ? list_of_job : list_of_all;
    struct query q;
    int64_t after = 0;
    int n;
    if (parse_cursor(cursor, &after, e) || (given(f->state) && check_state(f->state, e)) ||
            (given(f->name) && prefix_end(f->name, end, e)) ||
            query_open(&q, r, e, sql, BIND_INT(f->job), BIND_TEXT(given(f->group)),
                    BIND_TEXT(given(f->name)), BIND_TEXT(end), BIND_TEXT(given(f->state)),
                    BIND_INT(after), BIND_INT(page + 1)))
        return -1;
    json_t *devices = json_array();
    while ((n = query_next(&q, e)) > 0 && count++ < page) {
        (void)json_array_append_new(devices, device_row_json(&q));
        snprintf(next, sizeof next, "%" PRId64, query_int(&q, f->job ? 1 : 0));
    }
    query_done(&q);
    if (n < 0) {
        json_decref(devices);
        return -1;
    }
    return json_made(
            json_pack("{s:o, s:s?}", "devices", devices, "next", n > 0 ? next : NULL), ret, e);
}

/* ---- one device */

static int find(struct registry *r, const char *sql, const char *a, const char *b, int64_t *ret,
        struct err *e)
{
    struct query q;
    int n, count = 0;
    if (query_open(&q, r, e, sql, BIND_TEXT(a), BIND_TEXT(b)))
        return -1;
    while ((n = query_next(&q, e)) > 0) {
        if (count++ == 0)
            *ret = query_int(&q, 0);
    }
    query_done(&q);
    return n < 0 ? -1 : count;
}

int device_find(struct registry *r, const char *text, int64_t *ret, struct err *e)
{
    static const char by_uuid[] = "SELECT id FROM device WHERE uuid = ?1 AND state <> 'Deleted'"
                                  " AND ?2 IS NULL";
    static const char by_path[] = "SELECT d.id FROM device d JOIN device_group g"
                                  " ON g.id = d.device_group WHERE d.name = ?1 AND g.name = ?2"
                                  " AND d.state <> 'Deleted'";
    static const char by_name[] = "SELECT id FROM device WHERE name = ?1 AND state <> 'Deleted'"
                                  " AND ?2 IS NULL LIMIT 2";
    static const char by_hwid[] = "SELECT id FROM device WHERE hwid = ?1 AND state <> 'Deleted'"
                                  " AND ?2 IS NULL";
    char group[NAME_BYTES_MAX + 1];
    const char *slash = strchr(text, '/');
    int n = uuid_valid(text) ? find(r, by_uuid, text, NULL, ret, e) : 0;
    if (n == 0 && slash && (size_t)(slash - text) < sizeof group) {
        memcpy(group, text, (size_t)(slash - text));
        group[slash - text] = '\0';
        n = find(r, by_path, slash + 1, group, ret, e);
    }
    if (n == 0)
        n = find(r, by_name, text, NULL, ret, e);
    if (n > 1)
        return err_set(
                e, ERR_ARGUMENT, "several groups have a device '%s': write GROUP/%s", text, text);
    if (n == 0)
        n = find(r, by_hwid, text, NULL, ret, e);
    if (n == 0)
        return err_set(e, ERR_NOT_FOUND, "there is no device '%.200s'", text);
    return n < 0 ? -1 : 0;
}

int device_json(struct registry *r, int64_t device, json_t **ret, struct err *e)
{
    struct query q;
    if (query_open(&q, r, e, DEVICE_COLUMNS "WHERE d.id = ?1", BIND_INT(device)))
        return -1;
    int n = query_next(&q, e);
    if (n > 0)
        n = json_made(device_row_json(&q), ret, e);
    else if (n == 0)
        n = err_set(e, ERR_NOT_FOUND, "there is no such device");
    query_done(&q);
    return n;
}

static json_t *row_json(const struct row *row)
{
    json_t *o = json_object();
    for (size_t i = 0; i < row->count; i++) {
        const struct row_field *f = &row->fields[i];
        char key[NAME_BYTES_MAX + 1];
        size_t len = f->key_len < sizeof key ? f->key_len : sizeof key - 1;
        memcpy(key, f->key, len);
        key[len] = '\0';
        (void)json_object_set_new(o, key, json_stringn(f->value, f->value_len));
    }
    return o;
}

int device_profile(
        struct registry *r, int64_t device, char ret[PROFILE_NAME_MAX + 1], struct err *e)
{
    struct query q;
    if (query_open(&q, r, e,
                "SELECT j.profile FROM device d JOIN job j ON j.id = d.job WHERE d.id = ?1",
                BIND_INT(device)))
        return -1;
    int n = query_next(&q, e);
    if (n > 0)
        snprintf(ret, PROFILE_NAME_MAX + 1, "%s", query_text(&q, 0));
    else if (n == 0)
        n = err_set(e, ERR_STORE, "a device's job is missing in the registry");
    query_done(&q);
    return n > 0 ? 0 : -1;
}

int device_row(struct registry *r, int64_t device, struct buf *ret, struct err *e)
{
    struct query q;
    if (query_open(&q, r, e, "SELECT row FROM job_row WHERE device = ?1", BIND_INT(device)))
        return -1;
    int n = query_next(&q, e);
    if (n > 0) {
        size_t len;
        const void *bytes = query_blob(&q, 0, &len);
        n = buf_append(ret, bytes, len, e) ? -1 : 1;
    } else if (n == 0) {
        n = err_set(e, ERR_STORE, "a device's row is missing in the registry");
    }
    query_done(&q);
    return n < 0 ? -1 : 0;
}

static int show_row(struct registry *r, int64_t device, json_t **ret, struct err *e)
{
    struct buf bytes = BUF_INIT;
    struct row row = {.count = 0};
    int n = device_row(r, device, &bytes, e);
    if (n == 0)
        n = row_decode(bytes.data, bytes.len, &row, e);
    if (n == 0)
        n = json_made(row_json(&row), ret, e);
    buf_done(&bytes);
    return n;
}

static int show_runs(struct registry *r, int64_t device, json_t **ret, struct err *e)
{
    struct query q;
    int n;
    if (query_open(&q, r, e,
                "SELECT uuid, slot, attempt, step, started, ended, error, message FROM run"
                " WHERE device = ?1 ORDER BY id DESC LIMIT 100",
                BIND_INT(device)))
        return -1;
    json_t *runs = json_array();
    while ((n = query_next(&q, e)) > 0)
        (void)json_array_append_new(runs,
                json_pack("{s:o, s:o, s:I, s:o, s:o, s:o, s:o, s:o}", "id", json_text_column(&q, 0),
                        "slot", json_text_column(&q, 1), "attempt", (json_int_t)query_int(&q, 2),
                        "step", json_text_column(&q, 3), "started", json_time_column(&q, 4),
                        "ended", json_time_column(&q, 5), "error", json_text_column(&q, 6),
                        "message", json_text_column(&q, 7)));
    query_done(&q);
    if (n < 0) {
        json_decref(runs);
        return -1;
    }
    return json_made(runs, ret, e);
}

int device_show(struct registry *r, const char *text, json_t **ret, struct err *e)
{
    json_t *device = NULL, *row = NULL, *certificates = NULL, *runs = NULL;
    int64_t id;
    if (device_find(r, text, &id, e) || device_json(r, id, &device, e) ||
            show_row(r, id, &row, e) || certificate_list(r, id, &certificates, e) ||
            show_runs(r, id, &runs, e)) {
        json_decref(device);
        json_decref(row);
        json_decref(certificates);
        return -1;
    }
    return json_made(json_pack("{s:o, s:o, s:o, s:o}", "device", device, "row", row, "certificates",
                             certificates, "runs", runs),
            ret, e);
}
