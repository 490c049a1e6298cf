/* The sums of a ledger. Promises that the same entries give the same sums, whoever adds them up. */
#include "hsm/ledger/ledger_tally.h"
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "hsm/ledger/ledger_entry.h"
#include "hsm/approval/order.h"

int ledger_tally_init(struct ledger_tally *t, struct err *e)
{
    *t = (struct ledger_tally){0};
    return ledger_index_init(&t->by_job, e) < 0 || ledger_index_init(&t->by_serial, e) < 0 ||
                           ledger_index_init(&t->by_device, e) < 0
                   ? -1
                   : ledger_index_init(&t->by_key, e);
}

void ledger_tally_done(struct ledger_tally *t)
{
    ledger_index_done(&t->by_job);
    ledger_index_done(&t->by_serial);
    ledger_index_done(&t->by_device);
    ledger_index_done(&t->by_key);
    free(t->jobs);
    free(t->revoked);
    free(t->blocks);
    free(t->cas);
    *t = (struct ledger_tally){0};
}

/* Gives the array at *at room for `more`; what it holds stays as it was. */
static int grow(void *at, size_t size, size_t count, size_t more, size_t *cap, struct err *e)
{
    void **array = at, *grown;
    size_t wanted = *cap + *cap / 2 + more;

    if (count + more <= *cap)
        return 0;
    grown = reallocarray(*array, wanted, size);
    if (!grown)
        return err_set(e, ERR_NOMEM, "no memory for the ledger's sums");
    *array = grown;
    *cap = wanted;
    return 0;
}

int ledger_tally_reserve(struct ledger_tally *t, size_t entries, struct err *e)
{
    if (grow(&t->jobs, sizeof *t->jobs, t->job_count, entries, &t->job_cap, e) < 0 ||
            grow(&t->revoked, sizeof *t->revoked, t->revoked_count, entries, &t->revoked_cap, e) <
                    0 ||
            grow(&t->cas, sizeof *t->cas, t->ca_count, entries, &t->ca_cap, e) < 0 ||
            grow(&t->blocks, sizeof *t->blocks, t->block_count, 1, &t->block_cap, e) < 0)
        return -1;
    return ledger_index_reserve(&t->by_job, entries, e) < 0 ||
                           ledger_index_reserve(&t->by_serial, entries, e) < 0 ||
                           ledger_index_reserve(&t->by_device, entries, e) < 0
                   ? -1
                   : ledger_index_reserve(&t->by_key, entries, e);
}

void ledger_tally_group(struct ledger_tally *t, uint64_t at)
{
    t->counts.groups++;
    if (t->block_count == 0 || at - t->blocks[t->block_count - 1] >= LEDGER_BLOCK_BYTES)
        t->blocks[t->block_count++] = at;
}

uint64_t ledger_tally_group_before(const struct ledger_tally *t, uint64_t at)
{
    size_t low = 0, high = t->block_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (t->blocks[middle] <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? t->blocks[low - 1] : 0;
}

static int match_job(void *ctx, uint64_t place, const uint8_t *key, struct err *e)
{
    const struct ledger_tally *t = ctx;

    (void)e;
    return memcmp(t->jobs[place - 1].job, key, LEDGER_ID_BYTES) == 0;
}

static struct ledger_job *find_job(const struct ledger_tally *t, const uint8_t job[LEDGER_ID_BYTES])
{
    uint64_t place;
    /* match_job() reads memory only: it neither changes the sums nor fails */
    void *ctx = (void *)(uintptr_t)t;

    return ledger_index_find(&t->by_job, job, match_job, ctx, &place, NULL) == 1
                   ? &t->jobs[place - 1]
                   : NULL;
}

static struct ledger_job *job_of(struct ledger_tally *t, const struct ledger_entry *entry)
{
    struct ledger_job *j = find_job(t, entry->job);

    if (!j) {
        j = &t->jobs[t->job_count++];
        *j = (struct ledger_job){0};
        memcpy(j->job, entry->job, LEDGER_ID_BYTES);
        ledger_index_add(&t->by_job, entry->job, t->job_count);
    }
    return j;
}

static struct ledger_ca *ca_of(struct ledger_tally *t, const uint8_t ca[CERT_KEY_ID_BYTES])
{
    struct ledger_ca *c = t->cas;

    while (c < t->cas + t->ca_count && memcmp(c->crl.ca, ca, CERT_KEY_ID_BYTES) != 0)
        c++;
    if (c == t->cas + t->ca_count) {
        t->ca_count++;
        *c = (struct ledger_ca){0};
        memcpy(c->crl.ca, ca, CERT_KEY_ID_BYTES);
    }
    return c;
}

static void add_crl(struct ledger_tally *t, const struct ledger_entry *entry)
{
    t->crl_number = entry->row > t->crl_number ? entry->row : t->crl_number;
    ledger_crl_read(entry, &ca_of(t, entry->tail.bytes)->crl);
}

/* A genuine one that is put behind a newer one again is none that counts, and one about what is behind it is not genuine. */
static void add_checkpoint(struct ledger_tally *t, const struct ledger_entry *entry, uint64_t place)
{
    if ((t->checkpoint && entry->row <= t->vouched) || entry->row > place)
        return;
    t->checkpoint = place;
    t->vouched = entry->row;
}

/* ---- revoked certificates */

struct revoked_search {
    const struct ledger_tally *t;
    const uint8_t *job; /* match_device() alone looks at it */
};

static int match_serial(void *ctx, uint64_t place, const uint8_t *key, struct err *e)
{
    const struct revoked_search *s = ctx;

    (void)e;
    return memcmp(s->t->revoked[place - 1].serial, key, CERT_SERIAL_BYTES) == 0;
}

static int match_device(void *ctx, uint64_t place, const uint8_t *key, struct err *e)
{
    const struct revoked_search *s = ctx;
    const struct ledger_revoked *v = &s->t->revoked[place - 1];

    (void)e;
    return memcmp(v->device, key, LEDGER_ID_BYTES) == 0 &&
           memcmp(v->job, s->job, LEDGER_ID_BYTES) == 0;
}

static int match_key(void *ctx, uint64_t place, const uint8_t *key, struct err *e)
{
    const struct revoked_search *s = ctx;
    const struct ledger_revoked *v = &s->t->revoked[place - 1];

    (void)e;
    return memcmp(v->spki_sha256, key, sizeof v->spki_sha256) == 0;
}

static bool find_revoked(
        const struct ledger_tally *t, const uint8_t serial[CERT_SERIAL_BYTES], uint64_t *ret_place)
{
    struct revoked_search s = {t, NULL};

    return ledger_index_find(&t->by_serial, serial, match_serial, &s, ret_place, NULL) == 1;
}

static void index_key(struct ledger_tally *t, uint64_t place)
{
    const struct ledger_revoked *v = &t->revoked[place - 1];

    if (v->reason == ORDER_KEY_COMPROMISE)
        ledger_index_add(&t->by_key, v->spki_sha256, place);
}

/* The newest one. */
static void index_revoked(struct ledger_tally *t)
{
    const struct ledger_revoked *v = &t->revoked[t->revoked_count - 1];

    ledger_index_add(&t->by_serial, v->serial, t->revoked_count);
    ledger_index_add(&t->by_device, v->device, t->revoked_count);
    index_key(t, t->revoked_count);
}

static void count_compromised(struct ledger_tally *t, const struct ledger_revoked *v)
{
    if (v->reason != ORDER_KEY_COMPROMISE)
        return;
    t->counts.compromised++;
    ca_of(t, v->ca)->compromised++;
}

static void add_revoked(struct ledger_tally *t, const struct ledger_entry *entry)
{
    struct ledger_revoked *v = &t->revoked[t->revoked_count++];

    t->counts.revoked++;
    ca_of(t, entry->tail.bytes)->revoked++;
    *v = (struct ledger_revoked){.reason = entry->reason, .time_ms = entry->time_ms};
    memcpy(v->ca, entry->tail.bytes, sizeof v->ca);
    memcpy(v->serial, entry->serial, sizeof v->serial);
    memcpy(v->spki_sha256, entry->spki_sha256, sizeof v->spki_sha256);
    memcpy(v->job, entry->job, sizeof v->job);
    memcpy(v->device, entry->device, sizeof v->device);
    index_revoked(t);
    count_compromised(t, v);
}

/* It is revoked already: only the worst reason is news, and nothing makes it better again. The date stays: what was not to be
 * trusted since then must not be from now on. */
static void add_reason(struct ledger_tally *t, uint64_t place, const struct ledger_entry *entry)
{
    struct ledger_revoked *v = &t->revoked[place - 1];

    if (!order_reason_is_worse(entry->reason, v->reason))
        return;
    v->reason = entry->reason;
    index_key(t, place);
    count_compromised(t, v);
}

void ledger_tally_add(struct ledger_tally *t, const struct ledger_entry *entry, uint64_t place)
{
    uint64_t revoked;

    switch (entry->type) {
    case LEDGER_ISSUED:
        t->counts.issued++;
        job_of(t, entry)->issued++;
        break;
    case LEDGER_REFUSED:
        t->counts.refused++;
        break;
    case LEDGER_REVOKED:
        if (find_revoked(t, entry->serial, &revoked))
            add_reason(t, revoked, entry);
        else
            add_revoked(t, entry);
        break;
    case LEDGER_CRL:
        add_crl(t, entry);
        break;
    case LEDGER_WITHDRAWN:
        job_of(t, entry)->withdrawn = true;
        break;
    case LEDGER_CHECKPOINT:
        add_checkpoint(t, entry, place);
        break;
    case LEDGER_KEY_MADE:
        job_of(t, entry)->keys_made++;
        break;
    }
}

const struct ledger_job *ledger_tally_job(
        const struct ledger_tally *t, const uint8_t job[LEDGER_ID_BYTES])
{
    return find_job(t, job);
}

const struct ledger_ca *ledger_tally_ca(
        const struct ledger_tally *t, const uint8_t ca[CERT_KEY_ID_BYTES])
{
    for (size_t i = 0; i < t->ca_count; i++)
        if (memcmp(t->cas[i].crl.ca, ca, CERT_KEY_ID_BYTES) == 0)
            return &t->cas[i];
    return NULL;
}

const struct ledger_revoked *ledger_tally_revoked(
        const struct ledger_tally *t, const uint8_t serial[CERT_SERIAL_BYTES])
{
    uint64_t place;

    return find_revoked(t, serial, &place) ? &t->revoked[place - 1] : NULL;
}

bool ledger_tally_compromised(const struct ledger_tally *t, const uint8_t spki_sha256[32])
{
    struct revoked_search s = {t, NULL};
    uint64_t place;

    return ledger_index_find(&t->by_key, spki_sha256, match_key, &s, &place, NULL) == 1;
}

bool ledger_tally_had(const struct ledger_tally *t, const uint8_t device[LEDGER_ID_BYTES],
        const uint8_t job[LEDGER_ID_BYTES])
{
    struct revoked_search s = {t, job};
    uint64_t place;

    return ledger_index_find(&t->by_device, device, match_device, &s, &place, NULL) == 1;
}

/* ---- as bytes */

/* Change the number when any of these structures changes. */
#define LAYOUT UINT64_C(4)

struct sums {
    uint64_t layout;
    struct ledger_counts counts;
    uint64_t crl_number, checkpoint, vouched, jobs, revoked, cas, blocks;
};

int ledger_tally_encode(const struct ledger_tally *t, struct buf *out, struct err *e)
{
    const struct sums s = {.layout = LAYOUT,
            .counts = t->counts,
            .crl_number = t->crl_number,
            .checkpoint = t->checkpoint,
            .vouched = t->vouched,
            .jobs = t->job_count,
            .revoked = t->revoked_count,
            .cas = t->ca_count,
            .blocks = t->block_count};

    if (buf_append(out, &s, sizeof s, e) < 0 ||
            buf_append(out, t->jobs, t->job_count * sizeof *t->jobs, e) < 0 ||
            buf_append(out, t->revoked, t->revoked_count * sizeof *t->revoked, e) < 0 ||
            buf_append(out, t->cas, t->ca_count * sizeof *t->cas, e) < 0)
        return -1;
    return buf_append(out, t->blocks, t->block_count * sizeof *t->blocks, e);
}

static bool sums_fit(const struct sums *s, size_t len)
{
    const uint64_t count[] = {s->jobs, s->revoked, s->cas, s->blocks};
    const uint64_t size[] = {sizeof(struct ledger_job), sizeof(struct ledger_revoked),
            sizeof(struct ledger_ca), sizeof(uint64_t)};
    uint64_t left = len - sizeof *s;

    for (size_t i = 0; i < sizeof count / sizeof *count; i++) {
        if (count[i] > left / size[i])
            return false;
        left -= count[i] * size[i];
    }
    return s->layout == LAYOUT && left == 0;
}

/* Appends n elements of this size to an array that has room. */
static const uint8_t *take(void *array, size_t size, size_t n, const uint8_t *from)
{
    if (n)
        memcpy(array, from, n * size);
    return from + n * size;
}

int ledger_tally_decode(struct ledger_tally *t, const uint8_t *bytes, size_t len, struct err *e)
{
    struct sums s = {0};
    const uint8_t *at = bytes + sizeof s;

    if (len >= sizeof s)
        memcpy(&s, bytes, sizeof s);
    if (len < sizeof s || !sums_fit(&s, len))
        return err_set(e, ERR_LEDGER, "the sums are of another Keyline");
    if (grow(&t->jobs, sizeof *t->jobs, 0, s.jobs, &t->job_cap, e) < 0 ||
            grow(&t->revoked, sizeof *t->revoked, 0, s.revoked, &t->revoked_cap, e) < 0 ||
            grow(&t->cas, sizeof *t->cas, 0, s.cas, &t->ca_cap, e) < 0 ||
            grow(&t->blocks, sizeof *t->blocks, 0, s.blocks, &t->block_cap, e) < 0 ||
            ledger_index_reserve(&t->by_job, s.jobs, e) < 0 ||
            ledger_index_reserve(&t->by_serial, s.revoked, e) < 0 ||
            ledger_index_reserve(&t->by_device, s.revoked, e) < 0 ||
            ledger_index_reserve(&t->by_key, s.revoked, e) < 0)
        return -1;
    t->counts = s.counts;
    t->crl_number = s.crl_number;
    t->checkpoint = s.checkpoint;
    t->vouched = s.vouched;
    at = take(t->jobs, sizeof *t->jobs, s.jobs, at);
    at = take(t->revoked, sizeof *t->revoked, s.revoked, at);
    at = take(t->cas, sizeof *t->cas, s.cas, at);
    take(t->blocks, sizeof *t->blocks, s.blocks, at);
    while (t->revoked_count < s.revoked) {
        t->revoked_count++;
        index_revoked(t);
    }
    t->ca_count = s.cas;
    t->block_count = s.blocks;
    for (; t->job_count < s.jobs; t->job_count++)
        ledger_index_add(&t->by_job, t->jobs[t->job_count].job, t->job_count + 1);
    return 0;
}
