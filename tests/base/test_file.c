/* Files: limits hold, a failed write leaves the old content and no litter, secrets are guarded. */
#include "base_test.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/limits.h"

static size_t entries(const char *dir)
{
    size_t n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n - 2; /* . and .. */
}

static void write_then_read(void **state)
{
    const char *path = scratch_path(state, "f");
    struct buf b = BUF_INIT;
    struct err e = {0};
    struct stat st;
    assert_ok(file_write(path, "old", 3, 0644, &e), &e);
    assert_ok(file_write(path, "newer", 5, 0600, &e), &e);
    assert_ok(buf_append(&b, ">", 1, &e), &e);
    assert_ok(file_read(path, 5, &b, &e), &e);
    assert_string_equal(buf_str(&b), ">newer");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(entries(*state), 1);
    assert_ok(file_write(path, "", 0, 0600, &e), &e);
    buf_reset(&b);
    assert_ok(file_read(path, 0, &b, &e), &e);
    assert_int_equal(b.len, 0);
    buf_done(&b);
}

static void reads_have_a_limit(void **state)
{
    const char *path = scratch_path(state, "big");
    size_t size = 300000;
    char *bytes = calloc(1, size);
    struct buf b = BUF_INIT;
    struct err e = {0};
    assert_ok(file_write(path, bytes, size, 0600, &e), &e);
    assert_err(file_read(path, size - 1, &b, &e), &e, ERR_LIMIT);
    buf_reset(&b);
    assert_ok(file_read(path, size, &b, &e), &e);
    assert_int_equal(b.len, size);
    /* A file that says it is empty but never ends. */
    buf_reset(&b);
    assert_err(file_read("/dev/zero", 100000, &b, &e), &e, ERR_LIMIT);
    buf_done(&b);
    free(bytes);
}

static void missing_and_odd_files(void **state)
{
    struct buf b = BUF_INIT;
    struct err e = {0};
    assert_int_equal(file_read(scratch_path(state, "none"), 10, &b, &e), -1);
    assert_non_null(strstr(e.msg, "none does not exist"));
    assert_err(-1, &e, ERR_NOT_FOUND);
    assert_err(file_read(*state, 10, &b, &e), &e, ERR_IO);
    assert_err(file_write(scratch_path(state, "no/dir"), "x", 1, 0600, &e), &e, ERR_IO);
    buf_done(&b);
}

/* The write fails half way (a file size limit stands for a full disk): the old content must stay.
 */
static void failed_write_keeps_the_old(void **state)
{
    const char *path = scratch_path(state, "f");
    struct err e = {0};
    assert_ok(file_write(path, "precious", 8, 0600, &e), &e);
    pid_t child = fork();
    if (child == 0) {
        const struct rlimit limit = {1000, 1000};
        static char bytes[5000];
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        int r = file_write(path, bytes, sizeof bytes, 0600, &e);
        _exit(r == -1 && e.id == ERR_IO && e.code == EFBIG ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    struct buf b = BUF_INIT;
    assert_ok(file_read(path, 100, &b, &e), &e);
    assert_string_equal(buf_str(&b), "precious");
    assert_int_equal(entries(*state), 1);
    buf_done(&b);
}

static void remove_and_rename(void **state)
{
    const char *one = scratch_path(state, "one");
    char *from = strdup(one);
    const char *to = scratch_path(state, "two");
    struct buf b = BUF_INIT;
    struct err e = {0};
    assert_ok(file_write(from, "new", 3, 0600, &e), &e);
    assert_ok(file_write(to, "old", 3, 0600, &e), &e);
    assert_ok(file_rename(from, to, &e), &e);
    assert_ok(file_read(to, 3, &b, &e), &e);
    assert_string_equal(buf_str(&b), "new");
    assert_int_equal(entries(*state), 1);
    assert_int_equal(file_rename(from, to, &e), -1);
    assert_int_equal(e.id, ERR_IO);
    err_clear(&e);
    assert_ok(file_remove(to, &e), &e);
    assert_ok(file_remove(to, &e), &e);
    assert_int_equal(entries(*state), 0);
    buf_done(&b);
    free(from);
}

static void directories(void **state)
{
    char path[PATH_MAX];
    struct err e = {0};
    struct stat st;
    snprintf(path, sizeof path, "%s/a/b//c/", (char *)*state);
    mode_t old = umask(077);
    assert_ok(file_mkdirs(path, 0770, &e), &e);
    assert_ok(file_mkdirs(path, 0700, &e), &e);
    umask(old);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(
            st.st_mode & 07777, 0770); /* as asked when it was made, and left alone later */
    assert_ok(file_write(scratch_path(state, "a/file"), "", 0, 0600, &e), &e);
    assert_err(file_mkdirs(scratch_path(state, "a/file/x"), 0700, &e), &e, ERR_IO);
    assert_err(file_mkdirs(scratch_path(state, "a/file"), 0700, &e), &e, ERR_IO);
    assert_err(file_mkdirs("", 0700, &e), &e, ERR_IO);
}

static void put_mode(const char *path, const char *text, mode_t mode)
{
    struct err e = {0};
    assert_ok(file_write(path, text, strlen(text), mode, &e), &e);
}

static void secrets(void **state)
{
    const char *path = scratch_path(state, "pin");
    struct buf b = BUF_INIT;
    struct err e = {0};
    put_mode(path, "1234\r\nsecond line\n", 0600);
    assert_ok(file_read_secret(path, &b, &e), &e);
    assert_true(b.secret);
    assert_string_equal(buf_str(&b), "1234");
    put_mode(path, "12 34", 0440);
    assert_ok(file_read_secret(path, &b, &e), &e);
    assert_string_equal(buf_str(&b), "12 34");

    static const mode_t open_modes[] = {0644, 0604, 0620, 0660, 0601};
    for (size_t i = 0; i < sizeof open_modes / sizeof open_modes[0]; i++) {
        put_mode(path, "1234\n", open_modes[i]);
        assert_int_equal(file_read_secret(path, &b, &e), -1);
        assert_non_null(strstr(e.msg, "chmod 600"));
        assert_null(strstr(e.msg, "1234"));
        assert_err(-1, &e, ERR_CONFIG);
    }
    put_mode(path, "\n1234\n", 0600);
    assert_err(file_read_secret(path, &b, &e), &e, ERR_CONFIG);
    assert_ok(file_write(path,
                      "12\0"
                      "34\n",
                      6, 0600, &e),
            &e);
    assert_err(file_read_secret(path, &b, &e), &e, ERR_CONFIG);
    assert_err(file_read_secret(*state, &b, &e), &e, ERR_CONFIG);
    assert_err(file_read_secret("/nonexistent/pin", &b, &e), &e, ERR_NOT_FOUND);
    char *big = malloc(SECRET_FILE_MAX + 2);
    memset(big, 'p', SECRET_FILE_MAX + 1);
    big[SECRET_FILE_MAX + 1] = '\0';
    put_mode(path, big, 0600);
    assert_err(file_read_secret(path, &b, &e), &e, ERR_LIMIT);
    free(big);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            scratch_test(write_then_read),
            scratch_test(reads_have_a_limit),
            scratch_test(missing_and_odd_files),
            scratch_test(failed_write_keeps_the_old),
            scratch_test(remove_and_rename),
            scratch_test(directories),
            scratch_test(secrets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
