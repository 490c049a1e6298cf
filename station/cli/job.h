/* What an import answers, shown: for job import and device register. */
#pragma once
#include "station/cli/cli.h"

/* 0 when imported; CLI_FAILED when not: the errors are shown, named after the file; NULL: there is none. */
int job_import_answer(struct cli *c, const char *file, struct buf *answer, struct err *e);
