/* What an approver signs, in one form: a compact JWS (RFC 7515) with ES256, ES384 or RS256, whose header is exactly
 * {"alg","typ","x5c"}, x5c being the approver's certificate chain. Its payload is JSON, told apart by "typ". */
#pragma once
#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

struct err;

/* payload is borrowed. chain: the approver's certificate first. The JWS is malloc'd. ERR_TICKET, ERR_LIMIT. */
int jws_sign(const char *type, json_t *payload, EVP_PKEY *key, STACK_OF(X509) * chain,
        char **ret_jws, struct err *e);
/* Form, signature, chain to the anchors; ERR_TICKET, ERR_TICKET_UNTRUSTED. The payload is the caller's to json_decref();
 * nobody looked into it yet. */
int jws_verify(const char *jws, const char *type, X509_STORE *anchors, json_t **ret_payload,
        struct err *e);
