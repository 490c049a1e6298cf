/* An order: what an approver tells the signer to do besides certifying. It is a JWS (jws.h) signed with the approver's key,
 * "typ":"keyline-order+jws". Payload (JSON, all members required, unknown ones refused):
 *   {"v":1,"order":"revoke","device":"<uuid>","serial":"<32 hex: of the certificate>","reason":"keyCompromise",
 *    "iat":unix s,"approver":"free text"}
 *   {"v":1,"order":"withdraw","job":"<uuid>","iat":unix s,"approver":"free text"}
 * An order names all it changes and changes it once: repeating it does nothing, so it needs no end of validity. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include "base/limits.h"
#include "base/uuid.h"
#include "hsm/x509/cert.h"

struct buf;
struct err;
struct jws_signer;

enum order_kind {
    ORDER_REVOKE,   /* the certificate goes onto its CA's CRL, for ever */
    ORDER_WITHDRAW, /* no further certificate for this job, for ever */
    ORDER_KIND_COUNT
};
/* CRLReason, RFC 5280, 5.3.1, as far as it fits a device's certificate. certificateHold and removeFromCRL are not supported:
 * a revocation here is final. */
enum order_reason {
    ORDER_UNSPECIFIED = 0,
    ORDER_KEY_COMPROMISE = 1,
    ORDER_AFFILIATION_CHANGED = 3,
    ORDER_SUPERSEDED = 4,
    ORDER_CESSATION_OF_OPERATION = 5,
    ORDER_PRIVILEGE_WITHDRAWN = 9,
};
struct order {
    enum order_kind kind;
    char device[UUID_TEXT_MAX]; /* of revoke */
    uint8_t serial[CERT_SERIAL_BYTES];
    enum order_reason reason;
    char job[UUID_TEXT_MAX]; /* of withdraw */
    int64_t issued_at;       /* Unix seconds */
    char approver[NAME_BYTES_MAX + 1];
};

/* Does it change what a CRL says of a certificate that was revoked for `before`? keyCompromise alone does: whoever relies on
 * the key must know, and nothing makes a stolen key good again. */
static inline bool order_reason_is_worse(unsigned reason, unsigned before)
{
    return reason == ORDER_KEY_COMPROMISE && before != ORDER_KEY_COMPROMISE;
}
/* "keyCompromise", ...; NULL for a number that is none of them. */
const char *order_reason_name(unsigned reason);
/* ERR_ORDER names the ones there are. */
int order_reason_parse(const char *name, enum order_reason *ret, struct err *e);
/* The JWS is malloc'd. */
int order_sign_by(
        const struct order *o, const struct jws_signer *by, char **ret_jws, struct err *e);
/* The same with a key of this process. chain: the approver's certificate first. */
int order_sign(const struct order *o, EVP_PKEY *key, STACK_OF(X509) * chain, char **ret_jws,
        struct err *e);
/* Signature, chain to the anchors, form; ERR_ORDER, ERR_TICKET_UNTRUSTED. */
int order_verify(const char *jws, X509_STORE *anchors, struct order *ret, struct err *e);
