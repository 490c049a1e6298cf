/* The inside of a ledger, for the files of this noun alone (ledger*.c). */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "hsm/ledger/ledger_entry.h"
#include "hsm/ledger/ledger_file.h"
#include "hsm/ledger/ledger_index.h"
#include "hsm/ledger/ledger_seals.h"
#include "hsm/ledger/ledger_snapshot.h"
#include "hsm/ledger/ledger_tally.h"

enum ledger_index_file { LEDGER_INDEX_SETTLED, LEDGER_INDEX_NEW, LEDGER_INDEX_FILES };

struct ledger {
    struct ledger_file file;
    struct ledger_tally tally;
    struct ledger_index cells[LEDGER_TABLES]; /* of what is behind the snapshot */
    struct ledger_seals seals;                /* of the same */
    struct ledger_snapshot *snapshot;         /* or NULL */
    enum ledger_index_file snapshot_file;     /* the file it was read from ... */
    bool snapshot_kept;                       /* ... if there is one */
    bool index_lost;                          /* a start makes it anew */
    char *index_path[LEDGER_INDEX_FILES];
    bool vouched;
    bool introduced, introducing; /* by a durable group; by the one to come */
    struct err fault; /* why nothing more is written and nothing can be looked up; or none */
    struct buf group; /* LEDGER_GROUP_HEADER bytes of room, then the payload to come */
    size_t waiting;
    struct buf entry; /* the last one that was read back, with its tail */
};

/* An entry with its tail, which is borrowed from `tail`, whose content it replaces. */
int ledger_read_entry(struct ledger *l, uint64_t place, struct buf *tail, struct ledger_entry *ret,
        struct err *e);
/* Is it looked up there? */
bool ledger_is_in(const struct ledger_entry *entry, enum ledger_table table);
/* The key of an entry in this table. */
const uint8_t *ledger_key(const struct ledger_entry *entry, enum ledger_table table);
/* Notes that this ledger can be used no more, once, in the log; a damaged one is read whole by the next start. Always -1. */
int ledger_give_up(struct ledger *l, const struct err *why);
/* The index failed: takes it away, so that the next start makes it anew; logged. */
void ledger_lose_index(struct ledger *l, const struct err *why);

/* ledger_save.c: the paths; what a start does with the index, and what a long reading does to stay small. */
int ledger_index_paths(struct ledger *l, const char *path, struct err *e);
int ledger_spill(struct ledger *l, struct err *e);
