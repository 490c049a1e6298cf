/* What was issued before, and what follows from it for a request. The rules, one a line:
 *   no certificate yet                                   a new one
 *   one of this job, for this key                        the very same again, also when the ticket's time is over
 *   one of this job, for another key                     ERR_KEY_CHANGED
 *   one of another job, ticket without re-issue          ERR_EXISTS, for another key ERR_KEY_CHANGED
 *   one of another job, ticket with re-issue             a new one, and the old one is revoked with it
 *   but this job gave the device one before that one     ERR_EXISTS: a ticket serves once
 *   a revoked one                                        as above, but it is never given back: ERR_CERT_REVOKED
 *   a key of another device, or one given up as stolen   ERR_KEY_REUSED, also for what it was certified for already
 *   revoked, and ordered once more                       only keyCompromise changes the reason, nothing changes it back, and
 *                                                        the date stays */
#pragma once
#include "hsm/ledger/ledger.h"

struct buf;
struct err;
struct request;

enum past {
    PAST_NOTHING, /* the device has no certificate */
    PAST_SAME,    /* its certificate is the answer */
    PAST_REPLACE, /* the new one takes its certificate's place */
};

/* ret_have and ret_cert (appended): the device's newest certificate; not with PAST_NOTHING. */
int past_judge(struct ledger *l, const struct request *r, enum past *ret,
        struct ledger_entry *ret_have, struct buf *ret_cert, struct err *e);
/* May this key be certified for this device? */
int past_check_key(struct ledger *l, const struct request *r, struct err *e);
/* The entry that revokes a certificate. ca: room for what its tail borrows. ERR_LEDGER when cert cannot be read. */
int past_revocation(const struct ledger_entry *have, const struct buf *cert, uint8_t reason,
        uint8_t ca[CERT_KEY_ID_BYTES], struct ledger_entry *ret, struct err *e);
/* The entry that gives a certificate that is revoked already a worse reason; ca as above. */
void past_worse_revocation(const struct ledger_revoked *before, uint8_t reason,
        uint8_t ca[CERT_KEY_ID_BYTES], struct ledger_entry *ret);
