/* What the slots show: state and text of each, as the slot said last. In memory only. */
#pragma once
#include <jansson.h>
#include <systemd/sd-bus.h>
#include "base/err.h"

struct slot_board;

int slot_board_new(struct slot_board **ret, struct err *e);
void slot_board_free(struct slot_board **b);
/* ERR_ARGUMENT for a name or state that is none, ERR_LIMIT for too many slots. Texts are cut and made printable. */
int slot_board_show(struct slot_board *b, sd_bus *peer, const char *slot, const char *port,
        const char *state, const char *device_name, const char *text, struct err *e);
/* The slots of this connection wait until their slotd is back. */
void slot_board_gone(struct slot_board *b, sd_bus *peer);
/* {"slots":[SLOT]}, by name. run_of: the active run of a connection, "" for none. */
int slot_board_json(const struct slot_board *b, const char *(*run_of)(void *ctx, sd_bus *peer),
        void *ctx, json_t **ret, struct err *e);
unsigned slot_board_count(const struct slot_board *b);
