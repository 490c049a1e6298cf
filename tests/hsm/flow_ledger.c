/* The ledger bound to its token: the real signerd with a real SoftHSM, and the hands of somebody who
 * exchanges, shortens and rewrites files while it is stopped. */
#include <fcntl.h>
#include <openssl/sha.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/file.h"
#include "hsm/checkpoint.h"
#include "hsm/ledger.h"
#include "hsm/module.h"
#include "tests/hsm/station.h"

static struct station st;
static char ledger_path[PATH_MAX];

static int setup(void **state)
{
    (void)state;
    station_open(&st, NULL);
    station_config(&st, "mark_every_s = 0\n");
    paths_get(&st.paths, PATH_LEDGER, ledger_path);
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

static int issue(size_t i, struct err *e)
{
    EVP_PKEY *key = help_key("P-256");
    struct buf cert = BUF_INIT;
    bool fresh;
    int r = station_issue(&st, i, key, &cert, &fresh, e);

    buf_done(&cert);
    EVP_PKEY_free(key);
    return r;
}

static json_int_t ledger_number(const char *name)
{
    json_t *status = station_status(&st);
    json_int_t n = json_integer_value(json_object_get(json_object_get(status, "ledger"), name));

    json_decref(status);
    return n;
}

/* Until the token's mark says what the ledger is. */
static void wait_marked(void)
{
    for (int i = 0; ledger_number("marked_bytes") != ledger_number("bytes"); i++) {
        assert_true(i < 500);
        rest_ms(20);
    }
}

static void read_ledger(struct buf *out)
{
    struct err e = {0};

    buf_reset(out);
    ok(file_read(ledger_path, 16u << 20, out, &e));
}

static void write_ledger(const struct buf *b)
{
    struct err e = {0};

    ok(file_write(ledger_path, b->data, b->len, 0640, &e));
}

/* The signer runs and answers, but gives no certificate, and says why. */
static void refuses_because(const char *part)
{
    struct err e = {0};
    json_t *status, *error;

    refused(issue(40, &e), LEDGER);
    status = station_status(&st);
    error = json_object_get(status, "error");
    assert_string_equal(json_string_value(json_object_get(error, "name")), "Ledger");
    assert_non_null(strstr(json_string_value(json_object_get(error, "message")), part));
    json_decref(status);
}

static int accept_ledger(void)
{
    return station_run((const char *[]){SIGNERD, "--accept-ledger", NULL});
}

static int start_fails(void)
{
    return station_run((const char *[]){SIGNERD, NULL});
}

static void old_copy_is_noticed(void **state)
{
    struct buf old = BUF_INIT, newest = BUF_INIT;
    struct err e = {0};

    (void)state;
    station_start(&st);
    ok(issue(0, &e));
    wait_marked();
    station_stop(&st, SIGTERM);
    read_ledger(&old);
    station_start(&st);
    ok(issue(1, &e));
    wait_marked();
    station_stop(&st, SIGTERM);
    read_ledger(&newest);
    write_ledger(&old);
    station_start(&st);
    refuses_because("older than the HSM's mark");
    station_stop(&st, SIGTERM);
    /* the right one puts all in order */
    write_ledger(&newest);
    station_start(&st);
    ok(issue(2, &e));
    station_stop(&st, SIGTERM);
    /* and a person can take the old one, knowing what it costs */
    write_ledger(&old);
    assert_int_equal(accept_ledger(), 0);
    station_start(&st);
    ok(issue(1, &e)); /* the price: device 1 has two certificates now */
    wait_marked();
    station_stop(&st, SIGTERM);
    write_ledger(&newest);
    station_start(&st);
    refuses_because("the HSM's mark"); /* older, or another after some point */
    buf_done(&old);
    buf_done(&newest);
}

static void deleted_ledger_is_noticed(void **state)
{
    struct err e = {0};

    (void)state;
    station_start(&st);
    ok(issue(0, &e));
    wait_marked();
    station_stop(&st, SIGKILL);
    assert_int_equal(unlink(ledger_path), 0);
    station_start(&st);
    refuses_because("another ledger");
    station_stop(&st, SIGTERM);
    assert_int_equal(accept_ledger(), 0);
    station_start(&st);
    ok(issue(0, &e));
    assert_int_equal(ledger_number("marked_bytes") > 0, 1);
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
    station_start(&st);
    ok(issue(0, &e));
    wait_marked();
    station_stop(&st, SIGTERM);
    read_ledger(&old);
    station_start(&st);
    ok(issue(1, &e));
    wait_marked();
    station_stop(&st, SIGTERM);
    read_ledger(&newest);
    make_public_marks(&old, 2);
    /* also with a token that does not look at the whole template, CKA_PRIVATE being 2 */
    for (int i = 0; i < 2; i++) {
        station_fault(&st, i ? "C_FindObjectsInit * unset 2" : "");
        write_ledger(&old);
        station_start(&st);
        refuses_because("older than the HSM's mark");
        station_stop(&st, SIGTERM);
        /* nor do they end the real ones when the next is written */
        write_ledger(&newest);
        station_start(&st);
        ok(issue(2 + (size_t)i, &e));
        wait_marked();
        station_stop(&st, SIGTERM);
        read_ledger(&newest);
    }
    /* so many that the real ones might have no room in a list */
    make_public_marks(&old, 16);
    station_fault(&st, "");
    write_ledger(&old);
    station_start(&st);
    refuses_because("older than the HSM's mark");
    station_stop(&st, SIGTERM);
    write_ledger(&newest);
    station_fault(&st, "C_FindObjectsInit * unset 2");
    station_start(&st);
    refused(issue(4, &e), UNAVAILABLE);
    station_fault(&st, "");
    for (int i = 0; issue(4, &e) < 0; i++) {
        if (i > 200 || e.id != ERR_UNAVAILABLE)
            fail_msg("%s: %s", err_name(e.id), e.msg);
        err_clear(&e);
        rest_ms(20);
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
    ok(issue(0, &e));
    wait_marked();
    ok(issue(1, &e)); /* the next checkpoint says that there is a mark */
    wait_marked();
    station_stop(&st, SIGTERM);
    snprintf(command, sizeof command, "rm -r %s && cp -a %s.ceremony %s", tokens, tokens, tokens);
    assert_int_equal(station_run((const char *[]){"sh", "-c", command, NULL}), 0);
    station_start(&st);
    refuses_because("it has none");
    station_stop(&st, SIGTERM);
    assert_int_equal(accept_ledger(), 0);
    station_start(&st);
    ok(issue(2, &e));
}

/* What the faulty module was asked since the file was made, as text. */
static char *read_calls(struct buf *text)
{
    struct err e = {0};
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/calls", st.root);
    buf_reset(text);
    ok(file_read(path, 16u << 20, text, &e));
    assert_non_null(buf_str(text));
    return (char *)text->data;
}

/* Which C_FindObjectsInit of a worker looks for the mark: that of the third session it opens. */
static unsigned call_that_finds_mark(void)
{
    struct buf text = BUF_INIT;
    char function[40], *next = NULL;
    unsigned number, sessions = 0, found = 0;

    for (char *line = strtok_r(read_calls(&text), "\n", &next); line && !found;
            line = strtok_r(NULL, "\n", &next)) {
        assert_int_equal(sscanf(line, "%*d %39s %u", function, &number), 2);
        sessions += strcmp(function, "C_OpenSession") == 0;
        if (sessions == 3 && strcmp(function, "C_FindObjectsInit") == 0)
            found = number;
    }
    buf_done(&text);
    assert_true(found);
    return found;
}

/* A token that answers once that it cannot, and can: signing waits, and nobody has to come. */
static void token_that_is_not_well_is_asked_again(void **state)
{
    static const struct {
        const char *answer, *logged;
    } rows[] = {{"CKR_GENERAL_ERROR", "0x5\n"}, {"CKR_FUNCTION_FAILED", "0x6\n"}};
    struct buf calls = BUF_INIT;
    struct err e = {0};
    char path[PATH_MAX], rule[64];
    unsigned call;

    (void)state;
    station_config(&st, "mark_every_s = 0\nworkers = 1\n");
    station_start(&st);
    ok(issue(0, &e));
    wait_marked();
    ok(issue(1, &e)); /* the next checkpoint says that there is a mark */
    wait_marked();
    station_stop(&st, SIGTERM);
    snprintf(path, sizeof path, "%s/calls", st.root);
    ok(file_write(path, "", 0, 0600, &e));
    station_start(&st);
    ok(issue(2, &e));
    station_stop(&st, SIGTERM);
    call = call_that_finds_mark();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(rule, sizeof rule, "C_FindObjectsInit %u %s", call, rows[i].answer);
        station_fault(&st, rule);
        station_start(&st);
        for (int n = 0; issue(3 + i, &e) < 0; n++) {
            if (n > 200 || e.id != ERR_UNAVAILABLE)
                fail_msg("%s: %s", err_name(e.id), e.msg);
            err_clear(&e);
            rest_ms(20);
        }
        station_stop(&st, SIGTERM);
        assert_non_null(strstr(read_calls(&calls), rows[i].logged));
    }
    buf_done(&calls);
}

/* ---- a ledger that somebody rewrites, with all hashes right */

static void sha(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len, uint8_t ret[32])
{
    uint8_t all[1 << 16];

    assert_true(a_len + b_len <= sizeof all);
    memcpy(all, a, a_len);
    memcpy(all + a_len, b, b_len);
    SHA256(all, a_len + b_len, ret);
}

static uint32_t be32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* Makes every check and chain value fit the bytes as they are now. */
static void rechain(struct buf *b)
{
    uint8_t chain[32], hash[32];
    size_t at = 32;

    SHA256(b->data, 32, chain);
    while (at < b->len) {
        uint8_t *group = b->data + at;
        size_t payload = be32(group + 4);

        sha(chain, 32, group, 16, hash);
        memcpy(group + 16, hash, 8);
        sha(chain, 32, group, 24 + payload, hash);
        memcpy(group + 24 + payload, hash, 32);
        memcpy(chain, hash, 32);
        at += 24 + payload + 32;
    }
    assert_int_equal(at, b->len);
}

/* The first issued entry of a ledger. */
static uint8_t *first_issued(struct buf *b)
{
    size_t at = 32;

    while (b->data[at + 24 + 4] != LEDGER_ISSUED)
        at += 24 + be32(b->data + at + 4) + 32;
    return b->data + at + 24;
}

static void rewritten_ledger_is_noticed(void **state)
{
    struct buf good = BUF_INIT, bad = BUF_INIT;
    struct ledger *l;
    struct err e = {0};

    (void)state;
    station_start(&st);
    ok(issue(0, &e));
    ok(issue(1, &e));
    wait_marked();
    station_stop(&st, SIGTERM);
    read_ledger(&good);

    /* device 0 is forgotten: its entry is another device's */
    read_ledger(&bad);
    first_issued(&bad)[8 + 16 + 3] ^= 1;
    write_ledger(&bad);
    assert_int_equal(start_fails(), 1); /* the chain */
    rechain(&bad);
    write_ledger(&bad);
    ok(ledger_open(ledger_path, &l, &e)); /* as such it is a whole ledger */
    ledger_close(&l);
    assert_int_equal(start_fails(), 1); /* the checkpoint */

    /* everything goes but the header: nothing that a checkpoint could be missing from */
    bad.len = 32;
    write_ledger(&bad);
    station_start(&st);
    refuses_because("older than the HSM's mark");
    station_stop(&st, SIGTERM);

    /* what was issued stays, the checkpoints go */
    read_ledger(&bad);
    buf_reset(&bad);
    buf_append(&bad, good.data, 32, &e);
    for (size_t at = 32; at < good.len; at += 24 + be32(good.data + at + 4) + 32)
        if (good.data[at + 24 + 4] == LEDGER_ISSUED)
            buf_append(&bad, good.data + at, 24 + be32(good.data + at + 4) + 32, &e);
    rechain(&bad);
    write_ledger(&bad);
    assert_int_equal(start_fails(), 1);

    write_ledger(&good);
    station_start(&st);
    ok(issue(2, &e));
    buf_done(&good);
    buf_done(&bad);
}

/* A group of one entry, whose fixed part and tail are given; its hashes are rechain()'s. */
static void append_group(struct buf *b, const uint8_t *fixed, const uint8_t *tail, size_t tail_len)
{
    uint8_t header[24] = "KLG1", end[32] = {0}, entry[104];
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

/* The group of the last checkpoint. */
static size_t last_checkpoint(const struct buf *b)
{
    size_t found = 0;

    for (size_t at = 32; at < b->len; at += 24 + be32(b->data + at + 4) + 32)
        if (b->data[at + 24 + 4] == LEDGER_CHECKPOINT)
            found = at;
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
    station_start(&st);
    ok(issue(0, &e));
    wait_marked();
    station_stop(&st, SIGTERM);
    read_ledger(&good);
    at = last_checkpoint(&good) + 24;
    ok(buf_append(&bad, good.data, 32, &e));
    append_group(&bad, refused_entry, good.data + tail, good.len - tail);
    append_group(&bad, good.data + at, good.data + at + 104, be32(good.data + at));
    rechain(&bad);
    assert_memory_equal(bad.data + tail, good.data + tail, good.len - tail);
    write_ledger(&bad);
    ok(ledger_open(ledger_path, &l, &e)); /* as such it is a whole ledger */
    assert_int_equal(ledger_counts(l).issued, 0);
    ledger_close(&l);
    assert_int_equal(start_fails(), 1);
    assert_int_equal(station_run(verify), 1);
    write_ledger(&good);
    assert_int_equal(station_run(verify), 0);
    station_start(&st);
    ok(issue(1, &e));
    buf_done(&good);
    buf_done(&bad);
}

/* The last group: a checkpoint alone, about all that is before it. */
static bool is_signed_to_the_end(void)
{
    struct buf b = BUF_INIT;
    size_t at = 32, last = 32;
    uint8_t *entry;
    bool yes;

    read_ledger(&b);
    for (; at < b.len; at += 24 + be32(b.data + at + 4) + 32)
        last = at;
    entry = b.data + last + 24;
    yes = at == b.len && be32(b.data + last + 8) == 1 && entry[4] == LEDGER_CHECKPOINT &&
          be32(entry + 8 + 32 + 4) == last;
    buf_done(&b);
    return yes;
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
    wait_marked();
    station_stop(&st, SIGTERM);
    station_fault(&st, "C_Sign * delay 1000");
    station_start(&st);
    for (i = 0; ledger_number("marked_bytes") == 0; i++) {
        assert_true(i < 2000);
        rest_ms(2);
    }
    rest_ms(20); /* the mark was read: now the start's checkpoint is being signed */
    before = ledger_number("bytes");
    refused(station_issue(&st, 1, key, &cert, &fresh, &e), KEY_REUSED);
    assert_int_equal(ledger_number("signed_bytes"), 0);
    for (i = 0; ledger_number("signed_bytes") == 0; i++) {
        assert_true(i < 500);
        rest_ms(10);
    }
    assert_int_equal(ledger_number("signed_bytes"), before);
    for (i = 0; !is_signed_to_the_end(); i++) {
        assert_true(i < 140); /* 20 s, if it were measured by how long the signature took */
        rest_ms(100);
    }
    assert_true(ledger_number("signed_bytes") > before);
    buf_done(&cert);
    EVP_PKEY_free(key);
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
    ok(issue(0, &e));
    wait_marked();
    assert_int_equal(station_run(verify), 0); /* while it is in use */
    while (ledger_number("verified_bytes") == 0)
        rest_ms(20);
    station_stop(&st, SIGTERM);
    station_start(&st);
    read_ledger(&whole);
    wrong = first_issued(&whole)[8 + 32 + 7] ^ 1; /* its row */
    fd = open(ledger_path, O_WRONLY);
    assert_int_equal(pwrite(fd, &wrong, 1, first_issued(&whole) - whole.data + 8 + 32 + 7), 1);
    close(fd);
    for (int i = 0; issue(1, &e) == 0 || e.id != ERR_LEDGER; i++) {
        assert_true(i < 200);
        err_clear(&e);
        rest_ms(20);
    }
    err_clear(&e);
    refuses_because("damaged at byte");
    station_stop(&st, SIGTERM);
    assert_int_equal(station_run(verify), 1);
    assert_int_equal(start_fails(), 1);
    buf_done(&whole);
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
            ok(issue(row++, &e));
        /* checkpoint and mark follow within some milliseconds: kill before, in and after them */
        rest_ms((unsigned)(round * 7 % 60));
        station_stop(&st, SIGKILL);
    }
    station_start(&st);
    ok(issue(row, &e));
    wait_marked();
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
    ok(ledger_open(ledger_path, &l, &e));
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
    assert_int_equal(accept_ledger(), 0);
    snprintf(path, sizeof path, "%s.index", ledger_path);
    station_start(&st);
    for (int i = 0; access(path, F_OK) < 0; i++) {
        assert_true(i < 1000);
        rest_ms(20);
    }
    ok(station_issue(&st, 0, key, &cert, &fresh, &e));
    assert_true(fresh);
    wait_marked();
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
        ok(issue(1 + (size_t)round, &e));
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
    ok(issue(0, &e));
    wait_marked();
    ok(issue(1, &e));
    wait_marked();
    station_stop(&st, SIGTERM);
    snprintf(command, sizeof command,
            "cd %s/*/ && newest=$(ls -t *.object | head -n 1) && [ ! -e %s.backup/*/$newest ] && : "
            ">$newest",
            tokens, tokens);
    assert_int_equal(station_run((const char *[]){"sh", "-c", command, NULL}), 0);
    station_start(&st);
    ok(issue(2, &e));
    wait_marked();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define FLOW_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
            FLOW_TEST(old_copy_is_noticed),
            FLOW_TEST(deleted_ledger_is_noticed),
            FLOW_TEST(public_mark_is_nothing),
            FLOW_TEST(lost_mark_is_noticed),
            FLOW_TEST(token_that_is_not_well_is_asked_again),
            FLOW_TEST(rewritten_ledger_is_noticed),
            FLOW_TEST(chain_inside_an_entry_is_none),
            FLOW_TEST(last_entries_are_signed),
            FLOW_TEST(scrub_ends_the_work),
            FLOW_TEST(killed_at_any_moment),
            FLOW_TEST(index_is_kept),
            FLOW_TEST(unfinished_mark_is_no_loss),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
