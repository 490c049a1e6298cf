/* The certification of one device, from the request to the durable certificate. The issuer trusts nobody: it checks
 * ticket, row, proof, nonce, request, key, ledger and quota itself, whoever asks. */
#pragma once
#include <stdint.h>
#include <systemd/sd-event.h>
#include "hsm/request.h"
#include "hsm/signer_client.h"

struct ca;
struct err;
struct issuer;
struct key_maker;
struct ledger;
struct order;
struct workers;

struct issuer_parts {
    sd_event *event;
    const struct ca *ca;
    struct ledger *ledger;
    struct workers *workers;
    struct key_maker *key_maker; /* NULL: no keys are made here */
    struct request_rules rules;
    void (*on_revoked)(void *ctx); /* may be NULL: a revocation has become durable */
    void *on_revoked_ctx;
};
struct issuer_revocation {
    bool fresh;      /* this order changed something */
    bool before;     /* it was revoked before ... */
    uint8_t was;     /* ... for this reason, enum order_reason */
    uint8_t reason;  /* for which it is revoked now */
    int64_t time_ms; /* since when, Unix */
};
struct issuer_counts {
    uint64_t issued, refused;
    uint64_t sign_us_p50, sign_us_p99; /* request to verified signature, of the last 1,024 */
};

/* The parts are borrowed until issuer_close(). */
int issuer_open(const struct issuer_parts *p, struct issuer **ret, struct err *e);
/* After workers_close() and key_maker_close(). What is signed is recorded and answered, the rest gets ERR_UNAVAILABLE. */
void issuer_close(struct issuer **s);
/* -1: refused or impossible, and done is not called. 0: done is called once, perhaps before this returns, with a certificate
 * that is durable in the ledger, or with the error. The request is borrowed for the call. */
int issuer_issue(struct issuer *s, const struct signer_issue *request, signer_done_fn done,
        void *ctx, struct err *e);
/* The same for a key: the answer is its JWE, once it is in the ledger that it was made, for which device, and for whom it
 * was wrapped. Its certificate is flagged by that entry, whoever asks for it. */
int issuer_make_key(struct issuer *s, const struct signer_make_key *request, signer_done_fn done,
        void *ctx, struct err *e);
/* A verified order of kind ORDER_REVOKE. Durable when it returns 0. What is revoked already is only changed to keyCompromise,
 * its date stays. ERR_NOT_FOUND: this signer never gave that device that certificate. */
int issuer_revoke(
        struct issuer *s, const struct order *o, struct issuer_revocation *ret, struct err *e);
/* One of kind ORDER_WITHDRAW: nothing more is issued for the job, also when its ticket is valid. *ret_fresh false: it was
 * withdrawn before. Durable when it returns 0. */
int issuer_withdraw(struct issuer *s, const struct order *o, bool *ret_fresh, struct err *e);
/* Makes an entry durable, together with what waits. Before it is called with a checkpoint nothing is written (ledger_introduced()). */
int issuer_record(struct issuer *s, const struct ledger_entry *entry, struct err *e);
/* From now on requests and orders get ERR_UNAVAILABLE; what is under way goes on. */
void issuer_finish(struct issuer *s);
/* Requests for a first certificate wait while the ledger is not vouched for (ledger.h). why NULL: it is now, they go on; else
 * they get this error. */
void issuer_resume(struct issuer *s, const struct err *why);
void issuer_counts(const struct issuer *s, struct issuer_counts *ret);
