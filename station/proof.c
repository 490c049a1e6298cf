/* The challenge's proof. Promises: 0 only for a signature by the key in the certificate over
 * exactly this challenge. */
#include "station/proof.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/challenge.h"

static X509 *parse_cert(const struct buf *cert)
{
    const unsigned char *at = cert->data;
    if (cert->len == 0 || cert->len > CERT_BYTES_MAX)
        return NULL;
    X509 *x = d2i_X509(NULL, &at, (long)cert->len);
    if (x && at == cert->data + cert->len)
        return x;
    X509_free(x);
    return NULL;
}

int proof_verify(const struct buf *cert, const uint8_t challenge[NONCE_BYTES],
        const struct buf *signature, struct err *e)
{
    uint8_t message[sizeof CHALLENGE_CONTEXT + NONCE_BYTES]; /* the context's NUL is part of it */
    memcpy(message, CHALLENGE_CONTEXT, sizeof CHALLENGE_CONTEXT);
    memcpy(message + sizeof CHALLENGE_CONTEXT, challenge, NONCE_BYTES);

    EVP_MD_CTX *md = EVP_MD_CTX_new();
    X509 *x = parse_cert(cert);
    EVP_PKEY *key = x ? X509_get0_pubkey(x) : NULL;
    int r = -1;
    if (!md) {
        err_set(e, ERR_NOMEM, "no memory to verify the device's signature");
        goto out;
    }
    if (!key) {
        err_set(e, ERR_PROTOCOL, "the certificate jobd gave cannot be read");
        goto out;
    }
    if (!EVP_PKEY_is_a(key, "EC") && !EVP_PKEY_is_a(key, "RSA")) {
        err_set(e, ERR_KEY_TYPE, "the certificate is for a key that is neither EC nor RSA");
        goto out;
    }
    if (signature->len == 0 || signature->len > SIGNATURE_BYTES_MAX ||
            EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, key) != 1 ||
            EVP_DigestVerify(md, signature->data, signature->len, message, sizeof message) != 1) {
        err_set(e, ERR_DEVICE_CHALLENGE, "its signature does not verify under its certificate");
        goto out;
    }
    r = 0;
out:
    ERR_clear_error();
    X509_free(x);
    EVP_MD_CTX_free(md);
    return r;
}
