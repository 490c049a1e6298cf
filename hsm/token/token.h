/* The CA key in its token, through pkcs11-helper. One token, one key, one session, one login a process. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "hsm/x509/signature.h"

struct buf;
struct err;
struct token;

struct token_options {
    const char *module, *init_args, *label, *key_label, *key_id, *pin_file;
    const uint8_t *
            spki; /* the CA's SubjectPublicKeyInfo, by which its key is found; NULL: the configured key */
    size_t spki_len;
};
/* Initialises the module, finds the token, logs in once, finds and checks the key. ERR_TOKEN_*, ERR_KEY_POLICY, ERR_CONFIG.
 * All it was given must live as long as the token. May be called once in a process, and after it nothing may fork. */
int token_open(const struct token_options *o, struct token **ret, struct err *e);
void token_close(struct token **t);
enum signature_alg token_alg(const struct token *t);
const char *token_description(const struct token *t); /* maker, model, serial number, label */
/* Hashes and signs; the raw signature (r || s, or the RSA block) is appended. */
int token_sign(struct token *t, const void *bytes, size_t len, struct buf *ret_raw, struct err *e);
/* Uses the session, so that it does not grow old, and sees that token, login and key are there. */
int token_ping(struct token *t, struct err *e);
/* The ledger's mark in this token: mark.h. */
int token_mark_read(struct token *t, const char *station, struct buf *out, struct err *e);
int token_mark_write(
        struct token *t, const char *station, const uint8_t *mark, struct buf *out, struct err *e);
