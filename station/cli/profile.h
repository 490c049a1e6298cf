/* Profiles as people see them: before they are approved, and when they are written. */
#pragma once
#include "hsm/profile/profile.h"
#include "station/cli/cli.h"

/* The profile of that name as this computer has it: the built-in one, or etc/profiles/NAME.json. Every fault goes, a line each,
 * into problems unless that is NULL. ERR_PROFILE, ERR_NOT_FOUND. */
int profile_find(const struct cli *c, const char *name, struct profile **ret, struct buf *problems,
        struct err *e);
/* What certificates of it look like, as facts. */
void profile_show_facts(const struct screen *s, const struct profile *p);
