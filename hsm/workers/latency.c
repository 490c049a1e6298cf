/* Durations. Promises nothing about any single one: they are for people who watch. */
#include "hsm/workers/latency.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t latency_now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void latency_end(struct latency *l, uint64_t begun_us)
{
    uint64_t us = latency_now_us() - begun_us;

    l->us[l->count++ % LATENCY_KEPT] = us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

uint32_t latency_percentile(const struct latency *l, unsigned percent)
{
    uint32_t sorted[LATENCY_KEPT];
    size_t n = l->count < LATENCY_KEPT ? (size_t)l->count : LATENCY_KEPT;

    if (!n)
        return 0;
    memcpy(sorted, l->us, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare_u32);
    return sorted[n * percent / 100];
}
