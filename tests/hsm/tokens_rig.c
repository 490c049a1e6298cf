/* A station with two tokens. */
#include "tests/hsm/tokens_rig.h"
#include <dirent.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOFTHSM "/usr/lib/softhsm/libsofthsm2.so"
#define PIN     "24681357"

/* A self-signed CA, as its chain and as its key for the import. */
static void make_ca(void)
{
    EVP_PKEY *key = help_key("P-256");
    X509 *x = help_cert(key, "shared");
    char path[PATH_MAX];
    FILE *f;

    help_add_extension(x, NID_basic_constraints, "critical,CA:TRUE");
    help_add_extension(x, NID_key_usage, "critical,keyCertSign,cRLSign");
    help_add_extension(x, NID_subject_key_identifier, "hash");
    X509_gmtime_adj(X509_getm_notAfter(x), 86400);
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    paths_get(&st.paths, PATH_CA_CHAIN, path);
    f = fopen(path, "we");
    PEM_write_X509(f, x);
    fclose(f);
    station_path(&st, "ca.key", path);
    f = fopen(path, "we");
    PEM_write_PKCS8PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
    fclose(f);
    X509_free(x);
    EVP_PKEY_free(key);
}

static void make_token(const char *label)
{
    char key[PATH_MAX];

    station_path(&st, "ca.key", key);
    assert_int_equal(station_run((const char *[]){"softhsm2-util", "--init-token", "--free",
                             "--label", label, "--pin", PIN, "--so-pin", PIN, NULL}),
            0);
    assert_int_equal(station_run((const char *[]){"softhsm2-util", "--import", key, "--token",
                             label, "--label", "issuing-ca", "--id", "02", "--pin", PIN, NULL}),
            0);
}

void tokens_config_workers(int workers, const char *more)
{
    char text[2048];

    snprintf(text, sizeof text,
            "label = one\nworkers = %d\npin_file = %s/pin.one\nkeepalive_s = 1\nmark_every_s = 1\n"
            "[token two]\nmodule = " SOFTHSM "\nlabel = two\npin_file = %s/pin.two\n%s",
            workers, st.root, st.root, more);
    station_config(&st, text);
}

void tokens_config(const char *more)
{
    tokens_config_workers(4, more);
}

int tokens_setup(void **state)
{
    char path[PATH_MAX];

    (void)state;
    station_open(&st, NULL);
    paths_get(&st.paths, PATH_SOFTHSM_CONF, path);
    setenv("SOFTHSM2_CONF", path, 1);
    make_ca();
    make_token("one");
    make_token("two");
    unsetenv("SOFTHSM2_CONF");
    station_write(&st, "pin.one", PIN "\n");
    station_write(&st, "pin.two", PIN "\n");
    tokens_config("");
    return 0;
}

/* ---- what the status says */

json_t *token_status(size_t i)
{
    json_t *o = station_status(&st), *t = json_array_get(json_object_get(o, "tokens"), i);

    assert_non_null(t);
    json_incref(t);
    json_decref(o);
    return t;
}

json_int_t token_number(size_t i, const char *key)
{
    json_t *t = token_status(i);
    json_int_t n = json_integer_value(json_object_get(t, key));

    json_decref(t);
    return n;
}

bool token_is(size_t i, const char *wanted)
{
    json_t *t = token_status(i);
    bool is = strcmp(json_string_value(json_object_get(t, "state")), wanted) == 0;

    json_decref(t);
    return is;
}

void wait_token(size_t i, const char *wanted)
{
    for (int tries = 0; tries < 2000; tries++) {
        if (token_is(i, wanted))
            return;
        help_rest_ms(10);
    }
    fail_msg("token %zu did not become %s", i, wanted);
}

void wait_working(size_t i, json_int_t count)
{
    for (int tries = 0; tries < 2000; tries++) {
        if (token_number(i, "working") == count)
            return;
        help_rest_ms(10);
    }
    fail_msg("token %zu has not %lld working workers", i, (long long)count);
}

void wait_both(void)
{
    wait_working(0, 4);
    wait_working(1, 2);
}

/* ---- load */

void wait_issued(size_t i)
{
    struct err e = {0};

    for (int tries = 0; station_issue_new(&st, i, &e) < 0; tries++) {
        if (e.id == ERR_LEDGER || tries == 400)
            fail_msg("row %zu: %s", i, e.msg);
        err_clear(&e);
        help_rest_ms(50);
    }
}

void burst_begin(struct burst *b, size_t first, size_t count)
{
    b->count = count;
    crowd_open(&b->crowd);
    for (size_t i = 0; i < count; i++) {
        EVP_PKEY *key = help_key("P-256");

        caller_prepare(&b->callers[i], first + i, key);
        EVP_PKEY_free(key);
    }
    for (size_t i = 0; i < count; i++)
        caller_send(&b->crowd, &b->callers[i]);
    sd_bus_flush(b->crowd.bus);
}

void burst_end(struct burst *b)
{
    crowd_wait(&b->crowd, b->count);
    assert_int_equal(b->crowd.failed, 0);
    for (size_t i = 0; i < b->count; i++) {
        assert_true(b->callers[i].fresh);
        caller_done(&b->callers[i]);
    }
    crowd_close(&b->crowd);
}

void burst(size_t first, size_t count)
{
    struct burst *b = malloc(sizeof *b);

    burst_begin(b, first, count);
    burst_end(b);
    free(b);
}

/* ---- hot unplug: the directory of the token with this label */

static void token_dir(const char *label, char out[PATH_MAX])
{
    char tokens[PATH_MAX], path[PATH_MAX + 300], command[2 * PATH_MAX];
    int n = 0;
    DIR *d;

    paths_get(&st.paths, PATH_TOKENS, tokens);
    d = opendir(tokens);
    assert_non_null(d);
    for (struct dirent *f; (f = readdir(d));) {
        snprintf(path, sizeof path, "%s/%s/token.object", tokens, f->d_name);
        snprintf(command, sizeof command, "grep -q '%s ' %s 2>/dev/null", label, path);
        if (f->d_name[0] != '.' && station_run((const char *[]){"sh", "-c", command, NULL}) == 0)
            n = snprintf(out, PATH_MAX, "%s/%s", tokens, f->d_name);
    }
    closedir(d);
    assert_true(n > 0 && n < PATH_MAX);
}

void unplug(const char *label, struct unplugged *u)
{
    char name[64];

    snprintf(name, sizeof name, "unplugged.%s", label);
    token_dir(label, u->from);
    station_path(&st, name, u->to);
    assert_int_equal(rename(u->from, u->to), 0);
}

void replug(const struct unplugged *u)
{
    assert_int_equal(rename(u->to, u->from), 0);
}
