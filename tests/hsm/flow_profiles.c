/* Certificates of every profile, for every kind of device key, under every kind of CA key, made by
 * the real signer, and shown to verifiers that we did not write (verify_certs.sh). With
 * KEYLINE_KEEP_CERTS=DIR they stay there, for linters that no Debian package has. */
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/file.h"
#include "hsm/profile.h"
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

static void write_cert(
        const struct buf *der, const char *to_dir, const char *make, const char *kind)
{
    char path[PATH_MAX + 80], key[16];
    const uint8_t *at = der->data;
    X509 *x = d2i_X509(NULL, &at, (long)der->len);
    FILE *f;

    assert_non_null(x);
    snprintf(key, sizeof key, "%s", kind);
    if (strchr(key, ':'))
        *strchr(key, ':') = '-';
    snprintf(path, sizeof path, "%s/%s.%s.pem", to_dir, make, key);
    f = fopen(path, "we");
    assert_non_null(f);
    PEM_write_X509(f, x);
    fclose(f);
    X509_free(x);
}

/* Another job for each profile: approved for what the profile's file says. */
static void approve(struct station *st, size_t make)
{
    char path[PATH_MAX + 40], profiles[PATH_MAX];
    struct err e = {0};

    paths_get(&st->paths, PATH_PROFILES, profiles);
    snprintf(path, sizeof path, "%s/%s.json", profiles, makes[make].profile);
    station_profile(&st->ticket, makes[make].profile ? path : NULL);
    free(st->jws);
    st->jws = NULL;
    ok(ticket_sign(&st->ticket, st->approver, st->approver_chain, &st->jws, &e));
}

static void issue_all(struct station *st, const char *to_dir)
{
    size_t row = 0, nameless = 0;
    struct err e = {0};

    for (size_t m = 0; m < COUNT(makes); m++) {
        approve(st, m);
        for (size_t k = 0; k < COUNT(key_kinds); k++) {
            struct buf cert = BUF_INIT;
            bool fresh;
            size_t at;

            if (help_row_nameless(row))
                row++;
            while (!help_row_nameless(nameless))
                nameless++;
            at = makes[m].nameless ? nameless++ : row++;
            ok(station_issue(st, at, keys[m][k], &cert, &fresh, &e));
            write_cert(&cert, to_dir, makes[m].name, key_kinds[k]);
            buf_done(&cert);
        }
    }
}

static void make_all(const char *ca_kind)
{
    char to_dir[PATH_MAX + 16], from[PATH_MAX + 40], profiles[PATH_MAX];
    struct station st;
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
    issue_all(&st, to_dir);
    station_close(&st);
}

static void every_certificate(void **state)
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
    struct station st;
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
    approve(&st, 1);
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
    approve(&st, 0);
    copy(PROFILES "/tls.json", profiles, "tls.json");
    approve(&st, 1);
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
            cmocka_unit_test(every_certificate),
            cmocka_unit_test(approved_words),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, setup, teardown);
}
