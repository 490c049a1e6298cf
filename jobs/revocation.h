/* What the signer carried out of an approver's order, as the registry keeps it. */
#pragma once
#include <jansson.h>
#include "base/err.h"

struct registry;
struct site;

/* facts: the signer's answer to Order (hsm/signer_client.h). A revocation: the certificate is revoked, a run that works with it
 * ends, and the device is Disabled unless it has a valid one; upstream gets a device.revoked, once, and once more when the reason
 * became keyCompromise afterwards. A withdrawal: the job is Terminated, if it is not over. *ret: {"order":facts, "device":DEVICE}
 * or {"order":facts, "job":JOB}; what the registry does not know is null. ERR_PROTOCOL when the facts are not what they should be. */
int revocation_record(struct registry *r, const struct site *s, const char *actor, json_t *facts,
        json_t **ret, struct err *e);
