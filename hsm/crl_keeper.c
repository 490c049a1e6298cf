/* When a CRL is due, and how it comes into the world: built, signed, recorded in the ledger, and only
 * then published, so that no number is ever given twice. One at a time; whatever goes wrong is tried
 * again with a growing pause, and said in the status meanwhile. Lists keep a pace, so that no rate of
 * revocations or of people's wishes takes the signer's time. Must never publish a list that is older than
 * the one before it, whatever the clock does. */
#include "hsm/crl_keeper.h"
#include <limits.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/buf.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "hsm/ca.h"
#include "hsm/x509/crl.h"
#include "hsm/x509/pem.h"
#include "hsm/ledger/ledger.h"

#define CAS_MAX        (CA_RETIRED_MAX + 1)
#define BACKOFF_MIN_MS 1000
#define BACKOFF_MAX_MS 300000
#define WAITERS_MAX                                                                                \
    64 /* an answer can be as far away as the token: who asks on and on must not fill the memory */

/* One CA's list. */
struct list {
    const struct ca *ca;
    uint8_t id[CERT_KEY_ID_BYTES];
    char path[PATH_MAX];
    bool wanted;           /* by a person, now */
    bool damaged;          /* the file is not what the ledger says; seen at the start */
    unsigned failures;     /* in a row */
    int64_t not_before_ms; /* monotonic: the pause after a failure ... */
    int64_t pace_ms;       /* ... and the one after any attempt, which nobody can skip */
    struct err error;
};
struct waiter {
    struct waiter *next;
    void (*done)(void *ctx, const struct err *e);
    void *ctx;
};
struct crl_keeper {
    struct crl_keeper_parts parts;
    struct list lists[CAS_MAX];
    size_t count;
    sd_event_source *timer;
    struct list *making; /* NULL: none is being signed */
    int64_t took_ms;     /* of the loop's time */
    struct ledger_crl next;
    struct buf tbs;
    struct waiter *waiters;
    unsigned waiting; /* waiters */
};

static int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void look_in(struct crl_keeper *k, int64_t ms)
{
    if (sd_event_source_set_time_relative(k->timer, (uint64_t)ms * 1000) < 0 ||
            sd_event_source_set_enabled(k->timer, SD_EVENT_ONESHOT) < 0)
        log_error("crl-timer-failed");
}

/* ---- when */

static bool is_published(const struct list *l)
{
    struct stat st;

    return !l->damaged && stat(l->path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0;
}

/* Half of what remains for a verifier, by the list itself or by a setting that was made shorter. */
static int64_t renewal_ms(const struct crl_keeper *k, const struct ledger_crl *last)
{
    return last->this_update_ms +
           min_i64(k->parts.valid_ms, last->next_update_ms - last->this_update_ms) / 2;
}

/* Nobody who wants a list gets more out of a new one. */
static bool is_fresh(const struct crl_keeper *k, const struct list *l, int64_t now_ms)
{
    const struct ledger_crl *last = ledger_last_crl(k->parts.ledger, l->id);
    int64_t age_ms = last ? now_ms - last->this_update_ms : -1;

    return age_ms >= 0 && age_ms < CRL_FRESH_MS && is_published(l) &&
           ledger_crl_complete(k->parts.ledger, last);
}

static bool is_due(const struct crl_keeper *k, const struct list *l, int64_t now_ms)
{
    const struct ledger_crl *last = ledger_last_crl(k->parts.ledger, l->id);

    /* what it issued is over as well */
    if (now_ms / 1000 > l->ca->not_after)
        return l->wanted;
    return l->wanted || !last || !is_published(l) || !ledger_crl_complete(k->parts.ledger, last) ||
           now_ms >= renewal_ms(k, last);
}

/* ---- who waits for it */

static void answer_all(struct crl_keeper *k, const struct err *why)
{
    struct waiter *all = k->waiters;

    k->waiters = NULL; /* an answer may ask again at once */
    k->waiting = 0;
    for (struct waiter *w = all, *next; w; w = next) {
        next = w->next;
        w->done(w->ctx, why);
        free(w);
    }
}

static void settle(struct crl_keeper *k, struct list *l, const struct err *why)
{
    int64_t pause_ms = BACKOFF_MIN_MS, now_ms = k->parts.up_ms();

    l->pace_ms = now_ms + min_i64(CRL_PACE_MAX_MS, CRL_PACE_TIMES * k->took_ms > CRL_PACE_MS
                                                           ? CRL_PACE_TIMES * k->took_ms
                                                           : CRL_PACE_MS);
    k->making = NULL;
    buf_done(&k->tbs);
    if (!why) {
        l->failures = 0;
        l->damaged = false;
        l->error = (struct err){0};
    } else {
        if (l->error.id != why->id)
            log_err(LOG_ERR, "crl-not-published", why);
        l->error = *why;
        l->wanted = false;
        for (unsigned i = 0; i < l->failures && pause_ms < BACKOFF_MAX_MS; i++)
            pause_ms *= 2;
        l->failures++;
        l->not_before_ms = now_ms + min_i64(pause_ms, BACKOFF_MAX_MS);
        answer_all(k, why);
    }
    look_in(k, 0); /* which answers when all that were wanted are there */
}

/* ---- how */

/* Not older than the last one: a verifier that has that one would not take this one. */
static void set_times(struct crl_keeper *k, const struct list *l)
{
    const struct ledger_crl *last = ledger_last_crl(k->parts.ledger, l->id);
    int64_t now_ms = k->parts.now_ms();

    if (last && now_ms < last->this_update_ms) {
        log_warning(
                "crl-clock-went-back", LOG_NUM("seconds", (last->this_update_ms - now_ms) / 1000));
        now_ms = last->this_update_ms;
    }
    k->next = (struct ledger_crl){.number = ledger_crl_number(k->parts.ledger) + 1,
            .this_update_ms = now_ms,
            .next_update_ms = now_ms + k->parts.valid_ms};
    memcpy(k->next.ca, l->id, sizeof k->next.ca);
    ledger_crl_count(k->parts.ledger, &k->next);
}

static int build(struct crl_keeper *k, const struct list *l, struct err *e)
{
    struct crl_fields f = {
            .alg = l->ca->alg,
            .issuer = l->ca->subject,
            .authority_key_id = l->ca->key_id,
    };

    if (!(X509_get_key_usage(l->ca->cert) & KU_CRL_SIGN))
        return err_set(e, ERR_CONFIG, "the CA certificate does not allow CRLs (no cRLSign): %s",
                l->ca->subject_text);
    set_times(k, l);
    f.number = k->next.number;
    f.this_update = k->next.this_update_ms / 1000;
    f.next_update = k->next.next_update_ms / 1000;
    f.revoked = ledger_revoked(k->parts.ledger, &f.revoked_count);
    memcpy(f.ca, l->id, sizeof f.ca);
    return crl_tbs(&f, &k->tbs, e);
}

static int record(struct crl_keeper *k, const struct buf *der, struct err *e)
{
    uint8_t tail[LEDGER_CRL_TAIL];
    struct ledger_entry entry = {.type = LEDGER_CRL,
            .row = k->next.number,
            .time_ms = k->next.this_update_ms,
            .tail = {tail, sizeof tail}};

    if (EVP_Digest(der->data, der->len, entry.spki_sha256, NULL, EVP_sha256(), NULL) != 1)
        return err_set(e, ERR_NOMEM, "no digest can be made");
    ledger_crl_tail(&k->next, tail);
    return k->parts.record(k->parts.ctx, &entry, e);
}

/* The PEM first: where the DER is right, at the next start, the PEM is. */
static int publish(const struct list *l, const struct buf *der, struct err *e)
{
    char path[PATH_MAX];
    struct buf pem = BUF_INIT;
    int r = -1;

    if (snprintf(path, sizeof path, "%s.pem", l->path) >= (int)sizeof path)
        return err_set(e, ERR_LIMIT, "the path of a CRL is too long");
    if (pem_format(PEM_STRING_X509_CRL, der->data, der->len, &pem, e) == 0 &&
            file_write(path, pem.data, pem.len, 0644, e) == 0)
        r = file_write(l->path, der->data, der->len, 0644, e);
    buf_done(&pem);
    return r;
}

static void on_signed(void *ctx, const uint8_t *sig, size_t len, const struct err *why)
{
    struct crl_keeper *k = ctx;
    struct list *l = k->making;
    int64_t begun_ms = k->parts.up_ms();
    const struct cert_bytes tbs = {k->tbs.data, k->tbs.len}, signature = {sig, len};
    struct buf der = BUF_INIT;
    struct err e = {0};

    if (why)
        e = *why;
    else if (crl_assemble(&tbs, l->ca->alg, &signature, &der, &e) == 0 &&
             record(k, &der, &e) == 0 && publish(l, &der, &e) == 0)
        log_info("crl-published", LOG_NUM("number", (int64_t)k->next.number),
                LOG_NUM("revoked", (int64_t)k->next.entries), LOG_STR("file", l->path));
    else
        l->damaged = true; /* recorded, perhaps, but not there */
    buf_done(&der);
    k->took_ms += k->parts.up_ms() - begun_ms;
    settle(k, l, e.id ? &e : NULL);
}

static void make(struct crl_keeper *k, struct list *l)
{
    int64_t begun_ms = k->parts.up_ms();
    struct err e = {0};
    int r;

    k->making = l;
    l->wanted = false; /* who wants one from now on may know of a later revocation */
    r = build(k, l, &e);
    k->took_ms = k->parts.up_ms() - begun_ms;
    /* on success on_signed() may have been called already */
    if (r < 0 || k->parts.sign(k->parts.ctx, l->ca, k->tbs.data, k->tbs.len, on_signed, k, &e) < 0)
        settle(k, l, &e);
}

/* When it may be made, monotonic. After a failure a person need not wait for the next try. */
static int64_t ready_ms(const struct list *l)
{
    return l->wanted || l->pace_ms > l->not_before_ms ? l->pace_ms : l->not_before_ms;
}

static void look(struct crl_keeper *k)
{
    int64_t now_ms = k->parts.now_ms(), wait_ms = CRL_LOOK_MS;
    bool wanted = false;

    if (k->making)
        return; /* its end looks again */
    if (!ledger_vouched(k->parts.ledger))
        return; /* of an old copy a list would lack revocations; crl_keeper_resume() looks again */
    for (size_t i = 0; i < k->count; i++) {
        struct list *l = &k->lists[i];
        int64_t pause_ms;

        if (l->wanted && is_fresh(k, l, now_ms))
            l->wanted = false;
        wanted |= l->wanted;
        if (!is_due(k, l, now_ms))
            continue;
        pause_ms = ready_ms(l) - k->parts.up_ms();
        if (pause_ms <= 0) {
            make(k, l);
            return;
        }
        wait_ms = min_i64(wait_ms, pause_ms);
    }
    if (!wanted)
        answer_all(k, NULL);
    if (k->parts.rest)
        k->parts.rest(k->parts.ctx);
    look_in(k, wait_ms);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *ctx)
{
    (void)source, (void)usec;
    look(ctx);
    return 0;
}

/* ---- from outside */

void crl_keeper_revoked(struct crl_keeper *k)
{
    if (!k->making)
        look_in(k, 0);
}

void crl_keeper_resume(struct crl_keeper *k)
{
    look(k);
}

int crl_keeper_renew(struct crl_keeper *k, void (*done)(void *ctx, const struct err *e), void *ctx,
        struct err *e)
{
    const struct err *fault = ledger_fault(k->parts.ledger);
    struct waiter *w;

    if (fault->id) {
        if (e)
            *e = *fault;
        return -1;
    }
    if (k->waiting >= WAITERS_MAX)
        return err_set(e, ERR_UNAVAILABLE, "%d requests wait for new CRLs already", WAITERS_MAX);
    w = malloc(sizeof *w);
    if (!w)
        return err_set(e, ERR_NOMEM, "no memory for a request");
    *w = (struct waiter){k->waiters, done, ctx};
    k->waiters = w;
    k->waiting++;
    for (size_t i = 0; i < k->count; i++)
        k->lists[i].wanted = true;
    if (!k->making)
        look_in(k, 0);
    return 0;
}

bool crl_keeper_status(const struct crl_keeper *k, size_t i, struct crl_status *ret)
{
    const struct ledger_crl *last;
    int64_t now_ms = k->parts.now_ms();

    if (i >= k->count)
        return false;
    last = ledger_last_crl(k->parts.ledger, k->lists[i].id);
    *ret = (struct crl_status){.ca = k->lists[i].ca, .error = k->lists[i].error};
    if (last) {
        ret->number = last->number;
        ret->this_update_ms = last->this_update_ms;
        ret->next_update_ms = last->next_update_ms;
        ret->revoked = (size_t)last->entries;
    }
    ret->overdue = now_ms / 1000 <= ret->ca->not_after && (!last || now_ms >= last->next_update_ms);
    return true;
}

/* ---- life */

/* The file must be the one the ledger knows. */
static bool is_damaged(const struct crl_keeper *k, const struct list *l)
{
    const struct ledger_crl *last = ledger_last_crl(k->parts.ledger, l->id);
    struct buf der = BUF_INIT;
    uint8_t sha256[32];
    bool same = last && file_read(l->path, CRL_BYTES_MAX, &der, NULL) == 0 &&
                EVP_Digest(der.data, der.len, sha256, NULL, EVP_sha256(), NULL) == 1 &&
                memcmp(sha256, last->sha256, sizeof sha256) == 0;

    buf_done(&der);
    return last && !same;
}

static int add_list(struct crl_keeper *k, const struct ca *ca, struct err *e)
{
    struct list *l = &k->lists[k->count];
    char name[2 * CERT_KEY_ID_BYTES + 1];

    l->ca = ca;
    ca_id(&ca->key_id, l->id);
    hex_format(l->id, sizeof l->id, name);
    if (snprintf(l->path, sizeof l->path, "%s/%s.crl", k->parts.dir, name) >= (int)sizeof l->path)
        return err_set(e, ERR_LIMIT, "the path of a CRL is too long");
    l->damaged = is_damaged(k, l);
    if (l->damaged)
        log_warning("crl-file-damaged", LOG_STR("file", l->path));
    k->count++;
    return 0;
}

int crl_keeper_open(const struct crl_keeper_parts *p, struct crl_keeper **ret, struct err *e)
{
    struct crl_keeper *k = calloc(1, sizeof *k);
    int r;

    if (!k)
        return err_set(e, ERR_NOMEM, "no memory for the CRLs");
    k->parts = *p;
    if (file_mkdirs(p->dir, 0755, e) < 0 || add_list(k, p->cas->active, e) < 0)
        goto fail;
    for (size_t i = 0; i < p->cas->retired_count; i++)
        if (add_list(k, p->cas->retired[i], e) < 0)
            goto fail;
    /* by the time since boot, suspended or not; what the wall clock says is looked at each time */
    r = sd_event_add_time_relative(p->event, &k->timer, CLOCK_BOOTTIME, 0, 1000, on_timer, k);
    if (r < 0) {
        err_set_errno(e, -r, "prepare the CRLs");
        goto fail;
    }
    *ret = k;
    return 0;
fail:
    crl_keeper_close(&k);
    return -1;
}

void crl_keeper_close(struct crl_keeper **pk)
{
    struct crl_keeper *k = *pk;
    struct err e = {0};

    if (!k)
        return;
    err_set(&e, ERR_UNAVAILABLE, "the signer stops");
    answer_all(k, &e);
    sd_event_source_disable_unref(k->timer);
    buf_done(&k->tbs);
    free(k);
    *pk = NULL;
}
