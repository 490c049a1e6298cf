/* A station whose CA has a life: commands in its directory and what they said, a root elsewhere that openssl plays, and
 * whether some CA serves. */
#pragma once
#include <stdbool.h>
#include "hsm/ca.h"
#include "tests/hsm/station.h"

/* A shell command in the directory of st, its text in $STATION/said; the exit status. */
int sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Fails unless the last command said this. */
void said(const char *words);
/* A command that must succeed. */
#define did(...)                                                                                   \
    do {                                                                                           \
        if (sh(__VA_ARGS__) != 0)                                                                  \
            said("(success)");                                                                     \
    } while (0)
/* A file below the station's directory. */
bool there_is(const char *name);

/* root.key, root.pem and root.sha256, by openssl req -x509 with these options. */
void make_root(const char *options);
/* chain.pem: a certificate for csr by that root, by openssl x509 with these options, and the root. */
void sign_request(const char *csr, const char *options);

void load_cas(struct ca_set *ret);
/* By subjectKeyIdentifier and authorityKeyIdentifier; borrowed. */
const struct ca *issuer_of(const struct ca_set *cas, const struct buf *cert);
/* The CA in force certifies this row and key, and others verify it. */
void issue_under_active(size_t row, EVP_PKEY *key, struct buf *ret_cert);
/* The same with a signer that is started for it, and stopped. */
void serves(size_t row);
