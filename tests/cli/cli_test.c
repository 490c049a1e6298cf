/* The frame of the command line's tests. */
#include "cli_test.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/text.h"

#define ARGS_MAX   40
#define TIMEOUT_MS 20000

char test_root[64];
static struct outcome last;

int test_root_make(void **state)
{
    (void)state;
    snprintf(test_root, sizeof test_root, "/tmp/keyline-cli.XXXXXX");
    if (!mkdtemp(test_root))
        return -1;
    setenv("KEYLINE_ROOT", test_root, 1);
    setenv("TZ", "UTC", 1);
    setenv("LANG", "C.UTF-8", 1);
    unsetenv("LC_ALL");
    unsetenv("NO_COLOR");
    setenv("TERM", "xterm", 1);
    static const char *const dirs[] = {"run", "etc", "etc/ca", "lib", "answers"};
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++)
        if (mkdir(test_path(dirs[i]), 0700))
            return -1;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

int test_root_remove(void **state)
{
    (void)state;
    free(last.out);
    free(last.err);
    last = (struct outcome){0};
    return nftw(test_root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *test_path(const char *name)
{
    static char paths[8][256];
    static unsigned turn;
    char *out = paths[turn++ % 8];
    snprintf(out, sizeof paths[0], "%s/%s", test_root, name);
    return out;
}

static void write_file(const char *name, const char *text)
{
    char temporary[300];
    snprintf(temporary, sizeof temporary, "%s.new", test_path(name));
    FILE *f = fopen(temporary, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(rename(temporary, test_path(name)), 0);
}

void test_write(const char *name, const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    assert_true(vasprintf(&text, fmt, ap) >= 0);
    va_end(ap);
    write_file(name, text);
    free(text);
}

void fake_answer(const char *method, const char *fmt, ...)
{
    char name[96], *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    assert_true(vasprintf(&text, fmt, ap) >= 0);
    va_end(ap);
    snprintf(name, sizeof name, "answers/%s.error", method);
    unlink(test_path(name));
    snprintf(name, sizeof name, "answers/%s.json", method);
    write_file(name, text);
    free(text);
}

void fake_refuse(const char *method, const char *name, const char *message)
{
    char file[96];
    snprintf(file, sizeof file, "answers/%s.error", method);
    test_write(file, "%s %s", name, message);
}

const char *fake_calls(void)
{
    static char text[65536];
    FILE *f = fopen(test_path("calls.log"), "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = '\0';
    if (f)
        fclose(f);
    unlink(test_path("calls.log"));
    return text;
}

/* ---- the program */

static size_t collect_args(const char **args, const char *first, va_list ap)
{
    size_t n = 0;
    args[n++] = KEYLINE_PROGRAM;
    for (const char *a = first; a; a = va_arg(ap, const char *)) {
        assert_true(n < ARGS_MAX - 1);
        args[n++] = a;
    }
    args[n] = NULL;
    return n;
}

static _Noreturn void become_keyline(const char *const *args)
{
    execv(KEYLINE_PROGRAM, (char **)(uintptr_t)args);
    _exit(126);
}

/* Both streams until both are closed. */
static void read_streams(int out, int err, struct outcome *o)
{
    struct pollfd fds[2] = {{out, POLLIN, 0}, {err, POLLIN, 0}};
    char *texts[2] = {malloc(TEST_OUTPUT_MAX + 1), malloc(TEST_OUTPUT_MAX + 1)};
    size_t lens[2] = {0, 0};
    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        assert_true(poll(fds, 2, TIMEOUT_MS) > 0);
        for (size_t i = 0; i < 2; i++) {
            if (fds[i].fd < 0 || fds[i].revents == 0)
                continue;
            ssize_t n = read(fds[i].fd, texts[i] + lens[i], TEST_OUTPUT_MAX - lens[i]);
            if (n > 0)
                lens[i] += (size_t)n;
            else
                fds[i].fd = -1;
        }
    }
    texts[0][lens[0]] = texts[1][lens[1]] = '\0';
    o->out = texts[0];
    o->err = texts[1];
}

static const struct outcome *run(const char *input, const char *const *args)
{
    int in[2], out[2], err[2], status;
    free(last.out);
    free(last.err);
    assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC) | pipe2(err, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        dup2(err[1], 2);
        become_keyline(args);
    }
    assert_true(pid > 0);
    close(in[0]);
    close(out[1]);
    close(err[1]);
    if (*input)
        assert_int_equal(write(in[1], input, strlen(input)), (ssize_t)strlen(input));
    close(in[1]);
    read_streams(out[0], err[0], &last);
    close(out[0]);
    close(err[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    last.status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    return &last;
}

const struct outcome *keyline(const char *first, ...)
{
    const char *args[ARGS_MAX];
    va_list ap;
    va_start(ap, first);
    collect_args(args, first, ap);
    va_end(ap);
    return run("", args);
}

const struct outcome *keyline_input(const char *input, const char *first, ...)
{
    const char *args[ARGS_MAX];
    va_list ap;
    va_start(ap, first);
    collect_args(args, first, ap);
    va_end(ap);
    return run(input, args);
}

void test_assert_says(const char *text, const char *part, const char *file, int line)
{
    if (strstr(text, part))
        return;
    print_error("\"%s\" is not in:\n%s\n", part, text);
    _fail(file, line);
}

void test_assert_silent(const char *text, const char *part, const char *file, int line)
{
    if (!strstr(text, part))
        return;
    print_error("\"%s\" must not be in:\n%s\n", part, text);
    _fail(file, line);
}

void test_assert_tame(const char *text, bool script)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len;) {
        uint32_t c;
        size_t n = utf8_next(text + i, len - i, &c);
        bool ok = n > 0 && (c >= 0x20 || c == '\n' || (script && c == '\t')) &&
                  !(c >= 0x7f && c < 0xa0) && (script || !(c >= 0x202a && c <= 0x202e));
        if (!ok) {
            print_error("character U+%04X at %zu of:\n%s\n", c, i, text);
            fail();
        }
        i += n;
    }
}

/* ---- on a terminal */

void tty_start(struct tty *t, unsigned columns, unsigned rows, const char *const *args)
{
    struct winsize size = {.ws_col = (unsigned short)columns, .ws_row = (unsigned short)rows};
    *t = (struct tty){.seen = calloc(1, TEST_OUTPUT_MAX + 1)};
    t->pid = forkpty(&t->fd, NULL, NULL, &size);
    if (t->pid == 0)
        become_keyline(args);
    assert_true(t->pid > 0);
}

/* false when there is nothing more. */
static bool tty_read(struct tty *t, int timeout_ms)
{
    struct pollfd p = {t->fd, POLLIN, 0};
    if (poll(&p, 1, timeout_ms) <= 0)
        return true;
    ssize_t n = read(t->fd, t->seen + t->len, TEST_OUTPUT_MAX - t->len);
    if (n <= 0)
        return false; /* EIO: the program has ended */
    t->len += (size_t)n;
    t->seen[t->len] = '\0';
    return true;
}

bool tty_expect(struct tty *t, const char *part, unsigned timeout_ms)
{
    int64_t deadline = time_monotonic_ms() + timeout_ms;
    while (!strstr(t->seen, part))
        if (time_monotonic_ms() > deadline || !tty_read(t, 50))
            return strstr(t->seen, part) != NULL;
    return true;
}

void tty_type(struct tty *t, const char *text)
{
    assert_int_equal(write(t->fd, text, strlen(text)), (ssize_t)strlen(text));
}

int tty_end(struct tty *t)
{
    int status;
    int64_t deadline = time_monotonic_ms() + TIMEOUT_MS;
    while (tty_read(t, 100))
        if (time_monotonic_ms() > deadline) {
            kill(t->pid, SIGKILL);
            print_error("it did not end; on the terminal:\n%s\n", t->seen);
            fail();
        }
    assert_int_equal(waitpid(t->pid, &status, 0), t->pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void tty_done(struct tty *t)
{
    close(t->fd);
    free(t->seen);
}

/* ---- a terminal small enough to be obviously right: the sequences keyline uses, and no other */

struct terminal {
    unsigned columns, rows, x, y;
    char (*cells)[8]; /* UTF-8 of each cell */
    bool wraps;
};

static char *cell(struct terminal *t, unsigned x, unsigned y)
{
    return t->cells[y * t->columns + x];
}

static void clear(struct terminal *t, unsigned x, unsigned y, unsigned to_x, unsigned to_y)
{
    while (y < to_y || (y == to_y && x < to_x)) {
        memcpy(cell(t, x, y), " ", 2);
        if (++x == t->columns) {
            x = 0;
            y++;
        }
    }
}

static void line_feed(struct terminal *t)
{
    if (++t->y < t->rows)
        return;
    t->y = t->rows - 1;
    memmove(t->cells, t->cells + t->columns, sizeof *t->cells * t->columns * (t->rows - 1));
    clear(t, 0, t->rows - 1, t->columns, t->rows - 1);
}

static size_t escape(struct terminal *t, const char *at)
{
    unsigned n = 0;
    size_t i = 2;
    bool question = at[i] == '?';
    assert_int_equal(at[1], '[');
    for (i += question; (at[i] >= '0' && at[i] <= '9') || at[i] == ';'; i++)
        n = at[i] == ';' ? 0 : n * 10 + (unsigned)(at[i] - '0');
    switch (at[i]) {
    case 'A':
        assert_true(n <= t->y); /* up to the picture's own first line */
        t->y -= n;
        break;
    case 'H':
        t->x = t->y = 0;
        break;
    case 'K': /* behind the last column the cursor still stands on it: its character goes too */
        clear(t, t->x < t->columns ? t->x : t->columns - 1, t->y, t->columns, t->y);
        break;
    case 'J':
        clear(t, n == 2 ? 0 : t->x, n == 2 ? 0 : t->y, t->columns, t->rows - 1);
        break;
    case 'h':
    case 'l':
        assert_true(question && (n == 25 || n == 7));
        t->wraps = n == 7 ? at[i] == 'h' : t->wraps;
        break;
    case 'm':
        break;
    default:
        print_error("unexpected sequence ESC [ .. %c\n", at[i]);
        fail();
    }
    return i + 1;
}

static void put(struct terminal *t, const char *at, size_t n)
{
    if (t->x >= t->columns) {
        if (!t->wraps)
            fail_msg("a line is wider than the terminal's %u columns", t->columns);
        t->x = 0;
        line_feed(t);
    }
    memcpy(cell(t, t->x, t->y), at, n);
    cell(t, t->x, t->y)[n] = '\0';
    t->x++;
}

char *tty_picture(const char *seen, size_t len, unsigned columns, unsigned rows)
{
    struct terminal t = {.columns = columns, .rows = rows, .wraps = true};
    char *out = NULL;
    size_t out_len = 0;
    t.cells = calloc((size_t)columns * rows, sizeof *t.cells);
    clear(&t, 0, 0, columns, rows - 1);
    for (size_t i = 0; i < len;) {
        uint32_t c;
        size_t n = utf8_next(seen + i, len - i, &c);
        assert_true(n > 0);
        if (c == 0x1b) {
            i += escape(&t, seen + i);
            continue;
        }
        if (c == '\r')
            t.x = 0;
        else if (c == '\n')
            line_feed(&t);
        else
            put(&t, seen + i, n);
        i += n;
    }
    FILE *f = open_memstream(&out, &out_len);
    for (unsigned y = 0; y < rows; y++) {
        unsigned end = columns;
        while (end > 0 && strcmp(cell(&t, end - 1, y), " ") == 0)
            end--;
        for (unsigned x = 0; x < end; x++)
            fputs(cell(&t, x, y), f);
        fputc('\n', f);
    }
    fclose(f);
    free(t.cells);
    return out;
}
