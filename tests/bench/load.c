/* Times, CPU and percentiles of a load. Decides nothing: what is fast enough is said by the tables
 * of tests/bench/run, never by an exit status. */
#include "tests/bench/load.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int64_t clock_us(clockid_t clock)
{
    struct timespec t;

    return clock_gettime(clock, &t) < 0 ? 0 : (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t load_now_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

/* The same account as utime and stime in /proc/PID/stat, without their rounding to 10 ms. */
int64_t load_cpu_us(pid_t pid)
{
    clockid_t clock;

    return clock_getcpuclockid(pid, &clock) == 0 ? clock_us(clock) : 0;
}

static int64_t cpu_of_all(const struct load *l)
{
    int64_t sum = 0;

    for (size_t i = 0; i < l->pid_count; i++)
        sum += load_cpu_us(l->pids[i]);
    return sum;
}

void load_add_pid(struct load *l, pid_t pid)
{
    if (pid > 0 && l->pid_count < LOAD_PROCESSES_MAX)
        l->pids[l->pid_count++] = pid;
}

void load_start(struct load *l, size_t count)
{
    l->latency_us = calloc(count, sizeof *l->latency_us);
    if (!l->latency_us)
        load_fail("no memory");
    l->count = count;
    l->done = 0;
    l->cpu_us = cpu_of_all(l);
    l->own_us = load_cpu_us(getpid());
    l->started_us = load_now_us();
}

void load_done(struct load *l, int64_t begun_us)
{
    int64_t now = load_now_us();

    l->latency_us[l->done++] = (uint32_t)(now - begun_us);
    if (l->done < l->count)
        return;
    l->ended_us = now;
    l->cpu_us = cpu_of_all(l) - l->cpu_us;
    l->own_us = load_cpu_us(getpid()) - l->own_us;
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

void load_print(struct load *l)
{
    qsort(l->latency_us, l->count, sizeof *l->latency_us, compare_u32);
    printf("rate=%.1f p50_us=%u p99_us=%u",
            (double)l->count * 1e6 / (double)(l->ended_us - l->started_us),
            l->latency_us[l->count / 2], l->latency_us[l->count * 99 / 100]);
    if (l->pid_count)
        printf(" cpu_us=%.1f", (double)l->cpu_us / (double)l->count);
    printf(" own_us=%.1f", (double)l->own_us / (double)l->count);
    putchar('\n');
    free(l->latency_us);
}

void load_fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fputs("bench: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}
