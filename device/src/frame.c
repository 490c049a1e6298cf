/* COBS and CRC-32. The decoder works byte by byte into the caller's buffer, so that an MCU needs no
 * second one, and it checks every length before it writes: what arrives is hostile. */
#include "keyline/frame.h"

uint32_t kl_crc32(uint32_t crc, const uint8_t *bytes, size_t len)
{
    /* Sixteen entries: half the speed of 256, a sixteenth of the flash. */
    static const uint32_t table[16] = {0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu,
            0x76DC4190u, 0x6B6B51F4u, 0x4DB26158u, 0x5005713Cu, 0xEDB88320u, 0xF00F9344u,
            0xD6D6A3E8u, 0xCB61B38Cu, 0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu};

    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc ^= bytes[i];
        crc = crc >> 4 ^ table[crc & 15u];
        crc = crc >> 4 ^ table[crc & 15u];
    }
    return ~crc;
}

struct cobs_out {
    uint8_t *out;
    size_t at;      /* next byte to write */
    size_t code_at; /* where the running block's code goes */
};

static void cobs_close(struct cobs_out *c)
{
    c->out[c->code_at] = (uint8_t)(c->at - c->code_at);
    c->code_at = c->at++;
}

static void cobs_put(struct cobs_out *c, uint8_t byte)
{
    /* A full block is closed only when more follows: a frame never ends in an empty block. */
    if (c->at - c->code_at == 255u)
        cobs_close(c);
    if (byte)
        c->out[c->at++] = byte;
    else
        cobs_close(c);
}

size_t kl_frame_encode(const uint8_t *payload, size_t len, uint8_t *out, size_t cap)
{
    if (len > KL_FRAME_LARGEST - KL_CRC_BYTES || cap < KL_WIRE_BYTES(len + KL_CRC_BYTES))
        return 0;
    uint32_t crc = kl_crc32(0, payload, len);
    struct cobs_out c = {out, 2, 1};
    out[0] = 0; /* ends whatever noise the receiver holds */
    for (size_t i = 0; i < len; i++)
        cobs_put(&c, payload[i]);
    for (unsigned i = 0; i < KL_CRC_BYTES; i++)
        cobs_put(&c, (uint8_t)(crc >> 8 * i));
    c.out[c.code_at] = (uint8_t)(c.at - c.code_at);
    c.out[c.at++] = 0;
    return c.at;
}

void kl_frame_rx_init(struct kl_frame_rx *rx, uint8_t *bytes, size_t cap)
{
    rx->bytes = bytes;
    rx->cap = cap;
    rx->len = 0;
    rx->code = rx->left = 0;
    rx->open = rx->bad = false;
}

static void rx_put(struct kl_frame_rx *rx, uint8_t byte)
{
    if (rx->len < rx->cap)
        rx->bytes[rx->len++] = byte;
    else
        rx->bad = true; /* longer than agreed: wait for the delimiter */
}

static enum kl_frame_event rx_end(struct kl_frame_rx *rx)
{
    bool whole = rx->open && !rx->bad && rx->left == 0 && rx->len > KL_HEAD_BYTES + KL_CRC_BYTES;
    bool empty = !rx->open;
    rx->open = rx->bad = false;
    rx->left = 0;
    if (empty)
        return KL_FRAME_NONE;
    if (!whole)
        return KL_FRAME_BAD;
    const uint8_t *crc = rx->bytes + rx->len - KL_CRC_BYTES;
    uint32_t told =
            crc[0] | (uint32_t)crc[1] << 8 | (uint32_t)crc[2] << 16 | (uint32_t)crc[3] << 24;
    rx->len -= KL_CRC_BYTES;
    return kl_crc32(0, rx->bytes, rx->len) == told ? KL_FRAME_GOOD : KL_FRAME_BAD;
}

enum kl_frame_event kl_frame_push(struct kl_frame_rx *rx, uint8_t byte)
{
    if (byte == 0)
        return rx_end(rx);
    if (!rx->open) {
        rx->open = true;
        rx->len = 0;
        rx->code = 0xFF; /* no zero stands before the first block */
    }
    if (rx->left == 0) {
        if (rx->code != 0xFF)
            rx_put(rx, 0);
        rx->code = byte;
        rx->left = (uint8_t)(byte - 1);
    } else {
        rx_put(rx, byte);
        rx->left--;
    }
    return KL_FRAME_NONE;
}

uint32_t kl_line_ms(size_t bytes, uint32_t baud)
{
    if (baud == 0)
        return 0;
    return (uint32_t)(((uint64_t)bytes * 10000u + baud - 1) / baud);
}
