/* A simulated device's transport key, as a chip's maker would have put it there: P-256, in the flash, used for nothing but
 * to open keys that were wrapped for it (docs/link-protocol.md, "INSTALL_KEY"). */
#pragma once
#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

#define TRANSPORT_SPKI_MAX  128
#define TRANSPORT_PLAIN_MAX 4096

/* The key in the directory's file "transport", which is made when it is not there. -1 with errno. */
int transport_load(int dir, EVP_PKEY **ret, uint8_t spki[TRANSPORT_SPKI_MAX], size_t *ret_spki_len);
/* A compact JWE, ECDH-ES and A256GCM (RFC 7516, RFC 7518 4.6 and 5.3). -1 when it is not for this key, or changed. */
int transport_open(EVP_PKEY *key, const uint8_t *jwe, size_t len, uint8_t out[TRANSPORT_PLAIN_MAX],
        size_t *ret_len);
