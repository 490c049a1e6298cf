/* Chains by certificate. Promises that a device never gets a chain that its certificate does not
 * belong to. Verifies no signature: both come from the signer, and the device's proof follows. */
#include "jobs/jobd/chains.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/limits.h"

#define CHAINS_MAX (1 + CA_RETIRED_MAX)

struct chains {
    struct buf bytes;
    size_t count;
    struct {
        X509 *issuing;
        size_t at, len; /* in bytes */
    } list[CHAINS_MAX];
};

/* A chain ends with the certificate that is its own issuer. */
static int add_certificate(
        struct chains *c, X509 *x, size_t at, size_t end, bool *first, struct err *e)
{
    if (*first && c->count == CHAINS_MAX)
        return err_set(e, ERR_PROTOCOL, "the signer has more than %u CAs", CHAINS_MAX);
    if (*first) {
        X509_up_ref(x);
        c->list[c->count].issuing = x;
        c->list[c->count++].at = at;
    }
    c->list[c->count - 1].len = end - c->list[c->count - 1].at;
    *first = (X509_get_extension_flags(x) & EXFLAG_SS) != 0;
    return 0;
}

static int split(struct chains *c, struct err *e)
{
    const uint8_t *at = c->bytes.data, *end = at + c->bytes.len;
    bool first = true;
    int r = 0;
    while (r == 0 && at < end) {
        size_t from = (size_t)(at - c->bytes.data);
        X509 *x = d2i_X509(NULL, &at, end - at);
        r = x ? add_certificate(c, x, from, (size_t)(at - c->bytes.data), &first, e)
              : err_set(e, ERR_PROTOCOL, "the signer's chain holds what is no certificate");
        X509_free(x);
    }
    if (r == 0 && !first)
        r = err_set(e, ERR_PROTOCOL, "the signer's chain does not end with a root");
    ERR_clear_error();
    return r;
}

int chains_parse(const uint8_t *bytes, size_t len, struct chains **ret, struct err *e)
{
    struct chains *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(e, ERR_NOMEM, "no memory for the CA chains");
    if (len == 0 || len > (size_t)CHAINS_MAX * CHAIN_BYTES_MAX)
        err_set(e, ERR_PROTOCOL, "the signer's chain has %zu bytes", len);
    else if (buf_append(&c->bytes, bytes, len, e) == 0 && split(c, e) == 0) {
        *ret = c;
        return 0;
    }
    chains_free(&c);
    return -1;
}

void chains_free(struct chains **c)
{
    if (!*c)
        return;
    for (size_t i = 0; i < (*c)->count; i++)
        X509_free((*c)->list[i].issuing);
    buf_done(&(*c)->bytes);
    free(*c);
    *c = NULL;
}

int chains_append_for(
        const struct chains *c, const uint8_t *cert, size_t len, struct buf *out, struct err *e)
{
    const uint8_t *at = cert;
    X509 *x = d2i_X509(NULL, &at, (long)len);
    int r = -1;
    size_t i = 0;
    while (x && i < c->count && X509_check_issued(c->list[i].issuing, x) != X509_V_OK)
        i++;
    if (!x)
        err_set(e, ERR_PROTOCOL, "the signer's certificate cannot be read");
    else if (i == c->count)
        err_set(e, ERR_CA_CHAIN,
                "the certificate was issued under a CA that the signer does not know: restore its "
                "chain in etc/ca/retired");
    else
        r = buf_append(out, c->bytes.data + c->list[i].at, c->list[i].len, e);
    X509_free(x);
    ERR_clear_error();
    return r;
}
