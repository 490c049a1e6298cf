/* A private appliance of jobd and the signer's double, and the doors as their clients use them. */
#pragma once
#include <sys/types.h>
#include <systemd/sd-bus.h>
#include "base/paths.h"
#include "jobs/jobs_client.h"
#include "jobs/slot_client.h"
#include "jobs_test.h"

struct jobd_test {
    char dir[64];
    struct paths paths;
    pid_t jobd, signer;
    sd_bus *people;
};
int jobd_setup(void **state); /* both run; the group "sensors" is there */
int jobd_teardown(void **state);
void jobd_start(struct jobd_test *t);
void jobd_end(struct jobd_test *t, int signal);
void signer_start(struct jobd_test *t);
void signer_kill(struct jobd_test *t);
/* Issue fails with this error from now on; NULL: no more. */
void signer_error(struct jobd_test *t, const char *name);

/* Calls people's door; the answer parsed. ask(t, "JobShow", "line", NULL). */
json_t *ask(struct jobd_test *t, const char *method, ...) __attribute__((sentinel));
int ask_error(struct jobd_test *t, struct err *e, const char *method, ...)
        __attribute__((sentinel));
/* Member at a path "job.state" of an answer, as text; frees the answer. Static storage. */
const char *member(json_t *answer, const char *path);
json_t *import_csv(struct jobd_test *t, const char *name, const char *csv);
void import_approved(struct jobd_test *t, const char *name, const char *csv);
/* keys: where they may be born, "device" or "signer". */
void import_approved_keys(struct jobd_test *t, const char *name, const char *csv, const char *keys);
sd_bus *slot_connect(struct jobd_test *t);
/* From claim to PASS; the key is the device's. */
void pass(sd_bus *slot, const char *name, const char *hwid, EVP_PKEY *key);
int certify(sd_bus *slot, const char *run, EVP_PKEY *key, struct buf *ret_cert, struct err *e);
