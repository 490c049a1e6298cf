#include "fake_driver.h"
#include "station_test.h"

#include <openssl/ec.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "base/challenge.h"

static int enter(struct driver_session *s, enum stage stage, struct err *e)
{
    struct fake_device *d = s->io->ctx;
    d->calls[stage]++;
    if (d->on_stage)
        d->on_stage(d, stage);
    if (d->fail[stage])
        return err_set(e, d->fail[stage], "scripted");
    return 0;
}

static int fake_open(struct driver_session *s, unsigned timeout_ms, struct err *e)
{
    struct fake_device *d = s->io->ctx;
    (void)timeout_ms;
    d->opened_ms = time_monotonic_ms();
    return enter(s, S_OPEN, e);
}

static int fake_identify(struct driver_session *s, struct driver_identity *ret, struct err *e)
{
    struct fake_device *d = s->io->ctx;
    *ret = d->identity;
    return enter(s, S_IDENTIFY, e);
}

static int fake_keygen(struct driver_session *s, const char *key_type, struct err *e)
{
    assert_non_null(key_type);
    return enter(s, S_KEYGEN, e);
}

static int fake_install_key(struct driver_session *s, const char *key_type, const uint8_t *key,
        size_t len, struct err *e)
{
    struct fake_device *d = s->io->ctx;
    assert_string_equal(key_type, "P-256");
    assert_true(d->identity.takes_key);
    if (enter(s, S_INSTALL_KEY, e))
        return -1;
    buf_reset(&d->brought);
    d->identity.keyed = true;
    return buf_append(&d->brought, key, len, e);
}

static int fake_csr(struct driver_session *s, const char *cn, const uint8_t nonce[NONCE_BYTES],
        struct buf *ret, struct err *e)
{
    static uint8_t huge[CSR_BYTES_MAX + 1];
    struct fake_device *d = s->io->ctx;
    assert_string_equal(cn, "sensor-0001");
    if (enter(s, S_CSR, e))
        return -1;
    if (d->empty_csr)
        return 0;
    return d->huge_csr ? buf_append(ret, huge, sizeof huge, e)
                       : buf_append(ret, nonce, NONCE_BYTES, e);
}

static int fake_install(struct driver_session *s, enum driver_object o, const uint8_t *bytes,
        size_t len, struct err *e)
{
    struct fake_device *d = s->io->ctx;
    assert_false(d->identity.sealed); /* nothing may be written to a sealed device */
    if (enter(s, S_INSTALL, e))
        return -1;
    buf_reset(&d->objects[o]);
    return buf_append(&d->objects[o], bytes, len, e);
}

static int fake_readback(
        struct driver_session *s, enum driver_object o, struct buf *ret, struct err *e)
{
    struct fake_device *d = s->io->ctx;
    size_t len = d->objects[o].len;
    if (enter(s, S_READBACK, e))
        return -1;
    if (buf_append(ret, d->objects[o].data, d->short_readback && len ? len - 1 : len, e))
        return -1;
    if (d->flip_readback && o == DRIVER_CONFIG)
        ret->data[ret->len - 1] ^= 1;
    return 0;
}

static int fake_challenge(struct driver_session *s, const uint8_t challenge[NONCE_BYTES],
        struct buf *ret, struct err *e)
{
    struct fake_device *d = s->io->ctx;
    uint8_t message[sizeof CHALLENGE_CONTEXT + NONCE_BYTES], signature[4096] = {0};
    size_t context_len = sizeof CHALLENGE_CONTEXT - (d->forget_nul ? 1 : 0), len = sizeof signature;
    if (enter(s, S_CHALLENGE, e) || d->empty_signature)
        return d->empty_signature ? 0 : -1;
    if (d->huge_signature)
        return buf_append(ret, signature, sizeof signature, e);
    memcpy(message, CHALLENGE_CONTEXT, context_len);
    memcpy(message + context_len, challenge, NONCE_BYTES);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    assert_int_equal(
            EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, d->wrong_key ? d->other_key : d->key),
            1);
    assert_int_equal(EVP_DigestSign(md, signature, &len, message, context_len + NONCE_BYTES), 1);
    EVP_MD_CTX_free(md);
    return buf_append(ret, signature, len, e);
}

static int fake_seal(struct driver_session *s, struct err *e)
{
    struct fake_device *d = s->io->ctx;
    if (enter(s, S_SEAL, e))
        return -1;
    d->identity.sealed = true;
    return 0;
}

static int fake_verdict(struct driver_session *s, bool pass, const char *text, struct err *e)
{
    struct fake_device *d = s->io->ctx;
    assert_non_null(text);
    d->passed |= pass;
    d->failed |= !pass;
    d->verdict_ms = time_monotonic_ms();
    return enter(s, S_VERDICT, e);
}

static int fake_ping(struct driver_session *s, struct err *e)
{
    return enter(s, S_PING, e);
}

static void fake_close(struct driver_session *s)
{
    (void)s;
}

const struct driver fake_driver = {
        .name = "fake",
        .title = "a device in memory",
        .reference = "tests/station",
        .open = fake_open,
        .identify = fake_identify,
        .keygen = fake_keygen,
        .install_key = fake_install_key,
        .csr = fake_csr,
        .install = fake_install,
        .readback = fake_readback,
        .challenge = fake_challenge,
        .seal = fake_seal,
        .verdict = fake_verdict,
        .ping = fake_ping,
        .close = fake_close,
};

static bool is_pulled(const struct fake_device *d)
{
    int64_t now = time_monotonic_ms();
    return d->pulled ||
           (d->verdict_ms && d->pull_after_verdict_ms &&
                   now >= d->verdict_ms + d->pull_after_verdict_ms) ||
           (d->opened_ms && d->pull_after_ms && now >= d->opened_ms + d->pull_after_ms);
}

static int fake_read(
        struct io *io, void *bytes, size_t cap, size_t *ret_len, int64_t deadline_ms, struct err *e)
{
    const struct fake_device *d = io->ctx;
    (void)bytes, (void)cap, (void)ret_len;
    do {
        if (is_pulled(d))
            return err_set(e, ERR_DEVICE_GONE, "pulled");
        usleep(2000);
    } while (time_monotonic_ms() < deadline_ms);
    return err_set(e, ERR_DEVICE_SILENT, "quiet");
}

void fake_device_init(struct fake_device *d, const char *key_type)
{
    *d = (struct fake_device){
            .identity = {.hwid = "hw-1", .name = "sensor-0001", .model = "fake 1.0"}};
    d->io = (struct io){.read = fake_read, .ctx = d};
    if (strcmp(key_type, "P-256") == 0) {
        d->key = EVP_EC_gen("P-256");
        d->other_key = EVP_EC_gen("P-256");
    } else {
        d->key = EVP_RSA_gen(2048);
        d->other_key = EVP_PKEY_dup(d->key);
    }
    assert_non_null(d->key);
}

size_t fake_device_cert(const struct fake_device *d, uint8_t *ret, size_t cap)
{
    X509 *x = X509_new();
    assert_int_equal(X509_set_version(x, X509_VERSION_3), 1);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    assert_int_equal(X509_set_pubkey(x, d->key), 1);
    assert_true(X509_sign(x, d->key, EVP_sha256()) > 0);
    int len = i2d_X509(x, NULL);
    assert_in_range(len, 1, cap);
    assert_int_equal(i2d_X509(x, &ret), len);
    X509_free(x);
    return (size_t)len;
}

void fake_device_done(struct fake_device *d)
{
    EVP_PKEY_free(d->key);
    EVP_PKEY_free(d->other_key);
    buf_done(&d->brought);
    for (size_t i = 0; i < sizeof d->objects / sizeof *d->objects; i++)
        buf_done(&d->objects[i]);
}
