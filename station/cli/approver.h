/* The approver at this command line: whose certificate and key sign, and the question before it. The options --key,
 * --cert, --passphrase-file, --module, --last-try and --yes of a verb are read here and nowhere else. The key is a PEM file's,
 * or, with --key pkcs11:.., a card's. */
#pragma once
#include <openssl/evp.h>
#include <openssl/x509.h>
#include "base/limits.h"
#include "hsm/approval/card_client.h"
#include "hsm/approval/jws.h"

struct cli;
struct err;

struct approver {
    STACK_OF(X509) * chain;        /* the approver's certificate first */
    char name[NAME_BYTES_MAX + 1]; /* its common name */
    EVP_PKEY *key;                 /* NULL before approver_unlock(), and with a card */
    struct card_client card;       /* uri is NULL without one */
    struct jws_signer
            signer; /* of approver_unlock(); borrows from this struct, which must stay where it is */
};

/* The certificate, and whether key, card and the file with the secret are there and in their form, so that nobody decides
 * for nothing; the key stays locked. CLI_USAGE when the options do not go together. */
int approver_open(const struct cli *c, struct approver *ret, struct err *e);
/* Asks `question`, unless --yes was given. 0: yes; CLI_FAILED: no, which was said; CLI_USAGE: nobody there to ask. `look` is
 * where the facts can be seen instead, e.g. "keyline job show". */
int approver_confirm(struct cli *c, const char *question, const char *look, struct err *e);
/* Reads the key; asks for its passphrase when it has one. A card asks for its PIN when it signs. To be called after the
 * yes. */
int approver_unlock(const struct cli *c, struct approver *a, struct err *e);
void approver_done(struct approver *a);
/* What an approver signed elsewhere, without the line's end; buf_str(ret) is its text. */
int approver_read_jws(const char *path, struct buf *ret, struct err *e);
/* Writes what was signed to a file, one line, as approver_read_jws() takes it. */
int approver_write_jws(const char *path, const char *jws, struct err *e);
