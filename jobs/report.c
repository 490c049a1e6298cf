/* Yield, cycle times and failures, counted by SQL over indexed columns. Reads only. */
#include "jobs/report.h"

#include <inttypes.h>

#include "base/text.h"
#include "jobs/job.h"
#include "jobs/json.h"
#include "jobs/registry.h"

struct numbers {
    int64_t rows, passed, failed, untouched, active, runs, first_pass, synced, started, ended;
    int64_t keys_from_signer; /* of the devices with a certificate */
    int64_t p50, p95;         /* cycle in ms, -1: no device passed */
};

static int count_devices(struct registry *r, int64_t job, struct numbers *s, struct err *e)
{
    struct query q;
    if (query_open(&q, r, e,
                "SELECT rows,"
                " (SELECT count(*) FROM device WHERE job = ?1 AND result = 'passed')"
                " + (SELECT count(*) FROM job_past WHERE job = ?1 AND result = 'passed'),"
                " (SELECT count(*) FROM device WHERE job = ?1"
                "   AND result IN ('failed', 'quarantined'))"
                " + (SELECT count(*) FROM job_past WHERE job = ?1"
                "   AND result IN ('failed', 'quarantined')),"
                " (SELECT count(*) FROM device WHERE job = ?1 AND result = 'active'),"
                " (SELECT count(*) FROM run WHERE job = ?1),"
                " (SELECT count(*) FROM run WHERE job = ?1 AND step = 'recorded'"
                "   AND attempt = 1),"
                " (SELECT min(started) FROM run WHERE job = ?1),"
                " (SELECT max(ended) FROM run WHERE job = ?1),"
                " (SELECT count(*) FROM certificate c JOIN run u ON u.id = c.run"
                "   WHERE c.key_origin = 'signer' AND u.job = ?1)"
                " FROM job WHERE id = ?1",
                BIND_INT(job)))
        return -1;
    int n = query_next(&q, e);
    if (n > 0) {
        int64_t *const fields[] = {&s->rows, &s->passed, &s->failed, &s->active, &s->runs,
                &s->first_pass, &s->started, &s->ended, &s->keys_from_signer};
        for (int i = 0; i < (int)(sizeof fields / sizeof *fields); i++)
            *fields[i] = query_int(&q, i);
    }
    query_done(&q);
    s->untouched = s->rows - s->passed - s->failed - s->active;
    return n < 0 ? -1 : 0;
}

static int count_synced(struct registry *r, int64_t job, struct numbers *s, struct err *e)
{
    return registry_number(r, e, &s->synced,
            "SELECT count(*) FROM batch b JOIN outbox o ON o.record BETWEEN b.first AND b.last"
            " WHERE b.state = 'acknowledged' AND o.job = ?1",
            BIND_INT(job));
}

/* Nearest rank: the smallest cycle that per_cent of them do not exceed. */
static int percentile(
        struct registry *r, int64_t job, int64_t count, int per_cent, int64_t *ret, struct err *e)
{
    *ret = -1;
    if (count == 0)
        return 0;
    int64_t rank = (count * per_cent + 99) / 100;
    return registry_number(r, e, ret,
            "SELECT ended - started FROM run WHERE job = ?1 AND step = 'recorded'"
            " ORDER BY ended - started LIMIT 1 OFFSET ?2",
            BIND_INT(job), BIND_INT(rank - 1));
}

static int failures(struct registry *r, int64_t job, json_t **ret, struct err *e)
{
    struct query q;
    int n;
    /* Each with its latest example. */
    if (query_open(&q, r, e,
                "SELECT f.error, f.n, d.name, u.message FROM"
                " (SELECT error, count(*) AS n, max(id) AS last FROM run"
                "   WHERE job = ?1 AND error IS NOT NULL GROUP BY error) f"
                " JOIN run u ON u.id = f.last JOIN device d ON d.id = u.device"
                " ORDER BY f.n DESC, f.error",
                BIND_INT(job)))
        return -1;
    json_t *list = json_array();
    while ((n = query_next(&q, e)) > 0)
        (void)json_array_append_new(
                list, json_pack("{s:o, s:s, s:I, s:o, s:o}", "error", json_text_column(&q, 0),
                              "hint", err_hint(err_from_name(query_text(&q, 0))), "count",
                              (json_int_t)query_int(&q, 1), "example", json_text_column(&q, 2),
                              "message", json_text_column(&q, 3)));
    query_done(&q);
    if (n < 0) {
        json_decref(list);
        return -1;
    }
    return json_made(list, ret, e);
}

static json_t *number_or_null(int64_t n)
{
    return n < 0 ? json_null() : json_integer((json_int_t)n);
}

/* Of the devices that have a verdict; one whose first run is under way has none. */
static json_t *first_pass_yield(const struct numbers *s)
{
    int64_t judged = s->passed + s->failed;
    return judged ? json_real((double)s->first_pass / (double)judged) : json_null();
}

static json_t *per_hour(const struct numbers *s)
{
    int64_t span = s->ended - s->started;
    return json_real(s->passed && span > 0 ? (double)s->passed * 3600e3 / (double)span : 0);
}

static json_t *time_or_null(int64_t ms)
{
    return ms ? json_time(ms) : json_null();
}

static int summary(struct registry *r, int64_t job, json_t **ret, struct err *e)
{
    struct numbers s = {0};
    json_t *list;
    if (count_devices(r, job, &s, e) || count_synced(r, job, &s, e) ||
            percentile(r, job, s.passed, 50, &s.p50, e) ||
            percentile(r, job, s.passed, 95, &s.p95, e) || failures(r, job, &list, e))
        return -1;
    return json_made(
            json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, "
                      "s:I}",
                    "rows", (json_int_t)s.rows, "passed", (json_int_t)s.passed, "failed",
                    (json_int_t)s.failed, "untouched", (json_int_t)s.untouched, "in_progress",
                    (json_int_t)s.active, "runs", (json_int_t)s.runs, "first_pass",
                    (json_int_t)s.first_pass, "first_pass_yield", first_pass_yield(&s),
                    "cycle_ms_p50", number_or_null(s.p50), "cycle_ms_p95", number_or_null(s.p95),
                    "devices_per_hour", per_hour(&s), "started", time_or_null(s.started), "ended",
                    time_or_null(s.ended), "failures", list, "synced", (json_int_t)s.synced,
                    "keys_from_signer", (json_int_t)s.keys_from_signer),
            ret, e);
}

static json_t *row_json(const struct query *q)
{
    return json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:o}",
            "row", (json_int_t)query_int(q, 0) + 1, "device_id", json_text_column(q, 1),
            "device_name", json_text_column(q, 2), "device_group", json_text_column(q, 3), "hwid",
            json_text_column(q, 4), "state", json_text_column(q, 5), "verdict",
            json_text_column(q, 6), "attempts", (json_int_t)query_int(q, 7), "error",
            json_text_column(q, 8), "message", json_text_column(q, 9), "serial",
            json_text_column(q, 10), "slot", json_text_column(q, 11), "finished",
            json_time_column(q, 12), "key_origin", json_text_column(q, 13));
}

static int rows(struct registry *r, int64_t job, uint64_t after_row, unsigned limit,
        json_t **ret_rows, json_t **ret_next, struct err *e)
{
    unsigned page = limit && limit < REPORT_PAGE_MAX ? limit : REPORT_PAGE_MAX, count = 0;
    int64_t last = 0, after = after_row < INT64_MAX ? (int64_t)after_row : INT64_MAX;
    struct query q;
    int n;
    if (query_open(&q, r, e,
                /* devices of this job, those that a later job has taken, and those of a re-issue
                 * that is not approved yet */
                "WITH line (row_index, device, result, attempts, last_run) AS ("
                " SELECT row_index, id, result, attempts, last_run FROM device"
                "   WHERE job = ?1 AND row_index >= ?2"
                " UNION ALL SELECT row_index, device, result, attempts, last_run FROM job_past"
                "   WHERE job = ?1 AND row_index >= ?2"
                " UNION ALL SELECT row_index, device, 'untouched', 0, NULL FROM job_next"
                "   WHERE job = ?1 AND row_index >= ?2 ORDER BY 1 LIMIT ?3)"
                " SELECT l.row_index, d.uuid, d.name, g.name, d.hwid, d.state,"
                " CASE l.result WHEN 'passed' THEN 'PASS' WHEN 'failed' THEN 'FAIL'"
                "   WHEN 'quarantined' THEN 'FAIL' ELSE '' END,"
                " l.attempts, u.error, u.message,"
                " (SELECT serial FROM certificate c JOIN run v ON v.id = c.run"
                "   WHERE c.device = d.id AND v.job = ?1 ORDER BY c.id DESC LIMIT 1),"
                " u.slot, u.ended,"
                " (SELECT key_origin FROM certificate c JOIN run v ON v.id = c.run"
                "   WHERE c.device = d.id AND v.job = ?1 ORDER BY c.id DESC LIMIT 1)"
                " FROM line l JOIN device d ON d.id = l.device"
                " JOIN device_group g ON g.id = d.device_group"
                " LEFT JOIN run u ON u.id = l.last_run"
                " ORDER BY l.row_index",
                BIND_INT(job), BIND_INT(after), BIND_INT(page + 1)))
        return -1;
    json_t *list = json_array();
    while ((n = query_next(&q, e)) > 0 && count++ < page) {
        (void)json_array_append_new(list, row_json(&q));
        last = query_int(&q, 0) + 1;
    }
    query_done(&q);
    if (n < 0) {
        json_decref(list);
        return -1;
    }
    *ret_next = n > 0 ? json_integer((json_int_t)last) : json_null();
    return json_made(list, ret_rows, e);
}

int report_make(struct registry *r, int64_t job, uint64_t after_row, unsigned limit, json_t **ret,
        struct err *e)
{
    json_t *about = NULL, *sum = NULL, *list = NULL, *next = NULL;
    if (job_json(r, job, &about, e) || summary(r, job, &sum, e) ||
            rows(r, job, after_row, limit, &list, &next, e)) {
        json_decref(about);
        json_decref(sum);
        return -1;
    }
    return json_made(json_pack("{s:o, s:o, s:o, s:o}", "job", about, "summary", sum, "rows", list,
                             "next", next),
            ret, e);
}
