/* Rules for keys that are not born in their devices. Promises: none is made that the approver did not
 * allow, and none is certified unflagged, with whatever ticket, job or device it comes back. */
#include "hsm/born/birth.h"
#include <openssl/evp.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "hsm/past.h"
#include "hsm/profile/profile.h"
#include "hsm/request.h"
#include "hsm/signer_client.h"
#include "hsm/approval/ticket.h"

/* Keys made for each certificate of the quota: a device that is pulled at a bad moment needs another
 * one, but a hostile jobd must not fill the ledger with keys. */
#define KEYS_PER_CERTIFICATE 8

/* Then the approver signed for it, and nobody between signer and device can put their own in its
 * place. */
static int check_transport(const struct signer_make_key *k, const struct request *r, struct err *e)
{
    const struct row_field *named = row_get(&r->row, "transport_key");
    char text[4 * (SPKI_BYTES_MAX / 3 + 1) + 1];

    if (!named)
        return 0;
    if (k->transport_key_len <= SPKI_BYTES_MAX) {
        int len = EVP_EncodeBlock((uint8_t *)text, k->transport_key, (int)k->transport_key_len);

        if ((size_t)len == named->value_len && memcmp(text, named->value, named->value_len) == 0)
            return 0;
    }
    return err_set(e, ERR_KEY_ORIGIN,
            "the row of device %s names another transport key than the one shown", r->device_name);
}

/* A certificate that the device has stands in the way as it would for a CSR with another key. */
static int check_past(struct ledger *l, const struct request *r, struct err *e)
{
    struct ledger_entry have;
    struct buf cert = BUF_INIT;
    enum past past;
    int result = past_judge(l, r, &past, &have, &cert, e);

    buf_done(&cert);
    return result;
}

int birth_check(struct ledger *l, const struct request *r, const struct signer_make_key *k,
        uint64_t under_way, enum born_key_type *ret, struct err *e)
{
    uint64_t made = ledger_job_keys(l, r->entry.job) + under_way;

    if (r->ticket->keys != TICKET_KEYS_SIGNER)
        return err_set(
                e, ERR_KEY_ORIGIN, "the job's ticket does not allow keys made by the signer");
    if (born_key_find(k->key_type, ret, e) < 0)
        return -1;
    if (!(r->profile->keys & 1u << born_key_kind(*ret)))
        return err_set(e, ERR_KEY_TYPE, "the profile does not allow %s keys", k->key_type);
    if (made / KEYS_PER_CERTIFICATE >= r->ticket->quota)
        return err_set(e, ERR_QUOTA, "%llu keys were made for this job, more than it can need",
                (unsigned long long)made);
    return check_past(l, r, e) < 0 ? -1 : check_transport(k, r, e);
}

int birth_check_origin(struct ledger *l, struct request *r, struct err *e)
{
    struct ledger_entry made;
    int found = ledger_find_made_key(l, r->entry.spki_sha256, &made, e);

    if (found <= 0) /* the device's own, which any ticket allows */
        return found;
    if (r->ticket->keys != TICKET_KEYS_SIGNER)
        return err_set(e, ERR_KEY_ORIGIN,
                "the key of device %s was made by the signer, which its ticket does not allow",
                r->device_name);
    if (memcmp(made.device, r->entry.device, sizeof made.device) != 0)
        return err_set(e, ERR_KEY_REUSED, "device %s shows a key that was made for another device",
                r->device_name);
    r->entry.flags |= LEDGER_KEY_FROM_SIGNER;
    return 0;
}
