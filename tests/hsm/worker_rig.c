/* A signerd-token of one's own. */
#include "tests/hsm/worker_rig.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define END_MS 5000

extern char **environ;

void rig_start(struct worker_rig *r)
{
    char *argv[] = {(char *)(uintptr_t)SIGNERD_TOKEN, NULL};
    posix_spawn_file_actions_t actions;
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pair[1], WIRE_FD);
    posix_spawn_file_actions_addclosefrom_np(&actions, WIRE_FD + 1);
    assert_int_equal(posix_spawn(&r->pid, argv[0], &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(pair[1]);
    r->fd = pair[0];
    r->sequence = 0;
}

int rig_ask(struct worker_rig *r, enum wire_op op, int alg, const void *bytes, size_t len,
        struct err *e)
{
    struct pollfd p = {r->fd, POLLIN, 0};
    struct wire_packet *w = &r->packet;

    *w = (struct wire_packet){
            .op = (uint8_t)op, .alg = (uint8_t)alg, .sequence = ++r->sequence, .len = len};
    if (len)
        memcpy(w->body, bytes, len);
    if (wire_send(r->fd, w, e) < 0)
        return -1;
    if (poll(&p, 1, RIG_DEADLINE_MS) != 1)
        return err_set(e, ERR_TIMEOUT, "no answer from the worker");
    if (wire_receive(r->fd, w, e) < 0)
        return -1;
    assert_int_equal(w->sequence, r->sequence);
    if (w->error)
        return err_set_code(e, w->error, (long)w->code, "%.*s", (int)w->len, (char *)w->body);
    return 0;
}

int rig_stop(struct worker_rig *r)
{
    int status;

    close(r->fd);
    for (int ms = 0; ms < END_MS; ms++) {
        if (waitpid(r->pid, &status, WNOHANG) == r->pid)
            return status;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    kill(r->pid, SIGKILL);
    waitpid(r->pid, &status, 0);
    return -1;
}
