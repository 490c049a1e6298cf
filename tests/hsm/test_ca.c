/* Chains: what is read as a station's CA and its retired ones, and what may become one. Each
 * refusal is tried with a chain that is right but for one thing. */
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "base/paths.h"
#include "base/text.h"
#include "hsm/ca.h"
#include "hsm/ca_check.h"
#include "tests/hsm/help.h"

#define DAY 86400

static char root_dir[64];
static struct paths paths;

static int setup(void **state)
{
    struct err e = {0};
    char dir[PATH_MAX];

    (void)state;
    help_mkdir(root_dir);
    setenv("KEYLINE_ROOT", root_dir, 1);
    ok(paths_init(&paths, &e));
    paths_get(&paths, PATH_CA_RETIRED, dir);
    ok(file_mkdirs(dir, 0755, &e));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    help_rmdir(root_dir);
    return 0;
}

/* One CA certificate, as wrong as the test wants it. */
struct spec {
    const char *cn, *constraints, *usage, *purposes, *digest;
    int days_from, days_to;
    int no_key_id;
};
static const struct spec good_root = {"root", "critical,CA:TRUE,pathlen:1",
        "critical,keyCertSign,cRLSign", NULL, "SHA256", -10, 1000, 0};
static const struct spec good_issuing = {"issuing", "critical,CA:TRUE,pathlen:0",
        "critical,keyCertSign,cRLSign", NULL, "SHA256", -1, 900, 0};

static void extend(X509 *x, X509 *by, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *ext;

    if (!value)
        return;
    X509V3_set_ctx(&ctx, by, x, NULL, NULL, 0);
    ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(ext);
    X509_add_ext(x, ext, -1);
    X509_EXTENSION_free(ext);
}

/* by NULL: self-signed. */
static X509 *make(const struct spec *s, EVP_PKEY *key, X509 *by, EVP_PKEY *by_key)
{
    static long serial;
    X509 *x = X509_new();

    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
    if (*s->cn)
        X509_NAME_add_entry_by_txt(
                X509_get_subject_name(x), "CN", MBSTRING_UTF8, (const uint8_t *)s->cn, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(by ? by : x));
    X509_time_adj_ex(X509_getm_notBefore(x), s->days_from, 0, NULL);
    X509_time_adj_ex(X509_getm_notAfter(x), s->days_to, 0, NULL);
    X509_set_pubkey(x, key);
    extend(x, by ? by : x, NID_basic_constraints, s->constraints);
    extend(x, by ? by : x, NID_key_usage, s->usage);
    extend(x, by ? by : x, NID_ext_key_usage, s->purposes);
    if (!s->no_key_id)
        extend(x, by ? by : x, NID_subject_key_identifier, "hash");
    extend(x, by ? by : x, NID_authority_key_identifier, "keyid");
    assert_true(X509_sign(x, by ? by_key : key, EVP_get_digestbyname(s->digest)) > 0);
    return x;
}

static void write_chain(const char *path, X509 *const *certs, size_t count)
{
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    for (size_t i = 0; i < count; i++)
        PEM_write_X509(f, certs[i]);
    fclose(f);
}

/* A chain of two at path. */
static void write_pair(const char *path, const struct spec *issuing, const struct spec *root,
        const char *issuing_key, const char *root_key)
{
    EVP_PKEY *rk = help_key(root_key), *ik = help_key(issuing_key);
    X509 *r = make(root, rk, NULL, NULL), *i = make(issuing, ik, r, rk);

    write_chain(path, (X509 *const[]){i, r}, 2);
    X509_free(i);
    X509_free(r);
    EVP_PKEY_free(ik);
    EVP_PKEY_free(rk);
}

static void chain_path(char out[PATH_MAX])
{
    paths_get(&paths, PATH_CA_CHAIN, out);
}

static int check(
        const struct spec *issuing, const struct spec *root, const char *root_key, struct err *e)
{
    char path[PATH_MAX];
    struct ca *ca = NULL;
    int r;

    chain_path(path);
    write_pair(path, issuing, root, "P-256", root_key);
    r = ca_load(path, &ca, e);
    if (r == 0)
        r = ca_check(ca, time_now_ms() / 1000, e);
    ca_free(&ca);
    return r;
}

static void a_good_chain(void **state)
{
    struct spec purposes = good_issuing;
    struct err e = {0};

    (void)state;
    ok(check(&good_issuing, &good_root, "P-256", &e));
    ok(check(&good_issuing, &good_root, "RSA:2048", &e));
    purposes.purposes = "clientAuth,serverAuth";
    ok(check(&purposes, &good_root, "P-384", &e));
}

static void wrong(const struct spec *issuing, const struct spec *root, const char *root_key,
        enum err_id wanted, const char *words)
{
    struct err e = {0};

    if (check(issuing, root, root_key, &e) == 0 || e.id != wanted || !strstr(e.msg, words))
        fail_msg("wanted %s with '%s', got %s: %s", err_name(wanted), words, err_name(e.id), e.msg);
}

static void each_fault_is_named(void **state)
{
    struct spec i = good_issuing, r = good_root;

    (void)state;
#define FAULT(member, value, id, words)                                                            \
    i = good_issuing;                                                                              \
    i.member = value;                                                                              \
    wrong(&i, &good_root, "P-256", id, words)
    FAULT(constraints, "critical,CA:TRUE", ERR_CA_CHAIN, "pathlen:0");
    FAULT(constraints, "critical,CA:TRUE,pathlen:1", ERR_CA_CHAIN, "pathlen:0");
    FAULT(constraints, "critical,CA:FALSE", ERR_CONFIG, "not a CA's");
    FAULT(constraints, "CA:TRUE,pathlen:0", ERR_CA_CHAIN, "ritical");
    FAULT(usage, "critical,keyCertSign", ERR_CA_CHAIN, "cRLSign");
    FAULT(usage, "critical,cRLSign", ERR_CONFIG, "not a CA's");
    FAULT(purposes, "serverAuth", ERR_CA_CHAIN, "clientAuth");
    FAULT(digest, "SHA1", ERR_CA_CHAIN, "weak algorithm");
    FAULT(days_to, 0, ERR_CA_CHAIN, "was valid until");
    FAULT(days_from, 2, ERR_CA_CHAIN, "clock");
    FAULT(days_to, 1001, ERR_CA_CHAIN, "longer than the one that signed it");
    FAULT(no_key_id, 1, ERR_CONFIG, "subjectKeyIdentifier");
    FAULT(cn, "", ERR_CA_CHAIN, "no subject name");
#undef FAULT
    r.days_to = -2;
    wrong(&good_issuing, &r, "P-256", ERR_CA_CHAIN, "certificate 2 was valid until");
    wrong(&good_issuing, &good_root, "RSA:1024", ERR_CA_CHAIN, "certificate 2 has a weak key");
    r = good_root;
    r.constraints = "critical,CA:TRUE,pathlen:0";
    wrong(&good_issuing, &r, "P-256", ERR_CA_CHAIN, "path length of 0, and there are 1 CAs");
    r = good_root;
    r.usage = "critical,cRLSign";
    wrong(&good_issuing, &r, "P-256", ERR_CONFIG, "certificate 1 is not signed by");
}

static void path_length_above(void **state)
{
    static const struct spec middle = {"middle", "critical,CA:TRUE,pathlen:0",
            "critical,keyCertSign,cRLSign", NULL, "SHA256", -2, 950, 0};
    EVP_PKEY *rk = help_key("P-256"), *mk = help_key("P-256"), *ik = help_key("P-256");
    X509 *r = make(&good_root, rk, NULL, NULL), *m = make(&middle, mk, r, rk),
         *i = make(&good_issuing, ik, m, mk);
    char path[PATH_MAX];
    struct ca *ca = NULL;
    struct err e = {0};

    (void)state;
    chain_path(path);
    write_chain(path, (X509 *const[]){i, m, r}, 3);
    ok(ca_load(path, &ca, &e));
    refused(ca_check(ca, time_now_ms() / 1000, &e), CA_CHAIN);
    ca_free(&ca);
    /* in the wrong order, and without its root */
    write_chain(path, (X509 *const[]){m, i, r}, 3);
    refused(ca_load(path, &ca, &e), CONFIG);
    write_chain(path, (X509 *const[]){i, m}, 2);
    refused(ca_load(path, &ca, &e), CONFIG);
    X509_free(i);
    X509_free(m);
    X509_free(r);
    EVP_PKEY_free(ik);
    EVP_PKEY_free(mk);
    EVP_PKEY_free(rk);
}

static void expiry(void **state)
{
    struct err e = {0};
    char path[PATH_MAX];
    struct ca *ca = NULL;
    int64_t now = time_now_ms() / 1000;

    (void)state;
    chain_path(path);
    write_pair(path, &good_issuing, &good_root, "P-256", "P-256");
    ok(ca_load(path, &ca, &e));
    assert_in_range(ca->root_not_after - now, 1000 * DAY - 60, 1000 * DAY + 60);
    ok(ca_check_time(ca, now, &e));
    ok(ca_check_time(ca, ca->not_after, &e));
    refused(ca_check_time(ca, ca->not_after + 1, &e), CA_EXPIRED);
    refused(ca_check_time(ca, ca->not_before - 1, &e), CA_EXPIRED);
    ca_free(&ca);
}

/* Puts a new pair where a retired CA belongs. */
static void retire(const struct spec *issuing)
{
    char from[PATH_MAX], to[PATH_MAX];
    struct ca *ca = NULL;
    struct err e = {0};

    snprintf(from, sizeof from, "%s/pair.pem", root_dir);
    write_pair(from, issuing, &good_root, "P-256", "P-256");
    ok(ca_load(from, &ca, &e));
    ok(ca_retired_path(&paths, ca, to, &e));
    ca_free(&ca);
    assert_int_equal(rename(from, to), 0);
}

static void active_and_retired(void **state)
{
    struct spec old = good_issuing;
    struct ca_set set;
    struct buf chains = BUF_INIT;
    char chain[PATH_MAX], path[PATH_MAX];
    struct err e = {0};

    (void)state;
    refused(ca_set_load(&paths, &set, &e), NOT_FOUND);
    chain_path(chain);
    write_pair(chain, &good_issuing, &good_root, "P-256", "P-256");
    ok(ca_set_load(&paths, &set, &e));
    assert_int_equal(set.retired_count, 0);
    /* as a roll-over that was killed before its last step leaves it: the active one stands there
     * too */
    ok(ca_retired_path(&paths, set.active, path, &e));
    assert_int_equal(link(chain, path), 0);
    ca_set_done(&set);
    old.days_from = -5;
    old.cn = "older";
    retire(&old);
    old.days_from = -3;
    old.cn = "old";
    retire(&old);
    ok(ca_set_load(&paths, &set, &e));
    assert_int_equal(set.retired_count, 2);
    assert_string_equal(set.active->subject_text, "/CN=issuing");
    assert_string_equal(set.retired[0]->subject_text, "/CN=old");
    assert_string_equal(set.retired[1]->subject_text, "/CN=older");
    assert_ptr_equal(ca_set_find(&set, set.retired[1]->key_id.bytes, set.retired[1]->key_id.len),
            set.retired[1]);
    assert_null(ca_set_find(&set, (const uint8_t *)"x", 1));
    ok(ca_set_chains(&set, &chains, &e));
    assert_int_equal(chains.len,
            set.active->chain.len + set.retired[0]->chain.len + set.retired[1]->chain.len);
    assert_memory_equal(chains.data, set.active->chain.data, set.active->chain.len);
    buf_done(&chains);
    ca_set_done(&set);
    /* what cannot be read is not passed over: devices of that CA would get no chain */
    ok(file_write(path, "rubbish", 7, 0644, &e));
    refused(ca_set_load(&paths, &set, &e), CONFIG);
    assert_null(set.active);
}

static void too_many_retired(void **state)
{
    struct ca_set set;
    char chain[PATH_MAX];
    struct err e = {0};

    (void)state;
    chain_path(chain);
    write_pair(chain, &good_issuing, &good_root, "P-256", "P-256");
    for (size_t i = 0; i < CA_RETIRED_MAX; i++)
        retire(&good_issuing);
    ok(ca_set_load(&paths, &set, &e));
    assert_int_equal(set.retired_count, CA_RETIRED_MAX);
    ca_set_done(&set);
    retire(&good_issuing);
    refused(ca_set_load(&paths, &set, &e), LIMIT);
}

#define CA_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
            CA_TEST(a_good_chain),
            CA_TEST(each_fault_is_named),
            CA_TEST(path_length_above),
            CA_TEST(expiry),
            CA_TEST(active_and_retired),
            CA_TEST(too_many_retired),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
