/* One signerd-token process, driven over its socket by a test that plays signerd: with deadlines, and with an eye on how
 * the process ends. */
#pragma once
#include <sys/types.h>
#include "hsm/workers/wire.h"
#include "tests/hsm/help.h"

struct worker_rig {
    pid_t pid;
    int fd;
    uint32_t sequence;
    struct wire_packet packet; /* the last answer */
};
#define RIG_DEADLINE_MS 8000

void rig_start(struct worker_rig *r);
/* ERR_TIMEOUT when there is no answer within RIG_DEADLINE_MS, ERR_UNAVAILABLE when it ended, else what it answered. */
int rig_ask(struct worker_rig *r, enum wire_op op, int alg, const void *bytes, size_t len,
        struct err *e);
/* Closes the socket and waits: the wait status, or -1 when it had to be killed. */
int rig_stop(struct worker_rig *r);
