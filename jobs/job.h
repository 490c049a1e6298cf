/* Jobs: a manifest's rows from import to the last registration. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <jansson.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/merkle.h"
#include "jobs/states.h"

struct manifest;
struct profile;
struct registry;
struct site;

struct job_options {
    const char *name;              /* "" : made from the time */
    const struct profile *profile; /* what the rows must fit; never NULL */
    const char *binding;           /* "" : "identity" */
    const char *stations;          /* names separated by commas; "" : "*" */
    bool add_groups;               /* make the groups that are missing */
    bool reissue; /* rows may name devices that there are: they get new certificates */
    void (*progress)(
            void); /* called every few thousand rows, may be NULL: a long import is no hang */
    const char
            *keys; /* NULL: "device"; "signer": the signer may make them (hsm/approval/ticket.h) */
};
/* Imports a manifest without fault as a job that is pending approval: everything, or nothing. What only the registry
 * and the profile can know (groups, names given already, values that the profile's certificates cannot hold) is added to
 * m's errors: *ret is then {"imported":false,..} and nothing has changed. ERR_EXISTS names the job that the same file was imported as. */
int job_import(struct registry *r, const struct site *s, const char *actor, struct manifest *m,
        const struct job_options *o, json_t **ret, struct err *e);
/* {"imported":false,"errors_total","errors"} of a manifest with errors. */
int job_import_errors(const struct manifest *m, json_t **ret, struct err *e);

/* By UUID, unique prefix of it, or name. ERR_NOT_FOUND, or ERR_ARGUMENT when several fit. */
int job_find(struct registry *r, const char *text, int64_t *ret, struct err *e);
int job_json(struct registry *r, int64_t job, json_t **ret, struct err *e); /* JOB */
int job_show(struct registry *r, int64_t job, json_t **ret, struct err *e); /* {"job":JOB} */
int job_list(struct registry *r, json_t **ret, struct err *e);
/* What the approver signs. Any state. */
int job_request(struct registry *r, const struct site *s, int64_t job, json_t **ret, struct err *e);
/* ERR_BAD_STATE unless it is pending approval. */
int job_check_pending(struct registry *r, int64_t job, struct err *e);
/* facts: the signer's answer to CheckTicket. ERR_TICKET when they are not this job's. */
int job_approve(struct registry *r, const struct site *s, const char *actor, int64_t job,
        const char *ticket, const char *facts, struct err *e);
/* Rejected (from pending approval) or Terminated (from pending approval or in progress): devices that have no
 * certificate are deleted, so that a corrected manifest may name them again; those that have one need a re-issue. */
int job_end(struct registry *r, const struct site *s, const char *actor, int64_t job,
        enum job_state end, const char *reason, struct err *e);

/* A row of a job's tree with its inclusion proof: concatenated nodes. */
int job_prove(struct registry *r, int64_t job, uint64_t rows, uint64_t row_index,
        struct buf *ret_proof, struct err *e);
