/* A device in memory for tests: the engine, a flash that survives or loses power at any call,
 * OpenSSL's cryptography, and a struct io whose cable can be noisy, cut and slow. No time passes in
 * it: an answer that did not come is not waited for. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "device/sim/crypto.h"
#include "keyline/device.h"
#include "keyline/message.h"
#include "station/driver.h"

extern const struct driver driver_keyline;

#define RIG_OBJECTS 18
struct rig_object {
    uint8_t kept[34000], staged[34000];
    uint32_t kept_len, staged_len;
};
struct rig_flash {
    struct rig_object objects[RIG_OBJECTS];
    unsigned changes; /* calls that change something so far */
    unsigned cut_at;  /* power fails in the Nth of them; 0: never */
    bool after; /* ... when it has done its work, else before or, for append, in the middle of it */
    bool dead;  /* power is gone: every call fails, nothing changes */
    bool forget_staged; /* what is staged does not survive a power cut */
};
struct rig {
    struct kl_device device;
    struct kl_device_config config;
    struct kl_storage storage;
    struct rig_flash flash;
    struct crypto crypto;
    struct io io;
    uint8_t queue[1 << 17]; /* from the device to the host */
    size_t head, tail;
    unsigned ran[KL_OP_END]; /* operations carried out */
    unsigned verdicts;
    bool verdict_pass;
    char verdict_text[KL_TEXT_MAX + 1];
    enum kl_error refuse; /* answered instead of ... */
    uint8_t refuse_op;    /* ... this operation */
    /* the cable */
    uint64_t random;
    unsigned noise_one_in; /* bytes, both ways; 0: clean */
    unsigned lose_answers; /* the next so many sends of the device are lost */
    unsigned lose_requests;
    bool double_answers;    /* each answer comes twice, the second one late */
    long gone_after_writes; /* the host's Nth write finds the device gone; 0: never */
    unsigned writes, sends;
};

void rig_init(struct rig *r);
void rig_done(struct rig *r);
void rig_restart(struct rig *r); /* power off and on again: RAM is lost, the flash stays */
void rig_open(struct rig *r, struct driver_session *s); /* the driver says hello */
/* One request to the engine, at once; *ret is the answer, its strings live until the next. False:
 * no answer. */
bool rig_ask(struct rig *r, struct kl_msg *m, struct kl_msg *ret);
/* The same, asserting an answer or a refusal with this error. */
void rig_expect(struct rig *r, struct kl_msg *m, enum kl_error error, struct kl_msg *ret);
void rig_hello(struct rig *r);
