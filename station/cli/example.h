/* A certificate to look at: what a profile would make of a row, signed by nobody. */
#pragma once
#include "hsm/x509/csr.h"

struct buf;
struct err;
struct profile;
struct row;

/* Appends PEM. Its keys are made here and forgotten, and its issuer's name says that it is an example. */
int example_certificate(const struct profile *p, const struct row *row, enum csr_key key,
        struct buf *out, struct err *e);
