/* The chains of the signer's CAs, and which of them a certificate needs: after a roll-over a device may still bring, or be
 * given back, one that was issued under a CA that is retired by now. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"

struct chains;
struct err;

/* bytes: as Signer1.Chain() gives them; copied. ERR_PROTOCOL. */
int chains_parse(const uint8_t *bytes, size_t len, struct chains **ret, struct err *e);
void chains_free(struct chains **c);
/* Appends the chain whose issuing CA issued this certificate (DER). ERR_CA_CHAIN when the signer has none such. */
int chains_append_for(
        const struct chains *c, const uint8_t *cert, size_t len, struct buf *out, struct err *e);
