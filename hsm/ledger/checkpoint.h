/* What binds the ledger to the token. A checkpoint is an entry in which the CA key signs how far the ledger is: without the
 * token nobody can change what is before it. It also signs which process writes on behind it (ledger_writer.h): without that
 * process nobody can add to it. A mark is the first word kept inside the token, so that an old copy of the whole ledger is
 * noticed as well. The ledger is written first and the mark after it: a mark is never ahead of the disk.
 *
 * A checkpoint's tail: the CA's subjectKeyIdentifier, SHA-256 of the index in use (ledger_index_digest()), the writer's public
 * key, signature over
 *   "keyline-ledger-checkpoint-v1\n" | ledger id 32 | u64 size | chain 32 | u64 Unix ms | u8 flags | index 32 | writer 32
 * which can be nothing else, because all else a CA key signs is DER. A mark:
 *   "keyline-mark-v1\n" | u64 number | ledger id 32 | u64 size | chain 32                  All numbers big-endian. */
#pragma once
#include "hsm/ledger/ledger.h"

struct buf;
struct ca;
struct ca_set;
struct err;

#define CHECKPOINT_TEXT_BYTES (29 + 32 + 8 + 32 + 8 + 1 + 32 + 32)
#define MARK_BYTES            (16 + 8 + 32 + 8 + 32)

struct checkpoint {
    struct ledger_state state;
    int64_t time_ms;
    uint8_t flags; /* LEDGER_MARK_KEPT, LEDGER_ACCEPTED */
    uint8_t index[LEDGER_INDEX_DIGEST];
    uint8_t writer[LEDGER_WRITER_BYTES];
};
/* Of the ledger as it is now, written by this process from now on. */
void checkpoint_take(const struct ledger *l, uint8_t flags, struct checkpoint *ret);
/* What is signed. */
void checkpoint_text(const struct checkpoint *c, uint8_t ret[CHECKPOINT_TEXT_BYTES]);
/* The entry of a signed checkpoint; its tail is appended to `tail` and borrowed from it. */
int checkpoint_entry(const struct checkpoint *c, const struct ca *ca, const uint8_t *sig,
        size_t sig_len, struct buf *tail, struct ledger_entry *ret, struct err *e);
/* ERR_LEDGER unless the newest checkpoint is right and signed by one of these CAs, and what follows it was written by the
 * process that it names. A ledger without a group needs none. *ret_mark_kept: whether the token must have a mark of it. */
int checkpoint_check(
        struct ledger *l, const struct ca_set *cas, bool *ret_mark_kept, struct err *e);

/* The signature alone, of any checkpoint of the ledger with this id. */
int checkpoint_verify(const struct ledger_entry *entry, const uint8_t id[32],
        const struct ca_set *cas, struct err *e);

struct mark {
    uint64_t writes; /* a number, rising: the higher one of two is the newer */
    struct ledger_state state;
};
void mark_encode(const struct mark *m, uint8_t ret[MARK_BYTES]);
/* -1 (no text) when it is not a mark. */
int mark_decode(const uint8_t *bytes, size_t len, struct mark *ret);
/* ERR_LEDGER unless the ledger has been where the mark says. */
int mark_check(const struct mark *m, struct ledger *l, struct err *e);
/* What a worker answers when it was asked for the mark (wire.h): one byte, and what follows it. */
enum mark_answer {
    MARK_NONE = 1, /* the token has none */
    MARK_FOUND =
            2, /* and the newest mark follows; from a pool of tokens those of the others behind it */
    MARK_WRITTEN = 3,
    MARK_CANNOT = 4, /* this token keeps no data objects; why follows, as text */
    MARK_ELSEWHERE =
            5, /* none, but a token that is down was not asked; the pool's answer, never a token's */
    MARK_NOT_NOW = 6, /* the token did not say; why follows, as text. A pool makes it an error */
};
