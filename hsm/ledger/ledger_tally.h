/* What the entries of a ledger add up to: counts, certificates a job, what is revoked. In memory, made anew at each start. */
#pragma once
#include "hsm/ledger/ledger.h"
#include "hsm/ledger/ledger_index.h"

struct ledger_job {
    uint8_t job[LEDGER_ID_BYTES];
    uint64_t issued, keys_made;
    bool withdrawn;
};
struct ledger_ca {
    uint64_t revoked, compromised; /* the second: for keyCompromise, of the first */
    struct ledger_crl crl;         /* the last one; number 0: none yet */
};
struct ledger_tally {
    struct ledger_counts counts;
    uint64_t crl_number;
    uint64_t checkpoint;   /* where the newest one is, which vouches for most; 0: there is none */
    uint64_t vouched;      /* the bytes that it vouches for */
    struct ledger_ca *cas; /* a handful */
    size_t ca_count, ca_cap;
    struct ledger_job *jobs;
    size_t job_count, job_cap;
    struct ledger_revoked *revoked;
    size_t revoked_count, revoked_cap;
    uint64_t *
            blocks; /* where some groups begin, LEDGER_BLOCK_BYTES apart or more: ways into the file */
    size_t block_count, block_cap;
    struct ledger_index by_job;               /* its places are numbers in jobs, from 1 */
    struct ledger_index by_serial, by_device; /* the same in revoked */
    struct ledger_index by_key;               /* the same, of those for keyCompromise alone */
};

#define LEDGER_BLOCK_BYTES (1u << 20)

int ledger_tally_init(struct ledger_tally *t, struct err *e);
void ledger_tally_done(struct ledger_tally *t);
/* Room for a group of `entries`, so that ledger_tally_group() and ledger_tally_add() cannot fail for it. */
int ledger_tally_reserve(struct ledger_tally *t, size_t entries, struct err *e);
/* Counts a group that begins at this place of the file. */
void ledger_tally_group(struct ledger_tally *t, uint64_t at);
/* Where a group begins, at this place or about a block before it; 0: there is none. */
uint64_t ledger_tally_group_before(const struct ledger_tally *t, uint64_t at);
void ledger_tally_add(struct ledger_tally *t, const struct ledger_entry *entry, uint64_t place);
/* NULL: nothing was issued for it, and it was not withdrawn. */
const struct ledger_job *ledger_tally_job(
        const struct ledger_tally *t, const uint8_t job[LEDGER_ID_BYTES]);
/* NULL: nothing of it was revoked, and it has no CRL. */
const struct ledger_ca *ledger_tally_ca(
        const struct ledger_tally *t, const uint8_t ca[CERT_KEY_ID_BYTES]);
/* NULL: it is not revoked. */
const struct ledger_revoked *ledger_tally_revoked(
        const struct ledger_tally *t, const uint8_t serial[CERT_SERIAL_BYTES]);
/* A certificate for this key is revoked for keyCompromise. */
bool ledger_tally_compromised(const struct ledger_tally *t, const uint8_t spki_sha256[32]);
/* A certificate that this device had from this job is revoked. */
bool ledger_tally_had(const struct ledger_tally *t, const uint8_t device[LEDGER_ID_BYTES],
        const uint8_t job[LEDGER_ID_BYTES]);
/* As bytes, for this machine and this Keyline. */
int ledger_tally_encode(const struct ledger_tally *t, struct buf *out, struct err *e);
/* Into an empty tally. ERR_LEDGER when these are not the bytes of one. */
int ledger_tally_decode(struct ledger_tally *t, const uint8_t *bytes, size_t len, struct err *e);
