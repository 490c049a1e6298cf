/* An active run with its device and job, as the registry has them. Private to run.c and claim.c. */
#pragma once
#include <stdint.h>
#include "base/err.h"
#include "base/limits.h"
#include "base/uuid.h"
#include "jobs/run.h"
#include "jobs/states.h"

struct registry;

struct run_facts {
    int64_t id, job, device;
    char uuid[UUID_TEXT_MAX], job_uuid[UUID_TEXT_MAX], device_uuid[UUID_TEXT_MAX];
    char device_name[NAME_BYTES_MAX + 1], group[NAME_BYTES_MAX + 1], hwid[HWID_BYTES_MAX + 1];
    char slot[NAME_BYTES_MAX + 1];
    uint64_t row_index;
    unsigned attempt;
    enum run_step step;
    char key_type[KEY_TYPE_MAX];
};
/* ERR_NOT_FOUND when there is no active run of that UUID. */
int run_facts_load(struct registry *r, const char *run, struct run_facts *ret, struct err *e);
