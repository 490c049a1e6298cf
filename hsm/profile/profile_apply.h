/* From an authorised row to the facts of a certificate, as a profile says. */
#pragma once
#include "base/buf.h"
#include "hsm/x509/cert.h"
#include "hsm/x509/csr.h"

struct ca;
struct err;
struct profile;
struct row;

#define PROFILE_ANY_DEVICE                                                                         \
    "00000000-0000-5000-8000-000000000000" /* a device's identifier depends on the account */

/* Whom a certificate is for, from whom, and when. */
struct profile_case {
    const struct row *row;
    const char *device_id;
    enum csr_key key;
    struct cert_bytes ca_key_id;
    int64_t ca_not_before, ca_not_after, now_s; /* Unix seconds */
};
/* Where the names and addresses of one certificate are kept. */
struct profile_space {
    char text[16384]; /* every value of the row fits */
    struct buf subject, alt_names;
};
#define PROFILE_SPACE_INIT ((struct profile_space){0})

/* Fills in subject, validity and all extensions but the key identifiers; ret points into p and space, and the rest of it is left
 * as it was. ERR_PROFILE names the column or the member at fault. */
int profile_apply(const struct profile *p, const struct profile_case *c,
        struct profile_space *space, struct cert_fields *ret, struct err *e);
/* Whether it can be filled in from this row, whatever the device's key and the CA will be: what is refused here is refused by
 * profile_apply(), too. ERR_PROFILE, or ERR_LIMIT for what no certificate takes; space is used, and to be freed as above. */
int profile_fits(
        const struct profile *p, const struct row *row, struct profile_space *space, struct err *e);
void profile_space_done(struct profile_space *space);
