/* What was refused and why, counted, logged and, within bounds, written to the ledger. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct err;
struct ledger;
struct request;

struct refusals {
    uint64_t count;  /* of the ledger's and since */
    int64_t full_ms; /* when the right to record refusals is whole again, monotonic */
};

/* q was not granted. Faults of token and disk are no refusals, nor is what no approver's ticket came with. True: the ledger has
 * an entry that waits. q->entry is used up. */
bool refusals_note(struct refusals *s, struct ledger *l, struct request *q, const struct err *why);
