/* The ledger's keeper. Promises: nothing is written before the token agreed with the ledger and signed
 * which process writes on; the mark in the token is never ahead of the disk. */
#include "hsm/keeper.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "hsm/ca.h"
#include "hsm/ledger/checkpoint.h"
#include "hsm/ledger/ledger.h"
#include "hsm/workers/workers.h"

#define SIGN_EVERY_MS 1000
#define SIGN_SHARE                                                                                 \
    20 /* of the token's time a slow one spends at most this part, 1/20, on checkpoints */
/* however slow: for the most part it may have waited behind certificates */
#define SIGN_EVERY_MAX_MS 10000
#define RETRY_MS          250 /* a token that is away: whoever waits is told */
#define AGAIN_MS          5000
#define SETTLE_MS         50    /* how often a token that logs in is looked for ... */
#define SETTLED_MS        2000  /* ... and how long, while another could be asked already */
#define SETTLED_ACCEPT_MS 10000 /* a person waits: no mark is to be left as it was */
/* what a start then has to read is 60 MB at most, a fraction of a second */
#define SAVE_ENTRIES 65536u

struct keeper {
    struct keeper_parts parts;
    sd_event_source *post, *timer, *child, *late;
    bool busy;       /* the token was asked something */
    bool finishing;  /* whatever is due is due now */
    bool mark_known; /* the mark was read and agreed */
    bool mark_stale; /* a checkpoint was made after it was written */
    unsigned heard;  /* tokens whose mark is known; one that goes away may come back with another */
    unsigned up;     /* tokens that were up after the last event */
    enum keeper_binding binding;
    struct mark mark; /* the newest */
    unsigned accept_writes;
    bool accepted;
    int64_t sign_due, mark_due, look_due, save_due, asked_ms;
    int64_t settled_ms; /* so long a token that logs in is waited for before the first look */
    struct checkpoint checkpoint; /* the newest; or the one that is being signed */
    uint64_t asked_groups;        /* groups of the ledger when it was taken */
    uint64_t signed_groups;       /* what there are while nothing unsigned is behind the newest */
    uint64_t signed_bytes, marked_bytes;
    uint8_t named[LEDGER_INDEX_DIGEST]; /* the index in it */
};

static const char *const binding_names[KEEPER_BINDING_COUNT] = {
        [KEEPER_UNKNOWN] = "unknown",
        [KEEPER_MARK] = "token mark",
        [KEEPER_SIGNED_ONLY] = "signed checkpoints only",
};

const char *keeper_binding_name(enum keeper_binding b)
{
    return binding_names[b];
}

static void schedule(struct keeper *k);

/* ---- the outcome */

static void vouch(struct keeper *k)
{
    if (ledger_vouched(k->parts.ledger))
        return;
    ledger_vouch(k->parts.ledger);
    k->parts.on_vouched(k->parts.ctx, NULL);
}

static void refuse(struct keeper *k, const struct err *why)
{
    ledger_refuse(k->parts.ledger, why);
    k->parts.on_vouched(k->parts.ctx, why);
}

/* The token does not answer now, or the disk. */
static void put_off(struct keeper *k, const char *event, const struct err *why, int64_t *due)
{
    bool vouched = ledger_vouched(k->parts.ledger);

    *due = time_monotonic_ms() + (vouched ? AGAIN_MS : RETRY_MS);
    if (k->parts.accept) {
        log_err(LOG_ERR, event, why);
        sd_event_exit(k->parts.event, EXIT_FAILURE);
    } else if (k->finishing) {
        log_err(LOG_WARNING, event, why);
        sd_event_exit(k->parts.event, EXIT_SUCCESS);
    } else if (vouched) {
        log_err(LOG_WARNING, event, why); /* else the failure of worker or disk is in the log */
    }
    if (!vouched)
        k->parts.on_vouched(k->parts.ctx, why);
}

/* ---- the mark */

static void set_binding(struct keeper *k, enum keeper_binding b, const uint8_t *why, size_t len)
{
    if (k->binding == b)
        return;
    k->binding = b;
    if (b == KEEPER_SIGNED_ONLY)
        log_warning("ledger-without-mark", LOG_STR("effect", "an old copy is not noticed"),
                LOG_MEM("token", why, len));
    else
        log_info("ledger-bound", LOG_STR("by", binding_names[b]));
}

static int answer_makes_no_sense(struct err *e)
{
    return err_set(e, ERR_PROTOCOL, "the token worker's answer about the mark makes no sense");
}

/* Each of several tokens' marks: none of them may know of more than the ledger, whichever is the newest. */
static int judge_found(struct keeper *k, const uint8_t *marks, size_t len, struct err *e)
{
    struct mark mark;

    if (len == 0 || len % MARK_BYTES)
        return answer_makes_no_sense(e);
    for (size_t at = 0; at < len; at += MARK_BYTES) {
        if (mark_decode(marks + at, MARK_BYTES, &mark) < 0)
            return answer_makes_no_sense(e);
        if (at == 0)
            k->mark = mark;
        if (!k->parts.accept && mark_check(&mark, k->parts.ledger, e) < 0)
            return -1;
    }
    k->marked_bytes = k->mark.state.size;
    k->parts.mark_kept = true;
    set_binding(k, KEEPER_MARK, NULL, 0);
    return 0;
}

static int judge_mark(struct keeper *k, const uint8_t *answer, size_t len, struct err *e)
{
    if (len == 0)
        return answer_makes_no_sense(e);
    if (*answer == MARK_FOUND)
        return judge_found(k, answer + 1, len - 1, e);
    /* a ledger with nothing in it is a new one, or it was deleted */
    if (*answer == MARK_ELSEWHERE && !k->parts.accept &&
            (k->parts.mark_kept || ledger_counts(k->parts.ledger).groups == 0))
        return err_set(e, ERR_UNAVAILABLE,
                "the ledger's mark can be in an HSM that does not work: connect it, or see "
                "'signerd --accept-ledger' in docs/ca.md");
    /* it could once: a token that is not well, or another one, which a person finds out */
    if (*answer == MARK_CANNOT && k->parts.mark_kept && !k->parts.accept)
        return err_set(e, ERR_UNAVAILABLE,
                "the HSM does not give the ledger's mark, which it has by the ledger: %.*s",
                (int)len - 1, (const char *)answer + 1);
    if (k->parts.mark_kept && !k->parts.accept)
        return err_set(e, ERR_LEDGER,
                "the ledger says that the HSM has a mark of it for station '%s', but it has none: "
                "it "
                "is another HSM, or the station was renamed: see 'signerd --accept-ledger' in "
                "docs/ca.md",
                k->parts.station);
    if (*answer == MARK_CANNOT)
        set_binding(k, KEEPER_SIGNED_ONLY, answer + 1, len - 1);
    return 0;
}

static void end_accepting(struct keeper *k)
{
    k->accepted = true;
    sd_event_exit(k->parts.event, EXIT_SUCCESS);
}

static void on_mark_read(void *ctx, const uint8_t *answer, size_t len, const struct err *why)
{
    struct keeper *k = ctx;
    struct err e = {0};

    k->busy = false;
    if (why) {
        put_off(k, "ledger-mark-not-read", why, &k->look_due);
    } else if (judge_mark(k, answer, len, &e) < 0) {
        if (e.id == ERR_LEDGER)
            refuse(k, &e);
        else
            put_off(k, "ledger-mark-not-read", &e, &k->look_due);
    } else {
        k->mark_known = true;
    }
    schedule(k);
}

static void on_mark_written(void *ctx, const uint8_t *answer, size_t len, const struct err *why)
{
    struct keeper *k = ctx;
    struct err e = {0};

    k->busy = false;
    k->mark_due = time_monotonic_ms() + k->parts.mark_every_ms;
    if (why) {
        put_off(k, "ledger-mark-not-written", why, &k->mark_due);
        schedule(k);
        return;
    }
    if (len && *answer == MARK_WRITTEN) {
        k->mark_stale = false;
        k->marked_bytes = k->mark.state.size;
        k->parts.mark_kept = true;
        set_binding(k, KEEPER_MARK, NULL, 0);
    } else if (len && k->parts.mark_kept) {
        err_set(&e, ERR_TOKEN, "%.*s", (int)len - 1, (const char *)answer + 1);
        put_off(k, "ledger-mark-not-written", &e, &k->mark_due); /* it could once */
    } else if (len) {
        set_binding(k, KEEPER_SIGNED_ONLY, answer + 1, len - 1);
    }
    /* both places, so that no word about another ledger is left */
    if (k->parts.accept && k->binding == KEEPER_MARK && ++k->accept_writes < 2)
        k->mark_stale = true, k->mark_due = 0;
    else if (k->parts.accept)
        end_accepting(k);
    schedule(k);
}

static void ask_mark(struct keeper *k)
{
    struct err e = {0};

    k->busy = true;
    k->look_due = time_monotonic_ms() + AGAIN_MS; /* for one that is up and does not say */
    if (workers_mark(k->parts.workers, k->parts.station, NULL, &k->heard, on_mark_read, k, &e) < 0)
        on_mark_read(k, NULL, 0, &e);
}

static void write_mark(struct keeper *k)
{
    uint8_t bytes[MARK_BYTES];
    struct err e = {0};
    uint64_t now_ms = (uint64_t)time_now_ms();

    k->busy = true;
    /* higher than any in whichever token this comes to: they count by the clock */
    k->mark.writes = k->mark.writes < now_ms ? now_ms : k->mark.writes + 1;
    ledger_state(k->parts.ledger, &k->mark.state);
    mark_encode(&k->mark, bytes);
    if (workers_mark(k->parts.workers, k->parts.station, bytes, &k->heard, on_mark_written, k, &e) <
            0)
        on_mark_written(k, NULL, 0, &e);
}

/* ---- checkpoints */

static bool is_unsigned(const struct keeper *k)
{
    return ledger_counts(k->parts.ledger).groups != k->signed_groups ||
           memcmp(ledger_index_digest(k->parts.ledger), k->named, sizeof k->named) != 0;
}

/* alone: it has a group of its own. */
static void on_recorded(struct keeper *k, bool alone)
{
    struct ledger *l = k->parts.ledger;
    struct err e = {0};

    /* what came while it was signed, or shares its group, is behind what it signs */
    k->signed_groups = k->asked_groups + alone;
    k->signed_bytes = k->checkpoint.state.size;
    memcpy(k->named, k->checkpoint.index, sizeof k->named);
    if (memcmp(k->named, ledger_index_digest(l), sizeof k->named) == 0 && ledger_settle(l, &e) < 0)
        log_err(LOG_WARNING, "ledger-index-not-settled", &e);
    k->mark_stale = true;
    if (k->parts.accept && k->binding == KEEPER_SIGNED_ONLY)
        end_accepting(k);
    if (!k->parts.accept)
        vouch(k);
}

/* took_ms: from the question to the signature. */
static int64_t sign_pause(int64_t took_ms)
{
    int64_t pause = took_ms * SIGN_SHARE;

    if (pause < SIGN_EVERY_MS)
        return SIGN_EVERY_MS;
    return pause < SIGN_EVERY_MAX_MS ? pause : SIGN_EVERY_MAX_MS;
}

static void on_signed(void *ctx, const uint8_t *sig, size_t len, const struct err *why)
{
    struct keeper *k = ctx;
    int64_t now = time_monotonic_ms();
    bool alone = ledger_waiting(k->parts.ledger) == 0;
    struct buf tail = BUF_INIT;
    struct ledger_entry entry;
    struct err e = {0};

    k->busy = false;
    k->sign_due = now + sign_pause(now - k->asked_ms);
    if (why) {
        put_off(k, "ledger-checkpoint-not-signed", why, &k->sign_due);
    } else if (checkpoint_entry(&k->checkpoint, k->parts.ca, sig, len, &tail, &entry, &e) < 0 ||
               k->parts.record(k->parts.ctx, &entry, &e) < 0) {
        put_off(k, "ledger-checkpoint-not-written", &e, &k->sign_due);
        k->sign_due = now + AGAIN_MS; /* a disk does not get well in a moment */
    } else {
        on_recorded(k, alone);
    }
    buf_done(&tail);
    schedule(k);
}

static void sign(struct keeper *k)
{
    uint8_t text[CHECKPOINT_TEXT_BYTES];
    uint8_t flags = k->parts.mark_kept ? LEDGER_MARK_KEPT : 0;
    struct err e = {0};

    k->busy = true;
    k->asked_ms = time_monotonic_ms();
    k->asked_groups = ledger_counts(k->parts.ledger).groups;
    checkpoint_take(
            k->parts.ledger, k->parts.accept ? flags | LEDGER_ACCEPTED : flags, &k->checkpoint);
    checkpoint_text(&k->checkpoint, text);
    if (workers_sign(k->parts.workers, text, sizeof text, on_signed, k, &e) < 0)
        on_signed(k, NULL, 0, &e);
}

/* ---- the index */

static int on_saved(sd_event_source *s, const siginfo_t *info, void *ctx)
{
    struct keeper *k = ctx;
    struct err e = {0};

    (void)s;
    k->child = sd_event_source_disable_unref(k->child);
    if (info->si_code == CLD_EXITED && info->si_status == EXIT_SUCCESS)
        ledger_saved(k->parts.ledger, &e);
    else
        err_set(&e, ERR_IO, "the process that wrote it failed");
    if (e.id)
        log_err(LOG_WARNING, "ledger-index-not-saved", &e);
    return 0;
}

/* A child has the ledger's state of this moment to itself, however long the disk takes. */
static void save(struct keeper *k)
{
    struct err e = {0};
    pid_t pid = fork();

    k->save_due = time_monotonic_ms() + AGAIN_MS;
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        ledger_disown(k->parts.ledger);
        if (nice(10) == -1)
            errno = 0;
        if (ledger_save(k->parts.ledger, &e) < 0)
            log_err(LOG_WARNING, "ledger-index-not-written", &e);
        _exit(e.id ? EXIT_FAILURE : EXIT_SUCCESS);
    }
    if (pid < 0 || sd_event_add_child(k->parts.event, &k->child, pid, WEXITED, on_saved, k) < 0)
        log_warning("ledger-index-not-saved", LOG_STR("reason", strerror(errno)));
}

/* ---- what is to be done */

static bool wants_mark(const struct keeper *k)
{
    return k->mark_known && k->mark_stale && k->binding != KEEPER_SIGNED_ONLY;
}

/* Before it is vouched for there is nothing of this process in the ledger. */
static bool is_finished(const struct keeper *k)
{
    return !ledger_vouched(k->parts.ledger) ||
           (!k->busy && ledger_waiting(k->parts.ledger) == 0 && !is_unsigned(k) && !wants_mark(k));
}

/* A token is up whose mark nobody has read since it came: it was away when the others were asked, and may know of more than
 * this ledger. */
static bool wants_look(const struct keeper *k)
{
    return !k->mark_known || (workers_up(k->parts.workers) & ~k->heard);
}

/* The first look is at all tokens that come at once. */
static bool is_settling(const struct keeper *k)
{
    return workers_tokens(k->parts.workers) > 1 && workers_starting(k->parts.workers);
}

static void step(struct keeper *k)
{
    int64_t now = k->finishing ? INT64_MAX : time_monotonic_ms();

    if (k->busy || ledger_fault(k->parts.ledger)->id)
        return;
    if (!k->mark_known && now < k->settled_ms && is_settling(k)) {
        k->look_due = now + SETTLE_MS;
    } else if (wants_look(k) && now >= k->look_due) {
        ask_mark(k);
    } else if (!k->mark_known) {
        return;
    } else if (is_unsigned(k) && now >= k->sign_due) {
        sign(k);
    } else if (wants_mark(k) && now >= k->mark_due) {
        write_mark(k);
    }
}

/* Sets the timer for what is to be done next, if there is anything. */
static void schedule(struct keeper *k)
{
    int64_t due = INT64_MAX, now = time_monotonic_ms();

    if (k->finishing && is_finished(k)) {
        sd_event_exit(k->parts.event, EXIT_SUCCESS);
        return;
    }
    if (k->busy || ledger_fault(k->parts.ledger)->id)
        return;
    if (wants_look(k))
        due = k->look_due;
    if (k->mark_known && is_unsigned(k) && k->sign_due < due)
        due = k->sign_due;
    if (wants_mark(k) && k->mark_due < due)
        due = k->mark_due;
    if (due == INT64_MAX)
        return;
    if (k->finishing)
        due = now;
    sd_event_source_set_time_relative(k->timer, due > now ? (uint64_t)(due - now) * 1000 : 0);
    sd_event_source_set_enabled(k->timer, SD_EVENT_ONESHOT);
}

static int on_timer(sd_event_source *s, uint64_t usec, void *ctx)
{
    (void)s, (void)usec;
    step(ctx);
    schedule(ctx);
    return 0;
}

/* After whatever happened in the loop. */
static int on_post(sd_event_source *s, void *ctx)
{
    struct keeper *k = ctx;
    unsigned up = workers_up(k->parts.workers), came;
    int enabled = SD_EVENT_OFF;

    (void)s;
    if (!ledger_usable(k->parts.ledger))
        sd_event_exit(k->parts.event, EXIT_FAILURE); /* a new process can trust the disk again */
    if (!k->child && ledger_unsaved(k->parts.ledger) >= SAVE_ENTRIES &&
            time_monotonic_ms() >= k->save_due)
        save(k);
    came = up & ~k->up;
    k->up = up;
    k->heard &= up;
    sd_event_source_get_enabled(k->timer, &enabled);
    if (came)
        k->look_due = 0;
    if (enabled == SD_EVENT_OFF || came)
        schedule(k);
    return 0;
}

static int on_finish_late(sd_event_source *s, uint64_t usec, void *ctx)
{
    struct keeper *k = ctx;

    (void)s, (void)usec;
    log_warning("ledger-not-finished", LOG_STR("reason", "the token takes too long"));
    return sd_event_exit(k->parts.event, EXIT_SUCCESS);
}

void keeper_finish(struct keeper *k)
{
    if (k->finishing || k->parts.accept ||
            sd_event_add_time_relative(k->parts.event, &k->late, CLOCK_MONOTONIC,
                    LEDGER_FINISH_MS * UINT64_C(1000), 0, on_finish_late, k) < 0) {
        sd_event_exit(k->parts.event, EXIT_SUCCESS);
        return;
    }
    k->finishing = true;
    schedule(k);
}

int keeper_open(const struct keeper_parts *p, struct keeper **ret, struct err *e)
{
    struct keeper *k = calloc(1, sizeof *k);
    int r;

    if (!k)
        return err_set(e, ERR_NOMEM, "no memory for the ledger's keeper");
    k->parts = *p;
    k->signed_groups = UINT64_MAX; /* each start is vouched for */
    k->settled_ms = time_monotonic_ms() + (p->accept ? SETTLED_ACCEPT_MS : SETTLED_MS);
    r = sd_event_add_post(p->event, &k->post, on_post, k);
    if (r >= 0)
        r = sd_event_add_time_relative(p->event, &k->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, k);
    if (r < 0) {
        keeper_close(&k);
        return err_set_errno(e, -r, "prepare the ledger's keeper");
    }
    *ret = k;
    return 0;
}

void keeper_close(struct keeper **pk)
{
    struct keeper *k = *pk;

    if (!k)
        return;
    sd_event_source_disable_unref(k->post);
    sd_event_source_disable_unref(k->timer);
    sd_event_source_disable_unref(k->child);
    sd_event_source_disable_unref(k->late);
    free(k);
    *pk = NULL;
}

void keeper_info(const struct keeper *k, struct keeper_info *ret)
{
    struct ledger_state now;

    ledger_state(k->parts.ledger, &now);
    *ret = (struct keeper_info){
            k->binding, now.size, k->signed_bytes, k->marked_bytes, k->accepted};
}
