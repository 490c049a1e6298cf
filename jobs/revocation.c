/* Revocations in the registry. They happened before they come here: the signer's ledger has them, and
 * nothing here may refuse one, forget one, or tell upstream twice. */
#include "jobs/revocation.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "base/uuid.h"
#include "jobs/device.h"
#include "jobs/event.h"
#include "jobs/job.h"
#include "jobs/json.h"
#include "jobs/registry.h"
#include "jobs/run.h"
#include "jobs/site.h"

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

/* ---- a certificate */

/* *ret_state "": the registry has never seen this certificate; *ret_device 0: nor the device. */
static int find_certificate(struct registry *r, const json_t *facts, int64_t *ret_device,
        char ret_state[16], struct err *e)
{
    struct query q;
    *ret_device = 0;
    ret_state[0] = '\0';
    if (query_open(&q, r, e,
                "SELECT d.id, coalesce((SELECT state FROM certificate c"
                "  WHERE c.serial = ?2 AND c.device = d.id), '')"
                " FROM device d WHERE d.id = coalesce("
                "  (SELECT id FROM device WHERE uuid = ?1 AND state <> 'Deleted'),"
                "  (SELECT max(id) FROM device WHERE uuid = ?1 AND state = 'Deleted'))",
                BIND_TEXT(text_of(facts, "device")), BIND_TEXT(text_of(facts, "serial"))))
        return -1;
    int n = query_next(&q, e);
    if (n > 0) {
        *ret_device = query_int(&q, 0);
        snprintf(ret_state, 16, "%s", query_text(&q, 1));
    }
    query_done(&q);
    return n < 0 ? -1 : 0;
}

static int interrupt_run(struct registry *r, const struct site *s, int64_t device, struct err *e)
{
    char run[UUID_TEXT_MAX] = "";
    struct query q;
    if (query_open(&q, r, e, "SELECT uuid FROM run WHERE device = ?1 AND ended IS NULL",
                BIND_INT(device)))
        return -1;
    int n = query_next(&q, e);
    if (n > 0)
        snprintf(run, sizeof run, "%s", query_text(&q, 0));
    query_done(&q);
    if (n < 0)
        return -1;
    return *run ? run_interrupt(r, s, run, "its certificate was revoked", e) : 0;
}

static int disable(
        struct registry *r, const char *serial, int64_t device, int64_t now, struct err *e)
{
    if (registry_run(r, e, "UPDATE certificate SET state = 'revoked' WHERE serial = ?1",
                BIND_TEXT(serial)))
        return -1;
    return registry_run(r, e,
            "UPDATE device SET status = 'Disabled', updated = ?2 WHERE id = ?1"
            " AND NOT EXISTS (SELECT 1 FROM certificate WHERE device = ?1 AND state = 'valid')",
            BIND_INT(device), BIND_INT(now));
}

static int add_event(struct registry *r, const struct site *s, const char *actor, json_t *facts,
        json_t *device, int64_t now, struct err *e)
{
    const struct event ev = {.actor = actor,
            .type = "device.revoked",
            .subject = text_of(facts, "device"),
            .time = now};
    json_t *data;
    if (json_made(json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "device_id",
                          text_of(facts, "device"), "device_name", text_of(device, "name"),
                          "device_group", text_of(device, "group"), "status",
                          text_of(device, "status"), "serial", text_of(facts, "serial"), "reason",
                          text_of(facts, "reason"), "revoked", text_of(facts, "revoked"),
                          "approver", text_of(facts, "approver")),
                &data, e))
        return -1;
    int result = event_add_record(r, s, &ev, data, 0, e);
    json_decref(data);
    return result;
}

/* Once for a revocation, and once more when its reason became keyCompromise (docs/revocation.md). What a crash kept from being
 * told is made up for when the same order comes again; but nobody told of what a re-issue supersedes. state: what the
 * registry knew before. */
static int must_tell(
        struct registry *r, const json_t *facts, const char *state, bool *ret, struct err *e)
{
    struct query q;
    *ret = strcmp(state, "valid") == 0 || json_is_true(json_object_get(facts, "fresh"));
    if (*ret || !*state || strcmp(text_of(facts, "reason"), "keyCompromise") != 0)
        return 0;
    if (query_open(&q, r, e,
                "SELECT 1 FROM event WHERE subject = ?1 AND type = 'device.revoked'"
                " AND json_extract(data, '$.serial') = ?2"
                " AND json_extract(data, '$.reason') = ?3",
                BIND_TEXT(text_of(facts, "device")), BIND_TEXT(text_of(facts, "serial")),
                BIND_TEXT(text_of(facts, "reason"))))
        return -1;
    int n = query_next(&q, e);
    query_done(&q);
    *ret = n == 0;
    return n < 0 ? -1 : 0;
}

static int record_revoked(struct registry *r, const struct site *s, const char *actor,
        json_t *facts, json_t **ret, struct err *e)
{
    int64_t now = time_now_ms(), id;
    char state[16];
    json_t *device = NULL;
    if (find_certificate(r, facts, &id, state, e))
        return -1;
    bool changes = strcmp(state, "valid") == 0;
    bool told;
    if (must_tell(r, facts, state, &told, e))
        return -1;
    if (changes && (interrupt_run(r, s, id, e) || disable(r, text_of(facts, "serial"), id, now, e)))
        return -1;
    if (id && device_json(r, id, &device, e))
        return -1;
    if (told && add_event(r, s, actor, facts, device, now, e)) {
        json_decref(device);
        return -1;
    }
    return json_made(
            json_pack("{s:O, s:o}", "order", facts, "device", device ? device : json_null()), ret,
            e);
}

/* ---- a job */

static int record_withdrawn(struct registry *r, const struct site *s, const char *actor,
        json_t *facts, json_t **ret, struct err *e)
{
    char reason[NAME_BYTES_MAX + 32];
    struct err cause = {0};
    json_t *job = NULL;
    int64_t id, open;
    if (registry_number(r, &cause, &id, "SELECT id FROM job WHERE uuid = ?1",
                BIND_TEXT(text_of(facts, "job")))) {
        if (cause.id != ERR_NOT_FOUND)
            return err_set_code(e, cause.id, cause.code, "%s", cause.msg);
        return json_made(json_pack("{s:O, s:n}", "order", facts, "job"), ret, e);
    }
    snprintf(reason, sizeof reason, "withdrawn by %s", text_of(facts, "approver"));
    if (registry_number(r, e, &open,
                "SELECT state IN ('Pending approval', 'In progress') FROM job WHERE id = ?1",
                BIND_INT(id)) ||
            (open && job_end(r, s, actor, id, JOB_TERMINATED, reason, e)) ||
            job_json(r, id, &job, e))
        return -1;
    return json_made(json_pack("{s:O, s:o}", "order", facts, "job", job), ret, e);
}

int revocation_record(struct registry *r, const struct site *s, const char *actor, json_t *facts,
        json_t **ret, struct err *e)
{
    const char *order = text_of(facts, "order");
    if (strcmp(order, "revoke") == 0 && uuid_valid(text_of(facts, "device")) &&
            *text_of(facts, "serial"))
        return record_revoked(r, s, actor, facts, ret, e);
    if (strcmp(order, "withdraw") == 0 && uuid_valid(text_of(facts, "job")))
        return record_withdrawn(r, s, actor, facts, ret, e);
    return err_set(e, ERR_PROTOCOL, "the signer's answer to an order is not what it should be");
}
