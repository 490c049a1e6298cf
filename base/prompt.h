/* Talking with a person at the terminal, above all asking for a secret: nothing is echoed, and the terminal has its echo
 * back whatever signal comes. */
#pragma once

struct buf;
struct err;

/* Appends what is typed, 1 to 1,023 bytes without the line's end. ERR_ARGUMENT when there is no terminal, or nothing was
 * typed. */
int prompt_secret(const char *question, struct buf *ret_secret, struct err *e);
/* Our own words to whoever sits at the terminal, wherever standard error goes; lost where there is none. */
void prompt_tell(const char *line);
