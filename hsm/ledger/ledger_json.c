/* What the ledger says, entry by entry. Shows the facts and no certificates: those are in the registry, and
 * a listing must stay small. Texts of the file are checked before they are shown as text. */
#include "hsm/ledger/ledger_json.h"
#include <string.h>
#include "base/err.h"
#include "base/text.h"
#include "base/uuid.h"
#include "hsm/ledger/ledger.h"
#include "hsm/approval/order.h"
#include "hsm/json.h"

static const char *const type_names[] = {
        [LEDGER_ISSUED] = "issued",
        [LEDGER_REFUSED] = "refused",
        [LEDGER_REVOKED] = "revoked",
        [LEDGER_CRL] = "crl",
        [LEDGER_WITHDRAWN] = "withdrawn",
        [LEDGER_CHECKPOINT] = "checkpoint",
        [LEDGER_KEY_MADE] = "key-made",
};

static bool is_zero(const uint8_t *bytes, size_t len)
{
    while (len && !*bytes)
        bytes++, len--;
    return len == 0;
}

static void set_uuid(json_t *o, const char *key, const uint8_t id[LEDGER_ID_BYTES])
{
    char hex[2 * LEDGER_ID_BYTES + 1], text[UUID_TEXT_MAX];

    if (is_zero(id, LEDGER_ID_BYTES))
        return;
    hex_format(id, LEDGER_ID_BYTES, hex);
    snprintf(text, sizeof text, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
            hex + 20);
    json_object_set_new(o, key, json_string(text));
}

static void set_hex(json_t *o, const char *key, const uint8_t *bytes, size_t len)
{
    char hex[2 * 32 + 1];

    if (len > 32 || is_zero(bytes, len))
        return;
    hex_format(bytes, len, hex);
    json_object_set_new(o, key, json_string(hex));
}

static void set_time(json_t *o, const char *key, int64_t ms)
{
    char text[TIME_TEXT_MAX];

    time_format(ms, text);
    json_object_set_new(o, key, json_string(text));
}

/* "Name: message" */
static void set_refusal(json_t *o, const struct cert_bytes *tail)
{
    char text[LEDGER_REFUSAL_MAX + 1];
    size_t len = tail->len < LEDGER_REFUSAL_MAX ? tail->len : LEDGER_REFUSAL_MAX;
    char *colon;

    if (!utf8_valid((const char *)tail->bytes, len))
        return;
    memcpy(text, tail->bytes, len);
    text[len] = '\0';
    text_make_printable(text);
    colon = strstr(text, ": ");
    if (colon)
        *colon = '\0';
    json_object_set_new(o, "error", json_string(text));
    json_object_set_new(o, "message", json_string(colon ? colon + 2 : ""));
}

static void set_crl(json_t *o, const struct ledger_entry *entry)
{
    struct ledger_crl crl;

    ledger_crl_read(entry, &crl);
    set_hex(o, "ca", crl.ca, sizeof crl.ca);
    json_object_set_new(o, "number", json_integer((json_int_t)crl.number));
    set_time(o, "next_update", crl.next_update_ms);
    json_object_set_new(o, "revoked", json_integer((json_int_t)crl.entries));
    json_object_set_new(o, "compromised", json_integer((json_int_t)crl.compromised));
    set_hex(o, "sha256", crl.sha256, sizeof crl.sha256);
}

static json_t *entry_json(uint64_t place, const struct ledger_entry *entry)
{
    const char *type = (size_t)entry->type < sizeof type_names / sizeof *type_names
                               ? type_names[entry->type]
                               : NULL;
    json_t *o = json_pack("{s:I,s:s}", "place", (json_int_t)place, "type", type ? type : "other");

    set_time(o, "time", entry->time_ms);
    set_uuid(o, "job", entry->job);
    set_uuid(o, "device", entry->device);
    if (entry->type == LEDGER_CRL) {
        set_crl(o, entry);
        return o;
    }
    if (entry->type == LEDGER_CHECKPOINT) {
        json_object_set_new(o, "bytes", json_integer((json_int_t)entry->row));
        set_hex(o, "chain", entry->spki_sha256, sizeof entry->spki_sha256);
        json_object_set_new(o, "accepted", json_boolean(entry->flags & LEDGER_ACCEPTED));
        return o;
    }
    set_hex(o, "serial", entry->serial, sizeof entry->serial);
    set_hex(o, "spki_sha256", entry->spki_sha256, sizeof entry->spki_sha256);
    if (entry->type == LEDGER_REFUSED)
        set_refusal(o, &entry->tail);
    if (entry->type == LEDGER_REVOKED)
        json_object_set_new(o, "reason", json_string(order_reason_name(entry->reason)));
    if (entry->type == LEDGER_KEY_MADE)
        set_hex(o, "transport_sha256", entry->tail.bytes, entry->tail.len);
    if (entry->type == LEDGER_ISSUED || entry->type == LEDGER_REFUSED ||
            entry->type == LEDGER_KEY_MADE)
        json_object_set_new(o, "row", json_integer((json_int_t)entry->row + 1));
    if (entry->type == LEDGER_ISSUED)
        json_object_set_new(
                o, "key_from_signer", json_boolean(entry->flags & LEDGER_KEY_FROM_SIGNER));
    return o;
}

/* ---- a page */

struct page {
    const uint8_t *device; /* NULL: any */
    size_t limit, scanned;
    uint64_t last;
    json_t *entries;
};

static int on_entry(void *ctx, uint64_t place, const struct ledger_entry *entry)
{
    struct page *p = ctx;

    p->last = place;
    p->scanned++;
    if (!p->device || memcmp(p->device, entry->device, LEDGER_ID_BYTES) == 0)
        json_array_append_new(p->entries, entry_json(place, entry));
    return json_array_size(p->entries) == p->limit;
}

int ledger_json(struct ledger *l, const char *device, uint64_t before, unsigned limit,
        struct buf *out, struct err *e)
{
    uint8_t id[LEDGER_ID_BYTES];
    struct page p = {.limit = limit && limit < LEDGER_PAGE_MAX ? limit : LEDGER_PAGE_MAX};
    bool more;
    json_t *o;

    if (*device && !uuid_valid(device))
        return err_set(e, ERR_ARGUMENT, "the ledger knows devices by their ID only");
    if (*device) {
        uuid_bytes(device, id);
        p.device = id;
    }
    p.entries = json_array();
    if (ledger_read(l, before ? before : LEDGER_NEWEST, LEDGER_SCAN_MAX, on_entry, &p, e) < 0) {
        json_decref(p.entries);
        return -1;
    }
    more = p.scanned == LEDGER_SCAN_MAX || json_array_size(p.entries) == p.limit;
    o = json_pack("{s:o,s:o}", "entries", p.entries, "next",
            more ? json_integer((json_int_t)p.last) : json_null());
    return json_append(o, out, e);
}
