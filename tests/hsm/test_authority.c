/* Who may approve: anchors that are approvers themselves, and anchors that are CAs, with and without a
 * policy that tells approvers from all others below them. */
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/text.h"
#include "hsm/authority.h"
#include "hsm/approval/ticket.h"
#include "tests/hsm/help.h"

#define POLICY "1.3.6.1.4.1.32473.7"

static char dir[64], path[128];
static const struct ticket good = {
        .job = "11111111-1111-4111-8111-111111111111",
        .account = "acc",
        .division = "div",
        .profile = "idevid",
        .profile_sha256 = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        .binding = "identity",
        .rows = 1,
        .quota = 1,
        .not_before = 1000,
        .not_after = 2000,
        .issued_at = 900,
        .stations = {"*"},
        .station_count = 1,
        .approver = "A. Prover",
};

struct holder {
    EVP_PKEY *key;
    X509 *cert;
};

static void extend(X509 *x, int nid, const char *value)
{
    CONF *conf = NCONF_new(NULL); /* OpenSSL wants one for policies, be it empty */
    X509V3_CTX ctx;
    X509_EXTENSION *ext;

    X509V3_set_ctx_test(&ctx);
    X509V3_set_nconf(&ctx, conf);
    ext = value ? X509V3_EXT_conf_nid(NULL, &ctx, nid, value) : NULL;
    assert_true(ext || !value);
    if (ext)
        X509_add_ext(x, ext, -1);
    X509_EXTENSION_free(ext);
    NCONF_free(conf);
}

/* by NULL: self-signed. */
static struct holder make(
        const char *cn, const struct holder *by, const char *constraints, const char *policies)
{
    struct holder h = {help_key("P-256"), X509_new()};
    const struct holder *above = by ? by : &h;

    X509_set_version(h.cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(h.cert), 1);
    X509_NAME_add_entry_by_txt(
            X509_get_subject_name(h.cert), "CN", MBSTRING_ASC, (const uint8_t *)cn, -1, -1, 0);
    X509_set_issuer_name(h.cert, X509_get_subject_name(above->cert));
    X509_gmtime_adj(X509_getm_notBefore(h.cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(h.cert), 3600);
    X509_set_pubkey(h.cert, h.key);
    extend(h.cert, NID_basic_constraints, constraints);
    extend(h.cert, NID_key_usage,
            constraints ? "critical,keyCertSign" : "critical,digitalSignature");
    extend(h.cert, NID_certificate_policies, policies);
    assert_true(X509_sign(h.cert, above->key, EVP_sha256()) > 0);
    return h;
}

static void done(struct holder *h)
{
    EVP_PKEY_free(h->key);
    X509_free(h->cert);
}

static void write_anchors(const struct holder *a, const struct holder *b)
{
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    PEM_write_X509(f, a->cert);
    if (b)
        PEM_write_X509(f, b->cert);
    fclose(f);
}

/* The ticket of this approver; between: NULL or the CA that the ticket brings along. */
static int approves(struct authority *a, const struct holder *approver,
        const struct holder *between, struct err *e)
{
    STACK_OF(X509) *chain = sk_X509_new_null();
    const struct ticket *t;
    char *jws = NULL;
    int r;

    sk_X509_push(chain, approver->cert);
    if (between)
        sk_X509_push(chain, between->cert);
    assert_int_equal(ticket_sign(&good, approver->key, chain, &jws, e), 0);
    r = authority_ticket(a, jws, &t, e);
    sk_X509_free(chain);
    free(jws);
    return r;
}

static void a_policy_tells_approvers_from_others(void **state)
{
    struct holder ca = make("company CA", NULL, "critical,CA:TRUE", NULL);
    struct holder pinned = make("pinned", NULL, NULL, NULL);
    struct holder right = make("approver", &ca, NULL, POLICY),
                  plain = make("mail", &ca, NULL, NULL),
                  other = make("tls", &ca, NULL, "1.3.6.1.4.1.32473.8,2.5.29.32.0.1"),
                  any = make("any", &ca, NULL, "2.5.29.32.0");
    struct holder with = make("sub", &ca, "critical,CA:TRUE", POLICY),
                  without = make("sub 2", &ca, "critical,CA:TRUE", NULL);
    struct holder below = make("approver 2", &with, NULL, POLICY),
                  hidden = make("approver 3", &without, NULL, POLICY);
    struct holder self = make("approver", NULL, NULL, POLICY);
    struct authority *a = NULL;
    struct err e = {0};

    (void)state;
    write_anchors(&ca, &pinned);
    ok(authority_open(path, &a, &e));
    ok(approves(a, &right, NULL, &e));
    ok(approves(a, &plain, NULL, &e));
    ok(approves(a, &hidden, &without, &e));
    ok(approves(a, &pinned, NULL, &e));
    /* from here on, and for what was verified before as well */
    ok(authority_require(a, POLICY, &e));
    ok(approves(a, &right, NULL, &e));
    ok(approves(a, &below, &with, &e));
    ok(approves(a, &pinned, NULL, &e));
    refused(approves(a, &plain, NULL, &e), TICKET_UNTRUSTED);
    refused(approves(a, &other, NULL, &e), TICKET_UNTRUSTED);
    refused(approves(a, &hidden, &without, &e), TICKET_UNTRUSTED);
    refused(approves(a, &self, NULL, &e), TICKET_UNTRUSTED);
    ok(approves(a, &any, NULL, &e)); /* anyPolicy says so itself */
    /* a file that changes is read under the same rule */
    write_anchors(&plain, NULL);
    ok(approves(a, &plain, NULL, &e));
    refused(approves(a, &pinned, NULL, &e), TICKET_UNTRUSTED);
    write_anchors(&pinned, &ca);
    refused(approves(a, &plain, NULL, &e), TICKET_UNTRUSTED);
    authority_close(&a);
    struct holder *const all[] = {
            &ca, &pinned, &right, &plain, &other, &any, &with, &without, &below, &hidden, &self};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        done(all[i]);
}

static void no_policy(void **state)
{
    static const char *const wrong[] = {"", "approver", "1", "1.3.6.x", "1..3", "9.9.9", "1.3.6 "};
    struct holder pinned = make("pinned", NULL, NULL, NULL);
    struct authority *a = NULL;
    struct err e = {0};

    (void)state;
    write_anchors(&pinned, NULL);
    ok(authority_open(path, &a, &e));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        refused(authority_require(a, wrong[i], &e), CONFIG);
    authority_close(&a);
    done(&pinned);
}

/* A station whose CA is there before its approvers are: they count as soon as they come. */
static void nobody_yet(void **state)
{
    struct holder ada = make("Ada", NULL, NULL, NULL);
    struct authority *a = NULL;
    struct err e = {0};

    (void)state;
    unlink(path);
    ok(authority_open(path, &a, &e));
    refused(approves(a, &ada, NULL, &e), TICKET_UNTRUSTED);
    write_anchors(&ada, NULL);
    ok(approves(a, &ada, NULL, &e));
    fclose(fopen(path, "we"));
    refused(approves(a, &ada, NULL, &e), TICKET_UNTRUSTED);
    authority_close(&a);
    done(&ada);
}

static int setup(void **state)
{
    (void)state;
    help_mkdir(dir);
    snprintf(path, sizeof path, "%s/approvers.pem", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    help_rmdir(dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(a_policy_tells_approvers_from_others),
            cmocka_unit_test(no_policy),
            cmocka_unit_test(nobody_yet),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
