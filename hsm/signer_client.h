/* The signer's door, org.keyline.Signer1 at /org/keyline/Signer1 on PATH_SIGNER_SOCKET. Only jobd uses it.
 *   Nonce(s job, t row_index) -> ay nonce                       32 bytes, bound to (job, row) and to this signer process
 *   Issue(s ticket, t row_index, ay row, ay proof, ay csr, ay nonce) -> (ay cert, b fresh)
 *        row: canonical (base/row.h); proof: concatenated 32-byte nodes; csr: DER PKCS#10 whose challengePassword
 *        (RFC 2985, 5.4.1) is the nonce in lower-case hex; cert: DER. fresh: false when the ledger already had it.
 *   CheckTicket(s ticket) -> s json                             the ticket's facts (ticket.h payload), if it verifies here
 *   Order(s order) -> s json                                    what an approver orders (order.h), carried out and durable:
 *        {"order":"revoke","device","serial","reason","revoked","approver","fresh"}; fresh false: it was revoked before, for
 *        that reason and at that time. {"order":"withdraw","job","approver","fresh"}
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
 *   NoPossession KeyType WeakKey KeyReused KeyChanged Exists (its certificate is from another job) Revoked BadOrder
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

int signer_open(const struct paths *p, sd_event *event, sd_bus **ret, struct err *e);

/* Asynchronous: jobd must not wait. The callback runs once; on failure e is set and the bytes are NULL.
 * The bytes are borrowed for the call. fresh is meaningless for a nonce. */
typedef void (*signer_done_fn)(
        void *ctx, const uint8_t *bytes, size_t len, bool fresh, const struct err *e);
int signer_nonce_async(sd_bus *bus, const char *job, uint64_t row_index, signer_done_fn done,
        void *ctx, struct err *e);
int signer_issue_async(sd_bus *bus, const struct signer_issue *request, signer_done_fn done,
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
int signer_nonce(
        sd_bus *bus, const char *job, uint64_t row_index, uint8_t *ret_nonce, struct err *e);
int signer_status(sd_bus *bus, struct buf *ret_json, struct err *e);
int signer_order(sd_bus *bus, const char *order, struct buf *ret_json, struct err *e);
