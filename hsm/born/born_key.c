/* Making a key and wrapping it. Promises that the private key leaves only inside the JWE; must not
 * write it anywhere, and must not be called in a process that lives on. */
#include "hsm/born/born_key.h"
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/jwe.h"
#include "base/secret.h"

static const struct {
    const char *name, *group; /* group NULL: RSA */
    size_t bits;
    enum csr_key kind;
} types[BORN_KEY_COUNT] = {
        [BORN_KEY_P256] = {"P-256", "P-256", 0, CSR_KEY_P256},
        [BORN_KEY_P384] = {"P-384", "P-384", 0, CSR_KEY_P384},
        [BORN_KEY_RSA2048] = {"RSA-2048", NULL, 2048, CSR_KEY_RSA_2048},
        [BORN_KEY_RSA3072] = {"RSA-3072", NULL, 3072, CSR_KEY_RSA_3072},
};

const char *born_key_name(enum born_key_type t)
{
    return types[t].name;
}

enum csr_key born_key_kind(enum born_key_type t)
{
    return types[t].kind;
}

int born_key_find(const char *name, enum born_key_type *ret, struct err *e)
{
    for (unsigned t = 0; t < BORN_KEY_COUNT; t++)
        if (strcmp(types[t].name, name) == 0) {
            *ret = (enum born_key_type)t;
            return 0;
        }
    return err_set(e, ERR_KEY_TYPE, "the signer makes no '%.20s' keys", name);
}

static int encode_private(EVP_PKEY *key, struct secret *ret, struct err *e)
{
    PKCS8_PRIV_KEY_INFO *p8 = EVP_PKEY2PKCS8(key);
    int len = p8 ? i2d_PKCS8_PRIV_KEY_INFO(p8, NULL) : 0, r = -1;
    uint8_t *at;

    if (len <= 0) {
        err_set(e, ERR_NOMEM, "the key cannot be encoded");
    } else if (secret_new((size_t)len, ret, e) == 0) {
        at = ret->bytes;
        r = i2d_PKCS8_PRIV_KEY_INFO(p8, &at) == len
                    ? 0
                    : err_set(e, ERR_BUG, "the key is encoded in two sizes");
    }
    PKCS8_PRIV_KEY_INFO_free(p8); /* OpenSSL wipes it */
    return r;
}

static int append_public(EVP_PKEY *key, struct buf *out, struct err *e)
{
    int len = i2d_PUBKEY(key, NULL);
    uint8_t *at;

    if (len <= 0)
        return err_set(e, ERR_NOMEM, "the public key cannot be encoded");
    if (buf_reserve(out, (size_t)len, &at, e) < 0)
        return -1;
    out->len += (size_t)i2d_PUBKEY(key, &at);
    return 0;
}

int born_key_make(enum born_key_type t, const uint8_t *transport_spki, size_t transport_len,
        struct buf *ret_spki, struct buf *ret_jwe, struct err *e)
{
    EVP_PKEY *key = types[t].group ? EVP_EC_gen(types[t].group) : EVP_RSA_gen(types[t].bits);
    struct secret private = SECRET_INIT;
    int r = -1;

    if (!key)
        err_set(e, ERR_NOMEM, "no %s key can be made", types[t].name);
    else if (append_public(key, ret_spki, e) == 0 && encode_private(key, &private, e) == 0)
        r = jwe_seal(transport_spki, transport_len, JWE_TYPE_KEY, &private, ret_jwe, e);
    secret_done(&private);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return r;
}
