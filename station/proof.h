/* Does this device hold the key of this certificate? */
#pragma once
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"

/* cert: DER, the one just issued. signature: as the device gave it, over CHALLENGE_CONTEXT || challenge with SHA-256
 * (ECDSA-Sig-Value, or PKCS#1 v1.5 for RSA). ERR_DEVICE_CHALLENGE when it is anything else; ERR_PROTOCOL when the
 * certificate itself cannot be read. */
int proof_verify(const struct buf *cert, const uint8_t challenge[NONCE_BYTES],
        const struct buf *signature, struct err *e);
