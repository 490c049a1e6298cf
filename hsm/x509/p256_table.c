/* u1 * G + u2 * Q with a table for each. Promises the answer of ECDSA_verify() (a test compares
 * them); any failure on the way is the answer no. The arithmetic is OpenSSL's. */
#define OPENSSL_SUPPRESS_DEPRECATED /* EC_GROUP_precompute_mult: OpenSSL 3.0 has no other way */
#include "hsm/x509/p256_table.h"
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <stdlib.h>

struct p256_table {
    EC_GROUP *g, *q; /* the curve with its own base point, and with the public key in its place */
    BN_CTX *numbers;
    EC_POINT *a, *b;
};

struct p256_table *p256_table_new(EVP_PKEY *key)
{
    struct p256_table *t = calloc(1, sizeof *t);
    uint8_t point[65];
    size_t len;

    if (t &&
            EVP_PKEY_get_octet_string_param(
                    key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point, &len) == 1 &&
            (t->g = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1)) &&
            (t->q = EC_GROUP_dup(t->g)) && (t->numbers = BN_CTX_new()) &&
            (t->a = EC_POINT_new(t->g)) && (t->b = EC_POINT_new(t->g)) &&
            EC_POINT_oct2point(t->g, t->b, point, len, t->numbers) == 1 &&
            EC_GROUP_set_generator(t->q, t->b, EC_GROUP_get0_order(t->g), BN_value_one()) == 1 &&
            EC_GROUP_precompute_mult(t->q, t->numbers) == 1 &&
            EC_GROUP_have_precompute_mult(t->q) == 1)
        return t;
    ERR_clear_error();
    p256_table_free(&t);
    return NULL;
}

void p256_table_free(struct p256_table **pt)
{
    struct p256_table *t = *pt;

    if (!t)
        return;
    EC_POINT_free(t->a);
    EC_POINT_free(t->b);
    BN_CTX_free(t->numbers);
    EC_GROUP_free(t->q);
    EC_GROUP_free(t->g);
    free(t);
    *pt = NULL;
}

static bool in_range(const BIGNUM *x, const BIGNUM *n)
{
    return !BN_is_zero(x) && !BN_is_negative(x) && BN_cmp(x, n) < 0;
}

/* x(u1 * G + u2 * Q) */
static bool x_of_sum(const struct p256_table *t, const BIGNUM *u1, const BIGNUM *u2, BIGNUM *ret)
{
    return EC_POINT_mul(t->g, t->a, u1, NULL, NULL, t->numbers) == 1 &&
           EC_POINT_mul(t->q, t->b, u2, NULL, NULL, t->numbers) == 1 &&
           EC_POINT_add(t->g, t->a, t->a, t->b, t->numbers) == 1 &&
           !EC_POINT_is_at_infinity(t->g, t->a) &&
           EC_POINT_get_affine_coordinates(t->g, t->a, ret, NULL, t->numbers) == 1;
}

bool p256_table_verify(const struct p256_table *t, const uint8_t digest[32], const uint8_t raw[64])
{
    const BIGNUM *n = EC_GROUP_get0_order(t->g);
    BIGNUM *r, *s, *u1, *u2, *x;
    bool right = false;

    BN_CTX_start(t->numbers);
    r = BN_CTX_get(t->numbers);
    s = BN_CTX_get(t->numbers);
    u1 = BN_CTX_get(t->numbers);
    u2 = BN_CTX_get(t->numbers);
    x = BN_CTX_get(t->numbers); /* NULL if any before it is */
    if (x && BN_bin2bn(raw, 32, r) && BN_bin2bn(raw + 32, 32, s) && in_range(r, n) &&
            in_range(s, n) && BN_mod_inverse(s, s, n, t->numbers) && BN_bin2bn(digest, 32, u1) &&
            BN_mod_mul(u1, u1, s, n, t->numbers) && BN_mod_mul(u2, r, s, n, t->numbers) &&
            x_of_sum(t, u1, u2, x) && BN_nnmod(x, x, n, t->numbers))
        right = BN_cmp(x, r) == 0;
    BN_CTX_end(t->numbers);
    ERR_clear_error();
    return right;
}
