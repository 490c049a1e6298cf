/* signerd --verify-ledger: what can be found out about a ledger without the token. */
#pragma once

struct err;
struct paths;

/* Reads the ledger whole and checks each checkpoint's signature, also while a signer uses it; prints what it found. */
int signer_verify(const struct paths *p, struct err *e);
