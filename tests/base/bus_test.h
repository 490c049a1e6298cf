/* What the tests of the bus share: a real server in the test, clients in forked processes. */
#pragma once
#include "base_test.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/bus.h"
#include "base/limits.h"
#include "base/log.h"

#define OBJECT    "/org/keyline/Test1"
#define INTERFACE "org.keyline.Test1"

struct server {
    sd_event *event;
    struct bus_server *bus;
    char path[PATH_MAX];
    sd_bus_message *kept; /* a call that is answered later */
    unsigned gone, calls;
};

static inline int method_echo(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct server *s = userdata;
    struct err e = {0};
    const uint8_t *bytes;
    size_t len;
    sd_bus_message *reply = NULL;
    (void)be;
    s->calls++;
    if (bus_read_bytes(m, BUS_MESSAGE_MAX, &bytes, &len, &e) < 0)
        return bus_reply_err(m, &e);
    int r = sd_bus_message_new_method_return(m, &reply);
    if (r >= 0)
        r = sd_bus_message_append_array(reply, 'y', bytes, len);
    if (r >= 0)
        r = sd_bus_send(NULL, reply, NULL);
    sd_bus_message_unref(reply);
    return r < 0 ? r : 1;
}

static inline int method_fail(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    const char *name;
    struct err e = {0};
    (void)userdata;
    (void)be;
    int r = sd_bus_message_read(m, "s", &name);
    if (r < 0)
        return r;
    err_set_code(&e, err_from_name(name), 42, "told\n%s caf\xc3\xa9 \xff", name);
    return bus_reply_err(m, &e);
}

static inline int method_errno(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    (void)m;
    (void)userdata;
    (void)be;
    return -EINVAL;
}

static inline int method_later(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct server *s = userdata;
    (void)be;
    sd_bus_message_unref(s->kept);
    s->kept = sd_bus_message_ref(m);
    return 1;
}

static inline int close_server(sd_event_source *source, void *userdata)
{
    struct server *s = userdata;
    (void)source;
    bus_server_close(&s->bus);
    return 0;
}

/* The server goes away while this very call waits for its answer. */
static inline int method_close(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct server *s = userdata;
    method_later(m, userdata, be);
    return sd_event_add_defer(s->event, NULL, close_server, s) < 0 ? -EIO : 1;
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Echo", "ay", "ay", method_echo, 0),
        SD_BUS_METHOD("Fail", "s", "", method_fail, 0),
        SD_BUS_METHOD("Errno", "", "", method_errno, 0),
        SD_BUS_METHOD("Later", "", "s", method_later, 0),
        SD_BUS_METHOD("Close", "", "s", method_close, 0),
        SD_BUS_VTABLE_END,
};

static inline void on_gone(void *userdata, sd_bus *peer)
{
    struct server *s = userdata;
    assert_non_null(peer);
    s->gone++;
}

static inline int open_door(struct server *s, uid_t uid, struct err *e)
{
    const struct bus_door door = {.path = s->path,
            .object = OBJECT,
            .interface = INTERFACE,
            .vtable = vtable,
            .userdata = s,
            .uids = {uid},
            .uid_count = uid != 0,
            .on_gone = on_gone};
    return bus_server_open(s->event, &door, &s->bus, e);
}

static inline struct server *server_new(void **state)
{
    struct server *s = calloc(1, sizeof *s);
    struct err e = {0};
    assert_true(sd_event_new(&s->event) >= 0);
    snprintf(s->path, sizeof s->path, "%s/test.sock", (char *)*state);
    assert_ok(open_door(s, 0, &e), &e);
    return s;
}

static inline void server_free(struct server *s)
{
    bus_server_close(&s->bus);
    sd_bus_message_unref(s->kept);
    sd_event_unref(s->event);
    free(s);
}

static inline int on_child(sd_event_source *source, const siginfo_t *si, void *userdata)
{
    int *result = userdata;
    *result = si->si_code == CLD_EXITED ? si->si_status : -si->si_status;
    return sd_event_exit(sd_event_source_get_event(source), 0);
}

static inline int too_long(sd_event_source *source, uint64_t usec, void *userdata)
{
    (void)usec;
    (void)userdata;
    return sd_event_exit(sd_event_source_get_event(source), 1);
}

/* A client: returns 0, or the number of the line where something was wrong. Runs in its own
 * process. */
typedef int (*client_fn)(const char *path);

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: client: %s\n", __FILE__, __LINE__, #cond);                     \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

/* Serves until the client has ended. The loop itself must outlive whatever the client does. */
static inline void serve(struct server *s, client_fn client)
{
    int result = -1;
    sd_event_source *child = NULL, *limit = NULL;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(client(s->path));
    assert_true(sd_event_add_child(s->event, &child, pid, WEXITED, on_child, &result) >= 0);
    assert_true(sd_event_add_time_relative(
                        s->event, &limit, CLOCK_MONOTONIC, 30000000, 0, too_long, NULL) >= 0);
    assert_int_equal(sd_event_loop(s->event), 0);
    sd_event_source_unref(child);
    sd_event_source_unref(limit);
    assert_int_equal(result, 0);
}

/* sd_event_exit() ends a loop for good; the next client needs a fresh one. */
static inline struct server *server_again(struct server *s, void **state)
{
    server_free(s);
    return server_new(state);
}

static inline int echo(sd_bus *bus, size_t len, struct err *e)
{
    uint8_t *bytes = malloc(len + 1);
    sd_bus_message *call = NULL, *reply = NULL;
    sd_bus_error be = SD_BUS_ERROR_NULL;
    const uint8_t *back;
    size_t back_len;
    memset(bytes, 0xa5, len + 1);
    int r = sd_bus_message_new_method_call(bus, &call, NULL, OBJECT, INTERFACE, "Echo");
    if (r >= 0)
        r = sd_bus_message_append_array(call, 'y', bytes, len);
    if (r >= 0)
        r = sd_bus_call(bus, call, 0, &be, &reply);
    int result = -1;
    if (r < 0)
        bus_err(e, &be, r);
    else if (bus_read_bytes(reply, BUS_MESSAGE_MAX, &back, &back_len, e) == 0)
        result = back_len == len && (len == 0 || memcmp(back, bytes, len) == 0) ? 0 : -2;
    sd_bus_error_free(&be);
    sd_bus_message_unref(call);
    sd_bus_message_unref(reply);
    free(bytes);
    return result;
}

static inline int call(sd_bus *bus, const char *method, uint64_t timeout_us, struct err *e)
{
    sd_bus_message *m = NULL;
    sd_bus_error be = SD_BUS_ERROR_NULL;
    int r = sd_bus_message_new_method_call(bus, &m, NULL, OBJECT, INTERFACE, method);
    if (r >= 0)
        r = sd_bus_call(bus, m, timeout_us, &be, NULL);
    if (r < 0)
        r = bus_err(e, &be, r);
    sd_bus_error_free(&be);
    sd_bus_message_unref(m);
    return r < 0 ? -1 : 0;
}

/* sd-event wants SIGCHLD blocked; refused peers are expected here and need no line each. */
static inline void bus_test_init(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    setenv("KEYLINE_LOG", "error", 0);
    log_open("test-base-bus");
}
