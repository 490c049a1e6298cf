/* The move of devices from one job to the next. Promises: a device is in one job at a time, and what
 * the job before has to report of it stays. Only ended work moves: a device that an open job has not
 * passed yet stays where it is. */
#include "jobs/reissue.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/row.h"
#include "jobs/registry.h"

/* ---- rows that wait */

static int judge(const struct query *q, const struct reissue_row *row, char why[ERR_MSG_MAX])
{
    const char *hwid = query_text(q, 1), *job = query_text(q, 2), *next = query_text(q, 4);
    why[0] = '\0';
    if (*next)
        snprintf(why, ERR_MSG_MAX,
                "device '%s' waits in re-issue job '%s' already: approve or reject that one",
                row->name, next);
    else if (query_int(q, 3))
        snprintf(why, ERR_MSG_MAX, "device '%s' is still to be done in job '%s'", row->name, job);
    else if (strcmp(hwid, row->hwid) != 0)
        snprintf(why, ERR_MSG_MAX, "device '%s' is known with hwid '%.100s', not '%.100s'",
                row->name, hwid, row->hwid);
    return *why ? REISSUE_REFUSED : REISSUE_ADDED;
}

int reissue_add(
        struct registry *r, const struct reissue_row *row, char why[ERR_MSG_MAX], struct err *e)
{
    struct query q;
    int64_t device = 0;
    int result = REISSUE_UNKNOWN;
    if (query_open(&q, r, e,
                "SELECT d.id, d.hwid, j.name, d.result <> 'passed'"
                "  AND j.state IN ('Pending approval', 'Pending', 'In progress'),"
                " (SELECT k.name FROM job_next n JOIN job k ON k.id = n.job WHERE n.device = d.id)"
                " FROM device d JOIN job j ON j.id = d.job"
                " WHERE d.name = ?1 AND d.device_group = ?2 AND d.state <> 'Deleted'",
                BIND_TEXT(row->name), BIND_INT(row->group)))
        return -1;
    int n = query_next(&q, e);
    if (n > 0) {
        device = query_int(&q, 0);
        result = judge(&q, row, why);
    }
    query_done(&q);
    if (n < 0)
        return -1;
    if (result == REISSUE_ADDED &&
            registry_run(r, e,
                    "INSERT INTO job_next (job, row_index, device, row) VALUES (?1, ?2, ?3, ?4)",
                    BIND_INT(row->job), BIND_INT(row->index), BIND_INT(device),
                    BIND_BLOB(row->row, row->row_len)))
        return -1;
    return result;
}

int reissue_drop(struct registry *r, int64_t job, struct err *e)
{
    return registry_run(r, e, "DELETE FROM job_next WHERE job = ?1", BIND_INT(job));
}

/* ---- the move */

static int add_attribute(
        struct registry *r, int64_t device, const struct row_field *f, struct err *e)
{
    static const char prefix[] = "attr.";
    char key[NAME_BYTES_MAX + 1], value[MANIFEST_VALUE_MAX + 1];
    size_t skip = sizeof prefix - 1;
    if (f->key_len <= skip || memcmp(f->key, prefix, skip) != 0)
        return 0;
    snprintf(key, sizeof key, "%.*s", (int)(f->key_len - skip), f->key + skip);
    snprintf(value, sizeof value, "%.*s", (int)f->value_len, f->value);
    return registry_run(r, e, "INSERT INTO attribute (device, key, value) VALUES (?1, ?2, ?3)",
            BIND_INT(device), BIND_TEXT(key), BIND_TEXT(value));
}

int reissue_attributes(struct registry *r, int64_t device, const struct row *row, struct err *e)
{
    for (size_t i = 0; i < row->count; i++)
        if (add_attribute(r, device, &row->fields[i], e))
            return -1;
    return 0;
}

/* The waiting row with the lowest index from `from` on; 1, 0 when there is none, -1. */
static int next_row(struct registry *r, int64_t job, int64_t from, int64_t *ret_index,
        int64_t *ret_device, struct buf *ret_row, struct err *e)
{
    struct query q;
    if (query_open(&q, r, e,
                "SELECT row_index, device, row FROM job_next WHERE job = ?1 AND row_index >= ?2"
                " ORDER BY row_index LIMIT 1",
                BIND_INT(job), BIND_INT(from)))
        return -1;
    int n = query_next(&q, e);
    if (n > 0) {
        size_t len;
        const void *bytes = query_blob(&q, 2, &len);
        *ret_index = query_int(&q, 0);
        *ret_device = query_int(&q, 1);
        buf_reset(ret_row);
        if (buf_append(ret_row, bytes, len, e))
            n = -1;
    }
    query_done(&q);
    return n;
}

static int take_one(struct registry *r, int64_t job, int64_t index, int64_t device,
        const struct buf *bytes, int64_t now, struct err *e)
{
    struct row row;
    if (row_decode(bytes->data, bytes->len, &row, e) ||
            registry_run(r, e,
                    "INSERT INTO job_past (job, row_index, device, result, attempts, last_run)"
                    " SELECT job, row_index, id, result, attempts, last_run FROM device WHERE id = "
                    "?1",
                    BIND_INT(device)) ||
            registry_run(r, e,
                    "UPDATE device SET job = ?2, row_index = ?3, result = 'untouched',"
                    " attempts = 0, last_run = NULL, updated = ?4 WHERE id = ?1",
                    BIND_INT(device), BIND_INT(job), BIND_INT(index), BIND_INT(now)) ||
            registry_run(r, e, "UPDATE job_row SET row = ?2 WHERE device = ?1", BIND_INT(device),
                    BIND_BLOB(bytes->data, bytes->len)) ||
            registry_run(r, e, "DELETE FROM attribute WHERE device = ?1", BIND_INT(device)))
        return -1;
    return reissue_attributes(r, device, &row, e);
}

int reissue_take(struct registry *r, int64_t job, int64_t now, struct err *e)
{
    struct buf row = BUF_INIT;
    int64_t index = 0, device;
    int n;
    while ((n = next_row(r, job, index, &index, &device, &row, e)) > 0) {
        if (take_one(r, job, index, device, &row, now, e)) {
            n = -1;
            break;
        }
        index++;
    }
    buf_done(&row);
    return n < 0 ? -1 : reissue_drop(r, job, e);
}
