/* sd-bus over private sockets, no broker. A peer gets in by its uid alone (SO_PEERCRED, which it
 * cannot choose) and sees one object. Whatever a peer sends or leaves out costs it its own
 * connection, never this process; but sd-bus keeps up to 128 MB of a message that does not end. signerd's unit bounds that
 * (MemoryMax). */
#include "base/bus.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>
#include <systemd/sd-id128.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"

#define ERROR_PREFIX "org.keyline.Error."
/* How long accepting rests when the process has no file descriptor left: else the loop would spin.
 */
#define ACCEPT_REST_US UINT64_C(1000000)

struct bus_server {
    struct bus_door door; /* its strings are ours */
    sd_event *event;
    sd_event_source *accepting;
    sd_event_source *rest; /* the end of a pause in accepting */
    sd_id128_t id;
    int fd;
    bool made_socket; /* and not taken from systemd, which keeps its socket file */
    sd_bus *peers[BUS_PEERS_MAX];
    size_t peer_count;
};

static int set_address(struct sockaddr_un *a, const char *path, struct err *e)
{
    *a = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof a->sun_path)
        return err_set(e, ERR_CONFIG, "%s: sockets need paths of at most %zu characters", path,
                sizeof a->sun_path - 1);
    memcpy(a->sun_path, path, strlen(path) + 1);
    return 0;
}

/* The listening socket that systemd passed for this path, or -1. */
static int passed_socket(const char *path)
{
    int n = sd_listen_fds(0);
    for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + n; fd++)
        if (sd_is_socket_unix(fd, SOCK_STREAM, 1, path, 0) > 0 &&
                fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) == 0)
            return fd;
    return -1;
}

/* Removes what a dead server left. Only connect() tells a live socket from a dead one. */
static int clear_path(const struct sockaddr_un *a, struct err *e)
{
    struct stat st;
    if (lstat(a->sun_path, &st) < 0)
        return errno == ENOENT ? 0 : err_set_errno(e, errno, "look at %s", a->sun_path);
    if (!S_ISSOCK(st.st_mode))
        return err_set(e, ERR_EXISTS, "%s is in the way: it is not a socket", a->sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set_errno(e, errno, "make a socket");
    int r = connect(fd, (const struct sockaddr *)a, sizeof *a);
    int cause = r < 0 ? errno : 0;
    close(fd);
    if (cause == ECONNREFUSED || cause == ENOENT) {
        if (unlink(a->sun_path) < 0 && errno != ENOENT)
            return err_set_errno(e, errno, "remove %s", a->sun_path);
        return 0;
    }
    return err_set_code(e, ERR_EXISTS, cause, "%s is served by another process", a->sun_path);
}

static int listen_at(const char *path, struct err *e)
{
    struct sockaddr_un a;
    if (set_address(&a, path, e) < 0 || clear_path(&a, e) < 0)
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set_errno(e, errno, "make a socket");
    if (bind(fd, (const struct sockaddr *)&a, sizeof a) < 0) {
        err_set_errno(e, errno, "bind %s", path);
        goto failed;
    }
    /* Nobody can connect before listen(), so the umask's rights are never in force. */
    if (chmod(path, 0660) < 0 || listen(fd, SOMAXCONN) < 0) {
        err_set_errno(e, errno, "listen at %s", path);
        unlink(path);
        goto failed;
    }
    return fd;
failed:
    close(fd);
    return -1;
}

static bool uid_may(const struct bus_door *d, uid_t uid)
{
    bool may = uid == 0 || uid == geteuid();
    for (size_t i = 0; i < d->uid_count && !may; i++)
        may = d->uids[i] == uid;
    return may;
}

/* The owner hears of it first: it may still hold messages of this peer. */
static void release(struct bus_server *s, size_t i)
{
    sd_bus *peer = s->peers[i];
    s->peers[i] = s->peers[--s->peer_count];
    s->peers[s->peer_count] = NULL;
    if (s->door.on_gone != NULL)
        s->door.on_gone(s->door.userdata, peer);
    sd_bus_close_unref(peer);
}

static void drop(struct bus_server *s, const sd_bus *peer)
{
    for (size_t i = 0; i < s->peer_count; i++)
        if (s->peers[i] == peer) {
            release(s, i);
            break;
        }
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    (void)be;
    drop(userdata, sd_bus_message_get_bus(m));
    return 0;
}

/* Before each message: a peer that asks on and on and does not read what it is told has its answers
 * pile up here. */
static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct bus_server *s = userdata;
    sd_bus *peer = sd_bus_message_get_bus(m);
    uint64_t waiting = 0;
    (void)be;
    if (sd_bus_get_n_queued_write(peer, &waiting) < 0 || waiting <= BUS_ANSWERS_MAX)
        return 0;
    log_warning("peer-dropped", LOG_STR("socket", s->door.path), LOG_NUM("answers", waiting),
            LOG_STR("reason", "it does not read its answers"));
    drop(s, peer);
    return 1;
}

/* Speaks D-Bus over fd, which it takes. The peer is trusted with every method: its uid was the
 * check. */
static int start_peer(struct bus_server *s, int fd, sd_bus **ret)
{
    static const char local[] = "org.freedesktop.DBus.Local";
    sd_bus *bus = NULL;
    int r = sd_bus_new(&bus);
    if (r < 0) {
        close(fd);
        return r;
    }
    r = sd_bus_set_fd(bus, fd, fd);
    if (r < 0) {
        close(fd);
        goto failed;
    }
    if ((r = sd_bus_set_server(bus, 1, s->id)) < 0 || (r = sd_bus_set_trusted(bus, 1)) < 0 ||
            (r = sd_bus_negotiate_fds(bus, s->door.takes_fds)) < 0 || (r = sd_bus_start(bus)) < 0)
        goto failed;
    r = sd_bus_match_signal(bus, NULL, local, "/org/freedesktop/DBus/Local", local, "Disconnected",
            on_disconnected, s);
    if (r < 0 || (r = sd_bus_add_filter(bus, NULL, on_message, s)) < 0)
        goto failed;
    r = sd_bus_add_object_vtable(
            bus, NULL, s->door.object, s->door.interface, s->door.vtable, s->door.userdata);
    if (r < 0 || (r = sd_bus_attach_event(bus, s->event, SD_EVENT_PRIORITY_NORMAL)) < 0)
        goto failed;
    *ret = bus;
    return 0;
failed:
    sd_bus_close_unref(bus);
    return r;
}

static void admit(struct bus_server *s, int fd)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || !uid_may(&s->door, peer.uid)) {
        log_warning("peer-refused", LOG_STR("socket", s->door.path), LOG_NUM("uid", peer.uid),
                LOG_NUM("pid", peer.pid), LOG_STR("reason", "this user may not connect"));
        close(fd);
        return;
    }
    if (s->peer_count == BUS_PEERS_MAX) {
        log_warning("peer-refused", LOG_STR("socket", s->door.path), LOG_NUM("uid", peer.uid),
                LOG_NUM("pid", peer.pid), LOG_STR("reason", "too many connections"));
        close(fd);
        return;
    }
    int r = start_peer(s, fd, &s->peers[s->peer_count]);
    if (r < 0)
        log_warning("peer-refused", LOG_STR("socket", s->door.path), LOG_NUM("uid", peer.uid),
                LOG_NUM("pid", peer.pid), LOG_STR("reason", strerror(-r)));
    else
        s->peer_count++;
}

static int on_rested(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct bus_server *s = userdata;
    (void)source;
    (void)usec;
    return sd_event_source_set_enabled(s->accepting, SD_EVENT_ON);
}

static int on_connect(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct bus_server *s = userdata;
    (void)revents;
    int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (peer >= 0) {
        admit(s, peer);
        return 0;
    }
    if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
        return 0;
    log_error("accept-failed", LOG_STR("socket", s->door.path), LOG_STR("reason", strerror(errno)));
    sd_event_source_set_enabled(source, SD_EVENT_OFF);
    sd_event_source_set_time_relative(s->rest, ACCEPT_REST_US);
    return sd_event_source_set_enabled(s->rest, SD_EVENT_ONESHOT);
}

/* The caller's strings may live shorter than the server. */
static int copy_door(struct bus_server *s, const struct bus_door *d, struct err *e)
{
    s->door = *d;
    s->door.path = strdup(d->path);
    s->door.object = strdup(d->object);
    s->door.interface = strdup(d->interface);
    if (s->door.path == NULL || s->door.object == NULL || s->door.interface == NULL)
        return err_set(e, ERR_NOMEM, "no memory for a socket");
    return 0;
}

static int attach(struct bus_server *s, struct err *e)
{
    int r;
    if ((r = sd_id128_randomize(&s->id)) < 0 ||
            (r = sd_event_add_io(s->event, &s->accepting, s->fd, EPOLLIN, on_connect, s)) < 0 ||
            (r = sd_event_add_time_relative(
                     s->event, &s->rest, CLOCK_MONOTONIC, ACCEPT_REST_US, 0, on_rested, s)) < 0 ||
            (r = sd_event_source_set_enabled(s->rest, SD_EVENT_OFF)) < 0)
        return err_set_errno(e, -r, "serve %s", s->door.path);
    return 0;
}

int bus_server_open(
        sd_event *event, const struct bus_door *d, struct bus_server **ret, struct err *e)
{
    struct bus_server *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_set(e, ERR_NOMEM, "no memory for a socket");
    s->event = sd_event_ref(event);
    s->fd = -1;
    if (copy_door(s, d, e) < 0)
        goto failed;
    s->fd = passed_socket(d->path);
    if (s->fd < 0) {
        s->fd = listen_at(d->path, e);
        s->made_socket = s->fd >= 0;
    }
    if (s->fd < 0 || attach(s, e) < 0)
        goto failed;
    *ret = s;
    return 0;
failed:
    bus_server_close(&s);
    return -1;
}

static void free_string(const char *s)
{
    free((void *)(uintptr_t)s);
}

void bus_server_close(struct bus_server **server)
{
    struct bus_server *s = *server;
    if (s == NULL)
        return;
    /* The door first: who is shown out must find it shut. */
    sd_event_source_disable_unref(s->accepting);
    sd_event_source_disable_unref(s->rest);
    if (s->made_socket)
        unlink(s->door.path);
    if (s->fd >= 0)
        close(s->fd);
    while (s->peer_count > 0)
        release(s, s->peer_count - 1);
    sd_event_unref(s->event);
    free_string(s->door.path);
    free_string(s->door.object);
    free_string(s->door.interface);
    free(s);
    *server = NULL;
}

static int connect_to(const char *path, struct err *e)
{
    struct sockaddr_un a;
    if (set_address(&a, path, e) < 0)
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set_errno(e, errno, "make a socket");
    /* A server that accepts nobody must not hold us for ever. */
    const struct timeval limit = {.tv_sec = BUS_TIMEOUT_MS / 1000};
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(fd, (const struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    int cause = errno;
    close(fd);
    switch (cause) {
    case EACCES:
    case EPERM:
        return err_set_code(e, ERR_DENIED, cause, "this user may not connect to %s", path);
    case EAGAIN:
        return err_set_code(e, ERR_TIMEOUT, cause, "%s accepts no connection", path);
    default:
        return err_set_code(
                e, ERR_UNAVAILABLE, cause, "nobody listens at %s: %s", path, strerror(cause));
    }
}

/* Until the server has let us in. sd-bus would wait 90 s; but a large import holds jobd for as long as a call may take. */
static int greet(sd_bus *bus)
{
    int64_t deadline = time_monotonic_ms() + BUS_TIMEOUT_MS;
    int r = 0;
    while (r >= 0 && (r = sd_bus_is_ready(bus)) == 0) {
        int64_t left_ms = deadline - time_monotonic_ms();
        if (left_ms <= 0)
            return -ETIMEDOUT;
        r = sd_bus_process(bus, NULL);
        if (r == 0)
            r = sd_bus_wait(bus, (uint64_t)left_ms * 1000);
    }
    return r;
}

int bus_client_open(const char *path, sd_event *event, sd_bus **ret, struct err *e)
{
    sd_bus *bus = NULL;
    int fd = connect_to(path, e);
    if (fd < 0)
        return -1;
    int r = sd_bus_new(&bus);
    if (r < 0 || (r = sd_bus_set_fd(bus, fd, fd)) < 0) {
        close(fd);
        goto failed;
    }
    if ((r = sd_bus_negotiate_fds(bus, 1)) < 0 ||
            (r = sd_bus_set_method_call_timeout(bus, BUS_TIMEOUT_MS * UINT64_C(1000))) < 0 ||
            (r = sd_bus_start(bus)) < 0)
        goto failed;
    r = event != NULL ? sd_bus_attach_event(bus, event, SD_EVENT_PRIORITY_NORMAL) : greet(bus);
    if (r < 0)
        goto failed;
    *ret = bus;
    return 0;
failed:
    sd_bus_close_unref(bus);
    bus_err(e, NULL, r);
    return err_context(e, "%s", path);
}

static enum err_id id_of_transport(int errnum)
{
    switch (errnum) {
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    case ECONNRESET:
    case ECONNREFUSED:
    case ENOTCONN:
    case ESHUTDOWN:
    case EPIPE:
        return ERR_UNAVAILABLE;
    case ENOMEM:
        return ERR_NOMEM;
    default:
        return ERR_PROTOCOL;
    }
}

int bus_err(struct err *e, const sd_bus_error *be, int r)
{
    if (be == NULL || be->name == NULL) {
        int errnum = r < 0 ? -r : EIO;
        return err_set_code(
                e, id_of_transport(errnum), errnum, "call failed: %s", strerror(errnum));
    }
    const char *message = be->message != NULL ? be->message : "";
    size_t prefix = sizeof ERROR_PREFIX - 1;
    if (strncmp(be->name, ERROR_PREFIX, prefix) == 0) {
        enum err_id id = err_from_name(be->name + prefix);
        if (id != ERR_NONE)
            return err_set(e, id, "%s", message);
        return err_set(e, ERR_PROTOCOL, "unknown error %s: %s", be->name, message);
    }
    int errnum = sd_bus_error_get_errno(be);
    enum err_id id = id_of_transport(errnum);
    /* sd-bus ends calls that are under way when the connection breaks with the name of a time-out;
     * only its text tells the two apart. */
    if (id == ERR_TIMEOUT && strcmp(message, "Connection terminated") == 0)
        id = ERR_UNAVAILABLE;
    return err_set_code(e, id, errnum, "call failed: %s (%s)", message, be->name);
}

int bus_reply_err(sd_bus_message *m, const struct err *e)
{
    /* A handler that failed without saying why has a bug, and its caller must not take that for
     * success. */
    enum err_id id = e->id != ERR_NONE ? e->id : ERR_BUG;
    char name[sizeof ERROR_PREFIX + 64];
    snprintf(name, sizeof name, ERROR_PREFIX "%s", err_name(id));
    const sd_bus_error be = SD_BUS_ERROR_MAKE_CONST(name, e->msg);
    int r = sd_bus_reply_method_error(m, &be);
    return r < 0 ? r : 1;
}

int bus_read_bytes(
        sd_bus_message *m, size_t max, const uint8_t **ret, size_t *ret_len, struct err *e)
{
    const void *bytes = NULL;
    size_t len = 0;
    int r = sd_bus_message_read_array(m, 'y', &bytes, &len);
    if (r <= 0)
        return err_set_code(e, ERR_PROTOCOL, -r, "message lacks a byte array");
    if (len > max)
        return err_set(
                e, ERR_PROTOCOL, "byte array of %zu bytes, at most %zu are allowed", len, max);
    *ret = bytes;
    *ret_len = len;
    return 0;
}
