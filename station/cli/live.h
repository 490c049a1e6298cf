/* A picture that is drawn again in its place, on a terminal, with plain ANSI: no alternate screen, so that the last one
 * stays in the scroll-back. Whatever ends the program, the terminal has its cursor, its echo and its colours back. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "station/cli/screen.h"

/* Hides the cursor and the echo of keys, and catches the signals that would leave them so. One at a time. */
void live_begin(void);
/* The picture: lines that end in '\n', fewer than the terminal has. Replaces the one before. */
void live_draw(struct screen *s, const char *text, size_t len);
/* The terminal has another size: where the last picture stands is not known any more, the next one starts afresh. */
void live_forget(void);
/* Waits, and sees to Ctrl-Z meanwhile. */
void live_wait(unsigned ms);
void live_end(void);
