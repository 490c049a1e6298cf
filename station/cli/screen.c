/* Text for people's eyes. Every byte that came from elsewhere goes through next_glyph(), and what
 * is not a plain printable character becomes a question mark there. */
#include "station/cli/screen.h"

#include <inttypes.h>
#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

#include "base/text.h"

#define LABEL_MAX 64u
#define WIDTH_MIN 40u
#define WIDTH_MAX 400u
/* One line of a text that goes over several. */
#define PIECE_BYTES_MAX 4096u

/* Nothing set at all is a bare container or a service: terminals there speak UTF-8 today. */
static bool locale_is_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    bool set = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);
        set |= value && *value;
    }
    if (!set)
        return true;
    setlocale(LC_CTYPE, "");
    return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

void screen_init(struct screen *s, FILE *file)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    *s = (struct screen){.file = file, .tty = isatty(fileno(file)) == 1};
    s->color = s->tty && !(no_color && *no_color) && !(term && strcmp(term, "dumb") == 0);
    s->utf8 = locale_is_utf8();
    setlocale(LC_CTYPE, "C.UTF-8"); /* wcwidth() shall know every character, whatever is shown */
    screen_resize(s);
}

bool screen_resize(struct screen *s)
{
    struct winsize w = {0};
    unsigned width = 0, height = 0;
    if (s->tty && ioctl(fileno(s->file), TIOCGWINSZ, &w) == 0) {
        width = w.ws_col == 0 ? 80 : w.ws_col < WIDTH_MIN ? WIDTH_MIN : w.ws_col;
        width = width > WIDTH_MAX ? WIDTH_MAX : width;
        height = w.ws_row == 0 ? 24 : w.ws_row;
    }
    bool changed = width != s->width || height != s->height;
    s->width = width;
    s->height = height;
    return changed;
}

/* Characters that are printable by the tables but turn, hide or join what stands around them. */
static bool is_trick(uint32_t c)
{
    return c == 0xad || c == 0x61c || (c >= 0x200b && c <= 0x200f) ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff ||
           (c >= 0xfff9 && c <= 0xfffb) || (c >= 0xe0000 && c <= 0xe0fff);
}

/* The character that text begins with, as it may be shown. */
struct glyph {
    const char *text;
    size_t bytes, taken;
    unsigned columns;
};
static struct glyph next_glyph(const struct screen *s, const char *text, size_t len)
{
    uint32_t c = 0;
    size_t n = utf8_next(text, len, &c);
    int columns = n > 0 && !is_trick(c) ? wcwidth((wchar_t)c) : -1;
    if (columns < 0 || (n > 1 && !s->utf8))
        return (struct glyph){"?", 1, n ? n : 1, 1};
    return (struct glyph){text, n, n, (unsigned)columns};
}

unsigned screen_measure(const struct screen *s, const char *text)
{
    unsigned columns = 0;
    for (size_t len = strlen(text); len > 0;) {
        struct glyph g = next_glyph(s, text, len);
        columns += g.columns;
        text += g.taken;
        len -= g.taken;
    }
    return columns;
}

unsigned screen_put(const struct screen *s, const char *text, unsigned max)
{
    const char *ellipsis = s->utf8 ? "\u2026" : "~";
    bool cut = max > 0 && screen_measure(s, text) > max;
    unsigned columns = 0;
    for (size_t len = strlen(text); len > 0;) {
        struct glyph g = next_glyph(s, text, len);
        if (cut && columns + g.columns > max - 1)
            break;
        fwrite(g.text, 1, g.bytes, s->file);
        columns += g.columns;
        text += g.taken;
        len -= g.taken;
    }
    if (cut) {
        fputs(ellipsis, s->file);
        columns++;
    }
    return columns;
}

size_t screen_fit(const struct screen *s, const char *text, unsigned max)
{
    size_t at = 0, space = 0, len = strlen(text);
    unsigned columns = 0;
    while (at < len) {
        struct glyph g = next_glyph(s, text + at, len - at);
        if (columns + g.columns > max)
            return space ? space : at;
        if (text[at] == ' ')
            space = at;
        columns += g.columns;
        at += g.taken;
    }
    return len;
}

void screen_put_long(const struct screen *s, const char *text, unsigned max, unsigned indent)
{
    char piece[PIECE_BYTES_MAX];
    for (;;) {
        size_t len = s->width ? screen_fit(s, text, max) : strlen(text);
        len = len < sizeof piece ? len : sizeof piece - 1;
        snprintf(piece, sizeof piece, "%.*s", (int)len, text);
        screen_put(s, piece, 0);
        text += len;
        text += strspn(text, " ");
        if (!*text)
            return;
        screen_printf(s, "\n");
        screen_space(s, indent);
    }
}

void screen_space(const struct screen *s, unsigned columns)
{
    fprintf(s->file, "%*s", (int)columns, "");
}

void screen_cell(const struct screen *s, const char *text, unsigned columns)
{
    if (columns > 0)
        screen_space(s, columns - screen_put(s, text, columns));
}

void screen_cell_right(const struct screen *s, const char *text, unsigned columns)
{
    unsigned width = screen_measure(s, text);
    if (width < columns)
        screen_space(s, columns - width);
    if (columns > 0)
        screen_put(s, text, columns);
}

void screen_printf(const struct screen *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vfprintf(s->file, fmt, ap);
    va_end(ap);
}

void screen_style(const struct screen *s, enum style style)
{
    static const char *const codes[] = {
            [STYLE_PLAIN] = "\033[0m",
            [STYLE_BOLD] = "\033[0;1m",
            [STYLE_DIM] = "\033[0;2m",
            [STYLE_GOOD] = "\033[0;32m",
            [STYLE_BAD] = "\033[0;1;31m",
            [STYLE_BUSY] = "\033[0;36m",
            [STYLE_WARN] = "\033[0;33m",
    };
    if (s->color)
        fputs(codes[style], s->file);
}

enum style screen_state_style(const char *state)
{
    static const struct {
        const char *state;
        enum style style;
    } styles[] = {
            {"PASS", STYLE_GOOD},
            {"pass", STYLE_GOOD},
            {"Registered", STYLE_GOOD},
            {"Provisioned", STYLE_GOOD},
            {"Completed", STYLE_GOOD},
            {"online", STYLE_GOOD},
            {"idle", STYLE_GOOD},
            {"FAIL", STYLE_BAD},
            {"fail", STYLE_BAD},
            {"Failed", STYLE_BAD},
            {"Rejected", STYLE_BAD},
            {"Terminated", STYLE_BAD},
            {"working", STYLE_BUSY},
            {"In progress", STYLE_BUSY},
            {"waiting", STYLE_WARN},
            {"offline", STYLE_WARN},
            {"Pending approval", STYLE_WARN},
            {"empty", STYLE_DIM},
            {"off", STYLE_DIM},
            {"Deleted", STYLE_DIM},
    };
    for (size_t i = 0; i < sizeof styles / sizeof *styles; i++)
        if (strcmp(state, styles[i].state) == 0)
            return styles[i].style;
    return STYLE_PLAIN;
}

void screen_bar(const struct screen *s, uint64_t done, uint64_t total, unsigned columns)
{
    static const char *const eighths[] = {
            "", "\u258f", "\u258e", "\u258d", "\u258c", "\u258b", "\u258a", "\u2589"};
    double part = total ? (double)done / (double)total : 0;
    unsigned steps = (unsigned)((part > 1 ? 1 : part) * columns * 8), full = steps / 8;
    unsigned used = full;
    screen_style(s, STYLE_GOOD);
    for (unsigned i = 0; i < full; i++)
        fputs(s->utf8 ? "\u2588" : "#", s->file);
    if (s->utf8 && steps % 8) {
        fputs(eighths[steps % 8], s->file);
        used++;
    }
    screen_style(s, STYLE_DIM);
    for (; used < columns; used++)
        fputs(s->utf8 ? "\u2591" : "-", s->file);
    screen_style(s, STYLE_PLAIN);
}

void screen_fact(const struct screen *s, const char *label, const char *value)
{
    if (!value || !*value)
        return;
    screen_printf(s, "  ");
    screen_style(s, STYLE_DIM);
    unsigned width = screen_put(s, label, LABEL_MAX);
    screen_space(s, width + 1 > SCREEN_LABEL ? 2 : SCREEN_LABEL - width);
    screen_style(s, STYLE_PLAIN);
    screen_put(s, value, 0);
    screen_printf(s, "\n");
}

void screen_factf(const struct screen *s, const char *label, const char *fmt, ...)
{
    char value[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(value, sizeof value, fmt, ap);
    va_end(ap);
    screen_fact(s, label, value);
}

const char *number_format(int64_t n, char out[NUMBER_TEXT_MAX])
{
    char digits[NUMBER_TEXT_MAX];
    size_t len = (size_t)snprintf(
            digits, sizeof digits, "%" PRIu64, n < 0 ? (uint64_t)0 - (uint64_t)n : (uint64_t)n);
    char *to = out;
    if (n < 0)
        *to++ = '-';
    for (size_t i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
    return out;
}

const char *duration_format(int64_t ms, char out[NUMBER_TEXT_MAX])
{
    int64_t s = ms / 1000;
    if (ms < 1000)
        snprintf(out, NUMBER_TEXT_MAX, "%" PRId64 " ms", ms);
    else if (s < 60)
        snprintf(out, NUMBER_TEXT_MAX, "%.1f s", (double)ms / 1000);
    else if (s < 3600)
        snprintf(out, NUMBER_TEXT_MAX, "%" PRId64 " min %02" PRId64 " s", s / 60, s % 60);
    else
        snprintf(out, NUMBER_TEXT_MAX, "%" PRId64 " h %02" PRId64 " min", s / 3600, s / 60 % 60);
    return out;
}

const char *clock_format(const char *rfc3339, char out[NUMBER_TEXT_MAX])
{
    struct tm tm = {0};
    const char *end = strptime(rfc3339, "%Y-%m-%dT%H:%M:%S", &tm);
    time_t t = end && (*end == '.' || *end == 'Z') ? timegm(&tm) : -1;
    if (t == -1 || !localtime_r(&t, &tm) || tm.tm_year > 8000)
        snprintf(out, NUMBER_TEXT_MAX, "%.*s", NUMBER_TEXT_MAX - 1, rfc3339);
    else
        strftime(out, NUMBER_TEXT_MAX, "%Y-%m-%d %H:%M:%S", &tm);
    return out;
}
