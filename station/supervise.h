/* Runs the appliance where there is no systemd: signerd, then jobd, syncd and one slotd a slot. Starts them, starts
 * them again when they end (sooner the first time, never giving up), stops them in order, and leaves none behind, not
 * even when it is killed itself. It touches only processes it started. Single-threaded; blocks SIGCHLD, SIGTERM, SIGINT
 * and SIGHUP in the calling process. Children write their log to their own stderr, see log_dir. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include "base/config.h"
#include "base/err.h"
#include "base/paths.h"

enum supervise_state {
    SUPERVISE_IDLE,     /* not started yet, or stopped for good */
    SUPERVISE_STARTING, /* runs, not READY yet */
    SUPERVISE_READY,
    SUPERVISE_BACKOFF, /* ended by itself; is started again after a pause */
    SUPERVISE_STOPPING,
};
const char *supervise_state_name(enum supervise_state s); /* "idle" ... */

/* What on_change is told about one child; borrowed for the call. */
struct supervise_child {
    const char *name; /* "signerd", "jobd", "syncd", "slotd 01" */
    enum supervise_state state;
    pid_t pid; /* 0: none */
    unsigned restarts;
    const char *detail; /* why it ended: "killed by signal 9", "exit status 1"; else "" */
};

struct supervise_options {
    const struct paths *paths;
    const struct config_slot *slots; /* from config_slots(); a slotd each */
    size_t slot_count;
    unsigned auto_slots;     /* further slots 01..NN (at most SLOT_AUTO_MAX), ... */
    const char *auto_ports;  /* ... with the ports auto_ports/slot01 ..; driver and baud below */
    const char *auto_driver; /* NULL: "keyline" */
    unsigned auto_baud;      /* 0: SLOT_BAUD_DEFAULT */
    bool sync;               /* start syncd: when [upstream] url is set */
    const char *log_level;   /* $KEYLINE_LOG of the children; NULL: as inherited */
    const char *log_dir;     /* a file NAME.log a child, appended; NULL: our own stderr */
    const char *program_dir; /* where the programs lie; NULL: paths_program() */
    void (*on_change)(void *ctx, const struct supervise_child *child, size_t ready,
            size_t total); /* may be NULL */
    void *ctx;
};

/* Runs until SIGTERM, SIGINT or SIGHUP, stops everything, returns 0. -1 before anything was started: ERR_BAD_STATE when
 * the appliance already runs in this root, ERR_EXISTS when a slot's name is used twice, ERR_ARGUMENT, ERR_IO. */
int supervise_run(const struct supervise_options *o, struct err *e);
