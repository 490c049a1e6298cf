/* Re-issue, revocation and withdrawal against the real signer, as jobd asks for them and as a hostile jobd would. */
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/file.h"
#include "base/text.h"
#include "hsm/approval/order.h"
#include "hsm/signer_client.h"
#include "tests/hsm/crowd_rig.h"

#define JOB_B "b1111111-1111-4111-8111-111111111111"
#define JOB_C "c1111111-1111-4111-8111-111111111111"

static struct ticket first; /* of the job that certified the devices */

static int setup(void **state)
{
    (void)state;
    station_open(&st, NULL);
    first = st.ticket;
    station_start(&st);
    return 0;
}

/* From now on requests come with this ticket. */
static void use_ticket(const struct ticket *t)
{
    struct err e = {0};

    st.ticket = *t;
    free(st.jws);
    ok(ticket_sign(&st.ticket, st.approver, st.approver_chain, &st.jws, &e));
}

static void use_job(const char *job, bool reissue)
{
    struct ticket t = first;

    strcpy(t.job, job);
    t.reissue = reissue;
    use_ticket(&t);
}

struct answer {
    struct buf cert;
    bool fresh;
    struct order order; /* that would revoke it */
};

/* Must succeed. */
static struct answer get(size_t i, EVP_PKEY *key)
{
    struct answer a = {0};
    struct err e = {0};

    ok(station_issue(&st, i, key, &a.cert, &a.fresh, &e));
    station_revocation(&st, i, &a.cert, &a.order);
    return a;
}

static bool same_cert(const struct answer *a, const struct answer *b)
{
    return a->cert.len == b->cert.len && memcmp(a->cert.data, b->cert.data, a->cert.len) == 0;
}

static int send_order(const struct order *o, json_t **ret, struct err *e)
{
    return station_order(&st, o, ret, e);
}

/* It is revoked, and for this reason. */
static void assert_revoked(const struct answer *a, const char *reason)
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

static void restart(int signal)
{
    station_stop(&st, signal);
    station_start(&st);
}

/* ---- re-issue */

static void reissue_replaces(void **state)
{
    EVP_PKEY *key = help_key("P-256"), *other = help_key("P-256"), *third = help_key("P-256");
    struct answer a, b, again, c;
    struct err e = {0};

    (void)state;
    a = get(0, key);
    assert_true(a.fresh);
    use_job(JOB_B, false);
    refused(station_issue_once(&st, 0, key, &e), EXISTS);
    refused(station_issue_once(&st, 0, other, &e), KEY_CHANGED);
    use_job(JOB_B, true);
    b = get(0, other);
    assert_true(b.fresh);
    assert_revoked(&a, "superseded");
    for (int round = 0; round < 2; round++) {
        /* the same again is the same, another key is not */
        use_job(JOB_B, true);
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
    use_job(JOB_C, true);
    c = get(0, other);
    assert_true(c.fresh);
    assert_revoked(&b, "superseded");
    for (int round = 0; round < 2; round++) {
        use_job(JOB_B, true);
        refused(station_issue_once(&st, 0, other, &e), EXISTS);
        refused(station_issue_once(&st, 0, third, &e), EXISTS);
        use_ticket(&first);
        refused(station_issue_once(&st, 0, other, &e), EXISTS);
        /* even if it is signed once more as a re-issue */
        use_job(first.job, true);
        refused(station_issue_once(&st, 0, third, &e), EXISTS);
        restart(SIGKILL);
    }
    use_job(JOB_C, true);
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
    use_job(JOB_B, false);
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
    use_job(JOB_C, true);
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
    use_job(JOB_B, true);
    caller_prepare(&callers[0], 0, keys[0]);
    caller_prepare(&callers[1], 0, keys[1]);
    use_job(JOB_C, true);
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
    use_job(JOB_B, true);
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
    use_job(JOB_B, true);
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
        use_job(JOB_B, true);
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

/* ---- revocation */

static void revoked_for_good(void **state)
{
    EVP_PKEY *key = help_key("P-256"), *other = help_key("P-256");
    struct err e = {0};
    struct answer a;
    json_t *o;

    (void)state;
    a = get(0, key);
    ok(send_order(&a.order, &o, &e));
    assert_true(json_is_true(json_object_get(o, "fresh")));
    json_decref(o);
    for (int round = 0; round < 2; round++) {
        assert_revoked(&a, "keyCompromise");
        use_ticket(&first);
        refused(station_issue_once(&st, 0, key, &e), CERT_REVOKED);
        refused(station_issue_once(&st, 0, other, &e), CERT_REVOKED);
        use_job(JOB_B, false);
        refused(station_issue_once(&st, 0, other, &e), CERT_REVOKED);
        use_job(first.job, true);
        refused(station_issue_once(&st, 0, other, &e), CERT_REVOKED);
        use_job(JOB_B, true);
        refused(station_issue_once(&st, 0, key, &e), KEY_REUSED); /* it was given up as stolen */
        restart(SIGKILL);
    }
    ok(station_issue_once(&st, 0, other, &e));
    /* for another reason the key may stay */
    use_ticket(&first);
    buf_done(&a.cert);
    EVP_PKEY_free(key);
    a = get(1, key = help_key("P-256"));
    a.order.reason = ORDER_PRIVILEGE_WITHDRAWN;
    ok(send_order(&a.order, NULL, &e));
    use_job(JOB_B, true);
    ok(station_issue_once(&st, 1, key, &e));
    assert_revoked(&a, "privilegeWithdrawn");
    buf_done(&a.cert);
    EVP_PKEY_free(key), EVP_PKEY_free(other);
}

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

/* The certificate is revoked while its successor is being signed: the successor is not born. */
static void revoked_under_way(void **state)
{
    EVP_PKEY *key = help_key("P-256");
    struct caller c = {0};
    struct crowd crowd;
    struct answer a;
    struct err e = {0};

    (void)state;
    a = get(0, key);
    station_wait_ready(&st, 2);
    crowd_open(&crowd);
    use_job(JOB_B, true);
    caller_ask_a_hanging_token(&crowd, &c, 0, key);
    ok(send_order(&a.order, NULL, &e));
    station_fault(&st, "");
    crowd_wait(&crowd, 1);
    assert_int_equal(c.error, ERR_CERT_REVOKED);
    refused(station_issue_once(&st, 0, key, &e), KEY_REUSED);
    buf_done(&a.cert);
    caller_done(&c);
    crowd_close(&crowd);
    EVP_PKEY_free(key);
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
    use_job(JOB_B, false);
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

/* ---- the CRL, by verifiers that we did not write */

static void crl_path(const struct answer *a, const char *ext, char out[PATH_MAX])
{
    station_crl_path(&st, &a->cert, ext, out);
}

static json_int_t status_number(void)
{
    json_t *o = station_status(&st), *crl = json_array_get(json_object_get(o, "crls"), 0);
    json_int_t number = json_integer_value(json_object_get(crl, "number"));

    /* before the token has vouched for the ledger there is none */
    assert_true(number == 0 || !json_is_true(json_object_get(crl, "overdue")));
    json_decref(o);
    return number;
}

/* The answer to an order does not wait for the list. */
static void wait_number(json_int_t number)
{
    for (int i = 0; i < 500 && status_number() < number; i++)
        help_rest_ms(10);
    assert_int_equal(status_number(), number);
}

static void save(const struct answer *a, const char *name, char out[PATH_MAX])
{
    const uint8_t *at = a->cert.data;
    X509 *x = d2i_X509(NULL, &at, (long)a->cert.len);
    FILE *f;

    snprintf(out, PATH_MAX, "%s/%s", st.root, name);
    assert_non_null(f = fopen(out, "we"));
    PEM_write_X509(f, x);
    fclose(f);
    X509_free(x);
}

/* openssl crl ends with 0, too, when it has said "verify failure". */
static void assert_verifies(const char *der, const char *issuing)
{
    char command[3 * PATH_MAX];

    snprintf(command, sizeof command,
            "openssl crl -inform DER -in '%s' -noout -verify -CAfile '%s' 2>&1 | grep -q 'verify "
            "OK'",
            der, issuing);
    assert_int_equal(station_run((const char *[]){"sh", "-c", command, NULL}), 0);
}

static void seen_by_others(void **state)
{
    EVP_PKEY *key = help_key("P-256"), *other = help_key("P-256");
    char crl[PATH_MAX], der[PATH_MAX], root[PATH_MAX], chain[PATH_MAX], bad[PATH_MAX],
            good[PATH_MAX], old[PATH_MAX], issuing[PATH_MAX];
    struct answer a, b, c;
    struct err e = {0};

    (void)state;
    a = get(0, key);
    b = get(1, other);
    wait_number(1);
    ok(send_order(&a.order, NULL, &e));
    wait_number(2);
    assert_revoked(&a, "keyCompromise"); /* an order that comes again makes no list */
    use_job(JOB_B, true);
    c = get(1, other);
    assert_true(c.fresh);
    wait_number(3);
    crl_path(&a, ".pem", crl);
    crl_path(&a, "", der);
    save(&a, "bad.pem", bad);
    save(&b, "old.pem", old);
    save(&c, "good.pem", good);
    snprintf(root, sizeof root, "%s/etc/ca/root.pem", st.root);
    snprintf(chain, sizeof chain, "%s/etc/ca/chain.pem", st.root);
    snprintf(issuing, sizeof issuing, "%s/issuing.pem", st.root);
    assert_int_equal(
            station_run((const char *[]){"openssl", "x509", "-in", chain, "-out", issuing, NULL}),
            0);
    assert_verifies(der, issuing);
    assert_int_equal(station_run((const char *[]){"openssl", "verify", "-x509_strict", "-crl_check",
                             "-CAfile", root, "-untrusted", chain, "-CRLfile", crl, good, NULL}),
            0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(station_run((const char *[]){"openssl", "verify", "-crl_check", "-CAfile",
                                 root, "-untrusted", chain, "-CRLfile", crl, i ? old : bad, NULL}),
                2);
    assert_int_equal(station_run((const char *[]){"certtool", "--verify-crl",
                             "--load-ca-certificate", issuing, "--infile", crl, NULL}),
            0);
    assert_int_equal(station_run((const char *[]){
                             "certtool", "--crl-info", "--inder", "--infile", der, NULL}),
            0);
    restart(SIGKILL);
    wait_number(3);
    buf_done(&a.cert), buf_done(&b.cert), buf_done(&c.cert);
    EVP_PKEY_free(key), EVP_PKEY_free(other);
}

/* The reason on the list, -1 without one, -2 when it is not listed; ret: since when, in words of the day and second. */
static int listed_reason(const struct answer *a, char ret[TIME_TEXT_MAX])
{
    const uint8_t *at = a->cert.data;
    X509 *x = d2i_X509(NULL, &at, (long)a->cert.len);
    struct buf der = BUF_INIT;
    ASN1_ENUMERATED *reason;
    X509_REVOKED *v;
    char path[PATH_MAX];
    struct err e = {0};
    X509_CRL *crl;
    struct tm tm;
    int r = -2;

    crl_path(a, "", path);
    ok(file_read(path, CRL_BYTES_MAX, &der, &e));
    at = der.data;
    assert_non_null(crl = d2i_X509_CRL(NULL, &at, (long)der.len));
    if (X509_CRL_get0_by_cert(crl, &v, x) == 1) {
        reason = X509_REVOKED_get_ext_d2i(v, NID_crl_reason, NULL, NULL);
        r = reason ? (int)ASN1_ENUMERATED_get(reason) : -1;
        ASN1_ENUMERATED_free(reason);
        assert_int_equal(ASN1_TIME_to_tm(X509_REVOKED_get0_revocationDate(v), &tm), 1);
        strftime(ret, TIME_TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
    }
    X509_CRL_free(crl);
    X509_free(x);
    buf_done(&der);
    return r;
}

/* The answer to an order does not wait for the list. */
static void wait_listed(const struct answer *a, enum order_reason reason, const char *when)
{
    char since[TIME_TEXT_MAX] = "";

    for (int i = 0; i < 2000 && listed_reason(a, since) != (int)reason; i++)
        help_rest_ms(10);
    assert_int_equal(listed_reason(a, since), reason);
    assert_memory_equal(since, when, strlen(since));
}

/* The order must be carried out, or have no effect; and then the certificate is revoked like this. */
static void revoke_as(struct answer *a, enum order_reason reason, const char *before,
        const char *now, char when[TIME_TEXT_MAX])
{
    struct err e = {0};
    const char *told, *since;
    json_t *o;

    a->order.reason = reason;
    ok(send_order(&a->order, &o, &e));
    told = json_string_value(json_object_get(o, "reason_before"));
    since = json_string_value(json_object_get(o, "revoked"));
    assert_string_equal(json_string_value(json_object_get(o, "reason")), now);
    assert_string_equal(told ? told : "", before);
    assert_true(json_is_true(json_object_get(o, "fresh")) == (strcmp(before, now) != 0));
    if (*before && *when)
        assert_string_equal(since, when); /* the first date is the date */
    snprintf(when, TIME_TEXT_MAX, "%s", since);
    json_decref(o);
}

/* A key turns out to be stolen when its certificate is revoked already, as superseded: from then on the key is refused,
 * whichever certificate it had since. */
static void worse_reason(void **state)
{
    EVP_PKEY *key = help_key("P-256"), *other = help_key("P-256"), *third = help_key("P-256");
    char when[TIME_TEXT_MAX] = "", when_b[TIME_TEXT_MAX], when_c[TIME_TEXT_MAX];
    struct err e = {0};
    struct answer a, b, c;

    (void)state;
    a = get(0, key);
    use_job(JOB_B, true);
    b = get(0, key); /* the same key again */
    assert_true(b.fresh);
    c = get(1, other);
    revoke_as(&a, ORDER_SUPERSEDED, "superseded", "superseded", when);
    wait_listed(&a, ORDER_SUPERSEDED, when);
    revoke_as(&a, ORDER_CESSATION_OF_OPERATION, "superseded", "superseded", when);
    revoke_as(&a, ORDER_KEY_COMPROMISE, "superseded", "keyCompromise", when);
    wait_listed(&a, ORDER_KEY_COMPROMISE, when);
    for (int round = 0; round < 2; round++) {
        revoke_as(&a, ORDER_KEY_COMPROMISE, "keyCompromise", "keyCompromise", when);
        revoke_as(&a, ORDER_UNSPECIFIED, "keyCompromise", "keyCompromise", when);
        use_job(JOB_B, true);
        refused(station_issue_once(&st, 0, key, &e),
                KEY_REUSED); /* not even what is good is given back */
        refused(station_issue_once(&st, 0, third, &e), KEY_CHANGED);
        use_job(JOB_C, true);
        refused(station_issue_once(&st, 0, key, &e), KEY_REUSED);
        restart(SIGKILL);
    }
    station_wait_vouched(&st);
    /* the other certificate of that key is revoked by an order of its own, for whatever reason */
    revoke_as(&b, ORDER_PRIVILEGE_WITHDRAWN, "", "privilegeWithdrawn", when_b);
    refused(station_issue_once(&st, 0, key, &e), KEY_REUSED);
    ok(station_issue_once(&st, 0, third, &e));
    /* any other reason is as weak */
    revoke_as(&c, ORDER_PRIVILEGE_WITHDRAWN, "", "privilegeWithdrawn", when_c);
    revoke_as(&c, ORDER_SUPERSEDED, "privilegeWithdrawn", "privilegeWithdrawn", when_c);
    revoke_as(&c, ORDER_KEY_COMPROMISE, "privilegeWithdrawn", "keyCompromise", when_c);
    refused(station_issue_once(&st, 1, other, &e), KEY_REUSED);
    wait_listed(&a, ORDER_KEY_COMPROMISE, when);
    wait_listed(&b, ORDER_PRIVILEGE_WITHDRAWN, when_b);
    wait_listed(&c, ORDER_KEY_COMPROMISE, when_c);
    /* nobody else's certificate is found under its number */
    c.order = a.order;
    strcpy(c.order.device, b.order.device);
    c.order.device[0] = c.order.device[0] == '0' ? '1' : '0';
    refused(send_order(&c.order, NULL, &e), NOT_FOUND);
    buf_done(&a.cert), buf_done(&b.cert), buf_done(&c.cert);
    EVP_PKEY_free(key), EVP_PKEY_free(other), EVP_PKEY_free(third);
}

/* More than a packet to the token can hold: 192 entries, 10 KB. */
static void long_list(void **state)
{
    static const char *const jobs[] = {JOB_B, JOB_C, "d1111111-1111-4111-8111-111111111111"};
    EVP_PKEY *keys[STATION_ROWS];
    char der[PATH_MAX], issuing[PATH_MAX], chain[PATH_MAX];
    struct ticket t = first;
    struct answer a;
    json_t *o;

    (void)state;
    t.quota = STATION_ROWS;
    use_ticket(&t);
    for (size_t i = 0; i < STATION_ROWS; i++) {
        a = get(i, keys[i] = help_key("P-256"));
        buf_done(&a.cert);
    }
    for (size_t j = 0; j < 3; j++) {
        strcpy(t.job, jobs[j]);
        t.reissue = true;
        use_ticket(&t);
        for (size_t i = 0; i < STATION_ROWS; i++) {
            a = get(i, keys[i]);
            assert_true(a.fresh);
            crl_path(&a, "", der);
            buf_done(&a.cert);
        }
    }
    for (int i = 0; i < 500; i++) {
        o = station_status(&st);
        if (json_integer_value(json_object_get(
                    json_array_get(json_object_get(o, "crls"), 0), "revoked")) == 3 * STATION_ROWS)
            break;
        json_decref(o);
        o = NULL;
        help_rest_ms(10);
    }
    assert_non_null(o);
    json_decref(o);
    snprintf(chain, sizeof chain, "%s/etc/ca/chain.pem", st.root);
    snprintf(issuing, sizeof issuing, "%s/issuing.pem", st.root);
    assert_int_equal(
            station_run((const char *[]){"openssl", "x509", "-in", chain, "-out", issuing, NULL}),
            0);
    assert_verifies(der, issuing);
    for (size_t i = 0; i < STATION_ROWS; i++)
        EVP_PKEY_free(keys[i]);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define ORDERS_TEST(f) cmocka_unit_test_setup_teardown(f, setup, station_teardown)
            ORDERS_TEST(reissue_replaces),
            ORDERS_TEST(reissue_forged),
            ORDERS_TEST(reissue_counts),
            ORDERS_TEST(reissues_at_once),
            ORDERS_TEST(killed_between),
            ORDERS_TEST(revoked_for_good),
            ORDERS_TEST(orders_forged),
            ORDERS_TEST(revoked_under_way),
            ORDERS_TEST(over_but_not_lost),
            ORDERS_TEST(withdrawn_for_good),
            ORDERS_TEST(withdrawn_under_way),
            ORDERS_TEST(seen_by_others),
            ORDERS_TEST(worse_reason),
            ORDERS_TEST(long_list),
    };

    return FLOW_RUN(argc, argv, tests);
}
