/* The log. One event is one line and one write(2), whatever the values hold: nothing that a device
 * or a peer chose can end the line, look like another field or reach a terminal as an escape
 * sequence. Never fails, never allocates. */
#include "base/log.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/limits.h"

/* The one global of this library: a log that had to be passed around would not be used. */
static struct {
    const char *program;
    int level;
    bool journal;  /* stderr is the journal: it knows the program, and wants priorities */
    bool terminal; /* stderr is a person: no priorities */
} state = {.program = "keyline", .level = LOG_INFO};

struct line {
    char text[LOG_LINE_MAX];
    size_t len;
    bool full;
};

static int level_from_environment(void)
{
    const char *name = getenv("KEYLINE_LOG");
    static const struct {
        const char *name;
        int level;
    } levels[] = {
            {"error", LOG_ERR}, {"warning", LOG_WARNING}, {"info", LOG_INFO}, {"debug", LOG_DEBUG}};
    for (size_t i = 0; name != NULL && i < sizeof levels / sizeof levels[0]; i++)
        if (strcmp(name, levels[i].name) == 0)
            return levels[i].level;
    return LOG_INFO;
}

/* systemd.exec(5): $JOURNAL_STREAM is "device:inode" of the stream that goes to the journal. */
static bool stderr_is_journal(void)
{
    const char *text = getenv("JOURNAL_STREAM");
    struct stat st;
    if (text == NULL || fstat(STDERR_FILENO, &st) < 0)
        return false;
    char ours[48];
    snprintf(ours, sizeof ours, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    return strcmp(text, ours) == 0;
}

void log_open(const char *program)
{
    state.program = program;
    state.level = level_from_environment();
    state.journal = stderr_is_journal();
    state.terminal = isatty(STDERR_FILENO) == 1;
}

static void put(struct line *l, const char *bytes, size_t len)
{
    if (l->full || len > sizeof l->text - l->len) {
        l->full = true;
        return;
    }
    memcpy(l->text + l->len, bytes, len);
    l->len += len;
}

static void put_str(struct line *l, const char *s)
{
    put(l, s, strlen(s));
}

static bool is_plain(unsigned char c)
{
    return c >= '!' && c <= '~' && c != '"' && c != '=' && c != '\\';
}

static void put_escaped(struct line *l, unsigned char c)
{
    char out[8];
    switch (c) {
    case '\n':
        put_str(l, "\\n");
        return;
    case '\r':
        put_str(l, "\\r");
        return;
    case '\t':
        put_str(l, "\\t");
        return;
    case '"':
    case '\\':
        snprintf(out, sizeof out, "\\%c", c);
        break;
    default:
        if (c >= ' ' && c <= '~')
            snprintf(out, sizeof out, "%c", c);
        else
            snprintf(out, sizeof out, "\\x%02x", c);
    }
    put_str(l, out);
}

static void put_value(struct line *l, const char *value, size_t len)
{
    size_t shown = len < LOG_VALUE_MAX ? len : LOG_VALUE_MAX;
    bool quoted = shown == 0 || shown < len;
    for (size_t i = 0; i < shown && !quoted; i++)
        quoted = !is_plain((unsigned char)value[i]);
    if (!quoted) {
        put(l, value, shown);
        return;
    }
    put_str(l, "\"");
    for (size_t i = 0; i < shown; i++)
        put_escaped(l, (unsigned char)value[i]);
    put_str(l, shown < len ? "...\"" : "\"");
}

/* A field is on the line whole or not at all. */
static void put_field(struct line *l, const struct log_field *f)
{
    size_t before = l->len;
    put_str(l, " ");
    put_str(l, f->key);
    put_str(l, "=");
    if (f->str == NULL && f->len == SIZE_MAX) {
        put_str(l, "-");
    } else if (f->str != NULL) {
        put_value(l, f->str, f->len == SIZE_MAX ? strlen(f->str) : f->len);
    } else {
        char number[24];
        snprintf(number, sizeof number, "%" PRId64, f->num);
        put_str(l, number);
    }
    if (l->full)
        l->len = before;
}

void log_fields(int priority, const char *event, const struct log_field *fields)
{
    if (priority > state.level)
        return;
    static const char cut[] = " cut=1\n";
    struct line l = {.len = 0};
    if (!state.terminal) {
        char prefix[8];
        snprintf(prefix, sizeof prefix, "<%d>", priority & 7);
        put_str(&l, prefix);
    }
    if (!state.journal) {
        put_str(&l, state.program);
        put_str(&l, ": ");
    }
    put_str(&l, event);
    size_t whole = l.len;
    for (const struct log_field *f = fields; f != NULL && f->key != NULL && !l.full; f++) {
        put_field(&l, f);
        if (l.len <= sizeof l.text - sizeof cut)
            whole = l.len;
        else
            l.full = true;
    }
    l.len = whole;
    bool was_cut = l.full;
    l.full = false;
    put_str(&l, was_cut ? cut : "\n");
    ssize_t n = write(STDERR_FILENO, l.text, l.len);
    (void)n; /* nobody is left to tell */
}

void log_err(int priority, const char *event, const struct err *e)
{
    log_fields(priority, event,
            (const struct log_field[]){LOG_STR("error", err_name(e->id)),
                    LOG_STR("class", err_class_name(err_class(e->id))), LOG_NUM("code", e->code),
                    LOG_STR("msg", e->msg), {0}});
}
