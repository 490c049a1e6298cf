/* A simulated device's flash: a directory, a file per object. Committing is a rename, so a kill at
 * any time leaves an object old or new; with `durable` it is also synced, as a real device's flash
 * would be. */
#pragma once
#include <limits.h>
#include <stdbool.h>

#include "keyline/device.h"

struct flash {
    int dir; /* -1: closed */
    bool durable;
    bool forgets; /* fault: the certificate read is not the one written */
    struct kl_storage storage;
};
/* Makes DIR/HWID when it is not there. -1 with errno. */
int flash_open(struct flash *f, const char *dir, const char *hwid, bool durable);
void flash_close(struct flash *f);
