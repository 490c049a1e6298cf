/* Keeps an eye on the CA that signerd works with: ends signerd in order when another one is put in force, so that its
 * supervisor starts it with that; says in the log, at the start and daily, when the CA is about to end. */
#pragma once
#include <systemd/sd-event.h>
#include "base/paths.h"

struct ca;
struct ca_watch;
struct err;

/* p and active are borrowed until ca_watch_close(). */
int ca_watch_open(sd_event *event, const struct paths *p, const struct ca *active,
        struct ca_watch **ret, struct err *e);
void ca_watch_close(struct ca_watch **w);
