/* A keeper of CRLs on a real ledger and a real event loop; the clocks are ours, and the CA's key signs in this process, at once or
 * when the test lets it. */
#pragma once
#include <stdbool.h>
#include <systemd/sd-event.h>
#include "hsm/ca.h"
#include "hsm/crl_keeper.h"
#include "hsm/ledger/ledger.h"
#include "tests/hsm/help.h"

#define DAY_MS   INT64_C(86400000)
#define VALID_MS (7 * DAY_MS)

struct crl_rig {
    char dir[64], ledger_path[128], crls[128];
    sd_event *event;
    struct ledger *ledger;
    struct crl_keeper *keeper;
    struct ca cas[2];
    EVP_PKEY *keys[2];
    struct ca_set set;
    int64_t now_ms;
    int64_t skipped_ms, record_ms; /* of the time since boot; and what a record takes of it */
    bool still;                    /* it stands */
    size_t signatures, rests;
    enum err_id fail; /* of the next signatures */
    /* one that is held back */
    bool hold;
    struct buf held;
    const struct ca *held_ca;
    void (*held_done)(void *, const uint8_t *, size_t, const struct err *);
    void *held_ctx;
};
extern struct crl_rig rig; /* of the test that runs */
int rig_setup(void **state);
int rig_teardown(void **state);
#define CRL_TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
/* The keeper is closed, and opened with the ledger as it is on the disk. */
void rig_restart(void);
/* CA i anew, with this keyUsage. */
void rig_make_ca(size_t i, const char *usage);

/* What is to be done at once is done. */
void rig_turn(void);
/* The same after a look: the keeper wakes by itself; here the waiting is cut short, as a restart or any other event would. */
void rig_look_now(void);
/* The pause after a list is over, and that after a failure. */
void rig_rested(void);
/* The signature that is held back is given. */
void rig_let_go(void);

/* What the keeper is given for its entries. */
int rig_record(void *ctx, const struct ledger_entry *entry, struct err *e);
/* An entry that is not committed, and one that is, after a rest, and of which the keeper is told. */
void rig_revoke_quietly(size_t ca, uint32_t serial, uint8_t reason);
void rig_revoke(size_t ca, uint32_t serial, uint8_t reason);

/* The list of CA i, which must be there as DER and PEM and be signed by it. */
void rig_crl_path(size_t ca, char out[PATH_MAX]);
X509_CRL *rig_load(size_t ca);
struct rig_seen {
    long number;
    int entries;
    int64_t this_update, next_update; /* Unix seconds */
};
struct rig_seen rig_look_at(size_t ca);
int64_t rig_unix_s(const ASN1_TIME *t);
/* Of entry i; -1 without one. */
int rig_reason_of(X509_CRL *crl, int i);
