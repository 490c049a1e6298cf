/* What the issuer is at work on: one device's certificate, or one key, from the first request for it to the answers of all
 * who asked for it. A list of them is the issuer's; nobody else may get a certificate for the same device or key meanwhile. */
#pragma once
#include <stdint.h>
#include "base/buf.h"
#include "hsm/ledger/ledger.h"
#include "hsm/signer_client.h"

struct err;
struct issuer;
struct request;
struct waiter;

struct issuance {
    struct issuance *next;
    struct issuer *issuer;
    struct ledger_entry
            entry; /* what will be recorded; its tail is cert. A key that is being made: its type tells */
    struct ledger_entry revocation; /* with it: of the certificate it replaces, else type 0 */
    uint8_t revoked_ca[CERT_KEY_ID_BYTES];
    struct waiter *waiters;                    /* the first one asked first */
    struct buf tbs, cert;                      /* of a key: cert is the JWE it leaves in */
    uint8_t wrapped_for[LEDGER_KEY_MADE_TAIL]; /* of a key: SHA-256 of the transport key */
    uint64_t started_us;
    int recorded;     /* in the ledger's group to come */
    int held;         /* until the ledger is vouched for */
    int overtaken;    /* the certificate it replaces was revoked meanwhile */
    int withdrawn;    /* its job was, meanwhile */
    unsigned waiting; /* waiters */
};

/* For this request, not in any list. NULL: no memory. */
struct issuance *issuance_new(
        struct issuer *s, const struct request *q, enum ledger_type type, struct err *e);
/* Its waiters are forgotten, not answered. */
void issuance_free(struct issuance *i);
/* One more who asked for it. */
int issuance_add_waiter(struct issuance *i, signer_done_fn done, void *ctx, struct err *e);
/* Tells all waiters, and frees i, which is in no list any more: a callback may ask for the next certificate at once. */
void issuance_answer(struct issuance *i, const struct err *why);
/* What the answer says of a certificate beside it: SIGNER_KEY_MADE. */
unsigned issuance_marks(const struct ledger_entry *entry);
void issuance_take_out(struct issuance **list, struct issuance *i);
/* The one for this request's device; NULL: none. */
struct issuance *issuance_find(struct issuance *list, const struct request *r);
/* The device is getting a certificate: only the very same request may have it, too. ERR_EXISTS, ERR_KEY_CHANGED. */
int issuance_check_same(const struct issuance *i, const struct request *r, struct err *e);
