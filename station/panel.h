/* One slot's line to jobd and what its tile on the operator's screen shows. jobd may be away or restart at any time: the
 * panel connects again by itself and shows the same tile again. */
#pragma once
#include <stdbool.h>
#include "base/err.h"
#include "base/limits.h"
#include "base/paths.h"
#include "jobs/slot_client.h"

#define PANEL_TEXT_MAX (ERR_MSG_MAX + 256) /* a message and its hint */

struct panel {
    const struct paths *paths; /* borrowed, as are the two below */
    const char *slot;
    const char *port;
    sd_bus *bus; /* NULL while jobd is away */
    enum slot_state state;
    char device_name[NAME_BYTES_MAX + 1];
    char text[PANEL_TEXT_MAX];
};
void panel_init(struct panel *p, const struct paths *paths, const char *slot, const char *port);
void panel_done(struct panel *p);
/* Makes sure there is a connection that lives; ERR_UNAVAILABLE. A new one gets the tile as it is. */
int panel_connect(struct panel *p, struct err *e);
/* Ends the connection: jobd ends its run as interrupted. */
void panel_disconnect(struct panel *p);
/* Notices that jobd went or came back. Costs one system call; at least once a second while idle. */
void panel_refresh(struct panel *p);
/* Unchanged tiles are not sent again. */
void panel_show(struct panel *p, enum slot_state state, const char *device_name, const char *text);
/* The same with "message (hint)" of an error. */
void panel_show_err(
        struct panel *p, enum slot_state state, const char *device_name, const struct err *e);
