/* The last durations of something, for percentiles. */
#pragma once
#include <stdint.h>

#define LATENCY_KEPT 1024

struct latency {
    uint64_t count; /* of all, also of those that are no longer kept */
    uint32_t us[LATENCY_KEPT];
};
/* Microseconds of CLOCK_MONOTONIC. */
uint64_t latency_now_us(void);
/* One that began then and ends now. */
void latency_end(struct latency *l, uint64_t begun_us);
/* 0 while there is none. */
uint32_t latency_percentile(const struct latency *l, unsigned percent);
