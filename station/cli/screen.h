/* Text for people's eyes. Promises that bytes somebody else chose (a device's name, an error's message) never move the
 * cursor, change colours, reverse the reading order or break a table. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum style { STYLE_PLAIN, STYLE_BOLD, STYLE_DIM, STYLE_GOOD, STYLE_BAD, STYLE_BUSY, STYLE_WARN };

struct screen {
    FILE *file;
    bool tty;
    bool color; /* a terminal, and NO_COLOR is not set */
    bool utf8;
    unsigned width, height; /* of the terminal; width 0: no limit */
};
void screen_init(struct screen *s, FILE *file);
/* Asks the terminal for its size again; true when it has changed. */
bool screen_resize(struct screen *s);

/* Columns the text takes when it is put. */
unsigned screen_measure(const struct screen *s, const char *text);
/* The text, every character that is no plain printable one replaced, at most max columns (0: all), an ellipsis where it
 * was cut. Returns the columns it took. */
unsigned screen_put(const struct screen *s, const char *text, unsigned max);
/* How many bytes of the text go into max (at least 2) columns, up to a space where there is one. */
size_t screen_fit(const struct screen *s, const char *text, unsigned max);
/* In as many lines of at most max (at least 2) columns as it takes, all but the first behind `indent` spaces; in one where
 * the width has no limit. */
void screen_put_long(const struct screen *s, const char *text, unsigned max, unsigned indent);
/* Exactly `columns` wide: cut or filled with spaces, on the right or, right-aligned, on the left. */
void screen_cell(const struct screen *s, const char *text, unsigned columns);
void screen_cell_right(const struct screen *s, const char *text, unsigned columns);
void screen_space(const struct screen *s, unsigned columns);
/* Our own words only: goes out as it is. */
void screen_printf(const struct screen *s, const char *fmt, ...)
        __attribute__((format(printf, 2, 3)));
/* Until the next one; nothing without colours. */
void screen_style(const struct screen *s, enum style style);
/* The style for the states of devices, jobs, slots, and the verdicts. */
enum style screen_state_style(const char *state);
/* A bar of `columns`, `done` of `total` full. */
void screen_bar(const struct screen *s, uint64_t done, uint64_t total, unsigned columns);

/* "  Label               value": one fact. A NULL or empty value is left out; a long label moves its value on. */
void screen_fact(const struct screen *s, const char *label, const char *value);
void screen_factf(const struct screen *s, const char *label, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));
#define SCREEN_LABEL 20

/* "1,234,567"; out needs NUMBER_TEXT_MAX bytes. */
#define NUMBER_TEXT_MAX 32
const char *number_format(int64_t n, char out[NUMBER_TEXT_MAX]);
/* "850 ms", "1.8 s", "4 min 10 s", "2 h 05 min" */
const char *duration_format(int64_t ms, char out[NUMBER_TEXT_MAX]);
/* RFC 3339 as the answers have it, in the station's local time, "2026-11-23 11:20:12"; what is no time stays as it is. */
const char *clock_format(const char *rfc3339, char out[NUMBER_TEXT_MAX]);
