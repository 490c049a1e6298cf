/* UUIDs (RFC 9562) in their 36-character lower-case text form. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define UUID_TEXT_MAX 37
void uuid_v4(char out[UUID_TEXT_MAX]);
/* The device ID every station derives alike while offline: UUIDv5 in Keyline's namespace (uuid.c) over
 * account, division, group and name, each followed by one 0x1F byte (a separator no name may hold). */
void uuid_device(const char *account, const char *division, const char *group, const char *name,
        char out[UUID_TEXT_MAX]);
/* 1 when text is a UUID in that form. */
int uuid_valid(const char *text);
/* The 16 bytes of a UUID in that form, which the caller has checked. */
void uuid_bytes(const char *text, uint8_t out[16]);
