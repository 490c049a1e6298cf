/* chain.pem: any bytes into ca_load(). Promises that a chain that passes holds CAs alone, each signed by the next, the
 * last by itself. */
#include <openssl/x509v3.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "hsm/ca.h"
#include "tests/fuzz/fuzz.h"

static void check_accepted(const struct ca *ca)
{
    const uint8_t *at = ca->chain.data, *end = at + ca->chain.len;
    X509 *first = NULL, *below = NULL;

    promise(ca->cert && ca->key && ca->alg < SIGNATURE_ALG_COUNT && ca->key_id.len);
    while (at < end) {
        X509 *x = d2i_X509(NULL, &at, (long)(end - at));

        promise(x && X509_check_ca(x) == 1);
        promise(!below || X509_verify(below, X509_get0_pubkey(x)) == 1);
        promise(first || X509_cmp(x, ca->cert) == 0);
        if (below != first)
            X509_free(below);
        first = first ? first : x;
        below = x;
    }
    promise(below && X509_verify(below, X509_get0_pubkey(below)) == 1);
    if (below != first)
        X509_free(below);
    X509_free(first);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ca *ca = NULL;
    struct err e = {0};
    int r = ca_load(fuzz_file(data, size), &ca, &e);

    fuzz_outcome(r, &e);
    if (r == 0)
        check_accepted(ca);
    ca_free(&ca);
    return 0;
}

void fuzz_seeds(fuzz_seed_fn add)
{
    const struct buf *pem = fuzz_chain();
    const char *second;

    add("chain", pem->data, pem->len);
    second = strstr((const char *)pem->data + 1, "-----BEGIN"); /* PEM ends with a line end */
    must(second);
    add("issuing-alone", pem->data, (size_t)(second - (const char *)pem->data));
    add("root-alone", second, pem->len - (size_t)(second - (const char *)pem->data));
}
