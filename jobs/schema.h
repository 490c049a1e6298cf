/* The schema and its migrations, oldest first. PRAGMA user_version counts those applied. */
#pragma once
#include <stddef.h>

size_t schema_version(void); /* what this program knows */
/* From version i to i + 1: its statements, NULL at the end. */
const char *const *schema_migration(size_t i);
