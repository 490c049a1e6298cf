/* Runs in the registry. Every change of a step goes through set_step(), which asks states.c. A run
 * that is over never changes again; a device has at most one that is not. */
#include "jobs/run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/text.h"
#include "hsm/x509/pem.h"
#include "jobs/certificate.h"
#include "jobs/event.h"
#include "jobs/job.h"
#include "jobs/json.h"
#include "jobs/registry.h"
#include "jobs/run_facts.h"
#include "jobs/site.h"

/* ---- steps */

static int set_step(struct registry *r, struct run_facts *f, enum run_step to, struct err *e)
{
    if (run_step_advance(f->step, to, e) ||
            registry_run(r, e, "UPDATE run SET step = ?2 WHERE id = ?1", BIND_INT(f->id),
                    BIND_TEXT(run_step_info(to)->name)))
        return -1;
    f->step = to;
    return 0;
}

/* A last step: the run and its device in one. error is NULL for a run that is recorded. */
static int end_run(struct registry *r, struct run_facts *f, enum run_step to, const char *error,
        const char *message, int64_t now, struct err *e)
{
    static const char *const results[RUN_STEP_COUNT] = {
            [RUN_RECORDED] = "passed", [RUN_FAILED] = "failed", [RUN_QUARANTINED] = "quarantined"};
    if (run_step_advance(f->step, to, e))
        return -1;
    return registry_run(r, e,
                   "UPDATE run SET step = ?2, ended = ?3, error = ?4, message = ?5 WHERE id = ?1",
                   BIND_INT(f->id), BIND_TEXT(run_step_info(to)->name), BIND_INT(now),
                   BIND_TEXT(error), BIND_TEXT(message)) ||
                           registry_run(r, e,
                                   "UPDATE device SET result = ?2, updated = ?3 WHERE id = ?1",
                                   BIND_INT(f->device), BIND_TEXT(results[to]), BIND_INT(now))
                   ? -1
                   : 0;
}

static void slot_actor(const struct run_facts *f, char out[NAME_BYTES_MAX + 8])
{
    snprintf(out, NAME_BYTES_MAX + 8, "slot %s", f->slot);
}

/* ---- certification */

int run_request(struct registry *r, const char *run, struct run_request *ret, struct err *e)
{
    struct run_facts f;
    struct query q;
    *ret = (struct run_request){0};
    if (run_facts_load(r, run, &f, e) || run_step_advance(f.step, RUN_KEYED, e))
        return -1;
    if (query_open(&q, r, e,
                "SELECT j.ticket, w.row, j.rows FROM job j, job_row w"
                " WHERE j.id = ?1 AND w.device = ?2 AND j.ticket IS NOT NULL",
                BIND_INT(f.job), BIND_INT(f.device)))
        return -1;
    int n = query_next(&q, e);
    uint64_t rows = 0;
    if (n > 0) {
        size_t len;
        const void *row = query_blob(&q, 1, &len);
        rows = (uint64_t)query_int(&q, 2);
        ret->ticket = strdup(query_text(&q, 0));
        if (!ret->ticket)
            n = err_set(e, ERR_NOMEM, "no memory for a ticket");
        else if (buf_append(&ret->row, row, len, e))
            n = -1;
    } else if (n == 0) {
        n = err_set(e, ERR_STORE, "the device's row or its job's ticket is missing");
    }
    query_done(&q);
    ret->row_index = f.row_index;
    memcpy(ret->job, f.job_uuid, sizeof ret->job);
    memcpy(ret->key_type, f.key_type, sizeof ret->key_type);
    if (n > 0 && job_prove(r, f.job, rows, f.row_index, &ret->proof, e) == 0)
        return 0;
    run_request_done(ret);
    return -1;
}

void run_request_done(struct run_request *q)
{
    free(q->ticket);
    q->ticket = NULL;
    buf_done(&q->row);
    buf_done(&q->proof);
}

int run_key_made(struct registry *r, const char *run, const char *transport_sha256, struct err *e)
{
    struct run_facts f;
    char actor[NAME_BYTES_MAX + 8];
    struct event ev = {.actor = actor, .type = "key.made", .time = time_now_ms()};
    json_t *data;
    if (run_facts_load(r, run, &f, e) ||
            json_made(json_pack("{s:s, s:s, s:s, s:s}", "run", f.uuid, "key_type", f.key_type,
                              "key_origin", key_origin_name(true), "transport_sha256",
                              transport_sha256),
                    &data, e))
        return -1;
    slot_actor(&f, actor);
    ev.subject = f.device_uuid;
    int result = event_add(r, &ev, data, NULL, e);
    json_decref(data);
    return result;
}

static int add_certificate_event(struct registry *r, const struct run_facts *f,
        const struct certificate_facts *c, const char *origin, struct err *e)
{
    char actor[NAME_BYTES_MAX + 8];
    const struct event ev = {.actor = actor,
            .type = "certificate.issued",
            .subject = f->device_uuid,
            .time = time_now_ms()};
    json_t *data;
    slot_actor(f, actor);
    if (json_made(json_pack("{s:s, s:s, s:s, s:s, s:s}", "run", f->uuid, "serial", c->serial,
                          "certificate_sha256", c->sha256, "spki_sha256", c->spki_sha256,
                          "key_origin", origin),
                &data, e))
        return -1;
    int result = event_add(r, &ev, data, NULL, e);
    json_decref(data);
    return result;
}

int run_certified(struct registry *r, const char *run, const uint8_t *cert, size_t cert_len,
        bool key_made, struct err *e)
{
    const char *origin = key_origin_name(key_made);
    struct run_facts f;
    struct certificate_facts facts;
    bool fresh;
    /* Both steps at once: the device answered the nonce before the signer was asked, and only the
     * certificate is worth a commit. */
    if (run_facts_load(r, run, &f, e) || set_step(r, &f, RUN_KEYED, e) ||
            certificate_add(r, f.device, f.id, cert, cert_len, origin, &fresh, &facts, e) ||
            set_step(r, &f, RUN_CERTIFIED, e))
        return -1;
    return fresh ? add_certificate_event(r, &f, &facts, origin, e) : 0;
}

int run_installed(struct registry *r, const char *run, struct err *e)
{
    struct run_facts f;
    struct buf cert = BUF_INIT;
    if (run_facts_load(r, run, &f, e))
        return -1;
    if (f.step == RUN_IDENTIFIED) { /* a sealed device that holds what an earlier run gave it */
        int n = certificate_of_job(r, f.device, f.job, &cert, e);
        buf_done(&cert);
        if (n < 0 || (n > 0 && set_step(r, &f, RUN_CERTIFIED, e)))
            return -1;
    }
    return set_step(r, &f, RUN_INSTALLED, e);
}

/* ---- the end: recorded */

static int complete_job(struct registry *r, const struct site *s, const struct run_facts *f,
        int64_t now, struct err *e)
{
    const struct event ev = {
            .actor = "jobd", .type = "job.completed", .subject = f->job_uuid, .time = now};
    json_t *data;
    int64_t registered;
    int changes;
    if (registry_run_counted(r, e, &changes,
                "UPDATE job SET state = ?2, completed = ?3 WHERE id = ?1 AND registered = rows",
                BIND_INT(f->job), BIND_TEXT(job_state_name(JOB_COMPLETED)), BIND_INT(now)))
        return -1;
    if (!changes)
        return 0;
    if (registry_number(
                r, e, &registered, "SELECT registered FROM job WHERE id = ?1", BIND_INT(f->job)) ||
            json_made(json_pack("{s:s, s:I}", "job", f->job_uuid, "registered",
                              (json_int_t)registered),
                    &data, e))
        return -1;
    int result = event_add_record(r, s, &ev, data, 0, e);
    json_decref(data);
    return result;
}

static json_t *registered_json(const struct run_facts *f, const struct certificate_facts *c,
        const char *origin, const char *pem)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:s}",
            "job", f->job_uuid, "device_id", f->device_uuid, "device_name", f->device_name,
            "device_group", f->group, "hwid", f->hwid, "state",
            device_state_name(DEVICE_REGISTERED), "run", f->uuid, "slot", f->slot, "attempt",
            (json_int_t)f->attempt, "serial", c->serial, "certificate_sha256", c->sha256,
            "spki_sha256", c->spki_sha256, "key_origin", origin, "certificate", pem);
}

static int record(struct registry *r, const struct site *s, const struct run_facts *f,
        const struct buf *cert, int64_t now, struct err *e)
{
    char actor[NAME_BYTES_MAX + 8];
    const struct event ev = {
            .actor = actor, .type = "device.registered", .subject = f->device_uuid, .time = now};
    struct certificate_facts facts;
    struct buf pem = BUF_INIT;
    json_t *data = NULL;
    int result = -1;
    const char *origin = certificate_origin(r, f->device, e);
    slot_actor(f, actor);
    if (origin && certificate_parse(cert->data, cert->len, &facts, e) == 0 &&
            pem_format(PEM_STRING_X509, cert->data, cert->len, &pem, e) == 0 &&
            json_made(registered_json(f, &facts, origin, buf_str(&pem)), &data, e) == 0)
        result = event_add_record(r, s, &ev, data, f->device, e);
    json_decref(data);
    buf_done(&pem);
    return result;
}

static int set_registered(struct registry *r, const struct run_facts *f, int64_t now, struct err *e)
{
    /* A device that was disabled with its old certificate may connect with the new one: the approver
     * of the re-issue said so. */
    return registry_run(r, e,
                   "UPDATE device SET state = ?2, updated = ?3, status = CASE"
                   " WHEN (SELECT reissue FROM job WHERE id = ?4) THEN 'Enabled' ELSE status END"
                   " WHERE id = ?1",
                   BIND_INT(f->device), BIND_TEXT(device_state_name(DEVICE_REGISTERED)),
                   BIND_INT(now), BIND_INT(f->job)) ||
                           registry_run(r, e,
                                   "UPDATE job SET registered = registered + 1 WHERE id = ?1",
                                   BIND_INT(f->job))
                   ? -1
                   : 0;
}

int run_complete(struct registry *r, const struct site *s, const char *run,
        const uint8_t challenge[NONCE_BYTES], const uint8_t *signature, size_t signature_len,
        struct err *e)
{
    struct run_facts f;
    struct buf cert = BUF_INIT;
    int64_t now = time_now_ms();
    int result = -1;
    if (run_facts_load(r, run, &f, e) || run_step_advance(f.step, RUN_VERIFIED, e))
        return -1;
    int known = certificate_of_job(r, f.device, f.job, &cert, e);
    if (known == 0)
        err_set(e, ERR_STORE, "the device's certificate is missing in the registry");
    if (known > 0 &&
            certificate_check_challenge(
                    &cert, challenge, NONCE_BYTES, signature, signature_len, e) == 0 &&
            set_step(r, &f, RUN_VERIFIED, e) == 0 &&
            end_run(r, &f, RUN_RECORDED, NULL, NULL, now, e) == 0 &&
            set_registered(r, &f, now, e) == 0 && record(r, s, &f, &cert, now, e) == 0)
        result = complete_job(r, s, &f, now, e);
    buf_done(&cert);
    return result;
}

/* ---- the end: failed */

static int fail_facts(struct registry *r, const struct site *s, struct run_facts *f,
        enum run_step end, const char *error, const char *message, struct err *e)
{
    char actor[NAME_BYTES_MAX + 8], text[ERR_MSG_MAX];
    const struct event ev = {
            .actor = actor, .type = "run.failed", .subject = f->device_uuid, .time = time_now_ms()};
    json_t *data;
    snprintf(text, sizeof text, "%s", message);
    text_make_printable(text);
    slot_actor(f, actor);
    if (end_run(r, f, end, error, text, ev.time, e) ||
            json_made(json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:s}", "job", f->job_uuid,
                              "device_id", f->device_uuid, "device_name", f->device_name, "run",
                              f->uuid, "slot", f->slot, "attempt", (json_int_t)f->attempt, "step",
                              run_step_info(f->step)->name, "error", error, "message", text),
                    &data, e))
        return -1;
    int result = event_add_record(r, s, &ev, data, 0, e);
    json_decref(data);
    return result;
}

int run_fail(struct registry *r, const struct site *s, const char *run, enum run_step end,
        const char *error, const char *message, struct err *e)
{
    struct run_facts f;
    if (err_from_name(error) == ERR_NONE)
        return err_set(e, ERR_ARGUMENT, "'%.40s' is not the name of an error", error);
    if (run_facts_load(r, run, &f, e))
        return -1;
    return fail_facts(r, s, &f, end, error, message, e);
}

int run_interrupt(
        struct registry *r, const struct site *s, const char *run, const char *why, struct err *e)
{
    struct run_facts f;
    struct err cause = {0};
    if (run_facts_load(r, run, &f, &cause))
        return cause.id == ERR_NOT_FOUND ? 0 : err_set(e, cause.id, "%s", cause.msg);
    return fail_facts(r, s, &f, RUN_FAILED, err_name(ERR_INTERRUPTED), why, e);
}

/* ---- many at once */

struct run_list {
    char (*runs)[UUID_TEXT_MAX];
    size_t count, capacity;
};

static int list_add(struct run_list *l, const char *run, struct err *e)
{
    if (l->count == l->capacity) {
        size_t capacity = l->capacity ? 2 * l->capacity : 64;
        void *more = reallocarray(l->runs, capacity, sizeof *l->runs);
        if (!more)
            return err_set(e, ERR_NOMEM, "no memory for a list of runs");
        l->runs = more;
        l->capacity = capacity;
    }
    snprintf(l->runs[l->count++], sizeof *l->runs, "%s", run);
    return 0;
}

/* The list first: ending a run changes what the query walks over. job 0: of all jobs. */
static int list_active(struct registry *r, int64_t job, struct run_list *ret, struct err *e)
{
    struct query q;
    int n;
    if (query_open(&q, r, e,
                "SELECT uuid FROM run WHERE ended IS NULL AND (?1 = 0 OR job = ?1) ORDER BY id",
                BIND_INT(job)))
        return -1;
    while ((n = query_next(&q, e)) > 0)
        if (list_add(ret, query_text(&q, 0), e)) {
            n = -1;
            break;
        }
    query_done(&q);
    return n;
}

static int interrupt_all(struct registry *r, const struct site *s, int64_t job, const char *why,
        unsigned *ret_count, struct err *e)
{
    struct run_list list = {0};
    int result = list_active(r, job, &list, e);
    for (size_t i = 0; i < list.count && result == 0; i++) {
        struct run_facts f;
        result = run_facts_load(r, list.runs[i], &f, e);
        /* Repeat and resume differ in what the next claim finds (a certificate or none), not in
         * what is done here. */
        if (result == 0 && run_step_info(f.step)->recovery != RUN_RECOVER_DONE)
            result = fail_facts(r, s, &f, RUN_FAILED, err_name(ERR_INTERRUPTED), why, e);
    }
    if (ret_count)
        *ret_count = (unsigned)list.count;
    free(list.runs);
    return result;
}

int run_interrupt_job(struct registry *r, const struct site *s, int64_t job, struct err *e)
{
    return interrupt_all(r, s, job, "the job was ended", NULL, e);
}

int run_recover(struct registry *r, const struct site *s, unsigned *ret_count, struct err *e)
{
    return interrupt_all(r, s, 0, "the appliance was stopped during the run", ret_count, e);
}
