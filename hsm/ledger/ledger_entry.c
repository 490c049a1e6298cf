/* Entries of the ledger as bytes. Promises that what is decoded was encoded by a Keyline that knows
 * the same types; looks at no file. */
#include "hsm/ledger/ledger_entry.h"
#include <stdio.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/text.h"

#define TAIL_MAX CERT_BYTES_MAX

uint64_t ledger_get_be(const uint8_t *at, int bytes)
{
    uint64_t n = 0;

    while (bytes--)
        n = n << 8 | *at++;
    return n;
}

void ledger_put_be(uint8_t *at, int bytes, uint64_t n)
{
    while (bytes--) {
        at[bytes] = (uint8_t)n;
        n >>= 8;
    }
}

int ledger_entry_encode(const struct ledger_entry *entry, struct buf *out, struct err *e)
{
    uint8_t fixed[LEDGER_ENTRY_FIXED] = {0}, *at = fixed + LEDGER_ENTRY_HEADER;

    if (entry->tail.len > TAIL_MAX)
        return err_set(e, ERR_LIMIT, "a certificate of %zu bytes does not fit into the ledger",
                entry->tail.len);
    ledger_put_be(fixed, 4, entry->tail.len);
    fixed[4] = (uint8_t)entry->type;
    fixed[5] = entry->flags;
    fixed[6] = entry->reason;
    memcpy(at, entry->job, LEDGER_ID_BYTES);
    memcpy(at + 16, entry->device, LEDGER_ID_BYTES);
    ledger_put_be(at + 32, 8, entry->row);
    ledger_put_be(at + 40, 8, (uint64_t)entry->time_ms);
    memcpy(at + 48, entry->spki_sha256, 32);
    memcpy(at + 80, entry->serial, CERT_SERIAL_BYTES);
    if (buf_append(out, fixed, sizeof fixed, e) < 0)
        return -1;
    return buf_append(out, entry->tail.bytes, entry->tail.len, e);
}

/* Tails of a fixed form; a certificate's and a text's are as long as they are. */
static bool tail_fits(const struct ledger_entry *entry)
{
    switch (entry->type) {
    case LEDGER_REVOKED:
        return entry->tail.len == CERT_KEY_ID_BYTES;
    case LEDGER_CRL:
        return entry->tail.len == LEDGER_CRL_TAIL;
    case LEDGER_WITHDRAWN:
        return entry->tail.len == 0;
    case LEDGER_CHECKPOINT:
        return entry->tail.len > LEDGER_CHECKPOINT_FIXED;
    case LEDGER_KEY_MADE:
        return entry->tail.len == LEDGER_KEY_MADE_TAIL;
    default:
        return true;
    }
}

const uint8_t *ledger_checkpoint_index(const struct ledger_entry *entry)
{
    return entry->tail.bytes + CERT_KEY_ID_BYTES;
}

const uint8_t *ledger_checkpoint_writer(const struct ledger_entry *entry)
{
    return ledger_checkpoint_index(entry) + LEDGER_INDEX_DIGEST;
}

void ledger_crl_tail(const struct ledger_crl *crl, uint8_t ret[LEDGER_CRL_TAIL])
{
    memcpy(ret, crl->ca, CERT_KEY_ID_BYTES);
    ledger_put_be(ret + CERT_KEY_ID_BYTES, 8, (uint64_t)crl->next_update_ms);
    ledger_put_be(ret + CERT_KEY_ID_BYTES + 8, 8, crl->entries);
    ledger_put_be(ret + CERT_KEY_ID_BYTES + 16, 8, crl->compromised);
}

void ledger_crl_read(const struct ledger_entry *entry, struct ledger_crl *ret)
{
    const uint8_t *tail = entry->tail.bytes;

    *ret = (struct ledger_crl){.number = entry->row,
            .this_update_ms = entry->time_ms,
            .next_update_ms = (int64_t)ledger_get_be(tail + CERT_KEY_ID_BYTES, 8),
            .entries = ledger_get_be(tail + CERT_KEY_ID_BYTES + 8, 8),
            .compromised = ledger_get_be(tail + CERT_KEY_ID_BYTES + 16, 8)};
    memcpy(ret->ca, tail, sizeof ret->ca);
    memcpy(ret->sha256, entry->spki_sha256, sizeof ret->sha256);
}

int ledger_entry_decode(const uint8_t fixed[LEDGER_ENTRY_FIXED], struct ledger_entry *ret)
{
    const uint8_t *at = fixed + LEDGER_ENTRY_HEADER;

    *ret = (struct ledger_entry){.type = fixed[4],
            .flags = fixed[5],
            .reason = fixed[6],
            .tail.len = ledger_get_be(fixed, 4)};
    if (ret->type < LEDGER_ISSUED || ret->type > LEDGER_KEY_MADE || fixed[7] ||
            ret->tail.len > TAIL_MAX || !tail_fits(ret))
        return -1;
    memcpy(ret->job, at, LEDGER_ID_BYTES);
    memcpy(ret->device, at + 16, LEDGER_ID_BYTES);
    ret->row = ledger_get_be(at + 32, 8);
    ret->time_ms = (int64_t)ledger_get_be(at + 40, 8);
    memcpy(ret->spki_sha256, at + 48, 32);
    memcpy(ret->serial, at + 80, CERT_SERIAL_BYTES);
    return 0;
}

int ledger_group_next(struct ledger_group *g, struct ledger_entry *ret, uint64_t *ret_place)
{
    size_t size;

    if (g->entries == 0)
        return g->len == 0 ? 0 : -1;
    if (g->len < LEDGER_ENTRY_FIXED || ledger_entry_decode(g->payload, ret) < 0 ||
            ret->tail.len > g->len - LEDGER_ENTRY_FIXED)
        return -1;
    ret->tail.bytes = g->payload + LEDGER_ENTRY_FIXED;
    *ret_place = g->place;
    size = LEDGER_ENTRY_FIXED + ret->tail.len;
    g->payload += size;
    g->place += size;
    g->len -= size;
    g->entries--;
    return 1;
}

const uint8_t *ledger_entry_bytes(const struct ledger_entry *entry)
{
    return entry->tail.bytes - LEDGER_ENTRY_FIXED;
}

void ledger_refusal(const struct err *why, char out[LEDGER_REFUSAL_MAX + 1])
{
    char whole[64 + ERR_MSG_MAX] = "";

    snprintf(whole, sizeof whole, "%s: %s", err_name(why->id), why->msg);
    memcpy(out, whole, LEDGER_REFUSAL_MAX);
    out[LEDGER_REFUSAL_MAX] = '\0';
    text_make_printable(out); /* the cut may have halved a character */
}
