/* The three tables of the product, as data. Whatever moves a device, a job or a run asks here
 * whether it may; nothing else in the program knows an order of steps. */
#include "jobs/states.h"

#include <assert.h>
#include <string.h>

#define TO(step) (1u << RUN_##step)
/* Every step before the record may end in these two. */
#define TO_END (TO(FAILED) | TO(QUARANTINED))

static const struct run_step_info steps[RUN_STEP_COUNT] = {
        [RUN_CLAIMED] = {"claimed", "asking the device who it is", RUN_RECOVER_REPEAT,
                TO(IDENTIFIED) | TO_END},
        /* certified: the claim found a certificate issued in an earlier run. */
        [RUN_IDENTIFIED] = {"identified", "making its key", RUN_RECOVER_REPEAT,
                TO(KEYED) | TO(CERTIFIED) | TO_END},
        /* keyed again: the nonce grew stale and the device answers a new one. */
        [RUN_KEYED] = {"keyed", "certifying its key", RUN_RECOVER_REPEAT,
                TO(KEYED) | TO(CERTIFIED) | TO_END},
        /* keyed: the device lost the key that was certified; the signer decides whether it may. */
        [RUN_CERTIFIED] = {"certified", "installing its credentials", RUN_RECOVER_RESUME,
                TO(KEYED) | TO(INSTALLED) | TO_END},
        [RUN_INSTALLED] = {"installed", "proving that it holds the key", RUN_RECOVER_RESUME,
                TO(VERIFIED) | TO_END},
        [RUN_VERIFIED] = {"verified", "recording it", RUN_RECOVER_RESUME, TO(RECORDED) | TO_END},
        [RUN_RECORDED] = {"recorded", "done", RUN_RECOVER_DONE, 0},
        [RUN_FAILED] = {"failed", "failed", RUN_RECOVER_DONE, 0},
        [RUN_QUARANTINED] = {"quarantined", "set aside", RUN_RECOVER_DONE, 0},
};

static const char *const device_states[DEVICE_STATE_COUNT] = {
        [DEVICE_ENROLLED] = "Enrolled",
        [DEVICE_REGISTERED] = "Registered",
        [DEVICE_PROVISIONED] = "Provisioned",
        [DEVICE_DELETED] = "Deleted",
};

static const char *const job_states[JOB_STATE_COUNT] = {
        [JOB_PENDING_APPROVAL] = "Pending approval",
        [JOB_PENDING] = "Pending",
        [JOB_IN_PROGRESS] = "In progress",
        [JOB_COMPLETED] = "Completed",
        [JOB_TERMINATED] = "Terminated",
        [JOB_REJECTED] = "Rejected",
        [JOB_FAILED] = "Failed",
};

const struct run_step_info *run_step_info(enum run_step step)
{
    assert(step < RUN_STEP_COUNT);
    return &steps[step];
}

int run_step_from_name(const char *name, enum run_step *ret)
{
    for (unsigned i = 0; i < RUN_STEP_COUNT; i++)
        if (strcmp(steps[i].name, name) == 0) {
            *ret = i;
            return 0;
        }
    return -1;
}

int run_step_advance(enum run_step from, enum run_step to, struct err *e)
{
    if (from < RUN_STEP_COUNT && to < RUN_STEP_COUNT && (steps[from].next & (1u << to)))
        return 0;
    return err_set(e, ERR_BAD_STATE, "a run at step %s cannot go to %s",
            from < RUN_STEP_COUNT ? steps[from].name : "?",
            to < RUN_STEP_COUNT ? steps[to].name : "?");
}

const char *device_state_name(enum device_state s)
{
    assert(s < DEVICE_STATE_COUNT);
    return device_states[s];
}

const char *job_state_name(enum job_state s)
{
    assert(s < JOB_STATE_COUNT);
    return job_states[s];
}
