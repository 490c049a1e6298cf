/* A line of simulated devices: a list of them goes through some ports, each port served by a
 * process of its own, as a person would: plug in, wait for the lamp, take out, take the next. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "faults.h"

struct fleet_options {
    unsigned slots;
    const char *ports; /* directory; slotNN are made in it */
    const char *flash;
    const char *list; /* file of hwid<TAB>name lines; NULL: stdin */
    unsigned tries;   /* how often a device that failed is put in */
    unsigned swap_ms; /* at most so long from taking one out to putting the next in */
    unsigned look_ms; /* how long a device stays in after its verdict, for a person to see it */
    unsigned patience_ms;
    bool durable;
    bool no_keygen, transport; /* of every device: unit.h */
    struct fault_spec faults;
};
/* Exit status: 0 every device passed, 1 some did not or something broke, 128 + signal when stopped.
 */
int fleet_run(const struct fleet_options *o);
