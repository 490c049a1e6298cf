/* Reads a manifest (docs/manifest.md) whole and strictly with libcsv. Needs no registry, so an approver's computer
 * computes the same root from the same file. Every bad row is reported; nothing is usable unless all is good. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/merkle.h"
#include "base/row.h"

struct manifest_error {
    uint64_t row; /* line of the file's record, header = 1; 0: the file itself */
    char *column; /* "" when the whole row is meant */
    char *reason; /* what is wrong and what to write instead */
};
struct manifest {
    uint64_t rows;
    struct buf encoded;         /* canonical rows, one behind the other */
    size_t *offsets;            /* rows + 1 offsets into encoded */
    uint32_t *lines;            /* rows: the line that each begins in */
    struct merkle_hash *leaves; /* rows */
    struct merkle_hash root;
    struct manifest_error *errors; /* the first MANIFEST_ERRORS_MAX */
    size_t error_count;            /* of errors[] */
    uint64_t errors_total;
    char sha256[65]; /* of the file as read, hex */
};
struct manifest_options {
    const char *default_group; /* for rows that name none; "" or NULL: such rows are errors */
};
/* 0: read and without a fault. -1 with ret->errors filled: ERR_MANIFEST; other ids: the file could not be read. */
int manifest_read(int fd, const struct manifest_options *o, struct manifest *ret, struct err *e);
/* Adds an error that only the caller could find; manifest_sort_errors() puts it where it belongs. */
void manifest_complain(struct manifest *m, uint64_t line, const char *column, const char *fmt, ...)
        __attribute__((format(printf, 4, 5)));
void manifest_sort_errors(struct manifest *m);
void manifest_done(struct manifest *m);
