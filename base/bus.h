/* sd-bus, peer to peer, over private Unix sockets; no broker. A server listens, checks each peer's uid
 * (SO_PEERCRED), and gives it one object with one interface. Errors cross as org.keyline.Error.<Name>.
 * A bad message costs the peer its connection, never us our process. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

struct err;
struct bus_server;

struct bus_door {
    const char *path;      /* socket; an old socket file is replaced, a live one is ERR_EXISTS */
    const char *object;    /* "/org/keyline/Signer1" */
    const char *interface; /* "org.keyline.Signer1" */
    const sd_bus_vtable
            *vtable; /* methods get `userdata`; sd_bus_message_get_bus() names the peer */
    void *userdata;
    uid_t uids[4]; /* who may connect besides root and our own uid */
    size_t uid_count;
    bool takes_fds; /* messages may carry file descriptors (type "h") */
    void (*on_gone)(
            void *userdata, sd_bus *peer); /* may be NULL; called before the peer is released */
};
/* Listens (mode 0660) or takes the socket systemd passed under the same path. d is copied. */
int bus_server_open(
        sd_event *event, const struct bus_door *d, struct bus_server **ret, struct err *e);
void bus_server_close(struct bus_server **s);

/* event may be NULL: then only blocking calls can be made, and this waits for the server to let us in, BUS_TIMEOUT_MS at
 * most: ERR_TIMEOUT. ERR_UNAVAILABLE when nobody listens, ERR_DENIED when the socket's rights keep us out.
 * Calls end after BUS_TIMEOUT_MS. Release with sd_bus_flush_close_unref. */
int bus_client_open(const char *path, sd_event *event, sd_bus **ret, struct err *e);

/* A failed call's error: our named errors come back as they were set, time-outs as ERR_TIMEOUT,
 * a lost connection as ERR_UNAVAILABLE, anything else as ERR_PROTOCOL. Always -1. */
int bus_err(struct err *e, const sd_bus_error *be, int r);
/* From inside a method handler: answers m with the error; the return value is what the handler returns. */
int bus_reply_err(sd_bus_message *m, const struct err *e);
/* Reads "ay", at most max bytes (ERR_PROTOCOL when more or none); borrows from m. */
int bus_read_bytes(
        sd_bus_message *m, size_t max, const uint8_t **ret, size_t *ret_len, struct err *e);
