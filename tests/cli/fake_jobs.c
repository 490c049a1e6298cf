/* A Jobs1 door without an appliance behind it: answers what the test has put into files. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bus.h"
#include "base/err.h"
#include "base/paths.h"
#include "base/text.h"
#include "cli_test.h"

static pid_t fake_pid;

static char *slurp(const char *name)
{
    FILE *f = fopen(test_path(name), "r");
    char *text = f ? calloc(1, TEST_OUTPUT_MAX) : NULL;
    if (f) {
        size_t n = fread(text, 1, TEST_OUTPUT_MAX - 1, f);
        text[n] = '\0';
        fclose(f);
    }
    return text;
}

static void log_map(sd_bus_message *m, FILE *log)
{
    const char *key, *value;
    sd_bus_message_enter_container(m, 'a', "{ss}");
    while (sd_bus_message_read(m, "{ss}", &key, &value) > 0)
        fprintf(log, " %s=%s", key, value);
    sd_bus_message_exit_container(m);
}

/* The arguments as text; the page asked for into `page`. */
static void log_args(sd_bus_message *m, FILE *log, char *page, size_t cap)
{
    const char *contents;
    char type;
    while (sd_bus_message_peek_type(m, &type, &contents) > 0) {
        const char *s;
        uint64_t t;
        uint32_t u;
        int fd;
        if (type == 's' && sd_bus_message_read(m, "s", &s) > 0) {
            fprintf(log, " %s", *s ? s : "-");
            if (strcmp(sd_bus_message_get_member(m), "DeviceList") == 0)
                snprintf(page, cap, "%s", s);
        } else if (type == 't' && sd_bus_message_read(m, "t", &t) > 0) {
            fprintf(log, " %llu", (unsigned long long)t);
            snprintf(page, cap, "%llu", (unsigned long long)t);
        } else if (type == 'u' && sd_bus_message_read(m, "u", &u) > 0) {
            fprintf(log, " %u", u);
        } else if (type == 'h' && sd_bus_message_read(m, "h", &fd) > 0) {
            char bytes[256];
            ssize_t n = pread(fd, bytes, sizeof bytes, 0);
            fprintf(log, " [%.*s]", (int)n, bytes);
        } else {
            log_map(m, log);
        }
    }
}

static int answer(sd_bus_message *m, const char *method, const char *page)
{
    char name[256];
    struct err e = {0};
    snprintf(name, sizeof name, "answers/%s.error", method);
    char *text = slurp(name);
    if (text) {
        char *message = strchr(text, ' ');
        *message++ = '\0';
        err_set(&e, err_from_name(text), "%s", message);
        free(text);
        return bus_reply_err(m, &e);
    }
    snprintf(name, sizeof name, "answers/%s.%s.json", method, page);
    text = slurp(name);
    if (!text) {
        snprintf(name, sizeof name, "answers/%s.json", method);
        text = slurp(name);
    }
    int r = sd_bus_reply_method_return(m, "s", text ? text : "{}");
    free(text);
    return r;
}

static int on_call(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    char page[128] = "";
    (void)userdata;
    (void)error;
    FILE *log = fopen(test_path("calls.log"), "a");
    if (!log)
        abort();
    fprintf(log, "%s", sd_bus_message_get_member(m));
    log_args(m, log, page, sizeof page);
    fprintf(log, "\n");
    fclose(log);
    char *delay = slurp("answers/delay-ms");
    usleep(delay ? (useconds_t)atoi(delay) * 1000 : 0);
    free(delay);
    return answer(m, sd_bus_message_get_member(m), page);
}

#define METHOD(name, in) SD_BUS_METHOD(name, in, "s", on_call, SD_BUS_VTABLE_UNPRIVILEGED)
static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        METHOD("GroupAdd", "ss"),
        METHOD("GroupList", ""),
        METHOD("JobImport", "ha{ss}"),
        METHOD("JobRequest", "s"),
        METHOD("JobApprove", "ss"),
        METHOD("JobReject", "ss"),
        METHOD("JobTerminate", "ss"),
        METHOD("JobList", ""),
        METHOD("JobShow", "s"),
        METHOD("JobReport", "stu"),
        METHOD("DeviceList", "a{ss}su"),
        METHOD("DeviceShow", "s"),
        METHOD("DeviceRegister", "a{ss}"),
        METHOD("Ledger", "stu"),
        METHOD("SlotList", ""),
        METHOD("SyncStatus", ""),
        METHOD("SyncRetry", ""),
        METHOD("Status", ""),
        SD_BUS_VTABLE_END,
};

static _Noreturn void serve(int ready)
{
    struct paths paths;
    char path[PATH_MAX];
    sd_event *event = NULL;
    struct bus_server *server = NULL;
    struct err e = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (paths_init(&paths, &e) || sd_event_default(&event) < 0)
        _exit(1);
    paths_get(&paths, PATH_JOBS_SOCKET, path);
    struct bus_door door = {.path = path,
            .object = "/org/keyline/Jobs1",
            .interface = "org.keyline.Jobs1",
            .takes_fds = true,
            .vtable = vtable};
    if (bus_server_open(event, &door, &server, &e)) {
        fprintf(stderr, "fake: %s\n", e.msg);
        _exit(1);
    }
    if (write(ready, "x", 1) != 1)
        _exit(1);
    close(ready);
    sd_event_loop(event);
    _exit(0);
}

void fake_start(void)
{
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    fake_pid = fork();
    if (fake_pid == 0) {
        close(ready[0]);
        serve(ready[1]);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
}

void fake_stop(void)
{
    if (fake_pid > 0) {
        kill(fake_pid, SIGKILL);
        waitpid(fake_pid, NULL, 0);
    }
    fake_pid = 0;
}
