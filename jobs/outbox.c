/* The outbox. Promises: a record's number is the order of its event; what upstream acknowledged is
 * what stands here, byte for byte. Never renumbers, never drops a record. */
#include "jobs/outbox.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/limits.h"
#include "base/text.h"
#include "jobs/event.h"
#include "jobs/json.h"
#include "jobs/registry.h"
#include "jobs/site.h"

static json_t *body_of(
        const struct site *s, const struct event *ev, int64_t record, json_t *members)
{
    json_t *body = json_pack("{s:I, s:s, s:o, s:s, s:s, s:s}", "record", (json_int_t)record, "type",
            ev->type, "time", json_time(ev->time), "station", s->station, "account_id", s->account,
            "division_id", s->division);
    if (body && json_object_update_missing(body, members) == 0)
        return body;
    json_decref(body);
    return NULL;
}

int outbox_add(struct registry *r, const struct site *s, const struct event *ev, int64_t seq,
        json_t *members, int64_t device, struct err *e)
{
    int64_t record;
    json_t *body = NULL;
    char *text = NULL;
    int result = -1;
    if (registry_number(r, e, &record, "SELECT coalesce(max(record), 0) + 1 FROM outbox") ||
            json_made(body_of(s, ev, record, members), &body, e))
        return -1;
    text = json_dumps(body, JSON_COMPACT); /* members in the order of docs/json.md */
    if (!text)
        err_set(e, ERR_NOMEM, "no memory for a record");
    else if (device)
        result = registry_run(r, e,
                "INSERT INTO outbox (record, event, body, device, job)"
                " VALUES (?1, ?2, ?3, ?4, (SELECT job FROM device WHERE id = ?4))",
                BIND_INT(record), BIND_INT(seq), BIND_TEXT(text), BIND_INT(device));
    else
        result = registry_run(r, e, "INSERT INTO outbox (record, event, body) VALUES (?1, ?2, ?3)",
                BIND_INT(record), BIND_INT(seq), BIND_TEXT(text));
    free(text);
    json_decref(body);
    return result;
}

/* ---- batches */

/* Appends records first.. (at most to last; 0: as many as a batch takes) as lines. */
static int collect(struct registry *r, uint64_t first, uint64_t last, uint64_t *ret_last,
        struct buf *out, struct err *e)
{
    struct query q;
    uint64_t end = last ? last : first + OUTBOX_BATCH_RECORDS - 1;
    int n;
    *ret_last = 0;
    if (query_open(&q, r, e,
                "SELECT record, body FROM outbox WHERE record BETWEEN ?1 AND ?2 ORDER BY record",
                BIND_INT(first), BIND_INT(end)))
        return -1;
    while ((n = query_next(&q, e)) > 0) {
        const char *body = query_text(&q, 1);
        size_t len = strlen(body);
        if (!last && *ret_last && out->len + len + 1 > OUTBOX_BATCH_BYTES)
            break;
        if (buf_append(out, body, len, e) || buf_append(out, "\n", 1, e)) {
            n = -1;
            break;
        }
        *ret_last = (uint64_t)query_int(&q, 0);
    }
    query_done(&q);
    if (n >= 0 && last && *ret_last != last)
        return err_set(
                e, ERR_STORE, "records of batch %" PRIu64 "-%" PRIu64 " are missing", first, last);
    return n < 0 ? -1 : 0;
}

static int digest(const struct buf *b, char out[65], struct err *e)
{
    uint8_t md[32];
    if (EVP_Digest(b->data, b->len, md, NULL, EVP_sha256(), NULL) != 1)
        return err_set(e, ERR_NOMEM, "no memory for a digest");
    hex_format(md, sizeof md, out);
    return 0;
}

static int pending_batch(struct registry *r, uint64_t *ret_first, uint64_t *ret_last,
        char ret_sha256[65], struct err *e)
{
    struct query q;
    if (query_open(&q, r, e,
                "SELECT first, last, sha256 FROM batch WHERE state = 'pending' ORDER BY first"
                " LIMIT 1"))
        return -1;
    int n = query_next(&q, e);
    if (n > 0) {
        *ret_first = (uint64_t)query_int(&q, 0);
        *ret_last = (uint64_t)query_int(&q, 1);
        snprintf(ret_sha256, 65, "%s", query_text(&q, 2));
    }
    query_done(&q);
    return n;
}

static int freeze(
        struct registry *r, uint64_t *ret_first, uint64_t *ret_last, struct buf *out, struct err *e)
{
    int64_t first;
    char sha256[65];
    if (registry_number(r, e, &first, "SELECT coalesce(max(last), 0) + 1 FROM batch") ||
            collect(r, (uint64_t)first, 0, ret_last, out, e))
        return -1;
    *ret_first = (uint64_t)first;
    if (*ret_last == 0)
        return 0;
    if (digest(out, sha256, e))
        return -1;
    return registry_run(r, e,
            "INSERT INTO batch (first, last, sha256, state, created)"
            " VALUES (?1, ?2, ?3, 'pending', ?4)",
            BIND_INT(first), BIND_INT(*ret_last), BIND_TEXT(sha256), BIND_INT(time_now_ms()));
}

int batch_next(struct registry *r, uint64_t *ret_first, uint64_t *ret_last, struct buf *ret_ndjson,
        struct err *e)
{
    char want[65], have[65];
    *ret_first = *ret_last = 0;
    int n = pending_batch(r, ret_first, ret_last, want, e);
    if (n < 0)
        return -1;
    if (n == 0)
        return freeze(r, ret_first, ret_last, ret_ndjson, e);
    if (collect(r, *ret_first, *ret_last, ret_last, ret_ndjson, e) || digest(ret_ndjson, have, e))
        return -1;
    if (strcmp(want, have) != 0) /* measured: SQLite does not see a flipped bit */
        return err_set(
                e, ERR_STORE, "batch %" PRIu64 "-%" PRIu64 " is damaged", *ret_first, *ret_last);
    return 0;
}

int batch_ack(
        struct registry *r, uint64_t first, uint64_t last, const uint8_t sha256[32], struct err *e)
{
    char hex[65];
    int changes;
    int64_t known;
    hex_format(sha256, 32, hex);
    if (registry_run_counted(r, e, &changes,
                "UPDATE batch SET state = 'acknowledged', acked_at = ?4, error = NULL,"
                " message = NULL WHERE first = ?1 AND last = ?2 AND sha256 = ?3"
                " AND state <> 'acknowledged'",
                BIND_INT(first), BIND_INT(last), BIND_TEXT(hex), BIND_INT(time_now_ms())))
        return -1;
    if (changes)
        return 0;
    if (registry_number(r, e, &known,
                "SELECT sha256 = ?3 FROM batch WHERE first = ?1 AND last = ?2", BIND_INT(first),
                BIND_INT(last), BIND_TEXT(hex)))
        return err_context(e, "batch %" PRIu64 "-%" PRIu64, first, last);
    return known ? 0
                 : err_set(e, ERR_UPSTREAM_CONFLICT,
                           "batch %" PRIu64 "-%" PRIu64 " has another digest", first, last);
}

int batch_refuse(struct registry *r, uint64_t first, uint64_t last, const char *error,
        const char *message, struct err *e)
{
    int changes;
    if (registry_run_counted(r, e, &changes,
                "UPDATE batch SET state = 'refused', error = ?3, message = ?4"
                " WHERE first = ?1 AND last = ?2 AND state <> 'acknowledged'",
                BIND_INT(first), BIND_INT(last), BIND_TEXT(error), BIND_TEXT(message)))
        return -1;
    return changes ? 0
                   : err_set(e, ERR_NOT_FOUND, "no batch %" PRIu64 "-%" PRIu64 " waits", first,
                             last);
}

int batch_retry(struct registry *r, int *ret_count, struct err *e)
{
    return registry_run_counted(r, e, ret_count,
            "UPDATE batch SET state = 'pending', error = NULL, message = NULL"
            " WHERE state = 'refused'");
}

/* ---- counts */

static int count_refused(struct registry *r, struct outbox_counts *ret, struct err *e)
{
    struct query q;
    if (query_open(&q, r, e,
                "SELECT error, message FROM batch WHERE state = 'refused' ORDER BY first LIMIT 1"))
        return -1;
    int n = query_next(&q, e);
    if (n > 0) {
        snprintf(ret->error, sizeof ret->error, "%s", query_text(&q, 0));
        snprintf(ret->message, sizeof ret->message, "%s", query_text(&q, 1));
    }
    query_done(&q);
    return n < 0 ? -1 : 0;
}

int outbox_count(struct registry *r, struct outbox_counts *ret, struct err *e)
{
    int64_t records, acknowledged, refused;
    *ret = (struct outbox_counts){0};
    if (registry_number(r, e, &records, "SELECT coalesce(max(record), 0) FROM outbox") ||
            registry_number(r, e, &acknowledged,
                    "SELECT coalesce(sum(last - first + 1), 0) FROM batch"
                    " WHERE state = 'acknowledged'") ||
            registry_number(r, e, &refused,
                    "SELECT coalesce(sum(last - first + 1), 0) FROM batch"
                    " WHERE state = 'refused'") ||
            registry_number(r, e, &ret->last_ack, "SELECT coalesce(max(acked_at), 0) FROM batch") ||
            /* Waiting: in the oldest pending batch, else behind the last one. */
            registry_number(r, e, &ret->oldest_waiting,
                    "SELECT coalesce((SELECT e.time FROM outbox o JOIN event e ON e.seq = o.event"
                    " WHERE o.record = coalesce((SELECT min(first) FROM batch"
                    "   WHERE state = 'pending'), (SELECT coalesce(max(last), 0) + 1 FROM batch))),"
                    " 0)") ||
            count_refused(r, ret, e))
        return -1;
    ret->records = (uint64_t)records;
    ret->acknowledged = (uint64_t)acknowledged;
    ret->refused = (uint64_t)refused;
    return 0;
}
