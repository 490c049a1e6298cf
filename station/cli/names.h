/* What the appliance calls the things that the signer knows by their IDs alone. */
#pragma once
#include <jansson.h>

struct cli;

/* Each is asked for once. Zeroed at first; names_done() frees. */
struct names {
    json_t *known; /* {"ID": "name"} */
};
/* The device's or job's name; what the registry does not know is called by its ID. Borrowed. */
const char *names_device(struct names *n, struct cli *c, const char *id);
const char *names_job(struct names *n, struct cli *c, const char *id);
void names_done(struct names *n);
