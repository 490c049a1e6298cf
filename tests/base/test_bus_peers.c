/* The bus's door: peers that send garbage, come in masses or have the wrong uid lose only their own
 * connection; a live socket is never taken over; no descriptors left is no end. */
#include "bus_test.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include "base/file.h"

#define NOBODY 65534

static int client_echo(const char *path)
{
    struct err e = {0};
    sd_bus *bus = NULL;
    CHECK(bus_client_open(path, NULL, &bus, &e) == 0);
    CHECK(echo(bus, 1, &e) == 0);
    sd_bus_flush_close_unref(bus);
    return 0;
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
    serve(s, client_echo);
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

static int ignore(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    (void)m, (void)userdata, (void)be;
    return 0;
}

/* Asks and never reads an answer. */
static int client_deaf(const char *path)
{
    struct err e = {0};
    sd_bus *deaf = NULL, *good = NULL;
    unsigned sent = 0;
    int r = 0;
    CHECK(bus_client_open(path, NULL, &deaf, &e) == 0);
    CHECK(bus_client_open(path, NULL, &good, &e) == 0);
    for (; r >= 0 && sent < 20 * BUS_ANSWERS_MAX; sent++) {
        sd_bus_message *m = NULL;
        static const uint8_t bytes[1000];
        CHECK(sd_bus_message_new_method_call(deaf, &m, NULL, OBJECT, INTERFACE, "Echo") >= 0);
        CHECK(sd_bus_message_append_array(m, 'y', bytes, sizeof bytes) >= 0);
        r = sd_bus_call_async(deaf, NULL, m, ignore, NULL, UINT64_MAX);
        if (r >= 0)
            r = sd_bus_flush(deaf);
        sd_bus_message_unref(m);
    }
    CHECK(r < 0 && sent > BUS_ANSWERS_MAX);
    CHECK(echo(good, 1000, &e) == 0);
    sd_bus_close_unref(deaf);
    sd_bus_flush_close_unref(good);
    return 0;
}

/* Who fills our memory with what it was told is shown the door; nobody else notices. */
static void a_deaf_peer_is_dropped(void **state)
{
    struct server *s = server_new(state);
    serve(s, client_deaf);
    assert_true(s->calls > BUS_ANSWERS_MAX);
    assert_true(s->calls < 10 * BUS_ANSWERS_MAX);
    assert_true(s->gone >= 1);
    s = server_again(s, state);
    serve(s, client_echo);
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

/* A stopped process: the kernel takes the connection for it, and no word ever comes. */
static void a_server_that_hangs_is_given_up(void **state)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct err e = {0};
    sd_bus *bus = NULL;
    snprintf(a.sun_path, sizeof a.sun_path, "%s/hung.sock", (const char *)*state);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 5), 0);
    assert_err(bus_client_open(a.sun_path, NULL, &bus, &e), &e, ERR_TIMEOUT);
    close(fd);
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
            scratch_test(garbage_costs_only_the_connection),
            scratch_test(masses),
            scratch_test(a_deaf_peer_is_dropped),
            scratch_test(wrong_users_stay_outside),
            scratch_test(live_and_dead_sockets),
            scratch_test(a_server_that_hangs_is_given_up),
            scratch_test(socket_activation),
            scratch_test(out_of_descriptors),
    };
    bus_test_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
