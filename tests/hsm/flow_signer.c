/* What a signer gives: the real ceremony, signerd and workers with a real SoftHSM, used as jobd uses them. Every kind of key,
 * one certificate a device, the quota, and a disk that is full. */
#include <openssl/evp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "base/text.h"
#include "tests/hsm/station.h"

static void every_key_type(void **state)
{
    static const char *const types[] = {
            "P-256", "P-384", "RSA:2048", "RSA:3072", "RSA:4096", "ED25519"};
    struct err e = {0};

    (void)state;
    station_start(&st);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        EVP_PKEY *key = help_key(types[i]);
        struct buf cert = BUF_INIT;
        bool fresh = false;

        ok(station_issue(&st, i, key, &cert, &fresh, &e));
        assert_true(fresh);
        station_verify(&st, &cert, NULL);
        buf_done(&cert);
        EVP_PKEY_free(key);
    }
}

static void other_ca_keys(void **state)
{
    static const char *const kinds[] = {"p384", "rsa2048", "rsa3072", "rsa4096", "ed25519"};
    struct err e = {0};

    (void)state;
    setenv("ASAN_OPTIONS", "detect_leaks=0", 1); /* SoftHSM leaks with each Ed25519 key */
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        EVP_PKEY *key = help_key("P-256");
        struct buf cert = BUF_INIT;
        bool fresh;

        station_open(&st, (const char *[]){"--key-type", kinds[i], "--organization",
                                  "Gerätebau & Söhne", NULL});
        station_start(&st);
        ok(station_issue(&st, 0, key, &cert, &fresh, &e));
        station_verify(&st, &cert, NULL);
        buf_done(&cert);
        EVP_PKEY_free(key);
        station_close(&st);
    }
    unsetenv("ASAN_OPTIONS");
}

static void block(const char *text)
{
    char path[PATH_MAX];
    struct err e = {0};

    paths_get(&st.paths, PATH_BLOCKED_KEYS, path);
    ok(file_write(path, text, strlen(text), 0640, &e));
}

/* What the operator's list says counts from the next request on. */
static void blocked_keys(void **state)
{
    EVP_PKEY *key = help_key("P-256"), *other = help_key("P-256");
    uint8_t *spki = NULL, digest[32];
    int len = i2d_PUBKEY(key, &spki);
    char hex[65], text[300];
    struct err e = {0};

    (void)state;
    EVP_Digest(spki, (size_t)len, digest, NULL, EVP_sha256(), NULL);
    hex_format(digest, sizeof digest, hex);
    station_start(&st);
    snprintf(text, sizeof text, "# ours\n\n%064d\n%s # leaked in May\r\n%064d", 7, hex, 1);
    block(text);
    refused(station_issue_once(&st, 0, key, &e), KEY_WEAK);
    ok(station_issue_once(&st, 1, other, &e));
    snprintf(text, sizeof text, "%s0\n", hex); /* one digit too many */
    block(text);
    assert_int_equal(station_issue_once(&st, 0, key, &e), -1);
    assert_int_equal(e.id, ERR_CONFIG);
    assert_non_null(strstr(e.msg, "line 1"));
    err_clear(&e);
    block("# none\n");
    ok(station_issue_once(&st, 0, key, &e));
    OPENSSL_free(spki);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

static void one_certificate_per_device(void **state)
{
    EVP_PKEY *key = help_key("P-256"), *other = help_key("P-256");
    struct buf first = BUF_INIT, again = BUF_INIT;
    struct err e = {0};
    bool fresh;

    (void)state;
    station_start(&st);
    ok(station_issue(&st, 0, key, &first, &fresh, &e));
    assert_true(fresh);
    ok(station_issue(&st, 0, key, &again, &fresh, &e));
    assert_false(fresh);
    assert_int_equal(first.len, again.len);
    assert_memory_equal(first.data, again.data, first.len);
    refused(station_issue_once(&st, 0, other, &e), KEY_CHANGED);
    refused(station_issue_once(&st, 1, key, &e), KEY_REUSED);
    /* and the same after kill -9 */
    station_stop(&st, SIGKILL);
    station_start(&st);
    buf_reset(&again);
    ok(station_issue(&st, 0, key, &again, &fresh, &e));
    assert_false(fresh);
    assert_memory_equal(first.data, again.data, first.len);
    refused(station_issue_once(&st, 0, other, &e), KEY_CHANGED);
    refused(station_issue_once(&st, 1, key, &e), KEY_REUSED);
    buf_done(&first);
    buf_done(&again);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

static void quota_holds(void **state)
{
    EVP_PKEY *keys[STATION_QUOTA + 1];
    struct err e = {0};

    (void)state;
    station_start(&st);
    for (size_t i = 0; i <= STATION_QUOTA; i++)
        keys[i] = help_key("P-256");
    for (size_t i = 0; i < STATION_QUOTA; i++)
        ok(station_issue_once(&st, i, keys[i], &e));
    refused(station_issue_once(&st, STATION_QUOTA, keys[STATION_QUOTA], &e), QUOTA);
    ok(station_issue_once(&st, 3, keys[3], &e)); /* a repetition is not counted */
    station_stop(&st, SIGTERM);
    station_start(&st);
    refused(station_issue_once(&st, STATION_QUOTA, keys[STATION_QUOTA], &e), QUOTA);
    for (size_t i = 0; i <= STATION_QUOTA; i++)
        EVP_PKEY_free(keys[i]);
}

/* ---- the disk */

static int in_shell(const char *command)
{
    char whole[1024];

    snprintf(whole, sizeof whole, "cd %s/lib && %s", st.root, command);
    return station_run((const char *[]){"sh", "-c", whole, NULL});
}

static void full_disk(void **state)
{
    EVP_PKEY *key = help_key("P-256");
    struct err e = {0};

    (void)state;
    if (in_shell("mv signer aside && mkdir signer && mount -t tmpfs -o size=256k tmpfs signer") !=
            0)
        skip(); /* only root may mount */
    assert_int_equal(in_shell("cp -a aside/. signer/"), 0);
    station_start(&st);
    station_wait_ready(&st, 2);
    in_shell("cat /dev/zero >signer/filler 2>/dev/null");
    /* the first one may still fit into the ledger's last page */
    int r = 0;
    for (size_t i = 0; i < 8 && r == 0; i++) {
        EVP_PKEY_free(key);
        key = help_key("P-256");
        r = station_issue_once(&st, i, key, &e);
    }
    refused(r, DISK_FULL);
    refused(station_issue_once(&st, 9, key, &e), DISK_FULL);
    assert_int_equal(in_shell("rm signer/filler"), 0);
    ok(station_issue_once(&st, 9, key, &e)); /* and the line goes on by itself */
    station_stop(&st, SIGTERM);
    station_start(&st);
    ok(station_issue_once(&st, 9, key, &e));
    station_stop(&st, SIGTERM);
    assert_int_equal(in_shell("umount signer"), 0);
    EVP_PKEY_free(key);
}

static int teardown_disk(void **state)
{
    in_shell("umount -l signer 2>/dev/null");
    return station_teardown(state);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
            FLOW_TEST(every_key_type),
            cmocka_unit_test(other_ca_keys),
            FLOW_TEST(blocked_keys),
            FLOW_TEST(one_certificate_per_device),
            FLOW_TEST(quota_holds),
            cmocka_unit_test_setup_teardown(full_disk, station_setup, teardown_disk),
    };

    return FLOW_RUN(argc, argv, tests);
}
