/* PKCS#11 return values: their names and which of our errors each one is. */
#pragma once

struct err;

const char *ckr_name(unsigned long rv); /* "CKR_PIN_INCORRECT", or "CKR_VENDOR_..." / "CKR_?" */
/* Sets the error this return value stands for: "what: CKR_..."; the code is kept. Always -1. */
int ckr_err(struct err *e, unsigned long rv, const char *what);
