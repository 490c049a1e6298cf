/* The fleet: one process per port; they share a counter of devices and a table of outcomes, nothing
 * else. They end with their parent, and the parent ends them by their ids only. */
#include "fleet.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

#define SLOTS_MAX 256u

struct item {
    char *hwid, *name; /* into the list's text */
};
struct shared {
    atomic_size_t next;
    atomic_size_t plugs;
    _Atomic uint8_t ends[]; /* enum unit_end + 1; 0: not reached */
};
struct fleet {
    const struct fleet_options *o;
    char *text;
    struct item *items;
    size_t count;
    struct shared *shared;
    size_t shared_len;
    int signals;
    pid_t pids[SLOTS_MAX];
};

static int fail(const char *what)
{
    fprintf(stderr, "keyline-sim: %s: %s\n", what, strerror(errno));
    return -1;
}

/* --- the list --- */

static int read_list(struct fleet *f)
{
    FILE *in = f->o->list ? fopen(f->o->list, "re") : stdin;
    size_t cap = 0;
    ssize_t len;

    if (!in)
        return fail(f->o->list);
    len = getdelim(&f->text, &cap, '\0', in);
    int broken = ferror(in);
    if (in != stdin)
        fclose(in);
    if (broken)
        return fail("the list");
    return len < 0 && !f->text ? fail("the list") : 0;
}

static int parse_list(struct fleet *f)
{
    size_t cap = 0;
    char *save = NULL;

    for (char *line = strtok_r(f->text, "\r\n", &save); line;
            line = strtok_r(NULL, "\r\n", &save)) {
        char *tab = strchr(line, '\t');
        if (tab)
            *tab = 0;
        if (!line[0] || strlen(line) > KL_TEXT_MAX || (tab && strlen(tab + 1) > KL_TEXT_MAX)) {
            fprintf(stderr,
                    "keyline-sim: the list's line %zu: write HWID<TAB>NAME, at most %u bytes "
                    "each\n",
                    f->count + 1, KL_TEXT_MAX);
            return -1;
        }
        if (f->count == cap) {
            cap = cap ? 2 * cap : 1024;
            struct item *more = realloc(f->items, cap * sizeof *more);
            if (!more)
                return fail("the list");
            f->items = more;
        }
        f->items[f->count++] = (struct item){line, tab ? tab + 1 : line + strlen(line)};
    }
    return 0;
}

/* --- a port's process --- */

/* False when the fleet is to stop. */
static bool pause_ms(const struct fleet *f, unsigned ms)
{
    struct pollfd signals = {.fd = f->signals, .events = POLLIN};

    return poll(&signals, 1, (int)ms) == 0;
}

/* Puts one device in until it passes, or has failed often enough. */
static enum unit_end work_on(const struct fleet *f, const char *port, size_t index)
{
    const struct fleet_options *o = f->o;
    const struct item *item = &f->items[index];
    struct unit_options u = {.port = port,
            .flash = o->flash,
            .hwid = item->hwid,
            .name = item->name,
            .durable = o->durable,
            .no_keygen = o->no_keygen,
            .transport = o->transport,
            .look_ms = o->look_ms,
            .patience_ms = o->patience_ms,
            .signals = f->signals};
    unsigned failures = 0;

    for (unsigned plug = 1;; plug++) {
        fault_plan(&o->faults, item->hwid, plug, &u.faults);
        u.noise_seed = fault_hash(o->faults.seed + plug, item->hwid);
        atomic_fetch_add(&f->shared->plugs, 1);
        enum unit_end end = unit_run(&u);
        if (end == UNIT_BROKEN)
            fail(port);
        failures += end == UNIT_FAILED || end == UNIT_ABANDONED;
        bool again = end == UNIT_PULLED ||
                     ((end == UNIT_FAILED || end == UNIT_ABANDONED) && failures < o->tries);
        if (!again)
            return end;
        if (!pause_ms(f, o->swap_ms ? (unsigned)(u.noise_seed % (o->swap_ms + 1)) : 0))
            return UNIT_STOPPED;
    }
}

static void serve_port(const struct fleet *f, unsigned slot)
{
    char port[PATH_MAX];
    size_t index;

    if ((size_t)snprintf(port, sizeof port, "%s/slot%02u", f->o->ports, slot + 1) >= sizeof port)
        _exit(1);
    while ((index = atomic_fetch_add(&f->shared->next, 1)) < f->count) {
        enum unit_end end = work_on(f, port, index);
        f->shared->ends[index] = (uint8_t)(end + 1);
        if (end == UNIT_STOPPED || end == UNIT_BROKEN)
            _exit(end == UNIT_BROKEN);
        if (!pause_ms(f,
                    f->o->swap_ms ? (unsigned)(fault_hash(index, port) % (f->o->swap_ms + 1)) : 0))
            _exit(0);
    }
    _exit(0);
}

static int start_ports(struct fleet *f)
{
    pid_t parent = getpid();

    for (unsigned slot = 0; slot < f->o->slots; slot++) {
        f->pids[slot] = fork();
        if (f->pids[slot] < 0)
            return fail("fork");
        if (f->pids[slot] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGTERM);
            if (getppid() != parent) /* it died before we asked to be told */
                _exit(1);
            serve_port(f, slot);
        }
    }
    return 0;
}

/* --- the fleet --- */

static int report(const struct fleet *f)
{
    static const char *const names[] = {
            "passed", "failed", "pulled", "given up by the host", "stopped", "broken"};
    size_t passed = 0, reached = 0;

    for (size_t i = 0; i < f->count; i++) {
        uint8_t end = f->shared->ends[i];
        reached += end != 0;
        passed += end == UNIT_PASSED + 1;
        if (end && end != UNIT_PASSED + 1)
            printf("%s\t%s\t%s\n", names[end - 1], f->items[i].hwid, f->items[i].name);
    }
    printf("devices %zu passed %zu failed %zu not-tried %zu plugged %zu\n", f->count, passed,
            reached - passed, f->count - reached, (size_t)f->shared->plugs);
    return passed == f->count ? 0 : 1;
}

/* Until all ports are done, or we are told to stop; then all of them are. */
static int wait_ports(struct fleet *f)
{
    struct signalfd_siginfo info;
    unsigned left = 0;
    int stopped = 0;

    for (unsigned i = 0; i < f->o->slots; i++)
        left += f->pids[i] > 0;
    while (left) {
        if (read(f->signals, &info, sizeof info) != (ssize_t)sizeof info)
            continue;
        if (info.ssi_signo != SIGCHLD && !stopped) {
            stopped = (int)info.ssi_signo;
            for (unsigned i = 0; i < f->o->slots; i++)
                if (f->pids[i] > 0)
                    kill(f->pids[i], SIGTERM);
        }
        for (unsigned i = 0; i < f->o->slots; i++)
            if (f->pids[i] > 0 && waitpid(f->pids[i], NULL, WNOHANG) == f->pids[i]) {
                f->pids[i] = 0;
                left--;
            }
    }
    return stopped;
}

static int fleet_open(struct fleet *f)
{
    sigset_t set;

    if (f->o->slots == 0 || f->o->slots > SLOTS_MAX) {
        fprintf(stderr, "keyline-sim: --slots: 1 to %u\n", SLOTS_MAX);
        return -1;
    }
    if (read_list(f) < 0 || parse_list(f) < 0)
        return -1;
    if (mkdir(f->o->ports, 0755) < 0 && errno != EEXIST)
        return fail(f->o->ports);
    f->shared_len = sizeof *f->shared + f->count;
    f->shared =
            mmap(NULL, f->shared_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (f->shared == MAP_FAILED)
        return fail("memory");
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    f->signals = signalfd(-1, &set, SFD_CLOEXEC); /* the ports' own; SIGCHLD is the parent's only */
    return f->signals < 0 ? fail("signalfd") : 0;
}

int fleet_run(const struct fleet_options *o)
{
    static struct fleet f;
    sigset_t set;
    int status = 1;

    f = (struct fleet){.o = o, .shared = MAP_FAILED, .signals = -1};
    if (fleet_open(&f) < 0)
        goto out;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int started = start_ports(&f);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (signalfd(f.signals, &set, 0) < 0)
        fail("signalfd");
    if (started < 0)
        raise(SIGTERM);
    int stopped = wait_ports(&f);
    status = report(&f);
    if (stopped)
        status = 128 + stopped;
out:
    if (f.shared != MAP_FAILED)
        munmap(f.shared, f.shared_len);
    if (f.signals >= 0)
        close(f.signals);
    free(f.items);
    free(f.text);
    return status;
}
