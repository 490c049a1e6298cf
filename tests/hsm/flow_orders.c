/* Orders against the real signer: none that an approver did not sign, and the end of a ticket and of a job. (flow_reissue.c and
 * flow_revocation.c have what becomes of certificates.) */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "hsm/signer_client.h"
#include "tests/hsm/crowd_rig.h"
#include "tests/hsm/order_rig.h"

static int send_text(const char *jws, struct err *e)
{
    struct buf json = BUF_INIT;
    int r = signer_order(st.bus, jws, &json, e);

    buf_done(&json);
    return r;
}

static void orders_forged(void **state)
{
    EVP_PKEY *key = help_key("P-256"), *mallory = help_key("P-256");
    STACK_OF(X509) *chain = sk_X509_new_null();
    struct answer a, again;
    struct order wrong;
    struct err e = {0};
    char *jws, *good;

    (void)state;
    sk_X509_push(chain, help_cert(mallory, "approver"));
    a = get(0, key);
    ok(order_sign(&a.order, mallory, chain, &jws, &e));
    refused(send_text(jws, &e), TICKET_UNTRUSTED);
    free(jws);
    ok(order_sign(&a.order, st.approver, st.approver_chain, &jws, &e));
    good = strdup(jws);
    for (char *at = jws; *at; at += 7) {
        if (*at == '.')
            continue;
        *at = *at == 'A' ? 'B' : 'A';
        if (strcmp(jws, good) != 0 && send_text(jws, &e) == 0)
            fail_msg("a changed order was carried out");
        assert_true(e.id == ERR_ORDER || e.id == ERR_TICKET_UNTRUSTED);
        err_clear(&e);
        strcpy(jws, good);
    }
    free(good);
    /* an order is no ticket, a ticket no order, and neither is nonsense */
    refused(send_text(st.jws, &e), ORDER);
    refused(send_text("", &e), ORDER);
    refused(send_text("a.b.c", &e), ORDER);
    good = st.jws;
    st.jws = jws;
    refused(station_issue_once(&st, 0, key, &e), TICKET);
    st.jws = good;
    free(jws);
    /* a certificate that is not this device's */
    wrong = a.order;
    wrong.serial[5] ^= 1;
    refused(send_order(&wrong, NULL, &e), NOT_FOUND);
    wrong = a.order;
    strcpy(wrong.device, "21111111-1111-4111-8111-111111111111");
    refused(send_order(&wrong, NULL, &e), NOT_FOUND);
    again = get(0, key);
    assert_false(again.fresh);
    assert_true(same_cert(&a, &again));
    /* what is revoked is not another device's to find either */
    ok(send_order(&a.order, NULL, &e));
    refused(send_order(&wrong, NULL, &e), NOT_FOUND);
    buf_done(&a.cert), buf_done(&again.cert);
    sk_X509_pop_free(chain, X509_free);
    EVP_PKEY_free(key), EVP_PKEY_free(mallory);
}

/* ---- the end of a ticket, and of a job */

static void over_but_not_lost(void **state)
{
    EVP_PKEY *key = help_key("P-256"), *other = help_key("P-256");
    struct ticket t = first;
    struct answer a, again;
    struct err e = {0};

    (void)state;
    t.not_after = time_now_ms() / 1000 + 2;
    use_ticket(&t);
    a = get(0, key);
    while (time_now_ms() / 1000 < t.not_after)
        help_rest_ms(100);
    again = get(0, key);
    assert_false(again.fresh);
    assert_true(same_cert(&a, &again));
    refused(station_issue_once(&st, 0, other, &e), KEY_CHANGED);
    refused(station_issue_once(&st, 1, other, &e), TICKET_EXPIRED);
    /* one that was never valid here, and one for elsewhere */
    t.not_before = 1000, t.not_after = 2000;
    strcpy(t.job, JOB_B);
    use_ticket(&t);
    refused(station_issue_once(&st, 1, other, &e), TICKET_EXPIRED);
    t = first;
    t.not_before = t.not_after, t.not_after += 100;
    use_ticket(&t);
    refused(station_issue_once(&st, 0, key, &e), TICKET_EXPIRED);
    buf_done(&a.cert), buf_done(&again.cert);
    EVP_PKEY_free(key), EVP_PKEY_free(other);
}

static void withdrawn_for_good(void **state)
{
    EVP_PKEY *key = help_key("P-256"), *other = help_key("P-256");
    struct order o = {.kind = ORDER_WITHDRAW, .approver = "test", .issued_at = 1};
    struct err e = {0};
    struct answer a, again;
    json_t *answer;

    (void)state;
    a = get(0, key);
    strcpy(o.job, first.job);
    ok(send_order(&o, &answer, &e));
    assert_true(json_is_true(json_object_get(answer, "fresh")));
    json_decref(answer);
    for (int round = 0; round < 2; round++) {
        refused(station_issue_once(&st, 1, other, &e), JOB_WITHDRAWN);
        again = get(0, key);
        assert_true(same_cert(&a, &again));
        buf_done(&again.cert);
        ok(send_order(&o, &answer, &e));
        assert_false(json_is_true(json_object_get(answer, "fresh")));
        json_decref(answer);
        restart(SIGKILL);
    }
    use_job(JOB_B);
    ok(station_issue_once(&st, 1, other, &e)); /* another job is another matter */
    buf_done(&a.cert);
    EVP_PKEY_free(key), EVP_PKEY_free(other);
}

/* Who was told that a job is withdrawn gets no certificate of it afterwards, not even one that was under way. */
static void withdrawn_under_way(void **state)
{
    EVP_PKEY *key = help_key("P-256"), *other = help_key("P-256");
    struct order o = {.kind = ORDER_WITHDRAW, .approver = "test", .issued_at = 1};
    struct caller c = {0};
    struct crowd crowd;
    struct answer a;
    struct err e = {0};

    (void)state;
    a = get(0, key);
    station_wait_ready(&st, 2);
    crowd_open(&crowd);
    caller_ask_a_hanging_token(&crowd, &c, 1, other);
    strcpy(o.job, first.job);
    ok(send_order(&o, NULL, &e));
    station_fault(&st, "");
    crowd_wait(&crowd, 1);
    assert_int_equal(c.error, ERR_JOB_WITHDRAWN);
    buf_done(&a.cert);
    caller_done(&c);
    crowd_close(&crowd);
    EVP_PKEY_free(key), EVP_PKEY_free(other);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
            ORDERS_TEST(orders_forged),
            ORDERS_TEST(over_but_not_lost),
            ORDERS_TEST(withdrawn_for_good),
            ORDERS_TEST(withdrawn_under_way),
    };

    return FLOW_RUN(argc, argv, tests);
}
