/* The bootstrap configuration put into a device: bootstrap_config.json of docs/domain.md. The same row at the same
 * station gives the same bytes, so that reading it back can be compared. */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "base/row.h"

struct site;

/* ERR_LIMIT above CONFIG_BYTES_MAX. */
int bootstrap_format(const struct site *s, const char *device_id, const struct row *row,
        struct buf *out, struct err *e);
