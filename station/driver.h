/* A driver speaks one device protocol. It returns typed facts; it knows no policy, no registry, no certificate rules.
 * Adding one: one file in station/drivers/, one row in driver_table (driver.c). Calls come in the order below. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "station/io.h"

/* What the device reports. Texts are printable (text_is_printable) before they leave the driver. */
struct driver_identity {
    char hwid[HWID_BYTES_MAX + 1];
    char name[NAME_BYTES_MAX + 1];  /* "" when the device has no name of its own */
    char model[NAME_BYTES_MAX + 1]; /* hardware and firmware, for the record */
    bool sealed;                    /* it takes no new credentials any more */
    bool keyed;                     /* it holds a key */
    bool takes_key; /* it cannot make a key, but takes one that was made elsewhere: install_key */
    /* DER SubjectPublicKeyInfo that such a key must be wrapped for (base/jwe.h); none: it takes it as it is. */
    uint8_t transport_key[TRANSPORT_KEY_BYTES_MAX];
    size_t transport_key_len;
};
enum driver_object { DRIVER_CERT, DRIVER_CHAIN, DRIVER_CONFIG };

struct driver_session {
    const struct driver *driver;
    struct io *io; /* borrowed */
    void *state;   /* the driver's */
};
struct driver {
    const char *name;
    const char *title;     /* for lists and --help */
    const char *reference; /* the protocol's document */
    /* Says hello; ERR_DEVICE_SILENT when nothing answers within timeout_ms. */
    int (*open)(struct driver_session *s, unsigned timeout_ms, struct err *e);
    int (*identify)(struct driver_session *s, struct driver_identity *ret, struct err *e);
    /* Makes the key in the device, or keeps the one it has. key_type: "P-256", ... */
    int (*keygen)(struct driver_session *s, const char *key_type, struct err *e);
    /* NULL in drivers whose devices all make their keys. Hands a key over, once: PKCS #8, DER, or the JWE for the device's
     * transport key. It leaves no copy of it anywhere on its way. */
    int (*install_key)(struct driver_session *s, const char *key_type, const uint8_t *key,
            size_t len, struct err *e);
    /* DER PKCS#10 with challengePassword = hex(nonce); cn may be "". */
    int (*csr)(struct driver_session *s, const char *cn, const uint8_t nonce[NONCE_BYTES],
            struct buf *ret, struct err *e);
    int (*install)(struct driver_session *s, enum driver_object o, const uint8_t *bytes, size_t len,
            struct err *e);
    int (*readback)(struct driver_session *s, enum driver_object o, struct buf *ret, struct err *e);
    /* Signature over CHALLENGE_CONTEXT (base/challenge.h) || challenge by the device's key (DER ECDSA-Sig-Value, or PKCS#1 v1.5 for RSA), SHA-256. */
    int (*challenge)(struct driver_session *s, const uint8_t challenge[NONCE_BYTES],
            struct buf *ret_sig, struct err *e);
    int (*seal)(struct driver_session *s, struct err *e);
    /* Tells the device the outcome (a lamp, perhaps). Best effort. */
    int (*verdict)(struct driver_session *s, bool pass, const char *text, struct err *e);
    /* 0 while the device is still there. */
    int (*ping)(struct driver_session *s, struct err *e);
    void (*close)(struct driver_session *s); /* frees state; io stays open */
};
/* NULL when there is none of that name. */
const struct driver *driver_find(const char *name);
size_t driver_count(void);
const struct driver *driver_at(size_t i);
/* Watches an idle device for ms: 0 when it is still there, else ERR_DEVICE_GONE, a hang-up within milliseconds, on
 * ports that cannot tell by a ping at the end. What it sends unasked is dropped. */
int driver_watch(struct driver_session *s, unsigned ms, struct err *e);
