/* Keys that fit their type but protect nothing: others know the private half, or can compute it. */
#pragma once
#include <openssl/evp.h>
#include <stdint.h>
#include "hsm/x509/csr.h"

struct err;

/* ERR_KEY_WEAK for a key that is published, or that one can see to be weak:
 *   RSA: an even or small or huge exponent, a modulus with a factor below 4096, with prime factors close together (Fermat), or
 *        of the form of CVE-2017-15361 (ROCA);
 *   EC: a private key of 1 to 16, or that far below the group's order; the curve itself was checked when the key was read;
 *   Ed25519: a point of small order, or one not in its one encoding.
 * csr: its kind and digest are filled in; key may be NULL for P-256. */
int key_check(const struct csr *csr, EVP_PKEY *key, struct err *e);
