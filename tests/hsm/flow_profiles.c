/* Certificates of every profile, for every kind of device key, under every kind of CA key, and that
 * CA's CRLs, made by the real signer, and shown to verifiers that we did not write (verify_certs.sh).
 * With KEYLINE_KEEP_CERTS=DIR they stay there, for linters that no Debian package has. */
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/file.h"
#include "base/limits.h"
#include "hsm/approval/order.h"
#include "hsm/profile/profile.h"
#include "tests/hsm/station.h"

static const char *const ca_kinds[] = {"p256", "p384", "rsa2048", "rsa3072", "rsa4096", "ed25519"};
static const char *const key_kinds[] = {
        "P-256", "P-384", "RSA:2048", "RSA:3072", "RSA:4096", "ED25519"};
/* The names-profile twice: the second time on rows without a subject. */
static const struct {
    const char *profile, *name;
    bool nameless;
} makes[] = {{NULL, "idevid", false}, {"tls", "tls", false}, {"names", "names", false},
        {"names", "nameless", true}};
#define COUNT(table) (sizeof(table) / sizeof *(table))

/* What the first certificates are revoked for; the last one superseded at first, and then worse. */
static const enum order_reason reasons[] = {ORDER_UNSPECIFIED, ORDER_AFFILIATION_CHANGED,
        ORDER_SUPERSEDED, ORDER_CESSATION_OF_OPERATION, ORDER_PRIVILEGE_WITHDRAWN,
        ORDER_KEY_COMPROMISE};
_Static_assert(COUNT(reasons) == COUNT(key_kinds), "one certificate of the first make for each");

static EVP_PKEY *keys[COUNT(makes)][COUNT(key_kinds)];
static char dir[PATH_MAX];

static void copy(const char *from, const char *to_dir, const char *name)
{
    char path[PATH_MAX + 40];
    struct buf bytes = BUF_INIT;
    struct err e = {0};

    snprintf(path, sizeof path, "%s/%s", to_dir, name);
    ok(file_read(from, 1u << 20, &bytes, &e));
    ok(file_write(path, bytes.data, bytes.len, 0644, &e));
    buf_done(&bytes);
}

static void cert_path(const char *to_dir, size_t make, size_t kind, char ret[PATH_MAX + 80])
{
    char key[16];

    snprintf(key, sizeof key, "%s", key_kinds[kind]);
    if (strchr(key, ':'))
        *strchr(key, ':') = '-';
    snprintf(ret, PATH_MAX + 80, "%s/%s.%s.pem", to_dir, makes[make].name, key);
}

static void write_cert(const struct buf *der, const char *to_dir, size_t make, size_t kind)
{
    char path[PATH_MAX + 80];
    const uint8_t *at = der->data;
    X509 *x = d2i_X509(NULL, &at, (long)der->len);
    FILE *f;

    assert_non_null(x);
    cert_path(to_dir, make, kind, path);
    f = fopen(path, "we");
    assert_non_null(f);
    PEM_write_X509(f, x);
    fclose(f);
    X509_free(x);
}

/* Another job for each profile: approved for what the profile's file says. */
static void approve(size_t make)
{
    char path[PATH_MAX + 40], profiles[PATH_MAX];
    struct err e = {0};

    paths_get(&st.paths, PATH_PROFILES, profiles);
    snprintf(path, sizeof path, "%s/%s.json", profiles, makes[make].profile);
    station_profile(&st.ticket, makes[make].profile ? path : NULL);
    free(st.jws);
    st.jws = NULL;
    ok(ticket_sign(&st.ticket, st.approver, st.approver_chain, &st.jws, &e));
}

/* revocations: of the first make's certificates; crl: where their CA's list is. */
static void issue_all(
        const char *to_dir, struct order revocations[COUNT(reasons)], char crl[PATH_MAX])
{
    size_t row = 0, nameless = 0;
    struct err e = {0};

    for (size_t m = 0; m < COUNT(makes); m++) {
        approve(m);
        for (size_t k = 0; k < COUNT(key_kinds); k++) {
            struct buf cert = BUF_INIT;
            bool fresh;
            size_t at;

            if (help_row_nameless(row))
                row++;
            while (!help_row_nameless(nameless))
                nameless++;
            at = makes[m].nameless ? nameless++ : row++;
            ok(station_issue(&st, at, keys[m][k], &cert, &fresh, &e));
            write_cert(&cert, to_dir, m, k);
            if (m == 0)
                station_revocation(&st, at, &cert, &revocations[k]);
            station_crl_path(&st, &cert, ".pem", crl);
            buf_done(&cert);
        }
    }
}

/* The list is there, has so many entries, and all of them with a key that was stolen have that reason. */
static bool is_listed(const char *path, int entries, int stolen)
{
    FILE *f = fopen(path, "re");
    X509_CRL *crl = f ? PEM_read_X509_CRL(f, NULL, NULL, NULL) : NULL;
    STACK_OF(X509_REVOKED) *list = crl ? X509_CRL_get_REVOKED(crl) : NULL;
    bool right = crl && (list ? sk_X509_REVOKED_num(list) : 0) == entries;

    for (int i = 0; right && i < entries; i++) {
        ASN1_ENUMERATED *reason = X509_REVOKED_get_ext_d2i(
                sk_X509_REVOKED_value(list, i), NID_crl_reason, NULL, NULL);

        stolen -= reason && ASN1_ENUMERATED_get(reason) == ORDER_KEY_COMPROMISE;
        ASN1_ENUMERATED_free(reason);
    }
    X509_CRL_free(crl);
    if (f)
        fclose(f);
    return right && stolen == 0;
}

/* As crl-NAME.pem; and in crl-NAME.revoked, a file name a line, what it must stop. */
static void keep_list(const char *crl, int entries, int stolen, const char *to_dir,
        const char *name, const struct buf *revoked)
{
    char as[32], path[PATH_MAX + 80];
    struct err e = {0};

    for (int i = 0; i < 2000 && !is_listed(crl, entries, stolen); i++)
        help_rest_ms(10);
    assert_true(is_listed(crl, entries, stolen));
    snprintf(as, sizeof as, "crl-%s.pem", name);
    copy(crl, to_dir, as);
    snprintf(path, sizeof path, "%s/crl-%s.revoked", to_dir, name);
    ok(file_write(path, revoked->data, revoked->len, 0644, &e));
}

/* The first make's certificates. */
static void revoke_some(
        struct order revocations[COUNT(reasons)], const char *crl, const char *to_dir)
{
    char path[PATH_MAX + 80];
    struct buf names = BUF_INIT;
    struct err e = {0};

    for (size_t k = 0; k < COUNT(reasons); k++) {
        cert_path("", 0, k, path);
        ok(buf_printf(&names, &e, "%s\n", path + 1));
        revocations[k].reason = reasons[k] == ORDER_KEY_COMPROMISE ? ORDER_SUPERSEDED : reasons[k];
        ok(station_order(&st, &revocations[k], NULL, &e));
    }
    keep_list(crl, COUNT(reasons), 0, to_dir, "reasons", &names);
    revocations[COUNT(reasons) - 1].reason = ORDER_KEY_COMPROMISE;
    ok(station_order(&st, &revocations[COUNT(reasons) - 1], NULL, &e));
    keep_list(crl, COUNT(reasons), 1, to_dir, "stolen", &names);
    buf_done(&names);
}

static void make_all(const char *ca_kind)
{
    char to_dir[PATH_MAX + 16], from[PATH_MAX + 40], profiles[PATH_MAX], crl[PATH_MAX];
    struct order revocations[COUNT(reasons)];
    struct buf none = BUF_INIT;
    struct err e = {0};

    snprintf(to_dir, sizeof to_dir, "%s/%s", dir, ca_kind);
    ok(file_mkdirs(to_dir, 0755, &e));
    station_open(&st, (const char *[]){"--key-type", ca_kind, NULL});
    paths_get(&st.paths, PATH_PROFILES, profiles);
    ok(file_mkdirs(profiles, 0755, &e));
    copy(PROFILES "/tls.json", profiles, "tls.json");
    copy(PROFILES "/names.json", profiles, "names.json");
    snprintf(from, sizeof from, "%s/etc/ca/root.pem", st.root);
    copy(from, to_dir, "root.pem");
    snprintf(from, sizeof from, "%s/etc/ca/chain.pem", st.root);
    copy(from, to_dir, "chain.pem");
    station_start(&st);
    issue_all(to_dir, revocations, crl);
    keep_list(crl, 0, 0, to_dir, "empty", &none);
    revoke_some(revocations, crl, to_dir);
    station_close(&st);
}

static void every_certificate_and_list(void **state)
{
    (void)state;
    for (size_t c = 0; c < COUNT(ca_kinds); c++)
        make_all(ca_kinds[c]);
    assert_int_equal(station_run((const char *[]){VERIFY, dir, NULL}), 0);
}

/* A file that changes after the approval stops its jobs, and a faulty one does so with its fault; the
 * file as it was approved sets them going again. Other profiles go on meanwhile. */
static void approved_words(void **state)
{
    char path[PATH_MAX + 40], profiles[PATH_MAX];
    struct buf cert = BUF_INIT;
    struct err e = {0};
    bool fresh;
    char *idevid;

    (void)state;
    station_open(&st, NULL);
    paths_get(&st.paths, PATH_PROFILES, profiles);
    ok(file_mkdirs(profiles, 0755, &e));
    copy(PROFILES "/tls.json", profiles, "tls.json");
    snprintf(path, sizeof path, "%s/tls.json", profiles);
    idevid = strdup(st.jws);
    approve(1);
    station_start(&st);
    ok(station_issue(&st, 0, keys[0][0], &cert, &fresh, &e));

    copy(PROFILES "/names.json", profiles, "tls.json"); /* other words under the same name */
    assert_int_equal(station_issue(&st, 1, keys[1][0], &cert, &fresh, &e), -1);
    assert_int_equal(e.id, ERR_PROFILE);
    assert_non_null(strstr(e.msg, "not the one that was approved"));
    err_clear(&e);
    ok(file_write(path, "{\"keys\": []}", 12, 0644, &e));
    assert_int_equal(station_issue(&st, 1, keys[1][0], &cert, &fresh, &e), -1);
    assert_int_equal(e.id, ERR_PROFILE);
    assert_non_null(strstr(e.msg, "member \"subject\" is missing"));
    err_clear(&e);
    remove(path);
    assert_int_equal(station_issue(&st, 1, keys[1][0], &cert, &fresh, &e), -1);
    assert_int_equal(e.id, ERR_PROFILE);
    assert_non_null(strstr(e.msg, "is missing"));
    err_clear(&e);

    free(st.jws);
    st.jws = idevid;
    ok(station_issue(&st, 2, keys[2][0], &cert, &fresh, &e));
    approve(0);
    copy(PROFILES "/tls.json", profiles, "tls.json");
    approve(1);
    ok(station_issue(&st, 1, keys[1][0], &cert, &fresh, &e));
    buf_done(&cert);
    station_close(&st);
}

static int setup(void **state)
{
    const char *keep = getenv("KEYLINE_KEEP_CERTS");
    char made[64];

    (void)state;
    if (keep) {
        snprintf(dir, sizeof dir, "%s", keep);
    } else {
        help_mkdir(made);
        snprintf(dir, sizeof dir, "%s", made);
    }
    for (size_t m = 0; m < COUNT(makes); m++)
        for (size_t k = 0; k < COUNT(key_kinds); k++)
            keys[m][k] = help_key(key_kinds[k]);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (size_t m = 0; m < COUNT(makes); m++)
        for (size_t k = 0; k < COUNT(key_kinds); k++)
            EVP_PKEY_free(keys[m][k]);
    if (!getenv("KEYLINE_KEEP_CERTS"))
        help_rmdir(dir);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(every_certificate_and_list),
            cmocka_unit_test(approved_words),
    };

    flow_choose(argc, argv);
    return cmocka_run_group_tests(tests, setup, teardown);
}
