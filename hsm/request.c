/* The request for a certificate. Promises that nothing gets through that an approver did not sign
 * for, for this very row, and that the key in it answered our own nonce. Must not use anything a
 * request says but the row the approver signed for and the key the device proved. The order of the
 * checks: who approved, for what, for which row, which key. */
#include "hsm/request.h"
#include <string.h>
#include "base/err.h"
#include "base/merkle.h"
#include "base/text.h"
#include "hsm/authority.h"
#include "hsm/blocked_keys.h"
#include "hsm/nonce.h"
#include "hsm/profile/profile.h"
#include "hsm/profile/profiles.h"
#include "hsm/signer_client.h"
#include "hsm/approval/ticket.h"

static int check_ticket(const struct request_rules *rules, const struct ticket *t, struct err *e)
{
    int64_t now_s = time_now_ms() / 1000;

    /* its end is no fault here: request_check_time() */
    return ticket_check(t, rules->station, now_s < t->not_after ? now_s : t->not_after - 1, e);
}

static int check_row(const struct signer_issue *q, struct request *ret, struct err *e)
{
    const struct ticket *t = ret->ticket;
    struct merkle_hash leaf, proof[MERKLE_PROOF_MAX];
    char group[NAME_BYTES_MAX + 1];

    if (q->proof_len % MERKLE_HASH_BYTES || q->proof_len > sizeof proof)
        return err_set(e, ERR_PROOF, "the inclusion proof has a wrong size");
    if (q->proof_len)
        memcpy(proof, q->proof, q->proof_len);
    merkle_leaf(q->row, q->row_len, &leaf);
    if (merkle_verify(&leaf, q->row_index, t->rows, proof, q->proof_len / MERKLE_HASH_BYTES,
                &t->root, e) < 0 ||
            row_decode(q->row, q->row_len, &ret->row, e) < 0 ||
            row_copy(&ret->row, "device_name", ret->device_name, sizeof ret->device_name, e) < 0 ||
            row_copy(&ret->row, "device_group", group, sizeof group, e) < 0)
        return err_context(e, "row %llu", (unsigned long long)q->row_index);
    if (!name_valid(ret->device_name, strlen(ret->device_name)) ||
            !name_valid(group, strlen(group)))
        return err_set(e, ERR_PROFILE, "the row has no valid device_name and device_group");
    uuid_device(t->account, t->division, group, ret->device_name, ret->device_id);
    uuid_bytes(ret->device_id, ret->entry.device);
    return 0;
}

int request_check_authority(const struct request_rules *rules, const struct signer_issue *q,
        struct request *ret, struct err *e)
{
    *ret = (struct request){.entry.row = q->row_index};
    if (authority_ticket(rules->authority, q->ticket, &ret->ticket, e) < 0)
        return -1;
    uuid_bytes(ret->ticket->job, ret->entry.job);
    if (check_ticket(rules, ret->ticket, e) < 0 ||
            profiles_find_approved(rules->profiles, ret->ticket->profile,
                    ret->ticket->profile_sha256, &ret->profile, e) < 0 ||
            check_row(q, ret, e) < 0)
        return -1;
    return nonce_check(rules->nonce_key, time_now_ms(), rules->nonce_valid_s, ret->ticket->job,
            q->row_index, q->nonce, e);
}

int request_check(const struct request_rules *rules, const struct signer_issue *q,
        struct request *ret, struct err *e)
{
    if (request_check_authority(rules, q, ret, e) < 0 ||
            csr_read(rules->reader, q->csr, q->csr_len, q->nonce, ret->profile->keys, &ret->csr,
                    e) < 0 ||
            blocked_keys_check(rules->blocked_keys, ret->csr.spki_sha256, e) < 0)
        return -1;
    memcpy(ret->entry.spki_sha256, ret->csr.spki_sha256, sizeof ret->entry.spki_sha256);
    return 0;
}

int request_check_time(const struct request *r, struct err *e)
{
    if (time_now_ms() / 1000 >= r->ticket->not_after)
        return err_set(e, ERR_TICKET_EXPIRED, "the ticket has expired");
    return 0;
}
