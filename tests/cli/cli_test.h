/* What the command line's tests share: a directory of their own, a fake appliance in it, and the real program run
 * against it, with its output caught or on a pseudo-terminal. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <cmocka.h>

#define TEST_OUTPUT_MAX (1u << 20)

/* $KEYLINE_ROOT in a fresh directory; cmocka group set-up and tear-down. */
int test_root_make(void **state);
int test_root_remove(void **state);
extern char test_root[64];
/* "<root>/<name>"; valid until the eighth call after it. */
const char *test_path(const char *name);
void test_write(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The fake door org.keyline.Jobs1, in a process of its own. A call is answered with the content of answers/METHOD.json,
 * read anew each time, or refused as answers/METHOD.error says ("Name message"); for JobReport and DeviceList
 * answers/METHOD.ARG.json comes first, ARG being after_row or the cursor. Each call is a line of calls.log. answers/delay-ms, when it is
 * there, makes every answer take so long. */
void fake_start(void);
void fake_stop(void);
void fake_answer(const char *method, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void fake_refuse(const char *method, const char *name, const char *message);
/* What the calls were, since the last time this was asked. */
const char *fake_calls(void);

struct outcome {
    int status; /* exit status, or -signal */
    char *out, *err;
};
/* keyline ARGS.. with nothing on standard input; the outcome is freed by the next run. Ends with NULL. */
const struct outcome *keyline(const char *first, ...) __attribute__((sentinel));
/* The same with input, through a pipe. */
const struct outcome *keyline_input(const char *input, const char *first, ...)
        __attribute__((sentinel));
#define assert_says(text, part) test_assert_says(text, part, __FILE__, __LINE__)
void test_assert_says(const char *text, const char *part, const char *file, int line);
void test_assert_silent(const char *text, const char *part, const char *file, int line);
#define assert_not_says(text, part) test_assert_silent(text, part, __FILE__, __LINE__)
/* For people: no control character but '\n', none that turns the reading order. For scripts: '\t' as well, and no
 * business with reading orders. */
void test_assert_tame(const char *text, bool script);

/* keyline on a pseudo-terminal. */
struct tty {
    int fd;
    pid_t pid;
    char *seen; /* all it has written */
    size_t len;
};
void tty_start(struct tty *t, unsigned columns, unsigned rows, const char *const *args);
/* Reads until `part` was written (true), or the time is over, or the program has ended. */
bool tty_expect(struct tty *t, const char *part, unsigned timeout_ms);
void tty_type(struct tty *t, const char *text);
/* Reads to the end; the exit status or -signal. */
int tty_end(struct tty *t);
void tty_done(struct tty *t);
/* The screen a terminal of that size would show: rows lines of columns cells, as text, '\n' behind each; out is
 * malloc'd. Fails the test when a character was written in or beyond the last column without wrapping being off. */
char *tty_picture(const char *seen, size_t len, unsigned columns, unsigned rows);
