/* An example of a profile's certificate, so that a maker can show it to any program that reads
 * certificates before the first device is made. Nobody can take it for a real one: its issuer has no
 * certificate, and the key that signed it is gone. */
#include "station/cli/example.h"

#include <openssl/err.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/text.h"
#include "hsm/x509/cert.h"
#include "hsm/x509/pem.h"
#include "hsm/profile/profile_apply.h"

#define ISSUER "Example, signed by nobody"

static EVP_PKEY *make_key(enum csr_key key)
{
    switch (key) {
    case CSR_KEY_P384:
        return EVP_EC_gen("P-384");
    case CSR_KEY_RSA_2048:
        return EVP_RSA_gen(2048);
    case CSR_KEY_RSA_3072:
        return EVP_RSA_gen(3072);
    case CSR_KEY_RSA_4096:
        return EVP_RSA_gen(4096);
    case CSR_KEY_ED25519:
        return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    case CSR_KEY_P256:
    case CSR_KEY_COUNT:
        break;
    }
    return EVP_EC_gen("P-256");
}

static int key_id(EVP_PKEY *key, uint8_t ret[CERT_KEY_ID_BYTES])
{
    X509_PUBKEY *pubkey = NULL;
    const uint8_t *bits;
    int len, r = -1;
    if (X509_PUBKEY_set(&pubkey, key) == 1 &&
            X509_PUBKEY_get0_param(NULL, &bits, &len, NULL, pubkey) == 1) {
        cert_key_id(bits, (size_t)len, ret);
        r = 0;
    }
    X509_PUBKEY_free(pubkey);
    return r;
}

static int sign(EVP_PKEY *key, const struct buf *tbs, struct buf *out, struct err *e)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t sig[128];
    size_t len = sizeof sig;
    struct buf der = BUF_INIT;
    const uint8_t *at;
    X509 *x = NULL;
    int r = -1;
    if (!ctx || EVP_DigestSignInit_ex(ctx, NULL, "SHA256", NULL, NULL, key, NULL) != 1 ||
            EVP_DigestSign(ctx, sig, &len, tbs->data, tbs->len) != 1) {
        err_set(e, ERR_NOMEM, "the example cannot be signed");
        goto out;
    }
    if (cert_assemble(&(struct cert_bytes){tbs->data, tbs->len}, SIGNATURE_ECDSA_P256,
                &(struct cert_bytes){sig, len}, &der, e))
        goto out;
    at = der.data;
    x = d2i_X509(NULL, &at, (long)der.len);
    r = x ? pem_format(PEM_STRING_X509, der.data, der.len, out, e)
          : err_set(e, ERR_BUG, "the example cannot be read back");
out:
    ERR_clear_error();
    X509_free(x);
    buf_done(&der);
    EVP_MD_CTX_free(ctx);
    return r;
}

int example_certificate(const struct profile *p, const struct row *row, enum csr_key kind,
        struct buf *out, struct err *e)
{
    static const struct cert_attr cn = {
            {3, {0x55, 0x04, 0x03}}, DER_UTF8_STRING, ISSUER, sizeof ISSUER - 1};
    EVP_PKEY *key = make_key(kind), *ca_key = EVP_EC_gen("P-256");
    struct buf issuer = BUF_INIT, tbs = BUF_INIT;
    struct profile_space space;
    struct cert_fields f = {.alg = SIGNATURE_ECDSA_P256};
    uint8_t ca_id[CERT_KEY_ID_BYTES], *spki = NULL;
    struct profile_case c = {.row = row,
            .device_id = PROFILE_ANY_DEVICE,
            .key = kind,
            .ca_key_id = {ca_id, sizeof ca_id},
            .ca_not_after = CERT_NEVER,
            .now_s = time_now_ms() / 1000};
    int len = key ? i2d_PUBKEY(key, &spki) : 0, r = -1;
    space.subject = space.alt_names = BUF_INIT;
    if (len <= 0 || !ca_key || key_id(key, f.subject_key_id) || key_id(ca_key, ca_id)) {
        err_set(e, ERR_NOMEM, "no keys can be made for an example");
        goto out;
    }
    f.spki = (struct cert_bytes){spki, (size_t)len};
    f.authority_key_id = c.ca_key_id;
    if (cert_serial(f.serial, e) || cert_name(&cn, 1, &issuer, e) ||
            profile_apply(p, &c, &space, &f, e))
        goto out;
    f.issuer = (struct cert_bytes){issuer.data, issuer.len};
    if (cert_tbs(&f, &tbs, e) == 0)
        r = sign(ca_key, &tbs, out, e);
out:
    OPENSSL_free(spki);
    buf_done(&issuer);
    buf_done(&tbs);
    profile_space_done(&space);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
    return r;
}
