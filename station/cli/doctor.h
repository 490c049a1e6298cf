/* keyline doctor: the station's checks. A check looks at one thing and says one line; it changes nothing, asks the token
 * nothing and never uses a PIN. A new check is a function and a row in doctor.c. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/paths.h"
#include "station/cli/ca_files.h"

struct config;

enum doctor_verdict { DOCTOR_OK, DOCTOR_WARN, DOCTOR_FAIL, DOCTOR_VERDICTS };

struct doctor_finding {
    enum doctor_verdict verdict;
    char said[512]; /* "" until something was found */
    char next[256]; /* what to do */
};
/* What all checks may look at. */
struct doctor {
    struct paths paths;
    struct config
            *config; /* the defaults when keyline.conf cannot be read: config_error says why */
    struct err config_error;
    struct ca_files ca; /* chain NULL: ca_error says why */
    struct err ca_error;
    json_t *status; /* the running appliance's; NULL: status_error says why */
    struct err status_error;
    int64_t now; /* Unix seconds */
};
typedef void (*doctor_check_fn)(const struct doctor *d, struct doctor_finding *f);

/* The worst that is found stands; of equals the first. next: NULL or what to do. */
void doctor_find(struct doctor_finding *f, enum doctor_verdict v, const char *next, const char *fmt,
        ...) __attribute__((format(printf, 4, 5)));
/* For what only root, or the appliance's own user, can see. */
void doctor_unseen(struct doctor_finding *f, const char *path);

/* doctor_ca.c */
void doctor_check_chain(const struct doctor *d, struct doctor_finding *f);
void doctor_check_issuing(const struct doctor *d, struct doctor_finding *f);
void doctor_check_root(const struct doctor *d, struct doctor_finding *f);
void doctor_check_request(const struct doctor *d, struct doctor_finding *f);
void doctor_check_crls(const struct doctor *d, struct doctor_finding *f);
void doctor_check_approvers(const struct doctor *d, struct doctor_finding *f);
/* doctor_token.c */
void doctor_check_module(const struct doctor *d, struct doctor_finding *f);
void doctor_check_signer(const struct doctor *d, struct doctor_finding *f);
void doctor_check_pin(const struct doctor *d, struct doctor_finding *f);
void doctor_pin_path(const struct doctor *d, const char *section, char out[PATH_MAX]);
void doctor_check_put_away(const struct doctor *d, struct doctor_finding *f);
void doctor_check_objects(const struct doctor *d, struct doctor_finding *f);
void doctor_check_copy(const struct doctor *d, struct doctor_finding *f);
/* doctor_host.c */
void doctor_check_config(const struct doctor *d, struct doctor_finding *f);
void doctor_check_running(const struct doctor *d, struct doctor_finding *f);
void doctor_check_clock(const struct doctor *d, struct doctor_finding *f);
void doctor_check_books(const struct doctor *d, struct doctor_finding *f);
void doctor_check_disk(const struct doctor *d, struct doctor_finding *f);
void doctor_check_secrets(const struct doctor *d, struct doctor_finding *f);
void doctor_check_users(const struct doctor *d, struct doctor_finding *f);
void doctor_check_slots(const struct doctor *d, struct doctor_finding *f);
void doctor_check_sync(const struct doctor *d, struct doctor_finding *f);
