/* What can be wrong with a simulated device, by a specification such as
 * "garbage:2%,pull@install:1%,noise:5%". Which devices have which fault depends on the seed and the
 * device's hwid alone, so a run can be repeated. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "keyline/link.h"

/* FAULT(NAME, "name", plug-ins it is there for (0: all), help) */
#define FAULT_LIST(FAULT)                                                                          \
    FAULT(GARBAGE, "garbage", 0, "answers random bytes")                                           \
    FAULT(MIDFRAME, "midframe", 1, "stops in the middle of an answer and says nothing more")       \
    FAULT(SILENT, "silent", 1, "stops answering")                                                  \
    FAULT(PULL, "pull", 1, "is pulled, and put in again later")                                    \
    FAULT(REFUSE, "refuse", 0, "refuses a step")                                                   \
    FAULT(WRONGKEY, "wrongkey", 0, "signs the challenge with another key")                         \
    FAULT(WRONGCSR, "wrongcsr", 0, "signs the certificate request with another key")               \
    FAULT(FORGET, "forget", 0, "gives back another certificate than was written")                  \
    FAULT(NOISE, "noise", 0, "has a bad cable: a bit in one of 4,000 bytes is flipped, both ways")

/* POINT("name", operation): where a fault strikes. Without one, garbage is there from the start,
 * the others strike at a point the seed chooses. */
#define POINT_LIST(POINT)                                                                          \
    POINT("hello", KL_OP_HELLO)                                                                    \
    POINT("identified", KL_OP_IDENTIFY)                                                            \
    POINT("keyed", KL_OP_GENERATE_KEY)                                                             \
    POINT("csr", KL_OP_CSR)                                                                        \
    POINT("certified", KL_OP_BEGIN)                                                                \
    POINT("install", KL_OP_WRITE)                                                                  \
    POINT("installed", KL_OP_COMMIT)                                                               \
    POINT("readback", KL_OP_READ)                                                                  \
    POINT("challenge", KL_OP_CHALLENGE)                                                            \
    POINT("seal", KL_OP_SEAL)                                                                      \
    POINT("keybrought", KL_OP_INSTALL_KEY)

enum fault_id {
#define FAULT(id, name, plugs, help) FAULT_##id,
    FAULT_LIST(FAULT)
#undef FAULT
            FAULT_COUNT
};
struct fault_item {
    enum fault_id id;
    uint8_t op;     /* 0: the seed chooses */
    double share;   /* 0..1 of the devices */
    unsigned plugs; /* it is there for the first so many plug-ins; 0: for all */
};
#define FAULT_ITEMS_MAX 32
struct fault_spec {
    struct fault_item items[FAULT_ITEMS_MAX];
    size_t count;
    uint64_t seed;
};
/* What one device has at one plug-in. */
struct fault_plan {
    bool on[FAULT_COUNT];
    uint8_t op[FAULT_COUNT]; /* where it strikes; 0: at once */
};

/* "" is no fault at all. On failure the text says what was not understood. */
int fault_parse(const char *text, struct fault_spec *ret, char *ret_error, size_t cap);
/* plug: 1 for the first time it is put in. */
void fault_plan(
        const struct fault_spec *spec, const char *hwid, unsigned plug, struct fault_plan *ret);
void fault_help(FILE *out);
uint64_t fault_hash(uint64_t seed, const char *text); /* spreads well, is not secret */
