/* The bytes of a ledger's entries (ledger.h says what they mean). */
#pragma once
#include "hsm/ledger/ledger.h"

#define LEDGER_ENTRY_HEADER 8
#define LEDGER_ENTRY_FIXED                                                                         \
    (LEDGER_ENTRY_HEADER + 2 * LEDGER_ID_BYTES + 8 + 8 + 32 + CERT_SERIAL_BYTES)

/* What one group holds. payload is borrowed from whoever read the group. */
struct ledger_group {
    const uint8_t *payload;
    size_t len;
    uint64_t entries; /* that are still to come */
    uint64_t place;   /* of what payload points to, in the file */
    uint8_t digest[LEDGER_DIGEST_BYTES],
            signature[LEDGER_SIGNATURE_BYTES]; /* of a group that was read */
};

/* Appends the entry. ERR_LIMIT when its tail is too long. */
int ledger_entry_encode(const struct ledger_entry *entry, struct buf *out, struct err *e);
/* The fixed part; ret->tail has its length and no bytes. -1 (callers know where, and say it) when it is not an entry. */
int ledger_entry_decode(const uint8_t fixed[LEDGER_ENTRY_FIXED], struct ledger_entry *ret);
/* Takes the next entry off the group: 1, its tail borrowed from the payload; 0 at the end; -1 (no text: the group's place is
 * where it stopped) when the rest is no entry, or more than the entries that the group has. */
int ledger_group_next(struct ledger_group *g, struct ledger_entry *ret, uint64_t *ret_place);

/* The bytes of one that ledger_group_next() gave: the fixed part, then the tail. */
const uint8_t *ledger_entry_bytes(const struct ledger_entry *entry);

uint64_t ledger_get_be(const uint8_t *at, int bytes);
void ledger_put_be(uint8_t *at, int bytes, uint64_t n);
