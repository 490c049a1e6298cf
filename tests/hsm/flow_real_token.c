/* flow-real-token KEY-TYPE: a whole signer on the token that $KEYLINE_TEST_TOKEN describes and
 * real_tokens.sh has made: ceremony, certificates that verify, a worker that is killed, a wrong PIN,
 * a key found by its public half, and a rate. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <openssl/x509v3.h>
#include "base/file.h"
#include "base/text.h"
#include "hsm/ca.h"
#include "hsm/x509/signature.h"
#include "tests/hsm/station.h"
#include "tests/hsm/worker_rig.h"

#define CERTS         12
#define COMES_BACK_MS 40000

static struct ca *ca;
static EVP_PKEY *device_key;

static void verify(const struct buf *cert)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    const uint8_t *at = cert->data, *chain = ca->chain.data, *end = chain + ca->chain.len;
    X509 *x = d2i_X509(NULL, &at, (long)cert->len);

    assert_non_null(x);
    while (chain < end) {
        X509 *c = d2i_X509(NULL, &chain, end - chain);

        assert_non_null(c);
        X509_STORE_add_cert(store, c);
        X509_free(c);
    }
    X509_STORE_CTX_init(ctx, store, x, NULL);
    X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_X509_STRICT);
    if (X509_verify_cert(ctx) != 1)
        fail_msg("%s", X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    X509_free(x);
}

static void next_device(void)
{
    EVP_PKEY_free(device_key);
    device_key = help_key("P-256");
}

static void issue(size_t row)
{
    struct buf cert = BUF_INIT;
    struct err e = {0};
    bool fresh;

    ok(station_issue(&st, row, device_key, &cert, &fresh, &e));
    verify(&cert);
    buf_done(&cert);
    next_device();
}

/* A token that wants no PIN is given none. */
static bool has_pin(void)
{
    return !getenv("KEYLINE_TEST_NO_PIN");
}

static void certificates_verify(void **state)
{
    size_t wanted = has_pin() ? 3 : 0; /* the ceremony's, and one a worker */

    (void)state;
    station_start(&st);
    for (size_t i = 0; i < CERTS; i++)
        issue(i);
    for (int i = 0; station_logins(&st) < wanted; i++) {
        assert_true(i < 200);
        help_rest_ms(50);
    }
    help_rest_ms(500);
    station_stop(&st, SIGTERM);
    assert_int_equal(station_logins(&st), wanted);
}

static pid_t first_worker(void)
{
    json_t *o = station_status(&st);
    pid_t pid = (pid_t)json_integer_value(
            json_object_get(json_array_get(json_object_get(o, "workers"), 0), "pid"));

    json_decref(o);
    return pid;
}

static void killed_worker_is_replaced(void **state)
{
    pid_t pid;

    (void)state;
    station_config(&st, "workers = 1\n");
    station_start(&st);
    issue(CERTS);
    pid = first_worker();
    assert_true(pid > 1);
    kill(pid, SIGKILL);
    issue(CERTS + 1);
    assert_int_not_equal(first_worker(), pid);
    station_stop(&st, SIGTERM);
}

static void wrong_pin_is_tried_once(void **state)
{
    const char *path = getenv("KEYLINE_TEST_PIN");
    size_t before = station_logins(&st);
    struct buf pin = BUF_INIT, cert = BUF_INIT;
    struct err e = {0};
    bool fresh;

    (void)state;
    if (!has_pin())
        skip();
    ok(file_read(path, 100, &pin, &e));
    ok(file_write(path, "00001111\n", 9, 0600, &e));
    station_start(&st);
    for (int i = 0; i < 3; i++)
        refused(station_issue(&st, CERTS + 2, device_key, &cert, &fresh, &e), TOKEN_PIN);
    assert_int_equal(station_logins(&st), before + 1);
    station_stop(&st, SIGTERM);
    ok(file_write(path, pin.data, pin.len, 0600, &e));
    station_start(&st);
    issue(CERTS + 2);
    station_stop(&st, SIGTERM);
    buf_done(&pin);
    buf_done(&cert);
}

static void key_is_found_by_its_public_half(void **state)
{
    struct worker_rig r;
    struct err e = {0};
    uint8_t *spki = NULL, bytes[40] = "0 to be signed";
    int len = i2d_PUBKEY(ca->key, &spki);
    struct buf sig = BUF_INIT;

    (void)state;
    station_config(&st, "key_label = gone\nkey_id = 77\n");
    rig_start(&r);
    ok(rig_ask(&r, WIRE_DESCRIBE, ca->alg, spki, (size_t)len, &e));
    ok(rig_ask(&r, WIRE_PING, ca->alg, NULL, 0, &e));
    ok(rig_ask(&r, WIRE_SIGN, ca->alg, bytes, sizeof bytes, &e));
    ok(signature_from_token(ca->alg, r.packet.body, r.packet.len, &sig, &e));
    ok(signature_verify(ca->key, ca->alg, bytes, sizeof bytes, sig.data, sig.len, &e));
    rig_stop(&r);
    station_config(&st, "");
    OPENSSL_free(spki);
    buf_done(&sig);
}

static int shell(const char *command)
{
    return station_run((const char *[]){"bash", "-c", command, NULL});
}

/* The token is taken away under a running signer, and comes back: by the commands that the script
 * gives for it. A module that has all it needs in memory may sign on; it is told here. */
static void pulled_and_plugged_in(void **state)
{
    const char *pull = getenv("KEYLINE_TEST_PULL"), *plug = getenv("KEYLINE_TEST_PLUG");
    struct buf cert = BUF_INIT;
    struct err e = {0};
    int64_t start;
    bool fresh;

    (void)state;
    if (!pull || !plug)
        skip();
    station_start(&st);
    issue(CERTS + 3);
    assert_int_equal(shell(pull), 0);
    if (station_issue(&st, CERTS + 4, device_key, &cert, &fresh, &e) < 0) {
        printf("removed: %s (%s)\n", err_name(e.id), e.msg);
        assert_int_equal(err_class(e.id), ERR_CLASS_HSM);
        err_clear(&e);
    } else
        printf("removed: what runs signs on\n");
    assert_int_equal(shell(plug), 0);
    start = time_monotonic_ms();
    while (station_issue(&st, CERTS + 4, device_key, &cert, &fresh, &e) < 0) {
        if (err_class(e.id) != ERR_CLASS_HSM || time_monotonic_ms() - start > COMES_BACK_MS)
            fail_msg("%s: %s", err_name(e.id), e.msg);
        err_clear(&e);
        help_rest_ms(50);
    }
    printf("back after %d ms\n", (int)(time_monotonic_ms() - start));
    station_stop(&st, SIGTERM);
    buf_done(&cert);
    next_device();
}

/* A figure for docs/tokens.md, not a bar. */
static void rate(void **state)
{
    const char *count = getenv("KEYLINE_TEST_COUNT");
    char pid[16];

    (void)state;
    station_config(&st, "");
    station_start(&st);
    issue(CERTS + 5);
    snprintf(pid, sizeof pid, "%d", (int)st.signerd);
    assert_int_equal(station_run((const char *[]){
                             BENCH_SIGNER, "correct horse", "4", count ? count : "50", pid, NULL}),
            0);
    station_stop(&st, SIGTERM);
}

static const char *key_type;

static int open_all(void **state)
{
    struct err e = {0};
    char path[PATH_MAX];

    (void)state;
    station_open(&st, (const char *[]){"--key-type", key_type, NULL});
    paths_get(&st.paths, PATH_CA_CHAIN, path);
    ok(ca_load(path, &ca, &e));
    next_device();
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    ca_free(&ca);
    EVP_PKEY_free(device_key);
    station_close(&st);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(certificates_verify),
            cmocka_unit_test(killed_worker_is_replaced),
            cmocka_unit_test(wrong_pin_is_tried_once),
            cmocka_unit_test(key_is_found_by_its_public_half),
            cmocka_unit_test(pulled_and_plugged_in),
            cmocka_unit_test(rate),
    };

    if (argc != 2 || !getenv("KEYLINE_TEST_TOKEN") || !getenv("KEYLINE_TEST_PIN")) {
        fprintf(stderr, "usage: flow-real-token KEY-TYPE, by real_tokens.sh\n");
        return 2;
    }
    key_type = argv[1];
    return cmocka_run_group_tests(tests, open_all, close_all);
}
