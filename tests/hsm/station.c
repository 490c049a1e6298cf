/* A signer for a flow test. */
#include "tests/hsm/station.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/file.h"
#include "base/text.h"
#include "base/uuid.h"
#include "hsm/approval/order.h"
#include "hsm/profile/profile.h"
#include "hsm/signer_client.h"

#define PASSPHRASE "correct horse"
#define JOB        "11111111-1111-4111-8111-111111111111"

extern char **environ;

struct station st;

int station_setup(void **state)
{
    (void)state;
    station_open(&st, NULL);
    return 0;
}

int station_teardown(void **state)
{
    (void)state;
    station_close(&st);
    return 0;
}

void flow_choose(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
}

int station_run(const char *const *argv)
{
    pid_t pid;
    int status;

    assert_int_equal(
            posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)(uintptr_t)argv, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void station_path(const struct station *s, const char *name, char ret[PATH_MAX])
{
    assert_true(snprintf(ret, PATH_MAX, "%s/%s", s->root, name) < PATH_MAX);
}

static void write_text(const struct station *s, const char *name, const char *text, mode_t mode)
{
    char path[PATH_MAX];
    struct err e = {0};

    station_path(s, name, path);
    ok(file_write(path, text, strlen(text), mode, &e));
}

void station_write(const struct station *s, const char *name, const char *text)
{
    write_text(s, name, text, 0600);
}

/* A token that a script has made: its lines in the section [token]; NULL: an embedded SoftHSM. */
static const char *token_lines(void)
{
    return getenv("KEYLINE_TEST_TOKEN");
}

static void hold_ceremony(struct station *s, const char *const *options)
{
    char passphrase[PATH_MAX];
    const char *argv[12] = {CEREMONY, "init", "--approver-passphrase-file", passphrase};
    size_t n = 4;

    station_path(s, "passphrase", passphrase);
    station_write(s, "passphrase", PASSPHRASE "\n");
    for (; options && *options; options++)
        argv[n++] = *options;
    assert_int_equal(station_run(argv), 0);
}

static void load_approver(struct station *s)
{
    char path[PATH_MAX];
    FILE *f;

    snprintf(path, sizeof path, "%s/etc/approver.key", s->root);
    f = fopen(path, "re");
    assert_non_null(f);
    s->approver = PEM_read_PrivateKey(f, NULL, NULL, (void *)(uintptr_t)PASSPHRASE);
    fclose(f);
    assert_non_null(s->approver);
    snprintf(path, sizeof path, "%s/etc/approver.pem", s->root);
    f = fopen(path, "re");
    s->approver_chain = sk_X509_new_null();
    sk_X509_push(s->approver_chain, PEM_read_X509(f, NULL, NULL, NULL));
    fclose(f);
}

void station_profile(struct ticket *t, const char *path)
{
    struct profile *p;
    struct err e = {0};

    ok(path ? profile_read(path, &p, NULL, &e) : profile_builtin(&p, &e));
    snprintf(t->profile, sizeof t->profile, "%s", p->name);
    memcpy(t->profile_sha256, p->sha256, sizeof t->profile_sha256);
    profile_free(&p);
}

static void approve(struct station *s)
{
    struct err e = {0};
    int64_t now = time_now_ms() / 1000;

    help_rows_make(&s->rows, STATION_ROWS);
    s->ticket = (struct ticket){.job = JOB,
            .account = "acc",
            .division = "div",
            .binding = "identity",
            .rows = STATION_ROWS,
            .root = s->rows.root,
            .quota = STATION_QUOTA,
            .not_before = now - 60,
            .not_after = now + 3600,
            .issued_at = now,
            .stations = {"line-1"},
            .station_count = 1,
            .approver = "test"};
    station_profile(&s->ticket, NULL);
    ok(ticket_sign(&s->ticket, s->approver, s->approver_chain, &s->jws, &e));
}

void station_config(struct station *s, const char *more)
{
    char text[2048];

    snprintf(text, sizeof text, "[station]\nname = line-1\n[token]\nmodule = %s\n%s\n%s",
            FAULTY_MODULE, token_lines() ? token_lines() : "", more);
    write_text(s, "etc/keyline.conf", text, 0640);
}

void station_fault(const struct station *s, const char *rule)
{
    char line[256];

    snprintf(line, sizeof line, "%s%s\n", strchr(rule, ' ') || !*rule ? "" : "C_Sign * ", rule);
    station_write(s, "fault", line);
}

size_t station_logins(const struct station *s)
{
    char path[PATH_MAX];
    struct stat file;

    snprintf(path, sizeof path, "%s/logins", s->root);
    return stat(path, &file) == 0 ? (size_t)file.st_size : 0;
}

static void make_etc(const struct station *s)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/etc", s->root);
    assert_int_equal(mkdir(path, 0755), 0);
}

void station_open(struct station *s, const char *const *ceremony_options)
{
    struct err e = {0};

    memset(s, 0, sizeof *s);
    help_mkdir(s->root);
    setenv("KEYLINE_ROOT", s->root, 1);
    setenv("KEYLINE_LOG", "error", 0);
    ok(paths_init(&s->paths, &e));
    if (token_lines()) {
        make_etc(s);
        station_config(s, "");
    } else
        unsetenv("SOFTHSM2_CONF");
    hold_ceremony(s, ceremony_options);
    load_approver(s);
    approve(s);
    station_config(s, "");
}

void station_close(struct station *s)
{
    if (s->signerd)
        station_stop(s, SIGTERM);
    free(s->jws);
    help_rows_done(&s->rows);
    EVP_PKEY_free(s->approver);
    sk_X509_pop_free(s->approver_chain, X509_free);
    help_rmdir(s->root);
}

/* A child of a signerd that was killed may hold its socket for a moment: who answers is the new one. */
static int connect_signer(struct station *s, struct err *e)
{
    struct buf json = BUF_INIT;
    int r = signer_open(&s->paths, NULL, &s->bus, e);

    if (r == 0 && (r = signer_status(s->bus, &json, e)) < 0)
        s->bus = sd_bus_close_unref(s->bus);
    buf_done(&json);
    return r;
}

void station_start(struct station *s)
{
    struct err e = {0};
    int tries = 0;

    s->signerd = fork();
    assert_true(s->signerd >= 0);
    if (!s->signerd) {
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); /* a failed test leaves nothing behind */
        execl(SIGNERD, "signerd", (char *)NULL);
        _exit(127);
    }
    while (connect_signer(s, &e) < 0) {
        assert_true(e.id == ERR_UNAVAILABLE && ++tries < 500);
        err_clear(&e);
        help_rest_ms(10);
    }
}

void station_stop(struct station *s, int signal)
{
    int status = 0;
    pid_t ended = waitpid(s->signerd, &status, WNOHANG);

    s->bus = sd_bus_close_unref(s->bus);
    if (ended)
        print_error("signerd ended by itself: wait status 0x%x\n", (unsigned)status);
    else
        kill(s->signerd, signal);
    assert_true(ended || waitpid(s->signerd, NULL, 0) == s->signerd);
    s->signerd = 0;
}

int station_request_make(
        struct station *s, struct station_request *r, EVP_PKEY *key, size_t i, struct err *e)
{
    const struct buf *row = &s->rows.rows[i];

    memset(r, 0, sizeof *r);
    if (signer_nonce(s->bus, s->ticket.job, i, r->nonce, e) < 0 ||
            buf_append(&r->row, row->data, row->len, e) < 0)
        return -1;
    help_csr(key, r->nonce, EVP_PKEY_is_a(key, "ED25519") ? NULL : "SHA256", &r->csr);
    help_rows_proof(&s->rows, i, &r->proof);
    r->q = (struct signer_issue){.ticket = s->jws,
            .row_index = i,
            .row = r->row.data,
            .row_len = r->row.len,
            .proof = r->proof.data,
            .proof_len = r->proof.len,
            .csr = r->csr.data,
            .csr_len = r->csr.len,
            .nonce = r->nonce};
    return 0;
}

void station_request_done(struct station_request *r)
{
    buf_done(&r->csr);
    buf_done(&r->proof);
    buf_done(&r->row);
}

int station_issue(struct station *s, size_t i, EVP_PKEY *key, struct buf *ret_cert, bool *ret_fresh,
        struct err *e)
{
    struct station_request q;
    int r = station_request_make(s, &q, key, i, e);

    if (r == 0)
        r = signer_issue(s->bus, &q.q, ret_cert, ret_fresh, e);
    station_request_done(&q);
    return r;
}

int station_issue_once(struct station *s, size_t i, EVP_PKEY *key, struct err *e)
{
    struct buf cert = BUF_INIT;
    bool fresh;
    int r = station_issue(s, i, key, &cert, &fresh, e);

    buf_done(&cert);
    return r;
}

int station_issue_new(struct station *s, size_t i, struct err *e)
{
    EVP_PKEY *key = help_key("P-256");
    int r = station_issue_once(s, i, key, e);

    EVP_PKEY_free(key);
    return r;
}

/* The last certificate of a PEM file, in a file of its own. */
static void split_root(const struct buf *chain, const char *path)
{
    static const char mark[] = "-----BEGIN CERTIFICATE-----";
    const char *text = (const char *)chain->data, *at, *last = NULL;
    struct err e = {0};

    for (at = strstr(text, mark); at; at = strstr(at + 1, mark))
        last = at;
    assert_non_null(last);
    ok(file_write(path, last, strlen(last), 0600, &e));
}

void station_verify(const struct station *s, const struct buf *cert, const char *chain)
{
    char leaf[PATH_MAX], whole[PATH_MAX], root[PATH_MAX], own[PATH_MAX];
    const uint8_t *at = cert->data;
    X509 *x = d2i_X509(NULL, &at, (long)cert->len);
    struct buf pem = BUF_INIT, above = BUF_INIT;
    struct err e = {0};
    FILE *f;

    assert_non_null(x);
    if (!chain) {
        paths_get(&s->paths, PATH_CA_CHAIN, own);
        chain = own;
    }
    snprintf(leaf, sizeof leaf, "%s/leaf.pem", s->root);
    snprintf(whole, sizeof whole, "%s/whole.pem", s->root);
    snprintf(root, sizeof root, "%s/anchor.pem", s->root);
    f = fopen(leaf, "we");
    PEM_write_X509(f, x);
    fclose(f);
    X509_free(x);
    ok(file_read(chain, 1u << 20, &above, &e));
    assert_non_null(buf_str(&above));
    split_root(&above, root);
    ok(file_read(leaf, 1u << 20, &pem, &e));
    ok(buf_append(&pem, above.data, above.len, &e));
    ok(file_write(whole, pem.data, pem.len, 0600, &e));
    buf_done(&pem);
    buf_done(&above);
    assert_int_equal(station_run((const char *[]){"openssl", "verify", "-x509_strict", "-purpose",
                             "sslclient", "-CAfile", root, "-untrusted", chain, leaf, NULL}),
            0);
    assert_int_equal(station_run((const char *[]){"certtool", "--verify", "--load-ca-certificate",
                             root, "--infile", whole, NULL}),
            0);
}

int station_order(const struct station *s, const struct order *o, json_t **ret, struct err *e)
{
    struct buf json = BUF_INIT;
    struct err sign = {0};
    char *jws;
    int r = order_sign(o, s->approver, s->approver_chain, &jws, &sign);

    help_ok(r, &sign, "order_sign", __FILE__, __LINE__);
    r = signer_order(s->bus, jws, &json, e);
    if (r == 0 && ret)
        assert_non_null(*ret = json_loads(buf_str(&json), 0, NULL));
    buf_done(&json);
    free(jws);
    return r;
}

void station_revocation(
        const struct station *s, size_t i, const struct buf *cert, struct order *ret)
{
    const uint8_t *at = cert->data;
    X509 *x = d2i_X509(NULL, &at, (long)cert->len);
    char name[32];

    assert_non_null(x);
    assert_int_equal(ASN1_STRING_length(X509_get0_serialNumber(x)), CERT_SERIAL_BYTES);
    *ret = (struct order){.kind = ORDER_REVOKE,
            .reason = ORDER_KEY_COMPROMISE,
            .issued_at = time_now_ms() / 1000,
            .approver = "test"};
    memcpy(ret->serial, ASN1_STRING_get0_data(X509_get0_serialNumber(x)), CERT_SERIAL_BYTES);
    X509_free(x);
    snprintf(name, sizeof name, "dev-%zu", i);
    uuid_device(s->ticket.account, s->ticket.division, "g", name, ret->device);
}

void station_crl_path(
        const struct station *s, const struct buf *cert, const char *ext, char ret[PATH_MAX])
{
    const uint8_t *at = cert->data;
    X509 *x = d2i_X509(NULL, &at, (long)cert->len);
    const ASN1_OCTET_STRING *id = x ? X509_get0_authority_key_id(x) : NULL;
    char name[2 * CERT_KEY_ID_BYTES + 1], dir[PATH_MAX];

    assert_non_null(id);
    hex_format(ASN1_STRING_get0_data(id), CERT_KEY_ID_BYTES, name);
    paths_get(&s->paths, PATH_CRLS, dir);
    assert_true(snprintf(ret, PATH_MAX, "%s/%s.crl%s", dir, name, ext) < PATH_MAX);
    X509_free(x);
}

json_t *station_status(struct station *s)
{
    struct buf json = BUF_INIT;
    struct err e = {0};
    json_t *o;

    ok(signer_status(s->bus, &json, &e));
    o = json_loads(buf_str(&json), 0, NULL);
    assert_non_null(o);
    buf_done(&json);
    return o;
}

pid_t station_worker(struct station *s, size_t i)
{
    json_t *o = station_status(s), *w = json_array_get(json_object_get(o, "workers"), i);
    pid_t pid = (pid_t)json_integer_value(json_object_get(w, "pid"));

    assert_true(pid > 1);
    json_decref(o);
    return pid;
}

void station_wait_vouched(struct station *s)
{
    for (int i = 0; i < 2000; i++) {
        json_t *o = station_status(s);
        bool vouched = json_integer_value(
                               json_object_get(json_object_get(o, "ledger"), "signed_bytes")) > 0;

        json_decref(o);
        if (vouched)
            return;
        help_rest_ms(10);
    }
    fail_msg("ledger and token did not agree");
}

void station_wait_marked(struct station *s)
{
    for (int i = 0; i < 2000; i++) {
        json_t *o = station_status(s), *l = json_object_get(o, "ledger");
        bool marked = json_integer_value(json_object_get(l, "marked_bytes")) ==
                      json_integer_value(json_object_get(l, "bytes"));

        json_decref(o);
        if (marked)
            return;
        help_rest_ms(10);
    }
    fail_msg("the ledger's mark was not written");
}

void station_wait_ready(struct station *s, size_t workers)
{
    for (int i = 0; i < 2000; i++) {
        json_t *o = station_status(s), *w;
        size_t n, ready = 0;

        json_array_foreach(json_object_get(o, "workers"), n, w) ready +=
                strcmp(json_string_value(json_object_get(w, "state")), "ready") == 0;
        json_decref(o);
        if (ready == workers)
            return;
        help_rest_ms(10);
    }
    fail_msg("the workers did not get ready");
}
