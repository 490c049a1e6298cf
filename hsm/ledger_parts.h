/* The inside of a ledger, for the files of this noun alone (ledger*.c). */
#pragma once
#include "base/buf.h"
#include "hsm/ledger_entry.h"
#include "hsm/ledger_file.h"
#include "hsm/ledger_index.h"
#include "hsm/ledger_tally.h"

struct ledger {
    struct ledger_file file;
    struct ledger_index devices, keys;
    struct ledger_tally tally;
    struct buf group; /* LEDGER_GROUP_HEADER bytes of room, then the payload to come */
    size_t waiting;
};
