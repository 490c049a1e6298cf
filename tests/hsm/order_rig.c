/* A station that runs, and an approver who gives it one job after another. */
#include "tests/hsm/order_rig.h"
#include <stdlib.h>
#include <string.h>

struct ticket first;

int order_setup(void **state)
{
    (void)state;
    station_open(&st, NULL);
    first = st.ticket;
    station_start(&st);
    return 0;
}

void restart(int signal)
{
    station_stop(&st, signal);
    station_start(&st);
}

void use_ticket(const struct ticket *t)
{
    struct err e = {0};

    st.ticket = *t;
    free(st.jws);
    ok(ticket_sign(&st.ticket, st.approver, st.approver_chain, &st.jws, &e));
}

static struct ticket for_job(const char *job)
{
    struct ticket t = first;

    strcpy(t.job, job);
    return t;
}

void use_job(const char *job)
{
    struct ticket t = for_job(job);

    use_ticket(&t);
}

void use_reissue(const char *job)
{
    struct ticket t = for_job(job);

    t.reissue = true;
    use_ticket(&t);
}

struct answer get(size_t i, EVP_PKEY *key)
{
    struct answer a = {0};
    struct err e = {0};

    ok(station_issue(&st, i, key, &a.cert, &a.fresh, &e));
    station_revocation(&st, i, &a.cert, &a.order);
    return a;
}

bool same_cert(const struct answer *a, const struct answer *b)
{
    return a->cert.len == b->cert.len && memcmp(a->cert.data, b->cert.data, a->cert.len) == 0;
}

int send_order(const struct order *o, json_t **ret, struct err *e)
{
    return station_order(&st, o, ret, e);
}

void assert_revoked(const struct answer *a, const char *reason)
{
    struct order again = a->order; /* for a reason that changes none */
    struct err e = {0};
    json_t *o;

    again.reason = ORDER_UNSPECIFIED;
    ok(send_order(&again, &o, &e));
    assert_false(json_is_true(json_object_get(o, "fresh")));
    assert_string_equal(json_string_value(json_object_get(o, "reason")), reason);
    json_decref(o);
}
