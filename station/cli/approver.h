/* The approver at this command line: whose certificate and key sign, and the question before it. The options --key,
 * --cert, --passphrase-file and --yes of a verb are read here and nowhere else. */
#pragma once
#include <openssl/evp.h>
#include <openssl/x509.h>
#include "base/limits.h"

struct cli;
struct err;

struct approver {
    STACK_OF(X509) * chain;        /* the approver's certificate first */
    char name[NAME_BYTES_MAX + 1]; /* its common name */
    EVP_PKEY *key;                 /* NULL before approver_unlock() */
};

/* The certificate only: who will sign can be shown before the key is touched. */
int approver_open(const struct cli *c, struct approver *ret, struct err *e);
/* Asks `question`, unless --yes was given. 0: yes; CLI_FAILED: no, which was said; CLI_USAGE: nobody there to ask. `look` is
 * where the facts can be seen instead, e.g. "keyline job show". */
int approver_confirm(struct cli *c, const char *question, const char *look, struct err *e);
/* Reads the key; asks for its passphrase when it has one. To be called after the yes. */
int approver_unlock(const struct cli *c, struct approver *a, struct err *e);
void approver_done(struct approver *a);
