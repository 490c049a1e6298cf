/* Waiting for something to be plugged in. */
#pragma once

/* Returns when path may have come into being or now points elsewhere, at the latest after timeout_ms; spurious returns
 * are allowed, missed plug-ins only until the time-out. Sleeps on inotify: the directory of path, the directory its
 * link points into, and, while these do not exist, the nearest parent that does. */
struct port_watch;
/* NULL when the kernel has no watch left: then port_watch_wait just sleeps, at most 50 ms. Open it BEFORE looking
 * whether the port is there, so that a plug-in between the look and the wait is not missed. */
struct port_watch *port_watch_new(const char *path);
void port_watch_wait(struct port_watch *w, unsigned timeout_ms);
void port_watch_free(struct port_watch **w);
