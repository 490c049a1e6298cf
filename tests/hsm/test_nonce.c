/* Nonces: bound to job, row, time and process. */
#include <string.h>
#include "hsm/nonce.h"
#include "tests/hsm/help.h"

#define JOB "11111111-1111-4111-8111-111111111111"

static void bound_to_everything(void **state)
{
    struct nonce_key *k, *other;
    uint8_t nonce[NONCE_BYTES];
    struct err e = {0};
    int64_t now = 1800000000000;

    (void)state;
    ok(nonce_key_new(&k, &e));
    ok(nonce_key_new(&other, &e));
    ok(nonce_make(k, now, JOB, 7, nonce, &e));
    ok(nonce_check(k, now, 300, JOB, 7, nonce, &e));
    ok(nonce_check(k, now + 300000, 300, JOB, 7, nonce, &e));
    refused(nonce_check(k, now + 300001, 300, JOB, 7, nonce, &e), NONCE);
    refused(nonce_check(k, now - 1, 300, JOB, 7, nonce, &e), NONCE);
    refused(nonce_check(k, now, 300, JOB, 8, nonce, &e), NONCE);
    refused(nonce_check(k, now, 300, "21111111-1111-4111-8111-111111111111", 7, nonce, &e), NONCE);
    refused(nonce_check(other, now, 300, JOB, 7, nonce, &e), NONCE);
    for (size_t i = 0; i < sizeof nonce; i++) {
        nonce[i] ^= 1;
        refused(nonce_check(k, now, 300, JOB, 7, nonce, &e), NONCE);
        nonce[i] ^= 1;
    }
    nonce_key_free(&k);
    nonce_key_free(&other);
    assert_null(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(bound_to_everything)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
