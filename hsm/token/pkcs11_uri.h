/* A PKCS#11 URI (RFC 7512) as it is typed to name a key on a card:
 *   pkcs11:token=T;serial=S;manufacturer=M;model=M;object=O;id=%01?module-path=/FILE&pin-source=file:/FILE
 * Any of them may be left out, in any order; type=private and type=cert are read and mean nothing here, so that what
 * `p11tool --list-all` prints can be used as it is. Everything else is refused by name, pin-value above all: arguments are
 * visible to every user of the computer. */
#pragma once
#include <limits.h>
#include <stddef.h>
#include <stdint.h>

struct err;

#define PKCS11_URI_PREFIX   "pkcs11:"
#define PKCS11_URI_TEXT_MAX 128 /* bytes of one name; tokens have 32, objects rarely more than 64 */
#define PKCS11_URI_ID_MAX   64

struct pkcs11_uri {
    /* "": not given */
    char token[PKCS11_URI_TEXT_MAX + 1];
    char manufacturer[PKCS11_URI_TEXT_MAX + 1];
    char serial[PKCS11_URI_TEXT_MAX + 1];
    char model[PKCS11_URI_TEXT_MAX + 1];
    char object[PKCS11_URI_TEXT_MAX + 1]; /* CKA_LABEL */
    uint8_t id[PKCS11_URI_ID_MAX];        /* CKA_ID */
    size_t id_len;
    char module_path[PATH_MAX];
    char pin_file[PATH_MAX];
};

/* ERR_ARGUMENT says which part is wrong. */
int pkcs11_uri_parse(const char *text, struct pkcs11_uri *ret, struct err *e);
