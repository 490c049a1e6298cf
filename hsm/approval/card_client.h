/* An approver's card, for programs that must not know PKCS#11: it is used by a program of its own, keyline-approver-key,
 * which these functions start, once each.
 *
 *   keyline-approver-key [--module FILE] [--last-try | --check] pkcs11:...
 *
 * Its standard input is what is to be signed, or empty: then only the certificate is wanted, and no PIN. It asks for the PIN
 * at the terminal, or reads it from the URI's pin-source. What the module prints is shown when the card has failed, or a module
 * that was named finds no card, and never else. Its standard output are frames:
 *   u8 kind | u32 length, big-endian | bytes
 *   'C' the card's certificate, DER; left out when the card has none that fits
 *   'S' the signature, DER
 *   'E' u16 error (enum err_id) | its message; nothing else follows */
#pragma once
#include <openssl/x509.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;

#define CARD_PROGRAM      "keyline-approver-key"
#define CARD_URI_PREFIX   "pkcs11:"
#define CARD_FRAME_HEADER 5
#define CARD_FRAMES_MAX   32768 /* a certificate, a signature, or an error */

struct card_client {
    const char *uri;
    const char *module; /* NULL: the default, hsm/token/card.h */
    int last_try;       /* sign also when a wrong PIN would lock the card */
};

/* Whether the URI, the module, the card and the file with the PIN are good, without a PIN: what can be said before a person
 * is asked for a decision. */
int card_client_check(const struct card_client *c, struct err *e);
/* *ret is NULL when the card has no certificate that fits. */
int card_client_certificate(const struct card_client *c, X509 **ret, struct err *e);
/* A jws_signer's sign(): ctx is a struct card_client. */
int card_client_sign(void *ctx, const void *bytes, size_t len, struct buf *ret_der, struct err *e);
/* The next frame; its bytes are borrowed from frames. 1; 0: there is none; -1: these are no frames, ERR_PROTOCOL. */
int card_frame_next(const struct buf *frames, size_t *at, uint8_t *ret_kind,
        const uint8_t **ret_bytes, size_t *ret_len, struct err *e);
