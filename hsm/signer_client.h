/* The signer's door, org.keyline.Signer1 at /org/keyline/Signer1 on PATH_SIGNER_SOCKET. Only jobd uses it.
 *   Nonce(s job, t row_index) -> ay nonce                       32 bytes, bound to (job, row) and to this signer process
 *   Issue(s ticket, t row_index, ay row, ay proof, ay csr, ay nonce) -> (ay cert, b fresh, b key_made)
 *        row: canonical (base/row.h); proof: concatenated 32-byte nodes; csr: DER PKCS#10 whose challengePassword
 *        (RFC 2985, 5.4.1) is the nonce in lower-case hex; cert: DER. fresh: false when the ledger already had it.
 *        key_made: true when this signer made the certified key (MakeKey), false when the device brought its own.
 *   MakeKey(s ticket, t row_index, ay row, ay proof, s key_type, ay transport_key, ay nonce) -> ay jwe
 *        For a device that cannot make its key, under a ticket with keys "signer", if [signer] born_keys allows it. transport_key: DER
 *        SubjectPublicKeyInfo, P-256; jwe: the new key for its holder alone (hsm/born/born_key.h). Each call makes another key;
 *        none is kept. It is certified like any other: the device that got it answers a nonce with a CSR.
 *   CheckTicket(s ticket) -> s json                             the ticket's facts, if it verifies here: its payload (ticket.h), and
 *        "key_type", what the job's devices are to make: "P-256" where the profile allows it
 *   Order(s order) -> s json                                    what an approver orders (order.h), carried out and durable:
 *        {"order":"revoke","device","serial","reason","reason_before","revoked","approver","fresh"}: since when, and for which
 *        reason it is revoked now, and was before (null: it was not); fresh false: nothing changed.
 *        {"order":"withdraw","job","approver","fresh"}
 *   Chain() -> ay                                               DER certificates concatenated, issuing CA first, root last; then
 *        the chains of retired CAs in the same form: a device gets the one that its certificate was issued under
 *   RenewCrls() -> s json                                       {"crls":[..]} as in Status, when new ones are published
 *   Ledger(s device, t before, u limit) -> s json               {"entries":[..],"next"}: ledger_json.h; device a UUID or ""
 *   Status() -> s json     {"station","ca_subject","ca_not_after","issued","refused","sign_ms_p50","sign_ms_p99","ledger_records","error",
 *        "ledger":{"bytes","signed_bytes","marked_bytes","verified_bytes","verified_at","rollback_protection"},
 *        "tokens":[{"section","label","state","workers","working","signatures","errors","sign_ms_p50","sign_ms_p99","last_error"}],
 *        "workers":[{"token","pid","state","signatures","restarts"}],"waiting",
 *        "crls":[{"ca","ca_subject","number","this_update","next_update","revoked","overdue","error"}]}; docs/json.md explains it
 * Errors: BadTicket UntrustedApprover TicketExpired WrongStation Withdrawn Quota NotAuthorised Profile StaleNonce BadRequest
 *   KeyOrigin NoPossession KeyType WeakKey KeyReused KeyChanged Exists (its certificate is from another job) Revoked BadOrder
 *   NotFound Token* KeyPolicy
 *   CaExpired BadSignature Ledger DiskFull Io Config (approvers.pem) Protocol Unavailable NoMemory. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

struct err;
struct buf;
struct paths;

struct signer_issue {
    const char *ticket;
    uint64_t row_index;
    const uint8_t *row, *proof, *csr, *nonce; /* nonce: NONCE_BYTES */
    size_t row_len, proof_len, csr_len;
};
struct signer_make_key {
    struct signer_issue q; /* without a CSR */
    const char *key_type;
    const uint8_t *transport_key;
    size_t transport_key_len;
};
/* What an answer says beside its bytes. */
enum signer_marks {
    SIGNER_FRESH = 1,   /* a certificate: it was made just now */
    SIGNER_KEY_MADE = 2 /* a certificate: the key in it was made by the signer */
};

int signer_open(const struct paths *p, sd_event *event, sd_bus **ret, struct err *e);

/* Asynchronous: jobd must not wait. The callback runs once; on failure e is set and the bytes are NULL.
 * The bytes are borrowed for the call. marks: enum signer_marks. */
typedef void (*signer_done_fn)(
        void *ctx, const uint8_t *bytes, size_t len, unsigned marks, const struct err *e);
int signer_nonce_async(sd_bus *bus, const char *job, uint64_t row_index, signer_done_fn done,
        void *ctx, struct err *e);
int signer_issue_async(sd_bus *bus, const struct signer_issue *request, signer_done_fn done,
        void *ctx, struct err *e);
/* The JWE arrives as `bytes`. */
int signer_make_key_async(sd_bus *bus, const struct signer_make_key *request, signer_done_fn done,
        void *ctx, struct err *e);
/* The json or chain bytes arrive as `bytes`. */
int signer_check_ticket_async(
        sd_bus *bus, const char *ticket, signer_done_fn done, void *ctx, struct err *e);
int signer_order_async(
        sd_bus *bus, const char *order, signer_done_fn done, void *ctx, struct err *e);
int signer_renew_crls_async(sd_bus *bus, signer_done_fn done, void *ctx, struct err *e);
int signer_ledger_async(sd_bus *bus, const char *device, uint64_t before, unsigned limit,
        signer_done_fn done, void *ctx, struct err *e);
int signer_chain_async(sd_bus *bus, signer_done_fn done, void *ctx, struct err *e);
int signer_status_async(sd_bus *bus, signer_done_fn done, void *ctx, struct err *e);
/* Blocking, for the command line and tests. */
int signer_issue(sd_bus *bus, const struct signer_issue *request, struct buf *ret_cert,
        bool *ret_fresh, struct err *e);
int signer_make_key(
        sd_bus *bus, const struct signer_make_key *request, struct buf *ret_jwe, struct err *e);
int signer_nonce(
        sd_bus *bus, const char *job, uint64_t row_index, uint8_t *ret_nonce, struct err *e);
int signer_status(sd_bus *bus, struct buf *ret_json, struct err *e);
int signer_order(sd_bus *bus, const char *order, struct buf *ret_json, struct err *e);
