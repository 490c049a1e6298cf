/* A simulated port: a pseudo-terminal in raw mode and a symbolic link to it that is there while a
 * device is plugged in. */
#pragma once
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

struct port {
    char link[PATH_MAX];
    int master; /* the device's end */
    int slave;  /* held open, so that the master is not hung up between two hosts */
    int watch;  /* inotify: somebody closed the slave */
};
/* -1 with errno; nothing is left behind then. */
int port_plug(struct port *p, const char *link);
/* Hangs up whoever has the port open. Safe to repeat. */
void port_unplug(struct port *p);
/* All of it, unless the host does not read: then the rest is lost, as on a line without flow
 * control. */
void port_send(const struct port *p, const void *bytes, size_t len);
/* Bytes the host has not read yet. */
size_t port_unread(const struct port *p);
/* To be called when watch is readable: a host that died must not lock out the next one. */
void port_released(const struct port *p);
