/* Revocation against the real signer: it is for good, nothing that is under way gets past it, and it is on the list that
 * others read. */
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include "base/file.h"
#include "base/text.h"
#include "tests/hsm/crowd_rig.h"
#include "tests/hsm/order_rig.h"

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
        use_job(JOB_B);
        refused(station_issue_once(&st, 0, other, &e), CERT_REVOKED);
        use_reissue(first.job);
        refused(station_issue_once(&st, 0, other, &e), CERT_REVOKED);
        use_reissue(JOB_B);
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
    use_reissue(JOB_B);
    ok(station_issue_once(&st, 1, key, &e));
    assert_revoked(&a, "privilegeWithdrawn");
    buf_done(&a.cert);
    EVP_PKEY_free(key), EVP_PKEY_free(other);
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
    use_reissue(JOB_B);
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

    station_path(&st, name, out);
    assert_non_null(f = fopen(out, "we"));
    PEM_write_X509(f, x);
    fclose(f);
    X509_free(x);
}

/* By the issuing CA, which is left in issuing.pem. openssl crl ends with 0, too, when it has said "verify failure". */
static void assert_verifies(const char *der)
{
    char command[4 * PATH_MAX];

    snprintf(command, sizeof command,
            "cd '%s' && openssl x509 -in etc/ca/chain.pem -out issuing.pem && openssl crl -inform "
            "DER -in '%s' -noout -verify -CAfile issuing.pem 2>&1 | grep -q 'verify OK'",
            st.root, der);
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
    use_reissue(JOB_B);
    c = get(1, other);
    assert_true(c.fresh);
    wait_number(3);
    crl_path(&a, ".pem", crl);
    crl_path(&a, "", der);
    save(&a, "bad.pem", bad);
    save(&b, "old.pem", old);
    save(&c, "good.pem", good);
    station_path(&st, "etc/ca/root.pem", root);
    station_path(&st, "etc/ca/chain.pem", chain);
    station_path(&st, "issuing.pem", issuing);
    assert_verifies(der);
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
    use_reissue(JOB_B);
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
        use_reissue(JOB_B);
        refused(station_issue_once(&st, 0, key, &e),
                KEY_REUSED); /* not even what is good is given back */
        refused(station_issue_once(&st, 0, third, &e), KEY_CHANGED);
        use_reissue(JOB_C);
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
    char der[PATH_MAX];
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
    assert_verifies(der);
    for (size_t i = 0; i < STATION_ROWS; i++)
        EVP_PKEY_free(keys[i]);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
            ORDERS_TEST(revoked_for_good),
            ORDERS_TEST(revoked_under_way),
            ORDERS_TEST(seen_by_others),
            ORDERS_TEST(worse_reason),
            ORDERS_TEST(long_list),
    };

    return FLOW_RUN(argc, argv, tests);
}
