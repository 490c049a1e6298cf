/* What jobd's doors share. One process, one loop, no threads; every pointer lives as long as the process. */
#pragma once
#include <stdbool.h>
#include <jansson.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>
#include "base/err.h"
#include "base/limits.h"
#include "base/paths.h"
#include "jobs/site.h"

struct bus_server;
struct commit;
struct config;
struct registry;
struct signer_link;
struct slot_door;
struct outbox_door;
struct profiles;

struct jobd {
    sd_event *event;
    struct paths paths;
    struct config *config;
    struct site site;
    struct profiles *profiles; /* the signer's: what an import must fit */
    struct registry *registry;
    struct commit *commit;
    struct signer_link *signer;
    struct bus_server *admin;
    struct slot_door *slots;
    struct outbox_door *outbox;
};

/* ---- for the doors' handlers (answer.c) */

#define ACTOR_MAX 32
/* "uid 0": who is at the other end. */
void actor_of(sd_bus_message *m, char out[ACTOR_MAX]);
/* Reads arguments; what does not fit the signature is ERR_PROTOCOL. */
int read_args(sd_bus_message *m, struct err *e, const char *types, ...);
/* A reply of one JSON text, NULL when e holds an error or memory is out. Takes o. */
sd_bus_message *json_reply(sd_bus_message *m, json_t *o, struct err *e);
sd_bus_message *empty_reply(sd_bus_message *m, struct err *e);

/* A call that waits for the signer: the message is held, and found again at the end of the process. */
struct pending {
    struct pending *next, **at; /* in the list of jobd's signer link */
    struct jobd *jobd;
    sd_bus_message *call;
    char *text; /* what the continuation needs beside; malloc'd or NULL */
    int64_t id;
};
struct pending *pending_new(
        struct jobd *j, sd_bus_message *call, const char *text, int64_t id, struct err *e);
void pending_free(struct pending *p);
