/* Help for the tests of hsm/. */
#include "tests/hsm/help.h"
#include <ftw.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/row.h"
#include "base/text.h"

void help_ok(int r, struct err *e, const char *what, const char *file, int line)
{
    if (r < 0) {
        print_error("%s: %s: %s\n", what, err_name(e->id), e->msg);
        _fail(file, line);
    }
}

void help_refused(
        int r, enum err_id wanted, struct err *e, const char *what, const char *file, int line)
{
    if (r >= 0 || e->id != wanted) {
        print_error("%s: wanted %s, got %s: %s\n", what, err_name(wanted),
                r < 0 ? err_name(e->id) : "success", e->msg);
        _fail(file, line);
    }
    err_clear(e);
}

void help_rest_ms(unsigned ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

void help_mkdir(char path[64])
{
    strcpy(path, "/tmp/keyline-hsm-XXXXXX");
    assert_non_null(mkdtemp(path));
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st, (void)kind, (void)where;
    return remove(path);
}

void help_rmdir(const char *path)
{
    nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

EVP_PKEY *help_key(const char *type)
{
    EVP_PKEY *key;

    if (strncmp(type, "RSA:", 4) == 0)
        key = EVP_RSA_gen((unsigned)atoi(type + 4));
    else if (strcmp(type, "ED25519") == 0)
        key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    else
        key = EVP_EC_gen(type);
    assert_non_null(key);
    return key;
}

void help_csr(EVP_PKEY *key, const uint8_t nonce[NONCE_BYTES], const char *digest, struct buf *out)
{
    X509_REQ *req = X509_REQ_new();
    char hex[2 * NONCE_BYTES + 1];
    uint8_t *der = NULL;
    int len;

    hex_format(nonce, NONCE_BYTES, hex);
    X509_NAME_add_entry_by_txt(
            X509_REQ_get_subject_name(req), "CN", MBSTRING_ASC, (const uint8_t *)"liar", -1, -1, 0);
    assert_int_equal(X509_REQ_set_pubkey(req, key), 1);
    assert_int_equal(X509_REQ_add1_attr_by_NID(req, NID_pkcs9_challengePassword, MBSTRING_ASC,
                             (const uint8_t *)hex, -1),
            1);
    assert_true(X509_REQ_sign(req, key, digest ? EVP_get_digestbyname(digest) : NULL) > 0);
    len = i2d_X509_REQ(req, &der);
    assert_true(len > 0);
    assert_int_equal(buf_append(out, der, (size_t)len, NULL), 0);
    OPENSSL_free(der);
    X509_REQ_free(req);
}

X509 *help_cert(EVP_PKEY *key, const char *cn)
{
    X509 *x = X509_new();

    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_NAME_add_entry_by_txt(
            X509_get_subject_name(x), "CN", MBSTRING_ASC, (const uint8_t *)cn, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    assert_true(X509_sign(x, key, EVP_PKEY_is_a(key, "ED25519") ? NULL : EVP_sha256()) > 0);
    return x;
}

void help_add_extension(X509 *x, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *ext;

    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(ext);
    assert_int_equal(X509_add_ext(x, ext, -1), 1);
    X509_EXTENSION_free(ext);
}

static X509 *make_ca(EVP_PKEY *key, const char *cn, X509 *issuer)
{
    X509 *x = X509_new();

    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), issuer ? 2 : 1);
    X509_NAME_add_entry_by_txt(
            X509_get_subject_name(x), "CN", MBSTRING_ASC, (const uint8_t *)cn, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(issuer ? issuer : x));
    ASN1_TIME_set_string(X509_getm_notBefore(x), "20200101000000Z");
    ASN1_TIME_set_string(X509_getm_notAfter(x), "21991231235959Z");
    X509_set_pubkey(x, key);
    help_add_extension(
            x, NID_basic_constraints, issuer ? "critical,CA:TRUE,pathlen:0" : "critical,CA:TRUE");
    help_add_extension(x, NID_key_usage, "critical,keyCertSign,cRLSign");
    help_add_extension(x, NID_subject_key_identifier, "hash");
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    return x;
}

void help_chain(EVP_PKEY *key, struct buf *out)
{
    X509 *root = make_ca(key, "Test Root", NULL), *issuing = make_ca(key, "Test Issuing CA", root);
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    long n;

    assert_int_equal(PEM_write_bio_X509(bio, issuing), 1);
    assert_int_equal(PEM_write_bio_X509(bio, root), 1);
    n = BIO_get_mem_data(bio, &text);
    assert_int_equal(buf_append(out, text, (size_t)n, NULL), 0);
    BIO_free(bio);
    X509_free(root);
    X509_free(issuing);
}

/* ---- rows */

bool help_row_nameless(size_t i)
{
    return i % 8 == 7;
}

static void make_row(size_t i, struct buf *out)
{
    char name[32], hwid[32];
    struct row r = {0};
    const char *fields[][2] = {{"device_name", name}, {"device_group", "g"}, {"hwid", hwid},
            {"subject.organization_name", "Beispiel Geräte GmbH"}, {"subject.country", "DE"},
            {"subject.common_name", name}};

    snprintf(name, sizeof name, "dev-%zu", i);
    snprintf(hwid, sizeof hwid, "HW-%zu", i);
    for (size_t f = 0; f < (help_row_nameless(i) ? 3 : sizeof fields / sizeof *fields); f++)
        assert_int_equal(row_add(&r, fields[f][0], strlen(fields[f][0]), fields[f][1],
                                 strlen(fields[f][1]), NULL),
                0);
    assert_int_equal(row_encode(&r, out, NULL), 0);
}

void help_rows_retree(struct help_rows *r)
{
    struct merkle_range range = {0};

    for (size_t i = 0; i < r->count; i++) {
        merkle_leaf(r->rows[i].data, r->rows[i].len, &r->leaves[i]);
        merkle_range_add(&range, &r->leaves[i]);
    }
    merkle_range_root(&range, &r->root);
}

void help_rows_make(struct help_rows *r, size_t count)
{
    *r = (struct help_rows){.count = count,
            .rows = calloc(count, sizeof *r->rows),
            .leaves = calloc(count, sizeof *r->leaves)};
    for (size_t i = 0; i < count; i++)
        make_row(i, &r->rows[i]);
    help_rows_retree(r);
}

void help_rows_done(struct help_rows *r)
{
    for (size_t i = 0; i < r->count; i++)
        buf_done(&r->rows[i]);
    free(r->rows);
    free(r->leaves);
}

static int read_node(
        void *ctx, unsigned level, uint64_t index, struct merkle_hash *ret, struct err *e)
{
    const struct help_rows *r = ctx;
    struct merkle_hash left, right;

    if (level == 0) {
        *ret = r->leaves[index];
        return 0;
    }
    if (read_node(ctx, level - 1, 2 * index, &left, e) < 0 ||
            read_node(ctx, level - 1, 2 * index + 1, &right, e) < 0)
        return -1;
    merkle_node(&left, &right, ret);
    return 0;
}

void help_rows_proof(const struct help_rows *r, size_t i, struct buf *out)
{
    struct merkle_hash proof[MERKLE_PROOF_MAX];
    size_t count;
    struct help_rows copy = *r;

    assert_int_equal(merkle_prove(i, r->count, read_node, &copy, proof, &count, NULL), 0);
    assert_int_equal(buf_append(out, proof, count * sizeof *proof, NULL), 0);
}
