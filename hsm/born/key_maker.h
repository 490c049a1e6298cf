/* signerd's side of making keys: a process for each (signerd-key), started, timed, and reaped here. signerd itself never
 * holds a private key, only what it looks like once wrapped.
 * The wire (wire.h): op KEY_MAKER_OP, algorithm = enum born_key_type, body = the transport key's SubjectPublicKeyInfo;
 * the answer: u16 length of the new key's SubjectPublicKeyInfo (big-endian), it, then the JWE. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "hsm/born/born_key.h"

struct err;
struct key_maker;

#define KEY_MAKER_OP   3
#define KEY_MAKER_HEAD 2

struct made_key {
    const uint8_t *spki, *jwe; /* borrowed for the call */
    size_t spki_len, jwe_len;
};
/* Exactly one of k and e is not NULL. */
typedef void (*key_maker_done_fn)(void *ctx, const struct made_key *k, const struct err *e);

/* program: signerd-key. */
int key_maker_open(sd_event *event, const char *program, struct key_maker **ret, struct err *e);
/* Ends what is being made; its callers are told ERR_UNAVAILABLE. */
void key_maker_close(struct key_maker **m);
/* done is called once, later. ERR_UNAVAILABLE when too many are being made, or no process can be started. */
int key_maker_make(struct key_maker *m, enum born_key_type type, const uint8_t *transport_spki,
        size_t transport_len, key_maker_done_fn done, void *ctx, struct err *e);
