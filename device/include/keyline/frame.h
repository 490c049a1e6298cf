/* Frames on a byte stream: 0x00 COBS(payload || CRC-32) 0x00 (docs/link-protocol.md, "Frames").
 * Whatever noise, cut or garbage came before, the next 0x00 starts afresh; bytes that fail the CRC
 * never leave this file. No memory but the caller's, no OS. */
#ifndef KEYLINE_FRAME_H
#define KEYLINE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "keyline/link.h"

/* CRC-32 of IEEE 802.3 (reflected 0xEDB88320, init and final XOR 0xFFFFFFFF). Start with crc = 0;
 * calls can be chained. */
uint32_t kl_crc32(uint32_t crc, const uint8_t *bytes, size_t len);

/* Bytes on the wire, at most, for a frame of `size` (payload + CRC): one COBS code per 254 bytes,
 * two delimiters. */
#define KL_WIRE_BYTES(size) ((size) + (size) / 254u + 3u)
/* Where in an output buffer a payload may lie so that it can be encoded into that same buffer. */
#define KL_WIRE_SHIFT(size) ((size) / 254u + 3u)
/* A buffer for a frame of at most `size`, payload shifted. */
#define KL_WIRE_BUFFER(size) ((size) + KL_WIRE_SHIFT(size))

/* Writes the whole frame; returns its bytes, 0 when it does not fit. payload may lie in `out`
 * itself, at KL_WIRE_SHIFT of (len + KL_CRC_BYTES) or behind. */
size_t kl_frame_encode(const uint8_t *payload, size_t len, uint8_t *out, size_t cap);

enum kl_frame_event {
    KL_FRAME_NONE, /* go on */
    KL_FRAME_GOOD, /* bytes[0..len) is a payload, until the next push */
    KL_FRAME_BAD   /* something ended that is no frame: noise, a cut, too long */
};
struct kl_frame_rx {
    uint8_t *bytes; /* the caller's, cap bytes: payload + CRC */
    size_t cap;
    size_t len;
    uint8_t code; /* of the running COBS block */
    uint8_t left; /* bytes still to come in it */
    bool open;    /* bytes arrived since the last delimiter */
    bool bad;
};
void kl_frame_rx_init(struct kl_frame_rx *rx, uint8_t *bytes, size_t cap);
enum kl_frame_event kl_frame_push(struct kl_frame_rx *rx, uint8_t byte);

/* Milliseconds (rounded up) that `bytes` take on an 8N1 line; 0 when baud is 0. */
uint32_t kl_line_ms(size_t bytes, uint32_t baud);

#endif
