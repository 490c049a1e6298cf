/* Who this station is: part of every record sent upstream and of every device's bootstrap configuration. */
#pragma once
#include "base/err.h"
#include "base/limits.h"

struct config;

struct site {
    char station[NAME_BYTES_MAX + 1];
    char account[NAME_BYTES_MAX + 1], division[NAME_BYTES_MAX + 1];
    const char *mqtt_primary, *mqtt_secondary; /* borrowed from the configuration */
    const char *upstream_url;
};
/* ERR_CONFIG when a name could not stand in a path or a topic. */
int site_init(struct site *s, const struct config *c, struct err *e);
