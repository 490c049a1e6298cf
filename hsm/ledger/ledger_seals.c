/* The seals in memory: a sorted array, because places only rise. Promises a seal for every place that was
 * added; reads no file. */
#include "hsm/ledger/ledger_seals.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"

int ledger_seal(EVP_MD_CTX *md, const uint8_t *entry, size_t len, uint64_t *ret, struct err *e)
{
    uint8_t sum[32];

    if (EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1 || EVP_DigestUpdate(md, entry, len) != 1 ||
            EVP_DigestFinal_ex(md, sum, NULL) != 1)
        return err_set(e, ERR_NOMEM, "no digest can be made");
    memcpy(ret, sum, sizeof *ret);
    return 0;
}

void ledger_seals_done(struct ledger_seals *s)
{
    free(s->at);
    *s = (struct ledger_seals){0};
}

int ledger_seals_reserve(struct ledger_seals *s, size_t more, struct err *e)
{
    size_t wanted = s->cap + s->cap / 2 + more;
    struct ledger_sealed *grown;

    if (s->count + more <= s->cap)
        return 0;
    grown = reallocarray(s->at, wanted, sizeof *grown);
    if (!grown)
        return err_set(e, ERR_NOMEM, "no memory for the ledger's seals");
    s->at = grown;
    s->cap = wanted;
    return 0;
}

void ledger_seals_add(struct ledger_seals *s, uint64_t place, uint64_t seal)
{
    assert(s->count < s->cap && (s->count == 0 || s->at[s->count - 1].place < place));
    s->at[s->count++] = (struct ledger_sealed){place, seal};
}

/* How many are below this place. */
static size_t count_below(const struct ledger_seals *s, uint64_t place)
{
    size_t low = 0, high = s->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (s->at[middle].place < place)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint64_t ledger_seals_get(const struct ledger_seals *s, uint64_t place)
{
    size_t i = count_below(s, place);

    assert(i < s->count && s->at[i].place == place);
    return s->at[i].seal;
}

void ledger_seals_drop(struct ledger_seals *s, uint64_t below)
{
    size_t gone = count_below(s, below);

    if (gone == s->count) { /* as a rule: and the room of a long reading is given back */
        ledger_seals_done(s);
        return;
    }
    s->count -= gone;
    memmove(s->at, s->at + gone, s->count * sizeof *s->at);
}
