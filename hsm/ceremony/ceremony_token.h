/* The ceremony's use of the token, directly through PKCS#11: pkcs11-helper makes neither tokens nor keys. */
#pragma once
#include <openssl/x509.h>
#include <stdbool.h>
#include "hsm/ca.h"
#include "hsm/token/module.h"

struct buf;
struct err;

struct ceremony_token {
    struct module module;
    const char *init_args; /* set by the caller: [token] init_args, or NULL */
    struct module_init init;
    CK_SLOT_ID slot;
    CK_SESSION_HANDLE session;
    int initialised, open;
};
#define CEREMONY_TOKEN_INIT ((struct ceremony_token){0})

enum ceremony_key_type {
    CEREMONY_P256,
    CEREMONY_P384,
    CEREMONY_RSA2048, /* for verifiers that take nothing longer */
    CEREMONY_RSA3072,
    CEREMONY_RSA4096,
    CEREMONY_ED25519,
    CEREMONY_KEY_TYPES
};
/* "p256", "p384", "rsa2048", "rsa3072", "rsa4096", "ed25519"; ERR_ARGUMENT. */
int ceremony_key_type_parse(const char *name, enum ceremony_key_type *ret, struct err *e);
/* Whether this public key is one of that type. */
bool ceremony_key_type_fits(enum ceremony_key_type type, EVP_PKEY *key);

struct ceremony_key {
    struct module_key_name name; /* of a key to be made */
    CK_OBJECT_HANDLE handle;     /* in the token's session */
    enum signature_alg alg;
    uint8_t spki[1024]; /* DER */
    size_t spki_len;
    uint8_t key_id[CA_KEY_ID_MAX];
    size_t key_id_len;
};

/* Makes a new token in the module's first free slot. */
int ceremony_token_create(struct ceremony_token *t, const char *module, const char *label,
        const char *so_pin, const char *pin, struct err *e);
/* Opens a session with the token of this label and logs in, once. */
int ceremony_token_open(struct ceremony_token *t, const char *module, const char *label,
        const char *pin, struct err *e);
void ceremony_token_close(struct ceremony_token *t);
/* ret->name is given; the rest is filled in. ERR_EXISTS when the token has a key of that id; ERR_KEY_POLICY when the token
 * made a key that could leave it, or was not made there. */
int ceremony_token_keygen(struct ceremony_token *t, enum ceremony_key_type type,
        struct ceremony_key *ret, struct err *e);
/* The private key of this certificate, by its public half (key_search.h, with the guess) and proven by a signature;
 * ret->name is the key's, ret->key_id the certificate's. ERR_TOKEN_ABSENT; ERR_KEY_POLICY when it could leave the token. */
int ceremony_token_find(struct ceremony_token *t, X509 *cert, const struct module_key_name *guess,
        struct ceremony_key *ret, struct err *e);
/* Destroys the pair of this id and label. One that is not there is no error. */
int ceremony_token_destroy(
        struct ceremony_token *t, const struct module_key_name *name, struct err *e);
/* Whether there is no object at all in the token that is open. */
int ceremony_token_is_empty(struct ceremony_token *t, bool *ret, struct err *e);
/* Appends the signature as certificates carry it, verified under the key. */
int ceremony_token_sign(struct ceremony_token *t, const struct ceremony_key *key, const void *bytes,
        size_t len, struct buf *ret_sig, struct err *e);
