/* A helper process of signerd's at the other end of a wire (wire.h): signerd-token, signerd-key. */
#pragma once
#include <sys/types.h>

struct err;

/* Starts the program with one argument, or none (NULL), and the socket as its descriptor WIRE_FD; it gets nothing else that
 * is open here, and no signal is blocked in it. *ret_fd, this side, does not block. Nothing is left behind by a failure. */
int child_spawn(
        const char *program, const char *argument, pid_t *ret_pid, int *ret_fd, struct err *e);
