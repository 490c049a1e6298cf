/* Every error a device can answer with, once: KL_ERROR(name, number, meaning). Device, host and
 * docs/link-protocol.md share this table; a test compares the document with it. Numbers are never
 * reused. */
#ifndef KEYLINE_LINK_ERRORS_H
#define KEYLINE_LINK_ERRORS_H

#define KL_ERROR_LIST(KL_ERROR)                                                                    \
    KL_ERROR(MALFORMED, 1, "the request lacks a field or holds one of a wrong type or size")       \
    KL_ERROR(UNSUPPORTED, 2, "the operation is unknown to this firmware")                          \
    KL_ERROR(VERSION, 3, "no protocol version in common")                                          \
    KL_ERROR(HELLO_FIRST, 4, "no HELLO since the device started")                                  \
    KL_ERROR(ORDER, 5, "an earlier step is missing")                                               \
    KL_ERROR(SEALED, 6, "the device is sealed and takes no new credentials")                       \
    KL_ERROR(KEY_TYPE, 7, "the key type is not supported")                                         \
    KL_ERROR(KEY_EXISTS, 8, "the device holds a key of another type")                              \
    KL_ERROR(OBJECT, 9, "there is no such object in this protocol")                                \
    KL_ERROR(TOO_LARGE, 10, "the object is larger than the device keeps")                          \
    KL_ERROR(OFFSET, 11, "the bytes do not continue what the device holds")                        \
    KL_ERROR(DIGEST, 12, "the bytes received do not have the digest announced")                    \
    KL_ERROR(ABSENT, 13, "the device does not hold this object")                                   \
    KL_ERROR(STORAGE, 14, "the device's memory failed")                                            \
    KL_ERROR(FULL, 15, "the device's memory is full")                                              \
    KL_ERROR(CRYPTO, 16, "the device's cryptography failed")                                       \
    KL_ERROR(REFUSED, 17, "the firmware refuses, for a reason of its own")

#endif
