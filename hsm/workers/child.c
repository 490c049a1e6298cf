/* Helper processes. Promises that one starts with its socket and standard streams alone: the ledger
 * and the doors are none of its business. Whoever started it watches and ends it. */
#include "hsm/workers/child.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/err.h"
#include "hsm/workers/wire.h"

extern char **environ;

static int spawn(const char *program, const char *argument, int fd, pid_t *ret_pid, struct err *e)
{
    char *argv[] = {(char *)(uintptr_t)program, (char *)(uintptr_t)argument, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none;
    int r;

    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    /* the event loop blocks signals: a child must die of them */
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    posix_spawn_file_actions_adddup2(&actions, fd, WIRE_FD);
    posix_spawn_file_actions_addclosefrom_np(&actions, WIRE_FD + 1);
    r = posix_spawn(ret_pid, program, &actions, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    return r ? err_set_errno(e, r, "start %s", program) : 0;
}

int child_spawn(
        const char *program, const char *argument, pid_t *ret_pid, int *ret_fd, struct err *e)
{
    pid_t pid;
    int pair[2], r;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_set_errno(e, errno, "make a socket for %s", program);
    r = fcntl(pair[0], F_SETFL, O_NONBLOCK) < 0
                ? err_set_errno(e, errno, "prepare the socket of %s", program)
                : spawn(program, argument, pair[1], &pid, e);
    close(pair[1]);
    if (r < 0) {
        close(pair[0]);
        return -1;
    }
    *ret_pid = pid;
    *ret_fd = pair[0];
    return 0;
}
