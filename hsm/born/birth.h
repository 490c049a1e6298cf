/* Keys that the signer makes for devices: when it may, and what follows for their certificates. */
#pragma once
#include "hsm/born/born_key.h"

struct err;
struct ledger;
struct request;
struct signer_make_key;

/* May a key be made for this row's device? Not whether the approver's ticket is valid now. The ticket must allow it; the
 * profile the type; a row may name the only transport key, and a device that has its certificate needs a ticket for
 * re-issue. under_way: keys now being made for the job. ERR_KEY_ORIGIN, ERR_KEY_TYPE, ERR_QUOTA, and past_judge()'s. */
int birth_check(struct ledger *l, const struct request *r, const struct signer_make_key *k,
        uint64_t under_way, enum born_key_type *ret, struct err *e);
/* Before a key is certified: sets LEDGER_KEY_FROM_SIGNER in the request's entry when it was made here. ERR_KEY_ORIGIN when the
 * ticket does not allow that, ERR_KEY_REUSED when it was made for another device. */
int birth_check_origin(struct ledger *l, struct request *r, struct err *e);
