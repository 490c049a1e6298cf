/* A device's link: any bytes into the frame decoder, the message decoder and the engine. The first byte
 * chooses whether the rest are raw bytes or a payload put into a good frame, so that the engine
 * behind the CRC is reached too. */
#include "tests/device/rig.h"

#include <string.h>

#include "tests/fuzz/fuzz.h"

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

static void add_op(fuzz_seed_fn add, enum kl_op op)
{
    uint8_t bytes[KL_FRAME_LARGEST + 2] = {1};
    struct kl_msg m;
    size_t n;

    kl_msg_init(&m, 1, (uint8_t)op, KL_REQUEST);
    /* whatever an operation takes; the rest is what a peer sends that knows no better */
    kl_msg_put_num(&m, KL_FIELD_VERSION_MIN, 1);
    kl_msg_put_num(&m, KL_FIELD_VERSION_MAX, 1);
    kl_msg_put_num(&m, KL_FIELD_KEY_TYPE, KL_KEY_P256);
    kl_msg_put_num(&m, KL_FIELD_OBJECT, 1);
    kl_msg_put_num(&m, KL_FIELD_OFFSET, 0);
    kl_msg_put_num(&m, KL_FIELD_LENGTH, 4);
    kl_msg_put_bytes(&m, KL_FIELD_DATA, "data", 4);
    n = kl_msg_encode(&m, bytes + 2, 255);
    bytes[1] = (uint8_t)n;
    add(kl_op_name((uint8_t)op), bytes, 2 + n);
}

void fuzz_seeds(fuzz_seed_fn add)
{
    static const uint8_t noise[] = {0, 0, 3, 1, 2, 0, 0xff, 0xff, 0};

    for (int op = KL_OP_HELLO; op < KL_OP_END; op++)
        add_op(add, (enum kl_op)op);
    add("noise", noise, sizeof noise);
}
