/* What a chain must be before it becomes a station's CA. Stricter than ca_load(): that one must read what is installed,
 * this one decides what may be. */
#pragma once
#include <stdint.h>

struct ca;
struct err;

/* now: Unix seconds. ERR_CA_CHAIN says what the root has to do otherwise: path lengths, key usage, validity nested and
 * not over, strong algorithms, no purpose that shuts devices out, RFC 5280 as OpenSSL's strict rules read it. */
int ca_check(const struct ca *ca, int64_t now, struct err *e);
