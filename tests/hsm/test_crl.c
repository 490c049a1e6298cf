/* CRLs: the bytes, and when they come. The keeper runs on a real ledger and a real event loop; the clocks are ours, and the
 * CA's key signs in this process, at once or when the test lets it. */
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/file.h"
#include "base/limits.h"
#include "base/text.h"
#include "hsm/ca.h"
#include "hsm/x509/crl.h"
#include "hsm/crl_keeper.h"
#include "hsm/ledger/ledger.h"
#include "tests/hsm/help.h"

#define DAY_MS   INT64_C(86400000)
#define VALID_MS (7 * DAY_MS)

static struct bench {
    char dir[64], ledger_path[128], crls[128];
    sd_event *event;
    struct ledger *ledger;
    struct crl_keeper *keeper;
    struct ca cas[2];
    EVP_PKEY *keys[2];
    struct ca_set set;
    int64_t now_ms;
    int64_t skipped_ms, record_ms; /* of the time since boot; and what a record takes of it */
    bool still;                    /* it stands */
    size_t signatures, rests;
    enum err_id fail; /* of the next signatures */
    /* one that is held back */
    bool hold;
    struct buf held;
    const struct ca *held_ca;
    void (*held_done)(void *, const uint8_t *, size_t, const struct err *);
    void *held_ctx;
} b;

static int64_t now_ms(void)
{
    return b.now_ms;
}

static int64_t up_ms(void)
{
    return (b.still ? 0 : time_monotonic_ms()) + b.skipped_ms;
}

static void give(const struct ca *ca, const void *bytes, size_t len,
        void (*done)(void *, const uint8_t *, size_t, const struct err *), void *ctx)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    uint8_t sig[512];
    size_t sig_len = sizeof sig;

    b.signatures++;
    assert_int_equal(
            EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, b.keys[ca == &b.cas[0] ? 0 : 1]), 1);
    assert_int_equal(EVP_DigestSign(md, sig, &sig_len, bytes, len), 1);
    EVP_MD_CTX_free(md);
    done(ctx, sig, sig_len, NULL);
}

static int sign(void *ctx, const struct ca *ca, const void *bytes, size_t len,
        void (*done)(void *, const uint8_t *, size_t, const struct err *), void *done_ctx,
        struct err *e)
{
    (void)ctx;
    if (b.fail)
        return err_set(e, b.fail, "the token is away");
    if (!b.hold) {
        give(ca, bytes, len, done, done_ctx);
        return 0;
    }
    assert_int_equal(b.held.len, 0);
    buf_append(&b.held, bytes, len, NULL);
    b.held_ca = ca, b.held_done = done, b.held_ctx = done_ctx;
    return 0;
}

static void let_go(void)
{
    struct buf bytes = b.held;

    b.held = BUF_INIT;
    give(b.held_ca, bytes.data, bytes.len, b.held_done, b.held_ctx);
    buf_done(&bytes);
}

static int record(void *ctx, const struct ledger_entry *entry, struct err *e)
{
    (void)ctx;
    b.skipped_ms += b.record_ms;
    return ledger_add(b.ledger, entry, e) < 0 ? -1 : ledger_commit(b.ledger, e);
}

static void rest(void *ctx)
{
    (void)ctx;
    b.rests++;
}

static void add_extension(X509 *x, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *ext;

    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(ext);
    X509_add_ext(x, ext, -1);
    X509_EXTENSION_free(ext);
}

static void make_ca(size_t i, const char *usage)
{
    struct ca *ca = &b.cas[i];
    const ASN1_OCTET_STRING *id;
    struct err e = {0};

    b.keys[i] = help_key("P-256");
    ca->cert = help_cert(b.keys[i], i ? "old CA" : "CA");
    add_extension(ca->cert, NID_basic_constraints, "critical,CA:TRUE");
    add_extension(ca->cert, NID_key_usage, usage);
    add_extension(ca->cert, NID_subject_key_identifier, "hash");
    assert_true(X509_sign(ca->cert, b.keys[i], EVP_sha256()) > 0);
    id = X509_get0_subject_key_id(ca->cert);
    ca->key_id = (struct cert_bytes){ASN1_STRING_get0_data(id), (size_t)ASN1_STRING_length(id)};
    X509_NAME_get0_der(X509_get_subject_name(ca->cert), &ca->subject.bytes, &ca->subject.len);
    ca->key = b.keys[i];
    ok(signature_alg_of(ca->key, &ca->alg, &e));
    ca->not_after = INT64_C(4000000000);
}

static void open_keeper(void)
{
    struct crl_keeper_parts p = {.event = b.event,
            .cas = &b.set,
            .ledger = b.ledger,
            .dir = b.crls,
            .valid_ms = VALID_MS,
            .now_ms = now_ms,
            .up_ms = up_ms,
            .sign = sign,
            .record = record,
            .rest = rest};
    struct err e = {0};

    ok(crl_keeper_open(&p, &b.keeper, &e));
}

/* What is to be done at once is done. */
static void turn(void)
{
    /* while the clock stands the keeper may wait for a millisecond again and again */
    for (int i = 0; i < 100 && sd_event_run(b.event, 50000) > 0; i++)
        ;
}

static int setup(void **state)
{
    struct err e = {0};

    (void)state;
    memset(&b, 0, sizeof b);
    help_mkdir(b.dir);
    snprintf(b.ledger_path, sizeof b.ledger_path, "%s/ledger", b.dir);
    snprintf(b.crls, sizeof b.crls, "%s/crl", b.dir);
    b.now_ms = time_now_ms();
    make_ca(0, "critical,keyCertSign,cRLSign");
    make_ca(1, "critical,keyCertSign,cRLSign");
    b.set.active = &b.cas[0];
    sd_event_new(&b.event);
    ok(ledger_open(b.ledger_path, &b.ledger, &e));
    ledger_vouch(b.ledger);
    open_keeper();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    crl_keeper_close(&b.keeper);
    ledger_close(&b.ledger);
    sd_event_unref(b.event);
    for (size_t i = 0; i < 2; i++) {
        X509_free(b.cas[i].cert);
        EVP_PKEY_free(b.keys[i]);
    }
    buf_done(&b.held);
    help_rmdir(b.dir);
    return 0;
}

static void restart(void)
{
    struct err e = {0};

    crl_keeper_close(&b.keeper);
    ledger_close(&b.ledger);
    ok(ledger_open(b.ledger_path, &b.ledger, &e));
    ledger_vouch(b.ledger);
    open_keeper();
}

static void path_of(size_t ca, char out[PATH_MAX])
{
    char name[2 * CERT_KEY_ID_BYTES + 1];

    hex_format(b.cas[ca].key_id.bytes, CERT_KEY_ID_BYTES, name);
    snprintf(out, PATH_MAX, "%s/%s.crl", b.crls, name);
}

static X509_CRL *load(size_t ca)
{
    char path[PATH_MAX], pem_path[PATH_MAX + 8];
    struct buf der = BUF_INIT;
    struct err e = {0};
    const uint8_t *at;
    X509_CRL *crl, *pem;
    struct stat st;
    FILE *f;

    path_of(ca, path);
    ok(file_read(path, CRL_BYTES_MAX, &der, &e));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0644);
    at = der.data;
    crl = d2i_X509_CRL(NULL, &at, (long)der.len);
    assert_non_null(crl);
    assert_ptr_equal(at, der.data + der.len);
    assert_int_equal(X509_CRL_verify(crl, b.cas[ca].key), 1);
    snprintf(pem_path, sizeof pem_path, "%s.pem", path);
    assert_non_null(f = fopen(pem_path, "re"));
    pem = PEM_read_X509_CRL(f, NULL, NULL, NULL);
    assert_non_null(pem);
    assert_int_equal(X509_CRL_match(crl, pem), 0);
    fclose(f);
    X509_CRL_free(pem);
    buf_done(&der);
    return crl;
}

static int64_t unix_s(const ASN1_TIME *t)
{
    struct tm tm;

    assert_int_equal(ASN1_TIME_to_tm(t, &tm), 1);
    return timegm(&tm);
}

struct seen {
    long number;
    int entries;
    int64_t this_update, next_update;
};

static struct seen look_at(size_t ca)
{
    X509_CRL *crl = load(ca);
    ASN1_INTEGER *number = X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
    STACK_OF(X509_REVOKED) *list = X509_CRL_get_REVOKED(crl);
    struct seen s = {ASN1_INTEGER_get(number), list ? sk_X509_REVOKED_num(list) : 0,
            unix_s(X509_CRL_get0_lastUpdate(crl)), unix_s(X509_CRL_get0_nextUpdate(crl))};

    ASN1_INTEGER_free(number);
    X509_CRL_free(crl);
    return s;
}

static void revoke_quietly(size_t ca, uint32_t serial, uint8_t reason)
{
    uint8_t id[CERT_KEY_ID_BYTES];
    struct ledger_entry entry = {.type = LEDGER_REVOKED,
            .reason = reason,
            .time_ms = b.now_ms,
            .serial = {0x40, (uint8_t)(serial >> 24), (uint8_t)(serial >> 16),
                    (uint8_t)(serial >> 8), (uint8_t)serial},
            .tail = {id, sizeof id}};
    struct err e = {0};

    ca_id(&b.cas[ca].key_id, id);
    ok(ledger_add(b.ledger, &entry, &e));
}

/* The pause after a list is over, and that after a failure. */
static void rested(void)
{
    b.skipped_ms += b.still ? 0 : 600000;
}

static void revoke_cert(size_t ca, uint32_t serial, uint8_t reason)
{
    struct err e = {0};

    rested();

    revoke_quietly(ca, serial, reason);
    ok(ledger_commit(b.ledger, &e));
    crl_keeper_revoked(b.keeper);
}

/* ---- the bytes */

static int reason_of(X509_CRL *crl, int i)
{
    X509_REVOKED *v = sk_X509_REVOKED_value(X509_CRL_get_REVOKED(crl), i);
    ASN1_ENUMERATED *reason = X509_REVOKED_get_ext_d2i(v, NID_crl_reason, NULL, NULL);
    int r = reason ? (int)ASN1_ENUMERATED_get(reason) : -1;

    ASN1_ENUMERATED_free(reason);
    return r;
}

static void bytes(void **state)
{
    static const uint8_t reasons[] = {0, 1, 3, 4, 5, 9};
    AUTHORITY_KEYID *aki;
    X509_CRL *crl;

    (void)state;
    for (uint32_t i = 0; i < sizeof reasons; i++)
        revoke_quietly(0, i, reasons[i]);
    revoke_cert(1, 77, 1); /* of a CA that is not ours any more: on nobody's list */
    turn();
    crl = load(0);
    assert_int_equal(X509_CRL_get_version(crl), X509_CRL_VERSION_2);
    assert_int_equal(
            X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(b.cas[0].cert)), 0);
    aki = X509_CRL_get_ext_d2i(crl, NID_authority_key_identifier, NULL, NULL);
    assert_memory_equal(
            ASN1_STRING_get0_data(aki->keyid), b.cas[0].key_id.bytes, b.cas[0].key_id.len);
    AUTHORITY_KEYID_free(aki);
    assert_int_equal(X509_CRL_get_ext_count(crl), 2);
    assert_int_equal(sk_X509_REVOKED_num(X509_CRL_get_REVOKED(crl)), 6);
    for (int i = 0; i < 6; i++) {
        X509_REVOKED *v = sk_X509_REVOKED_value(X509_CRL_get_REVOKED(crl), i);

        assert_int_equal(reason_of(crl, i), reasons[i] ? reasons[i] : -1);
        assert_int_equal(unix_s(X509_REVOKED_get0_revocationDate(v)), b.now_ms / 1000);
    }
    X509_CRL_free(crl);
}

static void many(void **state)
{
    enum { MANY = 100000 };
    X509_REVOKED *v;
    uint8_t serial[CERT_SERIAL_BYTES] = {0x40, 0, 1, 0x86, 0x9e}; /* 99,998 */
    ASN1_INTEGER *number = ASN1_INTEGER_new();
    struct err e = {0};
    X509_CRL *crl;
    int64_t start;
    struct rusage usage;
    long before;

    (void)state;
    turn();
    for (uint32_t i = 0; i < MANY; i++) {
        revoke_quietly(0, i, 4);
        if (i % 10000 == 9999)
            ok(ledger_commit(b.ledger, &e));
    }
    getrusage(RUSAGE_SELF, &usage);
    before = usage.ru_maxrss;
    start = time_monotonic_ms();
    rested();
    crl_keeper_revoked(b.keeper);
    turn();
    print_message("a CRL of %d entries took %lld ms\n", MANY,
            (long long)(time_monotonic_ms() - start - 50));
    getrusage(RUSAGE_SELF, &usage);
    print_message("and at most %ld MB of memory more\n", (usage.ru_maxrss - before) / 1024);
    crl = load(0);
    assert_int_equal(sk_X509_REVOKED_num(X509_CRL_get_REVOKED(crl)), MANY);
    ASN1_STRING_set(number, serial, sizeof serial);
    assert_int_equal(X509_CRL_get0_by_serial(crl, &v, number), 1);
    serial[4] = 0xa0;
    ASN1_STRING_set(number, serial, sizeof serial);
    assert_int_equal(X509_CRL_get0_by_serial(crl, &v, number), 0);
    ASN1_INTEGER_free(number);
    X509_CRL_free(crl);
}

static void too_many(void **state)
{
    struct crl_fields f = {.issuer = b.cas[0].subject,
            .authority_key_id = b.cas[0].key_id,
            .revoked_count = CRL_BYTES_MAX / 50};
    struct buf out = BUF_INIT;
    struct err e = {0};

    (void)state;
    refused(crl_tbs(&f, &out, &e), LIMIT);
    assert_int_equal(out.len, 0);
}

/* ---- when */

static void from_the_first_start_on(void **state)
{
    struct seen s;

    (void)state;
    turn();
    s = look_at(0);
    assert_int_equal(s.number, 1);
    assert_int_equal(s.entries, 0);
    assert_int_equal(s.this_update, b.now_ms / 1000);
    assert_int_equal(s.next_update, (b.now_ms + VALID_MS) / 1000);
    assert_int_equal(b.rests, 1);
    /* and not again for nothing */
    restart();
    turn();
    assert_int_equal(look_at(0).number, 1);
    assert_int_equal(b.signatures, 1);
}

/* The keeper wakes by itself; here the waiting is cut short, as a restart or any other event would. */
static void look_now(void)
{
    crl_keeper_revoked(b.keeper);
    turn();
}

static void on_each_revocation(void **state)
{
    (void)state;
    turn();
    b.hold = true;
    revoke_cert(0, 1, 4);
    turn(); /* the first is being signed */
    for (uint32_t i = 2; i < 50; i++)
        revoke_cert(0, i, 4);
    turn();
    assert_int_equal(look_at(0).entries, 0);
    b.hold = false;
    let_go();
    rested();
    look_now();
    /* the rest together */
    assert_int_equal(look_at(0).entries, 49);
    assert_int_equal(look_at(0).number, 3);
    assert_int_equal(b.signatures, 3);
    /* one that was durable when the power went is on the list after the next start */
    revoke_quietly(0, 50, 4);
    assert_int_equal(ledger_commit(b.ledger, NULL), 0);
    restart();
    turn();
    assert_int_equal(look_at(0).entries, 50);
    assert_int_equal(look_at(0).number, 4);
}

static size_t told;
static enum err_id told_error;

static void on_renewed(void *ctx, const struct err *why)
{
    (void)ctx;
    told++;
    told_error = why ? why->id : ERR_NONE;
}

static int64_t date_of(X509_CRL *crl, int i)
{
    return unix_s(
            X509_REVOKED_get0_revocationDate(sk_X509_REVOKED_value(X509_CRL_get_REVOKED(crl), i)));
}

/* This many lists so far, and on the last one entry 0 has this reason since then. */
static void assert_reason(long number, int reason, int64_t since_ms)
{
    X509_CRL *crl = load(0);

    assert_int_equal(look_at(0).number, number);
    assert_int_equal(look_at(0).entries, 2);
    assert_int_equal(reason_of(crl, 0), reason);
    assert_int_equal(date_of(crl, 0), since_ms / 1000);
    assert_int_equal(reason_of(crl, 1), 4);
    X509_CRL_free(crl);
}

/* A key turns out to be stolen after its certificate was revoked for less: a list says so, and none takes it back. */
static void reason_gets_worse(void **state)
{
    static const uint8_t stolen[32] = {7}, other[32] = {8};
    uint8_t id[CERT_KEY_ID_BYTES];
    struct ledger_entry entry = {
            .type = LEDGER_REVOKED, .reason = 4, .time_ms = b.now_ms, .tail = {id, sizeof id}};
    int64_t first_ms = b.now_ms;
    struct err e = {0};

    (void)state;
    ca_id(&b.cas[0].key_id, id);
    memcpy(entry.spki_sha256, stolen, sizeof stolen);
    entry.serial[0] = 0x41;
    ok(record(NULL, &entry, &e));
    revoke_cert(0, 1, 4);
    turn();
    assert_reason(1, 4, first_ms);
    assert_false(ledger_key_compromised(b.ledger, stolen));
    /* it is noticed while a list is being signed: the next one says it */
    b.now_ms += 3600000;
    b.hold = true;
    rested();
    b.now_ms += CRL_FRESH_MS;
    assert_int_equal(crl_keeper_renew(b.keeper, on_renewed, NULL, &e), 0);
    turn();
    entry.reason = 1;
    entry.time_ms = b.now_ms;
    ok(record(NULL, &entry, &e));
    crl_keeper_revoked(b.keeper);
    b.hold = false;
    let_go();
    turn();
    assert_reason(2, 4, first_ms);
    rested();
    look_now();
    for (int round = 0; round < 3; round++) {
        assert_reason(3, 1, first_ms);
        assert_true(ledger_key_compromised(b.ledger, stolen));
        assert_false(ledger_key_compromised(b.ledger, other));
        assert_int_equal(ledger_counts(b.ledger).revoked, 2);
        assert_int_equal(ledger_counts(b.ledger).compromised, 1);
        /* and nothing that is said afterwards changes it, or makes a list */
        entry.reason = round == 0 ? 1 : 5;
        ok(record(NULL, &entry, &e));
        rested();
        look_now();
        if (round == 1) { /* from an index, and then from the file alone */
            ok(ledger_save(b.ledger, &e));
            ok(ledger_saved(b.ledger, &e));
        }
        restart();
        turn();
    }
    assert_int_equal(b.signatures, 3);
}

static void on_schedule(void **state)
{
    int64_t start = b.now_ms;

    (void)state;
    turn();
    rested();
    b.now_ms = start + VALID_MS / 2 - 1000;
    look_now();
    assert_int_equal(b.signatures, 1);
    b.now_ms = start + VALID_MS / 2;
    look_now();
    assert_int_equal(look_at(0).number, 2);
    assert_int_equal(look_at(0).this_update, b.now_ms / 1000);
    /* after a long time without power: at the start */
    b.now_ms += 100 * DAY_MS;
    restart();
    turn();
    assert_int_equal(look_at(0).number, 3);
    assert_int_equal(look_at(0).this_update, b.now_ms / 1000);
}

static void clock_that_goes_back(void **state)
{
    int64_t before;

    (void)state;
    turn();
    before = look_at(0).this_update;
    rested();
    b.now_ms -= 400 * DAY_MS;
    look_now();
    assert_int_equal(b.signatures, 1);
    revoke_cert(0, 1, 1);
    turn();
    assert_int_equal(look_at(0).number, 2);
    assert_int_equal(look_at(0).entries, 1);
    assert_int_equal(look_at(0).this_update, before);
    restart();
    turn();
    assert_int_equal(b.signatures, 2);
    b.now_ms += 400 * DAY_MS + VALID_MS;
    look_now();
    assert_int_equal(look_at(0).number, 3);
    assert_int_equal(look_at(0).this_update, b.now_ms / 1000);
}

static void file_is_lost(void **state)
{
    char path[PATH_MAX];
    struct buf der = BUF_INIT;
    struct err e = {0};

    (void)state;
    turn();
    path_of(0, path);
    rested();
    unlink(path);
    look_now();
    assert_int_equal(look_at(0).number, 2);
    ok(file_read(path, CRL_BYTES_MAX, &der, &e));
    der.data[der.len / 2] ^= 1;
    ok(file_write(path, der.data, der.len, 0644, &e));
    restart();
    turn();
    assert_int_equal(look_at(0).number, 3);
    ok(file_write(path, "", 0, 0644, &e));
    restart();
    turn();
    assert_int_equal(look_at(0).number, 4);
    /* an old list in the place of the new one */
    buf_reset(&der);
    ok(file_read(path, CRL_BYTES_MAX, &der, &e));
    revoke_cert(0, 1, 1);
    turn();
    ok(file_write(path, der.data, der.len, 0644, &e));
    restart();
    turn();
    assert_int_equal(look_at(0).entries, 1);
    buf_done(&der);
}

static void on_demand(void **state)
{
    struct err e = {0};

    (void)state;
    told = 0;
    b.set.retired[0] = &b.cas[1];
    b.set.retired_count = 1;
    restart();
    turn();
    assert_int_equal(b.signatures, 2);
    rested();
    b.now_ms += CRL_FRESH_MS;
    ok(crl_keeper_renew(b.keeper, on_renewed, NULL, &e));
    ok(crl_keeper_renew(b.keeper, on_renewed, NULL, &e));
    turn();
    assert_int_equal(told, 2);
    assert_int_equal(told_error, ERR_NONE);
    assert_int_equal(b.signatures, 4);
    b.fail = ERR_TOKEN;
    rested();
    b.now_ms += CRL_FRESH_MS;
    ok(crl_keeper_renew(b.keeper, on_renewed, NULL, &e));
    turn();
    assert_int_equal(told, 3);
    assert_int_equal(told_error, ERR_TOKEN);
}

static void ask(void)
{
    struct err e = {0};

    told = 0;
    ok(crl_keeper_renew(b.keeper, on_renewed, NULL, &e));
    turn();
}

/* A list that is young and complete is as good as a new one: asking costs no entry and no signature. */
static void fresh_on_demand(void **state)
{
    char path[PATH_MAX];

    (void)state;
    turn();
    for (int i = 0; i < 50; i++) {
        rested();
        ask();
        assert_int_equal(told, 1);
        assert_int_equal(told_error, ERR_NONE);
    }
    assert_int_equal(b.signatures, 1);
    b.now_ms += CRL_FRESH_MS - 1;
    ask();
    assert_int_equal(look_at(0).number, 1);
    b.now_ms++;
    ask();
    assert_int_equal(told, 1);
    assert_int_equal(look_at(0).number, 2);
    /* a young one that is not there, or not complete, is made */
    path_of(0, path);
    unlink(path);
    rested();
    ask();
    assert_int_equal(look_at(0).number, 3);
    b.hold = true;
    revoke_cert(0, 1, 4);
    turn(); /* a list with one is being signed, when another is revoked and its list is wanted */
    revoke_quietly(0, 2, 4);
    assert_int_equal(ledger_commit(b.ledger, NULL), 0);
    ask();
    b.hold = false;
    let_go();
    turn();
    assert_int_equal(told, 0);
    assert_int_equal(look_at(0).entries, 1);
    rested();
    look_now();
    assert_int_equal(told, 1);
    assert_int_equal(look_at(0).entries, 2);
}

/* Revocations come as fast as somebody wants; lists do not. */
static void lists_keep_a_pace(void **state)
{
    (void)state;
    b.still = true;
    turn();
    for (uint32_t i = 0; i < 20; i++) {
        revoke_cert(0, i, 4);
        turn();
    }
    ask(); /* nobody can hurry it */
    b.skipped_ms += CRL_PACE_MS - 1;
    look_now();
    assert_int_equal(b.signatures, 1);
    assert_int_equal(told, 0);
    b.skipped_ms++;
    b.record_ms = 100; /* this one takes its time */
    look_now();
    assert_int_equal(b.signatures, 2);
    assert_int_equal(told, 1);
    assert_int_equal(look_at(0).entries, 20);
    revoke_cert(0, 20, 4);
    b.skipped_ms += 100 * CRL_PACE_TIMES - 1;
    look_now();
    assert_int_equal(b.signatures, 2);
    b.skipped_ms++;
    b.record_ms = 100000; /* and this one far too much */
    look_now();
    assert_int_equal(look_at(0).entries, 21);
    revoke_cert(0, 21, 4);
    b.skipped_ms += CRL_PACE_MAX_MS - 1;
    look_now();
    assert_int_equal(look_at(0).entries, 21);
    b.skipped_ms++;
    look_now();
    assert_int_equal(look_at(0).entries, 22);
    /* it needs no event to wake up */
    b.still = false;
    b.record_ms = 0;
    revoke_cert(0, 22, 4);
    turn();
    revoke_quietly(0, 23, 4);
    assert_int_equal(ledger_commit(b.ledger, NULL), 0);
    crl_keeper_revoked(b.keeper);
    for (int i = 0; i < 400 && look_at(0).entries < 24; i++)
        turn();
    assert_int_equal(look_at(0).entries, 24);
}

/* Two CAs: each has its own list, the numbers are never the same. */
static void retired_too(void **state)
{
    struct crl_status s;

    (void)state;
    turn();
    b.set.retired[0] = &b.cas[1];
    b.set.retired_count = 1;
    restart();
    turn();
    assert_int_equal(look_at(0).number, 1);
    assert_int_equal(look_at(1).number, 2);
    revoke_cert(1, 5, 1);
    turn();
    assert_int_equal(look_at(0).number, 1);
    assert_int_equal(look_at(1).number, 3);
    assert_int_equal(look_at(1).entries, 1);
    assert_true(crl_keeper_status(b.keeper, 1, &s));
    assert_int_equal(s.number, 3);
    assert_int_equal(s.revoked, 1);
    assert_false(crl_keeper_status(b.keeper, 2, &s));
    /* a CA that is over needs none */
    b.cas[1].not_after = b.now_ms / 1000 + 86400;
    b.now_ms += 2 * VALID_MS;
    rested();
    look_now();
    assert_int_equal(look_at(0).number, 4);
    assert_int_equal(look_at(1).number, 3);
    assert_true(crl_keeper_status(b.keeper, 1, &s));
    assert_false(s.overdue);
}

static void token_is_away(void **state)
{
    struct crl_status s;

    (void)state;
    b.fail = ERR_TOKEN_ABSENT;
    for (int i = 0; i < 5; i++)
        look_now(); /* many looks, and only one try within the pause */
    assert_true(crl_keeper_status(b.keeper, 0, &s));
    assert_int_equal(s.number, 0);
    assert_true(s.overdue);
    assert_int_equal(s.error.id, ERR_TOKEN_ABSENT);
    b.fail = ERR_NONE;
    assert_int_equal(b.signatures, 0);
    /* it comes back by itself, within the pause of a second or two */
    for (int i = 0; i < 100 && b.signatures == 0; i++)
        turn();
    assert_int_equal(b.signatures, 1);
    assert_true(crl_keeper_status(b.keeper, 0, &s));
    assert_int_equal(s.error.id, ERR_NONE);
    assert_false(s.overdue);
}

static void disk_is_away(void **state)
{
    char path[PATH_MAX], away[256];
    struct crl_status s;

    (void)state;
    turn();
    path_of(0, path);
    snprintf(away, sizeof away, "%s.away", b.crls);
    assert_int_equal(rename(b.crls, away), 0);
    revoke_cert(0, 1, 1);
    turn();
    assert_true(crl_keeper_status(b.keeper, 0, &s));
    assert_true(s.error.id != ERR_NONE);
    assert_int_equal(rename(away, b.crls), 0);
    for (int i = 0; i < 400 && s.error.id; i++) {
        turn();
        crl_keeper_status(b.keeper, 0, &s);
    }
    assert_int_equal(look_at(0).entries, 1);
    assert_true(look_at(0).number >= 3); /* a number that was recorded is not used again */
}

static void ca_without_the_right(void **state)
{
    struct crl_status s;

    (void)state;
    X509_free(b.cas[0].cert);
    EVP_PKEY_free(b.keys[0]);
    make_ca(0, "critical,keyCertSign");
    restart();
    turn();
    assert_true(crl_keeper_status(b.keeper, 0, &s));
    assert_int_equal(s.error.id, ERR_CONFIG);
    assert_int_equal(b.signatures, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
            TEST(bytes),
            TEST(many),
            TEST(too_many),
            TEST(from_the_first_start_on),
            TEST(on_each_revocation),
            TEST(reason_gets_worse),
            TEST(on_schedule),
            TEST(clock_that_goes_back),
            TEST(file_is_lost),
            TEST(on_demand),
            TEST(fresh_on_demand),
            TEST(lists_keep_a_pace),
            TEST(retired_too),
            TEST(token_is_away),
            TEST(disk_is_away),
            TEST(ca_without_the_right),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
