/* keyline.conf (INI, read with inih). Every key that exists stands in config_list.h with its default and its meaning;
 * an unknown section or key is an error with its line, so that a typing mistake cannot silently change a station.
 * Sections named "slot NAME" and "token NAME" repeat. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/limits.h"

struct err;
struct config;

/* A missing file gives the defaults. */
int config_load(const char *path, struct config **ret, struct err *e);
void config_free(struct config **c);
/* The value or the default of config_list.h ("" when there is none). Asking for a key that is not listed is a bug: abort.
 * section: as it stands in the file, "token B" for a section that repeats; one that is not there has the defaults. */
const char *config_get(const struct config *c, const char *section, const char *key);
/* Numbers are checked against their range when loaded. */
int64_t config_num(const struct config *c, const char *section, const char *key);

/* The name that stands in this station's records and that tickets are checked against: [station] name, else the host's
 * name. ERR_CONFIG when it is no name_valid() name, or is "*", which means any station. */
int config_station(const struct config *c, char ret[NAME_BYTES_MAX + 1], struct err *e);

/* Appends the uid of the user that `key` of [access] names to uids, which has room for one more; made for bus_door. An
 * empty key appends none, and neither does a default naming a user that this machine does not have. ERR_CONFIG when
 * the file names such a user. */
int config_user(
        const struct config *c, const char *key, uid_t *uids, size_t *uid_count, struct err *e);

struct config_slot {
    const char *name;   /* "01" of [slot 01] */
    const char *port;   /* path of the serial device; may be absent until something is plugged in */
    const char *driver; /* a name of the driver table */
    unsigned baud;
};
size_t config_slots(const struct config *c, const struct config_slot **ret);
/* The sections that describe a token, for config_get(): "token", and each "token NAME" in the order of the file. */
size_t config_tokens(const struct config *c, const char *const **ret);
