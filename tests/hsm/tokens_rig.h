/* A station with two SoftHSM tokens, "one" and "two", that have one CA key. The first is reached through the faulty module, so
 * that it alone can be made to fail. */
#pragma once
#include <stdbool.h>
#include "tests/hsm/crowd_rig.h"

int tokens_setup(void **state);
#define TOKENS_TEST(f) cmocka_unit_test_setup_teardown(f, tokens_setup, station_teardown)
/* workers: of the first, else 4; more: further lines of the second, of [signer] and others */
void tokens_config(const char *more);
void tokens_config_workers(int workers, const char *more);

/* What the signer's status says of token i. */
json_t *token_status(size_t i);
json_int_t token_number(size_t i, const char *key);
bool token_is(size_t i, const char *wanted);
void wait_token(size_t i, const char *wanted);
/* Until so many of its workers work. */
void wait_working(size_t i, json_int_t count);
/* Until all work: four of the first and two of the second. */
void wait_both(void);

/* Until row i has a certificate, whatever is in the way but the ledger. */
void wait_issued(size_t i);

/* Asks for rows first, first + 1, ... all at once; in the end all are answered, none is lost, refused or from before. */
struct burst {
    struct crowd crowd;
    size_t count;
    struct caller callers[STATION_QUOTA];
};
void burst_begin(struct burst *b, size_t first, size_t count);
void burst_end(struct burst *b);
void burst(size_t first, size_t count);

/* The directory of the token with this label is moved away, and back. */
struct unplugged {
    char from[PATH_MAX], to[PATH_MAX];
};
void unplug(const char *label, struct unplugged *u);
void replug(const struct unplugged *u);
