/* A picture drawn in its place. The only file with state of its own: a signal handler has nothing
 * else to restore the terminal from. Handlers call async-signal-safe functions only. */
#include "station/cli/live.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

/* No wrapping at the right edge while drawing: a line that is too long after a resize stays one
 * line. */
static const char enter_codes[] = "\033[?25l\033[?7l";
static const char leave_codes[] = "\033[0m\033[?7h\033[?25h";

static struct termios before;
static bool has_termios;
static volatile sig_atomic_t redraw; /* the picture's place is not known any more */
static sigset_t before_hold;
static unsigned lines; /* of the picture that stands there */

static void write_all(const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDOUT_FILENO, text, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* the terminal is gone; the exit status tells */
        text += n;
        len -= (size_t)n;
    }
}

/* A background job must not touch the terminal's settings: it would be stopped. */
static void enter(void)
{
    has_termios = tcgetpgrp(STDIN_FILENO) == getpgrp() && tcgetattr(STDIN_FILENO, &before) == 0;
    if (has_termios) {
        struct termios quiet = before;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(STDIN_FILENO, TCSADRAIN, &quiet);
    }
    write_all(enter_codes, sizeof enter_codes - 1);
}

static void leave(void)
{
    write_all(leave_codes, sizeof leave_codes - 1);
    if (has_termios)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
}

static void on_end(int sig)
{
    leave();
    write_all("\n", 1);
    raise(sig); /* the default action, once this handler has returned (SA_RESETHAND) */
}

static void on_stop(int sig)
{
    int saved = errno;
    (void)sig;
    leave();
    kill(getpid(), SIGSTOP);
    enter();
    redraw = 1;
    errno = saved;
}

static const struct {
    void (*handler)(int);
    int sig, flags;
} handlers[] = {
        {on_end, SIGINT, SA_RESETHAND},
        {on_end, SIGTERM, SA_RESETHAND},
        {on_end, SIGHUP, SA_RESETHAND},
        {on_end, SIGQUIT, SA_RESETHAND},
        {on_stop, SIGTSTP, 0},
};

static void catch_signals(bool on)
{
    for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++) {
        struct sigaction a = {.sa_handler = on ? handlers[i].handler : SIG_DFL,
                .sa_flags = on ? handlers[i].flags : 0};
        sigemptyset(&a.sa_mask);
        sigaction(handlers[i].sig, &a, NULL);
    }
}

/* Ctrl-Z takes effect while waiting only: in the middle of a call it would break the call off. */
static void hold_stop(sigset_t *ret_before)
{
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTSTP);
    sigprocmask(SIG_BLOCK, &stop, ret_before);
}

void live_begin(void)
{
    lines = 0;
    redraw = 0;
    catch_signals(true);
    hold_stop(&before_hold);
    enter();
}

void live_wait(unsigned ms)
{
    const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    ppoll(NULL, 0, &t, &before_hold);
}

void live_forget(void)
{
    redraw = 1;
}

void live_end(void)
{
    leave();
    sigprocmask(SIG_SETMASK, &before_hold, NULL);
    catch_signals(false);
}

/* One write for the whole picture: nobody sees half of it. */
void live_draw(struct screen *s, const char *text, size_t len)
{
    char *all = NULL;
    size_t all_len = 0;
    FILE *f = open_memstream(&all, &all_len);
    if (!f)
        return; /* the next picture may have memory */
    if (redraw) {
        redraw = 0;
        lines = 0;
        fputs("\033[H\033[2J", f);
    } else if (lines > 0)
        fprintf(f, "\033[%uA\r", lines);
    lines = 0;
    /* Cleared first, then written: behind a full line the cursor stands on its last character, and
     * clearing there would take that. */
    for (size_t i = 0; i < len; i++) {
        if (i == 0 || text[i - 1] == '\n')
            fputs("\033[K", f);
        fputs(text[i] == '\n' ? "\r" : "", f);
        fputc(text[i], f);
        lines += text[i] == '\n';
    }
    fputs("\033[J", f);
    fclose(f);
    fflush(s->file);
    write_all(all, all_len);
    free(all);
}
