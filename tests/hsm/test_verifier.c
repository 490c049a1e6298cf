/* Kept verifications against OpenSSL's own: right signatures, wrong ones, and those at the edges of
 * the numbers. */
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/rand.h>
#include <string.h>
#include "hsm/x509/p256_table.h"
#include "hsm/x509/verifier.h"
#include "tests/hsm/help.h"

#define ORDER "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"

/* ---- p256_table against EVP_PKEY_verify() */

struct pair {
    EVP_PKEY *key;
    EVP_PKEY_CTX *sign, *verify;
    struct p256_table *table;
};

static void pair_open(struct pair *p, EVP_PKEY *key)
{
    p->key = key;
    p->sign = EVP_PKEY_CTX_new(key, NULL);
    p->verify = EVP_PKEY_CTX_new(key, NULL);
    assert_int_equal(EVP_PKEY_sign_init(p->sign), 1);
    assert_int_equal(EVP_PKEY_verify_init(p->verify), 1);
    p->table = p256_table_new(key);
    assert_non_null(p->table);
}

static void pair_close(struct pair *p)
{
    p256_table_free(&p->table);
    EVP_PKEY_CTX_free(p->sign);
    EVP_PKEY_CTX_free(p->verify);
    EVP_PKEY_free(p->key);
}

static void sign_raw(struct pair *p, const uint8_t digest[32], uint8_t raw[64])
{
    uint8_t der[80];
    const uint8_t *at = der;
    size_t len = sizeof der;
    ECDSA_SIG *sig;

    assert_int_equal(EVP_PKEY_sign(p->sign, der, &len, digest, 32), 1);
    sig = d2i_ECDSA_SIG(NULL, &at, (long)len);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 32), 32);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 32, 32), 32);
    ECDSA_SIG_free(sig);
}

/* Both say the same; what they say. */
static bool both(struct pair *p, const uint8_t digest[32], const uint8_t raw[64])
{
    ECDSA_SIG *sig = ECDSA_SIG_new();
    uint8_t *der = NULL;
    int len;
    bool theirs, ours;

    ECDSA_SIG_set0(sig, BN_bin2bn(raw, 32, NULL), BN_bin2bn(raw + 32, 32, NULL));
    len = i2d_ECDSA_SIG(sig, &der);
    assert_true(len > 0);
    theirs = EVP_PKEY_verify(p->verify, der, (size_t)len, digest, 32) == 1;
    ERR_clear_error();
    ours = p256_table_verify(p->table, digest, raw);
    assert_int_equal(ours, theirs);
    OPENSSL_free(der);
    ECDSA_SIG_free(sig);
    return ours;
}

static void table_agrees(void **state)
{
    struct pair p;
    uint8_t digest[32], raw[64], other[32];

    (void)state;
    for (int key = 0; key < 20; key++) {
        pair_open(&p, EVP_EC_gen("P-256"));
        for (int i = 0; i < 250; i++) {
            RAND_bytes(digest, sizeof digest);
            sign_raw(&p, digest, raw);
            assert_true(both(&p, digest, raw));
            raw[i % 64] ^= (uint8_t)(1u << i % 8);
            assert_false(both(&p, digest, raw));
            raw[i % 64] ^= (uint8_t)(1u << i % 8);
            memcpy(other, digest, 32);
            other[i % 32] ^= (uint8_t)(1u << i % 7);
            assert_false(both(&p, other, raw));
        }
        pair_close(&p);
    }
}

static void number(const char *hex, int add, uint8_t out[32])
{
    BIGNUM *n = NULL;

    BN_hex2bn(&n, hex);
    if (add < 0)
        BN_sub_word(n, (BN_ULONG)-add);
    else
        BN_add_word(n, (BN_ULONG)add);
    assert_int_equal(BN_bn2binpad(n, out, 32), 32);
    BN_free(n);
}

static void table_agrees_at_the_edges(void **state)
{
    struct pair p;
    uint8_t edges[8][32], digest[32], raw[64], good[64];

    (void)state;
    number("0", 0, edges[0]);
    number("0", 1, edges[1]);
    number(ORDER, -1, edges[2]);
    number(ORDER, 0, edges[3]);
    number(ORDER, 1, edges[4]);
    memset(edges[5], 0xff, 32);
    number("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff", 0, edges[6]); /* p */
    number("0", 2, edges[7]);
    pair_open(&p, EVP_EC_gen("P-256"));
    for (size_t d = 0; d < 8; d++) {
        memcpy(digest, edges[d], 32); /* also digests that are 0 modulo the order */
        sign_raw(&p, digest, good);
        assert_true(both(&p, digest, good));
        for (size_t r = 0; r < 8; r++)
            for (size_t s = 0; s < 8; s++) {
                memcpy(raw, edges[r], 32);
                memcpy(raw + 32, edges[s], 32);
                assert_false(both(&p, digest, raw));
                memcpy(raw, good, 32);
                assert_false(both(&p, digest, raw));
                memcpy(raw, edges[r], 32);
                memcpy(raw + 32, good + 32, 32);
                assert_false(both(&p, digest, raw));
            }
    }
    pair_close(&p);
}

/* private is 1 or -1: Q is G or its negative, and the two products can be equal or opposite. */
static EVP_PKEY *tiny_key(int private)
{
    EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    EC_POINT *point = EC_POINT_new(group);
    OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    BIGNUM *d = BN_new();
    OSSL_PARAM *facts;
    EVP_PKEY *key = NULL;
    uint8_t bytes[65];

    BN_set_word(d, 1);
    if (private < 0)
        BN_sub(d, EC_GROUP_get0_order(group), d);
    EC_POINT_mul(group, point, d, NULL, NULL, NULL);
    EC_POINT_point2oct(group, point, POINT_CONVERSION_UNCOMPRESSED, bytes, sizeof bytes, NULL);
    OSSL_PARAM_BLD_push_utf8_string(b, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0);
    OSSL_PARAM_BLD_push_octet_string(b, OSSL_PKEY_PARAM_PUB_KEY, bytes, sizeof bytes);
    OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_PRIV_KEY, d);
    facts = OSSL_PARAM_BLD_to_param(b);
    EVP_PKEY_fromdata_init(ctx);
    assert_int_equal(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, facts), 1);
    OSSL_PARAM_free(facts);
    OSSL_PARAM_BLD_free(b);
    EVP_PKEY_CTX_free(ctx);
    BN_free(d);
    EC_POINT_free(point);
    EC_GROUP_free(group);
    return key;
}

static void table_agrees_where_points_meet(void **state)
{
    struct pair p;
    uint8_t digest[32], raw[64], s[32];

    (void)state;
    for (int private = -1; private <= 1; private += 2) {
        pair_open(&p, tiny_key(private));
        for (int i = 0; i < 100; i++) {
            RAND_bytes(digest, sizeof digest);
            digest[0] &= 0x7f;
            sign_raw(&p, digest, raw);
            assert_true(both(&p, digest, raw));
            /* r = digest makes u1 = u2: a doubling, or the point at infinity */
            memcpy(s, raw + 32, 32);
            memcpy(raw, digest, 32);
            memcpy(raw + 32, s, 32);
            assert_false(both(&p, digest, raw));
        }
        pair_close(&p);
    }
}

static void table_takes_only_its_curve(void **state)
{
    EVP_PKEY *p384 = EVP_EC_gen("P-384"), *rsa = help_key("RSA:2048");

    (void)state;
    assert_null(p256_table_new(p384));
    assert_null(p256_table_new(rsa));
    EVP_PKEY_free(p384);
    EVP_PKEY_free(rsa);
}

/* ---- verifier */

static void raw_of(enum signature_alg alg, const uint8_t *sig, size_t len, struct buf *out)
{
    size_t half = signature_info(alg)->coordinate_bytes;
    const uint8_t *at = sig;
    uint8_t raw[128];
    ECDSA_SIG *s;

    if (!half) {
        assert_int_equal(buf_append(out, sig, len, NULL), 0);
        return;
    }
    s = d2i_ECDSA_SIG(NULL, &at, (long)len);
    BN_bn2binpad(ECDSA_SIG_get0_r(s), raw, (int)half);
    BN_bn2binpad(ECDSA_SIG_get0_s(s), raw + half, (int)half);
    assert_int_equal(buf_append(out, raw, 2 * half, NULL), 0);
    ECDSA_SIG_free(s);
}

static void check_kind(const char *kind, enum signature_alg alg)
{
    EVP_PKEY *key = help_key(kind);
    struct verifier *v = NULL;
    struct err e = {0};
    uint8_t bytes[300], sig[SIGNATURE_BYTES_MAX];

    ok(verifier_new(key, alg, &v, &e));
    for (int i = 0; i < 50; i++) {
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        struct buf raw = BUF_INIT, out = BUF_INIT;
        size_t len = sizeof sig;

        RAND_bytes(bytes, sizeof bytes);
        assert_int_equal(EVP_DigestSignInit_ex(
                                 ctx, NULL, signature_info(alg)->digest, NULL, NULL, key, NULL),
                1);
        assert_int_equal(EVP_DigestSign(ctx, sig, &len, bytes, sizeof bytes), 1);
        EVP_MD_CTX_free(ctx);
        raw_of(alg, sig, len, &raw);
        ok(verifier_check(v, bytes, sizeof bytes, sig, len, &e));
        ok(verifier_check_token(v, bytes, sizeof bytes, raw.data, raw.len, &out, &e));
        ok(signature_verify(key, alg, bytes, sizeof bytes, out.data, out.len, &e));
        /* each wrong one leaves nothing behind that the next right one meets */
        bytes[i] ^= 1;
        refused(verifier_check(v, bytes, sizeof bytes, sig, len, &e), SIGNATURE);
        refused(verifier_check_token(v, bytes, sizeof bytes, raw.data, raw.len, &out, &e),
                SIGNATURE);
        bytes[i] ^= 1;
        refused(verifier_check_token(v, bytes, sizeof bytes, raw.data, raw.len - 1, &out, &e),
                SIGNATURE);
        refused(verifier_check_token(v, bytes, sizeof bytes, raw.data, 0, &out, &e), SIGNATURE);
        buf_done(&raw);
        buf_done(&out);
    }
    verifier_free(&v);
    EVP_PKEY_free(key);
}

static void every_kind(void **state)
{
    (void)state;
    check_kind("P-256", SIGNATURE_ECDSA_P256);
    check_kind("P-384", SIGNATURE_ECDSA_P384);
    check_kind("RSA:2048", SIGNATURE_RSA);
    check_kind("ED25519", SIGNATURE_ED25519);
}

static void points_change(void **state)
{
    EVP_PKEY *keys[2] = {help_key("P-256"), help_key("P-256")};
    uint8_t points[2][P256_POINT_BYTES], sigs[2][80];
    size_t lens[2], n;
    struct verifier *v = NULL;
    struct err e = {0};

    (void)state;
    ok(verifier_new_p256(&v, &e));
    for (size_t i = 0; i < 2; i++) {
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();

        assert_int_equal(EVP_PKEY_get_octet_string_param(
                                 keys[i], OSSL_PKEY_PARAM_PUB_KEY, points[i], P256_POINT_BYTES, &n),
                1);
        lens[i] = sizeof sigs[i];
        EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, keys[i]);
        assert_int_equal(EVP_DigestSign(ctx, sigs[i], &lens[i], (const uint8_t *)"x", 1), 1);
        EVP_MD_CTX_free(ctx);
    }
    for (size_t i = 0; i < 200; i++) {
        size_t this = i % 2, other = 1 - this;

        ok(verifier_set_point(v, points[this], &e));
        ok(verifier_check(v, "x", 1, sigs[this], lens[this], &e));
        refused(verifier_check(v, "x", 1, sigs[other], lens[other], &e), SIGNATURE);
        refused(verifier_check(v, "y", 1, sigs[this], lens[this], &e), SIGNATURE);
        /* not on the curve: refused, whatever was there before */
        points[this][40] ^= 1;
        refused(verifier_set_point(v, points[this], &e), KEY_TYPE);
        points[this][40] ^= 1;
    }
    verifier_free(&v);
    EVP_PKEY_free(keys[0]);
    EVP_PKEY_free(keys[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(table_agrees),
            cmocka_unit_test(table_agrees_at_the_edges),
            cmocka_unit_test(table_agrees_where_points_meet),
            cmocka_unit_test(table_takes_only_its_curve),
            cmocka_unit_test(every_kind),
            cmocka_unit_test(points_change),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
