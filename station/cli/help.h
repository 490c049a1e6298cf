/* The table of verbs as text: for people, and for their shells. */
#pragma once
#include <stdio.h>
#include "station/cli/screen.h"
#include "station/cli/verb.h"

/* noun: only its verbs; NULL: all. */
void help_overview(const struct screen *s, const char *noun);
void help_verb(const struct screen *s, const struct verb *v);
/* completion.c; shell: "bash", "zsh" or "fish". -1 when it is none of them. */
int completion_print(FILE *f, const char *shell);
