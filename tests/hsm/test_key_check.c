/* Weak keys, made here as the faulty generators make them, and every key that is published: all must
 * be refused, and their sound neighbours must pass. */
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include "hsm/x509/key_check.h"
#include "tests/hsm/help.h"

static const struct {
    const char *sha256, *what;
} known[] = {
#define KNOWN_KEY(sha256, what) {sha256, what},
#include "hsm/x509/known_keys.h"
};
#define KNOWN_COUNT (sizeof known / sizeof *known)

static enum csr_key kind_of(EVP_PKEY *key)
{
    if (EVP_PKEY_is_a(key, "RSA"))
        return EVP_PKEY_get_bits(key) <= 2048   ? CSR_KEY_RSA_2048
               : EVP_PKEY_get_bits(key) <= 3072 ? CSR_KEY_RSA_3072
                                                : CSR_KEY_RSA_4096;
    if (EVP_PKEY_is_a(key, "ED25519"))
        return CSR_KEY_ED25519;
    return EVP_PKEY_get_bits(key) == 256 ? CSR_KEY_P256 : CSR_KEY_P384;
}

static int judge(EVP_PKEY *key, struct err *e)
{
    struct csr csr = {.key = kind_of(key)};
    uint8_t *spki = NULL;
    int len = i2d_PUBKEY(key, &spki);

    assert_true(len > 0);
    EVP_Digest(spki, (size_t)len, csr.spki_sha256, NULL, EVP_sha256(), NULL);
    OPENSSL_free(spki);
    return key_check(&csr, key, e);
}

/* The message must name the reason: another refusal of the same class would hide a missing check. */
static void weak(EVP_PKEY *key, const char *reason)
{
    struct err e = {0};

    assert_non_null(key);
    assert_int_equal(judge(key, &e), -1);
    assert_int_equal(e.id, ERR_KEY_WEAK);
    if (!strstr(e.msg, reason))
        fail_msg("'%s' is not about '%s'", e.msg, reason);
    EVP_PKEY_free(key);
}

static void sound(EVP_PKEY *key)
{
    struct err e = {0};

    assert_non_null(key);
    ok(judge(key, &e));
    EVP_PKEY_free(key);
}

static EVP_PKEY *make(const char *type, OSSL_PARAM_BLD *facts)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(facts);
    EVP_PKEY *key = NULL;

    assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
    assert_int_equal(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params), 1);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(facts);
    EVP_PKEY_CTX_free(ctx);
    return key;
}

/* ---- published */

static void published_keys(void **state)
{
    bool seen[KNOWN_COUNT] = {false};
    FILE *f = fopen(PUBLISHED_KEYS, "re");
    EVP_PKEY *key;

    (void)state;
    assert_non_null(f);
    while ((key = PEM_read_PrivateKey(f, NULL, NULL, NULL))) {
        struct err e = {0};
        bool found = false;

        assert_int_equal(judge(key, &e), -1);
        assert_int_equal(e.id, ERR_KEY_WEAK);
        for (size_t i = 0; i < KNOWN_COUNT && !found; i++)
            if (strstr(e.msg, known[i].what) &&
                    strlen(strstr(e.msg, known[i].what)) == strlen(known[i].what))
                found = seen[i] = true;
        assert_true(found);
        EVP_PKEY_free(key);
    }
    fclose(f);
    for (size_t i = 0; i < KNOWN_COUNT; i++) {
        if (i)
            assert_true(strcmp(known[i - 1].sha256, known[i].sha256) <
                        0); /* it is searched by halves */
        assert_int_equal(strlen(known[i].sha256), 64);
        if (!strstr(known[i].what, "private key") && !seen[i])
            fail_msg("published-keys.pem lacks '%s'", known[i].what);
    }
}

static EVP_PKEY *multiple(const char *curve, int k)
{
    EC_GROUP *group = EC_GROUP_new_by_curve_name(OBJ_sn2nid(curve));
    EC_POINT *point = EC_POINT_new(group);
    BIGNUM *scalar = BN_new();
    uint8_t bytes[128];
    size_t len;
    OSSL_PARAM_BLD *facts = OSSL_PARAM_BLD_new();
    EVP_PKEY *key;

    BN_set_word(scalar, (BN_ULONG)abs(k));
    if (k < 0)
        BN_sub(scalar, EC_GROUP_get0_order(group), scalar);
    assert_int_equal(EC_POINT_mul(group, point, scalar, NULL, NULL, NULL), 1);
    len = EC_POINT_point2oct(
            group, point, POINT_CONVERSION_UNCOMPRESSED, bytes, sizeof bytes, NULL);
    OSSL_PARAM_BLD_push_utf8_string(facts, OSSL_PKEY_PARAM_GROUP_NAME, curve, 0);
    OSSL_PARAM_BLD_push_octet_string(facts, OSSL_PKEY_PARAM_PUB_KEY, bytes, len);
    key = make("EC", facts);
    BN_free(scalar);
    EC_POINT_free(point);
    EC_GROUP_free(group);
    return key;
}

static void generator_multiples(void **state)
{
    static const char *const curves[] = {"prime256v1", "secp384r1"};

    (void)state;
    for (size_t c = 0; c < 2; c++) {
        for (int k = 1; k <= 16; k++) {
            char what[40];

            snprintf(what, sizeof what, "P-%s, private key %d", c ? "384" : "256", k);
            weak(multiple(curves[c], k), what);
            snprintf(what, sizeof what, "P-%s, private key n - %d", c ? "384" : "256", k);
            weak(multiple(curves[c], -k), what);
        }
        sound(multiple(curves[c], 17));
        sound(multiple(curves[c], -17));
    }
}

/* ---- RSA */

static EVP_PKEY *rsa(const BIGNUM *p, const BIGNUM *q, BN_ULONG exponent)
{
    OSSL_PARAM_BLD *facts = OSSL_PARAM_BLD_new();
    BIGNUM *n = BN_new(), *e = BN_new();
    BN_CTX *ctx = BN_CTX_new();
    EVP_PKEY *key;

    BN_mul(n, p, q, ctx);
    BN_set_word(e, exponent);
    OSSL_PARAM_BLD_push_BN(facts, OSSL_PKEY_PARAM_RSA_N, n);
    OSSL_PARAM_BLD_push_BN(facts, OSSL_PKEY_PARAM_RSA_E, e);
    key = make("RSA", facts);
    BN_free(n);
    BN_free(e);
    BN_CTX_free(ctx);
    return key;
}

static BIGNUM *prime(int bits)
{
    BIGNUM *p = BN_new();

    assert_int_equal(BN_generate_prime_ex(p, bits, 0, NULL, NULL, NULL), 1);
    return p;
}

static void rsa_exponents(void **state)
{
    BIGNUM *p = prime(1024), *q = prime(1024);

    (void)state;
    weak(rsa(p, q, 3), "exponent");
    weak(rsa(p, q, 65535), "exponent");
    weak(rsa(p, q, 65538), "exponent");
    sound(rsa(p, q, 65537));
    sound(rsa(p, q, 0xfffffffffffffffful));
    BN_free(p);
    BN_free(q);
}

static void rsa_small_factors(void **state)
{
    static const BN_ULONG factors[] = {2, 3, 5, 701, 1009, 4091, 4093};
    BIGNUM *q = prime(2040), *p = BN_new();

    (void)state;
    for (size_t i = 0; i < sizeof factors / sizeof *factors; i++) {
        BN_set_word(p, factors[i]);
        weak(rsa(p, q, 65537), "small factor");
    }
    BN_set_word(p, 4099); /* the first prime above the limit: the limit is where it is said to be */
    sound(rsa(p, q, 65537));
    BN_free(p);
    BN_free(q);
}

/* q is the first prime from p + distance on. */
static EVP_PKEY *close_primes(int bits, int shift)
{
    BIGNUM *p = prime(bits), *q = BN_dup(p), *distance = BN_new();
    EVP_PKEY *key;

    if (shift >= 0) {
        BN_set_word(distance, 1);
        BN_lshift(distance, distance, shift);
        BN_add(q, q, distance);
        BN_set_bit(q, 0);
        while (BN_check_prime(q, NULL, NULL) != 1)
            BN_add_word(q, 2);
    }
    key = rsa(p, q, 65537);
    BN_free(p);
    BN_free(q);
    BN_free(distance);
    return key;
}

static void rsa_close_primes(void **state)
{
    (void)state;
    weak(close_primes(1024, -1), "close to each other"); /* the square of a prime */
    weak(close_primes(1024, 1), "close to each other");
    /* the steps needed are about distance^2 / (8 p): 32 here */
    weak(close_primes(1024, 516), "close to each other");
    weak(close_primes(2048, 1027), "close to each other");
    sound(close_primes(1024, 900));
}

/* k * M + (65537^a mod M), M the product of the first primes: as the faulty library did it. */
static BIGNUM *roca_prime(int bits, unsigned primes)
{
    BIGNUM *m = BN_new(), *a = BN_new(), *k = BN_new(), *p = BN_new(), *base = BN_new();
    BN_CTX *ctx = BN_CTX_new();

    BN_set_word(m, 1);
    for (BN_ULONG candidate = 2; primes; candidate++) {
        BN_set_word(p, candidate);
        if (BN_check_prime(p, ctx, NULL) == 1) {
            BN_mul_word(m, candidate);
            primes--;
        }
    }
    BN_set_word(base, 65537);
    assert_true(BN_num_bits(m) + 8 < bits);
    do {
        BN_rand(a, 64, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY);
        BN_rand(k, bits - BN_num_bits(m), BN_RAND_TOP_TWO, BN_RAND_BOTTOM_ANY);
        BN_mod_exp(p, base, a, m, ctx);
        BN_mul(k, k, m, ctx);
        BN_add(p, p, k);
    } while (BN_check_prime(p, ctx, NULL) != 1);
    BN_free(m);
    BN_free(a);
    BN_free(k);
    BN_free(base);
    BN_CTX_free(ctx);
    return p;
}

static void rsa_roca(void **state)
{
    /* sizes and numbers of primes from table 1 of the paper */
    static const struct {
        int bits;
        unsigned primes;
    } rows[] = {{1024, 126}, {1536, 126}, {2048, 225}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        BIGNUM *p = roca_prime(rows[i].bits, rows[i].primes),
               *q = roca_prime(rows[i].bits, rows[i].primes), *other = prime(rows[i].bits);

        weak(rsa(p, q, 65537), "ROCA");
        sound(rsa(p, other, 65537)); /* one such prime alone is not of the form */
        BN_free(p);
        BN_free(q);
        BN_free(other);
    }
}

static void rsa_sound(void **state)
{
    static const char *const types[] = {"RSA:2048", "RSA:3072", "RSA:4096"};

    (void)state;
    for (size_t i = 0; i < 3; i++)
        sound(help_key(types[i]));
}

/* ---- Ed25519 */

static EVP_PKEY *ed25519(const char *hex)
{
    uint8_t bytes[32];
    size_t len;

    assert_int_equal(OPENSSL_hexstr2buf_ex(bytes, sizeof bytes, &len, hex, '\0'), 1);
    return EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, bytes, len);
}

static void ed25519_points(void **state)
{
    static const char *const small[] = {
            "0100000000000000000000000000000000000000000000000000000000000000", /* order 1 */
            "0100000000000000000000000000000000000000000000000000000000000080",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", /* 2 */
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "0000000000000000000000000000000000000000000000000000000000000000", /* 4 */
            "0000000000000000000000000000000000000000000000000000000000000080",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", /* 8 */
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"};
    static const char *const encodings[] = {
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", /* p for 0 */
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"};

    (void)state;
    for (size_t i = 0; i < sizeof small / sizeof *small; i++)
        weak(ed25519(small[i]), "small order");
    for (size_t i = 0; i < sizeof encodings / sizeof *encodings; i++)
        weak(ed25519(encodings[i]), "one encoding");
    for (int i = 0; i < 20; i++)
        sound(help_key("ED25519"));
}

/* ---- on the way of a request */

static void requests(void **state)
{
    static const uint8_t nonce[NONCE_BYTES] = {1};
    unsigned all = (1u << CSR_KEY_COUNT) - 1;
    FILE *f = fopen(PUBLISHED_KEYS, "re");
    EVP_PKEY *key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
    struct buf der = BUF_INIT;
    struct csr csr;
    struct err e = {0};

    (void)state;
    fclose(f);
    assert_non_null(key);
    help_csr(key, nonce, "SHA256", &der);
    refused(csr_check(der.data, der.len, nonce, all, &csr, &e), KEY_WEAK);
    EVP_PKEY_free(key);
    buf_reset(&der);
    key = help_key("RSA:2560");
    help_csr(key, nonce, "SHA256", &der);
    refused(csr_check(der.data, der.len, nonce, all, &csr, &e), KEY_TYPE);
    EVP_PKEY_free(key);
    buf_done(&der);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(published_keys),
            cmocka_unit_test(generator_multiples),
            cmocka_unit_test(rsa_exponents),
            cmocka_unit_test(rsa_small_factors),
            cmocka_unit_test(rsa_close_primes),
            cmocka_unit_test(rsa_roca),
            cmocka_unit_test(rsa_sound),
            cmocka_unit_test(ed25519_points),
            cmocka_unit_test(requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
