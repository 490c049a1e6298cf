/* The foreground supervisor. Promises: every child it starts dies with it, is started again when it
 * ends by itself, and is stopped in order: slots first, the signer last. It signals only pids it
 * forked and has not yet reaped. Never holds a device, the registry or a key itself. */
#include "station/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <systemd/sd-event.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"

#define MS       UINT64_C(1000) /* sd-event counts microseconds */
#define ARGS_MAX 12

/* The order of starting; stopping goes backwards. */
enum rank { RANK_SIGNER, RANK_JOBS, RANK_SYNC, RANK_SLOT, RANK_COUNT };

struct child {
    struct supervisor *supervisor;
    enum rank rank;
    char name[NAME_BYTES_MAX + 8];
    char program[PATH_MAX];
    char *args[ARGS_MAX]; /* owned but for args[0] */
    enum supervise_state state;
    pid_t pid;
    unsigned restarts, backoff_ms;
    int64_t ready_since_ms;
    char detail[64];
    sd_event_source *exit, *timer;
};

struct supervisor {
    const struct supervise_options *o;
    sd_event *event;
    int lock_fd, notify_fd;
    struct sockaddr_un notify_address;
    socklen_t notify_len;
    struct child *children;
    size_t count;
    bool released[RANK_COUNT]; /* ranks that may run */
    bool stopping;
    enum rank stop_rank;
    sd_event_source *grace, *kill_timer;
};

static void child_start(struct child *c);
static void stop_next(struct supervisor *s);

const char *supervise_state_name(enum supervise_state s)
{
    static const char *const names[] = {"idle", "starting", "ready", "backoff", "stopping"};
    return (size_t)s < sizeof names / sizeof *names ? names[s] : "?";
}

static void set_state(struct child *c, enum supervise_state state)
{
    const struct supervise_options *o = c->supervisor->o;
    size_t ready = 0;
    c->state = state;
    if (!o->on_change)
        return;
    for (size_t i = 0; i < c->supervisor->count; i++)
        ready += c->supervisor->children[i].state == SUPERVISE_READY;
    struct supervise_child told = {.name = c->name,
            .state = state,
            .pid = c->pid,
            .restarts = c->restarts,
            .detail = c->detail};
    o->on_change(o->ctx, &told, ready, c->supervisor->count);
}

/* --- starting --- */

/* One shot, replacing what *source held. */
static int arm(struct supervisor *s, sd_event_source **source, unsigned ms,
        sd_event_time_handler_t handler, void *userdata)
{
    *source = sd_event_source_disable_unref(*source);
    return sd_event_add_time_relative(
            s->event, source, CLOCK_MONOTONIC, ms * MS, MS, handler, userdata);
}

static void release(struct supervisor *s, enum rank rank)
{
    if (s->released[rank] || s->stopping)
        return;
    s->released[rank] = true;
    for (size_t i = 0; i < s->count; i++)
        if (s->children[i].rank == rank)
            child_start(&s->children[i]);
}

static int on_grace(sd_event_source *source, uint64_t usec, void *userdata)
{
    (void)source, (void)usec;
    release(userdata, RANK_JOBS);
    return 0;
}

/* Where the child's stderr goes. Opened in the parent, where a failure can still be reported. */
static int open_log(const struct child *c)
{
    const char *dir = c->supervisor->o->log_dir;
    char path[PATH_MAX];
    if (!dir)
        return dup(STDERR_FILENO);
    snprintf(path, sizeof path, "%s/%s.log", dir, c->name);
    for (char *p = path + strlen(dir) + 1; *p; p++)
        if (*p == ' ')
            *p = '-';
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
}

static _Noreturn void become(const struct child *c, pid_t parent, int log_fd)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setpgid(0, 0); /* Ctrl-C is for the supervisor, which stops us in order */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) /* it died before the line above */
        _exit(EXIT_FAILURE);
    int null = open("/dev/null", O_RDWR);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
            dup2(log_fd, STDERR_FILENO) < 0 || close_range(3, ~0u, 0) < 0)
        _exit(EXIT_FAILURE);
    execv(c->program, c->args);
    dprintf(STDERR_FILENO, "%s: %s\n", c->program, strerror(errno));
    _exit(127);
}

static int set_environment(const struct supervisor *s)
{
    char address[sizeof s->notify_address.sun_path + 1] = "@"; /* an abstract socket */
    char self[16];
    snprintf(self, sizeof self, "%d", (int)getpid());
    memcpy(address + 1, s->notify_address.sun_path + 1,
            s->notify_len - offsetof(struct sockaddr_un, sun_path) - 1);
    if (setenv("NOTIFY_SOCKET", address, 1) || setenv("KEYLINE_SUPERVISED", self, 1))
        return -1;
    return s->o->log_level ? setenv("KEYLINE_LOG", s->o->log_level, 1) : 0;
}

static int on_restart(sd_event_source *source, uint64_t usec, void *userdata)
{
    (void)source, (void)usec;
    child_start(userdata);
    return 0;
}

static void back_off(struct child *c)
{
    struct supervisor *s = c->supervisor;
    if (s->stopping) {
        set_state(c, SUPERVISE_IDLE);
        return;
    }
    set_state(c, SUPERVISE_BACKOFF);
    arm(s, &c->timer, c->backoff_ms, on_restart, c);
    c->backoff_ms =
            c->backoff_ms * 2 > SUPERVISE_BACKOFF_MS ? SUPERVISE_BACKOFF_MS : c->backoff_ms * 2;
}

static void describe_exit(struct child *c, const siginfo_t *si)
{
    if (si->si_code == CLD_EXITED)
        snprintf(c->detail, sizeof c->detail, "exit status %d", si->si_status);
    else
        snprintf(c->detail, sizeof c->detail, "killed by signal %d", si->si_status);
}

static int on_exit_of_child(sd_event_source *source, const siginfo_t *si, void *userdata)
{
    struct child *c = userdata;
    struct supervisor *s = c->supervisor;
    (void)source;
    if (c->state == SUPERVISE_READY &&
            time_monotonic_ms() - c->ready_since_ms >= SUPERVISE_HEALTHY_MS)
        c->backoff_ms = SUPERVISE_FIRST_MS;
    describe_exit(c, si);
    c->exit = sd_event_source_disable_unref(c->exit);
    c->pid = 0;
    if (s->stopping) {
        set_state(c, SUPERVISE_IDLE);
        stop_next(s);
        return 0;
    }
    log_warning("ended", LOG_STR("program", c->name), LOG_STR("why", c->detail),
            LOG_NUM("restarts", c->restarts));
    c->restarts++;
    back_off(c);
    return 0;
}

static void child_start(struct child *c)
{
    struct supervisor *s = c->supervisor;
    pid_t self = getpid();
    int log_fd = open_log(c);
    pid_t pid = log_fd < 0 ? -1 : fork();
    if (pid == 0)
        become(c, self, log_fd);
    if (log_fd >= 0)
        close(log_fd);
    if (pid < 0) {
        snprintf(c->detail, sizeof c->detail, "cannot be started: %s", strerror(errno));
        back_off(c);
        return;
    }
    c->pid = pid;
    int r = sd_event_add_child(s->event, &c->exit, pid, WEXITED, on_exit_of_child, c);
    if (r < 0) { /* unwatched it would be a stray: not kept */
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        c->pid = 0;
        snprintf(c->detail, sizeof c->detail, "cannot be watched: %s", strerror(-r));
        back_off(c);
        return;
    }
    set_state(c, SUPERVISE_STARTING);
}

/* --- READY=1 --- */

static void child_ready(struct supervisor *s, pid_t pid)
{
    for (size_t i = 0; i < s->count; i++) {
        struct child *c = &s->children[i];
        if (c->pid != pid || c->state != SUPERVISE_STARTING)
            continue;
        c->ready_since_ms = time_monotonic_ms();
        set_state(c, SUPERVISE_READY);
        if (c->rank == RANK_SIGNER)
            release(s, RANK_JOBS);
        return;
    }
}

static bool says_ready(const char *text)
{
    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (strncmp(line, "READY=1", 7) == 0 && (line[7] == '\n' || line[7] == '\0'))
            return true;
    return false;
}

/* The kernel says who sent it: a child can speak only for itself, and nobody else for a child. */
static pid_t sender(struct msghdr *m)
{
    pid_t pid = 0;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
        if (h->cmsg_level != SOL_SOCKET)
            continue;
        if (h->cmsg_type == SCM_CREDENTIALS && h->cmsg_len == CMSG_LEN(sizeof(struct ucred))) {
            struct ucred cred;
            memcpy(&cred, CMSG_DATA(h), sizeof cred);
            pid = cred.pid;
        } else if (h->cmsg_type == SCM_RIGHTS) { /* nobody asked for descriptors */
            for (size_t at = CMSG_LEN(0); at + sizeof(int) <= h->cmsg_len; at += sizeof(int)) {
                int fd;
                memcpy(&fd, (const char *)h + at, sizeof fd);
                close(fd);
            }
        }
    }
    return pid;
}

static int on_notify(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    char text[1024];
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(16 * sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = text, .iov_len = sizeof text - 1};
    struct msghdr m = {.msg_iov = &iov,
            .msg_iovlen = 1,
            .msg_control = &control,
            .msg_controllen = sizeof control};
    (void)source, (void)events;
    ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0)
        return 0;
    pid_t pid = sender(&m);
    text[n] = '\0';
    if (pid > 0 && !(m.msg_flags & MSG_TRUNC) && says_ready(text))
        child_ready(userdata, pid);
    return 0;
}

static int open_notify(struct supervisor *s, struct err *e)
{
    static const int on = 1;
    struct sockaddr_un any = {.sun_family = AF_UNIX};
    s->notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    s->notify_len = sizeof s->notify_address;
    /* An address of the family's size alone: the kernel picks a free abstract name. */
    if (s->notify_fd < 0 || setsockopt(s->notify_fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) ||
            bind(s->notify_fd, (struct sockaddr *)&any, sizeof any.sun_family) ||
            getsockname(s->notify_fd, (struct sockaddr *)&s->notify_address, &s->notify_len))
        return err_set_errno(e, errno, "opening the notify socket");
    int r = sd_event_add_io(s->event, NULL, s->notify_fd, EPOLLIN, on_notify, s);
    return r < 0 ? err_set_errno(e, -r, "watching the notify socket") : 0;
}

/* --- stopping --- */

static int on_stop_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct supervisor *s = userdata;
    (void)source, (void)usec;
    for (size_t i = 0; i < s->count; i++)
        if (s->children[i].pid && s->children[i].rank == s->stop_rank) {
            log_warning("killed", LOG_STR("program", s->children[i].name),
                    LOG_STR("why", "it did not stop in time"));
            kill(s->children[i].pid, SIGKILL);
        }
    return 0;
}

/* Goes on to the next rank once the present one is gone; ends the loop after the last. */
static void stop_next(struct supervisor *s)
{
    for (;;) {
        bool fresh = false, alive = false;
        for (size_t i = 0; i < s->count; i++) {
            struct child *c = &s->children[i];
            if (c->rank != s->stop_rank || !c->pid)
                continue;
            alive = true;
            if (c->state != SUPERVISE_STOPPING) {
                kill(c->pid, SIGTERM); /* ours and not reaped: the pid cannot be another's */
                set_state(c, SUPERVISE_STOPPING);
                fresh = true;
            }
        }
        if (fresh)
            arm(s, &s->kill_timer, SUPERVISE_STOP_MS, on_stop_timeout, s);
        if (alive)
            return;
        if (s->stop_rank == RANK_SIGNER) {
            sd_event_exit(s->event, 0);
            return;
        }
        s->stop_rank--;
    }
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata)
{
    struct supervisor *s = userdata;
    (void)source, (void)si;
    if (s->stopping) { /* asked twice: the present rank at once */
        on_stop_timeout(NULL, 0, s);
        return 0;
    }
    s->stopping = true;
    s->stop_rank = RANK_SLOT;
    s->grace = sd_event_source_disable_unref(s->grace);
    for (size_t i = 0; i < s->count; i++) {
        s->children[i].timer = sd_event_source_disable_unref(s->children[i].timer);
        if (!s->children[i].pid)
            s->children[i].state = SUPERVISE_IDLE;
    }
    stop_next(s);
    return 0;
}

static int watch_signals(struct supervisor *s, struct err *e)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaddset(&set, signals[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        int r = sd_event_add_signal(s->event, NULL, signals[i], on_signal, s);
        if (r < 0)
            return err_set_errno(e, -r, "watching signals");
    }
    return 0;
}

/* --- what there is to run --- */

/* option: "--slot=" and such, or "" for the program itself. */
static int add_arg(struct child *c, const char *option, const char *value, struct err *e)
{
    size_t n = 0;
    while (c->args[n])
        n++;
    if (n + 1 >= ARGS_MAX || asprintf(&c->args[n], "%s%s", option, value) < 0) {
        c->args[n] = NULL;
        return err_set(e, ERR_NOMEM, "no memory for the command line of %s", c->name);
    }
    return 0;
}

static struct child *add_child(
        struct supervisor *s, enum rank rank, const char *program, const char *slot, struct err *e)
{
    struct child *c = &s->children[s->count];
    *c = (struct child){.supervisor = s, .rank = rank, .backoff_ms = SUPERVISE_FIRST_MS};
    snprintf(c->name, sizeof c->name, "%s%s%s", program, slot ? " " : "", slot ? slot : "");
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->children[i].name, c->name) == 0) {
            err_set(e, ERR_EXISTS, "there are two slots '%s': give each a name of its own", slot);
            return NULL;
        }
    if (s->o->program_dir)
        snprintf(c->program, sizeof c->program, "%s/%s", s->o->program_dir, program);
    else
        paths_program(program, c->program);
    s->count++;
    if (access(c->program, X_OK)) {
        err_set_errno(e, errno, "%s", c->program);
        return NULL;
    }
    return add_arg(c, "", c->program, e) ? NULL : c;
}

static int add_slot(struct supervisor *s, const struct config_slot *slot, struct err *e)
{
    char baud[16];
    snprintf(baud, sizeof baud, "%u", slot->baud);
    if (!name_valid(slot->name, strlen(slot->name)))
        return err_set(
                e, ERR_ARGUMENT, "a slot's name is 1 to %u bytes without '/'", NAME_BYTES_MAX);
    struct child *c = add_child(s, RANK_SLOT, "slotd", slot->name, e);
    return !c || add_arg(c, "--slot=", slot->name, e) || add_arg(c, "--port=", slot->port, e) ||
                           add_arg(c, "--driver=", slot->driver, e) ||
                           add_arg(c, "--baud=", baud, e)
                   ? -1
                   : 0;
}

static int add_children(struct supervisor *s, struct err *e)
{
    const struct supervise_options *o = s->o;
    if (o->auto_slots > SLOT_AUTO_MAX || (o->auto_slots && !o->auto_ports))
        return err_set(e, ERR_ARGUMENT, "0 to %u automatic slots, and a directory for their ports",
                SLOT_AUTO_MAX);
    s->children = calloc(RANK_SLOT + o->slot_count + o->auto_slots, sizeof *s->children);
    if (!s->children)
        return err_set(e, ERR_NOMEM, "no memory for %zu slots", o->slot_count + o->auto_slots);
    if (!add_child(s, RANK_SIGNER, "signerd", NULL, e) ||
            !add_child(s, RANK_JOBS, "jobd", NULL, e) ||
            (o->sync && !add_child(s, RANK_SYNC, "syncd", NULL, e)))
        return -1;
    for (size_t i = 0; i < o->slot_count; i++)
        if (add_slot(s, &o->slots[i], e))
            return -1;
    for (unsigned n = 1; n <= o->auto_slots; n++) {
        char name[16], port[PATH_MAX];
        snprintf(name, sizeof name, "%02u", n);
        if (snprintf(port, sizeof port, "%s/slot%02u", o->auto_ports, n) >= (int)sizeof port)
            return err_set(e, ERR_ARGUMENT, "the ports' directory has too long a path");
        struct config_slot slot = {.name = name,
                .port = port,
                .driver = o->auto_driver ? o->auto_driver : "keyline",
                .baud = o->auto_baud ? o->auto_baud : SLOT_BAUD_DEFAULT};
        if (add_slot(s, &slot, e))
            return -1;
    }
    return 0;
}

/* One appliance a root. The lock is the kernel's, so a killed supervisor leaves none; the pid in it
 * is for people. */
static int lock_root(struct supervisor *s, struct err *e)
{
    char path[PATH_MAX], pid[24] = "";
    if (file_mkdirs(s->o->paths->run, 0750, e) ||
            (s->o->log_dir && file_mkdirs(s->o->log_dir, 0750, e)))
        return -1;
    if (snprintf(path, sizeof path, "%s/run.lock", s->o->paths->run) >= (int)sizeof path)
        return err_set(e, ERR_ARGUMENT, "the root has too long a path");
    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (s->lock_fd < 0)
        return err_set_errno(e, errno, "%s", path);
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB)) {
        if (read(s->lock_fd, pid, sizeof pid - 1) <= 0)
            snprintf(pid, sizeof pid, "?");
        pid[strcspn(pid, "\n")] = '\0';
        return err_set(e, ERR_BAD_STATE,
                "the appliance runs here already (process %s): stop that one first, or use another "
                "KEYLINE_ROOT",
                pid);
    }
    int n = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    if (ftruncate(s->lock_fd, 0) || pwrite(s->lock_fd, pid, (size_t)n, 0) != n)
        return err_set_errno(e, errno, "%s", path);
    return 0;
}

static void start_all(struct supervisor *s)
{
    release(s, RANK_SIGNER);
    release(s, RANK_SYNC); /* these two wait for jobd's door themselves */
    release(s, RANK_SLOT);
    arm(s, &s->grace, SUPERVISE_SIGNER_MS, on_grace, s);
}

static void done(struct supervisor *s)
{
    for (size_t i = 0; i < s->count; i++) {
        sd_event_source_disable_unref(s->children[i].exit);
        sd_event_source_disable_unref(s->children[i].timer);
        for (size_t a = 0; s->children[i].args[a]; a++)
            free(s->children[i].args[a]);
    }
    free(s->children);
    sd_event_source_disable_unref(s->grace);
    sd_event_source_disable_unref(s->kill_timer);
    sd_event_unref(s->event);
    if (s->notify_fd >= 0)
        close(s->notify_fd);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
}

int supervise_run(const struct supervise_options *o, struct err *e)
{
    struct supervisor s = {.o = o, .lock_fd = -1, .notify_fd = -1};
    int r = sd_event_new(&s.event);
    if (r < 0)
        err_set_errno(e, -r, "making an event loop");
    else
        r = add_children(&s, e) || lock_root(&s, e) || watch_signals(&s, e) || open_notify(&s, e)
                    ? -1
                    : 0;
    if (r == 0 && set_environment(&s))
        r = err_set_errno(e, errno, "setting the children's environment");
    if (r == 0) {
        start_all(&s);
        r = sd_event_loop(s.event);
        if (r < 0)
            r = err_set_errno(e, -r, "running the event loop");
    }
    done(&s);
    return r < 0 ? -1 : 0;
}
