/* CRLs, byte by byte: as OpenSSL reads them, many entries, and too many. */
#include <openssl/x509v3.h>
#include <sys/resource.h>
#include "base/text.h"
#include "hsm/x509/crl.h"
#include "tests/hsm/crl_rig.h"

static void bytes(void **state)
{
    static const uint8_t reasons[] = {0, 1, 3, 4, 5, 9};
    AUTHORITY_KEYID *aki;
    X509_CRL *crl;

    (void)state;
    for (uint32_t i = 0; i < sizeof reasons; i++)
        rig_revoke_quietly(0, i, reasons[i]);
    rig_revoke(1, 77, 1); /* of a CA that is not ours any more: on nobody's list */
    rig_turn();
    crl = rig_load(0);
    assert_int_equal(X509_CRL_get_version(crl), X509_CRL_VERSION_2);
    assert_int_equal(
            X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(rig.cas[0].cert)), 0);
    aki = X509_CRL_get_ext_d2i(crl, NID_authority_key_identifier, NULL, NULL);
    assert_memory_equal(
            ASN1_STRING_get0_data(aki->keyid), rig.cas[0].key_id.bytes, rig.cas[0].key_id.len);
    AUTHORITY_KEYID_free(aki);
    assert_int_equal(X509_CRL_get_ext_count(crl), 2);
    assert_int_equal(sk_X509_REVOKED_num(X509_CRL_get_REVOKED(crl)), 6);
    for (int i = 0; i < 6; i++) {
        X509_REVOKED *v = sk_X509_REVOKED_value(X509_CRL_get_REVOKED(crl), i);

        assert_int_equal(rig_reason_of(crl, i), reasons[i] ? reasons[i] : -1);
        assert_int_equal(rig_unix_s(X509_REVOKED_get0_revocationDate(v)), rig.now_ms / 1000);
    }
    X509_CRL_free(crl);
}

static void many(void **state)
{
    enum { MANY = 100000 };
    X509_REVOKED *v;
    uint8_t serial[CERT_SERIAL_BYTES] = {0x40, 0, 1, 0x86, 0x9e}; /* 99,998 */
    ASN1_INTEGER *number = ASN1_INTEGER_new();
    struct err e = {0};
    X509_CRL *crl;
    int64_t start;
    struct rusage usage;
    long before;

    (void)state;
    rig_turn();
    for (uint32_t i = 0; i < MANY; i++) {
        rig_revoke_quietly(0, i, 4);
        if (i % 10000 == 9999)
            ok(ledger_commit(rig.ledger, &e));
    }
    getrusage(RUSAGE_SELF, &usage);
    before = usage.ru_maxrss;
    start = time_monotonic_ms();
    rig_rested();
    crl_keeper_revoked(rig.keeper);
    rig_turn();
    print_message("a CRL of %d entries took %lld ms\n", MANY,
            (long long)(time_monotonic_ms() - start - 50));
    getrusage(RUSAGE_SELF, &usage);
    print_message("and at most %ld MB of memory more\n", (usage.ru_maxrss - before) / 1024);
    crl = rig_load(0);
    assert_int_equal(sk_X509_REVOKED_num(X509_CRL_get_REVOKED(crl)), MANY);
    ASN1_STRING_set(number, serial, sizeof serial);
    assert_int_equal(X509_CRL_get0_by_serial(crl, &v, number), 1);
    serial[4] = 0xa0;
    ASN1_STRING_set(number, serial, sizeof serial);
    assert_int_equal(X509_CRL_get0_by_serial(crl, &v, number), 0);
    ASN1_INTEGER_free(number);
    X509_CRL_free(crl);
}

static void too_many(void **state)
{
    struct crl_fields f = {.issuer = rig.cas[0].subject,
            .authority_key_id = rig.cas[0].key_id,
            .revoked_count = CRL_BYTES_MAX / 50};
    struct buf out = BUF_INIT;
    struct err e = {0};

    (void)state;
    refused(crl_tbs(&f, &out, &e), LIMIT);
    assert_int_equal(out.len, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
            CRL_TEST(bytes),
            CRL_TEST(many),
            CRL_TEST(too_many),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
