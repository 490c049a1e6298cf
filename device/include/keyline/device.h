/* The device's side of the reference link, for firmware: feed it the bytes that arrive, give it a
 * way to send, a store that survives power cuts and some cryptography, and it answers the station.
 * C99, no malloc, no OS, no clock.
 *
 * It promises: a request is carried out at most once however often it is repeated; the private key
 * is in no answer, and one that came from outside is wiped from every buffer; a power cut at any storage call leaves each object old or new; nothing changes
 * once the device is sealed. All calls are made from one context; none may be made from inside the
 * callbacks but kl_device_wait(). */
#ifndef KEYLINE_DEVICE_H
#define KEYLINE_DEVICE_H

#include "keyline/frame.h"
#include "keyline/link.h"

/* Memory, settled when the library is compiled (all of it is inside struct kl_device). */
#ifndef KL_FRAME_MAX /* largest frame this device takes */
#define KL_FRAME_MAX KL_FRAME_DEFAULT
#endif
#if KL_FRAME_MAX < 512 || KL_FRAME_MAX > 4096
#error "KL_FRAME_MAX: docs/link-protocol.md allows 512 to 4096"
#endif
#ifndef KL_KEY_MAX /* largest private key as the crypto table encodes it, plus the type: 192 holds \
                      P-384 PKCS#8 */
#define KL_KEY_MAX 192
#endif
#ifndef KL_CSR_MAX /* largest certificate request: 768 holds P-384 with a long name; RSA-2048      \
                      needs 1280 */
#define KL_CSR_MAX 768
#endif

/* Objects of the store that never cross the link, beside those of enum kl_object. */
#define KL_OBJECT_KEY  16u /* key type, then the private key as the crypto table encodes it */
#define KL_OBJECT_SEAL 17u

/* The caller's store: some numbered objects, each with one committed and at most one staged
 * content. Calls return KL_OK or a KL_ERROR_*. What is committed must survive a power cut at any
 * moment; what is staged may be lost (then `staged` says 0) or torn (a digest finds that). */
struct kl_storage {
    void *ctx;
    /* Length of the committed content; 0 when there is none. */
    enum kl_error (*size)(void *ctx, uint8_t object, uint32_t *ret);
    enum kl_error (*read)(void *ctx, uint8_t object, uint32_t offset, uint8_t *bytes, uint32_t len);
    /* Forgets what was staged and makes room for `total` bytes. KL_ERROR_FULL when there is none.
     */
    enum kl_error (*stage)(void *ctx, uint8_t object, uint32_t total);
    enum kl_error (*append)(void *ctx, uint8_t object, const uint8_t *bytes, uint32_t len);
    enum kl_error (*staged)(void *ctx, uint8_t object, uint32_t *ret);
    enum kl_error (*read_staged)(
            void *ctx, uint8_t object, uint32_t offset, uint8_t *bytes, uint32_t len);
    /* The staged content becomes the committed one, all or nothing, durable before it returns. */
    enum kl_error (*commit)(void *ctx, uint8_t object);
    /* Nothing committed, nothing staged, durable before it returns. */
    enum kl_error (*erase)(void *ctx, uint8_t object);
};

/* The caller's cryptography. A "key" is whatever bytes `generate` made: an encoding, or a handle of
 * a secure element. */
struct kl_crypto {
    void *ctx;
    uint32_t key_types; /* bit kl_key_type: it can be made */
    /* How long generate takes at most, in ms, when longer than KL_TURNAROUND_MAX_MS / 2; else 0.
     * May be NULL. */
    uint32_t (*generate_ms)(void *ctx, enum kl_key_type type);
    enum kl_error (*generate)(
            void *ctx, enum kl_key_type type, uint8_t *key, size_t cap, size_t *ret_len);
    /* For devices that cannot make their key: bit kl_key_type: it is taken from outside. 0: none is. */
    uint32_t import_types;
    /* Makes a key as `generate` does of what came in INSTALL_KEY: PKCS #8, or a JWE when the device
     * has a transport key. KL_ERROR_CRYPTO when it is no good key of this type. `bytes` are wiped
     * afterwards. May be NULL without import_types. */
    enum kl_error (*import)(void *ctx, enum kl_key_type type, const uint8_t *bytes, size_t len,
            uint8_t *key, size_t cap, size_t *ret_len);
    /* The SubjectPublicKeyInfo, DER. */
    enum kl_error (*public_key)(void *ctx, enum kl_key_type type, const uint8_t *key,
            size_t key_len, uint8_t *spki, size_t cap, size_t *ret_len);
    /* Over SHA-256 of msg: DER ECDSA-Sig-Value (RFC 3279, 2.2.3), or RSASSA-PKCS1-v1_5. */
    enum kl_error (*sign)(void *ctx, enum kl_key_type type, const uint8_t *key, size_t key_len,
            const uint8_t *msg, size_t msg_len, uint8_t *sig, size_t cap, size_t *ret_len);
    /* One digest at a time. */
    enum kl_error (*sha256_begin)(void *ctx);
    enum kl_error (*sha256_add)(void *ctx, const uint8_t *bytes, size_t len);
    enum kl_error (*sha256_end)(void *ctx, uint8_t ret[KL_SHA256_BYTES]);
};

struct kl_device_config {
    const char *hwid; /* 1..KL_TEXT_MAX bytes of UTF-8 each; name may be NULL */
    const char *name;
    const char *model;
    const char *firmware;
    /* SubjectPublicKeyInfo, DER, P-256: keys from outside come wrapped for it. NULL: they come as they
     * are. */
    const uint8_t *transport_key;
    size_t transport_key_len;
    uint32_t baud; /* of the serial line; 0 on USB, sockets, pseudo-terminals */
    uint32_t object_max[KL_OBJECT_REQUEST]; /* [kl_object]: largest content kept; 0: not kept */
    const struct kl_storage *storage;
    const struct kl_crypto *crypto;
    void *ctx; /* of the three below */
    /* Takes all bytes; may block or queue. */
    void (*send)(void *ctx, const uint8_t *bytes, size_t len);
    /* Asked before a new request is carried out; anything but KL_OK is answered instead. May be
     * NULL. */
    enum kl_error (*permit)(void *ctx, enum kl_op op);
    /* The station's verdict; text is not NUL-terminated. May be NULL. */
    void (*verdict)(void *ctx, bool pass, const char *text, size_t len);
};

struct kl_device {
    const struct kl_device_config *config; /* borrowed for the device's life, as all it points to */
    struct kl_frame_rx rx;
    bool greeted;       /* HELLO was answered since the start */
    uint32_t frame_max; /* agreed */
    uint16_t seq;       /* of the request now worked on */
    uint8_t op;
    bool answered; /* `answer` answers the request whose CRC and length follow */
    uint32_t last_crc;
    size_t last_len;
    size_t answer_len; /* on the wire */
    size_t csr_len;    /* 0: no certificate request was made since the start */
    uint8_t csr_sha256[KL_SHA256_BYTES];
    uint8_t request[KL_FRAME_MAX];
    uint8_t answer[KL_WIRE_BUFFER(KL_FRAME_MAX)];
    uint8_t scratch[KL_FRAME_MAX]; /* strings of the answer being made */
    uint8_t key[KL_KEY_MAX];       /* wiped after every use */
    uint8_t csr[KL_CSR_MAX];
};

void kl_device_init(struct kl_device *d, const struct kl_device_config *config);
/* Bytes from the line, as many or as few as there are. Answers go out through `send` before it
 * returns. */
void kl_device_input(struct kl_device *d, const uint8_t *bytes, size_t len);
/* From inside `generate` or `sign`: tells the station that it takes up to ms longer. */
void kl_device_wait(struct kl_device *d, uint32_t ms);
/* KL_STATE_BLANK when the store cannot be read. */
enum kl_state kl_device_state(struct kl_device *d);

#endif
