/* A manifest as it is named on the command line: opened, read here, and its faults shown. */
#pragma once
#include <stdint.h>

struct err;
struct manifest;
struct screen;

/* "-" is standard input; a pipe is drained into memory first, for who reads it wants a regular file. The descriptor, or -1. */
int manifest_file_open(const char *path, struct err *e);
/* manifest_read() of a file; group, which may be NULL, is for rows that name none. Faults go to standard error, as those of an
 * import do, and then ERR_MANIFEST counts them. */
int manifest_file_read(const char *path, const char *group, struct manifest *ret, struct err *e);
/* "m.csv:4: device_name: stands twice": editors jump there. file NULL: devices were named by arguments. */
void manifest_file_fault(const struct screen *s, const char *file, int64_t row, const char *column,
        const char *reason);
/* How many were not shown, if any. */
void manifest_file_more(const struct screen *s, int64_t more);
