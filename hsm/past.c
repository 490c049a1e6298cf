/* The rules of re-issue and of keys (past.h). Promises: a revoked certificate is never given back,
 * and no ticket gives a device two certificates. Reads the ledger only. */
#include "hsm/past.h"
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/text.h"
#include "hsm/ca.h"
#include "hsm/approval/order.h"
#include "hsm/request.h"
#include "hsm/approval/ticket.h"

static bool same_id(const uint8_t *a, const uint8_t *b)
{
    return memcmp(a, b, LEDGER_ID_BYTES) == 0;
}

/* Every certificate of a device but its newest is revoked, and the revocation names its job: so this
 * list knows all the jobs the device ever got one from. */
static bool served_before(const struct ledger *l, const struct request *r)
{
    return ledger_had(l, r->entry.device, r->entry.job);
}

/* A certificate of this key was revoked for keyCompromise; it need not be the newest one. */
static int check_not_stolen(const struct ledger *l, const struct request *r, struct err *e)
{
    if (!ledger_key_compromised(l, r->entry.spki_sha256))
        return 0;
    return err_set(e, ERR_KEY_REUSED,
            "device %s shows a key for which a certificate was revoked as compromised",
            r->device_name);
}

int past_judge(struct ledger *l, const struct request *r, enum past *ret,
        struct ledger_entry *ret_have, struct buf *ret_cert, struct err *e)
{
    int found = ledger_find_device(l, r->entry.device, ret_have, ret_cert, e);
    const char *name = r->device_name;
    bool same_job, same_key;

    *ret = PAST_NOTHING;
    if (found <= 0)
        return found;
    same_job = same_id(ret_have->job, r->entry.job);
    same_key =
            memcmp(ret_have->spki_sha256, r->entry.spki_sha256, sizeof ret_have->spki_sha256) == 0;
    if ((same_job || !r->ticket->reissue) && ledger_find_revoked(l, ret_have->serial))
        return err_set(e, ERR_CERT_REVOKED, "the certificate of device %s was revoked", name);
    if (same_job && same_key) {
        *ret = PAST_SAME;
        return check_not_stolen(l, r, e); /* it may be good and have the key of an older one */
    }
    if (same_job || (!r->ticket->reissue && !same_key))
        return err_set(e, ERR_KEY_CHANGED, "device %s has a certificate for another key", name);
    if (!r->ticket->reissue)
        return err_set(e, ERR_EXISTS, "device %s has its certificate from another job", name);
    if (served_before(l, r))
        return err_set(e, ERR_EXISTS,
                "device %s had its certificate from this job, and a newer one since", name);
    *ret = PAST_REPLACE;
    return 0;
}

int past_check_key(struct ledger *l, const struct request *r, struct err *e)
{
    struct ledger_entry other;
    int found = ledger_find_key(l, r->entry.spki_sha256, &other, e);

    if (found < 0 || check_not_stolen(l, r, e) < 0)
        return -1;
    if (found && !same_id(other.device, r->entry.device))
        return err_set(e, ERR_KEY_REUSED,
                "device %s shows a key that was certified for another device", r->device_name);
    return 0;
}

/* By its authorityKeyIdentifier: it may be of a CA that issues no more. */
static int issuing_ca(const struct buf *cert, uint8_t ret[CERT_KEY_ID_BYTES], struct err *e)
{
    const uint8_t *at = cert->data;
    X509 *x = d2i_X509(NULL, &at, (long)cert->len);
    const ASN1_OCTET_STRING *id = x ? X509_get0_authority_key_id(x) : NULL;
    int r = -1;

    if (id) {
        const struct cert_bytes key_id = {
                ASN1_STRING_get0_data(id), (size_t)ASN1_STRING_length(id)};

        ca_id(&key_id, ret);
        r = 0;
    } else {
        err_set(e, ERR_LEDGER, "a certificate in the ledger does not say which CA issued it");
    }
    ERR_clear_error();
    X509_free(x);
    return r;
}

int past_revocation(const struct ledger_entry *have, const struct buf *cert, uint8_t reason,
        uint8_t ca[CERT_KEY_ID_BYTES], struct ledger_entry *ret, struct err *e)
{
    if (issuing_ca(cert, ca, e) < 0)
        return -1;
    *ret = *have;
    ret->type = LEDGER_REVOKED;
    ret->flags = 0;
    ret->reason = reason;
    ret->time_ms = time_now_ms();
    ret->tail = (struct cert_bytes){ca, CERT_KEY_ID_BYTES};
    return 0;
}

void past_worse_revocation(const struct ledger_revoked *before, uint8_t reason,
        uint8_t ca[CERT_KEY_ID_BYTES], struct ledger_entry *ret)
{
    *ret = (struct ledger_entry){
            .type = LEDGER_REVOKED, .reason = reason, .time_ms = time_now_ms()};
    memcpy(ret->job, before->job, sizeof ret->job);
    memcpy(ret->device, before->device, sizeof ret->device);
    memcpy(ret->serial, before->serial, sizeof ret->serial);
    memcpy(ret->spki_sha256, before->spki_sha256, sizeof ret->spki_sha256);
    memcpy(ca, before->ca, CERT_KEY_ID_BYTES);
    ret->tail = (struct cert_bytes){ca, CERT_KEY_ID_BYTES};
}
