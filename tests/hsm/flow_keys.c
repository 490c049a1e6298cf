/* Keys that the signer makes for devices: the real signerd, its key processes and a SoftHSM; used as
 * jobd does, and as a hostile jobd would. */
#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/x509.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/jwe.h"
#include "base/row.h"
#include "base/secret.h"
#include "base/text.h"
#include "base/uuid.h"
#include "hsm/born/born_key.h"
#include "hsm/born/key_maker.h"
#include "hsm/ledger/ledger.h"
#include "hsm/signer_client.h"
#include "tests/hsm/station.h"

static EVP_PKEY *transport;
static uint8_t transport_spki[JWE_SPKI_BYTES];

static void approve(enum ticket_keys keys, uint64_t quota)
{
    struct err e = {0};

    st.ticket.keys = keys;
    st.ticket.quota = quota;
    free(st.jws);
    ok(ticket_sign(&st.ticket, st.approver, st.approver_chain, &st.jws, &e));
}

static int setup(void **state)
{
    struct err e = {0};

    (void)state;
    station_open(&st, NULL);
    station_config(&st, "[signer]\nborn_keys = yes\n");
    approve(TICKET_KEYS_SIGNER, STATION_QUOTA);
    ok(secret_open(&e));
    ok(jwe_key_new(&transport, transport_spki, &e));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    EVP_PKEY_free(transport);
    station_close(&st);
    return 0;
}

/* ---- asking */

struct order {
    uint8_t nonce[NONCE_BYTES];
    struct buf proof, row;
    struct signer_make_key k;
};

static void order_make(struct order *o, size_t i)
{
    struct err e = {0};

    memset(o, 0, sizeof *o);
    ok(signer_nonce(st.bus, st.ticket.job, i, o->nonce, &e));
    help_rows_proof(&st.rows, i, &o->proof);
    ok(buf_append(&o->row, st.rows.rows[i].data, st.rows.rows[i].len, &e));
    o->k = (struct signer_make_key){.q = {.ticket = st.jws,
                                            .row_index = i,
                                            .row = o->row.data,
                                            .row_len = o->row.len,
                                            .proof = o->proof.data,
                                            .proof_len = o->proof.len,
                                            .nonce = o->nonce},
            .key_type = "P-256",
            .transport_key = transport_spki,
            .transport_key_len = sizeof transport_spki};
}

static void order_done(struct order *o)
{
    buf_done(&o->proof);
    buf_done(&o->row);
}

static EVP_PKEY *open_jwe(const struct buf *jwe)
{
    struct secret private;
    struct err e = {0};
    const uint8_t *at;
    EVP_PKEY *key = NULL;

    ok(jwe_open(transport, JWE_TYPE_KEY, jwe->data, jwe->len, &private, &e));
    at = private.bytes;
    key = d2i_AutoPrivateKey(NULL, &at, (long)private.len);
    assert_non_null(key);
    assert_ptr_equal(at, private.bytes + private.len);
    secret_done(&private);
    return key;
}

/* ret_key may be NULL. */
static int order(const struct order *o, EVP_PKEY **ret_key, struct err *e)
{
    struct buf jwe = BUF_INIT;
    int r = signer_make_key(st.bus, &o->k, &jwe, e);

    if (r == 0 && ret_key)
        *ret_key = open_jwe(&jwe);
    buf_done(&jwe);
    return r;
}

static int make_key(size_t i, const char *type, EVP_PKEY **ret_key, struct err *e)
{
    struct order o;
    int r;

    order_make(&o, i);
    o.k.key_type = type;
    r = order(&o, ret_key, e);
    order_done(&o);
    return r;
}

static int certify(size_t i, EVP_PKEY *key, struct err *e)
{
    struct buf cert = BUF_INIT;
    bool fresh;
    int r = station_issue(&st, i, key, &cert, &fresh, e);

    buf_done(&cert);
    return r;
}

/* The newest entry of row i's device, from the ledger that the signer left. */
static void ledger_entry_of(size_t i, struct ledger_entry *ret)
{
    char path[PATH_MAX], id[UUID_TEXT_MAX], name[32], digits[33];
    uint8_t device[LEDGER_ID_BYTES];
    struct ledger *l;
    struct err e = {0};
    size_t n = 0;

    snprintf(name, sizeof name, "dev-%zu", i);
    uuid_device("acc", "div", "g", name, id);
    for (const char *c = id; *c; c++)
        if (*c != '-')
            digits[n++] = *c;
    assert_int_equal(hex_parse(digits, n, device, sizeof device), 0);
    paths_get(&st.paths, PATH_LEDGER, path);
    ok(ledger_open(path, &l, &e));
    assert_int_equal(ledger_find_device(l, device, ret, NULL, &e), LEDGER_PRESENT);
    ledger_close(&l);
}

static unsigned marks_seen;

static void on_marks(
        void *ctx, const uint8_t *bytes, size_t len, unsigned marks, const struct err *e)
{
    (void)ctx, (void)bytes, (void)len;
    assert_null(e);
    marks_seen = marks;
}

/* What the signer says of the certificate it gives for this key. */
static unsigned marks_of(size_t i, EVP_PKEY *key)
{
    uint8_t nonce[NONCE_BYTES];
    struct buf csr = BUF_INIT, proof = BUF_INIT;
    struct err e = {0};

    ok(signer_nonce(st.bus, st.ticket.job, i, nonce, &e));
    help_csr(key, nonce, "SHA256", &csr);
    help_rows_proof(&st.rows, i, &proof);
    marks_seen = 0x80;
    ok(signer_issue_async(st.bus,
            &(struct signer_issue){st.jws, i, st.rows.rows[i].data, proof.data, csr.data, nonce,
                    st.rows.rows[i].len, proof.len, csr.len},
            on_marks, NULL, &e));
    while (marks_seen == 0x80) {
        assert_true(sd_bus_wait(st.bus, 5000000) > 0);
        while (sd_bus_process(st.bus, NULL) > 0)
            ;
    }
    buf_done(&csr);
    buf_done(&proof);
    return marks_seen;
}

/* ---- what is allowed */

static void start(void)
{
    station_start(&st);
    station_wait_vouched(&st);
}

static void made_certified_and_flagged(void **state)
{
    static const char *const types[] = {"P-256", "P-384", "RSA-2048", "RSA-3072"};
    EVP_PKEY *keys[4] = {0}, *own = help_key("P-256");
    struct ledger_entry entry;
    struct err e = {0};

    (void)state;
    start();
    for (size_t i = 0; i < 4; i++) {
        ok(make_key(i, types[i], &keys[i], &e));
        assert_int_equal(marks_of(i, keys[i]), SIGNER_FRESH | SIGNER_KEY_MADE);
        assert_int_equal(marks_of(i, keys[i]), SIGNER_KEY_MADE); /* again: the same, no new one */
    }
    /* a device that can make its key is certified under the same ticket, and not flagged */
    assert_int_equal(marks_of(4, own), SIGNER_FRESH);
    assert_int_equal(marks_of(4, own), 0);
    station_stop(&st, SIGTERM);
    for (size_t i = 0; i < 5; i++) {
        ledger_entry_of(i, &entry);
        assert_int_equal(entry.type, LEDGER_ISSUED);
        assert_int_equal(entry.flags, i < 4 ? LEDGER_KEY_FROM_SIGNER : 0);
    }
    for (size_t i = 0; i < 4; i++)
        EVP_PKEY_free(keys[i]);
    EVP_PKEY_free(own);
}

/* Nothing is lost with an answer: there was no certificate yet, and whoever asks again gets another
 * key. Nor with the signer: the flag outlives it. */
static void lost_answers_cost_nothing(void **state)
{
    EVP_PKEY *lost = NULL, *key = NULL;
    struct err e = {0};

    (void)state;
    start();
    ok(make_key(0, "P-256", &lost, &e));
    ok(make_key(0, "P-256", &key, &e));
    assert_int_equal(EVP_PKEY_eq(lost, key), 0);
    station_stop(&st, SIGKILL);
    start();
    assert_int_equal(marks_of(0, key), SIGNER_FRESH | SIGNER_KEY_MADE);
    refused(make_key(0, "P-256", NULL, &e), KEY_CHANGED);
    refused(certify(0, lost, &e), KEY_CHANGED);
    EVP_PKEY_free(lost);
    EVP_PKEY_free(key);
}

static void both_must_allow_it(void **state)
{
    struct err e = {0};

    (void)state;
    start();
    approve(TICKET_KEYS_DEVICE, STATION_QUOTA);
    refused(make_key(0, "P-256", NULL, &e), KEY_ORIGIN);
    station_stop(&st, SIGTERM);
    approve(TICKET_KEYS_SIGNER, STATION_QUOTA);
    station_config(&st, ""); /* the default */
    start();
    refused(make_key(0, "P-256", NULL, &e), KEY_ORIGIN);
    station_stop(&st, SIGTERM);
    station_config(&st, "[signer]\nborn_keys = no\n");
    start();
    refused(make_key(0, "P-256", NULL, &e), KEY_ORIGIN);
}

/* ---- a hostile jobd */

static void the_flag_cannot_be_shed(void **state)
{
    EVP_PKEY *key = NULL;
    struct err e = {0};

    (void)state;
    start();
    ok(make_key(0, "P-256", &key, &e));
    /* another ticket, which does not allow it; another job; another device */
    approve(TICKET_KEYS_DEVICE, STATION_QUOTA);
    refused(certify(0, key, &e), KEY_ORIGIN);
    memcpy(st.ticket.job, "22222222", 8);
    approve(TICKET_KEYS_DEVICE, STATION_QUOTA);
    refused(certify(0, key, &e), KEY_ORIGIN);
    approve(TICKET_KEYS_SIGNER, STATION_QUOTA);
    refused(certify(1, key, &e), KEY_REUSED);
    assert_int_equal(marks_of(0, key), SIGNER_FRESH | SIGNER_KEY_MADE);
    EVP_PKEY_free(key);
}

static void every_field_forged(void **state)
{
    struct order o;
    struct err e = {0};

    (void)state;
    start();
    order_make(&o, 5);
    for (size_t i = 0; i < o.row.len; i += 3) {
        o.row.data[i] ^= 1;
        refused(order(&o, NULL, &e), PROOF);
        o.row.data[i] ^= 1;
    }
    for (size_t i = 0; i < o.proof.len; i += 5) {
        o.proof.data[i] ^= 1;
        refused(order(&o, NULL, &e), PROOF);
        o.proof.data[i] ^= 1;
    }
    for (size_t i = 0; i < NONCE_BYTES; i++) {
        o.nonce[i] ^= 1;
        refused(order(&o, NULL, &e), NONCE);
        o.nonce[i] ^= 1;
    }
    o.k.q.row_index = 6;
    refused(order(&o, NULL, &e), PROOF);
    o.k.q.row_index = 5;
    o.k.key_type = "P-521";
    refused(order(&o, NULL, &e), KEY_TYPE);
    o.k.key_type = "";
    refused(order(&o, NULL, &e), KEY_TYPE);
    o.k.key_type = "P-256";
    transport_spki[50] ^= 1; /* off the curve */
    refused(order(&o, NULL, &e), KEY_TYPE);
    transport_spki[50] ^= 1;
    o.k.transport_key_len = 0;
    refused(order(&o, NULL, &e), KEY_TYPE);
    o.k.transport_key_len = sizeof transport_spki;
    o.k.q.ticket = "a.b.c";
    refused(order(&o, NULL, &e), TICKET);
    o.k.q.ticket = st.jws;
    ok(order(&o, NULL, &e));
    order_done(&o);
}

static void keys_are_bounded(void **state)
{
    struct err e = {0};
    int made = 0;

    (void)state;
    approve(TICKET_KEYS_SIGNER, 2);
    start();
    while (make_key(0, "P-256", NULL, &e) == 0)
        assert_true(++made < 100);
    refused(-1, QUOTA);
    assert_int_equal(made, 16);
    station_stop(&st, SIGKILL);
    start();
    refused(make_key(1, "P-256", NULL, &e), QUOTA);
}

/* The approver may sign for the key to wrap for: then nobody in between can put in another. */
static void rows_may_name_the_transport_key(void **state)
{
    char text[4 * JWE_SPKI_BYTES];
    struct row row = {0};
    struct buf encoded = BUF_INIT;
    struct err e = {0};
    struct order o;
    uint8_t mallory_spki[JWE_SPKI_BYTES];
    EVP_PKEY *mallory, *key = NULL;

    (void)state;
    EVP_EncodeBlock((uint8_t *)text, transport_spki, sizeof transport_spki);
    ok(jwe_key_new(&mallory, mallory_spki, &e));
    ok(row_add(&row, "device_group", 12, "g", 1, &e));
    ok(row_add(&row, "device_name", 11, "dev-0", 5, &e));
    ok(row_add(&row, "transport_key", 13, text, strlen(text), &e));
    ok(row_encode(&row, &encoded, &e));
    st.rows.rows[0].len = 0;
    ok(buf_append(&st.rows.rows[0], encoded.data, encoded.len, &e));
    help_rows_retree(&st.rows);
    st.ticket.root = st.rows.root;
    approve(TICKET_KEYS_SIGNER, STATION_QUOTA);
    start();
    order_make(&o, 0);
    o.k.transport_key = mallory_spki;
    refused(order(&o, NULL, &e), KEY_ORIGIN);
    o.k.transport_key = transport_spki;
    ok(order(&o, &key, &e));
    EVP_PKEY_free(key);
    EVP_PKEY_free(mallory);
    order_done(&o);
    buf_done(&encoded);
}

/* ---- the process that makes them */

struct outcome {
    sd_event *event;
    enum err_id error;
    int called;
};

static void on_outcome(void *ctx, const struct made_key *k, const struct err *e)
{
    struct outcome *o = ctx;

    assert_true((k == NULL) != (e == NULL));
    o->called++;
    o->error = e ? e->id : ERR_NONE;
    sd_event_exit(o->event, 0);
}

static enum err_id made_by(const char *program)
{
    struct outcome o = {0};
    struct key_maker *m = NULL;
    struct err e = {0};
    sigset_t child;

    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    assert_true(sd_event_new(&o.event) >= 0);
    ok(key_maker_open(o.event, program, &m, &e));
    if (key_maker_make(
                m, BORN_KEY_P256, transport_spki, sizeof transport_spki, on_outcome, &o, &e) < 0) {
        assert_int_equal(o.called, 0);
        o.error = e.id;
    } else {
        sd_event_loop(o.event);
        assert_int_equal(o.called, 1);
    }
    key_maker_close(&m);
    assert_true(o.called <= 1);
    sd_event_unref(o.event);
    return o.error;
}

static void processes_that_fail(void **state)
{
    (void)state;
    assert_int_equal(made_by(SIGNERD_KEY), ERR_NONE);
    assert_int_equal(made_by("/nonexistent/signerd-key"), ERR_UNAVAILABLE);
    assert_int_equal(made_by("/bin/false"), ERR_UNAVAILABLE);
}

/* Closing ends what is under way, and tells. */
static void closing_tells(void **state)
{
    struct outcome o = {0};
    struct key_maker *m = NULL;
    struct err e = {0};

    (void)state;
    assert_true(sd_event_new(&o.event) >= 0);
    ok(key_maker_open(o.event, SIGNERD_KEY, &m, &e));
    ok(key_maker_make(
            m, BORN_KEY_RSA3072, transport_spki, sizeof transport_spki, on_outcome, &o, &e));
    key_maker_close(&m);
    assert_int_equal(o.called, 1);
    assert_int_equal(o.error, ERR_UNAVAILABLE);
    sd_event_unref(o.event);
}

/* ---- where the key is not */

/* A sanitizer keeps terabytes of address space for its notes; they are no memory of the program. */
#define SHADOW_BYTES (1ul << 30)

static bool memory_holds(pid_t pid, const uint8_t *needle, size_t len)
{
    char path[64], line[512];
    bool found = false;
    FILE *maps;
    int mem;

    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    maps = fopen(path, "re");
    snprintf(path, sizeof path, "/proc/%d/mem", pid);
    mem = open(path, O_RDONLY | O_CLOEXEC);
    if (!maps || mem < 0)
        skip(); /* only root may look */
    while (fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        char rights[8];
        uint8_t *bytes;
        ssize_t n;

        if (sscanf(line, "%lx-%lx %7s", &from, &to, rights) != 3 || rights[0] != 'r' ||
                strstr(line, "[v") || to - from > SHADOW_BYTES)
            continue;
        bytes = malloc(to - from);
        assert_non_null(bytes);
        n = pread(mem, bytes, to - from, (off_t)from);
        found |= n > 0 && memmem(bytes, (size_t)n, needle, len) != NULL;
        free(bytes);
    }
    fclose(maps);
    close(mem);
    return found;
}

static void the_signer_never_holds_it(void **state)
{
    uint8_t scalar[32], spki_point[32];
    BIGNUM *d = NULL, *x = NULL;
    struct err e = {0};
    EVP_PKEY *key = NULL;

    (void)state;
    start();
    ok(make_key(0, "P-256", &key, &e));
    ok(certify(0, key, &e));
    EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_PRIV_KEY, &d);
    EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_X, &x);
    BN_bn2binpad(d, scalar, sizeof scalar);
    BN_bn2binpad(x, spki_point, sizeof spki_point);
    assert_false(memory_holds(st.signerd, scalar, sizeof scalar));
    for (size_t i = 0; i < sizeof scalar / 2; i++) { /* as OpenSSL's numbers lie in memory */
        uint8_t swap = scalar[i];

        scalar[i] = scalar[sizeof scalar - 1 - i];
        scalar[sizeof scalar - 1 - i] = swap;
    }
    assert_false(memory_holds(st.signerd, scalar, sizeof scalar));
    /* the search finds what is there: the CSR that was just certified */
    assert_true(memory_holds(st.signerd, spki_point, sizeof spki_point));
    assert_true(memory_holds(getpid(), scalar, sizeof scalar));
    BN_clear_free(d);
    BN_free(x);
    EVP_PKEY_free(key);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define KEYS_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
            KEYS_TEST(made_certified_and_flagged),
            KEYS_TEST(lost_answers_cost_nothing),
            KEYS_TEST(both_must_allow_it),
            KEYS_TEST(the_flag_cannot_be_shed),
            KEYS_TEST(every_field_forged),
            KEYS_TEST(keys_are_bounded),
            KEYS_TEST(rows_may_name_the_transport_key),
            KEYS_TEST(processes_that_fail),
            KEYS_TEST(closing_tells),
            KEYS_TEST(the_signer_never_holds_it),
    };

    return FLOW_RUN(argc, argv, tests);
}
