/* One simulated device in one port: the device library with a flash, cryptography, a port, and
 * faults around them; and the person who put it there and takes it out again. */
#pragma once
#include <stdbool.h>

#include "faults.h"

struct unit_options {
    const char *port;  /* the link */
    const char *flash; /* directory of all flashes */
    const char *hwid;
    const char *name; /* "": it has none */
    bool durable;
    bool no_keygen;       /* it cannot make keys, and takes them from outside */
    bool transport;       /* ... wrapped for a key of its own */
    bool stay;            /* nobody takes it out: until SIGTERM */
    unsigned patience_ms; /* a host that has begun and then says nothing for so long has given up */
    unsigned look_ms;     /* the person looks at the verdict for so long before the plug is drawn */
    struct fault_plan faults;
    uint64_t noise_seed;
    int signals; /* signalfd with SIGTERM and SIGINT */
};
enum unit_end {
    UNIT_PASSED, /* taken out after a verdict */
    UNIT_FAILED,
    UNIT_PULLED,    /* by its own fault */
    UNIT_ABANDONED, /* the host gave up without a verdict */
    UNIT_STOPPED,   /* SIGTERM */
    UNIT_BROKEN,    /* no pty, no flash: errno says why */
};
enum unit_end unit_run(const struct unit_options *o);
