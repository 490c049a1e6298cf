/* The ledger bound to its token: the real signerd with a real SoftHSM, and the hands of somebody who
 * exchanges, shortens and rewrites files while it is stopped. */
#include <fcntl.h>
#include <openssl/sha.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "base/limits.h"
#include "base/text.h"
#include "hsm/ledger/checkpoint.h"
#include "hsm/ledger/ledger.h"
#include "hsm/token/module.h"
#include "hsm/approval/order.h"
#include "hsm/signer_client.h"
#include "tests/hsm/ledger_rig.h"

static void old_copy_is_noticed(void **state)
{
    struct buf old = BUF_INIT, newest = BUF_INIT;
    struct err e = {0};

    (void)state;
    rig_issue_and_stop(0, NULL, &old);
    rig_issue_and_stop(1, NULL, &newest);
    rig_write(&old);
    rig_start_refuses("older than the HSM's mark");
    /* the right one puts all in order */
    rig_write(&newest);
    station_start(&st);
    ok(station_issue_new(&st, 2, &e));
    station_stop(&st, SIGTERM);
    /* and a person can take the old one, knowing what it costs */
    rig_write(&old);
    assert_int_equal(rig_accept(), 0);
    station_start(&st);
    ok(station_issue_new(&st, 1, &e)); /* the price: device 1 has two certificates now */
    station_wait_marked(&st);
    station_stop(&st, SIGTERM);
    rig_write(&newest);
    station_start(&st);
    rig_refuses("the HSM's mark"); /* older, or another after some point */
    buf_done(&old);
    buf_done(&newest);
}

static void deleted_ledger_is_noticed(void **state)
{
    struct err e = {0};

    (void)state;
    station_start(&st);
    ok(station_issue_new(&st, 0, &e));
    station_wait_marked(&st);
    station_stop(&st, SIGKILL);
    assert_int_equal(unlink(rig_path), 0);
    rig_start_refuses("another ledger");
    assert_int_equal(rig_accept(), 0);
    station_start(&st);
    ok(station_issue_new(&st, 0, &e));
    assert_int_equal(rig_number("marked_bytes") > 0, 1);
}

/* What anybody can do who reaches the token: with no PIN, public objects. */
static void make_public_marks(const struct buf *ledger, int count)
{
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_OBJECT_CLASS class = CKO_DATA;
    char label[] = "keyline-ledger line-1", path[PATH_MAX];
    uint8_t value[MARK_BYTES];
    CK_ATTRIBUTE a[] = {{CKA_CLASS, &class, sizeof class}, {CKA_TOKEN, &yes, 1},
            {CKA_PRIVATE, &no, 1}, {CKA_LABEL, label, sizeof label - 1},
            {CKA_VALUE, value, sizeof value}};
    struct mark mark = {.writes = 1ull << 62};
    CK_OBJECT_HANDLE object;
    CK_SESSION_HANDLE session;
    CK_SLOT_ID slot;
    struct ledger *l;
    struct module m;
    struct err e = {0};

    snprintf(path, sizeof path, "%s/of-the-mark", st.root);
    ok(file_write(path, ledger->data, ledger->len, 0640, &e));
    ok(ledger_open(path, &l, &e));
    ledger_state(l, &mark.state);
    ledger_close(&l);
    paths_get(&st.paths, PATH_SOFTHSM_CONF, path);
    setenv("SOFTHSM2_CONF", path, 1);
    ok(module_open("/usr/lib/softhsm/libsofthsm2.so", &m, &e));
    assert_int_equal(m.f->C_Initialize(NULL), CKR_OK);
    ok(module_find_token(&m, "keyline", &slot, &e));
    assert_int_equal(
            m.f->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session),
            CKR_OK);
    for (; count; count--, mark.writes++) {
        mark_encode(&mark, value);
        assert_int_equal(m.f->C_CreateObject(session, a, 5, &object), CKR_OK);
    }
    m.f->C_Finalize(NULL);
    module_close(&m);
    unsetenv("SOFTHSM2_CONF");
}

static void public_mark_is_nothing(void **state)
{
    struct buf old = BUF_INIT, newest = BUF_INIT;
    struct err e = {0};

    (void)state;
    rig_issue_and_stop(0, NULL, &old);
    rig_issue_and_stop(1, NULL, &newest);
    make_public_marks(&old, 2);
    /* also with a token that does not look at the whole template, CKA_PRIVATE being 2 */
    for (int i = 0; i < 2; i++) {
        station_fault(&st, i ? "C_FindObjectsInit * unset 2" : "");
        rig_write(&old);
        rig_start_refuses("older than the HSM's mark");
        /* nor do they end the real ones when the next is written */
        rig_write(&newest);
        station_start(&st);
        ok(station_issue_new(&st, 2 + (size_t)i, &e));
        station_wait_marked(&st);
        station_stop(&st, SIGTERM);
        rig_read(&newest);
    }
    /* so many that the real ones might have no room in a list */
    make_public_marks(&old, 16);
    station_fault(&st, "");
    rig_write(&old);
    rig_start_refuses("older than the HSM's mark");
    rig_write(&newest);
    station_fault(&st, "C_FindObjectsInit * unset 2");
    station_start(&st);
    refused(station_issue_new(&st, 4, &e), UNAVAILABLE);
    station_fault(&st, "");
    for (int i = 0; station_issue_new(&st, 4, &e) < 0; i++) {
        if (i > 200 || e.id != ERR_UNAVAILABLE)
            fail_msg("%s: %s", err_name(e.id), e.msg);
        err_clear(&e);
        help_rest_ms(20);
    }
    buf_done(&old);
    buf_done(&newest);
}

/* The token without its marks, as after a restore from the ceremony's copy. */
static void lost_mark_is_noticed(void **state)
{
    struct err e = {0};
    char command[4 * PATH_MAX], tokens[PATH_MAX];

    (void)state;
    paths_get(&st.paths, PATH_TOKENS, tokens);
    snprintf(command, sizeof command, "cp -a %s %s.ceremony", tokens, tokens);
    assert_int_equal(station_run((const char *[]){"sh", "-c", command, NULL}), 0);
    station_start(&st);
    ok(station_issue_new(&st, 0, &e));
    station_wait_marked(&st);
    ok(station_issue_new(&st, 1, &e)); /* the next checkpoint says that there is a mark */
    station_wait_marked(&st);
    station_stop(&st, SIGTERM);
    snprintf(command, sizeof command, "rm -r %s && cp -a %s.ceremony %s", tokens, tokens, tokens);
    assert_int_equal(station_run((const char *[]){"sh", "-c", command, NULL}), 0);
    rig_start_refuses("it has none");
    assert_int_equal(rig_accept(), 0);
    station_start(&st);
    ok(station_issue_new(&st, 2, &e));
}

/* What is written while a checkpoint is with the token comes into the next one, also when nothing
 * follows, and with a slow token within seconds. */
static void last_entries_are_signed(void **state)
{
    EVP_PKEY *key = help_key("P-256");
    struct buf cert = BUF_INIT;
    struct err e = {0};
    json_int_t before;
    bool fresh;
    int i;

    (void)state;
    station_start(&st);
    ok(station_issue(&st, 0, key, &cert, &fresh, &e));
    station_wait_marked(&st);
    station_stop(&st, SIGTERM);
    station_fault(&st, "C_Sign * delay 1000");
    station_start(&st);
    for (i = 0; rig_number("marked_bytes") == 0; i++) {
        assert_true(i < 2000);
        help_rest_ms(2);
    }
    help_rest_ms(20); /* the mark was read: now the start's checkpoint is being signed */
    before = rig_number("bytes");
    refused(station_issue(&st, 1, key, &cert, &fresh, &e), KEY_REUSED);
    assert_int_equal(rig_number("signed_bytes"), 0);
    for (i = 0; rig_number("signed_bytes") == 0; i++) {
        assert_true(i < 500);
        help_rest_ms(10);
    }
    assert_int_equal(rig_number("signed_bytes"), before);
    for (i = 0; !rig_signed_to_the_end(); i++) {
        assert_true(i < 140); /* 20 s, if it were measured by how long the signature took */
        help_rest_ms(100);
    }
    assert_true(rig_number("signed_bytes") > before);
    buf_done(&cert);
    EVP_PKEY_free(key);
}

/* However short before its end something was written, a stop in order leaves it signed, and marked in the token. */
static void stop_leaves_it_signed_and_marked(void **state)
{
    struct buf whole = BUF_INIT;
    struct err e = {0};
    size_t bytes = 0;

    (void)state;
    station_config(&st, "mark_every_s = 3600\n");
    for (size_t i = 0; i < 6; i += 2) {
        station_start(&st);
        ok(station_issue_new(&st, i, &e));
        bytes = (size_t)rig_number("bytes");
        ok(station_issue_new(&st, i + 1, &e));
        station_stop(&st, i % 4 ? SIGINT : SIGTERM);
        assert_true(rig_signed_to_the_end());
    }
    rig_read(&whole);
    assert_true(bytes > RIG_FILE_HEADER && bytes < whole.len);
    whole.len = bytes; /* without the last certificate */
    rig_write(&whole);
    station_start(&st);
    rig_refuses("older than the HSM's mark");
    buf_done(&whole);
}

/* A token that is away, or takes its time, does not hold the stop up; what is unsigned is believed at the next start. */
static void stop_does_not_wait_for_the_token(void **state)
{
    static const char *const faults[] = {"CKR_DEVICE_REMOVED", "C_Sign * delay 60000"};
    struct err e = {0};
    int64_t begun;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        station_start(&st);
        ok(station_issue_new(&st, 2 * i, &e));
        station_wait_marked(&st);
        ok(station_issue_new(&st, 2 * i + 1, &e));
        station_fault(&st, faults[i]);
        begun = time_monotonic_ms();
        station_stop(&st, SIGTERM);
        assert_true(time_monotonic_ms() - begun < SUPERVISE_STOP_MS);
        station_fault(&st, "");
        assert_false(rig_signed_to_the_end());
    }
    station_start(&st);
    ok(station_issue_new(&st, 5, &e));
}

/* A byte of the part that a start with an index does not read again; here the ledger is changed under the running signer. */
static void scrub_ends_the_work(void **state)
{
    const char *const verify[] = {SIGNERD, "--verify-ledger", NULL};
    struct buf whole = BUF_INIT;
    struct err e = {0};
    uint8_t wrong;
    int fd;

    (void)state;
    station_start(&st);
    ok(station_issue_new(&st, 0, &e));
    station_wait_marked(&st);
    assert_int_equal(station_run(verify), 0); /* while it is in use */
    while (rig_number("verified_bytes") == 0)
        help_rest_ms(20);
    station_stop(&st, SIGTERM);
    station_start(&st);
    rig_read(&whole);
    wrong = rig_first_issued(&whole)[8 + 32 + 7] ^ 1; /* its row */
    fd = open(rig_path, O_WRONLY);
    assert_int_equal(pwrite(fd, &wrong, 1, rig_first_issued(&whole) - whole.data + 8 + 32 + 7), 1);
    close(fd);
    for (int i = 0; station_issue_new(&st, 1, &e) == 0 || e.id != ERR_LEDGER; i++) {
        assert_true(i < 200);
        err_clear(&e);
        help_rest_ms(20);
    }
    err_clear(&e);
    rig_refuses("damaged at byte");
    station_stop(&st, SIGTERM);
    assert_int_equal(station_run(verify), 1);
    rig_start_refuses("damaged at byte");
    buf_done(&whole);
}

static void withdraw(struct err *e)
{
    struct order o = {.kind = ORDER_WITHDRAW, .approver = "test", .issued_at = 1};
    struct buf json = BUF_INIT;
    struct err why = {0};
    char *jws;

    snprintf(o.job, sizeof o.job, "%s", st.ticket.job);
    help_ok(order_sign(&o, st.approver, st.approver_chain, &jws, &why), &why, "order_sign",
            __FILE__, __LINE__);
    assert_int_equal(signer_order(st.bus, jws, &json, e), -1);
    buf_done(&json);
    free(jws);
}

/* A call of the door that is answered with the ledger's error. */
static void call_is_refused(const char *method, const char *types, ...)
{
    sd_bus_error error = SD_BUS_ERROR_NULL;
    sd_bus_message *m = NULL;
    va_list args;

    assert_true(sd_bus_message_new_method_call(st.bus, &m, NULL, "/org/keyline/Signer1",
                        "org.keyline.Signer1", method) >= 0);
    va_start(args, types);
    assert_true(sd_bus_message_appendv(m, types, args) >= 0);
    va_end(args);
    assert_true(sd_bus_call(st.bus, m, 5000000, &error, NULL) < 0);
    assert_string_equal(error.name, "org.keyline.Error.Ledger");
    sd_bus_error_free(&error);
    sd_bus_message_unref(m);
}

/* Damage in what a start reads: the signer comes up, says so, gives nothing out, and changes nothing. */
static void damaged_ledger_is_shown(void **state)
{
    EVP_PKEY *key = help_key("P-256");
    struct buf good = BUF_INIT, bad = BUF_INIT, now = BUF_INIT, cert = BUF_INIT;
    struct err e = {0};
    bool fresh;

    (void)state;
    rig_issue_and_stop(0, key, &good);
    for (int i = 0; i < 3; i++) {
        /* what the file is; its format; the begin of its last group, which looks like an unfinished one to nobody */
        const size_t bytes[] = {3, 15, good.len - 200};

        buf_reset(&bad);
        ok(buf_append(&bad, good.data, good.len, &e));
        bad.data[bytes[i]] ^= 4;
        rig_write(&bad);
        station_start(&st);
        rig_refuses(i == 1 ? "a ledger of format 6" : "damaged at byte");
        refused(station_issue(&st, 0, key, &cert, &fresh, &e), LEDGER);
        withdraw(&e);
        assert_int_equal(e.id, ERR_LEDGER);
        err_clear(&e);
        call_is_refused("Ledger", "stu", "", UINT64_MAX, 10);
        call_is_refused("RenewCrls", "");
        assert_int_equal(rig_accept(), 1); /* the file is in use */
        station_stop(&st, SIGTERM);
        rig_read(&now);
        assert_int_equal(now.len, bad.len);
        assert_memory_equal(now.data, bad.data, bad.len);
    }
    rig_write(&good);
    station_start(&st);
    ok(station_issue(&st, 0, key, &cert, &fresh, &e));
    assert_false(fresh);
    ok(station_issue_new(&st, 1, &e));
    buf_done(&good);
    buf_done(&bad);
    buf_done(&now);
    buf_done(&cert);
    EVP_PKEY_free(key);
}

/* An honest signer is never refused, whenever it dies. */
static void killed_at_any_moment(void **state)
{
    struct err e = {0};
    size_t row = 0;

    (void)state;
    for (int round = 0; round < 24; round++) {
        station_start(&st);
        if (round % 2 && row < 40)
            ok(station_issue_new(&st, row++, &e));
        /* checkpoint and mark follow within some milliseconds: kill before, in and after them */
        help_rest_ms((unsigned)(round * 7 % 60));
        station_stop(&st, SIGKILL);
    }
    station_start(&st);
    ok(station_issue_new(&st, row, &e));
    station_wait_marked(&st);
}

/* So many that the index goes to its file: by the running signer's child, named by a checkpoint, and used by the next. */
static void index_is_kept(void **state)
{
    enum { COUNT = 66000 };
    EVP_PKEY *key = help_key("P-256");
    struct ledger_entry x = {.type = LEDGER_ISSUED, .job = {9}};
    struct buf cert = BUF_INIT, index = BUF_INIT;
    struct ledger *l;
    struct err e = {0};
    char path[PATH_MAX + 8];
    bool fresh;

    (void)state;
    ok(ledger_open(rig_path, &l, &e));
    x.tail = (struct cert_bytes){(const uint8_t *)"certificate", 11};
    for (uint32_t n = 0; n < COUNT; n++) {
        memcpy(x.device, &n, sizeof n);
        memcpy(x.spki_sha256, &n, sizeof n);
        ok(ledger_add(l, &x, &e));
        if (ledger_waiting(l) == 4000)
            ok(ledger_commit(l, &e));
    }
    ok(ledger_commit(l, &e));
    ledger_close(&l);
    assert_int_equal(rig_accept(), 0);
    snprintf(path, sizeof path, "%s.index", rig_path);
    station_start(&st);
    for (int i = 0; access(path, F_OK) < 0; i++) {
        assert_true(i < 1000);
        help_rest_ms(20);
    }
    ok(station_issue(&st, 0, key, &cert, &fresh, &e));
    assert_true(fresh);
    station_wait_marked(&st);
    for (int round = 0; round < 3; round++) {
        station_stop(&st, SIGKILL);
        /* as it is; with a wrong byte; without it */
        if (round == 1) {
            ok(file_read(path, 16u << 20, &index, &e));
            index.data[200] ^= 1;
            ok(file_write(path, index.data, index.len, 0640, &e));
        } else if (round == 2) {
            assert_int_equal(unlink(path), 0);
        }
        station_start(&st);
        ok(station_issue(&st, 0, key, &cert, &fresh, &e));
        assert_false(fresh);
        ok(station_issue_new(&st, 1 + (size_t)round, &e));
    }
    buf_done(&cert);
    buf_done(&index);
    EVP_PKEY_free(key);
}

/* SoftHSM was killed while it made a mark: of the two, the newer one is empty. */
static void unfinished_mark_is_no_loss(void **state)
{
    struct err e = {0};
    char command[4 * PATH_MAX], tokens[PATH_MAX];

    (void)state;
    paths_get(&st.paths, PATH_TOKENS, tokens);
    station_start(&st);
    ok(station_issue_new(&st, 0, &e));
    station_wait_marked(&st);
    ok(station_issue_new(&st, 1, &e));
    station_wait_marked(&st);
    station_stop(&st, SIGTERM);
    snprintf(command, sizeof command,
            "cd %s/*/ && newest=$(ls -t *.object | head -n 1) && [ ! -e %s.backup/*/$newest ] && : "
            ">$newest",
            tokens, tokens);
    assert_int_equal(station_run((const char *[]){"sh", "-c", command, NULL}), 0);
    station_start(&st);
    ok(station_issue_new(&st, 2, &e));
    station_wait_marked(&st);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
            LEDGER_TEST(old_copy_is_noticed),
            LEDGER_TEST(deleted_ledger_is_noticed),
            LEDGER_TEST(public_mark_is_nothing),
            LEDGER_TEST(lost_mark_is_noticed),
            LEDGER_TEST(last_entries_are_signed),
            LEDGER_TEST(stop_leaves_it_signed_and_marked),
            LEDGER_TEST(stop_does_not_wait_for_the_token),
            LEDGER_TEST(scrub_ends_the_work),
            LEDGER_TEST(damaged_ledger_is_shown),
            LEDGER_TEST(killed_at_any_moment),
            LEDGER_TEST(index_is_kept),
            LEDGER_TEST(unfinished_mark_is_no_loss),
    };

    return FLOW_RUN(argc, argv, tests);
}
