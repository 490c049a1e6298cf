/* Runs: one device at one slot, from claim to record. The steps and what may follow which are states.c's. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/uuid.h"
#include "jobs/states.h"

struct registry;
struct site;

#define KEY_TYPE_MAX 16 /* "RSA-4096" */

struct run_claim {
    char run[UUID_TEXT_MAX]; /* "" when the device is registered: there is nothing to be done */
    char device_id[UUID_TEXT_MAX], job[UUID_TEXT_MAX];
    char device_name[NAME_BYTES_MAX + 1];
    unsigned attempt;
    char keys[8];                /* where its keys may be born, job.keys */
    char key_type[KEY_TYPE_MAX]; /* "P-256", ...: the one of the job's profile */
    struct buf cert;             /* DER; empty when none was issued */
    struct buf config;           /* bootstrap_config.json; empty without a run */
};
/* Is this run's connection alive? A run that is nobody's any more gives way. */
typedef bool (*run_alive_fn)(void *ctx, const char *run);

/* Finds the device by what it reports (hwid, name; "" if it does not) among the rows, and starts a run at step
 * identified. A run that the slot still has ends as Interrupted. A device that is registered gets no run, but its valid certificate
 * back. ERR_DEVICE_UNKNOWN, ERR_NO_JOB, ERR_CERT_REVOKED, ERR_DEVICE_BUSY, ERR_DEVICE_QUARANTINED. */
int run_claim(struct registry *r, const struct site *s, const char *slot, const char *driver,
        const char *hwid, const char *name, run_alive_fn alive, void *ctx, struct run_claim *ret,
        struct err *e);
void run_claim_done(struct run_claim *c);

/* What the signer is asked with. */
struct run_request {
    char job[UUID_TEXT_MAX];
    char *ticket; /* malloc'd */
    char key_type[KEY_TYPE_MAX];
    uint64_t row_index;
    struct buf row, proof;
};
/* ERR_BAD_STATE when the run is not at a step where a key may be certified, ERR_NOT_FOUND when it is over. */
int run_request(struct registry *r, const char *run, struct run_request *ret, struct err *e);
void run_request_done(struct run_request *q);
/* The signer made a key for the run's device, wrapped for this transport key: an event, and nothing else yet. */
int run_key_made(struct registry *r, const char *run, const char *transport_sha256, struct err *e);
/* The signer issued cert: keyed, certified. key_made: the signer says that it made the key. */
int run_certified(struct registry *r, const char *run, const uint8_t *cert, size_t cert_len,
        bool key_made, struct err *e);
/* installed; a device that holds its certificate from an earlier run needs no new one. */
int run_installed(struct registry *r, const char *run, struct err *e);
/* Verifies the signature, then: device Registered, run recorded, event, outbox record, and the job Completed with its
 * last device. All or nothing, in the caller's savepoint. */
int run_complete(struct registry *r, const struct site *s, const char *run,
        const uint8_t challenge[NONCE_BYTES], const uint8_t *signature, size_t signature_len,
        struct err *e);
/* end: RUN_FAILED or RUN_QUARANTINED. error: a name of err_list.h. */
int run_fail(struct registry *r, const struct site *s, const char *run, enum run_step end,
        const char *error, const char *message, struct err *e);
/* The run, if it is active, ends as Interrupted. */
int run_interrupt(
        struct registry *r, const struct site *s, const char *run, const char *why, struct err *e);
int run_interrupt_job(struct registry *r, const struct site *s, int64_t job, struct err *e);
/* At start: every active run ends as its step's recovery says. *ret_count of them. */
int run_recover(struct registry *r, const struct site *s, unsigned *ret_count, struct err *e);
