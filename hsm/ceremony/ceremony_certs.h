/* The certificates of the ceremony: root CA, issuing CA, the request for one, approver. */
#pragma once
#include <openssl/evp.h>
#include "hsm/ceremony/ceremony_token.h"

struct buf;
struct err;

/* ERR_ARGUMENT when no certificate can have this name: asked before anything is made. */
int ceremony_organization_check(const char *organization, struct err *e);

/* Each appends PEM. The root: 25 years, path length 1; self-signed in the token. */
int ceremony_root(struct ceremony_token *t, const struct ceremony_key *root,
        const char *organization, struct buf *ret_pem, struct err *e);
/* The issuing CA: 20 years, but never beyond the end of `by`, which signs it in the token; path length 0. Device certificates it signs have no end
 * (99991231235959Z) and outlive it: IEEE 802.1AR, 8.5, allows that, and verifiers look at the chain as of today. */
int ceremony_issuing(struct ceremony_token *t, const struct ceremony_key *by_key, X509 *by,
        const struct ceremony_key *issuing, const char *organization, struct buf *ret_pem,
        struct err *e);
/* PKCS#10 for an issuing CA (RFC 2986), signed in the token: asks for CA:TRUE, pathlen:0, keyCertSign, cRLSign. */
int ceremony_request_pem(struct ceremony_token *t, const struct ceremony_key *key,
        const char *organization, struct buf *ret_pem, struct err *e);
/* A new P-256 key for signing tickets, with a self-signed certificate. The key comes as PKCS#8 PEM encrypted with the
 * passphrase (AES-256-CBC, PBKDF2); it exists in the clear only within the call. */
int ceremony_approver(const char *organization, const char *passphrase, struct buf *ret_key_pem,
        struct buf *ret_cert_pem, struct err *e);
