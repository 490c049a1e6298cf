/* The numbers of the reference link, for both of its ends. docs/link-protocol.md is the
 * specification; a test compares its tables with the lists below. Nothing else may state one of
 * these numbers. */
#ifndef KEYLINE_LINK_H
#define KEYLINE_LINK_H

#include "keyline/link_errors.h"

#define KL_VERSION 1u /* of this protocol; HELLO agrees on one */

/* A frame's size is counted before COBS: head, map and CRC. Every device takes the default, which
 * is the limit until HELLO has agreed on more. The largest: CRC-32 detects every 3-bit error up to
 * 11 kB, and a lost 4 KB costs 10 ms at 4M baud. */
#define KL_FRAME_DEFAULT 512u
#define KL_FRAME_LARGEST 4096u
#define KL_HEAD_BYTES    4u /* sequence number (2, little-endian), operation, kind */
#define KL_CRC_BYTES     4u
/* What surrounds the DATA of a WRITE or of a READ's answer, rounded up. */
#define KL_DATA_OVERHEAD 32u

#define KL_NONCE_BYTES     32u
#define KL_CHALLENGE_BYTES 32u
#define KL_SHA256_BYTES    32u
#define KL_TEXT_MAX        128u /* names, and the text of a verdict or an error */
#define KL_SIGNATURE_MAX   512u /* RSA-4096 */

/* A device signs this, its NUL included, then the challenge (base/challenge.h is the host's copy; a
 * test compares). */
#define KL_CHALLENGE_CONTEXT "keyline-challenge-v1"

/* Time-outs: docs/link-protocol.md, "Time". Try k of KL_TRIES waits for both frames on the line
 * plus min(turnaround << k, max(KL_TURNAROUND_MAX_MS, turnaround)). */
#define KL_TRIES             5u
#define KL_TURNAROUND_MAX_MS 2000u
#define KL_WAIT_MAX_MS       300000u /* all WAITs of one request: RSA-4096 on a small MCU */
#define KL_BAUD_UNKNOWN      9600u   /* assumed until HELLO has told the line's speed */

enum kl_kind {
    KL_REQUEST = 0,
    KL_ANSWER = 1,
    KL_WAIT = 2,
    KL_REFUSAL = 3 /* ERROR tells why */
};

/* KL_OP(name, number, turnaround in ms, what it does) */
#define KL_OP_LIST(KL_OP)                                                                          \
    KL_OP(HELLO, 1, 250, "agree on version and frame size, tell capabilities and state")           \
    KL_OP(IDENTIFY, 2, 250, "tell hardware id and name")                                           \
    KL_OP(GENERATE_KEY, 3, 1000, "make a key, or keep the one there is")                           \
    KL_OP(CSR, 4, 1000, "make the certificate request for a nonce")                                \
    KL_OP(BEGIN, 5, 1000, "start or resume writing an object")                                     \
    KL_OP(WRITE, 6, 250, "append bytes to the object")                                             \
    KL_OP(COMMIT, 7, 1000, "check the object's digest and keep it")                                \
    KL_OP(READ, 8, 250, "give bytes of an object")                                                 \
    KL_OP(CHALLENGE, 9, 1000, "sign a challenge with the key")                                     \
    KL_OP(SEAL, 10, 1000, "take no new credentials any more")                                      \
    KL_OP(VERDICT, 11, 250, "hear how it ended")                                                   \
    KL_OP(PING, 12, 250, "tell the state")                                                         \
    KL_OP(INSTALL_KEY, 13, 1000, "take a key that was made elsewhere")

/* KL_FIELD(name, number, type, meaning): the keys of the maps. UINT: 0..2^32-1; UINTS: an array of
 * them; SIZES: a map from UINT to UINT. Numbers up to 23 take one byte. */
#define KL_FIELD_LIST(KL_FIELD)                                                                    \
    KL_FIELD(VERSION_MIN, 1, UINT, "lowest version the host speaks")                               \
    KL_FIELD(VERSION_MAX, 2, UINT, "highest version the host speaks")                              \
    KL_FIELD(VERSION, 3, UINT, "version chosen")                                                   \
    KL_FIELD(FRAME_MAX, 4, UINT, "largest frame: the host's in the request, the agreed one back")  \
    KL_FIELD(KEY_TYPES, 5, UINTS, "key types the device can make")                                 \
    KL_FIELD(OBJECTS, 6, SIZES, "objects the device keeps, with the largest size of each")         \
    KL_FIELD(STATE, 7, UINT, "state of the device")                                                \
    KL_FIELD(MODEL, 8, TEXT, "hardware")                                                           \
    KL_FIELD(FIRMWARE, 9, TEXT, "firmware and its version")                                        \
    KL_FIELD(BAUD, 10, UINT, "speed of the serial line; absent where there is none")               \
    KL_FIELD(HWID, 11, TEXT, "what the hardware calls itself")                                     \
    KL_FIELD(NAME, 12, TEXT, "common name, or the device's own name")                              \
    KL_FIELD(KEY_TYPE, 13, UINT, "key type")                                                       \
    KL_FIELD(REPLACE, 14, BOOL, "true: erase the key there is")                                    \
    KL_FIELD(NONCE, 15, BYTES, "nonce or challenge, 32 bytes")                                     \
    KL_FIELD(OBJECT, 16, UINT, "object")                                                           \
    KL_FIELD(LENGTH, 17, UINT, "length of the object, or bytes wanted")                            \
    KL_FIELD(SHA256, 18, BYTES, "digest of the object, 32 bytes")                                  \
    KL_FIELD(OFFSET, 19, UINT, "first byte meant, or where to go on")                              \
    KL_FIELD(DATA, 20, BYTES, "bytes of the object")                                               \
    KL_FIELD(DONE, 21, BOOL, "true: it was so already")                                            \
    KL_FIELD(SIGNATURE, 22, BYTES, "signature")                                                    \
    KL_FIELD(PASS, 23, BOOL, "true: the device is good")                                           \
    KL_FIELD(TEXT, 24, TEXT, "for a person")                                                       \
    KL_FIELD(ERROR, 25, UINT, "error code")                                                        \
    KL_FIELD(WAIT_MS, 26, UINT, "how much longer it takes at most")                                \
    KL_FIELD(KEYS_TAKEN, 27, UINTS, "key types the device takes from outside")                     \
    KL_FIELD(TRANSPORT_KEY, 28, BYTES, "public key that keys for the device are wrapped for")

/* KL_OBJECT(name, number, meaning) */
#define KL_OBJECT_LIST(KL_OBJECT)                                                                  \
    KL_OBJECT(CERTIFICATE, 1, "the device's certificate, DER")                                     \
    KL_OBJECT(CHAIN, 2, "the CA certificates, DER, one behind the other")                          \
    KL_OBJECT(CONFIGURATION, 3, "the bootstrap configuration, JSON")                               \
    KL_OBJECT(REQUEST, 4, "the certificate request, DER; can only be read")

/* KL_KEY_TYPE(name, number, the host's name of it) */
#define KL_KEY_TYPE_LIST(KL_KEY_TYPE)                                                              \
    KL_KEY_TYPE(P256, 1, "P-256")                                                                  \
    KL_KEY_TYPE(P384, 2, "P-384")                                                                  \
    KL_KEY_TYPE(RSA2048, 3, "RSA-2048")                                                            \
    KL_KEY_TYPE(RSA3072, 4, "RSA-3072")                                                            \
    KL_KEY_TYPE(RSA4096, 5, "RSA-4096")

/* KL_STATE(name, number, meaning) */
#define KL_STATE_LIST(KL_STATE)                                                                    \
    KL_STATE(BLANK, 0, "it has no key")                                                            \
    KL_STATE(KEYED, 1, "it has a key")                                                             \
    KL_STATE(INSTALLED, 2, "it has a key and a certificate")                                       \
    KL_STATE(SEALED, 3, "it takes no new credentials")

enum kl_error {
    KL_OK = 0,
#define KL_ERROR(name, number, meaning) KL_ERROR_##name = (number),
    KL_ERROR_LIST(KL_ERROR)
#undef KL_ERROR
            KL_ERROR_END
};
enum kl_op {
#define KL_OP(name, number, ms, meaning) KL_OP_##name = (number),
    KL_OP_LIST(KL_OP)
#undef KL_OP
            KL_OP_END
};
enum kl_field {
#define KL_FIELD(name, number, type, meaning) KL_FIELD_##name = (number),
    KL_FIELD_LIST(KL_FIELD)
#undef KL_FIELD
            KL_FIELD_END
};
enum kl_object {
#define KL_OBJECT(name, number, meaning) KL_OBJECT_##name = (number),
    KL_OBJECT_LIST(KL_OBJECT)
#undef KL_OBJECT
            KL_OBJECT_END
};
enum kl_key_type {
#define KL_KEY_TYPE(name, number, text) KL_KEY_##name = (number),
    KL_KEY_TYPE_LIST(KL_KEY_TYPE)
#undef KL_KEY_TYPE
            KL_KEY_END
};
enum kl_state {
#define KL_STATE(name, number, meaning) KL_STATE_##name = (number),
    KL_STATE_LIST(KL_STATE)
#undef KL_STATE
            KL_STATE_END
};

#endif
