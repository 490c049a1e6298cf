/* Exponential back-off with full jitter: each pause is drawn evenly from 0 to a ceiling that
 * doubles with every failure up to a maximum, so that a hundred stations whose line comes back at
 * once do not all call at once. Pure: the caller brings the random number, and the clock stays
 * outside. */
#pragma once
#include <stdint.h>

struct backoff {
    uint32_t min_ms;   /* the first ceiling; at least 1 */
    uint32_t max_ms;   /* the last */
    uint32_t failures; /* in a row */
};

/* The next pause in milliseconds, 0..ceiling; counts the failure. random: any 64 bits, all values
 * equally likely. */
uint32_t backoff_next(struct backoff *b, uint64_t random);
/* What the next pause will not exceed. */
uint32_t backoff_ceiling(const struct backoff *b);
/* It worked: begin anew. */
void backoff_reset(struct backoff *b);
