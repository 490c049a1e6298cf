/* Group commit over real connections: many requests share one commit, a failed one is undone alone, and when the disk is
 * full everybody hears of it and the next request works. */
#include "jobs_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bus.h"
#include "base/text.h"
#include "jobs/jobd/commit.h"
#include "jobs/jobd/jobd.h"

#define OBJECT    "/test"
#define INTERFACE "org.keyline.Test"
#define CLIENTS   16
#define CALLS     50

struct server {
    struct jobs_test *t;
    sd_event *event;
    struct commit *commit;
    struct bus_server *door;
    unsigned calls;
};

/* Put(s name, b good): adds a group, then fails when it shall. */
static int on_put(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct server *s = userdata;
    struct err e = {0};
    const char *name;
    int good;
    (void)be;
    s->calls++;
    if (read_args(m, &e, "sb", &name, &good) || commit_begin(s->commit, &e))
        return commit_answer(s->commit, m, NULL, &e);
    (void)registry_run(s->t->registry, &e,
            "INSERT INTO device_group (name, description, created) VALUES (?1, '', 1)",
            BIND_TEXT(name));
    if (!good)
        err_set(&e, ERR_BAD_STATE, "as asked");
    return commit_end(s->commit, m, empty_reply(m, &e), &e);
}

/* Limit(u pages): the largest size of the file, 0 for no limit. */
static int on_limit(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct server *s = userdata;
    struct err e = {0};
    char sql_text[64], out[32];
    uint32_t pages;
    (void)be;
    if (read_args(m, &e, "u", &pages) == 0) {
        snprintf(sql_text, sizeof sql_text, "PRAGMA max_page_count = %u", pages ? pages : 1u << 30);
        (void)registry_scalar(s->t->registry, sql_text, out, sizeof out, &e);
    }
    return commit_answer(s->commit, m, empty_reply(m, &e), &e);
}

/* Lose(): a read that fails while others wait, upon which SQLite ends their transaction. */
static int on_lose(sd_bus_message *m, void *userdata, sd_bus_error *be)
{
    struct server *s = userdata;
    struct err e = {0};
    char out[8];
    (void)be;
    if (registry_in_transaction(s->t->registry))
        (void)registry_scalar(s->t->registry, "ROLLBACK", out, sizeof out, &e);
    err_set(&e, ERR_STORE, "disk I/O error");
    return commit_answer(s->commit, m, NULL, &e);
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Put", "sb", "", on_put, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Limit", "u", "", on_limit, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Lose", "", "", on_lose, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

static int on_child(sd_event_source *source, const siginfo_t *si, void *userdata)
{
    int *left = userdata;
    if (si->si_code != CLD_EXITED || si->si_status != 0)
        return sd_event_exit(sd_event_source_get_event(source), 1);
    return --*left == 0 ? sd_event_exit(sd_event_source_get_event(source), 0) : 0;
}

/* Serves until all children have ended well. */
static void serve(struct server *s, const char *path, int count, int (*client)(const char *, int))
{
    struct err e = {0};
    sigset_t set;
    int left = count;
    const struct bus_door door = {.path = path,
            .object = OBJECT,
            .interface = INTERFACE,
            .vtable = vtable,
            .userdata = s};
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    assert_true(sd_event_new(&s->event) >= 0);
    must(commit_new(s->event, s->t->registry, &s->commit, &e), &e);
    must(bus_server_open(s->event, &door, &s->door, &e), &e);
    for (int i = 0; i < count; i++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            _exit(client(path, i));
        assert_true(sd_event_add_child(s->event, NULL, pid, WEXITED, on_child, &left) >= 0);
    }
    assert_int_equal(sd_event_loop(s->event), 0);
    bus_server_close(&s->door);
    commit_free(&s->commit);
    sd_event_unref(s->event);
}

static int put(sd_bus *bus, const char *name, int good, struct err *e)
{
    sd_bus_error be = SD_BUS_ERROR_NULL;
    err_clear(e);
    int r = sd_bus_call_method(bus, NULL, OBJECT, INTERFACE, "Put", &be, NULL, "sb", name, good);
    if (r < 0)
        bus_err(e, &be, r);
    sd_bus_error_free(&be);
    return r < 0 ? -1 : 0;
}

static int busy_client(const char *path, int number)
{
    struct err e = {0};
    sd_bus *bus;
    char name[32];
    if (bus_client_open(path, NULL, &bus, &e))
        return 1;
    for (int i = 0; i < CALLS; i++) {
        snprintf(name, sizeof name, "%d.%d", number, i);
        int r = put(bus, name, i % 5 != 0, &e);
        if (i % 5 ? r != 0 : e.id != ERR_BAD_STATE)
            return 2;
    }
    sd_bus_flush_close_unref(bus);
    return 0;
}

static void many_share_one_commit(void **state)
{
    struct jobs_test *t = *state;
    struct server s = {.t = t};
    char path[96], want[16];
    uint64_t before = registry_commits(t->registry);
    snprintf(path, sizeof path, "%s/sock", t->dir);
    serve(&s, path, CLIENTS, busy_client);
    uint64_t commits = registry_commits(t->registry) - before;
    print_message("%u requests of %d clients in %llu commits\n", s.calls, CLIENTS,
            (unsigned long long)commits);
    assert_int_equal(s.calls, CLIENTS * CALLS);
    /* Failed ones are undone alone; "sensors" was there before. */
    snprintf(want, sizeof want, "%d", CLIENTS * CALLS * 4 / 5 + 1);
    assert_string_equal(sql(t, "SELECT count(*) FROM device_group"), want);
    assert_true(commits <= s.calls / 2);
}

static int full_disk_client(const char *path, int number)
{
    struct err e = {0};
    sd_bus *bus;
    char large[60000];
    (void)number;
    memset(large, 'n', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    if (bus_client_open(path, NULL, &bus, &e) || put(bus, "before", 1, &e))
        return 1;
    if (sd_bus_call_method(bus, NULL, OBJECT, INTERFACE, "Limit", NULL, NULL, "u", 1) < 0)
        return 2;
    if (put(bus, large, 1, &e) == 0 || e.id != ERR_DISK_FULL)
        return 3;
    if (sd_bus_call_method(bus, NULL, OBJECT, INTERFACE, "Limit", NULL, NULL, "u", 0) < 0)
        return 4;
    if (put(bus, "after", 1, &e))
        return 5;
    sd_bus_flush_close_unref(bus);
    return 0;
}

static void a_full_disk_is_told_and_survived(void **state)
{
    struct jobs_test *t = *state;
    struct server s = {.t = t};
    char path[96];
    snprintf(path, sizeof path, "%s/sock", t->dir);
    serve(&s, path, 1, full_disk_client);
    jobs_reopen(t);
    assert_string_equal(
            sql(t, "SELECT group_concat(name) FROM (SELECT name FROM device_group ORDER BY id)"),
            "sensors,before,after");
}

/* Two requests wait for one commit; the third fills the disk, which makes SQLite drop the whole transaction. */
static int *succeeded; /* shared with the child */

static int trio_client(const char *path, int number)
{
    struct err e = {0};
    sd_bus *bus;
    sd_bus_message *calls[3];
    static char large[60000];
    const char *const names[] = {"one", "two", large};
    (void)number;
    memset(large, 'n', sizeof large - 1);
    if (bus_client_open(path, NULL, &bus, &e) ||
            sd_bus_call_method(bus, NULL, OBJECT, INTERFACE, "Limit", NULL, NULL, "u", 1) < 0)
        return 1;
    uint64_t cookies[3];
    for (int i = 0; i < 3; i++) {
        if (sd_bus_message_new_method_call(bus, &calls[i], NULL, OBJECT, INTERFACE, "Put") < 0 ||
                sd_bus_message_append(calls[i], "sb", names[i], 1) < 0 ||
                sd_bus_send(bus, calls[i], &cookies[i]) < 0)
            return 2;
    }
    sd_bus_flush(bus);
    for (int answers = 0; answers < 3;) {
        sd_bus_message *m = NULL;
        int r = sd_bus_process(bus, &m);
        if (r < 0)
            return 3;
        if (m) {
            uint8_t type;
            if (sd_bus_message_get_type(m, &type) >= 0 && type != SD_BUS_MESSAGE_SIGNAL) {
                answers++;
                *succeeded += type == SD_BUS_MESSAGE_METHOD_RETURN;
            }
            sd_bus_message_unref(m);
        }
        if (r == 0 && sd_bus_wait(bus, 10u * 1000 * 1000) <= 0)
            return 4;
    }
    for (int i = 0; i < 3; i++)
        sd_bus_message_unref(calls[i]);
    sd_bus_flush_close_unref(bus);
    return 0;
}

static void an_answer_never_precedes_its_commit(void **state)
{
    struct jobs_test *t = *state;
    struct server s = {.t = t};
    char path[96];
    char want[16];
    succeeded = mmap(
            NULL, sizeof *succeeded, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(succeeded != MAP_FAILED);
    snprintf(path, sizeof path, "%s/sock", t->dir);
    serve(&s, path, 1, trio_client);
    assert_int_equal(s.calls, 3);
    assert_true(*succeeded < 3);
    snprintf(want, sizeof want, "%d", 1 + *succeeded);
    assert_string_equal(sql(t, "SELECT count(*) FROM device_group"), want);
    munmap(succeeded, sizeof *succeeded);
    assert_false(registry_in_transaction(t->registry));
}

/* Put, Lose, Put at once: the first was promised to a transaction that is no more, unless its commit was
 * quicker. */
#define LOSSES 20
static int loser_client(const char *path, int number)
{
    struct err e = {0};
    sd_bus *bus;
    sd_bus_message *m = NULL;
    uint64_t cookie;
    (void)number;
    if (bus_client_open(path, NULL, &bus, &e))
        return 1;
    for (int i = 0; i < 3 * LOSSES; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        if (sd_bus_message_new_method_call(
                    bus, &m, NULL, OBJECT, INTERFACE, i % 3 == 1 ? "Lose" : "Put") < 0 ||
                (i % 3 != 1 && sd_bus_message_append(m, "sb", name, 1) < 0) ||
                sd_bus_send(bus, m, &cookie) < 0)
            return 2;
        m = sd_bus_message_unref(m);
    }
    for (int answers = 0; answers < 3 * LOSSES;) {
        int r = sd_bus_process(bus, &m);
        if (r < 0 || (r == 0 && sd_bus_wait(bus, 10u * 1000 * 1000) <= 0))
            return 3;
        answers += m != NULL;
        *succeeded += m && !sd_bus_message_is_method_error(m, NULL);
        m = sd_bus_message_unref(m);
    }
    sd_bus_flush_close_unref(bus);
    return 0;
}

static void what_a_failed_read_lost_is_not_promised(void **state)
{
    struct jobs_test *t = *state;
    struct server s = {.t = t};
    char path[96], want[16];
    succeeded = mmap(
            NULL, sizeof *succeeded, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(succeeded != MAP_FAILED);
    snprintf(path, sizeof path, "%s/sock", t->dir);
    serve(&s, path, 1, loser_client);
    print_message("%d of %d were kept\n", *succeeded, 2 * LOSSES);
    snprintf(want, sizeof want, "%d", 1 + *succeeded);
    assert_string_equal(sql(t, "SELECT count(*) FROM device_group"), want);
    munmap(succeeded, sizeof *succeeded);
}

/* Number 0 sends signals, which nobody answers, as fast as it can; number 1 wants one commit. */
static int flooded_client(const char *path, int number)
{
    struct err e = {0};
    sd_bus *bus;
    int64_t start = time_monotonic_ms();
    if (bus_client_open(path, NULL, &bus, &e))
        return 1;
    while (number == 0 && time_monotonic_ms() - start < 2500)
        for (int i = 0; i < 64; i++)
            if (sd_bus_emit_signal(bus, OBJECT, INTERFACE, "Noise", "") < 0 ||
                    sd_bus_flush(bus) < 0)
                return 2;
    if (number == 1) {
        usleep(300 * 1000);
        start = time_monotonic_ms();
        if (put(bus, "patient", 1, &e))
            return 3;
        if (time_monotonic_ms() - start > 1000) {
            fprintf(stderr, "the commit took %lld ms\n", (long long)(time_monotonic_ms() - start));
            return 4;
        }
    }
    sd_bus_close_unref(bus);
    return 0;
}

static void a_flood_does_not_hold_up_the_commit(void **state)
{
    struct jobs_test *t = *state;
    struct server s = {.t = t};
    char path[96];
    snprintf(path, sizeof path, "%s/sock", t->dir);
    serve(&s, path, 2, flooded_client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, jobs_setup, jobs_teardown)
            TEST(many_share_one_commit),
            TEST(a_full_disk_is_told_and_survived),
            TEST(an_answer_never_precedes_its_commit),
            TEST(what_a_failed_read_lost_is_not_promised),
            TEST(a_flood_does_not_hold_up_the_commit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
