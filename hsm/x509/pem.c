/* PEM out of DER. Promises that the DER comes back out of it byte for byte. Nothing secret passes
 * here: what OpenSSL keeps on the way is not wiped. */
#include "hsm/x509/pem.h"
#include "base/buf.h"
#include "base/err.h"

int pem_format(const char *label, const uint8_t *der, size_t len, struct buf *out, struct err *e)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    int r = -1;

    if (bio && PEM_write_bio(bio, label, "", der, (long)len) > 0) {
        long n = BIO_get_mem_data(bio, &text);

        r = buf_append(out, text, (size_t)n, e);
    } else {
        err_set(e, ERR_NOMEM, "no memory for a PEM text");
    }
    BIO_free(bio);
    return r;
}
