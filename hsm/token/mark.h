/* The ledger's mark inside the token: a data object, private to whoever logs in, labelled "keyline-ledger NAME" with the
 * station's name, because stations may share a token. What it says is checkpoint.h's. A mark is never changed (not every
 * token can): a new one is made, and while it is not there to its end the one before it is. */
#pragma once
#include "hsm/ledger/checkpoint.h"
#include "hsm/token/module.h"

struct buf;
struct err;

/* Appends an answer to out. The process must be logged in. An error is one of the token, as for a signature. */
int mark_read(const struct module *m, CK_SLOT_ID slot, const char *station, struct buf *out,
        struct err *e);
/* Makes a new one, and reads it back; of the older ones the newest stays. */
int mark_write(const struct module *m, CK_SLOT_ID slot, const char *station,
        const uint8_t mark[MARK_BYTES], struct buf *out, struct err *e);
