/* When CRLs come: at the start, on each revocation, on schedule, on demand and after a loss, and not more often than they may. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "tests/hsm/crl_rig.h"

static void from_the_first_start_on(void **state)
{
    struct rig_seen s;

    (void)state;
    rig_turn();
    s = rig_look_at(0);
    assert_int_equal(s.number, 1);
    assert_int_equal(s.entries, 0);
    assert_int_equal(s.this_update, rig.now_ms / 1000);
    assert_int_equal(s.next_update, (rig.now_ms + VALID_MS) / 1000);
    assert_int_equal(rig.rests, 1);
    /* and not again for nothing */
    rig_restart();
    rig_turn();
    assert_int_equal(rig_look_at(0).number, 1);
    assert_int_equal(rig.signatures, 1);
}

static void on_each_revocation(void **state)
{
    (void)state;
    rig_turn();
    rig.hold = true;
    rig_revoke(0, 1, 4);
    rig_turn(); /* the first is being signed */
    for (uint32_t i = 2; i < 50; i++)
        rig_revoke(0, i, 4);
    rig_turn();
    assert_int_equal(rig_look_at(0).entries, 0);
    rig.hold = false;
    rig_let_go();
    rig_rested();
    rig_look_now();
    /* the rest together */
    assert_int_equal(rig_look_at(0).entries, 49);
    assert_int_equal(rig_look_at(0).number, 3);
    assert_int_equal(rig.signatures, 3);
    /* one that was durable when the power went is on the list after the next start */
    rig_revoke_quietly(0, 50, 4);
    assert_int_equal(ledger_commit(rig.ledger, NULL), 0);
    rig_restart();
    rig_turn();
    assert_int_equal(rig_look_at(0).entries, 50);
    assert_int_equal(rig_look_at(0).number, 4);
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
    return rig_unix_s(
            X509_REVOKED_get0_revocationDate(sk_X509_REVOKED_value(X509_CRL_get_REVOKED(crl), i)));
}

/* This many lists so far, and on the last one entry 0 has this reason since then. */
static void assert_reason(long number, int reason, int64_t since_ms)
{
    X509_CRL *crl = rig_load(0);

    assert_int_equal(rig_look_at(0).number, number);
    assert_int_equal(rig_look_at(0).entries, 2);
    assert_int_equal(rig_reason_of(crl, 0), reason);
    assert_int_equal(date_of(crl, 0), since_ms / 1000);
    assert_int_equal(rig_reason_of(crl, 1), 4);
    X509_CRL_free(crl);
}

/* A key turns out to be stolen after its certificate was revoked for less: a list says so, and none takes it back. */
static void reason_gets_worse(void **state)
{
    static const uint8_t stolen[32] = {7}, other[32] = {8};
    uint8_t id[CERT_KEY_ID_BYTES];
    struct ledger_entry entry = {
            .type = LEDGER_REVOKED, .reason = 4, .time_ms = rig.now_ms, .tail = {id, sizeof id}};
    int64_t first_ms = rig.now_ms;
    struct err e = {0};

    (void)state;
    ca_id(&rig.cas[0].key_id, id);
    memcpy(entry.spki_sha256, stolen, sizeof stolen);
    entry.serial[0] = 0x41;
    ok(rig_record(NULL, &entry, &e));
    rig_revoke(0, 1, 4);
    rig_turn();
    assert_reason(1, 4, first_ms);
    assert_false(ledger_key_compromised(rig.ledger, stolen));
    /* it is noticed while a list is being signed: the next one says it */
    rig.now_ms += 3600000;
    rig.hold = true;
    rig_rested();
    rig.now_ms += CRL_FRESH_MS;
    assert_int_equal(crl_keeper_renew(rig.keeper, on_renewed, NULL, &e), 0);
    rig_turn();
    entry.reason = 1;
    entry.time_ms = rig.now_ms;
    ok(rig_record(NULL, &entry, &e));
    crl_keeper_revoked(rig.keeper);
    rig.hold = false;
    rig_let_go();
    rig_turn();
    assert_reason(2, 4, first_ms);
    rig_rested();
    rig_look_now();
    for (int round = 0; round < 3; round++) {
        assert_reason(3, 1, first_ms);
        assert_true(ledger_key_compromised(rig.ledger, stolen));
        assert_false(ledger_key_compromised(rig.ledger, other));
        assert_int_equal(ledger_counts(rig.ledger).revoked, 2);
        assert_int_equal(ledger_counts(rig.ledger).compromised, 1);
        /* and nothing that is said afterwards changes it, or makes a list */
        entry.reason = round == 0 ? 1 : 5;
        ok(rig_record(NULL, &entry, &e));
        rig_rested();
        rig_look_now();
        if (round == 1) { /* from an index, and then from the file alone */
            ok(ledger_save(rig.ledger, &e));
            ok(ledger_saved(rig.ledger, &e));
        }
        rig_restart();
        rig_turn();
    }
    assert_int_equal(rig.signatures, 3);
}

static void on_schedule(void **state)
{
    int64_t start = rig.now_ms;

    (void)state;
    rig_turn();
    rig_rested();
    rig.now_ms = start + VALID_MS / 2 - 1000;
    rig_look_now();
    assert_int_equal(rig.signatures, 1);
    rig.now_ms = start + VALID_MS / 2;
    rig_look_now();
    assert_int_equal(rig_look_at(0).number, 2);
    assert_int_equal(rig_look_at(0).this_update, rig.now_ms / 1000);
    /* after a long time without power: at the start */
    rig.now_ms += 100 * DAY_MS;
    rig_restart();
    rig_turn();
    assert_int_equal(rig_look_at(0).number, 3);
    assert_int_equal(rig_look_at(0).this_update, rig.now_ms / 1000);
}

static void clock_that_goes_back(void **state)
{
    int64_t before;

    (void)state;
    rig_turn();
    before = rig_look_at(0).this_update;
    rig_rested();
    rig.now_ms -= 400 * DAY_MS;
    rig_look_now();
    assert_int_equal(rig.signatures, 1);
    rig_revoke(0, 1, 1);
    rig_turn();
    assert_int_equal(rig_look_at(0).number, 2);
    assert_int_equal(rig_look_at(0).entries, 1);
    assert_int_equal(rig_look_at(0).this_update, before);
    rig_restart();
    rig_turn();
    assert_int_equal(rig.signatures, 2);
    rig.now_ms += 400 * DAY_MS + VALID_MS;
    rig_look_now();
    assert_int_equal(rig_look_at(0).number, 3);
    assert_int_equal(rig_look_at(0).this_update, rig.now_ms / 1000);
}

static void file_is_lost(void **state)
{
    char path[PATH_MAX];
    struct buf der = BUF_INIT;
    struct err e = {0};

    (void)state;
    rig_turn();
    rig_crl_path(0, path);
    rig_rested();
    unlink(path);
    rig_look_now();
    assert_int_equal(rig_look_at(0).number, 2);
    ok(file_read(path, CRL_BYTES_MAX, &der, &e));
    der.data[der.len / 2] ^= 1;
    ok(file_write(path, der.data, der.len, 0644, &e));
    rig_restart();
    rig_turn();
    assert_int_equal(rig_look_at(0).number, 3);
    ok(file_write(path, "", 0, 0644, &e));
    rig_restart();
    rig_turn();
    assert_int_equal(rig_look_at(0).number, 4);
    /* an old list in the place of the new one */
    buf_reset(&der);
    ok(file_read(path, CRL_BYTES_MAX, &der, &e));
    rig_revoke(0, 1, 1);
    rig_turn();
    ok(file_write(path, der.data, der.len, 0644, &e));
    rig_restart();
    rig_turn();
    assert_int_equal(rig_look_at(0).entries, 1);
    buf_done(&der);
}

static void on_demand(void **state)
{
    struct err e = {0};

    (void)state;
    told = 0;
    rig.set.retired[0] = &rig.cas[1];
    rig.set.retired_count = 1;
    rig_restart();
    rig_turn();
    assert_int_equal(rig.signatures, 2);
    rig_rested();
    rig.now_ms += CRL_FRESH_MS;
    ok(crl_keeper_renew(rig.keeper, on_renewed, NULL, &e));
    ok(crl_keeper_renew(rig.keeper, on_renewed, NULL, &e));
    rig_turn();
    assert_int_equal(told, 2);
    assert_int_equal(told_error, ERR_NONE);
    assert_int_equal(rig.signatures, 4);
    rig.fail = ERR_TOKEN;
    rig_rested();
    rig.now_ms += CRL_FRESH_MS;
    ok(crl_keeper_renew(rig.keeper, on_renewed, NULL, &e));
    rig_turn();
    assert_int_equal(told, 3);
    assert_int_equal(told_error, ERR_TOKEN);
}

static void ask(void)
{
    struct err e = {0};

    told = 0;
    ok(crl_keeper_renew(rig.keeper, on_renewed, NULL, &e));
    rig_turn();
}

/* A list that is young and complete is as good as a new one: asking costs no entry and no signature. */
static void fresh_on_demand(void **state)
{
    char path[PATH_MAX];

    (void)state;
    rig_turn();
    for (int i = 0; i < 50; i++) {
        rig_rested();
        ask();
        assert_int_equal(told, 1);
        assert_int_equal(told_error, ERR_NONE);
    }
    assert_int_equal(rig.signatures, 1);
    rig.now_ms += CRL_FRESH_MS - 1;
    ask();
    assert_int_equal(rig_look_at(0).number, 1);
    rig.now_ms++;
    ask();
    assert_int_equal(told, 1);
    assert_int_equal(rig_look_at(0).number, 2);
    /* a young one that is not there, or not complete, is made */
    rig_crl_path(0, path);
    unlink(path);
    rig_rested();
    ask();
    assert_int_equal(rig_look_at(0).number, 3);
    rig.hold = true;
    rig_revoke(0, 1, 4);
    rig_turn(); /* a list with one is being signed, when another is revoked and its list is wanted */
    rig_revoke_quietly(0, 2, 4);
    assert_int_equal(ledger_commit(rig.ledger, NULL), 0);
    ask();
    rig.hold = false;
    rig_let_go();
    rig_turn();
    assert_int_equal(told, 0);
    assert_int_equal(rig_look_at(0).entries, 1);
    rig_rested();
    rig_look_now();
    assert_int_equal(told, 1);
    assert_int_equal(rig_look_at(0).entries, 2);
}

/* Revocations come as fast as somebody wants; lists do not. */
static void lists_keep_a_pace(void **state)
{
    (void)state;
    rig.still = true;
    rig_turn();
    for (uint32_t i = 0; i < 20; i++) {
        rig_revoke(0, i, 4);
        rig_turn();
    }
    ask(); /* nobody can hurry it */
    rig.skipped_ms += CRL_PACE_MS - 1;
    rig_look_now();
    assert_int_equal(rig.signatures, 1);
    assert_int_equal(told, 0);
    rig.skipped_ms++;
    rig.record_ms = 100; /* this one takes its time */
    rig_look_now();
    assert_int_equal(rig.signatures, 2);
    assert_int_equal(told, 1);
    assert_int_equal(rig_look_at(0).entries, 20);
    rig_revoke(0, 20, 4);
    rig.skipped_ms += 100 * CRL_PACE_TIMES - 1;
    rig_look_now();
    assert_int_equal(rig.signatures, 2);
    rig.skipped_ms++;
    rig.record_ms = 100000; /* and this one far too much */
    rig_look_now();
    assert_int_equal(rig_look_at(0).entries, 21);
    rig_revoke(0, 21, 4);
    rig.skipped_ms += CRL_PACE_MAX_MS - 1;
    rig_look_now();
    assert_int_equal(rig_look_at(0).entries, 21);
    rig.skipped_ms++;
    rig_look_now();
    assert_int_equal(rig_look_at(0).entries, 22);
    /* it needs no event to wake up */
    rig.still = false;
    rig.record_ms = 0;
    rig_revoke(0, 22, 4);
    rig_turn();
    rig_revoke_quietly(0, 23, 4);
    assert_int_equal(ledger_commit(rig.ledger, NULL), 0);
    crl_keeper_revoked(rig.keeper);
    for (int i = 0; i < 400 && rig_look_at(0).entries < 24; i++)
        rig_turn();
    assert_int_equal(rig_look_at(0).entries, 24);
}

/* Two CAs: each has its own list, the numbers are never the same. */
static void retired_too(void **state)
{
    struct crl_status s;

    (void)state;
    rig_turn();
    rig.set.retired[0] = &rig.cas[1];
    rig.set.retired_count = 1;
    rig_restart();
    rig_turn();
    assert_int_equal(rig_look_at(0).number, 1);
    assert_int_equal(rig_look_at(1).number, 2);
    rig_revoke(1, 5, 1);
    rig_turn();
    assert_int_equal(rig_look_at(0).number, 1);
    assert_int_equal(rig_look_at(1).number, 3);
    assert_int_equal(rig_look_at(1).entries, 1);
    assert_true(crl_keeper_status(rig.keeper, 1, &s));
    assert_int_equal(s.number, 3);
    assert_int_equal(s.revoked, 1);
    assert_false(crl_keeper_status(rig.keeper, 2, &s));
    /* a CA that is over needs none */
    rig.cas[1].not_after = rig.now_ms / 1000 + 86400;
    rig.now_ms += 2 * VALID_MS;
    rig_rested();
    rig_look_now();
    assert_int_equal(rig_look_at(0).number, 4);
    assert_int_equal(rig_look_at(1).number, 3);
    assert_true(crl_keeper_status(rig.keeper, 1, &s));
    assert_false(s.overdue);
}

static void token_is_away(void **state)
{
    struct crl_status s;

    (void)state;
    rig.fail = ERR_TOKEN_ABSENT;
    for (int i = 0; i < 5; i++)
        rig_look_now(); /* many looks, and only one try within the pause */
    assert_true(crl_keeper_status(rig.keeper, 0, &s));
    assert_int_equal(s.number, 0);
    assert_true(s.overdue);
    assert_int_equal(s.error.id, ERR_TOKEN_ABSENT);
    rig.fail = ERR_NONE;
    assert_int_equal(rig.signatures, 0);
    /* it comes back by itself, within the pause of a second or two */
    for (int i = 0; i < 100 && rig.signatures == 0; i++)
        rig_turn();
    assert_int_equal(rig.signatures, 1);
    assert_true(crl_keeper_status(rig.keeper, 0, &s));
    assert_int_equal(s.error.id, ERR_NONE);
    assert_false(s.overdue);
}

static void disk_is_away(void **state)
{
    char path[PATH_MAX], away[256];
    struct crl_status s;

    (void)state;
    rig_turn();
    rig_crl_path(0, path);
    snprintf(away, sizeof away, "%s.away", rig.crls);
    assert_int_equal(rename(rig.crls, away), 0);
    rig_revoke(0, 1, 1);
    rig_turn();
    assert_true(crl_keeper_status(rig.keeper, 0, &s));
    assert_true(s.error.id != ERR_NONE);
    assert_int_equal(rename(away, rig.crls), 0);
    for (int i = 0; i < 400 && s.error.id; i++) {
        rig_turn();
        crl_keeper_status(rig.keeper, 0, &s);
    }
    assert_int_equal(rig_look_at(0).entries, 1);
    assert_true(rig_look_at(0).number >= 3); /* a number that was recorded is not used again */
}

static void ca_without_the_right(void **state)
{
    struct crl_status s;

    (void)state;
    X509_free(rig.cas[0].cert);
    EVP_PKEY_free(rig.keys[0]);
    rig_make_ca(0, "critical,keyCertSign");
    rig_restart();
    rig_turn();
    assert_true(crl_keeper_status(rig.keeper, 0, &s));
    assert_int_equal(s.error.id, ERR_CONFIG);
    assert_int_equal(rig.signatures, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
            CRL_TEST(from_the_first_start_on),
            CRL_TEST(on_each_revocation),
            CRL_TEST(reason_gets_worse),
            CRL_TEST(on_schedule),
            CRL_TEST(clock_that_goes_back),
            CRL_TEST(file_is_lost),
            CRL_TEST(on_demand),
            CRL_TEST(fresh_on_demand),
            CRL_TEST(lists_keep_a_pace),
            CRL_TEST(retired_too),
            CRL_TEST(token_is_away),
            CRL_TEST(disk_is_away),
            CRL_TEST(ca_without_the_right),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
