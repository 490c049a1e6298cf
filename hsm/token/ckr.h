/* PKCS#11 return values: their names and which of our errors each one is. */
#pragma once
#include <stddef.h>

struct err;

const char *ckr_name(unsigned long rv); /* "CKR_PIN_INCORRECT", or "CKR_VENDOR_..." / "CKR_?" */
/* Sets the error this return value stands for: "what: CKR_..."; the code is kept. Always -1. */
int ckr_err(struct err *e, unsigned long rv, const char *what);
/* All that have a name, for tests that try each. */
size_t ckr_count(void);
unsigned long ckr_at(size_t i);
