/* Requests to the signer of st that are under way at once: made one after the other, sent together, each answer kept. */
#pragma once
#include <systemd/sd-event.h>
#include "tests/hsm/station.h"

struct crowd {
    sd_event *event;
    sd_bus *bus; /* a connection of its own */
    size_t answered, failed;
};
struct caller {
    struct crowd *crowd;
    struct station_request request;
    char *ticket;
    struct buf cert;
    bool fresh;
    enum err_id error;
};

void crowd_open(struct crowd *c);
void crowd_close(struct crowd *c);
/* Until so many have an answer. */
void crowd_wait(struct crowd *c, size_t answers);

/* An honest request for row i and this key, with the station's ticket of now. c: nothing, or zeroes. */
void caller_prepare(struct caller *c, size_t i, EVP_PKEY *key);
void caller_send(struct crowd *crowd, struct caller *c);
void caller_ask(struct crowd *crowd, struct caller *c, size_t i, EVP_PKEY *key); /* both */
/* The request is with a worker, which hangs until station_fault(&st, ""). */
void caller_ask_a_hanging_token(struct crowd *crowd, struct caller *c, size_t i, EVP_PKEY *key);
void caller_done(struct caller *c);
