/* What a token worker sends: any packet into wire_receive(). Promises that a packet is taken whole or not at all, and that
 * what was taken goes out again as it came in. */
#include <string.h>
#include <sys/socket.h>
#include "base/err.h"
#include "hsm/workers/wire.h"
#include "tests/fuzz/fuzz.h"

static int pair[2];

static void pass(const uint8_t *data, size_t size)
{
    static struct wire_packet p;
    static uint8_t again[WIRE_PACKET_MAX];
    struct err e = {0};
    int r;

    if (send(pair[0], data, size, 0) != (ssize_t)size)
        return; /* too large for the kernel, and so for everybody */
    r = wire_receive(pair[1], &p, &e);
    fuzz_outcome(r, &e);
    if (r < 0) {
        promise(size < WIRE_HEADER || size > WIRE_PACKET_MAX);
        return;
    }
    promise(p.len + WIRE_HEADER == size && p.len <= WIRE_BODY_MAX);
    promise(wire_send(pair[1], &p, &e) == 0);
    promise(recv(pair[0], again, sizeof again, 0) == (ssize_t)size &&
            memcmp(again, data, size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!pair[0])
        must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    if (size)
        pass(data, size);
    return 0;
}

void fuzz_seeds(fuzz_seed_fn add)
{
    static const uint8_t described[] = {
            1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 'S', 'o', 'f', 't'};
    static const uint8_t failed[] = {2, 1, 0, 40, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0xa0, 'n', 'o'};
    static uint8_t large[WIRE_PACKET_MAX + 1];

    add("described", described, sizeof described);
    add("failed", failed, sizeof failed);
    add("largest", large, sizeof large - 1);
    add("too-large", large, sizeof large);
}
