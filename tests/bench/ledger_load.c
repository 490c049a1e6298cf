/* bench-ledger: a very large ledger, made through the library, and the real signerd started on it.
 *   make COUNT       $KEYLINE_ROOT's ledger gets COUNT certificates of an IDevID's size
 *   start            signerd until Status answers, until it may issue, and until its index is saved; its memory
 *   find COUNT       look-ups, half of devices that are there
 * Prints one line of name=value. A ledger that was made here is accepted with signerd --accept-ledger before it is used. */
#include <jansson.h>
#include <openssl/rand.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/paths.h"
#include "hsm/ledger/ledger.h"
#include "hsm/signer_client.h"
#include "tests/bench/load.h"

/* A P-256 IDevID of ours has 560 to 600 bytes; with a longer subject and AIA some 700. */
#define CERT_BYTES 680
#define CERT_VARY  80
#define GROUP      1024

static void must(int r, const struct err *e)
{
    if (r < 0)
        load_fail("%s: %s", err_name(e->id), e->msg);
}

static void name_entry(struct ledger_entry *x, uint64_t n)
{
    uint64_t mixed = n * UINT64_C(0x9e3779b97f4a7c15);

    *x = (struct ledger_entry){
            .type = LEDGER_ISSUED, .row = n, .time_ms = 1700000000000 + (int64_t)n};
    x->job[0] = (uint8_t)(n / 20000 + 1);
    memcpy(x->device, &n, sizeof n);
    memcpy(x->device + 8, &mixed, sizeof mixed);
    memcpy(x->spki_sha256, &mixed, sizeof mixed);
    memcpy(x->spki_sha256 + 8, &n, sizeof n);
    memcpy(x->serial, &mixed, sizeof mixed);
}

static struct ledger *open_ledger(void)
{
    struct paths paths;
    struct ledger *l;
    char path[PATH_MAX];
    struct err e = {0};

    must(paths_init(&paths, &e), &e);
    paths_get(&paths, PATH_LEDGER, path);
    must(ledger_open(path, &l, &e), &e);
    return l;
}

static void make(uint64_t count)
{
    struct ledger *l = open_ledger();
    int64_t begun = load_now_us();
    struct ledger_state end;
    struct ledger_entry x;
    struct err e = {0};
    uint8_t cert[CERT_BYTES + CERT_VARY];

    RAND_bytes(cert, sizeof cert);
    for (uint64_t n = 0; n < count; n++) {
        name_entry(&x, n);
        x.tail = (struct cert_bytes){cert, CERT_BYTES + n % CERT_VARY};
        must(ledger_add(l, &x, &e), &e);
        if (ledger_waiting(l) == GROUP)
            must(ledger_commit(l, &e), &e);
    }
    must(ledger_commit(l, &e), &e);
    ledger_state(l, &end);
    printf("made=%llu mb=%llu s=%.1f\n", (unsigned long long)count,
            (unsigned long long)end.size / 1000000, (double)(load_now_us() - begun) / 1e6);
    ledger_close(&l);
}

static void find(size_t count)
{
    struct ledger *l = open_ledger();
    uint64_t there = ledger_counts(l).issued;
    struct ledger_entry x, got;
    struct buf cert = BUF_INIT;
    struct load load = {0};
    struct err e = {0};

    load_start(&load, count);
    for (size_t i = 0; i < count; i++) {
        uint64_t n = (uint64_t)i * 7919 % there + (i % 2 ? there : 0);
        int64_t begun = load_now_us();
        int found;

        name_entry(&x, n);
        buf_reset(&cert);
        found = ledger_find_device(l, x.device, &got, &cert, &e);
        must(found, &e);
        if (found != (i % 2 == 0))
            load_fail("device %llu: found %d", (unsigned long long)n, found);
        load_done(&load, begun);
    }
    load_print(&load);
    buf_done(&cert);
    ledger_close(&l);
}

/* ---- the real one */

static json_t *status(sd_bus *bus)
{
    struct buf json = BUF_INIT;
    struct err e = {0};
    json_t *o;

    must(signer_status(bus, &json, &e), &e);
    o = json_loads(buf_str(&json), 0, NULL);
    buf_done(&json);
    if (!o)
        load_fail("the status is not JSON");
    return o;
}

static int is_bound(sd_bus *bus)
{
    json_t *o = status(bus), *ledger = json_object_get(o, "ledger");
    const char *by = json_string_value(json_object_get(ledger, "rollback_protection"));
    int r = by && strcmp(by, "unknown") != 0 &&
            json_integer_value(json_object_get(ledger, "signed_bytes")) > 0;

    json_decref(o);
    return r;
}

static long memory_kb(pid_t pid, const char *name)
{
    char path[64], line[256];
    long kb = -1;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, name, strlen(name)) == 0)
            kb = strtol(line + strlen(name) + 1, NULL, 10);
    if (f)
        fclose(f);
    return kb;
}

static void start(void)
{
    struct paths paths;
    struct err e = {0};
    char index[PATH_MAX + 16], path[PATH_MAX];
    int64_t begun = load_now_us(), answered, bound, saved, worst = 0;
    struct stat st;
    sd_bus *bus;
    pid_t pid;

    must(paths_init(&paths, &e), &e);
    paths_get(&paths, PATH_LEDGER, path);
    snprintf(index, sizeof index, "%s.index", path);
    pid = fork();
    if (pid == 0) {
        execlp("signerd", "signerd", (char *)NULL);
        _exit(127);
    }
    while (signer_open(&paths, NULL, &bus, &e) < 0) {
        if (load_now_us() - begun > 120000000 || waitpid(pid, NULL, WNOHANG) == pid)
            load_fail("signerd does not answer");
        err_clear(&e);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    json_decref(status(bus));
    answered = load_now_us();
    while (!is_bound(bus))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    bound = load_now_us();
    /* whoever asks while the index is written waits no longer than usual, or it is told here */
    while (stat(index, &st) < 0) {
        int64_t asked = load_now_us();

        json_decref(status(bus));
        worst = load_now_us() - asked > worst ? load_now_us() - asked : worst;
    }
    saved = load_now_us();
    nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
    printf("answers_ms=%.0f issues_ms=%.0f index_ms=%.0f longest_wait_ms=%.1f rss_mb=%.1f "
           "anon_mb=%.1f\n",
            (double)(answered - begun) / 1e3, (double)(bound - begun) / 1e3,
            (double)(saved - begun) / 1e3, (double)worst / 1e3,
            (double)memory_kb(pid, "VmRSS") / 1024, (double)memory_kb(pid, "RssAnon") / 1024);
    sd_bus_close_unref(bus);
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "make") == 0)
        make(strtoull(argv[2], NULL, 10));
    else if (argc == 3 && strcmp(argv[1], "find") == 0)
        find((size_t)strtoull(argv[2], NULL, 10));
    else if (argc == 2 && strcmp(argv[1], "start") == 0)
        start();
    else
        load_fail("usage: bench-ledger make COUNT | start | find COUNT");
    return 0;
}
