/* The three doors of jobd; what they speak stands in jobs/{jobs,slot,outbox}_client.h. */
#pragma once
#include <jansson.h>
#include "base/err.h"
#include "jobs/jobd/jobd.h"

int admin_door_open(struct jobd *j, struct err *e);
/* Its calls that the signer answers (authority_door.c). */
int authority_on_order(sd_bus_message *m, void *userdata, sd_bus_error *be);
int authority_on_ledger(sd_bus_message *m, void *userdata, sd_bus_error *be);
int authority_on_renew_crls(sd_bus_message *m, void *userdata, sd_bus_error *be);

int slot_door_open(struct jobd *j, struct slot_door **ret, struct err *e);
void slot_door_close(struct slot_door **d);
/* {"slots":[SLOT]} */
int slot_door_list(const struct slot_door *d, json_t **ret, struct err *e);
unsigned slot_door_count(const struct slot_door *d);

int outbox_door_open(struct jobd *j, struct outbox_door **ret, struct err *e);
void outbox_door_close(struct outbox_door **d);
/* Asks the sync for a try now. One that is not there tries anyway when it comes. */
void outbox_door_retry(const struct outbox_door *d);
/* What `sync status` answers. */
int outbox_door_status(const struct outbox_door *d, json_t **ret, struct err *e);
