/* The CRLs of a station's CAs, active and retired: each one is there from the first start on, follows every revocation, and
 * is renewed when half of its time is over, whether anything happens or not. Published as DER and PEM in one directory:
 * <CA's subjectKeyIdentifier in hex>.crl and .crl.pem, replaced whole, readable by everybody. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>
#include "hsm/x509/cert.h"
#include "base/err.h"

struct ca;
struct ca_set;
struct crl_keeper;
struct ledger;
struct ledger_entry;

struct crl_keeper_parts {
    sd_event *event;
    const struct ca_set *cas;
    const struct ledger *ledger;
    const char *dir;
    int64_t valid_ms;        /* from thisUpdate to nextUpdate */
    void *ctx;               /* of the calls below */
    int64_t (*now_ms)(void); /* Unix */
    int64_t (*up_ms)(void);  /* monotonic */
    /* Signs with this CA's key, as workers_sign(). */
    int (*sign)(void *ctx, const struct ca *ca, const void *bytes, size_t len,
            void (*done)(void *ctx, const uint8_t *sig, size_t len, const struct err *e),
            void *done_ctx, struct err *e);
    /* Makes an entry durable. */
    int (*record)(void *ctx, const struct ledger_entry *entry, struct err *e);
    /* Nothing is to be done for a while. */
    void (*rest)(void *ctx);
};
struct crl_status {
    const struct ca *ca;
    uint64_t number;                        /* 0: there is none yet */
    int64_t this_update_ms, next_update_ms; /* Unix */
    size_t revoked;
    bool overdue;     /* nextUpdate has passed: verifiers refuse every device */
    struct err error; /* what keeps the next one from being published; id ERR_NONE */
};

/* The parts are borrowed until crl_keeper_close(). The directory is made. */
int crl_keeper_open(const struct crl_keeper_parts *p, struct crl_keeper **ret, struct err *e);
/* After the workers: their callbacks must not come any more. Who waits gets ERR_UNAVAILABLE. */
void crl_keeper_close(struct crl_keeper **k);
/* A revocation is durable. Several in a row make one CRL: after a list its CA's next one has to wait, for a second or for
 * twenty times what the signer's loop had to do for the last one, so that no rate of revocations takes the signer's time. */
void crl_keeper_revoked(struct crl_keeper *k);
/* The ledger is vouched for (ledger_vouched()): before, none is made. */
void crl_keeper_resume(struct crl_keeper *k);
/* New CRLs of all CAs as soon as they may be made; one that is younger than CRL_FRESH_MS and lacks no revocation is as good as
 * a new one. done is called once, from the event loop, when they are published or when one cannot be. */
int crl_keeper_renew(struct crl_keeper *k, void (*done)(void *ctx, const struct err *e), void *ctx,
        struct err *e);
/* i from 0, the active CA first; false when there is no such CA. */
bool crl_keeper_status(const struct crl_keeper *k, size_t i, struct crl_status *ret);
