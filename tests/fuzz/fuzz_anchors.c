/* approvers.pem: any bytes into authority_open(), and then a good ticket. Promises that the ticket counts only when the
 * approver's certificate is in the file. */
#include <openssl/pem.h>
#include "base/buf.h"
#include "base/err.h"
#include "hsm/authority.h"
#include "tests/fuzz/approved.h"
#include "tests/fuzz/fuzz.h"

/* OpenSSL takes it out of the text as we would: what is tested is that nothing else counts. */
static int names_approver(const uint8_t *data, size_t size)
{
    BIO *bio = BIO_new_mem_buf(data, (int)size);
    X509 *x;
    int found = 0;

    while ((x = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        found |= EVP_PKEY_eq(X509_get0_pubkey(x), fuzz_key()) == 1;
        X509_free(x);
    }
    BIO_free(bio);
    return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct authority *a = NULL;
    const struct ticket *t;
    struct err e = {0};
    int r = authority_open(fuzz_file(data, size), &a, &e);

    fuzz_outcome(r, &e);
    if (r == 0) {
        r = authority_ticket(a, approved()->jws, &t, &e);
        fuzz_outcome(r, &e);
        promise(r < 0 || names_approver(data, size));
    }
    authority_close(&a);
    return 0;
}

static void add_pem(struct buf *out, X509 *x)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    long n;

    must(PEM_write_bio_X509(bio, x) == 1);
    n = BIO_get_mem_data(bio, &text);
    must(buf_append(out, text, (size_t)n, NULL) == 0);
    BIO_free(bio);
}

void fuzz_seeds(fuzz_seed_fn add)
{
    EVP_PKEY *key = help_key("P-384");
    X509 *stranger = help_cert(key, "Stranger");
    struct buf pem = BUF_INIT;

    add("none", "", 0);
    add_pem(&pem, stranger);
    add("stranger", pem.data, pem.len);
    add_pem(&pem, fuzz_approver());
    add("both", pem.data, pem.len);
    buf_reset(&pem);
    add_pem(&pem, fuzz_approver());
    add("approver", pem.data, pem.len);
    add("chain", fuzz_chain()->data, fuzz_chain()->len);
    buf_done(&pem);
    X509_free(stranger);
    EVP_PKEY_free(key);
}
