/* What every process of ours does first and last: log, no core files, umask, SIGTERM/SIGINT end the loop in order,
 * SIGPIPE ignored, and it ends when its supervisor dies: PR_SET_PDEATHSIG when $KEYLINE_SUPERVISED is set, best to the
 * supervisor's process id, which also tells whether it has died already; "1" just means yes. */
#pragma once
#include <systemd/sd-event.h>

struct err;

/* program: the log's name. ret_event may be NULL for processes that only block (slotd): then SIGTERM and SIGINT
 * keep their default action. */
int daemon_init(const char *program, sd_event **ret_event, struct err *e);
/* The same for a daemon that has something to finish: SIGTERM and SIGINT call on_end, which ends the loop when that is done. */
int daemon_init_ending(const char *program, sd_event_signal_handler_t on_end, void *ctx,
        sd_event **ret_event, struct err *e);
/* sd_notify(READY=1), watchdog when systemd asks for one, then the loop; returns the exit status. */
int daemon_run(sd_event *event);
