/* Keys for devices that cannot make their own. One is made, wrapped for whoever will put it into the device, and gone:
 * all of that in a process that lives no longer (signerd-key), so that no later fault of ours can give it away. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "hsm/x509/csr.h"

struct buf;
struct err;

enum born_key_type {
    BORN_KEY_P256,
    BORN_KEY_P384,
    BORN_KEY_RSA2048,
    BORN_KEY_RSA3072,
    BORN_KEY_COUNT
};
const char *born_key_name(enum born_key_type t); /* "P-256", as jobs and drivers call it */
/* ERR_KEY_TYPE */
int born_key_find(const char *name, enum born_key_type *ret, struct err *e);
enum csr_key born_key_kind(enum born_key_type t); /* what a profile calls it */

/* Needs secret_open(). Appends the DER SubjectPublicKeyInfo, and the private key as a JWE (base/jwe.h) that only the
 * holder of the transport key can open. ERR_KEY_TYPE: the transport key is not P-256. */
int born_key_make(enum born_key_type t, const uint8_t *transport_spki, size_t transport_len,
        struct buf *ret_spki, struct buf *ret_jwe, struct err *e);
