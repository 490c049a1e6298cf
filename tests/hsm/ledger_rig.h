/* A station of a test's own whose ledger is looked at, exchanged and rewritten from outside. */
#pragma once
#include <stdbool.h>
#include "tests/hsm/station.h"

extern char rig_path[PATH_MAX]; /* of its ledger */

/* A group of the ledger: header, payload, end (hsm/ledger/ledger.h, written down a second time on purpose). */
enum {
    RIG_FILE_HEADER = 32,
    RIG_GROUP_HEADER = 24,
    RIG_ENTRY = 104,
    RIG_SIGNATURE = 64,
    RIG_GROUP_END = RIG_SIGNATURE + 32
};

/* For cmocka; station_teardown() ends it. The token's mark is written as often as there is something new. */
int rig_setup(void **state);
#define LEDGER_TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, station_teardown)
/* A number that the signer's status says of its ledger. */
json_int_t rig_number(const char *name);
/* A signer that is started for a certificate of row i and this key (NULL: a new one), and stopped when the token's mark knows of
 * it; ledger: what it left. */
void rig_issue_and_stop(size_t i, EVP_PKEY *key, struct buf *ledger);
void rig_read(struct buf *out);
void rig_write(const struct buf *b);
/* The signer runs and answers, but gives no certificate, and its reason has this part. */
void rig_refuses(const char *part);
/* A signer that is started and stopped does so. */
void rig_start_refuses(const char *part);
/* The exit status of signerd --accept-ledger. */
int rig_accept(void);
uint32_t rig_be32(const uint8_t *at);
/* The first issued entry of a ledger. */
uint8_t *rig_first_issued(struct buf *b);
/* The last group is a checkpoint alone, about all that is before it. */
bool rig_signed_to_the_end(void);
