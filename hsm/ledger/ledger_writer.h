/* Who wrote a group of the ledger. Each process that writes makes an Ed25519 key (RFC 8032) in locked memory at its start; it
 * signs every group it writes, and dies with it. Its public half stands in the checkpoints that the token signs
 * (checkpoint.h): so what stands behind a checkpoint was written by the process that the token vouched for, or is not
 * believed. */
#pragma once
#include <stdint.h>

struct err;
struct ledger_writer;

#define LEDGER_WRITER_BYTES    32 /* the public half */
#define LEDGER_SIGNATURE_BYTES 64
#define LEDGER_DIGEST_BYTES    32

/* ERR_NOMEM where no memory can be locked (base/secret.h). */
int ledger_writer_new(struct ledger_writer **ret, struct err *e);
/* Wipes the key; safe to repeat. */
void ledger_writer_free(struct ledger_writer **w);
const uint8_t *ledger_writer_public(const struct ledger_writer *w);
/* Over the digest of a group (ledger.h). */
int ledger_writer_sign(const struct ledger_writer *w, const uint8_t digest[LEDGER_DIGEST_BYTES],
        uint8_t ret[LEDGER_SIGNATURE_BYTES], struct err *e);
/* ERR_SIGNATURE unless the writer with this public half, which a checkpoint names, signed it. */
int ledger_writer_check(const uint8_t writer[LEDGER_WRITER_BYTES],
        const uint8_t digest[LEDGER_DIGEST_BYTES], const uint8_t sig[LEDGER_SIGNATURE_BYTES],
        struct err *e);
