/* A device's request: any bytes into csr_check(). Promises that what passes is signed by the key that is in it, answers
 * our nonce, and has a key of an allowed kind. */
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "hsm/x509/csr.h"
#include "tests/fuzz/fuzz.h"
#include "tests/hsm/help.h"

#define ALL_KINDS ((1u << CSR_KEY_COUNT) - 1)

static const uint8_t nonce[NONCE_BYTES] = {1, 2, 3};

/* By OpenSSL's own reading of a request, which is not the one that is tested. */
static void check_accepted(const uint8_t *data, size_t size, const struct csr *c)
{
    const uint8_t *at = data;
    X509_REQ *req = d2i_X509_REQ(NULL, &at, (long)size);
    EVP_PKEY *key = req ? X509_REQ_get0_pubkey(req) : NULL;
    uint8_t *spki = NULL;
    int len;

    promise(req && at == data + size && key);
    promise(X509_REQ_verify(req, key) == 1);
    promise(EVP_PKEY_get_security_bits(key) >= 112);
    len = i2d_X509_PUBKEY(X509_REQ_get_X509_PUBKEY(req), &spki);
    promise(len > 0 && (size_t)len == c->spki_len && memcmp(spki, c->spki, c->spki_len) == 0);
    promise(X509_REQ_get_attr_by_NID(req, NID_pkcs9_challengePassword, -1) >= 0);
    OPENSSL_free(spki);
    X509_REQ_free(req);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct csr c;
    struct err e = {0};
    int r = csr_check(data, size, nonce, ALL_KINDS, &c, &e);

    fuzz_outcome(r, &e);
    if (r == 0) {
        promise(size <= CSR_BYTES_MAX && c.key < CSR_KEY_COUNT);
        check_accepted(data, size, &c);
        /* the same request for another nonce, and under a profile without this kind of key */
        promise(csr_check(data, size, (const uint8_t[NONCE_BYTES]){9}, ALL_KINDS, &c, &e) < 0);
        err_clear(&e);
        promise(csr_check(data, size, nonce, ALL_KINDS & ~(1u << c.key), &c, &e) < 0);
    }
    return 0;
}

/* ---- what is signed, changed and signed again */

/* The bytes of a DER value in data, header and contents; 0 when there is none. */
static size_t value_len(const uint8_t *data, size_t size, size_t *ret_header)
{
    const uint8_t *at = data;
    long len;
    int tag, class;

    if (size == 0 || ASN1_get_object(&at, &len, &tag, &class, (long)size) & 0x80)
        return 0;
    *ret_header = (size_t)(at - data);
    return *ret_header + (size_t)len;
}

static size_t put_sequence(uint8_t *out, size_t max, const uint8_t *info, size_t info_len)
{
    static const uint8_t alg[] = {
            0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};
    uint8_t sig[FUZZ_SIGNATURE_MAX];
    size_t sig_len = fuzz_sign(info, info_len, sig);
    size_t body = info_len + sizeof alg + 3 + sig_len;
    uint8_t *at = out;

    if (body + 4 > max || body > 0xffff)
        return 0;
    ASN1_put_object(&at, 1, (int)body, V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL);
    memcpy(at, info, info_len);
    memcpy(at + info_len, alg, sizeof alg);
    at += info_len + sizeof alg;
    *at++ = V_ASN1_BIT_STRING;
    *at++ = (uint8_t)(sig_len + 1);
    *at++ = 0;
    memcpy(at, sig, sig_len);
    return (size_t)(at + sig_len - out);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    uint8_t info[CSR_BYTES_MAX];
    size_t header, inner, len;

    if (seed % 2 || !value_len(data, size, &header))
        return LLVMFuzzerMutate(data, size, max);
    len = value_len(data + header, size - header, &inner);
    if (!len || len > sizeof info)
        return LLVMFuzzerMutate(data, size, max);
    memcpy(info, data + header, len);
    len = LLVMFuzzerMutate(info, len, sizeof info);
    len = put_sequence(data, max, info, len);
    return len ? len : LLVMFuzzerMutate(data, size, max);
}

/* With a subject that is larger than any device's whole request. */
static void add_large(fuzz_seed_fn add)
{
    static uint8_t bytes[2 * CSR_BYTES_MAX];
    static char text[CSR_BYTES_MAX];
    X509_REQ *req = X509_REQ_new();
    struct buf csr = BUF_INIT;
    const uint8_t *at;
    uint8_t *der = NULL;
    size_t size;
    int len;

    help_csr(fuzz_key(), nonce, "SHA256", &csr);
    at = csr.data;
    must(d2i_X509_REQ(&req, &at, (long)csr.len));
    memset(text, 'x', sizeof text);
    X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(req), "description", MBSTRING_ASC,
            (const uint8_t *)text, sizeof text, -1, 0);
    len = i2d_re_X509_REQ_tbs(req, &der);
    must(len > 0);
    size = put_sequence(bytes, sizeof bytes, der, (size_t)len);
    must(size > CSR_BYTES_MAX);
    add("too-large", bytes, size);
    OPENSSL_free(der);
    buf_done(&csr);
    X509_REQ_free(req);
}

void fuzz_seeds(fuzz_seed_fn add)
{
    static const struct {
        const char *name, *type, *digest;
    } kinds[] = {{"p256", NULL, "SHA256"}, {"p256-other", "P-256", "SHA512"},
            {"p384", "P-384", "SHA384"}, {"rsa2048", "RSA:2048", "SHA256"},
            {"rsa1024", "RSA:1024", "SHA256"}, {"ed25519", "ED25519", NULL},
            {"p521", "P-521", "SHA512"}};

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        EVP_PKEY *key = kinds[i].type ? help_key(kinds[i].type) : EVP_PKEY_dup(fuzz_key());
        struct buf csr = BUF_INIT;

        help_csr(key, nonce, kinds[i].digest, &csr);
        add(kinds[i].name, csr.data, csr.len);
        buf_done(&csr);
        EVP_PKEY_free(key);
    }
    add_large(add);
}
