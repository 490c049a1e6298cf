/* A message of the link: the head and one map whose keys are enum kl_field, each with the type that
 * link.h gives it. Decoding borrows from the payload; encoding borrows from the caller. Both ends
 * use this file, so both agree. */
#ifndef KEYLINE_MESSAGE_H
#define KEYLINE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "keyline/link.h"

struct kl_value {
    const uint8_t *bytes; /* of strings; of UINTS and SIZES the encoded item */
    uint32_t num;         /* the number, 0 or 1, or the length of bytes */
};
struct kl_msg {
    uint16_t seq;
    uint8_t op;
    uint8_t kind;
    uint32_t has; /* bit kl_field: it is there */
    struct kl_value field[KL_FIELD_END];
};

void kl_msg_init(struct kl_msg *m, uint16_t seq, uint8_t op, uint8_t kind); /* with an empty map */
bool kl_msg_has(const struct kl_msg *m, enum kl_field f);
void kl_msg_put_num(struct kl_msg *m, enum kl_field f, uint32_t value);
void kl_msg_put_bytes(struct kl_msg *m, enum kl_field f, const void *bytes, size_t len);
void kl_msg_put_text(struct kl_msg *m, enum kl_field f, const char *text); /* NUL-terminated */
/* The number, or `otherwise` when the field is absent. */
uint32_t kl_msg_num(const struct kl_msg *m, enum kl_field f, uint32_t otherwise);

/* The payload's length, 0 when it does not fit into cap. */
size_t kl_msg_encode(const struct kl_msg *m, uint8_t *out, size_t cap);
enum kl_msg_fault {
    KL_MSG_GOOD,
    KL_MSG_HEADLESS, /* shorter than a head: there is nobody to answer */
    KL_MSG_MALFORMED /* the head is filled in, the map is not what this protocol allows */
};
/* Strict: keys in ascending order, once each, known ones with their type; unknown ones are skipped,
 * so that a later version may add some. Nothing may stand behind the map. */
enum kl_msg_fault kl_msg_decode(struct kl_msg *m, const uint8_t *payload, size_t len);

/* Names for people: "BEGIN", "the device is sealed ..."; "unknown" for other numbers. */
const char *kl_op_name(uint8_t op);
const char *kl_error_name(uint32_t error);
const char *kl_error_text(uint32_t error);
uint32_t kl_op_turnaround_ms(uint8_t op); /* KL_TURNAROUND_MAX_MS for an unknown one */

#endif
