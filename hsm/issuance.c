/* What is under way. Promises that every waiter is told once, in the order they asked; decides
 * nothing. */
#include "hsm/issuance.h"
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/text.h"
#include "hsm/workers/latency.h"
#include "hsm/request.h"

#define WAITERS_MAX 16 /* an honest jobd asks again once it gave up on an answer: twice is much */

struct waiter {
    struct waiter *next;
    signer_done_fn done;
    void *ctx;
};

struct issuance *issuance_new(
        struct issuer *s, const struct request *q, enum ledger_type type, struct err *e)
{
    struct issuance *i = calloc(1, sizeof *i);

    if (!i) {
        err_set(e, ERR_NOMEM, "no memory for a request");
        return NULL;
    }
    i->issuer = s;
    i->entry = q->entry;
    i->entry.type = type;
    i->entry.time_ms = time_now_ms();
    i->started_us = latency_now_us();
    return i;
}

int issuance_add_waiter(struct issuance *i, signer_done_fn done, void *ctx, struct err *e)
{
    struct waiter **at = &i->waiters, *n;

    if (i->waiting >= WAITERS_MAX)
        return err_set(
                e, ERR_UNAVAILABLE, "%d requests wait for this certificate already", WAITERS_MAX);
    n = calloc(1, sizeof *n);
    if (!n)
        return err_set(e, ERR_NOMEM, "no memory for a request");
    *n = (struct waiter){.done = done, .ctx = ctx};
    while (*at)
        at = &(*at)->next;
    *at = n;
    i->waiting++;
    return 0;
}

void issuance_free(struct issuance *i)
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

unsigned issuance_marks(const struct ledger_entry *entry)
{
    return entry->flags & LEDGER_KEY_FROM_SIGNER ? SIGNER_KEY_MADE : 0;
}

void issuance_answer(struct issuance *i, const struct err *why)
{
    unsigned marks = issuance_marks(&i->entry) | SIGNER_FRESH;

    for (struct waiter *w = i->waiters; w; w = w->next) {
        w->done(w->ctx, why ? NULL : i->cert.data, why ? 0 : i->cert.len, marks, why);
        marks &= ~(unsigned)SIGNER_FRESH;
    }
    issuance_free(i);
}

void issuance_take_out(struct issuance **list, struct issuance *i)
{
    while (*list != i)
        list = &(*list)->next;
    *list = i->next;
    i->next = NULL;
}

static bool same_device(const struct issuance *i, const struct request *r)
{
    return i->entry.type == LEDGER_ISSUED &&
           memcmp(i->entry.device, r->entry.device, LEDGER_ID_BYTES) == 0;
}

struct issuance *issuance_find(struct issuance *list, const struct request *r)
{
    while (list && !same_device(list, r))
        list = list->next;
    return list;
}

int issuance_check_same(const struct issuance *i, const struct request *r, struct err *e)
{
    if (memcmp(i->entry.job, r->entry.job, LEDGER_ID_BYTES) != 0)
        return err_set(
                e, ERR_EXISTS, "device %s is being certified for another job", r->device_name);
    if (memcmp(i->entry.spki_sha256, r->entry.spki_sha256, sizeof r->entry.spki_sha256) != 0)
        return err_set(
                e, ERR_KEY_CHANGED, "device %s is being certified for another key", r->device_name);
    return 0;
}
