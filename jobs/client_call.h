/* What the three clients share: building a call, making it, and reading an answer of one text.
 * Private to keyline_jobs_client. */
#pragma once
#include <systemd/sd-bus.h>

struct buf;
struct err;

/* One of the three doors. */
struct client_door {
    const char *object, *interface;
};
int client_new(sd_bus *bus, const struct client_door *d, const char *method, sd_bus_message **ret,
        struct err *e);
/* Strings that are not UTF-8 never reach the bus: ERR_ARGUMENT, naming `what`. */
int client_text(sd_bus_message *m, const char *what, const char *text, struct err *e);
/* Takes m. ret_answer may be NULL; timeout_ms 0: the usual one. */
int client_call(sd_bus *bus, sd_bus_message *m, unsigned timeout_ms, sd_bus_message **ret_answer,
        struct err *e);
/* Takes m; the answer is one text, which is appended to ret. */
int client_call_text(
        sd_bus *bus, sd_bus_message *m, unsigned timeout_ms, struct buf *ret, struct err *e);
/* Appends an "ay" of at most max bytes. */
int client_read_buf(sd_bus_message *m, size_t max, struct buf *ret, struct err *e);
/* What sd_bus_message_append and its like return, as our error. */
int client_built(int r, struct err *e);
