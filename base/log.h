/* The log: one line per event on stderr, journal priority prefix (<6>), then key=value pairs.
 *   <6>issued device=sensor-0001 serial=5f.. ms=3
 * Values that hold anything but [!-~] without '"' '=' '\' are quoted and C-escaped: bytes that a device or a peer
 * chose can neither forge a line nor move a terminal's cursor. Private keys, PINs and tickets are never given to it. */
#pragma once
#include <stdint.h>
#include <stddef.h>
#include <syslog.h>

struct err;

struct log_field {
    const char *key; /* NULL ends the list */
    const char *str; /* used when not NULL */
    int64_t num;
    size_t len; /* of str; SIZE_MAX: NUL-terminated, and NULL is shown as "-" */
};
/* clang-format off */
#define LOG_STR(k, v)      {.key = (k), .str = (v), .len = SIZE_MAX}
#define LOG_MEM(k, v, n)   {.key = (k), .str = (const char *)(v), .len = (n)}
#define LOG_NUM(k, v)      {.key = (k), .num = (int64_t)(v)}
/* clang-format on */
/* log_info("issued", LOG_STR("device", name), LOG_NUM("ms", 3)): the event, then any number of fields. */
#define LOG_AT(priority, event, ...)                                                               \
    log_fields(priority, event, (const struct log_field[]){__VA_ARGS__})
#define log_error(...)   LOG_AT(LOG_ERR, __VA_ARGS__, {0})
#define log_warning(...) LOG_AT(LOG_WARNING, __VA_ARGS__, {0})
#define log_info(...)    LOG_AT(LOG_INFO, __VA_ARGS__, {0})
#define log_debug(...)   LOG_AT(LOG_DEBUG, __VA_ARGS__, {0})

/* program: put before each event when stderr is not the journal. Level from $KEYLINE_LOG (error, warning, info, debug). */
void log_open(const char *program);
void log_fields(int priority, const char *event, const struct log_field *fields);
/* event, error=<name> class=<class> code=<code> msg="..." */
void log_err(int priority, const char *event, const struct err *e);
