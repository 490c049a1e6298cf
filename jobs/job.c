/* Jobs in the registry. A job comes into progress only by a ticket that the signer verified and
 * whose facts are this job's own; what ends one is decided here, and nowhere else. */
#include "jobs/job.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "jobs/event.h"
#include "jobs/json.h"
#include "jobs/registry.h"
#include "jobs/reissue.h"
#include "jobs/run.h"
#include "jobs/site.h"

#define REASON_MAX 1024

/* ---- finding */

static bool looks_like_uuid_prefix(const char *text)
{
    return strlen(text) >= 4 && strspn(text, "0123456789abcdef-") == strlen(text);
}

/* Exact matches first: a name may look like the beginning of another job's UUID. */
static int find_exact(struct registry *r, const char *text, int64_t *ret, struct err *e)
{
    return registry_number(r, e, ret,
            "SELECT id FROM job WHERE uuid = ?1 OR name = ?1 ORDER BY uuid = ?1 DESC LIMIT 1",
            BIND_TEXT(text));
}

static int find_prefix(struct registry *r, const char *text, int64_t *ret, struct err *e)
{
    struct query q;
    int n, count = 0;
    if (query_open(&q, r, e, "SELECT id FROM job WHERE uuid >= ?1 AND uuid < ?1 || 'g' LIMIT 2",
                BIND_TEXT(text)))
        return -1;
    while ((n = query_next(&q, e)) > 0) {
        *ret = query_int(&q, 0);
        count++;
    }
    query_done(&q);
    if (n < 0)
        return -1;
    if (count > 1)
        return err_set(e, ERR_ARGUMENT, "several jobs begin with '%s': give more of it", text);
    return count ? 0 : err_set(e, ERR_NOT_FOUND, "there is no job '%s'", text);
}

int job_find(struct registry *r, const char *text, int64_t *ret, struct err *e)
{
    struct err cause = {0};
    if (strlen(text) > NAME_BYTES_MAX)
        return err_set(e, ERR_NOT_FOUND, "there is no job of so long a name");
    if (find_exact(r, text, ret, &cause) == 0)
        return 0;
    if (cause.id != ERR_NOT_FOUND)
        return err_set_code(e, cause.id, cause.code, "%s", cause.msg);
    if (looks_like_uuid_prefix(text))
        return find_prefix(r, text, ret, e);
    return err_set(e, ERR_NOT_FOUND, "there is no job '%s'", text);
}

/* ---- showing */

#define JOB_COLUMNS                                                                                \
    "SELECT uuid, name, state, rows, registered, (SELECT count(*) FROM device d"                   \
    " WHERE d.job = j.id AND d.result IN ('failed', 'quarantined'))"                               \
    " + (SELECT count(*) FROM job_past p WHERE p.job = j.id"                                       \
    " AND p.result IN ('failed', 'quarantined')), created, approved,"                              \
    " completed, approver, profile, binding, manifest_sha256, root, quota, not_after, reissue, "   \
    "keys"                                                                                         \
    " FROM job j "

static json_t *job_row_json(const struct query *q)
{
    return json_pack("{s:o, s:o, s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, "
                     "s:o, s:b, s:o}",
            "id", json_text_column(q, 0), "name", json_text_column(q, 1), "state",
            json_text_column(q, 2), "rows", (json_int_t)query_int(q, 3), "registered",
            (json_int_t)query_int(q, 4), "failed", (json_int_t)query_int(q, 5), "created",
            json_time_column(q, 6), "approved", json_time_column(q, 7), "completed",
            json_time_column(q, 8), "approver", json_text_column(q, 9), "profile",
            json_text_column(q, 10), "binding", json_text_column(q, 11), "manifest_sha256",
            json_text_column(q, 12), "root", json_hex_column(q, 13), "quota",
            (json_int_t)query_int(q, 14), "not_after", json_time_column(q, 15), "reissue",
            (int)query_int(q, 16), "keys", json_text_column(q, 17));
}

int job_json(struct registry *r, int64_t job, json_t **ret, struct err *e)
{
    struct query q;
    if (query_open(&q, r, e, JOB_COLUMNS "WHERE id = ?1", BIND_INT(job)))
        return -1;
    int n = query_next(&q, e);
    if (n > 0)
        n = json_made(job_row_json(&q), ret, e);
    else if (n == 0)
        n = err_set(e, ERR_NOT_FOUND, "there is no such job");
    query_done(&q);
    return n;
}

int job_show(struct registry *r, int64_t job, json_t **ret, struct err *e)
{
    json_t *o;
    if (job_json(r, job, &o, e))
        return -1;
    return json_made(json_pack("{s:o}", "job", o), ret, e);
}

int job_list(struct registry *r, json_t **ret, struct err *e)
{
    struct query q;
    json_t *jobs = json_array();
    int n;
    if (query_open(&q, r, e, JOB_COLUMNS "ORDER BY id")) {
        json_decref(jobs);
        return -1;
    }
    while ((n = query_next(&q, e)) > 0)
        (void)json_array_append_new(jobs, job_row_json(&q));
    query_done(&q);
    if (n < 0) {
        json_decref(jobs);
        return -1;
    }
    return json_made(json_pack("{s:o}", "jobs", jobs), ret, e);
}

/* ---- approving */

static json_t *station_array(const char *stations)
{
    json_t *list = json_array();
    for (const char *at = stations; *at;) {
        size_t len = strcspn(at, ",");
        (void)json_array_append_new(list, json_stringn(at, len));
        at += len + (at[len] == ',');
    }
    return list;
}

int job_request(struct registry *r, const struct site *s, int64_t job, json_t **ret, struct err *e)
{
    struct query q;
    if (query_open(&q, r, e,
                "SELECT uuid, profile, binding, rows, root, quota, stations, keys, reissue FROM job"
                " WHERE id = ?1",
                BIND_INT(job)))
        return -1;
    int n = query_next(&q, e);
    if (n > 0)
        n = json_made(json_pack("{s:i, s:o, s:s, s:s, s:o, s:o, s:I, s:o, s:I, s:o, s:o, s:b}", "v",
                              1, "job", json_text_column(&q, 0), "account", s->account, "division",
                              s->division, "profile", json_text_column(&q, 1), "binding",
                              json_text_column(&q, 2), "rows", (json_int_t)query_int(&q, 3), "root",
                              json_hex_column(&q, 4), "quota", (json_int_t)query_int(&q, 5),
                              "stations", station_array(query_text(&q, 6)), "keys",
                              json_text_column(&q, 7), "reissue", (int)query_int(&q, 8)),
                ret, e);
    else if (n == 0)
        n = err_set(e, ERR_NOT_FOUND, "there is no such job");
    query_done(&q);
    return n;
}

static int state_of(
        struct registry *r, int64_t job, char *out, size_t cap, char uuid[37], struct err *e)
{
    struct query q;
    if (query_open(&q, r, e, "SELECT state, uuid FROM job WHERE id = ?1", BIND_INT(job)))
        return -1;
    int n = query_next(&q, e);
    if (n > 0) {
        snprintf(out, cap, "%s", query_text(&q, 0));
        snprintf(uuid, 37, "%s", query_text(&q, 1));
    }
    query_done(&q);
    return n > 0 ? 0 : n < 0 ? -1 : err_set(e, ERR_NOT_FOUND, "there is no such job");
}

int job_check_pending(struct registry *r, int64_t job, struct err *e)
{
    char state[32], uuid[37];
    if (state_of(r, job, state, sizeof state, uuid, e))
        return -1;
    if (strcmp(state, job_state_name(JOB_PENDING_APPROVAL)) == 0)
        return 0;
    return err_set(e, ERR_BAD_STATE, "the job's state is '%s': only a job that is '%s' is decided",
            state, job_state_name(JOB_PENDING_APPROVAL));
}

/* Members that ticket and request both have must be equal; quota and stations are the approver's to
 * narrow. */
static int check_facts(const json_t *request, const json_t *facts, struct err *e)
{
    static const char *const same[] = {
            "job", "account", "division", "profile", "binding", "keys", "reissue", "rows", "root"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        if (!json_equal(json_object_get(request, same[i]), json_object_get(facts, same[i])))
            return err_set(
                    e, ERR_TICKET, "the ticket is not for this job: its '%s' differs", same[i]);
    if (!json_is_integer(json_object_get(facts, "quota")) ||
            !json_is_integer(json_object_get(facts, "exp")) ||
            !json_is_string(json_object_get(facts, "approver")) ||
            !json_is_string(json_object_get(facts, "key_type")))
        return err_set(e, ERR_PROTOCOL, "the signer's facts of the ticket are incomplete");
    return 0;
}

static int set_approved(struct registry *r, int64_t job, const char *ticket, const json_t *facts,
        int64_t now, struct err *e)
{
    return registry_run(r, e,
            "UPDATE job SET state = ?2, ticket = ?3, approver = ?4, quota = ?5, not_after = ?6,"
            " approved = ?7, key_type = ?8 WHERE id = ?1",
            BIND_INT(job), BIND_TEXT(job_state_name(JOB_IN_PROGRESS)), BIND_TEXT(ticket),
            BIND_TEXT(json_string_value(json_object_get(facts, "approver"))),
            BIND_INT(json_integer_value(json_object_get(facts, "quota"))),
            BIND_INT(json_integer_value(json_object_get(facts, "exp")) * 1000), BIND_INT(now),
            BIND_TEXT(json_string_value(json_object_get(facts, "key_type"))));
}

int job_approve(struct registry *r, const struct site *s, const char *actor, int64_t job,
        const char *ticket, const char *facts_text, struct err *e)
{
    json_t *request = NULL, *facts = json_loads(facts_text, JSON_REJECT_DUPLICATES, NULL);
    json_t *data = NULL;
    struct event ev = {.actor = actor, .type = "job.approved", .time = time_now_ms()};
    int result = -1;
    if (!json_is_object(facts)) {
        err_set(e, ERR_PROTOCOL, "the signer's facts of the ticket are not JSON");
        goto out;
    }
    /* The state again: another approval may have been quicker while the signer checked. */
    if (job_check_pending(r, job, e) || job_request(r, s, job, &request, e) ||
            check_facts(request, facts, e) || set_approved(r, job, ticket, facts, ev.time, e) ||
            reissue_take(r, job, ev.time, e))
        goto out;
    ev.subject = json_string_value(json_object_get(request, "job"));
    if (json_made(json_pack("{s:s, s:O, s:s}", "job", ev.subject, "approver",
                          json_object_get(facts, "approver"), "ticket", ticket),
                &data, e) == 0)
        result = event_add_record(r, s, &ev, data, 0, e);
out:
    json_decref(data);
    json_decref(request);
    json_decref(facts);
    return result;
}

/* ---- ending */

static int check_end(const char *state, enum job_state end, struct err *e)
{
    bool pending = strcmp(state, job_state_name(JOB_PENDING_APPROVAL)) == 0;
    bool running = strcmp(state, job_state_name(JOB_IN_PROGRESS)) == 0;
    if (pending || (running && end == JOB_TERMINATED))
        return 0;
    return err_set(e, ERR_BAD_STATE, "the job's state is '%s': it cannot become '%s'", state,
            job_state_name(end));
}

int job_end(struct registry *r, const struct site *s, const char *actor, int64_t job,
        enum job_state end, const char *reason, struct err *e)
{
    char state[32], uuid[37];
    json_t *data = NULL;
    struct event ev = {.actor = actor,
            .type = end == JOB_REJECTED ? "job.rejected" : "job.terminated",
            .subject = uuid,
            .time = time_now_ms()};
    if (strlen(reason) > REASON_MAX)
        return err_set(e, ERR_ARGUMENT, "the reason is longer than %d bytes", REASON_MAX);
    if (state_of(r, job, state, sizeof state, uuid, e) || check_end(state, end, e) ||
            run_interrupt_job(r, s, job, e) ||
            registry_run(r, e, "UPDATE job SET state = ?2, completed = ?3 WHERE id = ?1",
                    BIND_INT(job), BIND_TEXT(job_state_name(end)), BIND_INT(ev.time)) ||
            reissue_drop(r, job, e) ||
            /* what the signer may have certified stays: only a re-issue can give it another one */
            registry_run(r, e,
                    "UPDATE device SET state = ?2, updated = ?3 WHERE job = ?1 AND state = ?4"
                    " AND NOT EXISTS (SELECT 1 FROM certificate c WHERE c.device = device.id)",
                    BIND_INT(job), BIND_TEXT(device_state_name(DEVICE_DELETED)), BIND_INT(ev.time),
                    BIND_TEXT(device_state_name(DEVICE_ENROLLED))))
        return -1;
    if (json_made(json_pack("{s:s, s:s}", "job", uuid, "reason", reason), &data, e))
        return -1;
    int result = event_add(r, &ev, data, NULL, e);
    json_decref(data);
    return result;
}

/* ---- proofs */

struct tile_source {
    struct registry *registry;
    int64_t job;
};

static int load_tile(void *ctx, unsigned tile_level, uint64_t tile_index,
        struct merkle_hash ret[MERKLE_TILE_WIDTH], size_t *ret_count, struct err *e)
{
    const struct tile_source *t = ctx;
    struct query q;
    size_t len = 0;
    if (query_open(&q, t->registry, e,
                "SELECT hashes FROM job_tile WHERE job = ?1 AND tile_level = ?2"
                " AND tile_index = ?3",
                BIND_INT(t->job), BIND_INT(tile_level), BIND_INT(tile_index)))
        return -1;
    int n = query_next(&q, e);
    if (n > 0) {
        const void *hashes = query_blob(&q, 0, &len);
        if (len <= sizeof *ret * MERKLE_TILE_WIDTH)
            memcpy(ret, hashes, len);
        else
            len = 0;
    }
    query_done(&q);
    *ret_count = len / MERKLE_HASH_BYTES;
    return n < 0 ? -1 : 0; /* a tile that is missing or short is merkle_tiles_read()'s error */
}

int job_prove(struct registry *r, int64_t job, uint64_t rows, uint64_t row_index,
        struct buf *ret_proof, struct err *e)
{
    struct tile_source source = {r, job};
    struct merkle_tiles tiles = {load_tile, &source};
    struct merkle_hash proof[MERKLE_PROOF_MAX];
    size_t count;
    if (merkle_prove(row_index, rows, merkle_tiles_read, &tiles, proof, &count, e))
        return err_context(e, "row %" PRIu64, row_index + 1);
    return buf_append(ret_proof, proof, count * sizeof *proof, e);
}
