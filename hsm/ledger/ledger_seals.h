/* The seals of entries: the first 8 bytes of SHA-256 over all of an entry, by its place. Whoever reads an entry again, long
 * after its group's chain was checked, can tell by its seal that no byte of it has changed. In memory are those behind the
 * snapshot; the others are in it, beside the cells (ledger_snapshot.h). */
#pragma once
#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

struct err;

struct ledger_sealed {
    uint64_t place, seal;
};
struct ledger_seals {
    struct ledger_sealed *at; /* by rising place */
    size_t count, cap;
};

/* entry: its fixed part and its tail. md: any, it is used for the call. */
int ledger_seal(EVP_MD_CTX *md, const uint8_t *entry, size_t len, uint64_t *ret, struct err *e);
void ledger_seals_done(struct ledger_seals *s);
/* Room for `more` further ones, so that ledger_seals_add() cannot fail for them. */
int ledger_seals_reserve(struct ledger_seals *s, size_t more, struct err *e);
/* place: above all that are there. */
void ledger_seals_add(struct ledger_seals *s, uint64_t place, uint64_t seal);
/* Of an entry that was added. */
uint64_t ledger_seals_get(const struct ledger_seals *s, uint64_t place);
/* Takes out everything below this place. */
void ledger_seals_drop(struct ledger_seals *s, uint64_t below);
