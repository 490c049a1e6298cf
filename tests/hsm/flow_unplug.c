/* An HSM that is unplugged and plugged in again under load: a SoftHSM behind p11-kit's server, whose
 * client module the workers load. The server killed is the cable pulled. Every refusal has a name of
 * class HSM, all goes on by itself, signerd is never restarted, and no worker logs in twice. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/file.h"
#include "base/text.h"
#include "hsm/signer_client.h"
#include "tests/hsm/station.h"

#define SOFTHSM       "/usr/lib/softhsm/libsofthsm2.so"
#define CLIENT        "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so"
#define PIN           "12345678"
#define PULLS         3
#define ROWS          40
#define COMES_BACK_MS 20000

static char dir[64];
static pid_t server;

static char *in_dir(char out[PATH_MAX], const char *name)
{
    snprintf(out, PATH_MAX, "%s/%s", dir, name);
    return out;
}

static void plug(void)
{
    char socket[PATH_MAX];
    struct stat s;

    in_dir(socket, "socket");
    unlink(socket);
    server = fork();
    assert_true(server >= 0);
    if (!server) {
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        setpgid(0, 0);
        execlp("p11-kit", "p11-kit", "server", "-f", "-n", socket, "--provider", SOFTHSM,
                "pkcs11:token=ca", (char *)NULL);
        _exit(127);
    }
    setpgid(server, server);
    for (int i = 0; stat(socket, &s) < 0; i++) {
        assert_true(i < 500);
        help_rest_ms(10);
    }
}

/* It serves each connection by a process of its own. */
static void pull(void)
{
    kill(-server, SIGKILL);
    assert_int_equal(waitpid(server, NULL, 0), server);
}

/* ---- logins, by process */

static size_t most_logins_of_one_process(void)
{
    struct buf text = BUF_INIT;
    struct err e = {0};
    char path[PATH_MAX], *next = NULL;
    struct {
        int pid;
        size_t logins;
    } seen[256] = {{0}};
    size_t most = 0, count = 0;

    snprintf(path, sizeof path, "%s/calls", st.root);
    ok(file_read(path, 64u << 20, &text, &e));
    assert_non_null(buf_str(&text));
    for (char *line = strtok_r((char *)text.data, "\n", &next); line;
            line = strtok_r(NULL, "\n", &next)) {
        int pid = atoi(line);
        size_t i = 0;

        if (!strstr(line, " C_Login "))
            continue;
        while (i < count && seen[i].pid != pid)
            i++;
        assert_true(i < 256);
        count += i == count;
        seen[i].pid = pid;
        if (++seen[i].logins > most)
            most = seen[i].logins;
    }
    buf_done(&text);
    assert_true(count >= 2);
    return most;
}

/* ---- the load */

static int is_hsm(enum err_id id)
{
    return err_class(id) == ERR_CLASS_HSM || id == ERR_TIMEOUT || id == ERR_NONCE;
}

/* One row until it has its certificate: each refusal on the way must have the right name. */
static int insist(size_t row, EVP_PKEY *key)
{
    int64_t start = time_monotonic_ms();

    for (;;) {
        struct buf cert = BUF_INIT;
        struct err e = {0};
        bool fresh;
        int r = station_issue(&st, row, key, &cert, &fresh, &e);

        buf_done(&cert);
        if (r == 0)
            return 0;
        if (!is_hsm(e.id) || time_monotonic_ms() - start > COMES_BACK_MS) {
            fprintf(stderr, "row %zu: %s: %s\n", row, err_name(e.id), e.msg);
            return -1;
        }
        help_rest_ms(20);
    }
}

/* A process of its own with a connection of its own. */
static pid_t load_start(void)
{
    struct err e = {0};
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (signer_open(&st.paths, NULL, &st.bus, &e) < 0)
        _exit(2);
    for (size_t row = 1; row < ROWS; row++) {
        EVP_PKEY *key = help_key("P-256");

        if (insist(row, key) < 0)
            _exit(1);
        EVP_PKEY_free(key);
        help_rest_ms(50);
    }
    _exit(0);
}

static void pulled_and_plugged_in_under_load(void **state)
{
    int status;
    pid_t load;

    (void)state;
    load = load_start();
    for (int i = 0; i < PULLS; i++) {
        help_rest_ms(300);
        pull();
        help_rest_ms(i == 1 ? 2500 : 400); /* once long enough for all pauses to have grown */
        plug();
    }
    assert_int_equal(waitpid(load, &status, 0), load);
    assert_int_equal(status, 0);
    assert_int_equal(waitpid(st.signerd, NULL, WNOHANG), 0); /* it never ended */
    assert_int_equal(most_logins_of_one_process(), 1);
}

/* Pulled while nobody asks for anything, and put back before anybody does. */
static void pulled_while_idle(void **state)
{
    EVP_PKEY *key = help_key("P-256");

    (void)state;
    pull();
    plug();
    assert_int_equal(insist(ROWS, key), 0);
    EVP_PKEY_free(key);
    assert_int_equal(most_logins_of_one_process(), 1);
}

static void absence_has_a_name(void **state)
{
    EVP_PKEY *key = help_key("P-256");
    struct buf cert = BUF_INIT;
    struct err e = {0};
    bool fresh;

    (void)state;
    pull();
    for (int i = 0; i < 5; i++) {
        assert_int_equal(station_issue(&st, ROWS + 1, key, &cert, &fresh, &e), -1);
        if (err_class(e.id) != ERR_CLASS_HSM)
            fail_msg("%s: %s", err_name(e.id), e.msg);
        err_clear(&e);
        help_rest_ms(200);
    }
    plug();
    assert_int_equal(insist(ROWS + 1, key), 0);
    EVP_PKEY_free(key);
}

static int open_all(void **state)
{
    char path[PATH_MAX], lines[3 * PATH_MAX], calls[PATH_MAX];
    struct err e = {0};
    EVP_PKEY *key;

    (void)state;
    help_mkdir(dir);
    snprintf(lines, sizeof lines, "directories.tokendir = %s/tokens\n", dir);
    ok(file_write(in_dir(path, "softhsm2.conf"), lines, strlen(lines), 0600, &e));
    setenv("SOFTHSM2_CONF", path, 1);
    mkdir(in_dir(path, "tokens"), 0700);
    assert_int_equal(station_run((const char *[]){"softhsm2-util", "--init-token", "--free",
                             "--label", "ca", "--so-pin", "87654321", "--pin", PIN, NULL}),
            0);
    ok(file_write(in_dir(path, "pin"), PIN "\n", strlen(PIN) + 1, 0600, &e));
    snprintf(lines, sizeof lines, "label = ca\npin_file = %s\n", path);
    setenv("KEYLINE_TEST_TOKEN", lines, 1);
    setenv("KEYLINE_FAULT_MODULE", CLIENT, 1);
    snprintf(lines, sizeof lines, "unix:path=%s/socket", dir);
    setenv("P11_KIT_SERVER_ADDRESS", lines, 1);
    plug();
    station_open(&st, NULL);
    snprintf(calls, sizeof calls, "%s/calls", st.root);
    close(open(calls, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    station_start(&st);
    key = help_key("P-256");
    assert_int_equal(insist(0, key), 0);
    EVP_PKEY_free(key);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    station_close(&st);
    pull();
    help_rmdir(dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(pulled_and_plugged_in_under_load),
            cmocka_unit_test(pulled_while_idle),
            cmocka_unit_test(absence_has_a_name),
    };

    if (access(CLIENT, R_OK) < 0 || access(SOFTHSM, R_OK) < 0) {
        printf("skipped: %s (p11-kit-modules) is not installed\n", CLIENT);
        return 77;
    }
    return cmocka_run_group_tests(tests, open_all, close_all);
}
