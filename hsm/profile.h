/* Certificate profiles: what a certificate of a job may look like, and how an authorised row becomes its fields. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "hsm/cert.h"

struct err;
struct row;

struct profile {
    const char *name;
    const char *reference;
    unsigned keys;      /* device keys allowed, 1u << enum csr_key */
    unsigned key_usage; /* CERT_KU_* */
    bool client_auth;
    bool hardware_module_name;
    int64_t not_after; /* Unix seconds, or CERT_NEVER */
};
/* ERR_PROFILE when there is none of that name. */
int profile_find(const char *name, const struct profile **ret, struct err *e);
/* Appends the subject Name of a row: its subject.* columns, then serialNumber. serialNumber is the row's hwid, else its
 * device_name where that can be a PrintableString, else the device's ID. ERR_PROFILE names the column at fault. */
int profile_subject(const struct row *row, const char *device_id, struct buf *out, struct err *e);
/* What goes into hardwareModuleName: hwid, else device_name. Borrows from the row. */
int profile_hw_serial(const struct row *row, struct cert_bytes *ret, struct err *e);
