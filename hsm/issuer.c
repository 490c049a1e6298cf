/* Certification and revocation. Promises: no certificate without an approved row, none beyond the
 * quota, one that is valid per device, and none that is not in the ledger on disk before anyone sees
 * it; the one it replaces is revoked in the same write. The checks: the request itself (request.c),
 * then the past (past.c), then what is under way. */
#include "hsm/issuer.h"
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/idle.h"
#include "base/log.h"
#include "base/text.h"
#include "base/uuid.h"
#include "hsm/born/birth.h"
#include "hsm/ca.h"
#include "hsm/x509/cert.h"
#include "hsm/issuance.h"
#include "hsm/born/key_maker.h"
#include "hsm/workers/latency.h"
#include "hsm/ledger/ledger.h"
#include "hsm/approval/order.h"
#include "hsm/past.h"
#include "hsm/profile/profile_apply.h"
#include "hsm/refusals.h"
#include "hsm/request.h"
#include "hsm/approval/ticket.h"
#include "hsm/workers/workers.h"

#define GROUP_MAX                                                                                  \
    256 /* certificates that one fdatasync makes durable; more would only lengthen the wait */
#define COMMIT_MS     20   /* so long an answer waits for company while peers send without end */
#define ISSUANCES_MAX 1024 /* under way at a time: 16 for each of 64 slots */
#define CLOCK_LAG_MS  10 /* time() is up to a tick behind: no verifier may find it not valid yet */

struct issuer {
    struct issuer_parts parts;
    struct idle *commit; /* then the group is as large as it gets */
    struct issuance *under_way;
    struct refusals refusals;
    bool finishing;
    struct latency latency;
};

/* ---- checks against what is under way, and the quota */

static int check_fault(const struct issuer *s, struct err *e)
{
    const struct err *fault = ledger_fault(s->parts.ledger);

    if (fault->id && e)
        *e = *fault;
    return fault->id ? -1 : 0;
}

/* An old copy of the ledger lacks certificates: what is not in it may have been issued all the same. */
static int check_vouched(const struct issuer *s, struct err *e)
{
    if (check_fault(s, e) < 0)
        return -1;
    if (ledger_vouched(s->parts.ledger))
        return 0;
    return err_set(e, ERR_UNAVAILABLE,
            "the token has not vouched for the ledger yet: try again in a moment");
}

static int check_open(const struct issuer *s, struct err *e)
{
    return s->finishing ? err_set(e, ERR_UNAVAILABLE, "the signer stops") : 0;
}

/* A peer that asks and asks while the token is slow must not fill the memory. */
static int check_room(const struct issuer *s, struct err *e)
{
    size_t count = 0;

    for (const struct issuance *i = s->under_way; i; i = i->next)
        count++;
    if (count >= ISSUANCES_MAX)
        return err_set(e, ERR_UNAVAILABLE, "%d devices are being certified already", ISSUANCES_MAX);
    return 0;
}

static int check_new(struct issuer *s, const struct request *r, struct err *e)
{
    uint64_t used = ledger_job_count(s->parts.ledger, r->entry.job);

    if (check_room(s, e) < 0 || ca_check_time(s->parts.ca, time_now_ms() / 1000, e) < 0 ||
            request_check_time(r, e) < 0 || past_check_key(s->parts.ledger, r, e) < 0)
        return -1;
    if (ledger_job_withdrawn(s->parts.ledger, r->entry.job))
        return err_set(e, ERR_JOB_WITHDRAWN, "the approval of this job was withdrawn");
    for (const struct issuance *i = s->under_way; i; i = i->next) {
        if (i->entry.type != LEDGER_ISSUED)
            continue;
        if (memcmp(i->entry.spki_sha256, r->entry.spki_sha256, sizeof r->entry.spki_sha256) == 0)
            return err_set(e, ERR_KEY_REUSED,
                    "device %s shows a key that is being certified for another device",
                    r->device_name);
        used += memcmp(i->entry.job, r->entry.job, LEDGER_ID_BYTES) == 0;
    }
    if (used >= r->ticket->quota)
        return err_set(e, ERR_QUOTA, "the ticket allows %llu certificates",
                (unsigned long long)r->ticket->quota);
    return 0;
}

/* ---- the outcome */

static void note_refusal(struct issuer *s, struct request *q, const struct err *why)
{
    if (refusals_note(&s->refusals, s->parts.ledger, q, why))
        idle_want(s->commit);
}

/* Grows with whatever a CRL must say. */
static uint64_t revocations(const struct issuer *s)
{
    struct ledger_counts c = ledger_counts(s->parts.ledger);

    return c.revoked + c.compromised;
}

/* Makes durable what waits, and answers for it. -1: nothing of it counts. Before the first checkpoint, which comes through
 * here as well, only refusals wait, and go on waiting. */
static int commit(struct issuer *s, struct err *ret)
{
    struct issuance *recorded = NULL, **at = &s->under_way;
    uint64_t known = revocations(s);
    struct err e = {0};
    int r;

    if (!ledger_introduced(s->parts.ledger))
        return 0;
    r = ledger_commit(s->parts.ledger, &e);
    if (r < 0)
        log_err(LOG_ERR, "ledger-not-written", &e);
    if (revocations(s) != known && s->parts.on_revoked)
        s->parts.on_revoked(s->parts.on_revoked_ctx);
    while (*at) {
        struct issuance *i = *at;

        if (!i->recorded) {
            at = &i->next;
            continue;
        }
        *at = i->next;
        i->next = recorded;
        recorded = i;
    }
    while (recorded) {
        struct issuance *next = recorded->next;

        issuance_answer(recorded, r < 0 ? &e : NULL);
        recorded = next;
    }
    /* Only a new process can trust the file again, and it takes less time than a person. */
    if (!ledger_usable(s->parts.ledger))
        sd_event_exit(s->parts.event, EXIT_FAILURE);
    if (r < 0 && ret)
        *ret = e;
    return r;
}

static void on_idle(void *ctx)
{
    commit(ctx, NULL);
}

/* The certificate and the end of the one it replaces: both, or none. */
static int record(struct issuance *i, struct err *e)
{
    struct ledger_entry both[2];

    if (i->withdrawn)
        return err_set(e, ERR_JOB_WITHDRAWN, "the approval of this job was withdrawn meanwhile");
    if (i->overtaken)
        return err_set(e, ERR_CERT_REVOKED,
                "the certificate to be replaced was revoked meanwhile: ask again");
    i->entry.tail = i->entry.type == LEDGER_KEY_MADE
                            ? (struct cert_bytes){i->wrapped_for, sizeof i->wrapped_for}
                            : (struct cert_bytes){i->cert.data, i->cert.len};
    both[0] = i->entry;
    both[1] = i->revocation;
    return ledger_add_all(i->issuer->parts.ledger, both, i->revocation.type ? 2 : 1, e);
}

/* What was made goes into the ledger's group to come; why: it could not be made. */
static void conclude(struct issuance *i, const struct err *why)
{
    struct issuer *s = i->issuer;
    struct err e = {0};

    if (!why && record(i, &e) < 0)
        why = &e;
    if (why) {
        issuance_take_out(&s->under_way, i);
        issuance_answer(i, why);
        return;
    }
    i->recorded = 1;
    if (idle_want(s->commit) < 0 || ledger_waiting(s->parts.ledger) >= GROUP_MAX)
        commit(s, NULL);
}

static void on_signed(void *ctx, const uint8_t *sig, size_t len, const struct err *why)
{
    struct issuance *i = ctx;
    struct issuer *s = i->issuer;
    const struct cert_bytes tbs = {i->tbs.data, i->tbs.len}, signature = {sig, len};
    struct err e = {0};

    if (!why) {
        latency_end(&s->latency, i->started_us);
        if (cert_assemble(&tbs, s->parts.ca->alg, &signature, &i->cert, &e) < 0)
            why = &e;
    }
    conclude(i, why);
}

static void on_key_made(void *ctx, const struct made_key *k, const struct err *why)
{
    struct issuance *i = ctx;
    struct err e = {0};

    if (k && (EVP_Digest(k->spki, k->spki_len, i->entry.spki_sha256, NULL, EVP_sha256(), NULL) !=
                             1 ||
                     buf_append(&i->cert, k->jwe, k->jwe_len, &e) < 0)) {
        err_set(&e, ERR_NOMEM, "no memory for a key");
        why = &e;
    }
    conclude(i, why);
}

/* ---- the way of a request */

static int build(struct issuer *s, const struct request *q, struct issuance *i, struct err *e)
{
    const struct ca *ca = s->parts.ca;
    const struct profile_case c = {
            .row = &q->row,
            .device_id = q->device_id,
            .key = q->csr.key,
            .ca_key_id = ca->key_id,
            .ca_not_before = ca->not_before,
            .ca_not_after = ca->not_after,
            .now_s = (i->entry.time_ms - CLOCK_LAG_MS) / 1000,
    };
    struct cert_fields fields = {
            .alg = ca->alg,
            .issuer = ca->subject,
            .spki = {q->csr.spki, q->csr.spki_len},
            .authority_key_id = ca->key_id,
    };
    struct profile_space space;
    int r = -1;

    space.subject = space.alt_names = BUF_INIT;
    memcpy(fields.subject_key_id, q->csr.key_id, sizeof fields.subject_key_id);
    if (cert_serial(fields.serial, e) == 0 &&
            profile_apply(q->profile, &c, &space, &fields, e) == 0) {
        memcpy(i->entry.serial, fields.serial, sizeof fields.serial);
        r = cert_tbs(&fields, &i->tbs, e);
    }
    profile_space_done(&space);
    return r;
}

/* Takes i. On success it may be gone already. */
static int sign(struct issuer *s, struct issuance *i, struct err *e)
{
    i->next = s->under_way;
    s->under_way = i;
    if (!ledger_vouched(s->parts.ledger)) {
        i->held = 1;
        return 0;
    }
    if (workers_sign(s->parts.workers, i->tbs.data, i->tbs.len, on_signed, i, e) == 0)
        return 0;
    s->under_way = i->next;
    issuance_free(i);
    return -1;
}

void issuer_resume(struct issuer *s, const struct err *why)
{
    struct issuance *i = s->under_way;

    /* from the start after each: an answer may bring the next request */
    while (i) {
        struct err e = {0};

        if (!i->held) {
            i = i->next;
            continue;
        }
        i->held = 0;
        if (why || workers_sign(s->parts.workers, i->tbs.data, i->tbs.len, on_signed, i, &e) < 0) {
            issuance_take_out(&s->under_way, i);
            issuance_answer(i, why ? why : &e);
        }
        i = s->under_way;
    }
}

/* have, have_cert: what is replaced; NULL when the device has nothing. */
static int begin(struct issuer *s, const struct request *q, const struct ledger_entry *have,
        const struct buf *have_cert, signer_done_fn done, void *ctx, struct err *e)
{
    struct issuance *i = issuance_new(s, q, LEDGER_ISSUED, e);

    if (!i)
        return -1;
    if (issuance_add_waiter(i, done, ctx, e) < 0 || build(s, q, i, e) < 0 ||
            (have && !ledger_find_revoked(s->parts.ledger, have->serial) &&
                    past_revocation(have, have_cert, ORDER_SUPERSEDED, i->revoked_ca,
                            &i->revocation, e) < 0)) {
        issuance_free(i);
        return -1;
    }
    return sign(s, i, e);
}

static int decide(
        struct issuer *s, const struct request *q, signer_done_fn done, void *ctx, struct err *e)
{
    struct issuance *i = issuance_find(s->under_way, q);
    struct ledger_entry have;
    struct buf cert = BUF_INIT;
    enum past past;
    int r = -1;

    if (i)
        return issuance_check_same(i, q, e) < 0 ? -1 : issuance_add_waiter(i, done, ctx, e);
    if (past_judge(s->parts.ledger, q, &past, &have, &cert, e) < 0)
        goto out;
    if (past == PAST_SAME) {
        done(ctx, cert.data, cert.len, issuance_marks(&have), NULL);
        r = 0;
    } else if (check_new(s, q, e) == 0) {
        r = begin(s, q, past == PAST_REPLACE ? &have : NULL, &cert, done, ctx, e);
    }
out:
    buf_done(&cert);
    return r;
}

int issuer_issue(struct issuer *s, const struct signer_issue *request, signer_done_fn done,
        void *ctx, struct err *e)
{
    struct request *q = calloc(1, sizeof *q);
    struct err why = {0};
    int r = -1;

    if (!q)
        return err_set(e, ERR_NOMEM, "no memory for a request");
    if (check_open(s, &why) == 0 && request_check(&s->parts.rules, request, q, &why) == 0 &&
            birth_check_origin(s->parts.ledger, q, &why) == 0)
        r = decide(s, q, done, ctx, &why);
    if (r < 0)
        note_refusal(s, q, &why);
    if (r < 0 && e)
        *e = why;
    free(q);
    return r;
}

/* ---- keys for devices that make none */

static int check_birth(struct issuer *s, const struct request *q, const struct signer_make_key *k,
        enum born_key_type *ret, struct err *e)
{
    uint64_t under_way = 0;

    /* on an old copy of the ledger it would be forgotten that the signer made the key */
    if (check_vouched(s, e) < 0 || check_room(s, e) < 0)
        return -1;
    for (const struct issuance *i = s->under_way; i; i = i->next)
        under_way += i->entry.type == LEDGER_KEY_MADE &&
                     memcmp(i->entry.job, q->entry.job, LEDGER_ID_BYTES) == 0;
    if (request_check_time(q, e) < 0 || birth_check(s->parts.ledger, q, k, under_way, ret, e) < 0)
        return -1;
    if (ledger_job_withdrawn(s->parts.ledger, q->entry.job))
        return err_set(e, ERR_JOB_WITHDRAWN, "the approval of this job was withdrawn");
    if (!s->parts.key_maker)
        return err_set(e, ERR_KEY_ORIGIN, "this signer makes no keys: [signer] born_keys is 'no'");
    return 0;
}

static int begin_birth(struct issuer *s, const struct request *q, const struct signer_make_key *k,
        enum born_key_type type, signer_done_fn done, void *ctx, struct err *e)
{
    struct issuance *i = issuance_new(s, q, LEDGER_KEY_MADE, e);

    if (!i)
        return -1;
    i->next = s->under_way;
    s->under_way = i;
    if (issuance_add_waiter(i, done, ctx, e) == 0) {
        if (EVP_Digest(k->transport_key, k->transport_key_len, i->wrapped_for, NULL, EVP_sha256(),
                    NULL) != 1)
            err_set(e, ERR_NOMEM, "no digest can be made");
        else if (key_maker_make(s->parts.key_maker, type, k->transport_key, k->transport_key_len,
                         on_key_made, i, e) == 0)
            return 0;
    }
    issuance_take_out(&s->under_way, i);
    issuance_free(i);
    return -1;
}

int issuer_make_key(struct issuer *s, const struct signer_make_key *request, signer_done_fn done,
        void *ctx, struct err *e)
{
    struct request *q = calloc(1, sizeof *q);
    struct err why = {0};
    enum born_key_type type;
    int r = -1;

    if (!q)
        return err_set(e, ERR_NOMEM, "no memory for a request");
    if (check_open(s, &why) == 0 &&
            request_check_authority(&s->parts.rules, &request->q, q, &why) == 0 &&
            check_birth(s, q, request, &type, &why) == 0)
        r = begin_birth(s, q, request, type, done, ctx, &why);
    if (r < 0)
        note_refusal(s, q, &why);
    if (r < 0 && e)
        *e = why;
    free(q);
    return r;
}

/* ---- revocation */

int issuer_record(struct issuer *s, const struct ledger_entry *entry, struct err *e)
{
    return ledger_add(s->parts.ledger, entry, e) < 0 ? -1 : commit(s, e);
}

/* What waits must be in the look-ups; and what a ledger that is refused says of an order may be a forgery. */
static int prepare_order(struct issuer *s, struct err *e)
{
    return check_open(s, e) < 0 || check_fault(s, e) < 0 ? -1 : commit(s, e);
}

static int no_such_certificate(const struct order *o, struct err *e)
{
    return err_set(e, ERR_NOT_FOUND, "this signer gave device %s no such certificate", o->device);
}

/* Every certificate that is not its device's newest is revoked already. */
static int begin_revocation(struct issuer *s, const struct order *o,
        const uint8_t device[LEDGER_ID_BYTES], uint8_t ca[CERT_KEY_ID_BYTES],
        struct ledger_entry *ret, struct err *e)
{
    struct ledger_entry have;
    struct buf cert = BUF_INIT;
    int found = ledger_find_device(s->parts.ledger, device, &have, &cert, e), r = -1;

    if (found > 0 && memcmp(have.serial, o->serial, sizeof have.serial) == 0)
        r = past_revocation(&have, &cert, (uint8_t)o->reason, ca, ret, e);
    else if (found >= 0)
        no_such_certificate(o, e);
    buf_done(&cert);
    return r;
}

/* Nothing of this device that is under way may go on as it began. */
static void overtake(struct issuer *s, const struct ledger_entry *revocation)
{
    for (struct issuance *i = s->under_way; i; i = i->next)
        i->overtaken |= memcmp(i->entry.device, revocation->device, LEDGER_ID_BYTES) == 0;
}

int issuer_revoke(
        struct issuer *s, const struct order *o, struct issuer_revocation *ret, struct err *e)
{
    const struct ledger_revoked *before;
    uint8_t ca[CERT_KEY_ID_BYTES], device[LEDGER_ID_BYTES];
    struct ledger_entry entry;

    uuid_bytes(o->device, device);
    if (prepare_order(s, e) < 0)
        return -1;
    before = ledger_find_revoked(s->parts.ledger, o->serial);
    if (before && memcmp(before->device, device, sizeof device) != 0)
        return no_such_certificate(o, e);
    *ret = (struct issuer_revocation){.before = before != NULL};
    if (before) {
        ret->time_ms = before->time_ms;
        ret->was = ret->reason = before->reason;
        if (!order_reason_is_worse(o->reason, before->reason))
            return 0;
    }
    if (check_vouched(s, e) < 0)
        return -1;
    if (before)
        past_worse_revocation(before, (uint8_t)o->reason, ca, &entry);
    else if (begin_revocation(s, o, device, ca, &entry, e) < 0)
        return -1;
    if (issuer_record(s, &entry, e) < 0)
        return -1;
    ret->fresh = true;
    ret->reason = entry.reason;
    if (!ret->before)
        ret->time_ms = entry.time_ms;
    overtake(s, &entry);
    log_info("revoked", LOG_STR("device", o->device), LOG_STR("approver", o->approver),
            LOG_STR("reason", order_reason_name(o->reason)),
            LOG_STR("before", ret->before ? order_reason_name(ret->was) : ""));
    return 0;
}

int issuer_withdraw(struct issuer *s, const struct order *o, bool *ret_fresh, struct err *e)
{
    struct ledger_entry entry = {.type = LEDGER_WITHDRAWN, .time_ms = time_now_ms()};

    uuid_bytes(o->job, entry.job);
    if (prepare_order(s, e) < 0)
        return -1;
    *ret_fresh = !ledger_job_withdrawn(s->parts.ledger, entry.job);
    if (!*ret_fresh)
        return 0;
    if (check_vouched(s, e) < 0 || issuer_record(s, &entry, e) < 0)
        return -1;
    for (struct issuance *i = s->under_way; i; i = i->next)
        i->withdrawn |= memcmp(i->entry.job, entry.job, LEDGER_ID_BYTES) == 0;
    log_info("withdrawn", LOG_STR("job", o->job), LOG_STR("approver", o->approver));
    return 0;
}

void issuer_finish(struct issuer *s)
{
    s->finishing = true;
}

/* ---- life */

int issuer_open(const struct issuer_parts *p, struct issuer **ret, struct err *e)
{
    struct issuer *s = calloc(1, sizeof *s);

    if (!s)
        return err_set(e, ERR_NOMEM, "no memory for the issuer");
    s->parts = *p;
    s->refusals.count = ledger_counts(p->ledger).refused;
    if (csr_reader_new(&s->parts.rules.reader, e) < 0) {
        free(s);
        return -1;
    }
    if (idle_new(p->event, COMMIT_MS, on_idle, s, &s->commit, e) < 0) {
        issuer_close(&s);
        return -1;
    }
    *ret = s;
    return 0;
}

void issuer_close(struct issuer **ps)
{
    struct issuer *s = *ps;
    struct err e = {0};

    if (!s)
        return;
    commit(s, NULL);
    err_set(&e, ERR_UNAVAILABLE, "the signer stops");
    while (s->under_way) {
        struct issuance *i = s->under_way;

        issuance_take_out(&s->under_way, i);
        issuance_answer(i, &e);
    }
    idle_free(&s->commit);
    csr_reader_free(&s->parts.rules.reader);
    free(s);
    *ps = NULL;
}

void issuer_counts(const struct issuer *s, struct issuer_counts *ret)
{
    *ret = (struct issuer_counts){.issued = ledger_counts(s->parts.ledger).issued,
            .refused = s->refusals.count,
            .sign_us_p50 = latency_percentile(&s->latency, 50),
            .sign_us_p99 = latency_percentile(&s->latency, 99)};
}
