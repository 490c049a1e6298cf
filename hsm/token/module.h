/* A PKCS#11 module used directly: for what pkcs11-helper has no call for, which is looking at keys before they are used and
 * making them in the ceremony. Include only where PKCS#11 may be known: signerd-token and keyline-ceremony. */
#pragma once
#include <pkcs11-helper-1.0/pkcs11h-def.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "hsm/x509/signature.h"

struct buf;
struct err;

#define MODULE_KEY_ID_MAX 32

struct module {
    void *handle;
    CK_FUNCTION_LIST *f;
};
/* The name of a private key in a token; both must fit. */
struct module_key_name {
    const char *label;
    uint8_t id[MODULE_KEY_ID_MAX];
    size_t id_len;
};

/* "02" into id; ERR_CONFIG when it is empty or not hexadecimal. */
int module_key_name_parse(
        const char *label, const char *hex_id, struct module_key_name *ret, struct err *e);
/* Loads it, or finds it loaded. Calls nothing but C_GetFunctionList. ERR_TOKEN_ABSENT. */
int module_open(const char *path, struct module *ret, struct err *e);
void module_close(struct module *m);

/* How C_Initialize is called: without arguments, or with [token] init_args as the library parameters that some modules
 * want in pReserved. In the second way locking by the operating system is offered, which a few modules insist on. */
struct module_init {
    CK_C_INITIALIZE_ARGS args;
    void *after; /* NSS reads a pReserved of its own behind the library parameters: NULL */
};
#define MODULE_INIT_WAYS 2
/* What C_Initialize is given in this way; it and init_args must live as long as the module is initialised. */
CK_C_INITIALIZE_ARGS *module_init_args(struct module_init *i, const char *init_args, unsigned way);
/* Whether this answer of C_Initialize only means: not in this way. */
bool module_init_refused(CK_RV rv);
/* C_Initialize in the first way that the module takes. */
int module_initialize(
        const struct module *m, const char *init_args, struct module_init *i, struct err *e);
/* The one present, initialised token with this label. ERR_TOKEN_ABSENT, ERR_CONFIG when there are several. */
int module_find_token(const struct module *m, const char *label, CK_SLOT_ID *ret, struct err *e);
/* The one private key with this id, which must also have the label. ERR_TOKEN_ABSENT, ERR_CONFIG. */
int module_find_key(const struct module *m, CK_SESSION_HANDLE session,
        const struct module_key_name *name, CK_OBJECT_HANDLE *ret, struct err *e);
/* Handles of what has all these attributes; more than max are left out. */
int module_find_objects(const struct module *m, CK_SESSION_HANDLE session, CK_ATTRIBUTE *wanted,
        CK_ULONG wanted_count, CK_OBJECT_HANDLE *ret, size_t max, size_t *ret_count, struct err *e);
/* ERR_KEY_POLICY unless the key is sensitive, cannot be extracted, and signs without asking for the PIN each time. */
int module_check_key(
        const struct module *m, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key, struct err *e);
/* What the token says of its PIN before it is given one: whether it wants one at all, and that one is not risked which is
 * locked (ERR_TOKEN_LOCKED) or has one try left (ERR_TOKEN_PIN). */
int module_pin_state(const struct module *m, CK_SLOT_ID slot, bool *ret_wanted, struct err *e);
int module_get_attribute(const struct module *m, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
        CK_ATTRIBUTE_TYPE type, struct buf *out, struct err *e);

/* How this token makes a signature of this kind: found out from its mechanisms, once. */
struct module_mechanism {
    enum signature_alg alg;
    CK_MECHANISM_TYPE type;
};
/* The key's algorithm by its type and parameters, and a mechanism of the slot that fits. ERR_TOKEN. */
int module_mechanism(const struct module *m, CK_SLOT_ID slot, CK_SESSION_HANDLE session,
        CK_OBJECT_HANDLE key, struct module_mechanism *ret, struct err *e);
/* What C_Sign is given for these bytes: their digest where the mechanism wants one, else themselves. Appended. */
int module_sign_input(const struct module_mechanism *how, const void *bytes, size_t len,
        struct buf *out, struct err *e);
