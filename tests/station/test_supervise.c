/* The supervisor with this very program as every program of the appliance: started under their
 * names it writes a line to a journal file when it starts and when it is told to stop, and
 * misbehaves as $BEHAVE_<name> says. */
#include "station_test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <systemd/sd-daemon.h>

#include "base/buf.h"
#include "base/file.h"
#include "station/supervise.h"

static char root[64], programs[128], journal[128];
static struct paths paths;

/* --- the programs --- */

/* One write, so that lines of several processes stay whole. */
static void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void note(const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    int fd = open(getenv("JOURNAL"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, line, (size_t)n) != n)
        abort();
    close(fd);
}

static int act(const char *name, int argc, char **argv)
{
    char key[64], args[512] = "";
    snprintf(key, sizeof key, "BEHAVE_%s", name);
    const char *how = getenv(key) ? getenv(key) : "";
    for (int i = 1; i < argc; i++)
        snprintf(args + strlen(args), sizeof args - strlen(args), " %s", argv[i]);
    note("start %s %d%s\n", name, (int)getpid(), args);
    if (strcmp(how, "exit") == 0)
        return 3;
    if (strcmp(how, "deaf") == 0)
        signal(SIGTERM, SIG_IGN);
    if (strcmp(how, "stranger") == 0) { /* another process speaks for it */
        if (fork() == 0) {
            sd_notify(0, "READY=1");
            _exit(0);
        }
        wait(NULL);
        note("sent\n");
    } else {
        sd_notify(0, "STATUS=not READY=1 yet");
        sd_notify(0, "STATUS=up\nREADY=1");
    }
    if (*how) {
        for (;;)
            pause();
    }
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    int got;
    sigprocmask(SIG_BLOCK, &set, NULL);
    sigwait(&set, &got);
    note("stop %s\n", name);
    return 0;
}

/* --- the frame --- */

static int make_root(void **state)
{
    static const char *const names[] = {"signerd", "jobd", "syncd", "slotd"};
    struct err e = {0};
    char self[PATH_MAX], path[256];
    (void)state;
    snprintf(root, sizeof root, "/tmp/keyline-sup-XXXXXX");
    assert_non_null(mkdtemp(root));
    snprintf(programs, sizeof programs, "%s/bin", root);
    snprintf(journal, sizeof journal, "%s/journal", root);
    assert_return_code(mkdir(programs, 0700), errno);
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(n > 0);
    self[n] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", programs, names[i]);
        assert_return_code(symlink(self, path), errno);
        snprintf(path, sizeof path, "BEHAVE_%s", names[i]);
        unsetenv(path);
    }
    setenv("KEYLINE_ROOT", root, 1);
    setenv("JOURNAL", journal, 1);
    assert_ok(paths_init(&paths, &e), &e);
    return 0;
}

static int remove_root(void **state)
{
    char command[256];
    (void)state;
    snprintf(command, sizeof command, "rm -r '%s'", root);
    return system(command);
}

static const char *read_journal(void)
{
    static char text[1 << 16];
    int fd = open(journal, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    assert_true(n >= 0);
    text[n] = '\0';
    if (fd >= 0)
        close(fd);
    return text;
}

static unsigned count(const char *word)
{
    unsigned n = 0;
    for (const char *at = read_journal(); (at = strstr(at, word)); at += strlen(word))
        n++;
    return n;
}

static void wait_for(const char *word, unsigned times)
{
    for (int64_t end = time_monotonic_ms() + PATIENCE_MS; count(word) < times; usleep(5000))
        if (time_monotonic_ms() > end)
            fail_msg("'%s' did not come %u times; the journal says:\n%s", word, times,
                    read_journal());
}

/* The pid in the last "start NAME PID" line. */
static pid_t pid_of(const char *name)
{
    char line[64];
    pid_t pid = 0;
    snprintf(line, sizeof line, "start %s ", name);
    for (const char *at = read_journal(); (at = strstr(at, line)); at++)
        pid = (pid_t)strtol(at + strlen(line), NULL, 10);
    assert_true(pid > 1);
    return pid;
}

static int is_running(pid_t pid)
{
    char path[64], text[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    return n > 0 && !strstr(text, ") Z ");
}

static void write_change(void *ctx, const struct supervise_child *c, size_t ready, size_t total)
{
    (void)ctx;
    note("change %s %s %zu/%zu %s\n", c->name, supervise_state_name(c->state), ready, total,
            c->detail);
}

/* The supervisor in a process of its own. */
static pid_t start(unsigned slots)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    struct supervise_options o = {.paths = &paths,
            .auto_slots = slots,
            .auto_ports = "/ports",
            .sync = true,
            .log_level = "error",
            .program_dir = programs,
            .on_change = write_change};
    struct err e = {0};
    if (supervise_run(&o, &e)) {
        dprintf(STDERR_FILENO, "%s: %s\n", err_name(e.id), e.msg);
        _exit(1);
    }
    _exit(0);
}

static int stop(pid_t pid, int signal_number)
{
    int status;
    assert_return_code(kill(pid, signal_number), errno);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* --- the tests --- */

static void starts_in_order_and_stops_backwards(void **state)
{
    (void)state;
    pid_t s = start(2);
    wait_for(" ready 5/5", 1);
    const char *text = read_journal();
    assert_non_null(strstr(text, " --slot=01 --port=/ports/slot01 --driver=keyline --baud=115200"));
    assert_non_null(strstr(text, " --slot=02 --port=/ports/slot02"));
    assert_non_null(strstr(text, "change signerd ready"));
    assert_true(strstr(text, "change signerd ready") < strstr(text, "start jobd"));
    pid_t pids[] = {pid_of("signerd"), pid_of("jobd"), pid_of("syncd"), pid_of("slotd")};
    assert_int_equal(stop(s, SIGINT), 0);
    text = read_journal();
    const char *sync = strstr(text, "\nstop syncd"), *jobs = strstr(text, "\nstop jobd");
    const char *slot = strstr(text, "\nstop slotd"), *signer = strstr(text, "\nstop signerd");
    assert_non_null(slot);
    assert_true(slot < sync && sync < jobs && jobs < signer);
    assert_null(strstr(jobs, "\nstop slotd")); /* both slots before jobd */
    assert_int_equal(count("\nstop slotd"), 2);
    for (size_t i = 0; i < 4; i++)
        assert_false(is_running(pids[i]));
}

static void starts_again_whatever_is_killed(void **state)
{
    (void)state;
    static const char *const names[] = {"signerd", "jobd", "syncd", "slotd"};
    pid_t s = start(1);
    wait_for(" ready 4/4", 1);
    for (unsigned i = 0; i < 4; i++) {
        assert_return_code(kill(pid_of(names[i]), SIGKILL), errno);
        wait_for(" ready 4/4", i + 2);
    }
    assert_int_equal(
            count("killed by signal 9\n"), 4 * 3); /* backoff, starting, ready each say it */
    assert_int_equal(stop(s, SIGTERM), 0);
}

static void what_cannot_start_is_tried_on_and_on_but_slower(void **state)
{
    (void)state;
    setenv("BEHAVE_jobd", "exit", 1);
    pid_t s = start(0);
    int64_t began = time_monotonic_ms();
    wait_for("start jobd", 6); /* pauses of 20, 40, 80, 160, 320 ms */
    assert_true(time_monotonic_ms() - began >= 600);
    assert_non_null(strstr(read_journal(), "change jobd backoff"));
    assert_non_null(strstr(read_journal(), "exit status 3"));
    assert_int_equal(stop(s, SIGTERM), 0);
}

static void jobd_comes_also_without_a_signer(void **state)
{
    (void)state;
    setenv("BEHAVE_signerd", "exit", 1);
    pid_t s = start(0);
    wait_for("start jobd", 1);
    assert_int_equal(stop(s, SIGTERM), 0);
}

static void a_deaf_child_is_killed_in_the_end(void **state)
{
    (void)state;
    setenv("BEHAVE_slotd", "deaf", 1);
    pid_t s = start(1);
    wait_for("change slotd 01 ready", 1);
    pid_t deaf = pid_of("slotd");
    int64_t began = time_monotonic_ms();
    assert_int_equal(stop(s, SIGTERM), 0);
    assert_true(time_monotonic_ms() - began >= 4900);
    assert_false(is_running(deaf));
}

static void killed_it_leaves_none_behind(void **state)
{
    (void)state;
    pid_t s = start(1);
    wait_for(" ready 4/4", 1);
    pid_t pids[] = {pid_of("signerd"), pid_of("jobd"), pid_of("syncd"), pid_of("slotd")};
    stop(s, SIGKILL);
    for (size_t i = 0; i < 4; i++)
        wait_until(!is_running(pids[i]));
    s = start(1); /* and its lock is gone with it */
    wait_for(" ready 4/4", 2);
    assert_int_equal(stop(s, SIGTERM), 0);
}

static void one_appliance_a_root(void **state)
{
    (void)state;
    pid_t s = start(0);
    char pid[16];
    wait_for(" ready 3/3", 1);
    struct supervise_options o = {.paths = &paths, .program_dir = programs};
    struct err e = {0};
    assert_err(supervise_run(&o, &e), &e, ERR_BAD_STATE);
    snprintf(pid, sizeof pid, "%d", (int)s);
    assert_non_null(strstr(e.msg, pid));
    assert_int_equal(count("start signerd"), 1);
    assert_int_equal(stop(s, SIGTERM), 0);
}

static void refuses_what_cannot_work(void **state)
{
    (void)state;
    struct config_slot twins[] = {{.name = "01", .port = "/a", .driver = "keyline", .baud = 9600},
            {.name = "01", .port = "/b", .driver = "keyline", .baud = 9600}};
    struct supervise_options o = {
            .paths = &paths, .program_dir = programs, .slots = twins, .slot_count = 2};
    struct err e = {0};
    assert_err(supervise_run(&o, &e), &e, ERR_EXISTS);
    twins[1].name = "../x";
    assert_err(supervise_run(&o, &e), &e, ERR_ARGUMENT);
    o = (struct supervise_options){
            .paths = &paths, .program_dir = programs, .auto_slots = 65, .auto_ports = "/p"};
    assert_err(supervise_run(&o, &e), &e, ERR_ARGUMENT);
    o = (struct supervise_options){.paths = &paths, .program_dir = "/nonexistent"};
    assert_err(supervise_run(&o, &e), &e, ERR_IO);
    assert_non_null(strstr(e.msg, "/nonexistent/signerd"));
    assert_string_equal(read_journal(), ""); /* nothing was started */
}

/* Whoever knows the address of the socket still cannot say READY for another. */
static void strangers_are_not_believed(void **state)
{
    (void)state;
    setenv("BEHAVE_signerd", "stranger", 1);
    pid_t s = start(0);
    wait_for("sent\n", 1);
    usleep(200000);
    assert_null(strstr(read_journal(), "change signerd ready"));
    assert_int_equal(stop(s, SIGTERM), 0);
}

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/');
    if (getenv("NOTIFY_SOCKET") && getenv("KEYLINE_SUPERVISED"))
        return act(slash ? slash + 1 : argv[0], argc, argv);
#define CASE(f) cmocka_unit_test_setup_teardown(f, make_root, remove_root)
    const struct CMUnitTest tests[] = {
            CASE(starts_in_order_and_stops_backwards),
            CASE(starts_again_whatever_is_killed),
            CASE(what_cannot_start_is_tried_on_and_on_but_slower),
            CASE(jobd_comes_also_without_a_signer),
            CASE(a_deaf_child_is_killed_in_the_end),
            CASE(killed_it_leaves_none_behind),
            CASE(one_appliance_a_root),
            CASE(refuses_what_cannot_work),
            CASE(strangers_are_not_believed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
