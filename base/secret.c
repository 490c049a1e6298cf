/* The secure heap. Must never hand out memory that may be swapped out or dumped: where it cannot be
 * locked, there is none. */
#include "base/secret.h"

#include <string.h>

#include <openssl/crypto.h>

#include "base/err.h"

/* A few keys at a time; below 64 KB, the limit on locked memory that older kernels set. */
#define HEAP_BYTES  (32u << 10)
#define BLOCK_BYTES 32u

int secret_open(struct err *e)
{
    if (CRYPTO_secure_malloc_initialized())
        return 0;
    /* 2 means: made, but neither locked nor kept out of core files */
    if (CRYPTO_secure_malloc_init(HEAP_BYTES, BLOCK_BYTES) == 1)
        return 0;
    CRYPTO_secure_malloc_done();
    return err_set(e, ERR_NOMEM,
            "no memory can be locked for keys: raise the limit on locked memory (LimitMEMLOCK) "
            "above %u bytes",
            HEAP_BYTES);
}

int secret_new(size_t len, struct secret *ret, struct err *e)
{
    if (!CRYPTO_secure_malloc_initialized())
        return err_set(e, ERR_BUG, "a secret without secret_open()");
    ret->bytes = OPENSSL_secure_zalloc(len ? len : 1);
    ret->len = len;
    return ret->bytes ? 0 : err_set(e, ERR_NOMEM, "no locked memory for %zu bytes", len);
}

void secret_done(struct secret *s)
{
    OPENSSL_secure_clear_free(s->bytes, s->len);
    *s = SECRET_INIT;
}
