/* A ledger that somebody rewrites while signerd is stopped, with all hashes right: the disk is theirs, the token is not. */
#include <openssl/sha.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/uuid.h"
#include "hsm/approval/order.h"
#include "hsm/ledger/ledger.h"
#include "tests/hsm/ledger_rig.h"

static void sha(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len, uint8_t ret[32])
{
    uint8_t all[1 << 16];

    assert_true(a_len + b_len <= sizeof all);
    memcpy(all, a, a_len);
    memcpy(all + a_len, b, b_len);
    SHA256(all, a_len + b_len, ret);
}

/* Makes every check and chain value fit the bytes as they are now. */
static void rechain(struct buf *b)
{
    uint8_t chain[32], hash[32];
    size_t at = 32;

    SHA256(b->data, 32, chain);
    while (at < b->len) {
        uint8_t *group = b->data + at;
        size_t payload = rig_be32(group + 4);

        sha(chain, 32, group, 16, hash);
        memcpy(group + 16, hash, 8);
        sha(chain, 32, group, RIG_GROUP_HEADER + payload, hash);
        sha(hash, 32, group + RIG_GROUP_HEADER + payload, 64, chain);
        memcpy(group + RIG_GROUP_HEADER + payload + 64, chain, 32);
        at += RIG_GROUP_HEADER + payload + RIG_GROUP_END;
    }
    assert_int_equal(at, b->len);
}

static void rewritten_ledger_is_noticed(void **state)
{
    struct buf good = BUF_INIT, bad = BUF_INIT;
    struct ledger *l;
    struct err e = {0};

    (void)state;
    station_start(&st);
    ok(station_issue_new(&st, 0, &e));
    ok(station_issue_new(&st, 1, &e));
    station_wait_marked(&st);
    station_stop(&st, SIGTERM);
    rig_read(&good);

    /* device 0 is forgotten: its entry is another device's */
    rig_read(&bad);
    rig_first_issued(&bad)[8 + 16 + 3] ^= 1;
    rig_write(&bad);
    rig_start_refuses("the chain of hashes is broken");
    rechain(&bad);
    rig_write(&bad);
    ok(ledger_open(rig_path, &l, &e)); /* as such it is a whole ledger */
    ledger_close(&l);
    rig_start_refuses("its newest checkpoint is about other content");

    /* everything goes but the header: nothing that a checkpoint could be missing from */
    bad.len = 32;
    rig_write(&bad);
    rig_start_refuses("older than the HSM's mark");

    /* what was issued stays, the checkpoints go */
    rig_read(&bad);
    buf_reset(&bad);
    buf_append(&bad, good.data, 32, &e);
    for (size_t at = 32; at < good.len;
            at += RIG_GROUP_HEADER + rig_be32(good.data + at + 4) + RIG_GROUP_END)
        if (good.data[at + 24 + 4] == LEDGER_ISSUED)
            buf_append(&bad, good.data + at,
                    RIG_GROUP_HEADER + rig_be32(good.data + at + 4) + RIG_GROUP_END, &e);
    rechain(&bad);
    rig_write(&bad);
    rig_start_refuses("never vouched for this ledger");

    rig_write(&good);
    station_start(&st);
    ok(station_issue_new(&st, 2, &e));
    buf_done(&good);
    buf_done(&bad);
}

/* A group of one entry, whose fixed part and tail are given; its hashes are rechain()'s. */
static void append_group(struct buf *b, const uint8_t *fixed, const uint8_t *tail, size_t tail_len)
{
    uint8_t header[RIG_GROUP_HEADER] = "KLG2", end[RIG_GROUP_END] = {0}, entry[104];
    uint32_t payload = (uint32_t)(sizeof entry + tail_len);
    struct err e = {0};

    for (int i = 0; i < 4; i++) {
        header[4 + i] = (uint8_t)(payload >> 8 * (3 - i));
        entry[i] = (uint8_t)(tail_len >> 8 * (3 - i));
    }
    memcpy(entry + 4, fixed + 4, sizeof entry - 4);
    header[11] = 1;
    ok(buf_append(b, header, sizeof header, &e));
    ok(buf_append(b, entry, sizeof entry, &e));
    ok(buf_append(b, tail, tail_len, &e));
    ok(buf_append(b, end, sizeof end, &e));
}

/* The entry of the last checkpoint, whose group has no other. */
static size_t last_checkpoint(const struct buf *b)
{
    size_t found = 0;

    for (size_t at = 32; at < b->len;
            at += RIG_GROUP_HEADER + rig_be32(b->data + at + 4) + RIG_GROUP_END)
        if (b->data[at + RIG_GROUP_HEADER + 4] == LEDGER_CHECKPOINT)
            found = at + RIG_GROUP_HEADER;
    assert_true(found);
    return found;
}

/* Another history in which all that the token has signed stands where it was, as the text of a refusal: the chain's values at
 * the places of the checkpoint and of the mark are there to be read, but no group ends at these places. */
static void chain_inside_an_entry_is_none(void **state)
{
    const char *const verify[] = {SIGNERD, "--verify-ledger", NULL};
    uint8_t refused_entry[104] = {0, 0, 0, 0, LEDGER_REFUSED};
    struct buf good = BUF_INIT, bad = BUF_INIT;
    struct ledger *l;
    struct err e = {0};
    size_t at, tail = 32 + 24 + 104;

    (void)state;
    rig_issue_and_stop(0, NULL, &good);
    at = last_checkpoint(&good);
    ok(buf_append(&bad, good.data, 32, &e));
    append_group(&bad, refused_entry, good.data + tail, good.len - tail);
    append_group(&bad, good.data + at, good.data + at + 104, rig_be32(good.data + at));
    rechain(&bad);
    assert_memory_equal(bad.data + tail, good.data + tail, good.len - tail);
    rig_write(&bad);
    ok(ledger_open(rig_path, &l, &e)); /* as such it is a whole ledger */
    assert_int_equal(ledger_counts(l).issued, 0);
    ledger_close(&l);
    rig_start_refuses("its newest checkpoint is about other content");
    assert_int_equal(station_run(verify), 1);
    rig_write(&good);
    assert_int_equal(station_run(verify), 0);
    station_start(&st);
    ok(station_issue_new(&st, 1, &e));
    buf_done(&good);
    buf_done(&bad);
}

/* ---- what somebody adds behind the newest checkpoint */

/* As the ledger's own code does it, in a process that no checkpoint names. */
static void add_group(struct buf *b, const struct ledger_entry *entry)
{
    struct ledger *l;
    struct err e = {0};

    rig_write(b);
    ok(ledger_open(rig_path, &l, &e));
    ok(ledger_add(l, entry, &e));
    ok(ledger_commit(l, &e));
    ledger_close(&l);
    rig_read(b);
}

static void add_revocation(struct buf *b)
{
    const uint8_t *issued = rig_first_issued(b);
    uint8_t ca[CERT_KEY_ID_BYTES] = {0};
    struct ledger_entry x = {.type = LEDGER_REVOKED, .reason = 1, .tail = {ca, sizeof ca}};

    memcpy(x.device, issued + 8 + 16, sizeof x.device);
    memcpy(x.serial, issued + 88, sizeof x.serial);
    add_group(b, &x);
}

static void add_withdrawal(struct buf *b)
{
    struct ledger_entry x = {.type = LEDGER_WITHDRAWN};

    uuid_bytes(st.ticket.job, x.job);
    add_group(b, &x);
}

/* A genuine one again: the first, which names the process that wrote what was issued first. */
static void add_old_checkpoint(struct buf *b)
{
    const size_t at = RIG_FILE_HEADER + RIG_GROUP_HEADER;
    struct buf entry = BUF_INIT;
    struct err e = {0};

    assert_int_equal(b->data[at + 4], LEDGER_CHECKPOINT);
    ok(buf_append(&entry, b->data + at, RIG_ENTRY + rig_be32(b->data + at), &e));
    append_group(b, entry.data, entry.data + RIG_ENTRY, entry.len - RIG_ENTRY);
    rechain(b);
    add_revocation(b);
    buf_done(&entry);
}

/* One of the attacker's own for the attacker's own process: about so many bytes, or about all that is there. */
static void add_made_up_checkpoint(struct buf *b, uint64_t row)
{
    uint8_t tail[LEDGER_CHECKPOINT_FIXED + 64];
    struct ledger_entry x = {.type = LEDGER_CHECKPOINT, .time_ms = 1, .tail = {tail, sizeof tail}};
    struct ledger_state end;
    struct ledger *l;
    struct err e = {0};

    memcpy(tail, b->data + last_checkpoint(b) + RIG_ENTRY, sizeof tail);
    rig_write(b);
    ok(ledger_open(rig_path, &l, &e));
    ledger_state(l, &end);
    x.row = row ? row : end.size;
    memcpy(x.spki_sha256, end.chain, sizeof x.spki_sha256);
    memcpy(tail + CERT_KEY_ID_BYTES + LEDGER_INDEX_DIGEST, ledger_writer(l), LEDGER_WRITER_BYTES);
    ok(ledger_add(l, &x, &e));
    ok(ledger_commit(l, &e));
    ledger_close(&l);
    rig_read(b);
}

static void add_own_checkpoint(struct buf *b)
{
    add_made_up_checkpoint(b, 0);
}

static void add_checkpoint_about_the_future(struct buf *b)
{
    add_made_up_checkpoint(b, UINT64_MAX);
}

/* A genuine group a second time, with its signature. */
static void add_genuine_group(struct buf *b)
{
    const uint8_t *group = rig_first_issued(b) - RIG_GROUP_HEADER;
    struct buf copy = BUF_INIT;
    struct err e = {0};

    ok(buf_append(&copy, group, RIG_GROUP_HEADER + rig_be32(group + 4) + RIG_GROUP_END, &e));
    ok(buf_append(b, copy.data, copy.len, &e));
    rechain(b);
    buf_done(&copy);
}

/* Nothing is left but the first checkpoint of all, about an empty ledger; then the attacker's history. */
static void add_behind_first_checkpoint(struct buf *b)
{
    b->len = RIG_FILE_HEADER + RIG_GROUP_HEADER + rig_be32(b->data + RIG_FILE_HEADER + 4) +
             RIG_GROUP_END;
    add_group(b, &(struct ledger_entry){.type = LEDGER_WITHDRAWN, .job = {1}});
}

/* Where signerd --verify-ledger sees the first group that is not the signer's. */
static size_t foreign_from(void)
{
    char line[1024];
    const char *at = NULL;
    size_t byte = 0;
    FILE *f = popen(SIGNERD " --verify-ledger 2>&1", "r");

    assert_non_null(f);
    while (!at && fgets(line, sizeof line, f))
        at = strstr(line, "from byte ");
    if (at)
        byte = strtoul(at + strlen("from byte "), NULL, 10);
    assert_int_equal(pclose(f) != 0, byte != 0);
    return byte;
}

/* The price of accepting it is known; then it is as good as any, also when all of it is read again. */
static void accept_and_go_on(size_t row)
{
    struct err e = {0};

    assert_int_equal(rig_accept(), 0);
    assert_int_equal(foreign_from(), 0);
    station_start(&st);
    while (rig_number("verified_bytes") == 0)
        help_rest_ms(20);
    ok(station_issue_new(&st, row, &e));
    station_stop(&st, SIGTERM);
    assert_int_equal(foreign_from(), 0);
}

static void added_groups_are_not_believed(void **state)
{
    static const struct {
        void (*forge)(struct buf *);
        const char *why;
    } rows[] = {
            {add_revocation, "added to without the signer"},
            {add_old_checkpoint, "added to without the signer"},
            {add_own_checkpoint, "the signature of a checkpoint is wrong"},
            {add_checkpoint_about_the_future, "added to without the signer"},
            {add_genuine_group, "added to without the signer"},
            {add_behind_first_checkpoint, "added to without the signer"},
    };
    struct buf good = BUF_INIT, bad = BUF_INIT;
    struct err e = {0};

    (void)state;
    for (size_t run = 0; run < 2; run++) { /* of two processes */
        station_start(&st);
        ok(station_issue_new(&st, run, &e));
        station_wait_marked(&st);
        station_stop(&st, SIGTERM);
    }
    rig_read(&good);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        buf_reset(&bad);
        ok(buf_append(&bad, good.data, good.len, &e));
        rows[i].forge(&bad);
        rig_write(&bad);
        rig_start_refuses(rows[i].why);
        /* what is cut off there was the attacker's alone */
        if (rows[i].forge != add_behind_first_checkpoint)
            assert_int_equal(foreign_from(), good.len);
        else
            assert_in_range(foreign_from(), RIG_FILE_HEADER, good.len - 1);
        accept_and_go_on(10 + i);
        rig_write(&good);
        assert_int_equal(rig_accept(), 0);
        rig_read(&good);
    }
    station_start(&st);
    ok(station_issue_new(&st, 2, &e));
    buf_done(&good);
    buf_done(&bad);
}

/* Who could write to the disk writes that an order is carried out already. Whoever comes with it is not told so: with the
 * forgery taken away again nothing of it would be left. */
static void forged_entries_carry_out_no_order(void **state)
{
    struct order orders[2] = {{.kind = ORDER_REVOKE}};
    EVP_PKEY *key = help_key("P-256");
    struct buf cert = BUF_INIT, good = BUF_INIT, bad = BUF_INIT;
    struct err e = {0};
    bool fresh;

    (void)state;
    station_start(&st);
    ok(station_issue(&st, 0, key, &cert, &fresh, &e));
    station_wait_marked(&st);
    station_stop(&st, SIGTERM);
    rig_read(&good);
    station_revocation(&st, 0, &cert, &orders[0]);
    orders[1] = (struct order){.kind = ORDER_WITHDRAW, .issued_at = 1};
    strcpy(orders[1].job, st.ticket.job);
    strcpy(orders[1].approver, orders[0].approver);
    for (int i = 0; i < 2; i++) {
        buf_reset(&bad);
        ok(buf_append(&bad, good.data, good.len, &e));
        (i ? add_withdrawal : add_revocation)(&bad);
        rig_write(&bad);
        station_start(&st);
        refused(station_order(&st, &orders[i], NULL, &e), LEDGER);
        station_stop(&st, SIGTERM);
    }
    rig_write(&good);
    station_start(&st);
    station_wait_vouched(&st);
    for (int i = 0; i < 2; i++) {
        json_t *answer;

        ok(station_order(&st, &orders[i], &answer, &e));
        assert_true(json_is_true(json_object_get(answer, "fresh")));
        json_decref(answer);
    }
    buf_done(&cert);
    buf_done(&good);
    buf_done(&bad);
    EVP_PKEY_free(key);
}

/* What a signer wrote behind its last checkpoint before it was killed is believed as it is, and not if a byte of it is
 * another. */
static void tail_of_the_killed_is_believed(void **state)
{
    EVP_PKEY *key = help_key("P-256");
    struct buf cert = BUF_INIT, good = BUF_INIT, bad = BUF_INIT;
    struct err e = {0};
    bool fresh = true;
    size_t at = 0;

    (void)state;
    station_start(&st);
    ok(station_issue_new(&st, 0, &e));
    station_wait_marked(&st); /* the next checkpoint is a second away */
    ok(station_issue(&st, 1, key, &cert, &fresh, &e));
    station_stop(&st, SIGKILL);
    assert_false(rig_signed_to_the_end());
    rig_read(&good);
    for (size_t next = RIG_FILE_HEADER; next < good.len;
            next += RIG_GROUP_HEADER + rig_be32(good.data + next + 4) + RIG_GROUP_END)
        at = next;
    assert_int_equal(good.data[at + RIG_GROUP_HEADER + 4], LEDGER_ISSUED);
    ok(buf_append(&bad, good.data, good.len, &e));
    for (int i = 0; i < 2; i++) {
        /* its device; its signature */
        size_t byte = i ? bad.len - 40 : at + RIG_GROUP_HEADER + 8 + 16 + 3;

        bad.data[byte] ^= 1;
        rechain(&bad);
        rig_write(&bad);
        rig_start_refuses("added to without the signer");
        bad.data[byte] ^= 1;
    }
    rig_write(&good);
    station_start(&st);
    ok(station_issue(&st, 1, key, &cert, &fresh, &e));
    assert_false(fresh);
    ok(station_issue_new(&st, 2, &e));
    buf_done(&cert);
    buf_done(&good);
    buf_done(&bad);
    EVP_PKEY_free(key);
}

/* Before a signer is introduced by its first checkpoint it writes nothing: what it refused meanwhile comes behind it. */
static void nothing_is_written_before_the_introduction(void **state)
{
    EVP_PKEY *key = help_key("P-256");
    struct buf cert = BUF_INIT, before = BUF_INIT, now = BUF_INIT;
    struct err e = {0};
    bool fresh;

    (void)state;
    rig_issue_and_stop(0, key, &before);
    station_fault(&st, "CKR_DEVICE_ERROR");
    for (int round = 0; round < 2; round++) {
        station_start(&st);
        refused(station_issue(&st, 1, key, &cert, &fresh, &e), KEY_REUSED);
        help_rest_ms(200);
        rig_read(&now);
        assert_int_equal(now.len, before.len);
        if (round == 0)
            station_stop(&st, SIGKILL);
    }
    station_fault(&st, "");
    station_wait_vouched(&st);
    station_stop(&st, SIGKILL);
    rig_read(&now);
    assert_true(now.len > before.len);
    assert_int_equal(now.data[before.len + RIG_GROUP_HEADER + 4], LEDGER_REFUSED);
    station_start(&st);
    ok(station_issue_new(&st, 1, &e));
    buf_done(&cert);
    buf_done(&before);
    buf_done(&now);
    EVP_PKEY_free(key);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
            LEDGER_TEST(rewritten_ledger_is_noticed),
            LEDGER_TEST(chain_inside_an_entry_is_none),
            LEDGER_TEST(added_groups_are_not_believed),
            LEDGER_TEST(forged_entries_carry_out_no_order),
            LEDGER_TEST(tail_of_the_killed_is_believed),
            LEDGER_TEST(nothing_is_written_before_the_introduction),
    };

    return FLOW_RUN(argc, argv, tests);
}
