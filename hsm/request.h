/* One request for a certificate, and what it turned out to be: everything about it that can be judged without the past.
 * What was issued before, and the quota, are the issuer's. */
#pragma once
#include <stdint.h>
#include "base/limits.h"
#include "base/row.h"
#include "base/uuid.h"
#include "hsm/x509/csr.h"
#include "hsm/ledger/ledger.h"

struct authority;
struct blocked_keys;
struct csr_reader;
struct err;
struct nonce_key;
struct profile;
struct profiles;
struct signer_issue;
struct ticket;

/* What requests are judged by. */
struct request_rules {
    struct authority *authority;
    struct profiles *profiles;
    struct blocked_keys *blocked_keys;
    const struct nonce_key *nonce_key;
    const char *station;
    int64_t nonce_valid_s;
    struct csr_reader *reader; /* the issuer's own */
};
struct request {
    const struct ticket
            *ticket; /* NULL: no approver stands behind it. Holds as authority_ticket() says */
    const struct profile *profile; /* as it was approved; holds until the next request */
    struct row row;                /* borrowed from the message */
    struct csr csr;
    struct ledger_entry entry; /* job, device, row and key; the rest is zero */
    char device_id[UUID_TEXT_MAX];
    char device_name[NAME_BYTES_MAX + 1];
};

/* What an approver stands behind: ticket, station, profile, row, proof; and our nonce. Not yet the CSR and its key. On failure
 * ret holds what was found out until then. */
int request_check_authority(const struct request_rules *rules, const struct signer_issue *q,
        struct request *ret, struct err *e);
/* Ticket, station, profile, row, proof, nonce, request and key. On failure ret holds what was found out until then. A ticket
 * whose time is over passes: what was issued under it may be asked for again; request_check_time() stands before anything
 * new. */
int request_check(const struct request_rules *rules, const struct signer_issue *q,
        struct request *ret, struct err *e);
/* ERR_TICKET_EXPIRED unless the ticket is valid now. */
int request_check_time(const struct request *r, struct err *e);
