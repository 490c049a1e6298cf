/* Has the ledger read again beside the signer's work: once after each start, then once a day; a few megabytes a second. */
#pragma once
#include <stdint.h>
#include <systemd/sd-event.h>

struct err;
struct ledger;
struct scrubber;

struct scrubber_info {
    uint64_t verified_bytes; /* of this pass, or of the whole last one while it rests */
    int64_t verified_ms; /* Unix time when a pass last came to its end; 0: not since the start */
};
/* The ledger is borrowed until scrubber_close(). What it finds is the ledger's own affair: ledger_fault(), ledger_usable(). */
int scrubber_open(sd_event *event, struct ledger *l, struct scrubber **ret, struct err *e);
void scrubber_close(struct scrubber **s);
void scrubber_info(const struct scrubber *s, struct scrubber_info *ret);
