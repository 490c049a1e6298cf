/* libFuzzer: any bytes into the frame decoder, the message decoder and the engine. The first byte
 * chooses whether the rest are raw bytes or a payload put into a good frame, so that the engine
 * behind the CRC is reached too. */
#include "rig.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rig r;
    static uint8_t wire[KL_WIRE_BUFFER(KL_FRAME_LARGEST)];
    static bool ready;

    if (!ready) {
        rig_init(&r);
        ready = true;
        r.crypto.table.key_types = 1u << KL_KEY_P256; /* the others only cost time */
    }
    kl_device_init(&r.device, &r.config);
    r.head = r.tail = 0;
    r.device.greeted = true;
    if (size && data[0] & 1) {
        /* Payloads separated by their length. */
        for (size_t at = 1; at < size;) {
            size_t len = data[at] < size - at - 1 ? data[at] : size - at - 1;
            size_t n = kl_frame_encode(data + at + 1, len, wire, sizeof wire);
            r.head = r.tail = 0;
            kl_device_input(&r.device, wire, n);
            at += 1 + len;
        }
    } else if (size) {
        kl_device_input(&r.device, data + 1, size - 1);
    }
    return 0;
}
