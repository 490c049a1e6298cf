/* Certificates as the registry keeps them. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <jansson.h>
#include "base/buf.h"
#include "base/err.h"

struct registry;

struct certificate_facts {
    char serial[2 * 20 + 1]; /* RFC 5280, 4.1.2.2: at most 20 octets; lower-case hex */
    char sha256[65], spki_sha256[65];
    int64_t not_before, not_after; /* Unix milliseconds */
};
/* ERR_PROTOCOL when der is not one whole certificate. */
int certificate_parse(const uint8_t *der, size_t len, struct certificate_facts *ret, struct err *e);
/* ERR_DEVICE_CHALLENGE when signature is not the certified key's over CHALLENGE_CONTEXT and the challenge. */
int certificate_check_challenge(const struct buf *der, const uint8_t *challenge,
        size_t challenge_len, const uint8_t *signature, size_t signature_len, struct err *e);

/* The device's valid certificate, appended to ret_der; 1 when there is one, 0, -1. */
int certificate_of_device(struct registry *r, int64_t device, struct buf *ret_der, struct err *e);
/* The same, if it was issued in this job: one of an earlier job is not what a re-issue resumes with. */
int certificate_of_job(
        struct registry *r, int64_t device, int64_t job, struct buf *ret_der, struct err *e);
/* Where the key of the device's valid certificate was born, a constant; NULL with e. */
const char *certificate_origin(struct registry *r, int64_t device, struct err *e);
/* Did the signer ever make a key that was certified for this device? */
int certificate_made_key(struct registry *r, int64_t device, bool *ret, struct err *e);
/* Where the key of a certificate was born. */
const char *key_origin_name(bool made_by_signer); /* "device", "signer" */
/* Records it. The device's own certificate again is no change (*ret_fresh false). In a re-issue job it takes the place of an
 * earlier job's, which the signer has revoked; any other one is ERR_KEY_CHANGED. origin: key_origin_name(). */
int certificate_add(struct registry *r, int64_t device, int64_t run, const uint8_t *der, size_t len,
        const char *origin, bool *ret_fresh, struct certificate_facts *ret, struct err *e);
/* All of a device, newest first. */
int certificate_list(struct registry *r, int64_t device, json_t **ret, struct err *e);
