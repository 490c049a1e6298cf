/* Offers the Outbox1 door over the real bus, from files, so that a test sees and decides all that
 * syncd hears: DIR/batches/FIRST-LAST   a batch, given in the order of the numbers
 *   DIR/done/FIRST-LAST      made when it is acknowledged or refused; removing it offers the batch
 * again DIR/events               one line for each call: "next F L", "ack F L SHA256 DETAIL",
 * "refuse F L ERROR MESSAGE", "report STATE ERROR RETRY_AT_MS MESSAGE" SIGUSR1 sends the signal
 * Retry. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/sha.h>

#include "base/buf.h"
#include "base/bus.h"
#include "base/daemon.h"
#include "base/err.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/paths.h"
#include "base/text.h"

#define OBJECT    "/org/keyline/Outbox1"
#define INTERFACE "org.keyline.Outbox1"

struct jobd_double {
    const char *dir;
    FILE *events;
    sd_bus *peer; /* the syncd that called last */
};

__attribute__((format(printf, 2, 3))) static void event(struct jobd_double *d, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vfprintf(d->events, fmt, args);
    va_end(args);
    fputc('\n', d->events);
    fflush(d->events);
}

static void path_of(
        const struct jobd_double *d, const char *kind, uint64_t first, uint64_t last, char *out)
{
    snprintf(out, PATH_MAX, "%s/%s/%" PRIu64 "-%" PRIu64, d->dir, kind, first, last);
}

static bool find_next(const struct jobd_double *d, uint64_t *ret_first, uint64_t *ret_last)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/batches", d->dir);
    DIR *list = opendir(path);
    const struct dirent *entry;
    *ret_first = UINT64_MAX;
    while (list != NULL && (entry = readdir(list)) != NULL) {
        uint64_t first, last;
        if (sscanf(entry->d_name, "%" SCNu64 "-%" SCNu64, &first, &last) != 2 ||
                first >= *ret_first)
            continue;
        path_of(d, "done", first, last, path);
        if (access(path, F_OK) == 0)
            continue;
        *ret_first = first;
        *ret_last = last;
    }
    if (list != NULL)
        closedir(list);
    return *ret_first != UINT64_MAX;
}

static int on_next(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct jobd_double *d = userdata;
    struct buf body = BUF_INIT;
    struct err e = {0};
    uint64_t first = 0, last = 0;
    char path[PATH_MAX];
    (void)be;
    d->peer = sd_bus_message_get_bus(m);
    if (find_next(d, &first, &last)) {
        path_of(d, "batches", first, last, path);
        if (file_read(path, OUTBOX_BATCH_BYTES, &body, &e) < 0)
            return bus_reply_err(m, &e);
        event(d, "next %" PRIu64 " %" PRIu64, first, last);
    } else {
        first = last = 0;
    }
    sd_bus_message *answer = NULL;
    int r = sd_bus_message_new_method_return(m, &answer);
    if (r >= 0)
        r = sd_bus_message_append(answer, "tt", first, last);
    if (r >= 0)
        r = sd_bus_message_append_array(answer, 'y', body.data, body.len);
    if (r >= 0)
        r = sd_bus_send(NULL, answer, NULL);
    sd_bus_message_unref(answer);
    buf_done(&body);
    return r;
}

static int finish(struct jobd_double *d, sd_bus_message *m, uint64_t first, uint64_t last)
{
    char path[PATH_MAX];
    struct err e = {0};
    path_of(d, "done", first, last, path);
    if (file_write(path, "", 0, 0644, &e) < 0)
        return bus_reply_err(m, &e);
    return sd_bus_reply_method_return(m, NULL);
}

/* As the real one: a digest that is not the batch's is refused. */
static int on_ack(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct jobd_double *d = userdata;
    struct buf body = BUF_INIT;
    struct err e = {0};
    const uint8_t *sha;
    const char *detail;
    uint8_t ours[32];
    char hex[65], path[PATH_MAX];
    uint64_t first, last;
    size_t len;
    (void)be;
    if (sd_bus_message_read(m, "tt", &first, &last) <= 0 ||
            bus_read_bytes(m, 32, &sha, &len, &e) < 0 || sd_bus_message_read(m, "s", &detail) <= 0)
        return -EBADMSG;
    path_of(d, "batches", first, last, path);
    if (file_read(path, OUTBOX_BATCH_BYTES, &body, &e) < 0)
        return bus_reply_err(m, &e);
    SHA256(body.data, body.len, ours);
    buf_done(&body);
    if (len != sizeof ours || memcmp(sha, ours, sizeof ours) != 0) {
        event(d, "wrong-digest %" PRIu64 " %" PRIu64, first, last);
        err_set(&e, ERR_BAD_STATE, "that is not the digest of the batch");
        return bus_reply_err(m, &e);
    }
    hex_format(ours, sizeof ours, hex);
    event(d, "ack %" PRIu64 " %" PRIu64 " %s %s", first, last, hex, detail);
    return finish(d, m, first, last);
}

static int on_refuse(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct jobd_double *d = userdata;
    uint64_t first, last;
    const char *error, *message;
    (void)be;
    if (sd_bus_message_read(m, "ttss", &first, &last, &error, &message) <= 0)
        return -EBADMSG;
    event(d, "refuse %" PRIu64 " %" PRIu64 " %s %s", first, last, error, message);
    return finish(d, m, first, last);
}

static int on_report(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct jobd_double *d = userdata;
    const char *state, *error, *message;
    uint64_t retry_at;
    (void)be;
    if (sd_bus_message_read(m, "ssst", &state, &error, &message, &retry_at) <= 0)
        return -EBADMSG;
    d->peer = sd_bus_message_get_bus(m);
    event(d, "report %s %s %" PRIu64 " %s", state, error[0] ? error : "-", retry_at, message);
    return sd_bus_reply_method_return(m, NULL);
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Next", "", "ttay", on_next, 0),
        SD_BUS_METHOD("Ack", "ttays", "", on_ack, 0),
        SD_BUS_METHOD("Refuse", "ttss", "", on_refuse, 0),
        SD_BUS_METHOD("Report", "ssst", "", on_report, 0),
        SD_BUS_SIGNAL("Retry", "", 0),
        SD_BUS_VTABLE_END,
};

static void on_gone(void *userdata, sd_bus *peer)
{
    struct jobd_double *d = userdata;
    if (d->peer == peer)
        d->peer = NULL;
}

static int on_usr1(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
    struct jobd_double *d = userdata;
    (void)s, (void)si;
    if (d->peer != NULL)
        sd_bus_emit_signal(d->peer, OBJECT, INTERFACE, "Retry", NULL);
    return 0;
}

static int start(
        struct jobd_double *d, sd_event **ret_event, struct bus_server **ret_server, struct err *e)
{
    struct paths p;
    char path[PATH_MAX], socket[PATH_MAX];
    sigset_t set;
    snprintf(path, sizeof path, "%s/events", d->dir);
    d->events = fopen(path, "ae");
    if (d->events == NULL)
        return err_set_errno(e, errno, "open %s", path);
    if (daemon_init("jobd-double", ret_event, e) < 0 || paths_init(&p, e) < 0)
        return -1;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    if (sd_event_add_signal(*ret_event, NULL, SIGUSR1, on_usr1, d) < 0)
        return err_set(e, ERR_BUG, "no signal");
    paths_get(&p, PATH_OUTBOX_SOCKET, socket);
    const struct bus_door door = {
            .path = socket,
            .object = OBJECT,
            .interface = INTERFACE,
            .vtable = vtable,
            .userdata = d,
            .on_gone = on_gone,
    };
    return bus_server_open(*ret_event, &door, ret_server, e);
}

int main(int argc, char **argv)
{
    struct jobd_double d = {.dir = argc == 2 ? argv[1] : "."};
    struct bus_server *server = NULL;
    sd_event *event_loop = NULL;
    struct err e = {0};
    int status = EXIT_FAILURE;
    if (start(&d, &event_loop, &server, &e) < 0)
        log_err(LOG_ERR, "start-failed", &e);
    else
        status = daemon_run(event_loop);
    bus_server_close(&server);
    sd_event_unref(event_loop);
    if (d.events != NULL)
        fclose(d.events);
    return status;
}
