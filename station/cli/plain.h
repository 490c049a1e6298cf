/* What several verbs show alike. */
#pragma once
#include "station/cli/cli.h"
#include "station/cli/table.h"

/* A list verb's answer, with its option --columns; `nothing` is said when it is empty. */
int plain_list(struct cli *c, const json_t *rows, const struct table_column *columns, size_t count,
        const char *nothing, struct err *e);
/* The "error" member of an answer; nothing when it is null. */
void plain_error(struct cli *c, const json_t *error);
/* What to do about the signer's error, as status has it. */
const char *plain_signer_hint(const json_t *error);
