/* The ledger's entries as JSON, for people's tools. */
#pragma once
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;
struct ledger;

#define LEDGER_PAGE_MAX 500  /* entries of one answer */
#define LEDGER_SCAN_MAX 2000 /* that one call looks at: nothing else is answered meanwhile */

/* Appends {"entries":[..],"next":place or null}, newest first: at most `limit` entries (0: LEDGER_PAGE_MAX) from places below
 * `before` (0: the newest); only those of `device`, a UUID, unless it is "". One call goes back over a bounded piece of the
 * file, so a page may be short, or empty, and still have a next. ERR_ARGUMENT. */
int ledger_json(struct ledger *l, const char *device, uint64_t before, unsigned limit,
        struct buf *out, struct err *e);
