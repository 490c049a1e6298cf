/* Certification. Promises: no certificate without an approved row, none beyond the quota, one per
 * device, and none that is not in the ledger on disk before anyone sees it. Must not use anything a
 * request says but the row the approver signed for and the key the device proved. The order of the
 * checks: who approved, for what, for which row, which key; then the past. */
#include "hsm/issuer.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/row.h"
#include "base/text.h"
#include "base/uuid.h"
#include "hsm/authority.h"
#include "hsm/ca.h"
#include "hsm/cert.h"
#include "hsm/csr.h"
#include "hsm/latency.h"
#include "hsm/ledger.h"
#include "hsm/nonce.h"
#include "hsm/profile.h"
#include "hsm/ticket.h"
#include "hsm/workers.h"

#define GROUP_MAX                                                                                  \
    256 /* certificates that one fdatasync makes durable; more would only lengthen the wait */
#define REFUSALS_BURST                                                                             \
    64 /* refusals recorded at once; then one a second: an attacker must not fill the disk */
#define REFUSAL_EVERY_MS 1000

struct waiter {
    struct waiter *next;
    signer_done_fn done;
    void *ctx;
};

/* One device under way; nobody else may get a certificate for the same device or key meanwhile. */
struct issuance {
    struct issuance *next;
    struct issuer *issuer;
    struct ledger_entry entry; /* what will be recorded; its tail is cert */
    struct waiter *waiters;    /* the first one asked first */
    struct buf tbs, cert;
    uint64_t started_us;
    int recorded; /* in the ledger's group to come */
};

struct issuer {
    struct issuer_parts parts;
    struct csr_reader *reader;
    sd_event_source *commit; /* runs when nothing else is to be done: then the group is as large as
                                it gets */
    struct issuance *under_way;
    uint64_t refused;
    int64_t refusals_full_ms; /* when the right to record refusals is whole again */
    struct latency latency;
};

/* What a request turned out to be. */
struct facts {
    const struct ticket *ticket;
    const struct profile *profile;
    struct row row;
    struct csr csr;
    struct ledger_entry entry;
    char device_id[UUID_TEXT_MAX];
    char device_name[NAME_BYTES_MAX + 1];
};

/* ---- checks */

static void uuid_bytes(const char *text, uint8_t ret[LEDGER_ID_BYTES])
{
    char digits[2 * LEDGER_ID_BYTES + 1];
    size_t n = 0;

    for (; *text && n < 2 * LEDGER_ID_BYTES; text++)
        if (*text != '-')
            digits[n++] = *text;
    if (hex_parse(digits, n, ret, LEDGER_ID_BYTES) < 0)
        assert(!"uuid_valid() and uuid_device() let only UUIDs through");
}

static int check_row(const struct signer_issue *q, struct facts *f, struct err *e)
{
    const struct ticket *t = f->ticket;
    struct merkle_hash leaf, proof[MERKLE_PROOF_MAX];
    char group[NAME_BYTES_MAX + 1];

    if (q->proof_len % MERKLE_HASH_BYTES || q->proof_len > sizeof proof)
        return err_set(e, ERR_PROOF, "the inclusion proof has a wrong size");
    if (q->proof_len)
        memcpy(proof, q->proof, q->proof_len);
    merkle_leaf(q->row, q->row_len, &leaf);
    if (merkle_verify(&leaf, q->row_index, t->rows, proof, q->proof_len / MERKLE_HASH_BYTES,
                &t->root, e) < 0 ||
            row_decode(q->row, q->row_len, &f->row, e) < 0 ||
            row_copy(&f->row, "device_name", f->device_name, sizeof f->device_name, e) < 0 ||
            row_copy(&f->row, "device_group", group, sizeof group, e) < 0)
        return err_context(e, "row %llu", (unsigned long long)q->row_index);
    if (!name_valid(f->device_name, strlen(f->device_name)) || !name_valid(group, strlen(group)))
        return err_set(e, ERR_PROFILE, "the row has no valid device_name and device_group");
    uuid_device(t->account, t->division, group, f->device_name, f->device_id);
    uuid_bytes(f->device_id, f->entry.device);
    return 0;
}

/* Everything about the request itself; the ticket is verified already. */
static int check_request(
        struct issuer *s, const struct signer_issue *q, struct facts *f, struct err *e)
{
    int64_t now_ms = time_now_ms();

    if (ticket_check(f->ticket, s->parts.station, now_ms / 1000, e) < 0 ||
            profile_find(f->ticket->profile, &f->profile, e) < 0 || check_row(q, f, e) < 0 ||
            nonce_check(s->parts.nonce_key, now_ms, s->parts.nonce_valid_s, f->ticket->job,
                    q->row_index, q->nonce, e) < 0 ||
            csr_read(s->reader, q->csr, q->csr_len, q->nonce, f->profile->keys, &f->csr, e) < 0)
        return -1;
    memcpy(f->entry.spki_sha256, f->csr.spki_sha256, sizeof f->entry.spki_sha256);
    return 0;
}

/* The device has, or is getting, a certificate: only the very same request may have it again. */
static int check_same(const struct ledger_entry *have, const struct facts *f, struct err *e)
{
    if (memcmp(have->spki_sha256, f->entry.spki_sha256, sizeof have->spki_sha256) != 0)
        return err_set(
                e, ERR_KEY_CHANGED, "device %s has a certificate for another key", f->device_name);
    if (memcmp(have->job, f->entry.job, sizeof have->job) != 0)
        return err_set(
                e, ERR_EXISTS, "device %s has its certificate from another job", f->device_name);
    return 0;
}

static int check_new(struct issuer *s, const struct facts *f, struct err *e)
{
    struct ledger_entry other;
    uint64_t used = ledger_job_count(s->parts.ledger, f->entry.job);
    int found = ledger_find_key(s->parts.ledger, f->entry.spki_sha256, &other, e);

    if (found < 0 || ca_check_time(s->parts.ca, time_now_ms() / 1000, e) < 0)
        return -1;
    for (const struct issuance *i = s->under_way; i; i = i->next) {
        found |= memcmp(i->entry.spki_sha256, f->entry.spki_sha256, sizeof i->entry.spki_sha256) ==
                 0;
        used += memcmp(i->entry.job, f->entry.job, sizeof i->entry.job) == 0;
    }
    if (found)
        return err_set(e, ERR_KEY_REUSED,
                "device %s shows a key that was certified for another device", f->device_name);
    if (used >= f->ticket->quota)
        return err_set(e, ERR_QUOTA, "the ticket allows %llu certificates",
                (unsigned long long)f->ticket->quota);
    return 0;
}

/* ---- refusals */

static void schedule_commit(struct issuer *s)
{
    sd_event_source_set_enabled(s->commit, SD_EVENT_ONESHOT);
}

/* Only what an approver's ticket came with is worth the disk; faults of token and disk are no
 * refusals. */
static void record_refusal(struct issuer *s, struct facts *f, uint64_t row, const struct err *why)
{
    int64_t now_ms = time_monotonic_ms();
    char tail[LEDGER_REFUSAL_MAX + 1];

    log_warning("refused", LOG_STR("error", err_name(why->id)), LOG_STR("job", f->ticket->job),
            LOG_NUM("row", row), LOG_STR("device", f->device_name), LOG_STR("msg", why->msg));
    s->refused++;
    if (s->refusals_full_ms < now_ms)
        s->refusals_full_ms = now_ms;
    if (s->refusals_full_ms - now_ms > (int64_t)REFUSALS_BURST * REFUSAL_EVERY_MS)
        return;
    s->refusals_full_ms += REFUSAL_EVERY_MS;
    f->entry.type = LEDGER_REFUSED;
    f->entry.time_ms = time_now_ms();
    ledger_refusal(why, tail);
    f->entry.tail = (struct cert_bytes){(const uint8_t *)tail, strlen(tail)};
    /* best effort: the refusal stands, whether it can be recorded or not */
    if (ledger_add(s->parts.ledger, &f->entry, NULL) == 0)
        schedule_commit(s);
}

static int is_refusal(const struct err *e)
{
    enum err_class c = err_class(e->id);

    return c == ERR_CLASS_DEVICE || c == ERR_CLASS_OPERATOR || e->id == ERR_NONCE;
}

/* ---- answers */

static int add_waiter(struct issuance *i, signer_done_fn done, void *ctx, struct err *e)
{
    struct waiter **at = &i->waiters, *n = calloc(1, sizeof *n);

    if (!n)
        return err_set(e, ERR_NOMEM, "no memory for a request");
    *n = (struct waiter){.done = done, .ctx = ctx};
    while (*at)
        at = &(*at)->next;
    *at = n;
    return 0;
}

static void issuance_free(struct issuance *i)
{
    while (i->waiters) {
        struct waiter *next = i->waiters->next;

        free(i->waiters);
        i->waiters = next;
    }
    buf_done(&i->tbs);
    buf_done(&i->cert);
    free(i);
}

/* i is out of the list already: a callback may ask for the next certificate at once. */
static void answer(struct issuance *i, const struct err *why)
{
    bool fresh = true;

    for (struct waiter *w = i->waiters; w; w = w->next) {
        w->done(w->ctx, why ? NULL : i->cert.data, why ? 0 : i->cert.len, fresh, why);
        fresh = false;
    }
    issuance_free(i);
}

static void take_out(struct issuance *i)
{
    struct issuance **at = &i->issuer->under_way;

    while (*at != i)
        at = &(*at)->next;
    *at = i->next;
    i->next = NULL;
}

static void commit(struct issuer *s)
{
    struct issuance *recorded = NULL, **at = &s->under_way;
    struct err e = {0};
    int r = ledger_commit(s->parts.ledger, &e);

    if (r < 0)
        log_err(LOG_ERR, "ledger-not-written", &e);
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

        answer(recorded, r < 0 ? &e : NULL);
        recorded = next;
    }
    /* Only a new process can trust the file again, and it takes less time than a person. */
    if (!ledger_usable(s->parts.ledger))
        sd_event_exit(s->parts.event, EXIT_FAILURE);
}

static int on_idle(sd_event_source *source, void *ctx)
{
    (void)source;
    commit(ctx);
    return 0;
}

static void on_signed(void *ctx, const uint8_t *sig, size_t len, const struct err *why)
{
    struct issuance *i = ctx;
    struct issuer *s = i->issuer;
    const struct cert_bytes tbs = {i->tbs.data, i->tbs.len}, signature = {sig, len};
    struct err e = {0};

    if (!why) {
        latency_end(&s->latency, i->started_us);
        if (cert_assemble(&tbs, s->parts.ca->alg, &signature, &i->cert, &e) == 0) {
            i->entry.tail = (struct cert_bytes){i->cert.data, i->cert.len};
            i->recorded = ledger_add(s->parts.ledger, &i->entry, &e) == 0;
        }
        why = i->recorded ? NULL : &e;
    }
    if (why) {
        take_out(i);
        answer(i, why);
        return;
    }
    schedule_commit(s);
    if (ledger_waiting(s->parts.ledger) >= GROUP_MAX)
        commit(s);
}

/* ---- the way of a request */

static int build(struct issuer *s, const struct facts *f, struct issuance *i, struct err *e)
{
    const struct ca *ca = s->parts.ca;
    struct buf subject = BUF_INIT;
    struct cert_fields c = {
            .alg = ca->alg,
            .issuer = ca->subject,
            .not_before = i->entry.time_ms / 1000,
            .not_after = f->profile->not_after,
            .spki = {f->csr.spki, f->csr.spki_len},
            .authority_key_id = ca->key_id,
            .key_usage = f->profile->key_usage,
            .path_len = CERT_END_ENTITY,
            .client_auth = f->profile->client_auth,
    };
    int r = -1;

    memcpy(c.subject_key_id, f->csr.key_id, sizeof c.subject_key_id);
    if (cert_serial(c.serial, e) < 0 || profile_subject(&f->row, f->device_id, &subject, e) < 0 ||
            (f->profile->hardware_module_name && profile_hw_serial(&f->row, &c.hw_serial, e) < 0))
        goto out;
    c.subject = (struct cert_bytes){subject.data, subject.len};
    memcpy(i->entry.serial, c.serial, sizeof c.serial);
    r = cert_tbs(&c, &i->tbs, e);
out:
    buf_done(&subject);
    return r;
}

static int begin(
        struct issuer *s, const struct facts *f, signer_done_fn done, void *ctx, struct err *e)
{
    struct issuance *i = calloc(1, sizeof *i);

    if (!i)
        return err_set(e, ERR_NOMEM, "no memory for a request");
    i->issuer = s;
    i->entry = f->entry;
    i->entry.type = LEDGER_ISSUED;
    i->entry.time_ms = time_now_ms();
    i->started_us = latency_now_us();
    if (add_waiter(i, done, ctx, e) < 0 || build(s, f, i, e) < 0) {
        issuance_free(i);
        return -1;
    }
    i->next = s->under_way;
    s->under_way = i;
    /* on success i may be gone already */
    if (workers_sign(s->parts.workers, i->tbs.data, i->tbs.len, on_signed, i, e) == 0)
        return 0;
    s->under_way = i->next;
    issuance_free(i);
    return -1;
}

static int answer_known(struct issuer *s, struct facts *f, signer_done_fn done, void *ctx,
        int *ret_answered, struct err *e)
{
    struct buf cert = BUF_INIT;
    struct ledger_entry have;
    int found = ledger_find_device(s->parts.ledger, f->entry.device, &have, &cert, e);
    int r = found < 0 ? -1 : 0;

    *ret_answered = found == LEDGER_PRESENT;
    if (found == LEDGER_PRESENT) {
        r = check_same(&have, f, e);
        if (r == 0)
            done(ctx, cert.data, cert.len, false, NULL);
    }
    for (struct issuance *i = s->under_way; i && !*ret_answered && r == 0; i = i->next)
        if (memcmp(i->entry.device, f->entry.device, LEDGER_ID_BYTES) == 0) {
            *ret_answered = 1;
            r = check_same(&i->entry, f, e) < 0 || add_waiter(i, done, ctx, e) < 0 ? -1 : 0;
        }
    buf_done(&cert);
    return r;
}

int issuer_issue(struct issuer *s, const struct signer_issue *q, signer_done_fn done, void *ctx,
        struct err *e)
{
    struct facts *f = calloc(1, sizeof *f);
    struct err why = {0};
    int answered = 0, r = -1;

    if (!f)
        return err_set(e, ERR_NOMEM, "no memory for a request");
    f->entry.row = q->row_index;
    if (authority_ticket(s->parts.authority, q->ticket, &f->ticket, &why) < 0)
        goto out;
    uuid_bytes(f->ticket->job, f->entry.job);
    if (check_request(s, q, f, &why) == 0 && answer_known(s, f, done, ctx, &answered, &why) == 0 &&
            (answered || (check_new(s, f, &why) == 0 && begin(s, f, done, ctx, &why) == 0)))
        r = 0;
    if (r < 0 && is_refusal(&why))
        record_refusal(s, f, q->row_index, &why);
out:
    if (r < 0 && e)
        *e = why;
    free(f);
    return r;
}

/* ---- life */

int issuer_open(const struct issuer_parts *p, struct issuer **ret, struct err *e)
{
    struct issuer *s = calloc(1, sizeof *s);
    int r;

    if (!s)
        return err_set(e, ERR_NOMEM, "no memory for the issuer");
    s->parts = *p;
    s->refused = ledger_counts(p->ledger).refused;
    if (csr_reader_new(&s->reader, e) < 0) {
        free(s);
        return -1;
    }
    r = sd_event_add_defer(p->event, &s->commit, on_idle, s);
    if (r >= 0)
        r = sd_event_source_set_priority(s->commit, SD_EVENT_PRIORITY_NORMAL + 10);
    if (r >= 0)
        r = sd_event_source_set_enabled(s->commit, SD_EVENT_OFF);
    if (r < 0) {
        issuer_close(&s);
        return err_set_errno(e, -r, "prepare the issuer");
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
    commit(s);
    err_set(&e, ERR_UNAVAILABLE, "the signer stops");
    while (s->under_way) {
        struct issuance *i = s->under_way;

        take_out(i);
        answer(i, &e);
    }
    sd_event_source_disable_unref(s->commit);
    csr_reader_free(&s->reader);
    free(s);
    *ps = NULL;
}

void issuer_counts(const struct issuer *s, struct issuer_counts *ret)
{
    *ret = (struct issuer_counts){.issued = ledger_counts(s->parts.ledger).issued,
            .refused = s->refused,
            .sign_us_p50 = latency_percentile(&s->latency, 50),
            .sign_us_p99 = latency_percentile(&s->latency, 99)};
}
