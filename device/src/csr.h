/* Certificate requests (PKCS #10, RFC 2986) written without an ASN.1 library. Private to the device
 * library. */
#ifndef KEYLINE_SRC_CSR_H
#define KEYLINE_SRC_CSR_H

#include "keyline/device.h"

struct csr_key {
    enum kl_key_type type;
    const uint8_t *bytes; /* as the crypto table made it */
    size_t len;
};
/* Subject: CN (UTF8String) when cn_len > 0, else empty. One attribute: challengePassword (RFC
 * 2985, 5.4.1), the nonce in lower-case hex. KL_ERROR_TOO_LARGE when cap does not hold it. */
enum kl_error csr_make(const struct kl_crypto *c, const struct csr_key *key, const uint8_t *cn,
        size_t cn_len, const uint8_t nonce[KL_NONCE_BYTES], uint8_t *out, size_t cap,
        size_t *ret_len);

#endif
