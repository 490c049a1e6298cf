/* The way of one device, once, from "who are you" to PASS. Whether it is tried again, and what is shown at the end, is
 * serve.h's. */
#pragma once
#include <stdbool.h>
#include "station/driver.h"
#include "station/panel.h"

struct flow {
    struct driver_session *session; /* open; borrowed, as is the panel */
    struct panel *panel;
    struct driver_identity identity;
    struct slot_claim claim; /* claim.run is "" while there is none */
    struct buf cert;         /* the one just issued, or the one the device came back with; DER */
    uint8_t challenge[NONCE_BYTES];
    struct buf signature; /* over the challenge; Complete carries both to jobd */
};
void flow_init(struct flow *f, struct driver_session *session, struct panel *panel);
void flow_done(struct flow *f);

/* One attempt. 0: the device passed AND jobd has recorded it, now or before (claim.registered). -1: the class of e says what to
 * do. The run, if one was claimed, has then been ended with that error, unless its class means "not the unit's fault": then the
 * caller drops the connection (which ends the run as interrupted) or calls again. May be called again for the same device. */
int flow_run(struct flow *f, struct err *e);
/* The name to show: the row's when claimed, else the device's own. */
const char *flow_name(const struct flow *f);

/* What an error's class asks for. */
bool flow_may_retry(enum err_id id); /* not the unit's fault: wait, then the same again */
bool flow_is_a_lie(
        enum err_id id); /* the unit claims a key it does not hold, or another's: quarantine */
