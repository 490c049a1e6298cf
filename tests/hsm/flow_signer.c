/* The real ceremony, signerd and workers with a real SoftHSM, used as jobd uses them and as a
 * hostile jobd would. */
#include <fcntl.h>
#include <openssl/pem.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/file.h"
#include "base/text.h"
#include "hsm/module.h"
#include "hsm/signer_client.h"
#include "tests/hsm/station.h"

static struct station st;

static int setup(void **state)
{
    (void)state;
    station_open(&st, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    station_close(&st);
    return 0;
}

static void rest_ms(unsigned ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

static int issue_once(size_t i, EVP_PKEY *key, struct err *e)
{
    struct buf cert = BUF_INIT;
    bool fresh;
    int r = station_issue(&st, i, key, &cert, &fresh, e);

    buf_done(&cert);
    return r;
}

static void verify_outside(const struct buf *cert)
{
    char chain[PATH_MAX];

    paths_get(&st.paths, PATH_CA_CHAIN, chain);
    station_verify(&st, cert, chain);
}

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
        verify_outside(&cert);
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
        verify_outside(&cert);
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
    refused(issue_once(0, key, &e), KEY_WEAK);
    ok(issue_once(1, other, &e));
    snprintf(text, sizeof text, "%s0\n", hex); /* one digit too many */
    block(text);
    assert_int_equal(issue_once(0, key, &e), -1);
    assert_int_equal(e.id, ERR_CONFIG);
    assert_non_null(strstr(e.msg, "line 1"));
    err_clear(&e);
    block("# none\n");
    ok(issue_once(0, key, &e));
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
    refused(issue_once(0, other, &e), KEY_CHANGED);
    refused(issue_once(1, key, &e), KEY_REUSED);
    /* and the same after kill -9 */
    station_stop(&st, SIGKILL);
    station_start(&st);
    buf_reset(&again);
    ok(station_issue(&st, 0, key, &again, &fresh, &e));
    assert_false(fresh);
    assert_memory_equal(first.data, again.data, first.len);
    refused(issue_once(0, other, &e), KEY_CHANGED);
    refused(issue_once(1, key, &e), KEY_REUSED);
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
        ok(issue_once(i, keys[i], &e));
    refused(issue_once(STATION_QUOTA, keys[STATION_QUOTA], &e), QUOTA);
    ok(issue_once(3, keys[3], &e)); /* a repetition is not counted */
    station_stop(&st, SIGTERM);
    station_start(&st);
    refused(issue_once(STATION_QUOTA, keys[STATION_QUOTA], &e), QUOTA);
    for (size_t i = 0; i <= STATION_QUOTA; i++)
        EVP_PKEY_free(keys[i]);
}

/* ---- a hostile jobd */

struct attack {
    uint8_t nonce[NONCE_BYTES];
    struct buf csr, proof, row;
    struct signer_issue q;
};

static void attack_make(struct attack *a, EVP_PKEY *key, size_t i)
{
    struct err e = {0};

    memset(a, 0, sizeof *a);
    ok(signer_nonce(st.bus, st.ticket.job, i, a->nonce, &e));
    help_csr(key, a->nonce, "SHA256", &a->csr);
    help_rows_proof(&st.rows, i, &a->proof);
    ok(buf_append(&a->row, st.rows.rows[i].data, st.rows.rows[i].len, &e));
    a->q = (struct signer_issue){st.jws, i, a->row.data, a->proof.data, a->csr.data, a->nonce,
            a->row.len, a->proof.len, a->csr.len};
}

static void attack_done(struct attack *a)
{
    buf_done(&a->csr);
    buf_done(&a->proof);
    buf_done(&a->row);
}

static int try_it(const struct attack *a, struct err *e)
{
    struct buf cert = BUF_INIT;
    bool fresh;
    int r = signer_issue(st.bus, &a->q, &cert, &fresh, e);

    buf_done(&cert);
    return r;
}

static char *sign_ticket(const struct ticket *t)
{
    struct err e = {0};
    char *jws;

    ok(ticket_sign(t, st.approver, st.approver_chain, &jws, &e));
    return jws;
}

static void every_field_forged(void **state)
{
    EVP_PKEY *key = help_key("P-256"), *mallory = help_key("P-256");
    X509 *mallory_cert = help_cert(mallory, "approver");
    STACK_OF(X509) *mallory_chain = sk_X509_new_null();
    struct err e = {0};
    struct attack a;
    struct ticket t;
    struct help_rows own;
    char *jws;

    (void)state;
    station_start(&st);
    attack_make(&a, key, 5);
    for (size_t i = 0; i < a.row.len; i += 3) {
        a.row.data[i] ^= 1;
        refused(try_it(&a, &e), PROOF);
        a.row.data[i] ^= 1;
    }
    for (size_t i = 0; i < a.proof.len; i += 5) {
        a.proof.data[i] ^= 1;
        refused(try_it(&a, &e), PROOF);
        a.proof.data[i] ^= 1;
    }
    for (size_t i = 0; i < NONCE_BYTES; i++) {
        a.nonce[i] ^= 1;
        refused(try_it(&a, &e), NONCE);
        a.nonce[i] ^= 1;
    }
    a.q.row_index = 6;
    refused(try_it(&a, &e), PROOF);
    a.q.row_index = UINT64_MAX;
    refused(try_it(&a, &e), PROOF);
    a.q.row_index = 5;
    a.q.proof_len -= 1;
    refused(try_it(&a, &e), PROOF);
    a.q.proof_len = 0;
    refused(try_it(&a, &e), PROOF);
    a.q.proof_len = a.proof.len;
    a.q.csr_len -= 1;
    refused(try_it(&a, &e), CSR);
    a.q.csr_len = 0;
    refused(try_it(&a, &e), CSR);
    a.q.csr_len = a.csr.len;
    a.csr.data[a.csr.len - 1] ^= 1;
    refused(try_it(&a, &e), POSSESSION);
    a.csr.data[a.csr.len - 1] ^= 1;
    /* a nonce of another row, honestly got */
    ok(signer_nonce(st.bus, st.ticket.job, 6, a.nonce, &e));
    refused(try_it(&a, &e), NONCE);
    attack_done(&a);
    /* a right nonce, but the request answers another */
    attack_make(&a, key, 5);
    rest_ms(5);
    ok(signer_nonce(st.bus, st.ticket.job, 5, a.nonce, &e));
    refused(try_it(&a, &e), POSSESSION);
    attack_done(&a);

    /* tickets */
    attack_make(&a, key, 5);
    a.q.ticket = "";
    refused(try_it(&a, &e), TICKET);
    a.q.ticket = "a.b.c";
    refused(try_it(&a, &e), TICKET);
    sk_X509_push(mallory_chain, mallory_cert);
    ok(ticket_sign(&st.ticket, mallory, mallory_chain, &jws, &e));
    a.q.ticket = jws;
    refused(try_it(&a, &e), TICKET_UNTRUSTED);
    free(jws);
    t = st.ticket;
    t.not_before = 1000, t.not_after = 2000;
    a.q.ticket = jws = sign_ticket(&t);
    refused(try_it(&a, &e), TICKET_EXPIRED);
    free(jws);
    t = st.ticket;
    strcpy(t.stations[0], "line-2");
    a.q.ticket = jws = sign_ticket(&t);
    refused(try_it(&a, &e), TICKET_STATION);
    free(jws);
    t = st.ticket;
    strcpy(t.profile, "anything");
    a.q.ticket = jws = sign_ticket(&t);
    refused(try_it(&a, &e), PROFILE);
    free(jws);
    t = st.ticket;
    t.profile_sha256[0] = t.profile_sha256[0] == '0' ? '1' : '0'; /* approved for other words */
    a.q.ticket = jws = sign_ticket(&t);
    refused(try_it(&a, &e), PROFILE);
    free(jws);
    t = st.ticket;
    strcpy(t.job, "21111111-1111-4111-8111-111111111111");
    a.q.ticket = jws = sign_ticket(&t);
    refused(try_it(&a, &e), NONCE); /* the nonce was for the first job */
    free(jws);
    /* jobd's own manifest under the approver's ticket */
    help_rows_make(&own, 8);
    a.q.ticket = st.jws;
    buf_reset(&a.proof);
    help_rows_proof(&own, 5, &a.proof);
    a.q.proof = a.proof.data, a.q.proof_len = a.proof.len;
    refused(try_it(&a, &e), PROOF);
    help_rows_done(&own);
    attack_done(&a);

    /* after all that, the honest request still works, and nothing was issued before it */
    json_t *o = station_status(&st);
    assert_int_equal(json_integer_value(json_object_get(o, "issued")), 0);
    assert_true(json_integer_value(json_object_get(o, "refused")) > 20);
    json_decref(o);
    ok(issue_once(5, key, &e));
    sk_X509_free(mallory_chain);
    X509_free(mallory_cert);
    EVP_PKEY_free(mallory);
    EVP_PKEY_free(key);
}

/* An approver that is taken out of the anchors counts no longer, without a restart and though its
 * ticket was known. */
static void anchors_can_be_withdrawn(void **state)
{
    EVP_PKEY *key = help_key("P-256");
    struct err e = {0};
    char path[PATH_MAX];

    (void)state;
    station_start(&st);
    ok(issue_once(0, key, &e));
    paths_get(&st.paths, PATH_APPROVERS, path);
    ok(file_write(path, "", 0, 0644, &e));
    refused(issue_once(0, key, &e), TICKET_UNTRUSTED);
    EVP_PKEY_free(key);
}

/* ---- load, with processes killed in it */

struct load {
    sd_event *event;
    sd_bus *bus;
    size_t done, failed, answered;
    struct buf certs[STATION_QUOTA];
};
struct load_request {
    struct load *load;
    size_t row;
};

static void on_certificate(
        void *ctx, const uint8_t *bytes, size_t len, unsigned marks, const struct err *why)
{
    struct load_request *q = ctx;

    (void)marks;
    q->load->answered++;
    if (why) {
        print_message("row %zu: %s: %s\n", q->row, err_name(why->id), why->msg);
        q->load->failed++;
    } else {
        buf_append(&q->load->certs[q->row], bytes, len, NULL);
        q->load->done++;
    }
}

static pid_t worker_pid(size_t i)
{
    json_t *o = station_status(&st);
    pid_t pid = (pid_t)json_integer_value(
            json_object_get(json_array_get(json_object_get(o, "workers"), i), "pid"));

    json_decref(o);
    return pid;
}

static void wait_ready(size_t workers)
{
    station_wait_ready(&st, workers);
}

static void killed_workers_lose_nothing(void **state)
{
    struct load l = {0};
    struct load_request q[STATION_QUOTA];
    EVP_PKEY *keys[STATION_QUOTA];
    struct attack a[STATION_QUOTA];
    struct err e = {0};

    (void)state;
    station_start(&st);
    wait_ready(2);
    sd_event_new(&l.event);
    ok(signer_open(&st.paths, l.event, &l.bus, &e));
    for (size_t i = 0; i < STATION_QUOTA; i++) {
        keys[i] = help_key("P-256");
        attack_make(&a[i], keys[i], i);
    }
    for (size_t i = 0; i < STATION_QUOTA; i++) {
        q[i] = (struct load_request){&l, i};
        ok(signer_issue_async(l.bus, &a[i].q, on_certificate, &q[i], &e));
    }
    sd_bus_flush(l.bus);
    for (size_t next = 1; l.answered < STATION_QUOTA;) {
        if (l.answered >=
                next) { /* again and again, each of them; once in a while, so that they get ready between */
            pid_t pid = worker_pid(l.answered / 8 % 2);

            next = l.answered + 8;
            if (pid > 0)
                kill(pid, SIGKILL);
        }
        assert_true(sd_event_run(l.event, 20000000) > 0);
    }
    assert_int_equal(l.failed, 0);
    /* the same again gives the same */
    for (size_t i = 0; i < STATION_QUOTA; i++) {
        struct buf cert = BUF_INIT;
        bool fresh;

        ok(station_issue(&st, i, keys[i], &cert, &fresh, &e));
        assert_false(fresh);
        assert_int_equal(cert.len, l.certs[i].len);
        assert_memory_equal(cert.data, l.certs[i].data, cert.len);
        buf_done(&cert);
        buf_done(&l.certs[i]);
        attack_done(&a[i]);
        EVP_PKEY_free(keys[i]);
    }
    sd_bus_close_unref(l.bus);
    sd_event_unref(l.event);
}

/* kill -9 of signerd while requests are under way: what was answered stays, what was not can be
 * asked for again. */
static void killed_signer_keeps_its_word(void **state)
{
    struct load l = {0};
    struct load_request q[STATION_QUOTA];
    EVP_PKEY *keys[STATION_QUOTA];
    struct attack a[STATION_QUOTA];
    struct err e = {0};

    (void)state;
    station_start(&st);
    wait_ready(2);
    sd_event_new(&l.event);
    ok(signer_open(&st.paths, l.event, &l.bus, &e));
    for (size_t i = 0; i < STATION_QUOTA; i++) {
        keys[i] = help_key("P-256");
        attack_make(&a[i], keys[i], i);
        q[i] = (struct load_request){&l, i};
        ok(signer_issue_async(l.bus, &a[i].q, on_certificate, &q[i], &e));
    }
    while (l.done < 5)
        assert_true(sd_event_run(l.event, 20000000) > 0);
    station_stop(&st, SIGKILL);
    while (l.answered < STATION_QUOTA)
        assert_true(sd_event_run(l.event, 20000000) > 0);
    station_start(&st);
    for (size_t i = 0; i < STATION_QUOTA; i++) {
        struct buf cert = BUF_INIT;
        bool fresh;

        ok(station_issue(&st, i, keys[i], &cert, &fresh, &e));
        if (l.certs[i].len) {
            assert_false(fresh);
            assert_memory_equal(cert.data, l.certs[i].data, cert.len);
        }
        buf_done(&cert);
        buf_done(&l.certs[i]);
        attack_done(&a[i]);
        EVP_PKEY_free(keys[i]);
    }
    sd_bus_close_unref(l.bus);
    sd_event_unref(l.event);
}

/* The same device asked for twice at once: one certificate. */
static void same_device_at_once(void **state)
{
    struct load l = {0};
    struct load_request q[4] = {{&l, 0}, {&l, 1}, {&l, 2}, {&l, 3}};
    EVP_PKEY *key = help_key("P-256"), *other = help_key("P-256");
    struct attack a, b;
    struct err e = {0};

    (void)state;
    station_start(&st);
    sd_event_new(&l.event);
    ok(signer_open(&st.paths, l.event, &l.bus, &e));
    attack_make(&a, key, 0);
    attack_make(&b, other, 0);
    for (size_t i = 0; i < 3; i++)
        ok(signer_issue_async(l.bus, &a.q, on_certificate, &q[i], &e));
    ok(signer_issue_async(l.bus, &b.q, on_certificate, &q[3], &e));
    while (l.answered < 4)
        assert_true(sd_event_run(l.event, 20000000) > 0);
    assert_int_equal(l.done, 3);
    assert_int_equal(l.certs[3].len, 0);
    assert_memory_equal(l.certs[0].data, l.certs[1].data, l.certs[0].len);
    assert_memory_equal(l.certs[0].data, l.certs[2].data, l.certs[0].len);
    for (size_t i = 0; i < 4; i++)
        buf_done(&l.certs[i]);
    attack_done(&a);
    attack_done(&b);
    sd_bus_close_unref(l.bus);
    sd_event_unref(l.event);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

/* ---- the token */

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
        refused(issue_once(0, key, &e), TOKEN_PIN);
        rest_ms(200);
    }
    assert_int_equal(station_logins(&st), 1);
    station_stop(&st, SIGTERM);
    set_pin(buf_str(&pin));
    station_start(&st);
    ok(issue_once(0, key, &e));
    wait_ready(2);
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
    refused(issue_once(0, key, &e), TOKEN_ABSENT);
    /* it comes back by itself */
    rmdir(tokens);
    assert_int_equal(rename(away, tokens), 0);
    while (issue_once(0, key, &e) < 0) {
        assert_true(e.id == ERR_TOKEN_ABSENT && ++tries < 200);
        err_clear(&e);
        rest_ms(50);
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
    ok(issue_once(0, key, &e));
    station_stop(&st, SIGTERM);
    /* and without the copy it says so */
    assert_int_equal(station_run((const char *[]){"sh", "-c", command, NULL}), 0);
    snprintf(command, sizeof command, "rm -r %s.backup", tokens);
    assert_int_equal(station_run((const char *[]){"sh", "-c", command, NULL}), 0);
    station_start(&st);
    refused(issue_once(1, other, &e), TOKEN_ABSENT);
    ok(issue_once(0, key, &e)); /* what was issued needs no token */
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
        verify_outside(&cert);
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
    wait_ready(2);
    for (size_t i = 0; i < 3; i++) {
        station_fault(&st, rows[i].fault);
        help_refused(issue_once(i, key, &e), rows[i].wanted, &e, rows[i].fault, __FILE__, __LINE__);
        /* and it comes back by itself */
        station_fault(&st, "");
        wait_ready(2);
    }
    ok(issue_once(0, key, &e));
    EVP_PKEY_free(key);
}

/* A worker that hangs is given up after its deadline, and its request goes to the next, which by
 * then works again. */
static void hanging_module(void **state)
{
    struct load l = {0};
    struct load_request q = {&l, 0};
    EVP_PKEY *key = help_key("P-256");
    struct attack a;
    struct err e = {0};

    (void)state;
    station_config(&st, "workers = 1\n");
    station_start(&st);
    wait_ready(1);
    sd_event_new(&l.event);
    ok(signer_open(&st.paths, l.event, &l.bus, &e));
    attack_make(&a, key, 0);
    station_fault(&st, "hang");
    ok(signer_issue_async(l.bus, &a.q, on_certificate, &q, &e));
    sd_bus_flush(l.bus);
    rest_ms(500);
    station_fault(&st, "");
    while (l.answered < 1)
        assert_true(sd_event_run(l.event, 20000000) > 0);
    assert_int_equal(l.failed, 0);
    buf_done(&l.certs[0]);
    attack_done(&a);
    sd_bus_close_unref(l.bus);
    sd_event_unref(l.event);
    EVP_PKEY_free(key);
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
    wait_ready(2);
    in_shell("cat /dev/zero >signer/filler 2>/dev/null");
    /* the first one may still fit into the ledger's last page */
    int r = 0;
    for (size_t i = 0; i < 8 && r == 0; i++) {
        EVP_PKEY_free(key);
        key = help_key("P-256");
        r = issue_once(i, key, &e);
    }
    refused(r, DISK_FULL);
    refused(issue_once(9, key, &e), DISK_FULL);
    assert_int_equal(in_shell("rm signer/filler"), 0);
    ok(issue_once(9, key, &e)); /* and the line goes on by itself */
    station_stop(&st, SIGTERM);
    station_start(&st);
    ok(issue_once(9, key, &e));
    station_stop(&st, SIGTERM);
    assert_int_equal(in_shell("umount signer"), 0);
    EVP_PKEY_free(key);
}

static int teardown_disk(void **state)
{
    in_shell("umount -l signer 2>/dev/null");
    return teardown(state);
}

/* ---- the ceremony */

static void ceremony_is_held_once(void **state)
{
    char passphrase[PATH_MAX], mark[PATH_MAX], conf[PATH_MAX];
    const char *const again[] = {CEREMONY, "init", "--approver-passphrase-file", passphrase, NULL};
    EVP_PKEY *key = help_key("P-256");
    struct buf before = BUF_INIT, after = BUF_INIT;
    struct err e = {0};
    char chain[PATH_MAX];

    (void)state;
    snprintf(passphrase, sizeof passphrase, "%s/passphrase", st.root);
    snprintf(mark, sizeof mark, "%s/etc/ceremony.unfinished", st.root);
    snprintf(chain, sizeof chain, "%s/etc/ca/chain.pem", st.root);
    paths_get(&st.paths, PATH_CONFIG, conf);
    unlink(conf);
    ok(file_read(chain, 1u << 20, &before, &e));
    assert_int_equal(station_run(again), 1);
    ok(file_read(chain, 1u << 20, &after, &e));
    assert_int_equal(after.len, before.len);
    assert_memory_equal(after.data, before.data, before.len);
    /* one that was interrupted at its very end is begun anew, and serves; the old approver counts
     * no longer */
    ok(file_write(mark, "station\n", 8, 0600, &e));
    assert_int_equal(station_run(again), 0);
    assert_int_equal(access(mark, F_OK), -1);
    station_config(&st, "");
    station_start(&st);
    refused(issue_once(0, key, &e), TICKET_UNTRUSTED);
    buf_done(&before);
    buf_done(&after);
    EVP_PKEY_free(key);
}

static void ceremony_refuses_weak_passphrases(void **state)
{
    struct err e = {0};
    char passphrase[PATH_MAX], root[PATH_MAX + 8];

    (void)state;
    snprintf(passphrase, sizeof passphrase, "%s/short", st.root);
    snprintf(root, sizeof root, "%s/second", st.root);
    ok(file_write(passphrase, "short\n", 6, 0600, &e));
    mkdir(root, 0700);
    setenv("KEYLINE_ROOT", root, 1);
    assert_int_equal(station_run((const char *[]){
                             CEREMONY, "init", "--approver-passphrase-file", passphrase, NULL}),
            1);
    snprintf(passphrase, sizeof passphrase, "%s/passphrase", st.root);
    chmod(passphrase, 0644); /* others can read it */
    assert_int_equal(station_run((const char *[]){
                             CEREMONY, "init", "--approver-passphrase-file", passphrase, NULL}),
            1);
    assert_int_equal(station_run((const char *[]){CEREMONY, "init", "--key-type", "dsa", NULL}), 2);
    setenv("KEYLINE_ROOT", st.root, 1);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define FLOW_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
            FLOW_TEST(every_key_type),
            cmocka_unit_test(other_ca_keys),
            FLOW_TEST(blocked_keys),
            FLOW_TEST(one_certificate_per_device),
            FLOW_TEST(quota_holds),
            FLOW_TEST(every_field_forged),
            FLOW_TEST(anchors_can_be_withdrawn),
            FLOW_TEST(killed_workers_lose_nothing),
            FLOW_TEST(killed_signer_keeps_its_word),
            FLOW_TEST(same_device_at_once),
            FLOW_TEST(wrong_pin_is_tried_once),
            FLOW_TEST(missing_token),
            FLOW_TEST(emptied_token_comes_back),
            FLOW_TEST(key_is_found_whatever_is_configured),
            FLOW_TEST(faulty_module),
            FLOW_TEST(hanging_module),
            cmocka_unit_test_setup_teardown(full_disk, setup, teardown_disk),
            FLOW_TEST(ceremony_is_held_once),
            FLOW_TEST(ceremony_refuses_weak_passphrases),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
