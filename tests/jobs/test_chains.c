/* Which chain goes with which certificate, when the signer has more than one CA. */
#include "jobs_test.h"

#include <openssl/x509v3.h>
#include <string.h>

#include "jobs/jobd/chains.h"
#include "test_ca.h"

struct made {
    EVP_PKEY *key;
    X509 *cert;
};

static void extend(X509 *x, X509 *by, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, by, x, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(ext);
    X509_add_ext(x, ext, -1);
    X509_EXTENSION_free(ext);
}

/* by NULL: its own root. All CAs may have one name: the key identifiers tell them apart. */
static struct made make(const char *cn, const struct made *by, bool ca)
{
    struct made m = {test_key("EC"), X509_new()};
    X509 *above = by ? by->cert : m.cert;
    X509_set_version(m.cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(m.cert), 7);
    X509_NAME_add_entry_by_txt(
            X509_get_subject_name(m.cert), "CN", MBSTRING_ASC, (const uint8_t *)cn, -1, -1, 0);
    X509_set_issuer_name(m.cert, X509_get_subject_name(above));
    X509_gmtime_adj(X509_getm_notBefore(m.cert), -60);
    X509_gmtime_adj(X509_getm_notAfter(m.cert), 3600);
    X509_set_pubkey(m.cert, m.key);
    extend(m.cert, above, NID_subject_key_identifier, "hash");
    extend(m.cert, above, NID_authority_key_identifier, "keyid");
    if (ca)
        extend(m.cert, above, NID_basic_constraints, "critical,CA:TRUE");
    assert_true(X509_sign(m.cert, by ? by->key : m.key, EVP_sha256()) > 0);
    return m;
}

static void made_free(struct made *m)
{
    EVP_PKEY_free(m->key);
    X509_free(m->cert);
}

static size_t append(struct buf *out, const struct made *m)
{
    uint8_t *der = NULL;
    int len = i2d_X509(m->cert, &der);
    struct err e = {0};
    assert_true(len > 0);
    must(buf_append(out, der, (size_t)len, &e), &e);
    OPENSSL_free(der);
    return (size_t)len;
}

static void each_certificate_gets_its_own(void **state)
{
    (void)state;
    struct made root = make("root", NULL, true), other = make("other root", NULL, true);
    struct made now = make("issuing", &root, true), old = make("issuing", &root, true);
    struct made foreign = make("issuing", &other, true), alone = make("alone", NULL, true);
    struct made of_now = make("d1", &now, false), of_old = make("d2", &old, false);
    struct made of_foreign = make("d3", &foreign, false), of_alone = make("d4", &alone, false);
    struct buf all = BUF_INIT, cert = BUF_INIT, got = BUF_INIT;
    struct chains *c = NULL;
    struct err e = {0};
    append(&all, &now);
    append(&all, &root);
    size_t first = all.len;
    append(&all, &old);
    append(&all, &root);
    size_t second = all.len - first;
    append(&all, &alone);
    size_t third = all.len - first - second;
    must(chains_parse(all.data, all.len, &c, &e), &e);

    const struct {
        const struct made *of;
        size_t at, len;
    } wanted[] = {
            {&of_now, 0, first}, {&of_old, first, second}, {&of_alone, first + second, third}};
    for (size_t i = 0; i < 3; i++) {
        buf_reset(&cert);
        buf_reset(&got);
        append(&cert, wanted[i].of);
        must(chains_append_for(c, cert.data, cert.len, &got, &e), &e);
        assert_int_equal(got.len, wanted[i].len);
        assert_memory_equal(got.data, all.data + wanted[i].at, got.len);
    }
    buf_reset(&cert);
    append(&cert, &of_foreign);
    must_fail(chains_append_for(c, cert.data, cert.len, &got, &e), &e, ERR_CA_CHAIN, "retired");
    must_fail(chains_append_for(c, all.data, 9, &got, &e), &e, ERR_PROTOCOL, "cannot be read");
    chains_free(&c);
    struct made *const all_made[] = {
            &root, &other, &now, &old, &foreign, &alone, &of_now, &of_old, &of_foreign, &of_alone};
    for (size_t i = 0; i < sizeof all_made / sizeof *all_made; i++)
        made_free(all_made[i]);
    buf_done(&all);
    buf_done(&cert);
    buf_done(&got);
}

static void nonsense_is_refused(void **state)
{
    (void)state;
    struct made root = make("root", NULL, true), now = make("issuing", &root, true);
    struct buf b = BUF_INIT;
    struct chains *c = NULL;
    struct err e = {0};
    size_t issuing = append(&b, &now);
    must_fail(chains_parse(b.data, b.len, &c, &e), &e, ERR_PROTOCOL, "root");
    append(&b, &root);
    must_fail(chains_parse(b.data, b.len - 1, &c, &e), &e, ERR_PROTOCOL, "no certificate");
    must_fail(chains_parse(b.data, 0, &c, &e), &e, ERR_PROTOCOL, "0 bytes");
    must(chains_parse(b.data + issuing, b.len - issuing, &c, &e), &e);
    chains_free(&c);
    buf_reset(&b);
    for (size_t i = 0; i <= CA_RETIRED_MAX + 1; i++)
        append(&b, &root);
    must_fail(chains_parse(b.data, b.len, &c, &e), &e, ERR_PROTOCOL, "more than");
    assert_null(c);
    buf_done(&b);
    made_free(&root);
    made_free(&now);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(each_certificate_gets_its_own),
            cmocka_unit_test(nonsense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
