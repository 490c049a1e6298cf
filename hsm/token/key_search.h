/* Which private key of a token is the CA's. The configured one is looked at first; when its public half in the token is
 * another than the CA certificate's, or there is no such key, the CA's public half leads to the right one. So a CA that was
 * rolled over needs no change of keyline.conf, and the key of a retired one still signs its CRL. */
#pragma once
#include "hsm/token/module.h"

struct err;

/* spki: the CA's SubjectPublicKeyInfo in DER; len 0: the configured key, whatever it is. The session must be logged in.
 * ret_name gets the id (and no label, unless it is the configured one's). ERR_TOKEN_ABSENT when the token has no such key. */
int key_search(const struct module *m, CK_SESSION_HANDLE session,
        const struct module_key_name *configured, const void *spki, size_t len,
        struct module_key_name *ret_name, CK_OBJECT_HANDLE *ret_key, struct err *e);
