/* One request of the reference link and its answer: repeats, time-outs, refusals, and the checks
 * every answer needs. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "keyline/frame.h"
#include "keyline/message.h"
#include "base/limits.h"
#include "station/io.h"

struct link {
    struct io *io;
    uint16_t seq;
    uint32_t frame_max;  /* agreed */
    uint32_t chunk;      /* bytes of an object in one frame */
    uint32_t baud;       /* 0: not a serial line */
    uint32_t key_types;  /* bit kl_key_type: it makes them */
    uint32_t keys_taken; /* bit kl_key_type: it takes them from outside */
    uint32_t object_max[KL_OBJECT_REQUEST];
    uint32_t state; /* enum kl_state at HELLO, or after INSTALL_KEY or SEAL */
    char model[NAME_BYTES_MAX + 1];
    bool greeted;
    int64_t waiting_since_ms; /* the first WAIT of the running request; 0: none came */
    size_t received;          /* bytes during the running request */
    bool heard;               /* what arrived during the running request was no answer to it */
    struct kl_frame_rx rx;
    struct kl_msg answer; /* its strings lie in rx_bytes until the next request */
    uint8_t input[512];   /* read, not yet pushed */
    size_t input_at, input_len;
    size_t wire_len;
    uint8_t rx_bytes[KL_FRAME_LARGEST];
    uint8_t wire[KL_WIRE_BUFFER(KL_FRAME_LARGEST)];
};

/* m's sequence number is set here. On success l->answer is the device's, borrowed until the next
 * request; a refusal is an error that carries its kl_error as the code. */
int link_transact(struct link *l, struct kl_msg *m, struct err *e);
/* The same with another number of tries than KL_TRIES. */
int link_transact_tries(struct link *l, struct kl_msg *m, unsigned tries, struct err *e);
/* HELLO alone: preceded by delimiters, repeated until timeout_ms are over. */
int link_hello(struct link *l, struct kl_msg *m, unsigned timeout_ms, struct err *e);

/* Wipes what the last request left here. */
void link_wipe(struct link *l);

/* An answer's number, at most `most`; ERR_DEVICE_GARBAGE. */
int link_num(const struct link *l, enum kl_field f, uint32_t most, uint32_t *ret, struct err *e);
/* An answer's text as a C string of at most cap - 1 bytes, printable; "" when absent;
 * ERR_DEVICE_GARBAGE. */
int link_text(const struct link *l, enum kl_field f, char *out, size_t cap, struct err *e);
/* ERR_DEVICE_GARBAGE: "OP: what". Always -1. */
int link_garbage(struct err *e, uint8_t op, const char *what);
