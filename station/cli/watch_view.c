/* The picture of a running job. A slot has a line of its own while there is room; then the slots
 * stand in columns, and the last lines say why devices failed. */
#include "station/cli/watch_view.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "station/cli/cli.h"

#define AROUND         6u  /* title, bar, counts, blank; notice; and the line the cursor rests on */
#define REASONS        2u  /* lines for failures below the columns */
#define COLUMN_MIN     16u /* "01 PASS ..000017" */
#define COLUMN_GAP     2u
#define SLOT_NAME_MAX  8u
#define DEVICE_MIN     8u
#define DEVICE_MAX     28u
#define STATE_WIDTH    7u /* "working" */
#define STATE_SHORT    4u
#define HEIGHT_UNKNOWN 24u

static const struct {
    const char *state, *word, *short_word;
} words[] = {
        {"empty", "empty", "-"},
        {"working", "working", "work"},
        {"pass", "PASS", "PASS"},
        {"fail", "FAIL", "FAIL"},
        {"waiting", "waiting", "wait"},
};

static size_t word_of(const json_t *slot)
{
    const char *state = json_text(slot, "state");
    size_t i = 0;
    while (i < sizeof words / sizeof *words && strcasecmp(words[i].state, state) != 0)
        i++;
    return i < sizeof words / sizeof *words ? i : 0;
}

static unsigned count_state(const json_t *slots, const char *word)
{
    unsigned n = 0;
    size_t i;
    json_t *slot;
    json_array_foreach(slots, i, slot)
    {
        n += strcmp(words[word_of(slot)].word, word) == 0;
    }
    return n;
}

/* ---- above the slots */

static unsigned percent(const json_t *job)
{
    int64_t rows = json_number(job, "rows"), done = json_number(job, "registered");
    return rows > 0 ? (unsigned)(done * 100 / rows) : 0;
}

static void draw_title(const struct screen *s, const json_t *job)
{
    const char *state = json_text(job, "state");
    unsigned state_width = screen_measure(s, state);
    unsigned room = s->width > state_width + 3 ? s->width - state_width - 3 : 1;
    screen_style(s, STYLE_BOLD);
    unsigned used = screen_put(s, json_text(job, "name"), room);
    screen_space(s, s->width - used - state_width);
    screen_style(s, screen_state_style(state));
    screen_put(s, state, 0);
    screen_style(s, STYLE_PLAIN);
    screen_printf(s, "\n");
}

/* The numbers keep their width, so that the bar keeps its own. */
static void draw_bar(const struct screen *s, const json_t *job)
{
    char done[NUMBER_TEXT_MAX], rows[NUMBER_TEXT_MAX], text[2 * NUMBER_TEXT_MAX + 16];
    number_format(json_number(job, "rows"), rows);
    number_format(json_number(job, "registered"), done);
    int len = snprintf(
            text, sizeof text, "  %*s / %s  %3u %%", (int)strlen(rows), done, rows, percent(job));
    unsigned bar = s->width > (unsigned)len + 4 ? s->width - (unsigned)len : 4;
    screen_bar(
            s, (uint64_t)json_number(job, "registered"), (uint64_t)json_number(job, "rows"), bar);
    screen_style(s, STYLE_BOLD);
    screen_printf(s, "%s", text);
    screen_style(s, STYLE_PLAIN);
    screen_printf(s, "\n");
}

/* No more exact than it is known. */
static const char *left_format(int64_t ms, char out[NUMBER_TEXT_MAX])
{
    int64_t s = ms / 1000;
    if (s < 90)
        snprintf(out, NUMBER_TEXT_MAX, "%" PRId64 " s", s);
    else if (s < 5400)
        snprintf(out, NUMBER_TEXT_MAX, "%" PRId64 " min", (s + 30) / 60);
    else
        snprintf(out, NUMBER_TEXT_MAX, "%" PRId64 " h %02" PRId64 " min", s / 3600, s / 60 % 60);
    return out;
}

static void draw_counts(const struct screen *s, const struct watch_view *v)
{
    char text[160], n[NUMBER_TEXT_MAX];
    int64_t failed = json_number(v->job, "failed");
    unsigned used;
    screen_style(s, failed > 0 ? STYLE_BAD : STYLE_PLAIN);
    snprintf(text, sizeof text, "%s failed", number_format(failed, n));
    used = screen_put(s, text, s->width);
    screen_style(s, STYLE_PLAIN);
    snprintf(text, sizeof text, "   %u working", count_state(v->slots, "working"));
    used += screen_put(s, text, s->width - used);
    if (v->per_hour >= 0) {
        snprintf(text, sizeof text, "   %s an hour", number_format((int64_t)v->per_hour, n));
        used += screen_put(s, text, s->width - used);
    }
    if (v->left_ms >= 0) {
        snprintf(text, sizeof text, "   about %s left", left_format(v->left_ms, n));
        screen_put(s, text, s->width - used);
    }
    screen_printf(s, "\n\n");
}

/* ---- the slots */

struct widths {
    unsigned name, device;
};

static struct widths measure(const struct screen *s, const json_t *slots)
{
    struct widths w = {2, DEVICE_MIN};
    size_t i;
    json_t *slot;
    json_array_foreach(slots, i, slot)
    {
        unsigned name = screen_measure(s, json_text(slot, "name"));
        unsigned device = screen_measure(s, json_text(slot, "device_name"));
        w.name = name > w.name ? name : w.name;
        w.device = device > w.device ? device : w.device;
    }
    w.name = w.name > SLOT_NAME_MAX ? SLOT_NAME_MAX : w.name;
    w.device = w.device > DEVICE_MAX ? DEVICE_MAX : w.device;
    return w;
}

static void draw_word(const struct screen *s, const char *word, unsigned width)
{
    screen_style(s, screen_state_style(word));
    screen_cell(s, word, width);
    screen_style(s, STYLE_PLAIN);
}

static unsigned long_width(struct widths w)
{
    return w.name + 2 + STATE_WIDTH + 2 + w.device;
}

/* Exactly `columns` wide, at least long_width(). A device that did not say who it is leaves its
 * room to the reason. */
static void draw_long(const struct screen *s, const json_t *slot, struct widths w, unsigned columns)
{
    const char *device = json_text(slot, "device_name"), *text = json_text(slot, "text");
    unsigned room = columns > long_width(w) + 2 ? columns - long_width(w) - 2 : 0;
    screen_cell(s, json_text(slot, "name"), w.name);
    screen_space(s, 2);
    draw_word(s, words[word_of(slot)].word, STATE_WIDTH);
    screen_space(s, 2);
    if (!*device && screen_measure(s, text) > room) {
        screen_cell(s, text, columns - (long_width(w) - w.device));
        return;
    }
    screen_cell(s, device, w.device);
    if (room > 0) {
        screen_space(s, 2);
        screen_cell(s, text, room);
    }
}

/* Names of one order differ at their ends. */
static void draw_tail(const struct screen *s, const char *text, unsigned columns)
{
    const char *at = text;
    if (screen_measure(s, at) <= columns) {
        screen_cell(s, at, columns);
        return;
    }
    while (*at && screen_measure(s, at) > columns - 1)
        for (at++; ((unsigned char)*at & 0xc0) == 0x80; at++)
            ;
    screen_printf(s, "%s", s->utf8 ? "\u2026" : "~");
    screen_cell(s, at, columns - 1);
}

static void draw_compact(
        const struct screen *s, const json_t *slot, struct widths w, unsigned columns)
{
    screen_cell(s, json_text(slot, "name"), w.name);
    screen_space(s, 1);
    draw_word(s, words[word_of(slot)].short_word, STATE_SHORT);
    screen_space(s, 1);
    draw_tail(s, json_text(slot, "device_name"), columns - w.name - STATE_SHORT - 2);
}

/* Why slots do not work: failures first, then those that wait. */
static void draw_reasons(const struct screen *s, const json_t *slots)
{
    static const char *const wanted[] = {"FAIL", "waiting"};
    unsigned left = REASONS;
    size_t i;
    json_t *slot;
    for (size_t pass = 0; pass < 2; pass++)
        json_array_foreach(slots, i, slot)
        {
            if (left == 0 || strcmp(words[word_of(slot)].word, wanted[pass]) != 0)
                continue;
            unsigned used = screen_put(s, json_text(slot, "name"), SLOT_NAME_MAX);
            screen_space(s, 1);
            draw_word(s, words[word_of(slot)].short_word, STATE_SHORT);
            screen_space(s, 1);
            screen_put(s, json_text(slot, "text"), s->width - used - STATE_SHORT - 2);
            screen_printf(s, "\n");
            left--;
        }
    while (left-- > 0)
        screen_printf(s, "\n");
}

/* Down the columns, as the slots stand on the bench; with what they are doing where there is room.
 * Returns how many did not fit. */
static size_t draw_grid(const struct screen *s, const json_t *slots, unsigned rows)
{
    size_t count = json_array_size(slots);
    struct widths w = measure(s, slots);
    unsigned most = (s->width + COLUMN_GAP) / (COLUMN_MIN + COLUMN_GAP);
    unsigned columns = (unsigned)((count + rows - 1) / rows);
    columns = columns > most ? most : columns;
    unsigned width = (s->width + COLUMN_GAP) / columns - COLUMN_GAP;
    unsigned deep = (unsigned)((count + columns - 1) / columns);
    deep = deep > rows ? rows : deep;
    for (unsigned r = 0; r < deep; r++) {
        for (unsigned c = 0; c < columns && (size_t)c * deep + r < count; c++) {
            const json_t *slot = json_array_get(slots, (size_t)c * deep + r);
            screen_space(s, c ? COLUMN_GAP : 0);
            if (width >= long_width(w))
                draw_long(s, slot, w, width);
            else
                draw_compact(s, slot, w, width);
        }
        screen_printf(s, "\n");
    }
    size_t shown = (size_t)columns * deep;
    return count > shown ? count - shown : 0;
}

/* One column while it fits, whatever its width; else several, and below them the reasons that have
 * no room there. */
static size_t draw_slots(const struct screen *s, const json_t *slots, unsigned rows)
{
    bool grid = json_array_size(slots) > rows;
    unsigned below = grid && rows > REASONS + 1 ? REASONS : 0;
    size_t i, hidden = 0;
    json_t *slot;
    if (grid)
        hidden = draw_grid(s, slots, rows - below);
    if (below > 0)
        draw_reasons(s, slots);
    if (grid)
        return hidden;
    struct widths w = measure(s, slots);
    json_array_foreach(slots, i, slot)
    {
        draw_long(s, slot, w, s->width);
        screen_printf(s, "\n");
    }
    return 0;
}

static void draw_notice(const struct screen *s, const struct watch_view *v, size_t hidden)
{
    char text[96];
    if (v->over)
        return;
    if (v->notice) {
        screen_style(s, STYLE_WARN);
        screen_put(s, v->notice, s->width);
    } else {
        if (hidden > 0)
            snprintf(text, sizeof text, "%zu more slots: make the window larger", hidden);
        else
            snprintf(text, sizeof text, "Ctrl-C ends the watching, not the job");
        screen_style(s, STYLE_DIM);
        screen_put(s, text, s->width);
    }
    screen_style(s, STYLE_PLAIN);
    screen_printf(s, "\n");
}

void watch_view_draw(const struct screen *s, const struct watch_view *v)
{
    unsigned height = s->height ? s->height : HEIGHT_UNKNOWN;
    size_t hidden = 0;
    draw_title(s, v->job);
    draw_bar(s, v->job);
    draw_counts(s, v);
    if (height > AROUND)
        hidden = draw_slots(s, v->slots, height - AROUND);
    if (!v->over && json_array_size(v->slots) + AROUND < height)
        screen_printf(s, "\n");
    draw_notice(s, v, hidden);
}

/* ---- without a terminal */

static void put_time(const struct screen *s)
{
    char text[16];
    time_t now = time(NULL);
    struct tm tm;
    strftime(text, sizeof text, "%H:%M:%S", localtime_r(&now, &tm));
    screen_printf(s, "%s  ", text);
}

void watch_view_line(const struct screen *s, const struct watch_view *v)
{
    char n[3][NUMBER_TEXT_MAX];
    put_time(s);
    screen_printf(s, "%s of %s (%u %%), %s failed, %u working",
            number_format(json_number(v->job, "registered"), n[0]),
            number_format(json_number(v->job, "rows"), n[1]), percent(v->job),
            number_format(json_number(v->job, "failed"), n[2]), count_state(v->slots, "working"));
    if (v->per_hour >= 0)
        screen_printf(s, ", %s an hour", number_format((int64_t)v->per_hour, n[0]));
    if (v->left_ms >= 0)
        screen_printf(s, ", about %s left", left_format(v->left_ms, n[0]));
    if (v->notice) {
        screen_printf(s, "; ");
        screen_put(s, v->notice, 0);
    }
    screen_printf(s, "\n");
}

void watch_view_failure(const struct screen *s, const json_t *slot)
{
    put_time(s);
    screen_printf(s, "slot ");
    screen_put(s, json_text(slot, "name"), 0);
    screen_printf(s, " FAIL ");
    screen_put(s, json_text(slot, "device_name"), 0);
    screen_printf(s, ": ");
    screen_put(s, json_text(slot, "text"), 0);
    screen_printf(s, "\n");
}
