/* Daemons: what daemon_init() promises, seen from outside a real process. */
#include "base_test.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/daemon.h"
#include "base/err.h"

/* daemon.c leaves a process that LeakSanitizer watches open to tracing. */
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* The socket that stands for systemd's; its path goes into $NOTIFY_SOCKET. */
static int listen_for_notes(void **state)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    const struct timeval limit = {.tv_sec = 10};
    snprintf(a.sun_path, sizeof a.sun_path, "%.90s/notify", (const char *)*state);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    setenv("NOTIFY_SOCKET", a.sun_path, 1);
    return fd;
}

static void await_note(int fd, const char *want)
{
    char note[256];
    ssize_t n;
    do {
        n = recv(fd, note, sizeof note - 1, 0);
        if (n < 0)
            fail_msg("no %s came", want);
        note[n] = '\0';
    } while (strcmp(note, want) != 0);
}

static int await_end(pid_t pid)
{
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* A daemon that does nothing until it is told to end. */
static pid_t start_daemon(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct err e = {0};
        sd_event *event = NULL;
        if (daemon_init("test-daemon", &event, &e) < 0)
            _exit(99);
        int r = daemon_run(event);
        sd_event_unref(event);
        _exit(r);
    }
    assert_true(pid > 0);
    return pid;
}

static void ends_in_order(void **state)
{
    static const int signals[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < 2; i++) {
        int fd = listen_for_notes(state);
        pid_t pid = start_daemon();
        await_note(fd, "READY=1");
        assert_int_equal(kill(pid, signals[i]), 0);
        await_note(fd, "STOPPING=1");
        assert_int_equal(await_end(pid), 0);
        close(fd);
        unlink(scratch_path(state, "notify"));
    }
    unsetenv("NOTIFY_SOCKET");
}

static void feeds_the_watchdog(void **state)
{
    int fd = listen_for_notes(state);
    setenv("WATCHDOG_USEC", "100000", 1);
    pid_t pid = start_daemon();
    unsetenv("WATCHDOG_USEC");
    await_note(fd, "READY=1");
    await_note(fd, "WATCHDOG=1");
    await_note(fd, "WATCHDOG=1");
    kill(pid, SIGTERM);
    assert_int_equal(await_end(pid), 0);
    unsetenv("NOTIFY_SOCKET");
    close(fd);
}

static int check_process(void)
{
    struct err e = {0};
    struct rlimit limit;
    int ends[2];
    if (daemon_init("test-daemon", NULL, &e) < 0)
        return 1;
    if (getrlimit(RLIMIT_CORE, &limit) < 0 || limit.rlim_cur != 0 || limit.rlim_max != 0)
        return 2;
    if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != SANITIZED)
        return 3;
    if (umask(0) != 027)
        return 4;
    if (pipe(ends) < 0)
        return 5;
    close(ends[0]);
    if (write(ends[1], "x", 1) != -1 || errno != EPIPE)
        return 6;
    return 0;
}

static void process_is_closed_up(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0)
        _exit(check_process());
    assert_int_equal(await_end(pid), 0);
}

/* slotd only blocks: SIGTERM must end it at once, whatever it waits for. */
static void blocking_processes_die_at_once(void **state)
{
    int ready[2];
    char byte;
    (void)state;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct err e = {0};
        if (daemon_init("test-slotd", NULL, &e) < 0 || write(ready[1], "r", 1) != 1)
            _exit(99);
        for (;;)
            pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    kill(pid, SIGTERM);
    int status = await_end(pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

/* The supervisor starts a daemon, sees it run, and is killed; the daemon must end, in order. */
static void ends_with_its_supervisor(void **state)
{
    static const char *const forms[] = {NULL, "1"}; /* the process id; just yes */
    for (size_t i = 0; i < 2; i++) {
        int fd = listen_for_notes(state), alive[2];
        char byte;
        assert_int_equal(pipe(alive), 0);
        pid_t supervisor = fork();
        if (supervisor == 0) {
            char id[20];
            snprintf(id, sizeof id, "%d", getpid());
            setenv("KEYLINE_SUPERVISED", forms[i] != NULL ? forms[i] : id, 1);
            start_daemon(); /* holds the pipe's end as long as it lives */
            close(alive[1]);
            for (;;)
                pause();
        }
        close(alive[1]);
        await_note(fd, "READY=1");
        struct pollfd p = {.fd = alive[0], .events = POLLIN};
        assert_int_equal(poll(&p, 1, 50), 0);
        kill(supervisor, SIGKILL);
        await_end(supervisor);
        await_note(fd, "STOPPING=1");
        assert_int_equal(poll(&p, 1, 10000), 1);
        assert_int_equal(read(alive[0], &byte, 1), 0);
        close(alive[0]);
        close(fd);
        unlink(scratch_path(state, "notify"));
    }
    unsetenv("NOTIFY_SOCKET");
}

static void refuses_to_outlive_a_dead_supervisor(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        struct err e = {0};
        sd_event *event = NULL;
        setenv("KEYLINE_SUPERVISED", "999999999", 1); /* beyond pid_max: nobody's */
        int r = daemon_init("test-daemon", &event, &e);
        _exit(r == -1 && e.id == ERR_UNAVAILABLE && event == NULL ? 0 : 1);
    }
    assert_int_equal(await_end(pid), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            scratch_test(ends_in_order),
            scratch_test(feeds_the_watchdog),
            cmocka_unit_test(process_is_closed_up),
            cmocka_unit_test(blocking_processes_die_at_once),
            scratch_test(ends_with_its_supervisor),
            cmocka_unit_test(refuses_to_outlive_a_dead_supervisor),
    };
    unsetenv("KEYLINE_SUPERVISED");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
