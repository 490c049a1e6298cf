/* The ledger's keeper: while signerd runs, it lets the token vouch for the ledger (checkpoint.h), compares ledger and token
 * before the first certificate is given, and has the index saved by a child process. Nothing it does holds up a request. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

struct ca;
struct err;
struct keeper;
struct ledger;
struct ledger_entry;
struct workers;

struct keeper_parts {
    sd_event *event;
    const struct ca *ca;
    struct ledger *ledger;
    struct workers *workers;
    const char *station;
    int64_t mark_every_ms; /* how often the token's memory is written to */
    bool mark_kept;        /* what checkpoint_check() said */
    bool accept; /* take the ledger as it is, say so in it, set the mark anew, and end the event loop */
    /* Makes an entry durable, together with what others have waiting, who are told. The first is a checkpoint. */
    int (*record)(void *ctx, const struct ledger_entry *entry, struct err *e);
    /* e NULL: the ledger is vouched for, once; else why not yet, or why never (ledger_fault()). */
    void (*on_vouched)(void *ctx, const struct err *e);
    void *ctx; /* of both */
};
enum keeper_binding {
    KEEPER_UNKNOWN, /* the token was not asked yet */
    KEEPER_MARK,    /* an old copy of the ledger is noticed */
    KEEPER_SIGNED_ONLY, /* the token keeps no data objects: a changed ledger is noticed, an old one is not */
    KEEPER_BINDING_COUNT
};
const char *keeper_binding_name(
        enum keeper_binding b); /* "token mark", "signed checkpoints only", "unknown" */

struct keeper_info {
    enum keeper_binding binding;
    uint64_t bytes;        /* of the ledger */
    uint64_t signed_bytes; /* before the newest checkpoint of this process */
    uint64_t marked_bytes; /* by the mark that this process read or wrote */
    bool accepted;         /* what keeper_parts.accept asked for is done */
};
/* The parts are borrowed until keeper_close(), which follows workers_close(). */
int keeper_open(const struct keeper_parts *p, struct keeper **ret, struct err *e);
void keeper_close(struct keeper **k);
/* Ends the event loop, once the token has signed and marked all that the ledger has: at once when it does not answer, and after
 * LEDGER_FINISH_MS in any case. */
void keeper_finish(struct keeper *k);
void keeper_info(const struct keeper *k, struct keeper_info *ret);
