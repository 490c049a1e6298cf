/* The bus: a real server in this process, real clients in forked ones. Errors arrive as they were
 * set; peers that send garbage, vanish in mid-call, come in masses or have the wrong uid lose only
 * their own connection. */
#include "base_test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>

#include "base/bus.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"

#define OBJECT    "/org/keyline/Test1"
#define INTERFACE "org.keyline.Test1"
#define NOBODY    65534

struct server {
    sd_event *event;
    struct bus_server *bus;
    char path[PATH_MAX];
    sd_bus_message *kept; /* a call that is answered later */
    unsigned gone, calls;
};

static int method_echo(sd_bus_message *m, void *userdata, sd_bus_error *be)
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

static int method_fail(sd_bus_message *m, void *userdata, sd_bus_error *be)
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

static int method_errno(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    (void)m;
    (void)userdata;
    (void)be;
    return -EINVAL;
}

static int method_later(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct server *s = userdata;
    (void)be;
    sd_bus_message_unref(s->kept);
    s->kept = sd_bus_message_ref(m);
    return 1;
}

static int close_server(sd_event_source *source, void *userdata)
{
    struct server *s = userdata;
    (void)source;
    bus_server_close(&s->bus);
    return 0;
}

/* The server goes away while this very call waits for its answer. */
static int method_close(sd_bus_message *m, void *userdata, sd_bus_error *be)
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

static void on_gone(void *userdata, sd_bus *peer)
{
    struct server *s = userdata;
    assert_non_null(peer);
    s->gone++;
}

static int open_door(struct server *s, uid_t uid, struct err *e)
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

static struct server *server_new(void **state)
{
    struct server *s = calloc(1, sizeof *s);
    struct err e = {0};
    assert_true(sd_event_new(&s->event) >= 0);
    snprintf(s->path, sizeof s->path, "%s/test.sock", (char *)*state);
    assert_ok(open_door(s, 0, &e), &e);
    return s;
}

static void server_free(struct server *s)
{
    bus_server_close(&s->bus);
    sd_bus_message_unref(s->kept);
    sd_event_unref(s->event);
    free(s);
}

static int on_child(sd_event_source *source, const siginfo_t *si, void *userdata)
{
    int *result = userdata;
    *result = si->si_code == CLD_EXITED ? si->si_status : -si->si_status;
    return sd_event_exit(sd_event_source_get_event(source), 0);
}

static int too_long(sd_event_source *source, uint64_t usec, void *userdata)
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
static void serve(struct server *s, client_fn client)
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
static struct server *server_again(struct server *s, void **state)
{
    server_free(s);
    return server_new(state);
}

static int echo(sd_bus *bus, size_t len, struct err *e)
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

static int call(sd_bus *bus, const char *method, uint64_t timeout_us, struct err *e)
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

static int client_calls(const char *path)
{
    static const size_t sizes[] = {0, 1, 400, 65536, BUS_MESSAGE_MAX};
    struct err e = {0};
    sd_bus *bus = NULL;
    CHECK(bus_client_open(path, NULL, &bus, &e) == 0);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        CHECK(echo(bus, sizes[i], &e) == 0);
    CHECK(echo(bus, BUS_MESSAGE_MAX + 1, &e) == -1 && e.id == ERR_PROTOCOL);
    for (unsigned id = ERR_NONE + 1; id < ERR_COUNT; id++) {
        sd_bus_error be = SD_BUS_ERROR_NULL;
        char want[200];
        snprintf(want, sizeof want, "told?%s caf\xc3\xa9 ?", err_name((enum err_id)id));
        int failed = sd_bus_call_method(
                bus, NULL, OBJECT, INTERFACE, "Fail", &be, NULL, "s", err_name((enum err_id)id));
        err_clear(&e);
        CHECK(failed < 0 && bus_err(&e, &be, failed) == -1);
        CHECK(e.id == id && strcmp(e.msg, want) == 0 && e.code == 0);
        sd_bus_error_free(&be);
    }
    /* A handler that forgot to say why must not look like success. */
    sd_bus_error silent = SD_BUS_ERROR_NULL;
    int r = sd_bus_call_method(bus, NULL, OBJECT, INTERFACE, "Fail", &silent, NULL, "s", "None");
    err_clear(&e);
    CHECK(r < 0 && bus_err(&e, &silent, r) == -1 && e.id == ERR_BUG);
    sd_bus_error_free(&silent);
    err_clear(&e);
    CHECK(call(bus, "NoSuchMethod", 0, &e) == -1 && e.id == ERR_PROTOCOL);
    err_clear(&e);
    CHECK(call(bus, "Echo", 0, &e) == -1 && e.id == ERR_PROTOCOL); /* no argument */
    err_clear(&e);
    CHECK(call(bus, "Errno", 0, &e) == -1 && e.id == ERR_PROTOCOL);
    err_clear(&e);
    CHECK(call(bus, "Later", 50000, &e) == -1 && e.id == ERR_TIMEOUT);
    CHECK(echo(bus, 5, &e) == 0); /* none of that cost the connection */
    sd_bus_flush_close_unref(bus);
    return 0;
}

static void calls_and_errors(void **state)
{
    struct server *s = server_new(state);
    serve(s, client_calls);
    server_free(s);
}

/* What is not one of our errors becomes one by what it says about the connection. */
static void foreign_errors_are_mapped(void **state)
{
    struct err e = {0};
    (void)state;
    const sd_bus_error bug = SD_BUS_ERROR_MAKE_CONST("org.keyline.Error.Bug", "");
    bus_err(&e, &bug, -EIO);
    assert_err(-1, &e, ERR_BUG);
    const sd_bus_error strange = SD_BUS_ERROR_MAKE_CONST("org.keyline.Error.New", "x\ny");
    assert_int_equal(bus_err(&e, &strange, -EIO), -1);
    assert_string_equal(e.msg, "unknown error org.keyline.Error.New: x?y");
    assert_err(-1, &e, ERR_PROTOCOL);
    assert_err(bus_err(&e, NULL, -ECONNRESET), &e, ERR_UNAVAILABLE);
    assert_err(bus_err(&e, NULL, -ENOTCONN), &e, ERR_UNAVAILABLE);
    assert_err(bus_err(&e, NULL, -ETIMEDOUT), &e, ERR_TIMEOUT);
    assert_err(bus_err(&e, NULL, -EBADMSG), &e, ERR_PROTOCOL);
    assert_err(bus_err(&e, NULL, 0), &e, ERR_PROTOCOL);
}

static int raw_connect(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Sends bytes and waits until the server hangs up. */
static int send_raw(const char *path, const void *bytes, size_t len)
{
    char answer[4096];
    int fd = raw_connect(path);
    const struct timeval limit = {.tv_sec = 10};
    CHECK(fd >= 0);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    (void)!send(fd, bytes, len, MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    ssize_t n;
    while ((n = recv(fd, answer, sizeof answer, 0)) > 0)
        ;
    CHECK(n == 0 || errno == ECONNRESET);
    close(fd);
    return 0;
}

static int client_garbage(const char *path)
{
    static uint8_t bytes[20000];
    uint32_t seed = 7;
    char text[200];
    struct err e = {0};
    sd_bus *good = NULL;
    CHECK(bus_client_open(path, NULL, &good, &e) == 0);
    CHECK(echo(good, 10, &e) == 0);
    for (size_t i = 0; i < sizeof bytes; i++) {
        seed = seed * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(seed >> 24);
    }
    CHECK(send_raw(path, "", 0) == 0);
    CHECK(send_raw(path, "GET / HTTP/1.1\r\n\r\n", 18) == 0);
    CHECK(send_raw(path, bytes, sizeof bytes) == 0);
    bytes[0] = 0;
    CHECK(send_raw(path, bytes, sizeof bytes) == 0);
    CHECK(send_raw(path, "\0AUTH ANONYMOUS\r\nBEGIN\r\n", 24) == 0);
    /* Signed in properly, then nonsense in place of messages: random bytes, and heads that lie
     * about their size. */
    static const char sign_in[] = "%cAUTH EXTERNAL %s\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";
    char uid[32] = "", *hex = uid;
    char digits[12];
    snprintf(digits, sizeof digits, "%u", geteuid());
    for (const char *d = digits; *d != '\0'; d++, hex += 2)
        snprintf(hex, 3, "%02x", (unsigned char)*d);
    int n = snprintf(text, sizeof text, sign_in, 0, uid);
    memcpy(bytes, text, (size_t)n);
    CHECK(send_raw(path, bytes, sizeof bytes) == 0);
    static const uint8_t heads[][16] = {
            {'l', 1, 0, 1, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff},
            {'l', 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0},
            {'B', 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9},
            {'l', 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        memcpy(text + n, heads[i], sizeof heads[i]);
        CHECK(send_raw(path, text, (size_t)n + sizeof heads[i]) == 0);
    }
    CHECK(echo(good, 10, &e) == 0);
    sd_bus_flush_close_unref(good);
    return 0;
}

static void garbage_costs_only_the_connection(void **state)
{
    struct server *s = server_new(state);
    serve(s, client_garbage);
    assert_int_equal(s->calls, 2);
    s = server_again(s, state);
    serve(s, client_calls);
    server_free(s);
}

static int client_masses(const char *path)
{
    enum { MANY = BUS_PEERS_MAX + 40 };
    static int fds[MANY];
    struct err e = {0};
    sd_bus *bus = NULL;
    for (unsigned i = 0; i < MANY; i++)
        CHECK((fds[i] = raw_connect(path)) >= 0);
    /* The ones beyond the limit are shown the door. */
    char byte;
    CHECK(recv(fds[MANY - 1], &byte, 1, 0) == 0);
    int refused = 0;
    for (unsigned i = 0; i < MANY; i++)
        refused += recv(fds[i], &byte, 1, MSG_DONTWAIT) == 0;
    CHECK(refused == MANY - (int)BUS_PEERS_MAX);
    for (unsigned i = 0; i < MANY; i++)
        close(fds[i]);
    for (unsigned i = 0; i < 500; i++) {
        /* The server may still be busy with the masses' ends. */
        err_clear(&e);
        if (bus_client_open(path, NULL, &bus, &e) == 0 && echo(bus, 100, &e) == 0)
            break;
        sd_bus_flush_close_unref(bus);
        bus = NULL;
        usleep(2000);
    }
    CHECK(bus != NULL);
    for (unsigned i = 0; i < 200; i++) {
        sd_bus_flush_close_unref(bus);
        CHECK(bus_client_open(path, NULL, &bus, &e) == 0);
        CHECK(echo(bus, 100, &e) == 0);
    }
    sd_bus_flush_close_unref(bus);
    return 0;
}

static void masses(void **state)
{
    struct server *s = server_new(state);
    serve(s, client_masses);
    assert_true(s->calls >= 201);
    assert_true(s->gone >= BUS_PEERS_MAX + 200);
    server_free(s);
}

static int client_vanishes(const char *path)
{
    struct err e = {0};
    sd_bus *bus = NULL;
    sd_bus_message *m = NULL;
    CHECK(bus_client_open(path, NULL, &bus, &e) == 0);
    CHECK(sd_bus_message_new_method_call(bus, &m, NULL, OBJECT, INTERFACE, "Later") >= 0);
    CHECK(sd_bus_send(bus, m, NULL) >= 0);
    CHECK(sd_bus_flush(bus) >= 0);
    CHECK(echo(bus, 1, &e) == 0); /* the call before has arrived, too */
    return 0;                     /* _exit: no good-bye */
}

static void peer_vanishes_in_mid_call(void **state)
{
    struct server *s = server_new(state);
    serve(s, client_vanishes);
    assert_non_null(s->kept);
    sd_bus *peer = sd_bus_message_get_bus(s->kept);
    bus_server_close(&s->bus);
    assert_int_equal(s->gone, 1);
    assert_int_equal(
            sd_bus_is_open(peer), 0); /* the message keeps the object, not the connection */
    assert_true(sd_bus_reply_method_return(s->kept, "s", "too late") < 0);
    struct err e = {0};
    err_set(&e, ERR_QUOTA, "too late");
    assert_true(bus_reply_err(s->kept, &e) < 0);
    server_free(s);
}

static int client_left_alone(const char *path)
{
    struct err e = {0};
    sd_bus *bus = NULL;
    CHECK(bus_client_open(path, NULL, &bus, &e) == 0);
    CHECK(call(bus, "Close", 0, &e) == -1 && e.id == ERR_UNAVAILABLE);
    err_clear(&e);
    CHECK(echo(bus, 1, &e) == -1 && e.id == ERR_UNAVAILABLE);
    sd_bus_flush_close_unref(bus);
    err_clear(&e);
    CHECK(bus_client_open(path, NULL, &bus, &e) == -1 && e.id == ERR_UNAVAILABLE);
    return 0;
}

static enum err_id async_error;

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct err e = {0};
    (void)be;
    bus_err(&e, sd_bus_message_get_error(m), -sd_bus_message_get_errno(m));
    async_error = e.id;
    return sd_event_exit(userdata, 0);
}

static int call_async(const char *path, const char *method, uint64_t timeout_us)
{
    struct err e = {0};
    sd_event *event = NULL;
    sd_bus *bus = NULL;
    sd_bus_message *m = NULL;
    CHECK(sd_event_new(&event) >= 0);
    CHECK(bus_client_open(path, event, &bus, &e) == 0);
    CHECK(sd_bus_message_new_method_call(bus, &m, NULL, OBJECT, INTERFACE, method) >= 0);
    CHECK(sd_bus_call_async(bus, NULL, m, on_reply, event, timeout_us) >= 0);
    CHECK(sd_event_loop(event) == 0);
    sd_bus_message_unref(m);
    sd_bus_flush_close_unref(bus);
    sd_event_unref(event);
    return 0;
}

static int client_async(const char *path)
{
    CHECK(call_async(path, "NoSuchMethod", 0) == 0 && async_error == ERR_PROTOCOL);
    CHECK(call_async(path, "Later", 50000) == 0 && async_error == ERR_TIMEOUT);
    CHECK(call_async(path, "Close", 0) == 0 && async_error == ERR_UNAVAILABLE);
    return 0;
}

static void server_goes_away(void **state)
{
    struct server *s = server_new(state);
    serve(s, client_left_alone);
    assert_int_equal(s->gone, 1);
    s = server_again(s, state);
    serve(s, client_async);
    server_free(s);
}

static int client_other_user(const char *path)
{
    struct err e = {0};
    sd_bus *bus = NULL;
    CHECK(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
    int r = bus_client_open(path, NULL, &bus, &e);
    if (r == 0)
        r = echo(bus, 1, &e);
    return r == 0 ? 100 : (int)e.id;
}

static int client_denied(const char *path)
{
    CHECK(client_other_user(path) == ERR_DENIED);
    return 0;
}

static int client_cut_off(const char *path)
{
    CHECK(client_other_user(path) == ERR_UNAVAILABLE);
    return 0;
}

static int client_let_in(const char *path)
{
    CHECK(client_other_user(path) == 100);
    return 0;
}

static void wrong_users_stay_outside(void **state)
{
    if (geteuid() != 0) {
        print_message("not root: cannot play another user\n");
        skip();
    }
    struct server *s = server_new(state);
    struct err e = {0};
    assert_int_equal(chmod(*state, 0755), 0);
    serve(s, client_denied); /* 0660 */
    s = server_again(s, state);
    assert_int_equal(chmod(s->path, 0666), 0); /* even with a careless administrator */
    serve(s, client_cut_off);
    assert_int_equal(s->calls, 0);
    s = server_again(s, state);
    bus_server_close(&s->bus);
    assert_ok(open_door(s, NOBODY, &e), &e);
    assert_int_equal(chmod(s->path, 0666), 0);
    serve(s, client_let_in);
    assert_int_equal(s->calls, 1);
    server_free(s);
}

static void live_and_dead_sockets(void **state)
{
    struct server *s = server_new(state), other = {0};
    struct err e = {0};
    struct stat st;
    assert_int_equal(stat(s->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0660);
    other.event = s->event;
    memcpy(other.path, s->path, sizeof other.path);
    assert_err(open_door(&other, 0, &e), &e, ERR_EXISTS);
    assert_int_equal(stat(s->path, &st), 0); /* and the live one stays */
    bus_server_close(&s->bus);
    assert_int_equal(stat(s->path, &st), -1);

    struct sockaddr_un a = {.sun_family = AF_UNIX};
    memcpy(a.sun_path, s->path, sizeof a.sun_path);
    int dead = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(dead, (struct sockaddr *)&a, sizeof a), 0);
    close(dead);
    assert_ok(open_door(s, 0, &e), &e);
    bus_server_close(&s->bus);

    assert_ok(file_write(s->path, "mine", 4, 0600, &e), &e);
    assert_err(open_door(s, 0, &e), &e, ERR_EXISTS);
    assert_int_equal(stat(s->path, &st), 0);
    assert_int_equal(st.st_size, 4);
    sd_bus *bus = NULL;
    assert_err(bus_client_open(s->path, NULL, &bus, &e), &e, ERR_UNAVAILABLE);
    assert_err(bus_client_open("/nonexistent/x.sock", NULL, &bus, &e), &e, ERR_UNAVAILABLE);
    memset(s->path + 1, 'x', 200);
    s->path[200] = '\0';
    assert_err(open_door(s, 0, &e), &e, ERR_CONFIG);
    assert_err(bus_client_open(s->path, NULL, &bus, &e), &e, ERR_CONFIG);
    server_free(s);
}

/* Takes descriptor 3 as systemd passes it; the socket file is systemd's and stays. */
static int passed_socket_is_used(const char *path)
{
    struct server s = {0};
    struct err e = {0};
    struct stat st;
    char pid[20];
    CHECK(unlink(path) == 0); /* the parent's */
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 5) == 0);
    CHECK(dup2(fd, SD_LISTEN_FDS_START) == SD_LISTEN_FDS_START);
    if (fd != SD_LISTEN_FDS_START)
        close(fd);
    snprintf(pid, sizeof pid, "%d", getpid());
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", "1", 1);
    snprintf(s.path, sizeof s.path, "%s", path);
    CHECK(sd_event_new(&s.event) >= 0);
    CHECK(open_door(&s, 0, &e) == 0);
    CHECK((fcntl(SD_LISTEN_FDS_START, F_GETFL) & O_NONBLOCK) != 0);
    int peer = raw_connect(path);
    CHECK(peer >= 0);
    for (int i = 0; i < 20; i++)
        CHECK(sd_event_run(s.event, 1000) >= 0);
    close(peer);
    for (int i = 0; i < 20; i++)
        CHECK(sd_event_run(s.event, 1000) >= 0);
    CHECK(s.gone == 1);
    bus_server_close(&s.bus);
    CHECK(stat(path, &st) == 0);
    sd_event_unref(s.event);
    return 0;
}

static void socket_activation(void **state)
{
    struct server *s = server_new(state);
    serve(s, passed_socket_is_used);
    server_free(s);
}

static int free_descriptors(sd_event_source *source, uint64_t usec, void *userdata)
{
    const struct rlimit *old = userdata;
    (void)source;
    (void)usec;
    return setrlimit(RLIMIT_NOFILE, old);
}

static int client_echo(const char *path)
{
    struct err e = {0};
    sd_bus *bus = NULL;
    CHECK(bus_client_open(path, NULL, &bus, &e) == 0);
    CHECK(echo(bus, 1, &e) == 0);
    sd_bus_flush_close_unref(bus);
    return 0;
}

/* With no descriptor left the loop rests instead of spinning, and goes on once there are some. */
static void out_of_descriptors(void **state)
{
    struct server *s = server_new(state);
    struct rlimit old;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    pid_t pid = fork(); /* before the limit: the client needs descriptors of its own */
    if (pid == 0)
        _exit(client_echo(s->path));
    int result = -1;
    assert_true(sd_event_add_child(s->event, NULL, pid, WEXITED, on_child, &result) >= 0);
    assert_true(sd_event_add_time_relative(
                        s->event, NULL, CLOCK_MONOTONIC, 100000, 0, free_descriptors, &old) >= 0);
    int next = dup(0); /* the lowest free one: from here on none is */
    close(next);
    const struct rlimit none = {(rlim_t)next, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    unsigned turns = 0;
    while (sd_event_get_state(s->event) != SD_EVENT_FINISHED && turns < 1000) {
        assert_true(sd_event_run(s->event, 5000000) >= 0);
        turns++;
    }
    assert_int_equal(result, 0);
    assert_true(turns < 200);
    setrlimit(RLIMIT_NOFILE, &old);
    server_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            scratch_test(calls_and_errors),
            cmocka_unit_test(foreign_errors_are_mapped),
            scratch_test(garbage_costs_only_the_connection),
            scratch_test(masses),
            scratch_test(peer_vanishes_in_mid_call),
            scratch_test(server_goes_away),
            scratch_test(wrong_users_stay_outside),
            scratch_test(live_and_dead_sockets),
            scratch_test(socket_activation),
            scratch_test(out_of_descriptors),
    };
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD); /* sd-event asks for it */
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    setenv("KEYLINE_LOG", "error", 0);
    log_open("test-base-bus");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
