/* The CA's files after its beginning: the request that is out, the chain that is in force, those that were. Every change is
 * a rename, in an order that leaves the old CA or the new one in force wherever a run is cut off:
 *   request.key (the new key's CKA_ID), [key in the token, copied], request.pem | retired/OLD.pem, chain.pem, root.pem, - request.* */
#pragma once
#include "base/paths.h"
#include "hsm/token/module.h"

struct buf;
struct ca;
struct ca_set;
struct err;

/* Only one ceremony at a time: ERR_BAD_STATE. Ends when *ret_fd is closed. */
int ceremony_store_lock(const struct paths *p, int *ret_fd, struct err *e);
/* The name of the key that is being made, or waits for its certificate. ERR_NOT_FOUND. */
int ceremony_store_key(const struct paths *p, struct module_key_name *ret, struct err *e);
/* A fresh one, noted before the key exists: what an interrupted run made can be found by it. */
int ceremony_store_new_key(const struct paths *p, struct module_key_name *ret, struct err *e);
/* Appends the pending request, PEM. ERR_NOT_FOUND. */
int ceremony_store_request(const struct paths *p, struct buf *ret_pem, struct err *e);
int ceremony_store_put_request(const struct paths *p, const struct buf *pem, struct err *e);
/* Nothing waits any more. */
int ceremony_store_clear_request(const struct paths *p, struct err *e);
/* Puts next in force; what was active becomes retired. Everything about next was checked before. Repeating it is harmless. */
int ceremony_store_install(
        const struct paths *p, const struct ca_set *now, const struct ca *next, struct err *e);
