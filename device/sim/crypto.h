/* A simulated device's cryptography: OpenSSL behind the library's table. Keys are PKCS #8,
 * unencrypted, as they would lie in an MCU's protected flash. */
#pragma once
#include <openssl/evp.h>
#include <stdbool.h>

#include "keyline/device.h"

struct crypto {
    EVP_MD_CTX *md;
    EVP_PKEY *transport;  /* keys from outside come wrapped for it; NULL: as they are */
    bool wrong_challenge; /* fault: challenges are signed with another key */
    bool wrong_csr;       /* fault: certificate requests are */
    struct kl_crypto table;
};
int crypto_open(struct crypto *c);
/* A device that cannot make keys takes them from outside instead. */
void crypto_take_keys(struct crypto *c);
void crypto_close(struct crypto *c);
