/* The summary of a job, as a line lead wants it: how many, how good, how fast, what went wrong and what to do about it,
 * did it reach upstream, and where everything is. */
#pragma once
#include <jansson.h>
#include "station/cli/cli.h"

/* report: any page of the job's report. csv: where its rows were written, or NULL. */
void summary_show(struct cli *c, const json_t *report, const char *csv);
