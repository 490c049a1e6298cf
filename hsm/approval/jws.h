/* What an approver signs, in one form: a compact JWS (RFC 7515) with ES256, ES384 or RS256, whose header is exactly
 * {"alg","typ","x5c"}, x5c being the approver's certificate chain. Its payload is JSON, told apart by "typ". */
#pragma once
#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

struct buf;
struct err;

/* Who signs: whoever holds the key of the first certificate, here or in a card. What it gives is verified under that
 * certificate before it is used. */
struct jws_signer {
    STACK_OF(X509) * chain; /* the approver's certificate first */
    /* Appends the signature in DER, as X.509 has it. */
    int (*sign)(void *ctx, const void *bytes, size_t len, struct buf *ret_der, struct err *e);
    void *ctx;
};
/* A key of this process; both are borrowed. */
struct jws_signer jws_key_signer(EVP_PKEY *key, STACK_OF(X509) * chain);

/* payload is borrowed. The JWS is malloc'd. ERR_TICKET, ERR_LIMIT, and the signer's own errors. */
int jws_sign(const char *type, json_t *payload, const struct jws_signer *by, char **ret_jws,
        struct err *e);
/* Form, signature, chain to the anchors; ERR_TICKET, ERR_TICKET_UNTRUSTED. The payload is the caller's to json_decref();
 * nobody looked into it yet. */
int jws_verify(const char *jws, const char *type, X509_STORE *anchors, json_t **ret_payload,
        struct err *e);
/* For whoever signs on behalf of others: ERR_TICKET unless these bytes are what jws_sign() has signed, "header.payload"
 * with a "typ" of Keyline's (keyline-*+jws). The payload may say anything. */
int jws_check_input(const void *bytes, size_t len, struct err *e);
