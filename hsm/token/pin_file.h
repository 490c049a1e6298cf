/* Where the user PIN of a token lies: for workers and ceremonies the same. */
#pragma once
#include <limits.h>

struct config;
struct paths;

/* pin_file of the token's section, else the PIN that systemd hands over (LoadCredential=token.pin), else token.pin beside
 * the configuration; for [token NAME] both are called token.NAME.pin: no token is ever given another's PIN. */
void pin_file_find(
        const struct paths *p, const struct config *c, const char *section, char out[PATH_MAX]);
