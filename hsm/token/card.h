/* An approver's key on a card, or in any other token with a PKCS#11 module: found by a PKCS#11 URI, used for one signature.
 * Errors are ERR_CARD_ABSENT, ERR_CARD_PIN, ERR_CARD_LOCKED, ERR_CARD_AMBIGUOUS (names what fits) and ERR_CARD. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct buf;
struct card;
struct err;
struct pkcs11_uri;

#define CARD_MODULE_DEFAULT                                                                        \
    "p11-kit-proxy.so" /* of p11-kit: all modules that this computer knows */

/* module: a path, or NULL: the URI's module-path, else CARD_MODULE_DEFAULT. uri is borrowed until card_close(). */
int card_open(const struct pkcs11_uri *uri, const char *module, struct card **ret, struct err *e);
void card_close(struct card **c);
const char *card_label(const struct card *c); /* of the token, for people */
/* Appends the X.509 certificate (DER) that fits the URI. A card that has none that fits: nothing is appended. No login. */
int card_certificate(struct card *c, struct buf *ret_der, struct err *e);

enum card_login {
    CARD_LOGIN_NONE, /* the key can be used as it is */
    CARD_LOGIN_PIN,
    CARD_LOGIN_AT_READER, /* the PIN is typed at the card reader: card_login() takes NULL */
};
enum card_login card_login_kind(const struct card *c);
/* One wrong PIN more and the card locks itself. */
bool card_last_try(const struct card *c);
/* Tries the PIN once. What the card tells of the tries that are left is in the error. pin is borrowed until card_close():
 * some keys want it again for each signature. */
int card_login(struct card *c, const char *pin, struct err *e);
/* Signs with the private key that fits the URI; the signature is appended in DER, as X.509 has it. */
int card_sign(struct card *c, const void *bytes, size_t len, struct buf *ret_der, struct err *e);
