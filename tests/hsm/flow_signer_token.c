/* The signer and its token: a wrong PIN, a token that is missing or was emptied, the CA's key whatever is configured, and a
 * module that fails. (flow_token.c has one worker alone, flow_tokens.c several tokens.) */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <string.h>
#include "base/file.h"
#include "hsm/token/module.h"
#include "tests/hsm/station.h"

static void set_pin(const char *pin)
{
    char path[PATH_MAX];
    struct err e = {0};

    paths_get(&st.paths, PATH_TOKEN_PIN, path);
    ok(file_write(path, pin, strlen(pin), 0600, &e));
}

static void wrong_pin_is_tried_once(void **state)
{
    EVP_PKEY *key = help_key("P-256");
    struct buf pin = BUF_INIT;
    struct err e = {0};
    char path[PATH_MAX];

    (void)state;
    paths_get(&st.paths, PATH_TOKEN_PIN, path);
    ok(file_read(path, 100, &pin, &e));
    set_pin("1234567890\n");
    station_start(&st);
    for (int i = 0; i < 5; i++) {
        refused(station_issue_once(&st, 0, key, &e), TOKEN_PIN);
        help_rest_ms(200);
    }
    assert_int_equal(station_logins(&st), 1);
    station_stop(&st, SIGTERM);
    set_pin(buf_str(&pin));
    station_start(&st);
    ok(station_issue_once(&st, 0, key, &e));
    station_wait_ready(&st, 2);
    assert_int_equal(station_logins(&st), 3); /* one a worker */
    buf_done(&pin);
    EVP_PKEY_free(key);
}

static void missing_token(void **state)
{
    EVP_PKEY *key = help_key("P-256");
    struct err e = {0};
    char tokens[PATH_MAX], away[PATH_MAX];
    int tries = 0;

    (void)state;
    paths_get(&st.paths, PATH_TOKENS, tokens);
    snprintf(away, sizeof away, "%s/away", st.root);
    assert_int_equal(rename(tokens, away), 0);
    mkdir(tokens, 0700);
    station_start(&st);
    refused(station_issue_once(&st, 0, key, &e), TOKEN_ABSENT);
    /* it comes back by itself */
    rmdir(tokens);
    assert_int_equal(rename(away, tokens), 0);
    while (station_issue_once(&st, 0, key, &e) < 0) {
        assert_true(e.id == ERR_TOKEN_ABSENT && ++tries < 200);
        err_clear(&e);
        help_rest_ms(50);
    }
    EVP_PKEY_free(key);
}

/* SoftHSM leaves token.object empty when it is killed in a login. */
static void emptied_token_comes_back(void **state)
{
    EVP_PKEY *key = help_key("P-256"), *other = help_key("P-256");
    struct err e = {0};
    char command[2 * PATH_MAX], tokens[PATH_MAX];

    (void)state;
    paths_get(&st.paths, PATH_TOKENS, tokens);
    snprintf(command, sizeof command, "truncate -s 0 %s/*/token.object", tokens);
    assert_int_equal(station_run((const char *[]){"sh", "-c", command, NULL}), 0);
    station_start(&st);
    ok(station_issue_once(&st, 0, key, &e));
    station_stop(&st, SIGTERM);
    /* and without the copy it says so */
    assert_int_equal(station_run((const char *[]){"sh", "-c", command, NULL}), 0);
    snprintf(command, sizeof command, "rm -r %s.backup", tokens);
    assert_int_equal(station_run((const char *[]){"sh", "-c", command, NULL}), 0);
    station_start(&st);
    refused(station_issue_once(&st, 1, other, &e), TOKEN_ABSENT);
    ok(station_issue_once(&st, 0, key, &e)); /* what was issued needs no token */
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

/* A key that may leave, in the same token under its own id. */
static void make_extractable_key(void)
{
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    uint8_t id[] = {5}, curve[] = {6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7};
    CK_UTF8CHAR label[] = "loose";
    CK_ATTRIBUTE public_key[] = {
            {CKA_ID, id, 1}, {CKA_EC_PARAMS, curve, sizeof curve}, {CKA_TOKEN, &yes, 1}};
    CK_ATTRIBUTE private_key[] = {{CKA_ID, id, 1}, {CKA_LABEL, label, 5}, {CKA_TOKEN, &yes, 1},
            {CKA_PRIVATE, &yes, 1}, {CKA_SENSITIVE, &no, 1}, {CKA_EXTRACTABLE, &yes, 1},
            {CKA_SIGN, &yes, 1}};
    CK_MECHANISM how = {CKM_EC_KEY_PAIR_GEN, NULL, 0};
    CK_OBJECT_HANDLE a, b;
    CK_SESSION_HANDLE session;
    CK_SLOT_ID slot;
    struct module m;
    struct buf pin = BUF_INIT;
    struct err e = {0};
    char path[PATH_MAX];

    paths_get(&st.paths, PATH_SOFTHSM_CONF, path);
    setenv("SOFTHSM2_CONF", path, 1);
    paths_get(&st.paths, PATH_TOKEN_PIN, path);
    ok(file_read_secret(path, &pin, &e));
    ok(module_open("/usr/lib/softhsm/libsofthsm2.so", &m, &e));
    assert_int_equal(m.f->C_Initialize(NULL), CKR_OK);
    ok(module_find_token(&m, "keyline", &slot, &e));
    assert_int_equal(
            m.f->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session),
            CKR_OK);
    assert_int_equal(m.f->C_Login(session, CKU_USER, pin.data, pin.len), CKR_OK);
    assert_int_equal(
            m.f->C_GenerateKeyPair(session, &how, public_key, 3, private_key, 7, &a, &b), CKR_OK);
    m.f->C_Finalize(NULL);
    module_close(&m);
    unsetenv("SOFTHSM2_CONF");
    buf_done(&pin);
}

/* What keyline.conf says is a first guess: the CA's key is found by its public half, and no other
 * one, nor one that could leave the token, ever signs. */
static void key_is_found_whatever_is_configured(void **state)
{
    static const char *const configured[] = {"key_label = loose\nkey_id = 05\n",
            "key_label = root-ca\nkey_id = 01\n", "key_label = other\n", "key_id = 77\n"};
    struct err e = {0};

    (void)state;
    make_extractable_key();
    for (size_t i = 0; i < sizeof configured / sizeof *configured; i++) {
        EVP_PKEY *key = help_key("P-256");
        struct buf cert = BUF_INIT;
        bool fresh;

        station_config(&st, configured[i]);
        station_start(&st);
        ok(station_issue(&st, i, key, &cert, &fresh, &e));
        station_verify(&st, &cert, NULL);
        station_stop(&st, SIGTERM);
        buf_done(&cert);
        EVP_PKEY_free(key);
    }
}

static void faulty_module(void **state)
{
    static const struct {
        const char *fault;
        enum err_id wanted;
    } rows[] = {{"wrong", ERR_SIGNATURE}, {"crash", ERR_TOKEN}, {"CKR_DEVICE_ERROR", ERR_TOKEN}};
    EVP_PKEY *key = help_key("P-256");
    struct err e = {0};

    (void)state;
    station_start(&st);
    station_wait_ready(&st, 2);
    for (size_t i = 0; i < 3; i++) {
        station_fault(&st, rows[i].fault);
        help_refused(station_issue_once(&st, i, key, &e), rows[i].wanted, &e, rows[i].fault,
                __FILE__, __LINE__);
        /* and it comes back by itself */
        station_fault(&st, "");
        station_wait_ready(&st, 2);
    }
    ok(station_issue_once(&st, 0, key, &e));
    EVP_PKEY_free(key);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
            FLOW_TEST(wrong_pin_is_tried_once),
            FLOW_TEST(missing_token),
            FLOW_TEST(emptied_token_comes_back),
            FLOW_TEST(key_is_found_whatever_is_configured),
            FLOW_TEST(faulty_module),
    };

    return FLOW_RUN(argc, argv, tests);
}
