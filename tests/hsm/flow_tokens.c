/* Several tokens with one CA key: the real signerd and its workers, two SoftHSM tokens. The first is
 * reached through the faulty module, so that it alone can be made to fail; and two pools in one
 * process. */
#include <dirent.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/config.h"
#include "base/file.h"
#include "hsm/ca.h"
#include "hsm/x509/signature.h"
#include "hsm/signer_client.h"
#include "hsm/workers/workers.h"
#include "tests/hsm/crowd_rig.h"

#define SOFTHSM "/usr/lib/softhsm/libsofthsm2.so"
#define PIN     "24681357"

/* ---- two tokens, one key */

static void path_of(const char *name, char out[PATH_MAX])
{
    snprintf(out, PATH_MAX, "%s/%s", st.root, name);
}

static void write_file(const char *name, const char *text)
{
    char path[PATH_MAX];
    struct err e = {0};

    path_of(name, path);
    ok(file_write(path, text, strlen(text), 0600, &e));
}

/* A self-signed CA, as its chain and as its key for the import. */
static void make_ca(void)
{
    EVP_PKEY *key = help_key("P-256");
    X509 *x = help_cert(key, "shared");
    char path[PATH_MAX];
    FILE *f;
    X509V3_CTX ctx;
    static const char *const extensions[][2] = {{"basicConstraints", "critical,CA:TRUE"},
            {"keyUsage", "critical,keyCertSign,cRLSign"}, {"subjectKeyIdentifier", "hash"}};

    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    for (size_t i = 0; i < 3; i++) {
        X509_EXTENSION *ext = X509V3_EXT_conf(NULL, &ctx, extensions[i][0], extensions[i][1]);

        X509_add_ext(x, ext, -1);
        X509_EXTENSION_free(ext);
    }
    X509_gmtime_adj(X509_getm_notAfter(x), 86400);
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    paths_get(&st.paths, PATH_CA_CHAIN, path);
    f = fopen(path, "we");
    PEM_write_X509(f, x);
    fclose(f);
    path_of("ca.key", path);
    f = fopen(path, "we");
    PEM_write_PKCS8PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
    fclose(f);
    X509_free(x);
    EVP_PKEY_free(key);
}

static void make_token(const char *label)
{
    char key[PATH_MAX];

    path_of("ca.key", key);
    assert_int_equal(station_run((const char *[]){"softhsm2-util", "--init-token", "--free",
                             "--label", label, "--pin", PIN, "--so-pin", PIN, NULL}),
            0);
    assert_int_equal(station_run((const char *[]){"softhsm2-util", "--import", key, "--token",
                             label, "--label", "issuing-ca", "--id", "02", "--pin", PIN, NULL}),
            0);
}

/* workers: of the first; more: further lines of the second, of [signer] and others */
static void configure_with(int workers, const char *more)
{
    char text[2048];

    snprintf(text, sizeof text,
            "label = one\nworkers = %d\npin_file = %s/pin.one\nkeepalive_s = 1\nmark_every_s = 1\n"
            "[token two]\nmodule = " SOFTHSM "\nlabel = two\npin_file = %s/pin.two\n%s",
            workers, st.root, st.root, more);
    station_config(&st, text);
}

static void configure(const char *more)
{
    configure_with(4, more);
}

static int setup(void **state)
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
    write_file("pin.one", PIN "\n");
    write_file("pin.two", PIN "\n");
    configure("");
    return 0;
}

/* ---- what the status says */

static json_t *token_status(size_t i)
{
    json_t *o = station_status(&st), *t = json_array_get(json_object_get(o, "tokens"), i);

    assert_non_null(t);
    json_incref(t);
    json_decref(o);
    return t;
}

static json_int_t token_number(size_t i, const char *key)
{
    json_t *t = token_status(i);
    json_int_t n = json_integer_value(json_object_get(t, key));

    json_decref(t);
    return n;
}

static bool token_is(size_t i, const char *wanted)
{
    json_t *t = token_status(i);
    bool is = strcmp(json_string_value(json_object_get(t, "state")), wanted) == 0;

    json_decref(t);
    return is;
}

static void wait_token(size_t i, const char *wanted)
{
    for (int tries = 0; tries < 2000; tries++) {
        if (token_is(i, wanted))
            return;
        help_rest_ms(10);
    }
    fail_msg("token %zu did not become %s", i, wanted);
}

static void wait_working(size_t i, json_int_t count)
{
    for (int tries = 0; tries < 2000; tries++) {
        if (token_number(i, "working") == count)
            return;
        help_rest_ms(10);
    }
    fail_msg("token %zu has not %lld working workers", i, (long long)count);
}

/* ---- load */

struct burst {
    struct crowd crowd;
    size_t count;
    struct caller callers[STATION_QUOTA];
};

/* Asks for rows first, first + 1, ... all at once. */
static void burst_begin(struct burst *b, size_t first, size_t count)
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

/* All answered, none lost, none refused, none from before. */
static void burst_end(struct burst *b)
{
    crowd_wait(&b->crowd, b->count);
    assert_int_equal(b->crowd.failed, 0);
    for (size_t i = 0; i < b->count; i++) {
        assert_true(b->callers[i].fresh);
        caller_done(&b->callers[i]);
    }
    crowd_close(&b->crowd);
}

static void burst(size_t first, size_t count)
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

struct unplugged {
    char from[PATH_MAX], to[PATH_MAX];
};

static void unplug(const char *label, struct unplugged *u)
{
    char name[64];

    snprintf(name, sizeof name, "unplugged.%s", label);
    token_dir(label, u->from);
    path_of(name, u->to);
    assert_int_equal(rename(u->from, u->to), 0);
}

static void replug(const struct unplugged *u)
{
    assert_int_equal(rename(u->to, u->from), 0);
}

/* ---- tests */

static void wait_issued(size_t i)
{
    struct err e = {0};

    for (int tries = 0; station_issue_new(&st, i, &e) < 0; tries++) {
        if (e.id == ERR_LEDGER || tries == 400)
            fail_msg("row %zu: %s", i, e.msg);
        err_clear(&e);
        help_rest_ms(50);
    }
}

static void the_first_signs_alone(void **state)
{
    (void)state;
    station_start(&st);
    wait_working(0, 4);
    wait_working(1, 2);
    json_int_t first = token_number(0, "signatures"), second = token_number(1, "signatures");
    burst(0, 24); /* and whatever the signer signs for itself */
    assert_true(token_number(0, "signatures") >= first + 24);
    assert_int_equal(token_number(1, "signatures"), second);
    assert_int_equal(token_number(0, "errors"), 0);

    json_t *t = token_status(0);
    assert_string_equal(json_string_value(json_object_get(t, "section")), "token");
    assert_string_equal(json_string_value(json_object_get(t, "label")), "one");
    assert_true(json_real_value(json_object_get(t, "sign_ms_p50")) > 0);
    assert_true(json_real_value(json_object_get(t, "sign_ms_p99")) >=
                json_real_value(json_object_get(t, "sign_ms_p50")));
    assert_true(json_is_null(json_object_get(t, "last_error")));
    json_decref(t);
}

/* Taken away under load: nothing is lost. Back: it signs again. */
static void the_next_takes_over(void **state)
{
    struct burst *b = malloc(sizeof *b);
    struct unplugged u;
    struct err e = {0};

    (void)state;
    station_start(&st);
    wait_working(0, 4);
    wait_working(1, 2);
    burst_begin(b, 0, 40);
    crowd_wait(&b->crowd, 4);
    unplug("one", &u);
    burst_end(b);
    wait_token(0, "down");
    ok(station_issue_new(&st, 40, &e));
    assert_true(token_number(1, "signatures") > 0);
    assert_true(token_number(0, "errors") > 0);

    json_t *o = station_status(&st);
    assert_true(json_is_null(json_object_get(o, "error"))); /* the signer as a whole works */
    json_decref(o);

    replug(&u);
    wait_token(0, "up");
    json_int_t before = token_number(0, "signatures");
    burst(41, 5);
    assert_true(token_number(0, "signatures") >= before + 5);
    free(b);
}

static void work_is_shared(void **state)
{
    (void)state;
    configure("[signer]\ntokens = spread\n");
    station_start(&st);
    wait_working(0, 4);
    wait_working(1, 2);
    burst(0, 40);
    assert_true(token_number(0, "signatures") + token_number(1, "signatures") >= 40);
    /* who has more workers, or gets more of a busy machine, gets more; nobody gets none */
    assert_true(token_number(0, "signatures") >= 4);
    assert_true(token_number(1, "signatures") >= 4);
}

/* One hangs, crashes or lies: its requests go to the other. */
static void a_faulty_token_is_passed_over(void **state)
{
    static const char *const faults[] = {"wrong", "crash", "CKR_DEVICE_ERROR", "hang"};
    struct err e = {0};

    (void)state;
    station_start(&st);
    wait_working(1, 2);
    for (size_t i = 0; i < 4; i++) {
        wait_working(0, 4);
        station_fault(&st, faults[i]);
        ok(station_issue_new(&st, i, &e));
        station_fault(&st, "");
    }
}

static void a_wrong_pin_stops_one_only(void **state)
{
    size_t before;

    (void)state;
    station_start(&st); /* the first of all is with all tokens */
    wait_issued(20);
    wait_working(0, 4);
    station_stop(&st, SIGTERM);
    before = station_logins(&st);
    write_file("pin.one", "11111111\n");
    station_start(&st);
    wait_token(0, "stopped");
    wait_working(1, 2);
    for (size_t i = 0; i < 3; i++) {
        burst(5 * i, 5);
        help_rest_ms(400);
    }
    assert_int_equal(station_logins(&st), before + 1);
    assert_true(token_number(1, "signatures") >= 15);
    assert_true(token_is(0, "stopped"));

    json_t *t = token_status(0);
    assert_string_equal(
            json_string_value(json_object_get(json_object_get(t, "last_error"), "name")),
            "TokenPin");
    json_decref(t);
}

static void all_away_is_told_and_ends(void **state)
{
    struct unplugged one, two;
    struct err e = {0};
    int tries = 0;

    (void)state;
    station_start(&st);
    wait_working(0, 4);
    wait_working(1, 2);
    unplug("one", &one);
    unplug("two", &two);
    for (size_t i = 0; i < 6; i++) {
        time_t begun = time(NULL);

        assert_int_equal(station_issue_new(&st, 0, &e), -1);
        assert_true(time(NULL) - begun <= BUS_TIMEOUT_MS / 1000);
        assert_int_equal(err_class(e.id), ERR_CLASS_HSM);
        assert_non_null(strstr(e.msg, "[token")); /* it says whose failure that is */
        err_clear(&e);
    }
    replug(&two);
    while (station_issue_new(&st, 1, &e) < 0) {
        assert_true(++tries < 400);
        err_clear(&e);
        help_rest_ms(50);
    }
    assert_true(token_is(1, "up"));
    replug(&one);
    wait_token(0, "up");
}

/* Seen without a single request. */
static void an_idle_token_is_looked_after(void **state)
{
    (void)state;
    station_start(&st);
    wait_working(0, 4);
    write_file("removed", "");
    wait_token(0, "down");
    assert_true(token_number(0, "errors") >= 1);
    char path[PATH_MAX];
    path_of("removed", path);
    unlink(path);
    wait_token(0, "up");
}

/* A stopped worker holds two requests; a killed one had two. */
static void two_in_flight_are_not_lost(void **state)
{
    struct burst *b = malloc(sizeof *b);
    pid_t frozen;

    (void)state;
    configure("workers = 1\n"); /* of the second, which is not needed here */
    station_start(&st);
    wait_working(0, 4);
    burst_begin(b, 0, 44);
    crowd_wait(&b->crowd, 2);
    frozen = station_worker(&st, 0);
    kill(frozen, SIGSTOP);
    kill(station_worker(&st, 1), SIGKILL);
    burst_end(b);
    free(b);
}

/* signerd asks the tokens about its ledger before it issues: either of them must do, also after a
 * restart without the other. */
static void either_token_vouches_for_the_ledger(void **state)
{
    static const char *const away[] = {"one", "two"};
    struct unplugged u;
    struct err e = {0};

    (void)state;
    station_start(&st);
    wait_working(0, 4);
    wait_working(1, 2);
    for (size_t i = 0; i < 2; i++) {
        int tries = 0;

        /* certificates while both are up, and the time in which both are told of them */
        wait_working(0, 4);
        wait_working(1, 2);
        burst(4 * i, 4);
        help_rest_ms(3000);
        station_stop(&st, SIGTERM);
        unplug(away[i], &u);
        station_start(&st);
        while (station_issue_new(&st, 10 + i, &e) < 0) {
            if (e.id == ERR_LEDGER || ++tries == 400)
                fail_msg("without '%s': %s", away[i], e.msg);
            err_clear(&e);
            help_rest_ms(50);
        }
        replug(&u);
        wait_token(i, "up");
    }
}

static void ledger_path(const char *more, char out[PATH_MAX])
{
    paths_get(&st.paths, PATH_LEDGER, out);
    strncat(out, more, PATH_MAX - strlen(out) - 1);
}

/* The ledger as it is now into a file beside it, or back; an index is of no use with another one. */
static void copy_ledger(bool back)
{
    char is[PATH_MAX], copy[PATH_MAX], path[PATH_MAX];
    struct buf bytes = BUF_INIT;
    struct err e = {0};

    ledger_path("", is);
    ledger_path(".copy", copy);
    ok(file_read(back ? copy : is, 16u << 20, &bytes, &e));
    ok(file_write(back ? is : copy, bytes.data, bytes.len, 0600, &e));
    buf_done(&bytes);
    ledger_path(".index", path);
    unlink(path);
    ledger_path(".index.new", path);
    unlink(path);
}

/* Until the tokens that are up have the mark of the ledger as it is. */
static void wait_marked(void)
{
    for (int tries = 0; tries < 2000; tries++) {
        json_t *o = station_status(&st), *l = json_object_get(o, "ledger");
        bool marked = json_integer_value(json_object_get(l, "marked_bytes")) ==
                      json_integer_value(json_object_get(l, "bytes"));

        json_decref(o);
        if (marked)
            return;
        help_rest_ms(10);
    }
    fail_msg("the ledger's mark was not written");
}

static void wait_refused(size_t i, size_t upto)
{
    struct err e = {0};

    while (station_issue_new(&st, i, &e) == 0) {
        help_rest_ms(50);
        assert_true(++i < upto);
    }
    print_message("%s\n", e.msg);
    assert_int_equal(e.id, ERR_LEDGER);
    assert_non_null(strstr(e.msg, "mark"));
}

/* An old copy of the ledger is put back while the token that knows better is away: it agrees with the other one, and nobody can
 * know. When that token is back it is heard before its mark is written over, and that is the end, now and after a restart. */
static void the_token_that_knows_better_comes_back(void **state)
{
    struct unplugged one, two;

    (void)state;
    station_start(&st);
    wait_working(0, 4);
    wait_working(1, 2);
    burst(0, 4);
    wait_marked(); /* in both */
    station_stop(&st, SIGTERM);
    copy_ledger(false);
    unplug("one", &one);
    station_start(&st);
    wait_issued(4);
    burst(5, 3);
    wait_marked(); /* in the second alone */
    station_stop(&st, SIGTERM);
    copy_ledger(true);
    replug(&one);
    unplug("two", &two);
    station_start(&st);
    wait_issued(8);
    burst(9, 20);  /* the wrong ledger becomes the longer one */
    wait_marked(); /* and the first has the newest mark */
    replug(&two);
    wait_token(1, "up");
    wait_refused(29, STATION_QUOTA);
    for (int round = 0; round < 2; round++) {
        station_stop(&st, round ? SIGTERM : SIGKILL);
        station_start(&st);
        wait_working(0, 4);
        wait_working(1, 2);
        wait_refused(STATION_QUOTA, STATION_QUOTA + 1);
    }
    /* a person's word counts for all that are connected; with a worker each, for SoftHSM takes it ill when a login is cut off */
    station_stop(&st, SIGTERM);
    configure_with(1, "workers = 1\n");
    assert_int_equal(station_run((const char *[]){SIGNERD, "--accept-ledger", NULL}), 0);
    station_start(&st);
    wait_working(0, 1);
    wait_working(1, 1);
    wait_issued(40);
    wait_marked();
    wait_issued(41);
}

/* The ledger is deleted while the only token that has a mark of it is away: nothing says so, but the signer waits for that token. */
static void a_deleted_ledger_waits_for_the_token_that_is_away(void **state)
{
    struct unplugged one, two;
    char path[PATH_MAX];
    struct err e = {0};

    (void)state;
    unplug("two", &two);
    assert_int_equal(station_run((const char *[]){SIGNERD, "--accept-ledger", NULL}), 0);
    station_start(&st);
    wait_working(0, 4);
    wait_issued(0);
    wait_marked();
    station_stop(&st, SIGTERM);
    ledger_path("", path);
    assert_int_equal(unlink(path), 0);
    unplug("one", &one);
    replug(&two);
    station_start(&st);
    wait_working(1, 2);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(station_issue_new(&st, 0, &e), -1);
        assert_int_equal(e.id, ERR_UNAVAILABLE);
        err_clear(&e);
        help_rest_ms(50);
    }
    replug(&one);
    for (int tries = 0; station_issue_new(&st, 0, &e) < 0 && e.id == ERR_UNAVAILABLE; tries++) {
        assert_true(tries < 400);
        err_clear(&e);
        help_rest_ms(50);
    }
    assert_int_equal(e.id, ERR_LEDGER);
    assert_non_null(strstr(e.msg, "another ledger"));
}

/* ---- pools */

struct pool_load {
    const struct ca *ca;
    size_t signed_, unavailable;
};

static void on_pool_signed(void *ctx, const uint8_t *sig, size_t len, const struct err *why)
{
    struct pool_load *l = ctx;
    struct err e = {0};

    if (why) {
        assert_int_equal(why->id, ERR_UNAVAILABLE);
        l->unavailable++;
        return;
    }
    ok(signature_verify(l->ca->key, l->ca->alg, "0text", 5, sig, len, &e));
    l->signed_++;
}

/* A CA of the station's ceremony: the issuing one, or the root alone. */
static struct ca *load_ca(bool root)
{
    char chain[PATH_MAX], alone[PATH_MAX], text[8192];
    struct buf pem = BUF_INIT;
    struct err e = {0};
    struct ca *ca;

    paths_get(&st.paths, PATH_CA_CHAIN, chain);
    if (root) {
        ok(file_read(chain, sizeof text - 1, &pem, &e));
        snprintf(text, sizeof text, "%s", strstr(buf_str(&pem) + 10, "-----BEGIN"));
        write_file("root.pem", text);
        path_of("root.pem", alone);
        buf_done(&pem);
    }
    ok(ca_load(root ? alone : chain, &ca, &e));
    return ca;
}

static void pools_live_side_by_side(void **state)
{
    struct pool_load load[2] = {{.ca = load_ca(false)}, {.ca = load_ca(true)}};
    struct workers *pool[2];
    struct config *config;
    struct err e = {0};
    char path[PATH_MAX];
    sigset_t child, before;
    sd_event *event;

    (void)state;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, &before);
    paths_get(&st.paths, PATH_CONFIG, path);
    ok(config_load(path, &config, &e));
    assert_true(sd_event_new(&event) >= 0);
    for (size_t i = 0; i < 2; i++)
        ok(workers_open(&(struct workers_options){event, SIGNERD_TOKEN, load[i].ca, config, i,
                                i ? pool[0] : NULL},
                &pool[i], &e));
    assert_int_equal(workers_count(pool[0]), 2);
    assert_int_equal(workers_count(pool[1]), 1);
    for (int n = 0; n < 10; n++)
        for (size_t i = 0; i < 2; i++)
            ok(workers_sign(pool[i], "0text", 5, on_pool_signed, &load[i], &e));
    while (load[0].signed_ < 10 || load[1].signed_ < 10)
        assert_true(sd_event_run(event, 20000000) > 0);
    /* the second is closed in the middle of its work: every request is answered */
    for (int n = 0; n < 10; n++)
        ok(workers_sign(pool[1], "0text", 5, on_pool_signed, &load[1], &e));
    workers_close(&pool[1]);
    assert_int_equal(load[1].unavailable, 10);
    ok(workers_sign(pool[0], "0text", 5, on_pool_signed, &load[0], &e));
    while (load[0].signed_ < 11)
        assert_true(sd_event_run(event, 20000000) > 0);
    workers_close(&pool[0]);
    sigprocmask(SIG_SETMASK, &before, NULL);
    sd_event_unref(event);
    config_free(&config);
    ca_free((struct ca **)(uintptr_t)&load[0].ca);
    ca_free((struct ca **)(uintptr_t)&load[1].ca);
}

static void on_refused(void *ctx, const uint8_t *sig, size_t len, const struct err *why)
{
    size_t *count = ctx;

    (void)sig, (void)len;
    assert_non_null(why);
    assert_int_equal(why->id, ERR_TOKEN_PIN);
    ++*count;
}

/* A PIN that was refused is given by no pool of the process again, whichever found it out. */
static void pools_share_a_refusal(void **state)
{
    struct ca *ca[2] = {load_ca(false), load_ca(true)};
    struct workers *pool[2];
    struct config *config;
    struct err e = {0};
    char path[PATH_MAX];
    sigset_t child, before;
    sd_event *event;
    size_t refused_count = 0, asked = 0;

    (void)state;
    write_file("etc/token.pin", "11111111\n");
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, &before);
    paths_get(&st.paths, PATH_CONFIG, path);
    ok(config_load(path, &config, &e));
    assert_true(sd_event_new(&event) >= 0);
    ok(workers_open(
            &(struct workers_options){event, SIGNERD_TOKEN, ca[0], config, 0, NULL}, &pool[0], &e));
    for (int n = 0; n < 3; n++) { /* opened and closed, as for each CRL */
        ok(workers_open(&(struct workers_options){event, SIGNERD_TOKEN, ca[1], config, 1, pool[0]},
                &pool[1], &e));
        for (size_t i = 0; i < 2; i++) {
            if (workers_sign(pool[i], "0text", 5, on_refused, &refused_count, &e) == 0)
                asked++;
            else
                assert_int_equal(e.id, ERR_TOKEN_PIN);
            err_clear(&e);
        }
        while (refused_count < asked)
            assert_true(sd_event_run(event, 20000000) > 0);
        workers_close(&pool[1]);
    }
    assert_true(asked >= 1);
    assert_int_equal(station_logins(&st), 1);
    workers_close(&pool[0]);
    sigprocmask(SIG_SETMASK, &before, NULL);
    sd_event_unref(event);
    config_free(&config);
    ca_free(&ca[0]);
    ca_free(&ca[1]);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define TOKENS_TEST(f) cmocka_unit_test_setup_teardown(f, setup, station_teardown)
            TOKENS_TEST(the_first_signs_alone),
            TOKENS_TEST(the_next_takes_over),
            TOKENS_TEST(work_is_shared),
            TOKENS_TEST(a_faulty_token_is_passed_over),
            TOKENS_TEST(a_wrong_pin_stops_one_only),
            TOKENS_TEST(all_away_is_told_and_ends),
            TOKENS_TEST(an_idle_token_is_looked_after),
            TOKENS_TEST(two_in_flight_are_not_lost),
            TOKENS_TEST(either_token_vouches_for_the_ledger),
            TOKENS_TEST(a_deleted_ledger_waits_for_the_token_that_is_away),
            TOKENS_TEST(the_token_that_knows_better_comes_back),
            cmocka_unit_test_setup_teardown(
                    pools_live_side_by_side, station_setup, station_teardown),
            cmocka_unit_test_setup_teardown(pools_share_a_refusal, station_setup, station_teardown),
    };

    return FLOW_RUN(argc, argv, tests);
}
