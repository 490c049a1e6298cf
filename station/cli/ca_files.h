/* The CA's files as anybody may read them, for ca show and doctor. What they are worth is judged where they are used. */
#pragma once
#include <openssl/x509.h>
#include <stdbool.h>
#include "base/paths.h"

struct err;

struct ca_files {
    STACK_OF(X509) * chain;   /* in force: issuing CA first, root last */
    STACK_OF(X509) * retired; /* the issuing CAs before it, the latest first */
    bool request_waits;
};
/* ERR_NOT_FOUND without a CA. */
int ca_files_read(const struct paths *p, struct ca_files *ret, struct err *e);
void ca_files_done(struct ca_files *f);
