/* Claim: which device is this, and may this slot work on it now? Identity is decided here alone: a
 * row that names a hwid is found by that hwid and by nothing else, so that a device cannot become
 * another by calling itself so. */
#include "jobs/run.h"

#include <stdio.h>
#include <string.h>

#include "base/row.h"
#include "base/text.h"
#include "jobs/bootstrap.h"
#include "jobs/certificate.h"
#include "jobs/registry.h"
#include "jobs/run_facts.h"

int run_facts_load(struct registry *r, const char *run, struct run_facts *f, struct err *e)
{
    struct query q;
    *f = (struct run_facts){0};
    if (query_open(&q, r, e,
                "SELECT u.id, u.job, u.device, u.uuid, j.uuid, d.uuid, d.name, g.name, d.hwid,"
                " u.slot, d.row_index, u.attempt, u.step, j.key_type"
                " FROM run u JOIN job j ON j.id = u.job JOIN device d ON d.id = u.device"
                " JOIN device_group g ON g.id = d.device_group"
                " WHERE u.uuid = ?1 AND u.ended IS NULL",
                BIND_TEXT(run)))
        return -1;
    int n = query_next(&q, e);
    if (n > 0) {
        f->id = query_int(&q, 0);
        f->job = query_int(&q, 1);
        f->device = query_int(&q, 2);
        snprintf(f->uuid, sizeof f->uuid, "%s", query_text(&q, 3));
        snprintf(f->job_uuid, sizeof f->job_uuid, "%s", query_text(&q, 4));
        snprintf(f->device_uuid, sizeof f->device_uuid, "%s", query_text(&q, 5));
        snprintf(f->device_name, sizeof f->device_name, "%s", query_text(&q, 6));
        snprintf(f->group, sizeof f->group, "%s", query_text(&q, 7));
        snprintf(f->hwid, sizeof f->hwid, "%s", query_text(&q, 8));
        snprintf(f->slot, sizeof f->slot, "%s", query_text(&q, 9));
        f->row_index = (uint64_t)query_int(&q, 10);
        f->attempt = (unsigned)query_int(&q, 11);
        if (run_step_from_name(query_text(&q, 12), &f->step))
            n = err_set(e, ERR_STORE, "the run's step in the registry is unknown");
        snprintf(f->key_type, sizeof f->key_type, "%s", query_text(&q, 13));
    } else if (n == 0) {
        n = err_set(e, ERR_NOT_FOUND, "this run is over or was never: claim the device again");
    }
    query_done(&q);
    return n > 0 ? 0 : -1;
}

/* ---- which device */

struct candidate {
    int64_t id, job, attempts, last_run;
    char uuid[UUID_TEXT_MAX], job_uuid[UUID_TEXT_MAX];
    char name[NAME_BYTES_MAX + 1], job_name[NAME_BYTES_MAX + 1];
    char state[16], job_state[24], result[16], keys[8], key_type[KEY_TYPE_MAX];
    bool reissue;
};

#define CANDIDATE                                                                                  \
    "SELECT d.id, d.job, d.attempts, d.last_run, d.uuid, j.uuid, d.name, j.name, d.state,"         \
    " j.state, d.result, j.reissue, j.keys, j.key_type FROM device d JOIN job j ON j.id = d.job "  \
    "WHERE "                                                                                       \
    "d.state <> "                                                                                  \
    "'Deleted' AND "

static void read_candidate(const struct query *q, struct candidate *c)
{
    c->id = query_int(q, 0);
    c->job = query_int(q, 1);
    c->attempts = query_int(q, 2);
    c->last_run = query_int(q, 3);
    snprintf(c->uuid, sizeof c->uuid, "%s", query_text(q, 4));
    snprintf(c->job_uuid, sizeof c->job_uuid, "%s", query_text(q, 5));
    snprintf(c->name, sizeof c->name, "%s", query_text(q, 6));
    snprintf(c->job_name, sizeof c->job_name, "%s", query_text(q, 7));
    snprintf(c->state, sizeof c->state, "%s", query_text(q, 8));
    snprintf(c->job_state, sizeof c->job_state, "%s", query_text(q, 9));
    snprintf(c->result, sizeof c->result, "%s", query_text(q, 10));
    c->reissue = query_int(q, 11) != 0;
    snprintf(c->keys, sizeof c->keys, "%s", query_text(q, 12));
    snprintf(c->key_type, sizeof c->key_type, "%s", query_text(q, 13));
}

/* How many fit (2 means several); the first, in the order of the query, is the candidate. */
static int find_by(
        struct registry *r, const char *sql, const char *text, struct candidate *ret, struct err *e)
{
    struct query q;
    int n, count = 0;
    if (query_open(&q, r, e, sql, BIND_TEXT(text)))
        return -1;
    while ((n = query_next(&q, e)) > 0)
        if (count++ == 0)
            read_candidate(&q, ret);
    query_done(&q);
    return n < 0 ? -1 : count;
}

static int find_by_name(struct registry *r, const char *name, struct candidate *ret, struct err *e)
{
    static const char any[] = CANDIDATE "d.name = ?1 AND d.hwid IS NULL LIMIT 2";
    static const char waiting[] = CANDIDATE
            "d.name = ?1 AND d.hwid IS NULL AND d.result <> 'passed'"
            " AND (d.state = 'Enrolled' OR j.reissue) AND j.state = 'In progress' LIMIT 2";
    int count = find_by(r, any, name, ret, e);
    /* Names are unique in a group only: a job at work decides. */
    if (count > 1)
        count = find_by(r, waiting, name, ret, e);
    if (count > 1)
        return err_set(e, ERR_DEVICE_UNKNOWN,
                "several groups wait for a device named '%s': give the rows their hwid", name);
    return count;
}

static int find_device(struct registry *r, const char *hwid, const char *name,
        struct candidate *ret, struct err *e)
{
    static const char by_hwid[] = CANDIDATE "d.hwid = ?1";
    static const char named[] = CANDIDATE "d.name = ?1 LIMIT 2";
    struct candidate other;
    int count = *hwid ? find_by(r, by_hwid, hwid, ret, e) : 0;
    if (count == 0 && *name)
        count = find_by_name(r, name, ret, e);
    /* Devices without a name of their own: what they report is looked up as one. */
    if (count == 0 && *hwid)
        count = find_by_name(r, hwid, ret, e);
    if (count != 0)
        return count < 0 ? -1 : 0;
    if (*name && find_by(r, named, name, &other, e) > 0)
        return err_set(e, ERR_DEVICE_UNKNOWN,
                "device '%s' is in job '%s', but with another hwid than '%s'", name, other.job_name,
                hwid);
    return err_set(e, ERR_DEVICE_UNKNOWN, "no manifest has a device with hwid '%s' or name '%s'",
            hwid, name);
}

/* ---- may it be worked on */

/* Registered, and no re-issue to be done: its job's part is over. */
static bool is_done(const struct candidate *c)
{
    bool open = strcmp(c->job_state, job_state_name(JOB_IN_PROGRESS)) == 0;
    bool enrolled = strcmp(c->state, device_state_name(DEVICE_ENROLLED)) == 0;
    return strcmp(c->result, "passed") == 0 || (!enrolled && !(open && c->reissue));
}

static int check_candidate(const struct candidate *c, struct err *e)
{
    if (strcmp(c->job_state, job_state_name(JOB_IN_PROGRESS)) != 0)
        return err_set(e, ERR_NO_JOB, "device '%s' is in job '%s', which is '%s'", c->name,
                c->job_name, c->job_state);
    if (strcmp(c->result, "quarantined") == 0)
        return err_set(e, ERR_DEVICE_QUARANTINED, "device '%s' is in quarantine", c->name);
    return 0;
}

/* The active run of a device or a slot; *ret_run "" when there is none. */
static int active_run(struct registry *r, int64_t device, const char *slot,
        char ret_run[UUID_TEXT_MAX], char ret_slot[NAME_BYTES_MAX + 1], struct err *e)
{
    struct query q;
    ret_run[0] = '\0';
    if (device ? query_open(&q, r, e,
                         "SELECT uuid, slot FROM run WHERE device = ?1 AND ended IS NULL",
                         BIND_INT(device))
               : query_open(&q, r, e,
                         "SELECT uuid, slot FROM run WHERE slot = ?1 AND ended IS NULL",
                         BIND_TEXT(slot)))
        return -1;
    int n = query_next(&q, e);
    if (n > 0) {
        snprintf(ret_run, UUID_TEXT_MAX, "%s", query_text(&q, 0));
        snprintf(ret_slot, NAME_BYTES_MAX + 1, "%s", query_text(&q, 1));
    }
    query_done(&q);
    return n < 0 ? -1 : 0;
}

/* Ends what is left over of this slot and of this device; a run alive in another slot is not left
 * over. */
static int clear_way(struct registry *r, const struct site *s, const char *slot,
        const struct candidate *c, run_alive_fn alive, void *ctx, struct err *e)
{
    char run[UUID_TEXT_MAX], other[NAME_BYTES_MAX + 1];
    if (active_run(r, c->id, NULL, run, other, e))
        return -1;
    if (*run && strcmp(other, slot) != 0 && alive(ctx, run))
        return err_set(
                e, ERR_DEVICE_BUSY, "device '%s' is being worked on in slot %s", c->name, other);
    if (*run && run_interrupt(r, s, run, "its slot was lost", e))
        return -1;
    if (active_run(r, 0, slot, run, other, e))
        return -1;
    return *run ? run_interrupt(r, s, run, "its slot began another run", e) : 0;
}

/* ---- the run */

static int start_run(struct registry *r, const struct candidate *c, const char *slot,
        const char *driver, const char *run, int64_t attempt, struct err *e)
{
    int64_t now = time_now_ms();
    if (run_step_advance(RUN_CLAIMED, RUN_IDENTIFIED, e) ||
            registry_run(r, e,
                    "INSERT INTO run (uuid, job, device, slot, driver, attempt, step, started)"
                    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                    BIND_TEXT(run), BIND_INT(c->job), BIND_INT(c->id), BIND_TEXT(slot),
                    BIND_TEXT(driver), BIND_INT(attempt),
                    BIND_TEXT(run_step_info(RUN_IDENTIFIED)->name), BIND_INT(now)))
        return -1;
    return registry_run(r, e,
            "UPDATE device SET result = 'active', attempts = ?2, last_run = ?3, updated = ?4"
            " WHERE id = ?1",
            BIND_INT(c->id), BIND_INT(attempt), BIND_INT(registry_last_id(r)), BIND_INT(now));
}

static int add_config(struct registry *r, const struct site *s, const struct candidate *c,
        struct buf *out, struct err *e)
{
    struct query q;
    struct row row;
    if (query_open(&q, r, e, "SELECT row FROM job_row WHERE device = ?1", BIND_INT(c->id)))
        return -1;
    int n = query_next(&q, e);
    if (n == 0)
        n = err_set(e, ERR_STORE, "the row of device '%s' is missing in the registry", c->name);
    if (n > 0) {
        size_t len;
        const uint8_t *bytes = query_blob(&q, 0, &len);
        if (row_decode(bytes, len, &row, e) || bootstrap_format(s, c->uuid, &row, out, e))
            n = -1;
    }
    query_done(&q);
    return n > 0 ? 0 : -1;
}

static int check_texts(
        const char *slot, const char *driver, const char *hwid, const char *name, struct err *e)
{
    if (!name_valid(slot, strlen(slot)) || !name_valid(driver, strlen(driver)))
        return err_set(e, ERR_ARGUMENT, "a slot and a driver have names");
    if (strlen(hwid) > HWID_BYTES_MAX || strlen(name) > NAME_BYTES_MAX ||
            !utf8_valid(hwid, strlen(hwid)) || !utf8_valid(name, strlen(name)))
        return err_set(e, ERR_ARGUMENT, "what the device calls itself is too long or no text");
    if (!*hwid && !*name)
        return err_set(e, ERR_ARGUMENT, "the device says neither a hwid nor a name");
    return 0;
}

static int begin(struct registry *r, const struct site *s, const struct candidate *c,
        const char *slot, const char *driver, struct run_claim *claim, struct err *e)
{
    uuid_v4(claim->run);
    claim->attempt++;
    if (start_run(r, c, slot, driver, claim->run, claim->attempt, e) ||
            certificate_of_job(r, c->id, c->job, &claim->cert, e) < 0)
        return -1;
    return add_config(r, s, c, &claim->config, e);
}

/* Whether somebody saw its PASS, or a slot died with it: the device can always prove again that it is the one. */
static int give_certificate(
        struct registry *r, const struct candidate *c, struct run_claim *claim, struct err *e)
{
    int n = certificate_of_device(r, c->id, &claim->cert, e);
    if (n == 0)
        n = err_set(e, ERR_CERT_REVOKED, "the certificate of device '%s' was revoked", c->name);
    return n < 0 ? -1 : 0;
}

int run_claim(struct registry *r, const struct site *s, const char *slot, const char *driver,
        const char *hwid, const char *name, run_alive_fn alive, void *ctx, struct run_claim *ret,
        struct err *e)
{
    struct candidate c = {0};
    struct run_claim claim = {0};
    if (check_texts(slot, driver, hwid, name, e) || find_device(r, hwid, name, &c, e) ||
            (!is_done(&c) && check_candidate(&c, e)) || clear_way(r, s, slot, &c, alive, ctx, e))
        return -1;
    claim.attempt = (unsigned)c.attempts;
    memcpy(claim.device_id, c.uuid, sizeof claim.device_id);
    memcpy(claim.job, c.job_uuid, sizeof claim.job);
    memcpy(claim.device_name, c.name, sizeof claim.device_name);
    memcpy(claim.keys, c.keys, sizeof claim.keys);
    memcpy(claim.key_type, c.key_type, sizeof claim.key_type);
    if (is_done(&c) ? give_certificate(r, &c, &claim, e)
                    : begin(r, s, &c, slot, driver, &claim, e)) {
        run_claim_done(&claim);
        return -1;
    }
    *ret = claim;
    return 0;
}

void run_claim_done(struct run_claim *c)
{
    buf_done(&c->cert);
    buf_done(&c->config);
}
