/* The PIN file's path. Promises nothing about what is in it: whoever reads it checks its rights. */
#include "hsm/token/pin_file.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/config.h"
#include "base/limits.h"
#include "base/paths.h"

void pin_file_find(
        const struct paths *p, const struct config *c, const char *section, char out[PATH_MAX])
{
    const char *set = config_get(c, section, "pin_file");
    const char *credentials = getenv("CREDENTIALS_DIRECTORY");
    const char *own = strchr(section, ' '); /* before its own name */
    char name[CONF_NAME_MAX + 16];

    if (*set) {
        snprintf(out, PATH_MAX, "%s", set);
        return;
    }
    snprintf(name, sizeof name, "token%s%s.pin", own ? "." : "", own ? own + 1 : "");
    if (credentials && snprintf(out, PATH_MAX, "%s/%s", credentials, name) < PATH_MAX &&
            access(out, F_OK) == 0)
        return;
    paths_get(p, PATH_TOKEN_PIN, out);
    snprintf(strrchr(out, '/') + 1, sizeof name, "%s", name);
}
