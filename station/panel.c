/* The slot's panel. Promises: whatever is shown reaches jobd as soon as jobd is there. Never blocks
 * on it. */
#include "station/panel.h"

#include <stdio.h>
#include <string.h>

void panel_init(struct panel *p, const struct paths *paths, const char *slot, const char *port)
{
    *p = (struct panel){.paths = paths, .slot = slot, .port = port, .state = SLOT_EMPTY};
}

void panel_done(struct panel *p)
{
    panel_disconnect(p);
}

void panel_disconnect(struct panel *p)
{
    if (p->bus)
        sd_bus_close(p->bus);
    p->bus = sd_bus_unref(p->bus);
}

static void send_tile(struct panel *p)
{
    slot_report(p->bus, p->slot, p->port, p->state, p->device_name, p->text);
}

/* A peer that died shows only when somebody reads its socket; and a tile that was sent before the
 * connection stood leaves only now. */
static bool is_alive(struct panel *p)
{
    int r;
    do
        r = sd_bus_process(p->bus, NULL);
    while (r > 0);
    return r == 0 && sd_bus_is_open(p->bus) > 0;
}

int panel_connect(struct panel *p, struct err *e)
{
    if (p->bus && is_alive(p))
        return 0;
    panel_disconnect(p);
    if (slot_open(p->paths, &p->bus, e))
        return -1;
    send_tile(p);
    return 0;
}

void panel_refresh(struct panel *p)
{
    struct err ignored = {0}; /* who needs jobd gets the error; an idle slot shows its tile later */
    panel_connect(p, &ignored);
}

void panel_show(struct panel *p, enum slot_state state, const char *device_name, const char *text)
{
    if (p->state == state && strcmp(p->device_name, device_name) == 0 && strcmp(p->text, text) == 0)
        return;
    p->state = state;
    snprintf(p->device_name, sizeof p->device_name, "%s", device_name);
    snprintf(p->text, sizeof p->text, "%s", text);
    if (p->bus)
        send_tile(p);
}

void panel_show_err(
        struct panel *p, enum slot_state state, const char *device_name, const struct err *e)
{
    char text[PANEL_TEXT_MAX];
    snprintf(text, sizeof text, "%s (%s)", e->msg, err_hint(e->id));
    panel_show(p, state, device_name, text);
}
