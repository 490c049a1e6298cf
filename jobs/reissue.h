/* Devices that get a new certificate in place of the one they have: rows of a re-issue job wait beside the devices until the
 * job is approved, then the devices move to it. The job they leave keeps what it reports of them. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

struct registry;
struct row;

struct reissue_row {
    int64_t job;
    uint64_t index;
    int64_t group;
    const char *name, *hwid;
    const uint8_t *row; /* canonical */
    size_t row_len;
};
enum reissue_result {
    REISSUE_UNKNOWN, /* no such device: an ordinary row, a new device */
    REISSUE_ADDED,
    REISSUE_REFUSED, /* why says it: the device is being worked on, waits for another re-issue, or has another hwid */
};
/* -1, or one of the above. */
int reissue_add(
        struct registry *r, const struct reissue_row *row, char why[ERR_MSG_MAX], struct err *e);
/* The job is approved: its devices are its own now, as if never plugged in; their state stays. */
int reissue_take(struct registry *r, int64_t job, int64_t now, struct err *e);
/* A row's attr.* columns become the device's attributes, which has none yet. */
int reissue_attributes(struct registry *r, int64_t device, const struct row *row, struct err *e);
/* The job will not be approved. */
int reissue_drop(struct registry *r, int64_t job, struct err *e);
