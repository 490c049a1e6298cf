/* What the load programs share: times, CPU seconds of other processes, and the one line each of them prints:
 *   rate=N p50_us=N p99_us=N [cpu_us=N] own_us=N     per second; microseconds; CPU for one of them: of the measured
 *   processes, and of the load program itself, which takes it from them */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LOAD_PROCESSES_MAX 16

struct load {
    int64_t started_us, ended_us;
    uint32_t *latency_us;
    size_t done, count;
    pid_t pids[LOAD_PROCESSES_MAX]; /* whose CPU counts */
    size_t pid_count;
    int64_t cpu_us, own_us; /* of them, and ours: before, then in between */
};

int64_t load_now_us(void);
/* Of one process since it started, all threads, kernel and user; 0 when it has gone. */
int64_t load_cpu_us(pid_t pid);
void load_add_pid(struct load *l, pid_t pid);
void load_start(struct load *l, size_t count);
/* One more is done, begun at this time. The last one stops the clock. */
void load_done(struct load *l, int64_t begun_us);
/* Prints the line and frees what load_start() took. */
void load_print(struct load *l);
/* "bench: ..." on stderr, and the end. */
_Noreturn void load_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
