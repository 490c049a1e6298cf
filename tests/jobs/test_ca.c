/* Software keys and certificates for the tests. */
#include "test_ca.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "base/challenge.h"
#include "base/err.h"

#define MUST(x) assert_true(x)

EVP_PKEY *test_key(const char *type)
{
    EVP_PKEY *key = strcmp(type, "EC") == 0    ? EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256")
                    : strcmp(type, "RSA") == 0 ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048)
                                               : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    MUST(key);
    return key;
}

static void append_x509(X509 *x, struct buf *ret)
{
    uint8_t *der = NULL;
    int len = i2d_X509(x, &der);
    MUST(len > 0 && buf_append(ret, der, (size_t)len, NULL) == 0);
    OPENSSL_free(der);
}

#define CA_NAME "Test CA"

static void make(struct test_ca *ca, EVP_PKEY *key, const char *cn, struct buf *ret)
{
    X509 *x = X509_new();
    X509_NAME *name = X509_NAME_new(), *issuer = X509_NAME_new();
    MUST(x && name && issuer);
    MUST(X509_set_version(x, X509_VERSION_3));
    MUST(ASN1_INTEGER_set(X509_get_serialNumber(x), ++ca->serial));
    MUST(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)cn, -1, -1, 0));
    MUST(X509_NAME_add_entry_by_txt(
            issuer, "CN", MBSTRING_UTF8, (const uint8_t *)CA_NAME, -1, -1, 0));
    MUST(X509_set_subject_name(x, name) && X509_set_issuer_name(x, issuer));
    MUST(X509_gmtime_adj(X509_getm_notBefore(x), 0));
    MUST(ASN1_TIME_set_string(X509_getm_notAfter(x), "99991231235959Z"));
    MUST(X509_set_pubkey(x, key));
    MUST(X509_sign(x, ca->key, EVP_sha256()) > 0);
    append_x509(x, ret);
    X509_NAME_free(name);
    X509_NAME_free(issuer);
    X509_free(x);
}

void test_ca_init(struct test_ca *ca)
{
    *ca = (struct test_ca){.key = test_key("EC"), .serial = 0x1000};
    make(ca, ca->key, CA_NAME, &ca->cert);
}

void test_ca_done(struct test_ca *ca)
{
    EVP_PKEY_free(ca->key);
    buf_done(&ca->cert);
}

void test_ca_issue(struct test_ca *ca, EVP_PKEY *key, struct buf *ret)
{
    make(ca, key, "device", ret);
}

void test_csr(EVP_PKEY *key, struct buf *ret)
{
    X509_REQ *req = X509_REQ_new();
    uint8_t *der = NULL;
    MUST(req && X509_REQ_set_pubkey(req, key) && X509_REQ_sign(req, key, EVP_sha256()) > 0);
    int len = i2d_X509_REQ(req, &der);
    MUST(len > 0 && buf_append(ret, der, (size_t)len, NULL) == 0);
    OPENSSL_free(der);
    X509_REQ_free(req);
}

EVP_PKEY *test_csr_key(const uint8_t *der, size_t len)
{
    X509_REQ *req = d2i_X509_REQ(NULL, &der, (long)len);
    EVP_PKEY *key = req ? X509_REQ_get_pubkey(req) : NULL;
    X509_REQ_free(req);
    return key;
}

void test_sign_challenge(EVP_PKEY *key, const uint8_t challenge[32], struct buf *ret)
{
    uint8_t text[sizeof CHALLENGE_CONTEXT + 32], sig[1024];
    size_t len = sizeof sig;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    const EVP_MD *md = EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256();
    memcpy(text, CHALLENGE_CONTEXT, sizeof CHALLENGE_CONTEXT);
    memcpy(text + sizeof CHALLENGE_CONTEXT, challenge, 32);
    MUST(ctx && EVP_DigestSignInit(ctx, NULL, md, NULL, key) == 1);
    MUST(EVP_DigestSign(ctx, sig, &len, text, sizeof text) == 1);
    MUST(buf_append(ret, sig, len, NULL) == 0);
    EVP_MD_CTX_free(ctx);
}
