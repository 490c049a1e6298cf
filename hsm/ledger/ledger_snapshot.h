/* The ledger's index as a file beside it, so that a start reads only what was written since. Derived from the ledger and
 * never a source of truth: one that is missing, damaged, of another ledger or ahead of it is left aside.
 *
 * File, in the machine's own byte order (another machine's is left aside): struct front (ledger_snapshot.c); the sums
 * (ledger_tally_encode()); for either table a list of its pages; SHA-256 of all this; then the tables. A table is the cells of
 * struct ledger_index in rising order, each with its entry's seal (ledger_seals.h), in pages of 2 KB. The list of pages has each one's first cell and its digest: what a
 * look-up reads is checked against the digest at that moment, and only the front is read at the start. */
#pragma once
#include "hsm/ledger/ledger.h"

struct ledger_file;
struct ledger_head;
struct ledger_index;
struct ledger_seals;
struct ledger_snapshot;
struct ledger_tally;

enum ledger_table { LEDGER_BY_DEVICE, LEDGER_BY_KEY, LEDGER_TABLES };

/* What a snapshot is made of. */
struct ledger_snapshot_parts {
    const struct ledger_file *file;
    const struct ledger_tally *tally;
    const struct ledger_index *cells; /* LEDGER_TABLES of them: what is not in `base` */
    const struct ledger_seals *seals; /* of the same */
    struct ledger_snapshot *base;     /* or NULL */
};
/* Writes it to the empty file fd, from its begin; does not sync it. */
int ledger_snapshot_write(int fd, const struct ledger_snapshot_parts *p, struct err *e);

/* Opens the snapshot of this ledger and gives the empty sums and tables what it knows (the tables: how keys are hashed).
 * ERR_NOT_FOUND; ERR_LEDGER with a text when it is of no use; then sums and tables are as they were. */
int ledger_snapshot_open(const char *path, const struct ledger_file *file,
        struct ledger_tally *tally, struct ledger_index *tables, struct ledger_snapshot **ret,
        struct err *e);
/* The same for a snapshot that this process made itself: nothing is given to sums or tables. */
int ledger_snapshot_reopen(const char *path, const struct ledger_file *file,
        struct ledger_snapshot **ret, struct err *e);
void ledger_snapshot_close(struct ledger_snapshot **s);

/* How far the ledger is in it. */
uint64_t ledger_snapshot_end(const struct ledger_snapshot *s);
uint64_t ledger_snapshot_issued(const struct ledger_snapshot *s);
/* Over everything in it. */
const uint8_t *ledger_snapshot_digest(const struct ledger_snapshot *s);
/* A page could not be read, or was not what it was: it is of no more use. */
bool ledger_snapshot_damaged(const struct ledger_snapshot *s);
/* Calls fn with the cells that have this hash, highest place first, until it gives something else than 0; that is returned.
 * -1, ERR_LEDGER: a page is not what it was. */
typedef int (*ledger_cell_fn)(void *ctx, uint64_t place, uint64_t seal, struct err *e);
int ledger_snapshot_each(struct ledger_snapshot *s, enum ledger_table table, uint64_t hash,
        ledger_cell_fn fn, void *ctx, struct err *e);
