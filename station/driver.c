/* The table of drivers: nothing registers itself. */
#include "station/driver.h"

#include <string.h>

extern const struct driver driver_keyline;

static const struct driver *const driver_table[] = {
        &driver_keyline,
};

size_t driver_count(void)
{
    return sizeof driver_table / sizeof driver_table[0];
}

const struct driver *driver_at(size_t i)
{
    return i < driver_count() ? driver_table[i] : NULL;
}

const struct driver *driver_find(const char *name)
{
    for (size_t i = 0; i < driver_count(); i++)
        if (strcmp(driver_table[i]->name, name) == 0)
            return driver_table[i];
    return NULL;
}
