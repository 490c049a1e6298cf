/* The port's watch. Promises: an idle slot costs no wake-up but its own port's, and a plug-in is
 * seen at once, also when udev makes the whole directory, or a simulator only points a link at
 * another pseudo-terminal. */
#include "station/port.h"

#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/text.h"

#define WATCH_EVENTS                                                                               \
    (IN_CREATE | IN_MOVED_TO | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

struct watched {
    int wd;
    char name[NAME_MAX + 1]; /* the entry of that directory that matters */
};
struct port_watch {
    int fd;
    struct watched dirs[2];
};

/* Watches for `path` in its directory; when there is no such directory, for the missing one in the
 * nearest parent. */
static bool watch(int fd, const char *path, struct watched *ret)
{
    char dir[PATH_MAX];
    if (snprintf(dir, sizeof dir, "%s%s", *path == '/' ? "" : "./", path) >= (int)sizeof dir)
        return false;
    for (;;) {
        char *slash = strrchr(dir, '/');
        if (!slash)
            return false;
        if (strlen(slash + 1) >= sizeof ret->name)
            return false;
        memcpy(ret->name, slash + 1, strlen(slash + 1) + 1);
        slash[slash == dir] = '\0'; /* the root keeps its slash */
        ret->wd = inotify_add_watch(fd, dir, WATCH_EVENTS);
        if (ret->wd >= 0)
            return true;
        if (strcmp(dir, "/") == 0 || strcmp(dir, ".") == 0)
            return false;
    }
}

/* Where the link at path points, one step: udev's links and the simulator's have only one. */
static bool link_target(const char *path, char ret[PATH_MAX])
{
    char target[PATH_MAX];
    ssize_t n = readlink(path, target, sizeof target - 1);
    if (n <= 0)
        return false;
    target[n] = '\0';
    const char *slash = strrchr(path, '/');
    int dir_len = *target == '/' || !slash ? 0 : (int)(slash + 1 - path);
    return snprintf(ret, PATH_MAX, "%.*s%s", dir_len, path, target) < PATH_MAX;
}

struct port_watch *port_watch_new(const char *path)
{
    struct port_watch *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->dirs[0].wd = w->dirs[1].wd = -1;
    w->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (w->fd < 0 || !watch(w->fd, path, &w->dirs[0])) {
        port_watch_free(&w);
        return NULL;
    }
    char target[PATH_MAX];
    if (link_target(path, target))
        watch(w->fd, target, &w->dirs[1]);
    return w;
}

void port_watch_free(struct port_watch **w)
{
    if (*w && (*w)->fd >= 0)
        close((*w)->fd);
    free(*w);
    *w = NULL;
}

static bool concerns(const struct port_watch *w, const struct inotify_event *ev)
{
    if (ev->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_Q_OVERFLOW))
        return true;
    for (size_t i = 0; i < sizeof w->dirs / sizeof *w->dirs; i++)
        if (ev->wd == w->dirs[i].wd && ev->len && strcmp(ev->name, w->dirs[i].name) == 0)
            return true;
    return false;
}

/* Whether one of the events that have come in is about our port. */
static bool drain(struct port_watch *w)
{
    bool ours = false;
    union { /* aligned as the kernel writes it */
        struct inotify_event first;
        char bytes[4096];
    } events;
    ssize_t n;
    while ((n = read(w->fd, events.bytes, sizeof events.bytes)) > 0)
        for (ssize_t at = 0; at < n;) {
            const void *here = events.bytes + at;
            const struct inotify_event *ev = here;
            ours |= concerns(w, ev);
            at += (ssize_t)(sizeof *ev + ev->len);
        }
    return ours;
}

void port_watch_wait(struct port_watch *w, unsigned timeout_ms)
{
    if (!w) {
        usleep((timeout_ms < SLOT_UNWATCHED_MS ? timeout_ms : SLOT_UNWATCHED_MS) * 1000);
        return;
    }
    int64_t end_ms = time_monotonic_ms() + timeout_ms, left;
    while ((left = end_ms - time_monotonic_ms()) > 0) {
        struct pollfd p = {.fd = w->fd, .events = POLLIN};
        if (poll(&p, 1, (int)left) > 0 && drain(w))
            return;
    }
}
