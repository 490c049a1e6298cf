/* Weak keys. Promises to refuse what anyone could compute the private half of, from the public half
 * alone and in little time. Knows nothing of tickets, and keeps no list of keys it has seen: that is
 * the ledger's. */
#include "hsm/x509/key_check.h"
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/text.h"

/* ---- published keys */

static const struct known_key {
    const char *sha256, *what;
} known_keys[] = {
#define KNOWN_KEY(sha256, what) {sha256, what},
#include "hsm/x509/known_keys.h"
};

static int compare_known(const void *hex, const void *known)
{
    return strcmp(hex, ((const struct known_key *)known)->sha256);
}

static int check_known(const uint8_t spki_sha256[32], struct err *e)
{
    char hex[65];
    const struct known_key *found;

    hex_format(spki_sha256, 32, hex);
    found = bsearch(hex, known_keys, sizeof known_keys / sizeof *known_keys, sizeof *known_keys,
            compare_known);
    return !found ? 0 : err_set(e, ERR_KEY_WEAK, "the key is known to everybody: %s", found->what);
}

/* ---- RSA */

#define FACTOR_LIMIT      4096 /* each division costs half a microsecond: a quarter millisecond in all */
#define ROCA_PRIME_MAX    701 /* the largest of the 126 primes of keys from 1984 bits on */
#define FERMAT_STEPS      100 /* the keys of CVE-2022-26320 fall in the first steps */
#define EXPONENT_BITS_MIN 17  /* 65537: smaller ones have been attacked through padding */
#define EXPONENT_BITS_MAX 64  /* larger ones only make every verifier slow */

static unsigned gcd(unsigned a, unsigned b)
{
    while (b) {
        unsigned rest = a % b;

        a = b, b = rest;
    }
    return a;
}

/* As many primes as fit into a word are tried in one division. */
static bool has_small_factor(const BIGNUM *n)
{
    uint8_t composite[FACTOR_LIMIT / 2] = {0}; /* of odd numbers */
    uint64_t product = 1;

    for (unsigned p = 3; p < FACTOR_LIMIT; p += 2) {
        if (composite[p / 2])
            continue;
        for (unsigned multiple = p * p; multiple < FACTOR_LIMIT; multiple += 2 * p)
            composite[multiple / 2] = 1;
        if (product * p > UINT32_MAX) {
            if (gcd((unsigned)BN_mod_word(n, (BN_ULONG)product), (unsigned)product) != 1)
                return true;
            product = 1;
        }
        product *= p;
    }
    return gcd((unsigned)BN_mod_word(n, (BN_ULONG)product), (unsigned)product) != 1;
}

/* The faulty library made its primes as k * M + (65537^a mod M) with M the product of the first
 * primes, so modulo each of these primes the modulus is a power of 65537 as well (Nemec, Sys, Svenda,
 * Klinec, Matyas: "The Return of Coppersmith's Attack", CCS 2017). A modulus from elsewhere is that
 * for all of them once in 2^150 times. */
static bool is_roca(const BIGNUM *n)
{
    for (unsigned p = 3; p <= ROCA_PRIME_MAX; p += 2) {
        unsigned residue, power = 1, d = 3;

        while (d * d <= p && p % d)
            d += 2;
        if (d * d <= p)
            continue; /* not a prime */
        residue = (unsigned)BN_mod_word(n, p);
        do
            power = power * (65537 % p) % p;
        while (power != residue && power != 1);
        if (power != residue)
            return false;
    }
    return true;
}

/* Newton's method from above; ret is the largest number whose square is not above n. */
static int square_root(const BIGNUM *n, BIGNUM *ret, BN_CTX *ctx)
{
    BIGNUM *next;
    int r = -1;

    BN_CTX_start(ctx);
    next = BN_CTX_get(ctx);
    if (!next || !BN_set_word(ret, 0) || !BN_set_bit(ret, (BN_num_bits(n) + 1) / 2))
        goto out;
    for (;;) {
        if (!BN_div(next, NULL, n, ret, ctx) || !BN_add(next, next, ret) || !BN_rshift1(next, next))
            goto out;
        if (BN_cmp(next, ret) >= 0)
            break;
        if (!BN_copy(ret, next))
            goto out;
    }
    r = 0;
out:
    BN_CTX_end(ctx);
    return r;
}

/* 1 for a square, 0 for none, -1 without memory. Most are told by their residues alone. */
static int is_square(const BIGNUM *n, BN_CTX *ctx)
{
    static const unsigned moduli[] = {64, 63, 65, 11};
    BIGNUM *root;
    int r = -1;

    for (size_t i = 0; i < sizeof moduli / sizeof *moduli; i++) {
        unsigned m = moduli[i], residue = (unsigned)BN_mod_word(n, m), x = 0;

        while (x < m && x * x % m != residue)
            x++;
        if (x == m)
            return 0;
    }
    BN_CTX_start(ctx);
    root = BN_CTX_get(ctx);
    if (root && square_root(n, root, ctx) == 0 && BN_sqr(root, root, ctx))
        r = BN_cmp(root, n) == 0;
    BN_CTX_end(ctx);
    return r;
}

/* Fermat's factorisation: n = a^2 - b^2 with a a little above the root when the primes are close.
 * 1: found, 0: not in so many steps, -1: no memory. */
static int has_close_factors(const BIGNUM *n, BN_CTX *ctx)
{
    BIGNUM *a, *rest;
    int r = -1;

    BN_CTX_start(ctx);
    a = BN_CTX_get(ctx);
    rest = BN_CTX_get(ctx); /* a^2 - n */
    if (!rest || square_root(n, a, ctx) < 0)
        goto out;
    if (!BN_sqr(rest, a, ctx) || !BN_sub(rest, rest, n))
        goto out;
    r = BN_is_zero(rest); /* the square of a prime */
    for (int i = 0; i < FERMAT_STEPS && r == 0; i++) {
        /* (a + 1)^2 - n = rest + 2a + 1 */
        if (!BN_add(rest, rest, a) || !BN_add_word(a, 1) || !BN_add(rest, rest, a))
            r = -1;
        else
            r = is_square(rest, ctx);
    }
out:
    BN_CTX_end(ctx);
    return r;
}

static int check_modulus(const BIGNUM *n, struct err *e)
{
    BN_CTX *ctx;
    int close;

    if (!BN_is_odd(n) || has_small_factor(n))
        return err_set(e, ERR_KEY_WEAK, "the RSA modulus has a small factor");
    if (is_roca(n))
        return err_set(e, ERR_KEY_WEAK,
                "the RSA key is of a kind that can be factored (CVE-2017-15361, ROCA)");
    ctx = BN_CTX_new();
    close = ctx ? has_close_factors(n, ctx) : -1;
    BN_CTX_free(ctx);
    if (close < 0)
        return err_set(e, ERR_NOMEM, "no memory for checking an RSA key");
    return close ? err_set(e, ERR_KEY_WEAK, "the two primes of the RSA key are close to each other")
                 : 0;
}

static int check_rsa(EVP_PKEY *key, struct err *e)
{
    BIGNUM *n = NULL, *exponent = NULL;
    int r = -1;

    if (EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &n) != 1 ||
            EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &exponent) != 1)
        err_set(e, ERR_CSR, "the RSA key cannot be read");
    else if (!BN_is_odd(exponent) || BN_num_bits(exponent) < EXPONENT_BITS_MIN ||
             BN_num_bits(exponent) > EXPONENT_BITS_MAX)
        err_set(e, ERR_KEY_WEAK, "the RSA exponent must be odd and between 65537 and 2^%d",
                EXPONENT_BITS_MAX);
    else
        r = check_modulus(n, e);
    BN_free(n);
    BN_free(exponent);
    return r;
}

/* ---- Ed25519 */

#define ED25519_BYTES 32

/* y of the eight points whose order divides 8 (RFC 8032, 5.1: cofactor 8), least octet first; each
 * but the last two pairs' y belongs to two points, told apart by the top bit. A key that is one of
 * them verifies signatures that nobody made. */
static const uint8_t small_order[][ED25519_BYTES] = {
        {0},
        {1},
        {0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                0xff, 0xff, 0x7f}, /* p - 1 */
        {0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
                0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d,
                0x53, 0xfc, 0x05},
        {0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
                0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92,
                0xac, 0x03, 0x7a},
};

/* y must be below p = 2^255 - 19: else one key would have two encodings. */
static bool is_reduced(const uint8_t y[ED25519_BYTES])
{
    if (y[ED25519_BYTES - 1] != 0x7f)
        return true;
    for (size_t i = 1; i < ED25519_BYTES - 1; i++)
        if (y[i] != 0xff)
            return true;
    return y[0] < 0xed;
}

static int check_ed25519(EVP_PKEY *key, struct err *e)
{
    uint8_t y[ED25519_BYTES];
    size_t len = sizeof y;

    if (EVP_PKEY_get_raw_public_key(key, y, &len) != 1 || len != sizeof y)
        return err_set(e, ERR_CSR, "the Ed25519 key cannot be read");
    y[ED25519_BYTES - 1] &= 0x7f; /* the sign of x */
    if (!is_reduced(y))
        return err_set(e, ERR_KEY_WEAK, "the Ed25519 key is not in its one encoding");
    for (size_t i = 0; i < sizeof small_order / sizeof *small_order; i++)
        if (memcmp(y, small_order[i], sizeof y) == 0)
            return err_set(e, ERR_KEY_WEAK, "the Ed25519 key is a point of small order");
    return 0;
}

int key_check(const struct csr *csr, EVP_PKEY *key, struct err *e)
{
    if (check_known(csr->spki_sha256, e) < 0)
        return -1;
    switch (csr->key) {
    case CSR_KEY_RSA_2048:
    case CSR_KEY_RSA_3072:
    case CSR_KEY_RSA_4096:
        return check_rsa(key, e);
    case CSR_KEY_ED25519:
        return check_ed25519(key, e);
    case CSR_KEY_P256:
    case CSR_KEY_P384:
    case CSR_KEY_COUNT:
        break;
    }
    return 0;
}
