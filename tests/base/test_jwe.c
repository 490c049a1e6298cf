/* Sealing a secret: only its reader can open it, and only whole; and a program that we did not write
 * reads it, too. */
#include "base_test.h"

#include <fcntl.h>
#include <sys/wait.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>

#include "base/buf.h"
#include "base/jwe.h"
#include "base/text.h"

#define TYPE JWE_TYPE_KEY

static const char message[] = "what only one may read";

struct sealed {
    EVP_PKEY *reader;
    uint8_t spki[JWE_SPKI_BYTES];
    struct buf text;
};

static struct sealed seal(void)
{
    struct sealed s = {.text = BUF_INIT};
    struct secret plain;
    struct err e = {0};
    assert_ok(secret_open(&e), &e);
    assert_ok(jwe_key_new(&s.reader, s.spki, &e), &e);
    assert_ok(secret_new(sizeof message, &plain, &e), &e);
    memcpy(plain.bytes, message, sizeof message);
    assert_ok(jwe_seal(s.spki, sizeof s.spki, TYPE, &plain, &s.text, &e), &e);
    secret_done(&plain);
    assert_null(plain.bytes);
    return s;
}

static void sealed_done(struct sealed *s)
{
    EVP_PKEY_free(s->reader);
    buf_done(&s->text);
}

static void goes_round(void **state)
{
    struct sealed s = seal(), t = seal();
    struct secret got;
    struct err e = {0};
    (void)state;
    assert_ok(jwe_open(s.reader, TYPE, s.text.data, s.text.len, &got, &e), &e);
    assert_int_equal(got.len, sizeof message);
    assert_memory_equal(got.bytes, message, sizeof message);
    assert_true(CRYPTO_secure_allocated(got.bytes));
    secret_done(&got);
    /* Another key each time, so nothing of two texts but the header's words is the same. */
    assert_int_equal(s.text.len, t.text.len);
    assert_memory_not_equal(s.text.data, t.text.data, s.text.len);
    sealed_done(&s);
    sealed_done(&t);
}

static void not_for_others(void **state)
{
    struct sealed s = seal(), t = seal();
    struct secret got;
    struct err e = {0};
    (void)state;
    assert_err(jwe_open(t.reader, TYPE, s.text.data, s.text.len, &got, &e), &e, ERR_PROTOCOL);
    assert_err(
            jwe_open(s.reader, "other+jwe", s.text.data, s.text.len, &got, &e), &e, ERR_PROTOCOL);
    assert_err(jwe_open(s.reader, TYPE, (const uint8_t *)"", 0, &got, &e), &e, ERR_PROTOCOL);
    sealed_done(&s);
    sealed_done(&t);
}

/* Every bit of every character counts, and so does every length. */
static void not_changed(void **state)
{
    struct sealed s = seal();
    struct secret got;
    struct err e = {0};
    (void)state;
    for (size_t i = 0; i < s.text.len; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            s.text.data[i] ^= (uint8_t)(1u << bit);
            assert_err(
                    jwe_open(s.reader, TYPE, s.text.data, s.text.len, &got, &e), &e, ERR_PROTOCOL);
            s.text.data[i] ^= (uint8_t)(1u << bit);
        }
    for (size_t len = 0; len < s.text.len; len++)
        assert_err(jwe_open(s.reader, TYPE, s.text.data, len, &got, &e), &e, ERR_PROTOCOL);
    assert_ok(buf_append(&s.text, ".", 1, &e), &e);
    assert_err(jwe_open(s.reader, TYPE, s.text.data, s.text.len, &got, &e), &e, ERR_PROTOCOL);
    sealed_done(&s);
}

static void readers_are_p256(void **state)
{
    struct sealed s = seal();
    struct secret plain;
    struct buf out = BUF_INIT;
    struct err e = {0};
    (void)state;
    assert_ok(secret_new(1, &plain, &e), &e);
    for (size_t i = 0; i < sizeof s.spki; i++) { /* a changed head, or a point off the curve */
        s.spki[i] ^= 1;
        assert_err(jwe_seal(s.spki, sizeof s.spki, TYPE, &plain, &out, &e), &e, ERR_KEY_TYPE);
        s.spki[i] ^= 1;
    }
    assert_err(jwe_seal(s.spki, sizeof s.spki - 1, TYPE, &plain, &out, &e), &e, ERR_KEY_TYPE);
    assert_err(jwe_seal(s.spki, 0, TYPE, &plain, &out, &e), &e, ERR_KEY_TYPE);
    assert_int_equal(out.len, 0);
    secret_done(&plain);
    sealed_done(&s);
}

static void secrets_need_their_memory(void **state)
{
    struct secret s;
    struct err e = {0};
    (void)state;
    assert_ok(secret_open(&e), &e);
    assert_err(secret_new(1u << 20, &s, &e), &e, ERR_NOMEM); /* not from elsewhere */
    secret_done(&s);
    assert_ok(secret_new(64, &s, &e), &e);
    uint8_t *was = s.bytes;
    memset(was, 0x5a, 64);
    secret_done(&s);
    /* Still mapped: it is the heap's. OpenSSL keeps its free list in the first bytes. */
    for (size_t i = 16; i < 64; i++)
        assert_int_not_equal(was[i], 0x5a);
}

/* --- latchset's jose, when it is there: RFC 7516 and 7518 as others read them --- */

static void put_coordinate(FILE *f, const char *name, EVP_PKEY *key, const char *param)
{
    BIGNUM *n = NULL;
    uint8_t bytes[32];
    struct buf text = BUF_INIT;
    struct err e = {0};
    assert_int_equal(EVP_PKEY_get_bn_param(key, param, &n), 1);
    assert_int_equal(BN_bn2binpad(n, bytes, sizeof bytes), sizeof bytes);
    assert_ok(base64url_encode(bytes, sizeof bytes, &text, &e), &e);
    fprintf(f, ",\"%s\":\"%s\"", name, buf_str(&text));
    buf_done(&text);
    BN_free(n);
}

static void others_read_it(void **state)
{
    struct sealed s = seal();
    char jwk[PATH_MAX], jwe[PATH_MAX], out[PATH_MAX], got[sizeof message + 1] = "";
    char *dir = *state;
    if (system("command -v jose >/dev/null") != 0)
        skip();
    snprintf(jwk, sizeof jwk, "%s/jwk", dir);
    snprintf(jwe, sizeof jwe, "%s/jwe", dir);
    snprintf(out, sizeof out, "%s/out", dir);
    FILE *f = fopen(jwk, "we");
    fputs("{\"kty\":\"EC\",\"crv\":\"P-256\"", f);
    put_coordinate(f, "x", s.reader, OSSL_PKEY_PARAM_EC_PUB_X);
    put_coordinate(f, "y", s.reader, OSSL_PKEY_PARAM_EC_PUB_Y);
    put_coordinate(f, "d", s.reader, OSSL_PKEY_PARAM_PRIV_KEY);
    fputs("}", f);
    fclose(f);
    f = fopen(jwe, "we");
    fwrite(s.text.data, 1, s.text.len, f);
    fclose(f);
    char command[4 * PATH_MAX];
    snprintf(command, sizeof command, "jose jwe dec -i %s -k %s -O %s", jwe, jwk, out);
    assert_int_equal(system(command), 0);
    f = fopen(out, "re");
    assert_non_null(f);
    assert_int_equal(fread(got, 1, sizeof got, f), sizeof message);
    fclose(f);
    assert_memory_equal(got, message, sizeof message);
    sealed_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(goes_round),
            cmocka_unit_test(not_for_others),
            cmocka_unit_test(not_changed),
            cmocka_unit_test(readers_are_p256),
            cmocka_unit_test(secrets_need_their_memory),
            scratch_test(others_read_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
