/* A JWE, as a secret is handed to one reader: any bytes into jwe_open(). Promises that what opens says what was sealed (a
 * changed one never opens), and only for its own purpose. */
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/jwe.h"
#include "tests/fuzz/fuzz.h"

#define TYPE "keyline-key+jwe"

static const char text[] = "the only text that was ever sealed";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct secret plain = SECRET_INIT;
    struct err e = {0};
    int r;

    must(secret_open(&e) == 0);
    r = jwe_open(fuzz_key(), TYPE, data, size, &plain, &e);
    fuzz_outcome(r, &e);
    if (r == 0) {
        promise(plain.len == sizeof text && memcmp(plain.bytes, text, sizeof text) == 0);
        secret_done(&plain);
        promise(jwe_open(fuzz_key(), "keyline-other+jwe", data, size, &plain, &e) < 0);
    }
    secret_done(&plain);
    return 0;
}

static void seal(fuzz_seed_fn add, const char *name, EVP_PKEY *key, const char *type)
{
    struct secret plain = SECRET_INIT;
    struct buf out = BUF_INIT;
    struct err e = {0};
    uint8_t *spki = NULL;
    int len = i2d_PUBKEY(key, &spki);

    must(len > 0 && secret_open(&e) == 0 && secret_new(sizeof text, &plain, &e) == 0);
    memcpy(plain.bytes, text, sizeof text);
    must(jwe_seal(spki, (size_t)len, type, &plain, &out, &e) == 0);
    add(name, out.data, out.len);
    secret_done(&plain);
    buf_done(&out);
    OPENSSL_free(spki);
}

void fuzz_seeds(fuzz_seed_fn add)
{
    EVP_PKEY *other = EVP_EC_gen("P-256");

    must(other);
    seal(add, "for-us", fuzz_key(), TYPE);
    seal(add, "other-type", fuzz_key(), "keyline-other+jwe");
    seal(add, "other-reader", other, TYPE);
    EVP_PKEY_free(other);
}
