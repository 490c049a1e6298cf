/* The pauses between tries. Never longer than max_ms, never overflowing however long the line stays
 * away. */
#include "jobs/sync/backoff.h"

uint32_t backoff_ceiling(const struct backoff *b)
{
    uint64_t ceiling = b->min_ms;
    for (uint32_t i = 0; i < b->failures && ceiling < b->max_ms; i++)
        ceiling *= 2;
    return ceiling < b->max_ms ? (uint32_t)ceiling : b->max_ms;
}

uint32_t backoff_next(struct backoff *b, uint64_t random)
{
    uint32_t ceiling = backoff_ceiling(b);
    if (b->failures < UINT32_MAX)
        b->failures++;
    return (uint32_t)(random % ((uint64_t)ceiling + 1));
}

void backoff_reset(struct backoff *b)
{
    b->failures = 0;
}
