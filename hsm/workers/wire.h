/* What signerd and a signerd-token worker say to each other over a SOCK_SEQPACKET pair (the worker's is descriptor 3): one
 * packet a request, one packet its answer, one request at a time.
 *   u8 op | u8 algorithm | u16 error (enum err_id, 0: done) | u32 sequence | u64 foreign code | bytes
 * Big-endian. DESCRIBE opens the token and logs in; its body is the CA's SubjectPublicKeyInfo in DER, by which the key is
 * found (empty: the configured one, unseen). Its answer: u32 mask of 1u << enum signature_alg, then a line about the token
 * for the log. PING, in idle times, has no body: the session is used and seen to be logged in still.
 * MARK_READ: the station's name; MARK_WRITE: a mark (checkpoint.h), then that name. Their answer begins with an enum mark_answer.
 * SIGN: the to-be-signed bytes; the answer is what the token gave. SIGN_FILE: the same for bytes that no packet can hold (a
 * CRL's): the packet has none, and a sealed memfd with them comes with it. An error's bytes are its message. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "base/limits.h"

struct err;

#define WIRE_FD         3
#define WIRE_HEADER     16
#define WIRE_BODY_MAX   CERT_BYTES_MAX
#define WIRE_PACKET_MAX (WIRE_HEADER + WIRE_BODY_MAX)

enum wire_op {
    WIRE_DESCRIBE = 1,
    WIRE_SIGN = 2,
    WIRE_PING = 3,
    WIRE_SIGN_FILE = 4,
    WIRE_MARK_READ = 5,
    WIRE_MARK_WRITE = 6,
};

struct wire_packet {
    uint8_t op;
    uint8_t alg;
    uint16_t error;
    uint32_t sequence;
    uint64_t code;
    uint8_t body[WIRE_BODY_MAX];
    size_t len;
};

/* ERR_UNAVAILABLE when the other side has gone, ERR_TIMEOUT when a non-blocking descriptor is not ready. */
int wire_send(int fd, const struct wire_packet *p, struct err *e);
int wire_receive(int fd, struct wire_packet *ret, struct err *e);
/* The two for SIGN_FILE. The sender's bytes are copied; *ret_file is -1 or the receiver's to close. */
int wire_send_file(
        int fd, const struct wire_packet *p, const void *bytes, size_t len, struct err *e);
int wire_receive_file(int fd, struct wire_packet *ret, int *ret_file, struct err *e);
/* The received bytes, read-only, to be given back with munmap(). ERR_PROTOCOL when they could still change. */
int wire_map_file(int file, const uint8_t **ret, size_t *ret_len, struct err *e);
