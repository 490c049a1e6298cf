/* Reading the ledger again from its start: what a start with an index no longer does. Slowly beside the signer's work, or at
 * once and from outside. */
#pragma once
#include "hsm/ledger.h"

struct ledger_scrub;

/* The ledger is borrowed until it is freed. */
int ledger_scrub_new(struct ledger *l, struct ledger_scrub **ret, struct err *e);
void ledger_scrub_free(struct ledger_scrub **s);
/* Reads at least `bytes` further, from the disk: groups and their chain, whether each certificate is found, at the end whether
 * all adds up. 1: it came to the end, and the next call begins anew. 0: there is more. ERR_LEDGER: damage, the ledger is
 * given up. ERR_UNAVAILABLE: the index was wrong, and is lost (ledger_usable()). Others: it cannot be read now. */
int ledger_scrub_step(struct ledger_scrub *s, size_t bytes, struct err *e);
/* How far this pass is. */
uint64_t ledger_scrub_at(const struct ledger_scrub *s);

struct ledger_verified {
    struct ledger_counts counts;
    uint64_t checkpoints;
    uint64_t bytes; /* that fit together */
    uint64_t torn;  /* behind them: an append that is being made, or was cut off */
    uint64_t
            foreign; /* the first group that was not written by the process that the newest checkpoint before it names, nor
                         taken by a person later (LEDGER_ACCEPTED); 0: there is none */
};
/* Called with each entry that the chain covers, in order; -1 with e set ends the verification. */
typedef int (*ledger_verify_fn)(
        void *ctx, const uint8_t id[32], const struct ledger_entry *entry, struct err *e);
/* Reads a ledger whole, changing nothing and minding no lock: it may be in use. fn may be NULL. ERR_LEDGER with the byte. */
int ledger_verify(const char *path, ledger_verify_fn fn, void *ctx, struct ledger_verified *ret,
        struct err *e);
