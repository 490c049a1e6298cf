/* Keeps an eye on the CA that signerd works with: tells when another one is put in force; says in the log, at the
 * start and daily, when the CA is about to end. */
#pragma once
#include <systemd/sd-event.h>
#include "base/paths.h"

struct ca;
struct ca_watch;
struct err;

struct ca_watch_parts {
    sd_event *event;
    const struct paths *paths;
    const struct ca *active;
    void (*on_changed)(void *ctx); /* another one is in force */
    void *ctx;
};
/* The parts are borrowed until ca_watch_close(). */
int ca_watch_open(const struct ca_watch_parts *p, struct ca_watch **ret, struct err *e);
void ca_watch_close(struct ca_watch **w);
