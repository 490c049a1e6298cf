/* A driver and a device in one, in memory: it does everything right, but for what its script says.
 */
#pragma once
#include <openssl/evp.h>
#include "base/buf.h"
#include "station/driver.h"

enum stage {
    S_OPEN,
    S_IDENTIFY,
    S_KEYGEN,
    S_INSTALL_KEY,
    S_CSR,
    S_INSTALL,
    S_READBACK,
    S_CHALLENGE,
    S_SEAL,
    S_VERDICT,
    S_PING,
    S_COUNT
};

struct fake_device {
    /* the script */
    enum err_id fail[S_COUNT]; /* this stage fails so, always */
    bool forget_nul;           /* the context of the challenge is signed without its NUL */
    bool wrong_key;            /* signs with another key than its certificate's */
    bool empty_signature, huge_signature, huge_csr, empty_csr;
    bool flip_readback, short_readback;
    bool pulled;                                   /* from now on every io call says so */
    unsigned pull_after_verdict_ms, pull_after_ms; /* 0: stays */
    struct driver_identity identity;

    /* the device */
    EVP_PKEY *key, *other_key;
    struct buf objects[3]; /* by enum driver_object */
    struct buf brought;    /* the key it was given */
    unsigned calls[S_COUNT];
    bool passed, failed; /* verdicts told */
    int64_t verdict_ms, opened_ms;
    struct io io;
    void (*on_stage)(struct fake_device *d, enum stage s); /* may be NULL */
    void *test;
};
extern const struct driver fake_driver;
void fake_device_init(struct fake_device *d, const char *key_type);
/* A self-signed certificate for its key. */
size_t fake_device_cert(const struct fake_device *d, uint8_t *ret, size_t cap);
void fake_device_done(struct fake_device *d);
