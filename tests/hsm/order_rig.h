/* A station that runs, an approver who gives it one job after another, and what its devices got. */
#pragma once
#include <stdbool.h>
#include "hsm/approval/order.h"
#include "tests/hsm/station.h"

#define JOB_B "b1111111-1111-4111-8111-111111111111"
#define JOB_C "c1111111-1111-4111-8111-111111111111"

extern struct ticket first; /* of the job that the station was opened with */
int order_setup(void **state);
#define ORDERS_TEST(f) cmocka_unit_test_setup_teardown(f, order_setup, station_teardown)
void restart(int signal);

/* From now on requests come with this ticket, or with one that is as the first for another job, or again for that one. */
void use_ticket(const struct ticket *t);
void use_job(const char *job);
void use_reissue(const char *job);

struct answer {
    struct buf cert;
    bool fresh;
    struct order order; /* that would revoke it */
};
/* A certificate for row i and this key, which must be given. */
struct answer get(size_t i, EVP_PKEY *key);
bool same_cert(const struct answer *a, const struct answer *b);
/* It is revoked, and for this reason. */
void assert_revoked(const struct answer *a, const char *reason);
/* station_order() */
int send_order(const struct order *o, json_t **ret, struct err *e);
