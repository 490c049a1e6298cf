/* Memory that runs out: what reads hostile bytes is run again and again, and each time one allocation more succeeds before
 * one fails, OpenSSL's and jansson's among them. Whatever fails, good bytes are taken or refused with an error that says
 * why, bad ones are never taken, and nothing is lost (the sanitizers see that). */
#include <fcntl.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/config.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "hsm/authority.h"
#include "hsm/ca.h"
#include "hsm/x509/csr.h"
#include "hsm/ledger/ledger.h"
#include "hsm/approval/ticket.h"
#include "tests/hsm/help.h"

#define ALLOCATIONS_MAX 20000 /* a case that needs more has a loop in it */

/* ---- the allocator: countdown reaches 0 once */

static long countdown; /* 0: never fails */
static bool failed;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_reallocarray(void *p, size_t n, size_t size);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);
char *__wrap_strdup(const char *s);

static bool fails_now(void)
{
    if (countdown == 0 || --countdown > 0)
        return false;
    failed = true;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return fails_now() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails_now() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return fails_now() ? NULL : __real_realloc(p, size);
}

void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
    return fails_now() ? NULL : __real_reallocarray(p, n, size);
}

char *__wrap_strdup(const char *s)
{
    return fails_now() ? NULL : __real_strdup(s);
}

static void *openssl_malloc(size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return __wrap_malloc(size);
}

static void *openssl_realloc(void *p, size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return __wrap_realloc(p, size);
}

static void openssl_free(void *p, const char *file, int line)
{
    (void)file, (void)line;
    free(p);
}

/* ---- what is read */

static char dir[64];
static EVP_PKEY *key;
static X509 *cert;
static X509_STORE *anchors;
static struct buf csr;
static char *jws;
static const uint8_t nonce[NONCE_BYTES] = {7};

static const char *in_dir(const char *name)
{
    static char path[128];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static int read_csr(bool good, struct err *e)
{
    struct csr c;

    return csr_check(csr.data, csr.len, good ? nonce : (const uint8_t[NONCE_BYTES]){8},
            (1u << CSR_KEY_COUNT) - 1, &c, e);
}

static int read_ticket(bool good, struct err *e)
{
    static X509_STORE *nobody;
    struct ticket t;

    if (!nobody)
        nobody = X509_STORE_new();
    return ticket_verify(jws, good ? anchors : nobody, &t, e);
}

static int read_request(bool good, struct err *e)
{
    struct ticket t;

    return ticket_request_parse(
            good ? "{\"v\":1,\"job\":\"11111111-1111-4111-8111-111111111111\",\"account\":\"a\","
                   "\"division\":\"d\",\"profile\":\"idevid\",\"binding\":\"identity\",\"keys\":"
                   "\"device\",\"reissue\":false,\"rows\":3,\"root\":"
                   "\"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\","
                   "\"quota\":2,\"stations\":[\"*\"]}"
                 : "{\"v\":1}",
            &t, e);
}

static int write_ticket(bool good, struct err *e)
{
    static EVP_PKEY *other;
    static STACK_OF(X509) * chain;
    struct ticket t;
    char *text = NULL;
    int r;

    if (!chain) {
        other = help_key("P-256");
        chain = sk_X509_new_null();
        sk_X509_push(chain, cert);
        return -1; /* made ready before anything fails */
    }
    r = ticket_verify(jws, anchors, &t, e);
    if (r == 0)
        r = ticket_sign(&t, good ? key : other, chain, &text, e);
    free(text);
    return r;
}

static int read_chain(bool good, struct err *e)
{
    struct ca *ca = NULL;
    int r = ca_load(in_dir(good ? "chain.pem" : "approver.pem"), &ca, e);

    ca_free(&ca);
    return r;
}

static int read_anchors(bool good, struct err *e)
{
    struct authority *a = NULL;
    const struct ticket *t;
    int r = authority_open(in_dir(good ? "approver.pem" : "chain.pem"), &a, e);

    if (r == 0)
        r = authority_ticket(a, jws, &t, e);
    authority_close(&a);
    return r;
}

static int read_ledger(bool good, struct err *e)
{
    struct ledger *l = NULL;
    int r = ledger_open(in_dir(good ? "ledger" : "damaged"), &l, e);

    ledger_close(&l);
    return r;
}

static int read_config(bool good, struct err *e)
{
    struct config *c = NULL;
    int r = config_load(in_dir(good ? "good.conf" : "bad.conf"), &c, e);

    config_free(&c);
    return r;
}

static const struct {
    const char *name;
    int (*run)(bool good, struct err *e);
} cases[] = {
        {"csr", read_csr},
        {"ticket", read_ticket},
        {"request", read_request},
        {"signing", write_ticket},
        {"chain", read_chain},
        {"anchors", read_anchors},
        {"ledger", read_ledger},
        {"config", read_config},
};

/* ---- the test */

static long starve(const char *name, int (*run)(bool, struct err *), bool good)
{
    struct err e = {0};
    long n = 0;
    int r;

    run(good, &e); /* what is made once, and kept */
    do {
        assert_true(++n < ALLOCATIONS_MAX);
        err_clear(&e);
        failed = false;
        countdown = n;
        r = run(good, &e);
        countdown = 0;
        if ((r == 0) != (e.id == ERR_NONE) || (r < 0 && !*e.msg) || e.id == ERR_BUG ||
                (r == 0 && !good))
            fail_msg("%s, %s, allocation %ld: %d, %s: %s", name, good ? "good" : "bad", n, r,
                    err_name(e.id), e.msg);
    } while (failed);
    if ((r == 0) != good)
        fail_msg("%s with all its memory: %s", name, e.msg);
    return n;
}

static void never_taken_never_lost(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        long good = starve(cases[i].name, cases[i].run, true),
             bad = starve(cases[i].name, cases[i].run, false);

        print_message("%s: %ld and %ld allocations, each failed once\n", cases[i].name, good - 1,
                bad - 1);
        assert_true(good > 1);
    }
}

static void write_pem(const char *name, X509 *x)
{
    FILE *f = fopen(in_dir(name), "we");

    assert_non_null(f);
    assert_int_equal(PEM_write_X509(f, x), 1);
    fclose(f);
}

static void write_text(const char *name, const void *text, size_t len)
{
    struct err e = {0};

    ok(file_write(in_dir(name), text, len, 0600, &e));
}

/* A ledger of one certificate, and the same with a bit of it turned. */
static void write_ledgers(void)
{
    struct ledger_entry entry = {.type = LEDGER_ISSUED, .row = 1};
    struct buf bytes = BUF_INIT;
    struct ledger *l;
    struct err e = {0};

    entry.tail = (struct cert_bytes){(const uint8_t *)"certificate", 11};
    ok(ledger_open(in_dir("ledger"), &l, &e));
    ok(ledger_add(l, &entry, &e));
    ok(ledger_commit(l, &e));
    ledger_close(&l);
    ok(file_read(in_dir("ledger"), 1 << 20, &bytes, &e));
    bytes.data[70] ^= 1;
    write_text("damaged", bytes.data, bytes.len);
    buf_done(&bytes);
}

static int setup(void **state)
{
    static const char good[] = "[station]\nname = a\n[slot 01]\nport = /dev/a\n",
                      bad[] = "[station]\nnam = a\n";
    struct ticket t = {.job = "11111111-1111-4111-8111-111111111111",
            .account = "a",
            .division = "d",
            .profile = "idevid",
            .profile_sha256 = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            .binding = "identity",
            .rows = 2,
            .quota = 2,
            .not_after = 7258118400,
            .stations = {"*"},
            .station_count = 1,
            .approver = "x"};
    STACK_OF(X509) *chain = sk_X509_new_null();
    struct buf chain_pem = BUF_INIT;
    struct err e = {0};

    (void)state;
    help_mkdir(dir);
    key = help_key("P-256");
    cert = help_cert(key, "approver");
    sk_X509_push(chain, cert);
    ok(ticket_sign(&t, key, chain, &jws, &e));
    sk_X509_free(chain);
    anchors = X509_STORE_new();
    X509_STORE_add_cert(anchors, cert);
    help_csr(key, nonce, "SHA256", &csr);
    write_pem("approver.pem", cert);
    help_chain(key, &chain_pem);
    write_text("chain.pem", chain_pem.data, chain_pem.len);
    buf_done(&chain_pem);
    write_ledgers();
    write_text("good.conf", good, sizeof good - 1);
    write_text("bad.conf", bad, sizeof bad - 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    help_rmdir(dir);
    EVP_PKEY_free(key);
    X509_free(cert);
    X509_STORE_free(anchors);
    buf_done(&csr);
    free(jws);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(never_taken_never_lost)};

    /* before OpenSSL's first allocation */
    assert_int_equal(CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free), 1);
    json_set_alloc_funcs(__wrap_malloc, free);
    setenv("KEYLINE_LOG", "error", 0);
    log_open("starved");
    return cmocka_run_group_tests(tests, setup, teardown);
}
