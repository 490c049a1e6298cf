/* Pseudo-terminals as plugs. The link is made last and removed first, so whoever follows it finds a
 * working port. */
#include "port.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define SEND_PATIENCE_MS 200

static int open_pty(struct port *p, char *name, size_t cap)
{
    struct termios raw;

    p->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (p->master < 0 || grantpt(p->master) < 0 || unlockpt(p->master) < 0 ||
            ptsname_r(p->master, name, cap) != 0)
        return -1;
    p->slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (p->slave < 0 || tcgetattr(p->slave, &raw) < 0)
        return -1;
    cfmakeraw(&raw); /* before any host sees it: no echo of half a frame */
    if (tcsetattr(p->slave, TCSANOW, &raw) < 0)
        return -1;
    p->watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    return p->watch < 0 ? -1 : inotify_add_watch(p->watch, name, IN_CLOSE) < 0 ? -1 : 0;
}

int port_plug(struct port *p, const char *link)
{
    char name[64];

    *p = (struct port){.master = -1, .slave = -1, .watch = -1};
    if (strlen(link) >= sizeof p->link) {
        errno = ENAMETOOLONG;
        return -1;
    }
    int r = open_pty(p, name, sizeof name);
    if (r == 0 && unlink(link) < 0 && errno != ENOENT)
        r = -1;
    if (r == 0)
        r = symlink(name, link);
    if (r < 0) {
        int saved = errno;
        port_unplug(p);
        errno = saved;
        return -1;
    }
    strcpy(p->link, link);
    return 0;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void port_unplug(struct port *p)
{
    if (p->link[0])
        unlink(p->link);
    p->link[0] = 0;
    close_fd(&p->watch);
    close_fd(&p->slave);
    close_fd(&p->master); /* hangs up the host's end */
}

void port_send(const struct port *p, const void *bytes, size_t len)
{
    const char *at = bytes;

    while (len) {
        ssize_t n = write(p->master, at, len);
        if (n > 0) {
            at += n;
            len -= (size_t)n;
            continue;
        }
        struct pollfd room = {.fd = p->master, .events = POLLOUT};
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return;
        if (poll(&room, 1, SEND_PATIENCE_MS) <= 0)
            return;
    }
}

size_t port_unread(const struct port *p)
{
    int count = 0;

    return ioctl(p->slave, FIONREAD, &count) == 0 && count > 0 ? (size_t)count : 0;
}

void port_released(const struct port *p)
{
    char events[sizeof(struct inotify_event) + NAME_MAX + 1];

    while (read(p->watch, events, sizeof events) > 0)
        ;
    /* A real port forgets TIOCEXCL at its last close; this one is never closed because we hold it.
     */
    ioctl(p->slave, TIOCNXCL);
}
