/* The life of a device and of a job, and the steps of a run: the three tables of the product. The SQL CHECK
 * constraints, the JSON and the screens take their words from here; a test compares them. */
#pragma once
#include "base/err.h"

/* Device Trust Manager's words (docs/domain.md). */
enum device_state {
    DEVICE_ENROLLED,
    DEVICE_REGISTERED,
    DEVICE_PROVISIONED,
    DEVICE_DELETED,
    DEVICE_STATE_COUNT
};
enum job_state {
    JOB_PENDING_APPROVAL,
    JOB_PENDING,
    JOB_IN_PROGRESS,
    JOB_COMPLETED,
    JOB_TERMINATED,
    JOB_REJECTED,
    JOB_FAILED,
    JOB_STATE_COUNT
};

/* Steps of a run, in order; RUN_FAILED and RUN_QUARANTINED end one. */
enum run_step {
    RUN_CLAIMED,    /* the device has a row, the slot has the device */
    RUN_IDENTIFIED, /* the device said who it is and it matches the row */
    RUN_KEYED,      /* it has its key and answered the nonce */
    RUN_CERTIFIED,  /* the signer's ledger and the registry hold the certificate */
    RUN_INSTALLED,  /* certificate, chain, configuration are in the device and were read back */
    RUN_VERIFIED,   /* it signed a fresh challenge with the certified key, and is sealed */
    RUN_RECORDED,   /* device Registered, event and outbox entry committed: PASS */
    RUN_FAILED,
    RUN_QUARANTINED,
    RUN_STEP_COUNT
};
/* What a restart does with a run it finds at this step. */
enum run_recovery {
    RUN_RECOVER_REPEAT, /* nothing irreversible happened: end it as interrupted, the next plug-in starts over */
    RUN_RECOVER_RESUME, /* a certificate exists: end it as interrupted, the next plug-in gets the same certificate */
    RUN_RECOVER_DONE, /* it is over */
};
struct run_step_info {
    const char *name; /* "claimed" ... as in SQL, JSON and docs */
    const char *
            doing; /* what the slot does to get to the next step, for the screen: "making its key" */
    enum run_recovery recovery;
    unsigned next; /* bit mask (1u << step) of the steps that may follow */
};
const struct run_step_info *run_step_info(enum run_step step);
int run_step_from_name(const char *name, enum run_step *ret);
/* ERR_BAD_STATE when `to` may not follow `from`. */
int run_step_advance(enum run_step from, enum run_step to, struct err *e);

const char *device_state_name(enum device_state s); /* "Enrolled" */
const char *job_state_name(enum job_state s);       /* "Pending approval" */
