/* The slots' states for the screens. Nothing here decides anything. */
#include "jobs/jobd/slot_board.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/text.h"
#include "jobs/json.h"
#include "jobs/slot_client.h"

#define PORT_MAX 256

struct slot {
    sd_bus *peer; /* NULL: its slotd is gone */
    char name[NAME_BYTES_MAX + 1], port[PORT_MAX], device_name[NAME_BYTES_MAX + 1];
    char text[ERR_MSG_MAX];
    enum slot_state state;
    int64_t since;
};

struct slot_board {
    struct slot slots[CONF_SLOTS_MAX]; /* sorted by name */
    size_t count;
};

int slot_board_new(struct slot_board **ret, struct err *e)
{
    *ret = calloc(1, sizeof **ret);
    return *ret ? 0 : err_set(e, ERR_NOMEM, "no memory for the slots");
}

void slot_board_free(struct slot_board **b)
{
    free(*b);
    *b = NULL;
}

static int find_state(const char *name, enum slot_state *ret)
{
    for (unsigned i = 0; i < SLOT_STATE_COUNT; i++)
        if (strcmp(slot_state_name(i), name) == 0) {
            *ret = i;
            return 0;
        }
    return -1;
}

static size_t place_of(const struct slot_board *b, const char *name)
{
    size_t i = 0;
    while (i < b->count && strcmp(b->slots[i].name, name) < 0)
        i++;
    return i;
}

/* Makes room: a slot whose slotd is gone is worth less than one that works. */
static void forget_gone(struct slot_board *b)
{
    for (size_t i = 0; i < b->count; i++)
        if (!b->slots[i].peer) {
            memmove(&b->slots[i], &b->slots[i + 1], (--b->count - i) * sizeof *b->slots);
            return;
        }
}

static struct slot *find_or_add(struct slot_board *b, const char *name)
{
    size_t i = place_of(b, name);
    if (i < b->count && strcmp(b->slots[i].name, name) == 0)
        return &b->slots[i];
    if (b->count == CONF_SLOTS_MAX) {
        forget_gone(b);
        i = place_of(b, name);
    }
    if (b->count == CONF_SLOTS_MAX)
        return NULL;
    memmove(&b->slots[i + 1], &b->slots[i], (b->count - i) * sizeof *b->slots);
    b->count++;
    b->slots[i] = (struct slot){.state = SLOT_STATE_COUNT};
    snprintf(b->slots[i].name, sizeof b->slots[i].name, "%s", name);
    return &b->slots[i];
}

static void copy(char *out, size_t cap, const char *text)
{
    snprintf(out, cap, "%s", text);
    text_make_printable(out); /* a character that the cut split, too */
}

int slot_board_show(struct slot_board *b, sd_bus *peer, const char *slot, const char *port,
        const char *state, const char *device_name, const char *text, struct err *e)
{
    enum slot_state new_state;
    if (!name_valid(slot, strlen(slot)))
        return err_set(e, ERR_ARGUMENT, "'%.60s' is not a slot's name", slot);
    if (find_state(state, &new_state))
        return err_set(e, ERR_ARGUMENT, "'%.40s' is not a slot's state", state);
    struct slot *s = find_or_add(b, slot);
    if (!s)
        return err_set(e, ERR_LIMIT, "more than %u slots", CONF_SLOTS_MAX);
    s->peer = peer;
    if (s->state != new_state)
        s->since = time_now_ms();
    s->state = new_state;
    copy(s->port, sizeof s->port, port);
    copy(s->device_name, sizeof s->device_name, device_name);
    copy(s->text, sizeof s->text, text);
    return 0;
}

void slot_board_gone(struct slot_board *b, sd_bus *peer)
{
    for (size_t i = 0; i < b->count; i++) {
        struct slot *s = &b->slots[i];
        if (s->peer != peer)
            continue;
        s->peer = NULL;
        s->state = SLOT_WAITING;
        s->since = time_now_ms();
        copy(s->text, sizeof s->text, "its slotd is not running");
    }
}

int slot_board_json(const struct slot_board *b, const char *(*run_of)(void *ctx, sd_bus *peer),
        void *ctx, json_t **ret, struct err *e)
{
    json_t *list = json_array();
    for (size_t i = 0; i < b->count; i++) {
        const struct slot *s = &b->slots[i];
        (void)json_array_append_new(
                list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o}", "name", s->name, "port",
                              s->port, "state", slot_state_name(s->state), "device_name",
                              s->device_name, "text", s->text, "run",
                              s->peer ? run_of(ctx, s->peer) : "", "since", json_time(s->since)));
    }
    return json_made(json_pack("{s:o}", "slots", list), ret, e);
}

unsigned slot_board_count(const struct slot_board *b)
{
    return (unsigned)b->count;
}
