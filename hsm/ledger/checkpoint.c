/* Checkpoints and marks as bytes, and what they prove. Promises that a ledger passes only if the token
 * vouched for it; signs nothing itself. */
#include "hsm/ledger/checkpoint.h"
#include <assert.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/text.h"
#include "hsm/ca.h"
#include "hsm/ledger/ledger_entry.h"

static const char context[] = "keyline-ledger-checkpoint-v1\n";
static const char mark_magic[] = "keyline-mark-v1\n";

#define WAY_OUT                                                                                    \
    "put the newest copy of the ledger back and restart the signer; if there is none, see "        \
    "'signerd --accept-ledger' in docs/ca.md"

void checkpoint_take(const struct ledger *l, uint8_t flags, struct checkpoint *ret)
{
    *ret = (struct checkpoint){.time_ms = time_now_ms(), .flags = flags};
    ledger_state(l, &ret->state);
    memcpy(ret->index, ledger_index_digest(l), sizeof ret->index);
    memcpy(ret->writer, ledger_writer(l), sizeof ret->writer);
}

static uint8_t *put(uint8_t *at, const void *bytes, size_t len)
{
    memcpy(at, bytes, len);
    return at + len;
}

static uint8_t *put_state(uint8_t *at, const struct ledger_state *s)
{
    at = put(at, s->id, sizeof s->id);
    ledger_put_be(at, 8, s->size);
    return put(at + 8, s->chain, sizeof s->chain);
}

void checkpoint_text(const struct checkpoint *c, uint8_t ret[CHECKPOINT_TEXT_BYTES])
{
    uint8_t *at = put_state(put(ret, context, sizeof context - 1), &c->state);

    ledger_put_be(at, 8, (uint64_t)c->time_ms);
    at[8] = c->flags;
    at = put(at + 9, c->index, sizeof c->index);
    at = put(at, c->writer, sizeof c->writer);
    assert(at == ret + CHECKPOINT_TEXT_BYTES);
}

int checkpoint_entry(const struct checkpoint *c, const struct ca *ca, const uint8_t *sig,
        size_t sig_len, struct buf *tail, struct ledger_entry *ret, struct err *e)
{
    size_t begin = tail->len;

    if (ca->key_id.len != CERT_KEY_ID_BYTES)
        return err_set(
                e, ERR_CONFIG, "the CA's subjectKeyIdentifier has not %d bytes", CERT_KEY_ID_BYTES);
    if (buf_append(tail, ca->key_id.bytes, ca->key_id.len, e) < 0 ||
            buf_append(tail, c->index, sizeof c->index, e) < 0 ||
            buf_append(tail, c->writer, sizeof c->writer, e) < 0 ||
            buf_append(tail, sig, sig_len, e) < 0)
        return -1;
    *ret = (struct ledger_entry){.type = LEDGER_CHECKPOINT,
            .flags = c->flags,
            .row = c->state.size,
            .time_ms = c->time_ms,
            .tail = {tail->data + begin, tail->len - begin}};
    memcpy(ret->spki_sha256, c->state.chain, sizeof ret->spki_sha256);
    return 0;
}

int checkpoint_verify(const struct ledger_entry *entry, const uint8_t id[32],
        const struct ca_set *cas, struct err *e)
{
    const struct ca *ca = ca_set_find(cas, entry->tail.bytes, CERT_KEY_ID_BYTES);
    struct checkpoint c = {.time_ms = entry->time_ms, .flags = entry->flags};
    uint8_t text[CHECKPOINT_TEXT_BYTES];
    struct err why = {0};

    memcpy(c.state.id, id, sizeof c.state.id);
    c.state.size = entry->row;
    memcpy(c.state.chain, entry->spki_sha256, sizeof c.state.chain);
    memcpy(c.index, ledger_checkpoint_index(entry), sizeof c.index);
    memcpy(c.writer, ledger_checkpoint_writer(entry), sizeof c.writer);
    checkpoint_text(&c, text);
    if (!ca)
        return err_set(e, ERR_LEDGER,
                "a checkpoint of the ledger is by a CA that is not in etc/ca: " WAY_OUT);
    if (signature_verify(ca->key, ca->alg, text, sizeof text,
                entry->tail.bytes + LEDGER_CHECKPOINT_FIXED,
                entry->tail.len - LEDGER_CHECKPOINT_FIXED, &why) < 0)
        return err_set(e, ERR_LEDGER,
                "the ledger was changed without the HSM (the signature of a checkpoint is "
                "wrong): " WAY_OUT);
    return 0;
}

/* It is about this ledger, and what follows it was written by whom it names. */
static int check_content(struct ledger *l, const struct ledger_entry *c, struct err *e)
{
    struct ledger_state state;
    uint64_t at = 0;
    int r;

    ledger_state(l, &state);
    state.size = c->row;
    memcpy(state.chain, c->spki_sha256, sizeof state.chain);
    r = ledger_contains(l, &state, e);
    if (r == LEDGER_ABSENT)
        return err_set(e, ERR_LEDGER,
                "the ledger was changed without the HSM (its newest checkpoint is about other "
                "content): " WAY_OUT);
    if (r > 0)
        r = ledger_written_by(l, state.size, ledger_checkpoint_writer(c), &at, e);
    if (r == LEDGER_ABSENT)
        return err_set(e, ERR_LEDGER,
                "the ledger was added to without the signer (at byte %llu, behind its newest "
                "checkpoint): " WAY_OUT,
                (unsigned long long)at);
    return r < 0 ? -1 : 0;
}

int checkpoint_check(struct ledger *l, const struct ca_set *cas, bool *ret_mark_kept, struct err *e)
{
    struct ledger_entry entry;
    struct ledger_state state;
    struct buf tail = BUF_INIT;
    int r = ledger_last_checkpoint(l, &entry, &tail, e);

    *ret_mark_kept = false;
    ledger_state(l, &state);
    if (r == LEDGER_ABSENT && (ledger_counts(l).groups || ledger_indexed(l)))
        r = err_set(e, ERR_LEDGER,
                "the HSM never vouched for this ledger, though something is in it: " WAY_OUT);
    if (r == LEDGER_PRESENT) {
        *ret_mark_kept = entry.flags & LEDGER_MARK_KEPT;
        r = checkpoint_verify(&entry, state.id, cas, e);
        if (r == 0)
            r = check_content(l, &entry, e);
    }
    buf_done(&tail);
    return r < 0 ? -1 : 0;
}

/* ---- marks */

void mark_encode(const struct mark *m, uint8_t ret[MARK_BYTES])
{
    uint8_t *at = put(ret, mark_magic, sizeof mark_magic - 1);

    ledger_put_be(at, 8, m->writes);
    at = put_state(at + 8, &m->state);
    assert(at == ret + MARK_BYTES);
}

int mark_decode(const uint8_t *bytes, size_t len, struct mark *ret)
{
    const uint8_t *at = bytes + sizeof mark_magic - 1;

    if (len != MARK_BYTES || memcmp(bytes, mark_magic, sizeof mark_magic - 1) != 0)
        return -1;
    ret->writes = ledger_get_be(at, 8);
    memcpy(ret->state.id, at + 8, 32);
    ret->state.size = ledger_get_be(at + 40, 8);
    memcpy(ret->state.chain, at + 48, 32);
    return 0;
}

int mark_check(const struct mark *m, struct ledger *l, struct err *e)
{
    struct ledger_state now;
    int r = ledger_contains(l, &m->state, e);

    if (r != LEDGER_ABSENT)
        return r < 0 ? -1 : 0;
    ledger_state(l, &now);
    if (memcmp(now.id, m->state.id, sizeof now.id) != 0)
        return err_set(e, ERR_LEDGER,
                "the HSM knows another ledger than the one that is there: it was deleted or "
                "exchanged, or this is another HSM: " WAY_OUT);
    if (now.size >= m->state.size)
        return err_set(e, ERR_LEDGER,
                "the ledger is not the one that the HSM's mark is about: they part before byte "
                "%llu: " WAY_OUT,
                (unsigned long long)m->state.size);
    return err_set(e, ERR_LEDGER,
            "the ledger is older than the HSM's mark (%llu bytes, the mark is at %llu): an old "
            "copy "
            "was put back: " WAY_OUT,
            (unsigned long long)now.size, (unsigned long long)m->state.size);
}
