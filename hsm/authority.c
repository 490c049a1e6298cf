/* Anchors and verified tickets. Promises that a ticket found in memory was verified under the
 * anchors that are in the file now; an anchor that is taken out counts no longer from the next call
 * on. Decides nothing about time, place or rows. */
#include "hsm/authority.h"
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "hsm/approval/order.h"
#include "hsm/approval/ticket.h"

#define ANCHORS_BYTES_MAX (1u << 20) /* some hundred certificates */
#define POLICY_TEXT_MAX   128        /* longer object identifiers are nobody's */
#define TICKETS_MAX       32         /* jobs worked on at a time at one station, with room */
#define VERIFIED_FOR_MS                                                                            \
    600000 /* so that an approver's certificate that expires stops counting within ten minutes */

struct known {
    char *jws;           /* itself and not its hash: comparing costs less */
    int64_t verified_ms; /* monotonic; 0: free */
    struct ticket ticket;
};
struct authority {
    char *path;
    ASN1_OBJECT *policy;    /* NULL: none is asked for */
    struct file_stamp seen; /* of the file that store was made from */
    X509_STORE *store;
    struct known *known; /* TICKETS_MAX */
};

static void forget(struct authority *a)
{
    X509_STORE_free(a->store);
    a->store = NULL;
    for (size_t i = 0; i < TICKETS_MAX; i++)
        a->known[i].verified_ms = 0;
}

static int add_anchors(X509_STORE *store, const struct buf *pem, unsigned *ret_count)
{
    BIO *bio;
    X509 *x;
    int r;

    if (!pem->len) /* OpenSSL takes no memory of no bytes */
        return 0;
    bio = BIO_new_mem_buf(pem->data, (int)pem->len);
    r = bio ? 0 : -1;
    while (r == 0 && (x = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        r = X509_STORE_add_cert(store, x) == 1 ? 0 : -1;
        X509_free(x);
        ++*ret_count;
    }
    if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        r = -1;
    ERR_clear_error();
    BIO_free(bio);
    return r;
}

/* A chain of one certificate is the anchor itself, and passes: pinned approvers need no policy. */
static int add_policy(const struct authority *a, struct err *e)
{
    X509_VERIFY_PARAM *p = X509_STORE_get0_param(a->store);
    ASN1_OBJECT *policy = a->policy ? OBJ_dup(a->policy) : NULL;

    if (!a->policy)
        return 0;
    if (!policy || X509_VERIFY_PARAM_add0_policy(p, policy) != 1) {
        ASN1_OBJECT_free(policy);
        return err_set(e, ERR_NOMEM, "no memory for the approvers' policy");
    }
    X509_VERIFY_PARAM_set_flags(p, X509_V_FLAG_POLICY_CHECK | X509_V_FLAG_EXPLICIT_POLICY);
    return 0;
}

static int load(struct authority *a, struct err *e)
{
    struct buf pem = BUF_INIT;
    struct err missing = {0};
    unsigned count = 0;
    int r = -1;

    forget(a);
    a->store = X509_STORE_new();
    if (!a->store)
        return err_set(e, ERR_NOMEM, "no memory for the trust anchors");
    if (file_read(a->path, ANCHORS_BYTES_MAX, &pem, &missing) < 0 && missing.id != ERR_NOT_FOUND) {
        err_set(e, missing.id, "%.400s", missing.msg);
        goto out;
    }
    if (add_policy(a, e) < 0)
        goto out;
    if (add_anchors(a->store, &pem, &count) < 0) {
        err_set(e, ERR_CONFIG, "%s: it holds something that is not a PEM certificate", a->path);
        goto out;
    }
    if (count)
        log_info("trust-anchors", LOG_STR("file", a->path), LOG_NUM("approvers", count));
    else
        log_warning("nobody-may-approve", LOG_STR("file", a->path));
    r = 0;
out:
    if (r < 0)
        forget(a);
    buf_done(&pem);
    return r;
}

static int refresh(struct authority *a, struct err *e)
{
    bool changed = file_changed(a->path, &a->seen);

    return changed || !a->store ? load(a, e) : 0;
}

int authority_open(const char *path, struct authority **ret, struct err *e)
{
    struct authority *a = calloc(1, sizeof *a);

    if (a) {
        a->path = strdup(path);
        a->known = calloc(TICKETS_MAX, sizeof *a->known);
    }
    if (!a || !a->path || !a->known)
        err_set(e, ERR_NOMEM, "no memory for the trust anchors");
    else if (refresh(a, e) == 0) {
        *ret = a;
        return 0;
    }
    authority_close(&a);
    return -1;
}

int authority_require(struct authority *a, const char *policy, struct err *e)
{
    char text[POLICY_TEXT_MAX];

    ASN1_OBJECT_free(a->policy);
    a->policy = OBJ_txt2obj(policy, 1);
    ERR_clear_error();
    /* OpenSSL reads more than it should; what it understood must be what is written */
    if (!a->policy || OBJ_obj2txt(text, sizeof text, a->policy, 1) < 0 || strcmp(text, policy) != 0)
        return err_set(e, ERR_CONFIG,
                "[signer] approver_policy is not an object identifier, as in 1.3.6.1.4.1.32473.1");
    return load(a, e);
}

void authority_close(struct authority **a)
{
    if (!*a)
        return;
    X509_STORE_free((*a)->store);
    ASN1_OBJECT_free((*a)->policy);
    for (size_t i = 0; (*a)->known && i < TICKETS_MAX; i++)
        free((*a)->known[i].jws);
    free((*a)->known);
    free((*a)->path);
    free(*a);
    *a = NULL;
}

int authority_ticket(struct authority *a, const char *jws, const struct ticket **ret, struct err *e)
{
    size_t len = strlen(jws);
    int64_t now_ms = time_monotonic_ms();
    struct known *oldest = a->known;
    char *copy;

    if (len > TICKET_BYTES_MAX)
        return err_set(e, ERR_TICKET, "ticket: it is larger than %u bytes", TICKET_BYTES_MAX);
    if (refresh(a, e) < 0)
        return -1;
    for (struct known *k = a->known; k < a->known + TICKETS_MAX; k++) {
        if (k->verified_ms && now_ms - k->verified_ms < VERIFIED_FOR_MS &&
                strcmp(k->jws, jws) == 0) {
            *ret = &k->ticket;
            return 0;
        }
        if (k->verified_ms < oldest->verified_ms)
            oldest = k;
    }
    oldest->verified_ms = 0;
    if (ticket_verify(jws, a->store, &oldest->ticket, e) < 0)
        return -1;
    copy = strdup(jws);
    if (!copy)
        return err_set(e, ERR_NOMEM, "no memory for a ticket");
    free(oldest->jws);
    oldest->jws = copy;
    oldest->verified_ms = now_ms;
    *ret = &oldest->ticket;
    return 0;
}

int authority_order(struct authority *a, const char *jws, struct order *ret, struct err *e)
{
    return refresh(a, e) < 0 ? -1 : order_verify(jws, a->store, ret, e);
}
