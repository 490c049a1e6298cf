/* Re-issue against the real signer, as jobd asks for it and as a hostile jobd would: another certificate for a device only by
 * another ticket, and then the old one is revoked, whatever happens meanwhile. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include "tests/hsm/crowd_rig.h"
#include "tests/hsm/order_rig.h"

static void reissue_replaces(void **state)
{
    EVP_PKEY *key = help_key("P-256"), *other = help_key("P-256"), *third = help_key("P-256");
    struct answer a, b, again, c;
    struct err e = {0};

    (void)state;
    a = get(0, key);
    assert_true(a.fresh);
    use_job(JOB_B);
    refused(station_issue_once(&st, 0, key, &e), EXISTS);
    refused(station_issue_once(&st, 0, other, &e), KEY_CHANGED);
    use_reissue(JOB_B);
    b = get(0, other);
    assert_true(b.fresh);
    assert_revoked(&a, "superseded");
    for (int round = 0; round < 2; round++) {
        /* the same again is the same, another key is not */
        use_reissue(JOB_B);
        again = get(0, other);
        assert_false(again.fresh);
        assert_true(same_cert(&b, &again));
        buf_done(&again.cert);
        refused(station_issue_once(&st, 0, third, &e), KEY_CHANGED);
        refused(station_issue_once(&st, 0, key, &e), KEY_CHANGED);
        /* the old ticket gives nothing any more, old key or new */
        use_ticket(&first);
        refused(station_issue_once(&st, 0, key, &e), KEY_CHANGED);
        refused(station_issue_once(&st, 0, other, &e), EXISTS);
        restart(SIGKILL);
    }
    /* the same key again is allowed; then the second ticket is as old as the first */
    use_reissue(JOB_C);
    c = get(0, other);
    assert_true(c.fresh);
    assert_revoked(&b, "superseded");
    for (int round = 0; round < 2; round++) {
        use_reissue(JOB_B);
        refused(station_issue_once(&st, 0, other, &e), EXISTS);
        refused(station_issue_once(&st, 0, third, &e), EXISTS);
        use_ticket(&first);
        refused(station_issue_once(&st, 0, other, &e), EXISTS);
        /* even if it is signed once more as a re-issue */
        use_reissue(first.job);
        refused(station_issue_once(&st, 0, third, &e), EXISTS);
        restart(SIGKILL);
    }
    use_reissue(JOB_C);
    again = get(0, other);
    assert_true(same_cert(&c, &again));
    /* a device that has nothing gets its first from a re-issue ticket, too */
    assert_int_equal(station_issue_once(&st, 1, third, &e), 0);
    buf_done(&a.cert), buf_done(&b.cert), buf_done(&c.cert), buf_done(&again.cert);
    EVP_PKEY_free(key), EVP_PKEY_free(other), EVP_PKEY_free(third);
}

static void reissue_forged(void **state)
{
    EVP_PKEY *key = help_key("P-256"), *other = help_key("P-256"), *mallory = help_key("P-256");
    STACK_OF(X509) *chain = sk_X509_new_null();
    struct ticket t = first;
    struct err e = {0};
    struct help_rows rows;
    char *good, *dot;
    struct answer a;

    (void)state;
    sk_X509_push(chain, help_cert(mallory, "approver"));
    a = get(0, key);
    /* jobd's own ticket */
    strcpy(t.job, JOB_B);
    t.reissue = true;
    st.ticket = t;
    free(st.jws);
    ok(ticket_sign(&t, mallory, chain, &st.jws, &e));
    refused(station_issue_once(&st, 0, other, &e), TICKET_UNTRUSTED);
    /* the approver's ticket with every tenth letter of the payload changed */
    use_job(JOB_B);
    good = strdup(st.jws);
    dot = strrchr(st.jws, '.');
    for (char *at = strchr(st.jws, '.') + 1; at < dot; at += 10) {
        *at = *at == 'A' ? 'B' : 'A';
        refused(station_issue_once(&st, 0, other, &e), TICKET);
        strcpy(st.jws, good);
    }
    free(good);
    /* a re-issue that was approved for other rows */
    help_rows_make(&rows, STATION_ROWS / 2);
    t = first;
    strcpy(t.job, JOB_B);
    t.reissue = true;
    t.root = rows.root;
    t.rows = t.quota = STATION_ROWS / 2;
    use_ticket(&t);
    refused(station_issue_once(&st, 0, other, &e), PROOF);
    help_rows_done(&rows);
    /* and nothing of it has touched the certificate */
    use_ticket(&first);
    struct answer again = get(0, key);
    assert_true(same_cert(&a, &again));
    buf_done(&a.cert), buf_done(&again.cert);
    sk_X509_pop_free(chain, X509_free);
    EVP_PKEY_free(key), EVP_PKEY_free(other), EVP_PKEY_free(mallory);
}

static void reissue_counts(void **state)
{
    EVP_PKEY *keys[4] = {
            help_key("P-256"), help_key("P-256"), help_key("P-256"), help_key("P-256")};
    struct ticket t = first;
    struct err e = {0};

    (void)state;
    for (size_t i = 0; i < 3; i++)
        ok(station_issue_once(&st, i, keys[i], &e));
    strcpy(t.job, JOB_B);
    t.reissue = true;
    t.quota = 2;
    use_ticket(&t);
    ok(station_issue_once(&st, 0, keys[0], &e));
    ok(station_issue_once(&st, 1, keys[1], &e));
    refused(station_issue_once(&st, 2, keys[2], &e), QUOTA);
    refused(station_issue_once(&st, 3, keys[3], &e), QUOTA);
    restart(SIGKILL);
    refused(station_issue_once(&st, 2, keys[2], &e), QUOTA);
    ok(station_issue_once(&st, 1, keys[1], &e)); /* a repetition */
    /* a key of another device is none for a re-issue either */
    use_reissue(JOB_C);
    refused(station_issue_once(&st, 2, keys[1], &e), KEY_REUSED);
    for (size_t i = 0; i < 4; i++)
        EVP_PKEY_free(keys[i]);
}

/* ---- several at once */

/* Two re-issue tickets for one device in one moment: one of them serves, the other is told no, and one certificate is
 * valid in the end. */
static void reissues_at_once(void **state)
{
    EVP_PKEY *key = help_key("P-256"), *keys[3] = {help_key("P-256"), help_key("P-256"), key};
    struct caller callers[3] = {0};
    struct crowd crowd;
    struct answer a, won;

    (void)state;
    a = get(0, key);
    crowd_open(&crowd);
    use_reissue(JOB_B);
    caller_prepare(&callers[0], 0, keys[0]);
    caller_prepare(&callers[1], 0, keys[1]);
    use_reissue(JOB_C);
    caller_prepare(&callers[2], 0, keys[2]);
    /* in one moment: none is done before the last has come, or that one would rightly replace it */
    station_wait_ready(&st, 2);
    station_fault(&st, "hang");
    for (size_t i = 0; i < 3; i++)
        caller_send(&crowd, &callers[i]);
    sd_bus_flush(crowd.bus);
    crowd_wait(&crowd, 2);
    station_fault(&st, "");
    crowd_wait(&crowd, 3);
    assert_true(callers[0].cert.len > 0);
    assert_int_equal(callers[1].error, ERR_KEY_CHANGED);
    assert_int_equal(callers[2].error, ERR_EXISTS);
    assert_revoked(&a, "superseded");
    use_reissue(JOB_B);
    won = get(0, keys[0]);
    assert_int_equal(won.cert.len, callers[0].cert.len);
    assert_memory_equal(won.cert.data, callers[0].cert.data, won.cert.len);
    buf_done(&a.cert), buf_done(&won.cert);
    crowd_close(&crowd);
    for (size_t i = 0; i < 3; i++) {
        caller_done(&callers[i]);
        EVP_PKEY_free(keys[i]);
    }
}

#define CROWD 48

/* kill -9 in the middle of re-issues: each device has its old certificate, or the new one and the old one is revoked. */
static void killed_between(void **state)
{
    EVP_PKEY *keys[CROWD];
    struct caller callers[CROWD] = {0};
    struct answer old[CROWD];
    struct crowd crowd;
    size_t kept = 0;

    (void)state;
    for (size_t i = 0; i < CROWD; i++)
        old[i] = get(i, keys[i] = help_key("P-256"));
    crowd_open(&crowd);
    use_reissue(JOB_B);
    for (size_t i = 0; i < CROWD; i++)
        caller_ask(&crowd, &callers[i], i, keys[i]);
    crowd_wait(&crowd, 1);
    station_stop(&st, SIGKILL);
    crowd_wait(&crowd, CROWD);
    station_start(&st);
    for (size_t i = 0; i < CROWD; i++) {
        struct answer now;
        struct err e = {0};
        struct buf cert = BUF_INIT;
        bool fresh;

        use_ticket(&first);
        if (callers[i].cert.len) {
            refused(station_issue_once(&st, i, keys[i], &e), EXISTS);
        } else if (station_issue(&st, i, keys[i], &cert, &fresh, &e) == 0) {
            /* nothing was recorded: the old one is the one */
            assert_false(fresh);
            assert_int_equal(cert.len, old[i].cert.len);
            kept++;
        }
        use_reissue(JOB_B);
        now = get(i, keys[i]);
        if (callers[i].cert.len)
            assert_memory_equal(now.cert.data, callers[i].cert.data, now.cert.len);
        assert_revoked(&old[i], "superseded");
        buf_done(&now.cert), buf_done(&old[i].cert), buf_done(&cert);
        caller_done(&callers[i]);
        EVP_PKEY_free(keys[i]);
    }
    print_message("%zu of %d had not been replaced yet\n", kept, CROWD);
    crowd_close(&crowd);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
            ORDERS_TEST(reissue_replaces),
            ORDERS_TEST(reissue_forged),
            ORDERS_TEST(reissue_counts),
            ORDERS_TEST(reissues_at_once),
            ORDERS_TEST(killed_between),
    };

    return FLOW_RUN(argc, argv, tests);
}
