/* A keeper of CRLs with clocks and a key of ours. */
#include "tests/hsm/crl_rig.h"
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include "base/file.h"
#include "base/text.h"

struct crl_rig rig;

static int64_t now_ms(void)
{
    return rig.now_ms;
}

static int64_t up_ms(void)
{
    return (rig.still ? 0 : time_monotonic_ms()) + rig.skipped_ms;
}

static void give(const struct ca *ca, const void *bytes, size_t len,
        void (*done)(void *, const uint8_t *, size_t, const struct err *), void *ctx)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    uint8_t sig[512];
    size_t sig_len = sizeof sig;

    rig.signatures++;
    assert_int_equal(
            EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, rig.keys[ca == &rig.cas[0] ? 0 : 1]),
            1);
    assert_int_equal(EVP_DigestSign(md, sig, &sig_len, bytes, len), 1);
    EVP_MD_CTX_free(md);
    done(ctx, sig, sig_len, NULL);
}

static int sign(void *ctx, const struct ca *ca, const void *bytes, size_t len,
        void (*done)(void *, const uint8_t *, size_t, const struct err *), void *done_ctx,
        struct err *e)
{
    (void)ctx;
    if (rig.fail)
        return err_set(e, rig.fail, "the token is away");
    if (!rig.hold) {
        give(ca, bytes, len, done, done_ctx);
        return 0;
    }
    assert_int_equal(rig.held.len, 0);
    buf_append(&rig.held, bytes, len, NULL);
    rig.held_ca = ca, rig.held_done = done, rig.held_ctx = done_ctx;
    return 0;
}

void rig_let_go(void)
{
    struct buf bytes = rig.held;

    rig.held = BUF_INIT;
    give(rig.held_ca, bytes.data, bytes.len, rig.held_done, rig.held_ctx);
    buf_done(&bytes);
}

int rig_record(void *ctx, const struct ledger_entry *entry, struct err *e)
{
    (void)ctx;
    rig.skipped_ms += rig.record_ms;
    return ledger_add(rig.ledger, entry, e) < 0 ? -1 : ledger_commit(rig.ledger, e);
}

static void rest(void *ctx)
{
    (void)ctx;
    rig.rests++;
}

void rig_make_ca(size_t i, const char *usage)
{
    struct ca *ca = &rig.cas[i];
    const ASN1_OCTET_STRING *id;
    struct err e = {0};

    rig.keys[i] = help_key("P-256");
    ca->cert = help_cert(rig.keys[i], i ? "old CA" : "CA");
    help_add_extension(ca->cert, NID_basic_constraints, "critical,CA:TRUE");
    help_add_extension(ca->cert, NID_key_usage, usage);
    help_add_extension(ca->cert, NID_subject_key_identifier, "hash");
    assert_true(X509_sign(ca->cert, rig.keys[i], EVP_sha256()) > 0);
    id = X509_get0_subject_key_id(ca->cert);
    ca->key_id = (struct cert_bytes){ASN1_STRING_get0_data(id), (size_t)ASN1_STRING_length(id)};
    X509_NAME_get0_der(X509_get_subject_name(ca->cert), &ca->subject.bytes, &ca->subject.len);
    ca->key = rig.keys[i];
    ok(signature_alg_of(ca->key, &ca->alg, &e));
    ca->not_after = INT64_C(4000000000);
}

static void open_keeper(void)
{
    struct crl_keeper_parts p = {.event = rig.event,
            .cas = &rig.set,
            .ledger = rig.ledger,
            .dir = rig.crls,
            .valid_ms = VALID_MS,
            .now_ms = now_ms,
            .up_ms = up_ms,
            .sign = sign,
            .record = rig_record,
            .rest = rest};
    struct err e = {0};

    ok(crl_keeper_open(&p, &rig.keeper, &e));
}

void rig_turn(void)
{
    /* while the clock stands the keeper may wait for a millisecond again and again */
    for (int i = 0; i < 100 && sd_event_run(rig.event, 50000) > 0; i++)
        ;
}

void rig_look_now(void)
{
    crl_keeper_revoked(rig.keeper);
    rig_turn();
}

int rig_setup(void **state)
{
    struct err e = {0};

    (void)state;
    memset(&rig, 0, sizeof rig);
    help_mkdir(rig.dir);
    snprintf(rig.ledger_path, sizeof rig.ledger_path, "%s/ledger", rig.dir);
    snprintf(rig.crls, sizeof rig.crls, "%s/crl", rig.dir);
    rig.now_ms = time_now_ms();
    rig_make_ca(0, "critical,keyCertSign,cRLSign");
    rig_make_ca(1, "critical,keyCertSign,cRLSign");
    rig.set.active = &rig.cas[0];
    sd_event_new(&rig.event);
    ok(ledger_open(rig.ledger_path, &rig.ledger, &e));
    ledger_vouch(rig.ledger);
    open_keeper();
    return 0;
}

int rig_teardown(void **state)
{
    (void)state;
    crl_keeper_close(&rig.keeper);
    ledger_close(&rig.ledger);
    sd_event_unref(rig.event);
    for (size_t i = 0; i < 2; i++) {
        X509_free(rig.cas[i].cert);
        EVP_PKEY_free(rig.keys[i]);
    }
    buf_done(&rig.held);
    help_rmdir(rig.dir);
    return 0;
}

void rig_restart(void)
{
    struct err e = {0};

    crl_keeper_close(&rig.keeper);
    ledger_close(&rig.ledger);
    ok(ledger_open(rig.ledger_path, &rig.ledger, &e));
    ledger_vouch(rig.ledger);
    open_keeper();
}

void rig_crl_path(size_t ca, char out[PATH_MAX])
{
    char name[2 * CERT_KEY_ID_BYTES + 1];

    hex_format(rig.cas[ca].key_id.bytes, CERT_KEY_ID_BYTES, name);
    snprintf(out, PATH_MAX, "%s/%s.crl", rig.crls, name);
}

X509_CRL *rig_load(size_t ca)
{
    char path[PATH_MAX], pem_path[PATH_MAX + 8];
    struct buf der = BUF_INIT;
    struct err e = {0};
    const uint8_t *at;
    X509_CRL *crl, *pem;
    struct stat st;
    FILE *f;

    rig_crl_path(ca, path);
    ok(file_read(path, CRL_BYTES_MAX, &der, &e));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0644);
    at = der.data;
    crl = d2i_X509_CRL(NULL, &at, (long)der.len);
    assert_non_null(crl);
    assert_ptr_equal(at, der.data + der.len);
    assert_int_equal(X509_CRL_verify(crl, rig.cas[ca].key), 1);
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

int64_t rig_unix_s(const ASN1_TIME *t)
{
    struct tm tm;

    assert_int_equal(ASN1_TIME_to_tm(t, &tm), 1);
    return timegm(&tm);
}

struct rig_seen rig_look_at(size_t ca)
{
    X509_CRL *crl = rig_load(ca);
    ASN1_INTEGER *number = X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
    STACK_OF(X509_REVOKED) *list = X509_CRL_get_REVOKED(crl);
    struct rig_seen s = {ASN1_INTEGER_get(number), list ? sk_X509_REVOKED_num(list) : 0,
            rig_unix_s(X509_CRL_get0_lastUpdate(crl)), rig_unix_s(X509_CRL_get0_nextUpdate(crl))};

    ASN1_INTEGER_free(number);
    X509_CRL_free(crl);
    return s;
}

void rig_revoke_quietly(size_t ca, uint32_t serial, uint8_t reason)
{
    uint8_t id[CERT_KEY_ID_BYTES];
    struct ledger_entry entry = {.type = LEDGER_REVOKED,
            .reason = reason,
            .time_ms = rig.now_ms,
            .serial = {0x40, (uint8_t)(serial >> 24), (uint8_t)(serial >> 16),
                    (uint8_t)(serial >> 8), (uint8_t)serial},
            .tail = {id, sizeof id}};
    struct err e = {0};

    ca_id(&rig.cas[ca].key_id, id);
    ok(ledger_add(rig.ledger, &entry, &e));
}

void rig_rested(void)
{
    rig.skipped_ms += rig.still ? 0 : 600000;
}

void rig_revoke(size_t ca, uint32_t serial, uint8_t reason)
{
    struct err e = {0};

    rig_rested();
    rig_revoke_quietly(ca, serial, reason);
    ok(ledger_commit(rig.ledger, &e));
    crl_keeper_revoked(rig.keeper);
}

int rig_reason_of(X509_CRL *crl, int i)
{
    X509_REVOKED *v = sk_X509_REVOKED_value(X509_CRL_get_REVOKED(crl), i);
    ASN1_ENUMERATED *reason = X509_REVOKED_get_ext_d2i(v, NID_crl_reason, NULL, NULL);
    int r = reason ? (int)ASN1_ENUMERATED_get(reason) : -1;

    ASN1_ENUMERATED_free(reason);
    return r;
}
