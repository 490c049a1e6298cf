/* Keys this maker wants refused, by the SHA-256 of their DER SubjectPublicKeyInfo: etc/blocked-keys.txt, one digest of 64
 * hexadecimal digits a line, "#" begins a comment. */
#pragma once
#include <stdint.h>

struct blocked_keys;
struct err;

/* The file may be missing: then nothing is blocked. ERR_NOMEM only: a faulty file is reported when a key is looked up. */
int blocked_keys_open(const char *path, struct blocked_keys **ret, struct err *e);
void blocked_keys_close(struct blocked_keys **b);
/* ERR_KEY_WEAK when the key is in the file, which is read again when it changed. ERR_CONFIG, for every key, while the file
 * holds a line that is no digest: nobody can tell what that line was to refuse. */
int blocked_keys_check(struct blocked_keys *b, const uint8_t spki_sha256[32], struct err *e);
