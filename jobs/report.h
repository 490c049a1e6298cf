/* The report of a job: its numbers and its rows. */
#pragma once
#include <stdint.h>
#include <jansson.h>
#include "base/err.h"

struct registry;

#define REPORT_PAGE_MAX 1000 /* rows of one answer */

/* {"job","summary","rows","next"}: rows after `after_row` (0: from the first). limit 0: the largest page. */
int report_make(struct registry *r, int64_t job, uint64_t after_row, unsigned limit, json_t **ret,
        struct err *e);
