/* Refusals. Promises that whoever may ask cannot fill the disk with them. */
#include "hsm/refusals.h"
#include <string.h>
#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "hsm/ledger/ledger.h"
#include "hsm/request.h"
#include "hsm/approval/ticket.h"

#define BURST       64   /* refusals recorded at once ... */
#define EVERY_MS    1000 /* ... then one in this time */
#define WAITING_MAX 256  /* before the first checkpoint, when nothing can be written */

static bool counts(const struct request *q, const struct err *why)
{
    enum err_class c = err_class(why->id);

    return q->ticket && (c == ERR_CLASS_DEVICE || c == ERR_CLASS_OPERATOR || why->id == ERR_NONCE);
}

static bool may_record(struct refusals *s, const struct ledger *l)
{
    int64_t now_ms = time_monotonic_ms();

    if (s->full_ms < now_ms)
        s->full_ms = now_ms;
    if (s->full_ms - now_ms > (int64_t)BURST * EVERY_MS ||
            (!ledger_introduced(l) && ledger_waiting(l) >= WAITING_MAX))
        return false;
    s->full_ms += EVERY_MS;
    return true;
}

bool refusals_note(struct refusals *s, struct ledger *l, struct request *q, const struct err *why)
{
    char tail[LEDGER_REFUSAL_MAX + 1];

    if (!counts(q, why))
        return false;
    log_warning("refused", LOG_STR("error", err_name(why->id)), LOG_STR("job", q->ticket->job),
            LOG_NUM("row", q->entry.row), LOG_STR("device", q->device_name),
            LOG_STR("msg", why->msg));
    s->count++;
    if (!may_record(s, l))
        return false;
    q->entry.type = LEDGER_REFUSED;
    q->entry.time_ms = time_now_ms();
    ledger_refusal(why, tail);
    q->entry.tail = (struct cert_bytes){(const uint8_t *)tail, strlen(tail)};
    /* best effort: the refusal stands, whether it can be recorded or not */
    return ledger_add(l, &q->entry, NULL) == 0;
}
