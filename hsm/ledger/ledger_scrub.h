/* Reading the ledger again from its start: what a start with an index no longer does. Slowly beside the signer's work, or at
 * once and from outside. */
#pragma once
#include "base/err.h"
#include "hsm/ledger/ledger.h"

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
    /* Where the first group is that no signer wrote: one that the newest genuine checkpoint does not name, or with a checkpoint
     * that is none; unless a person took it later (LEDGER_ACCEPTED). 0: there is none. */
    uint64_t foreign;
    struct err why; /* what is wrong with it */
};
/* Called with each checkpoint that the chain covers, in order, of the ledger with this id. ERR_LEDGER: nobody made it who could;
 * anything else ends the verification. */
typedef int (*ledger_genuine_fn)(
        void *ctx, const uint8_t id[32], const struct ledger_entry *entry, struct err *e);
/* Reads a ledger whole, changing nothing and minding no lock: it may be in use. genuine NULL: all are. ERR_LEDGER with the
 * byte where it is damaged; what is not the signer's is in ret. */
int ledger_verify(const char *path, ledger_genuine_fn genuine, void *ctx,
        struct ledger_verified *ret, struct err *e);
