/* Every return value of PKCS#11 at every call that a worker makes, and delays, lies, crashes and
 * hangs: one signerd-token process a case, its module the faulty one around a SoftHSM. Whatever the
 * module does, the answer is a right signature or a named error of class HSM or STORE, in time; the
 * process ends by itself; and the PIN goes to the token once.
 *   flow-faults [full]     without "full", a sample of the matrix */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/file.h"
#include "base/text.h"
#include "hsm/ca.h"
#include "hsm/ledger/checkpoint.h"
#include "hsm/token/ckr.h"
#include "hsm/x509/signature.h"
#include "tests/hsm/station.h"
#include "tests/hsm/worker_rig.h"

#define CALLS_MAX     256
#define SIGNATURES    3
#define SAMPLE        37 /* of the matrix, one case in so many: prime to the number of values */
#define CALLS_BYTES   (64u << 20) /* a module that says it has 100,000 slots is asked about each */
#define CKR_PIN_FIRST 0xa0        /* CKR_PIN_INCORRECT .. CKR_PIN_LOCKED */
#define CKR_PIN_LAST  0xa4

static int full;
static struct ca *ca;
static uint8_t *spki;
static size_t spki_len;

struct call {
    char function[40];
    unsigned number;
    unsigned long rv;
};
struct calls {
    struct call at[CALLS_MAX]; /* the first ones */
    size_t count;
    size_t logins;
    unsigned long login_rv; /* of the last */
};

static void setup_files(const char *rule)
{
    char path[PATH_MAX];

    station_fault(&st, rule);
    snprintf(path, sizeof path, "%s/calls", st.root);
    close(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
}

static void read_calls(struct calls *ret)
{
    struct buf text = BUF_INIT;
    struct err e = {0};
    char path[PATH_MAX];
    char *next = NULL;

    memset(ret, 0, sizeof *ret);
    snprintf(path, sizeof path, "%s/calls", st.root);
    ok(file_read(path, CALLS_BYTES, &text, &e));
    assert_non_null(buf_str(&text));
    for (char *line = strtok_r((char *)text.data, "\n", &next); line;
            line = strtok_r(NULL, "\n", &next)) {
        struct call c;

        assert_int_equal(sscanf(line, "%*d %39s %u %lx", c.function, &c.number, &c.rv), 3);
        if (ret->count < CALLS_MAX)
            ret->at[ret->count++] = c;
        if (strcmp(c.function, "C_Login") == 0) {
            ret->logins++;
            ret->login_rv = c.rv;
        }
    }
    buf_done(&text);
}

/* The ledger's mark in the token; a token that cannot keep one says so, and that is no error. */
static int mark(struct worker_rig *r, struct err *e)
{
    uint8_t body[MARK_BYTES + 6] = {0};

    memcpy(body + MARK_BYTES, "line-1", 6);
    return rig_ask(r, WIRE_MARK_READ, ca->alg, body + MARK_BYTES, 6, e) < 0 ||
                           rig_ask(r, WIRE_MARK_WRITE, ca->alg, body, sizeof body, e) < 0
                   ? -1
                   : 0;
}

/* What signerd asks of a worker in its life: 0 when all went well. A signature that does not verify
 * is signerd's to find, and is an error of the token. */
static int live(struct worker_rig *r, struct err *e)
{
    uint8_t bytes[300];

    memset(bytes, 0x30, sizeof bytes);
    if (rig_ask(r, WIRE_DESCRIBE, ca->alg, spki, spki_len, e) < 0 || mark(r, e) < 0)
        return -1;
    for (int i = 0; i < SIGNATURES; i++) {
        struct buf sig = BUF_INIT;
        int got;

        bytes[1] = (uint8_t)i;
        if (i && rig_ask(r, WIRE_PING, ca->alg, NULL, 0, e) < 0)
            return -1;
        if (rig_ask(r, WIRE_SIGN, ca->alg, bytes, sizeof bytes, e) < 0)
            return -1;
        got = signature_from_token(ca->alg, r->packet.body, r->packet.len, &sig, e) == 0 &&
              signature_verify(ca->key, ca->alg, bytes, sizeof bytes, sig.data, sig.len, e) == 0;
        buf_done(&sig);
        if (!got)
            return -1;
    }
    return 0;
}

struct outcome {
    int r, status; /* of live(); how the process ended */
    struct err e;
    struct calls calls;
    int64_t ms;
};

static void run_case(const char *rule, struct outcome *o)
{
    struct worker_rig r;
    int64_t start = time_monotonic_ms();

    memset(&o->e, 0, sizeof o->e);
    setup_files(rule);
    rig_start(&r);
    o->r = live(&r, &o->e);
    o->ms = time_monotonic_ms() - start;
    o->status = rig_stop(&r);
    read_calls(&o->calls);
}

static int bad(const char *rule, const struct outcome *o, const char *why)
{
    fprintf(stderr, "%s: %s (%s: %s; wait status 0x%x, %d ms)\n", rule, why, err_name(o->e.id),
            o->e.msg, (unsigned)o->status, (int)o->ms);
    return 1;
}

/* What must hold whatever a module does. */
static int judge(const char *rule, const struct outcome *o)
{
    enum err_class class = err_class(o->e.id);
    unsigned long rv = o->calls.login_rv;

    if (o->r < 0 && class != ERR_CLASS_HSM && class != ERR_CLASS_STORE)
        return bad(rule, o, "an error of the wrong class");
    if (o->r < 0 && !strlen(o->e.msg))
        return bad(rule, o, "an error without a text");
    if (o->status < 0 || !WIFEXITED(o->status))
        return bad(rule, o, "the worker did not end by itself");
    if (o->calls.logins > 1)
        return bad(rule, o, "a second login");
    if (rv >= CKR_PIN_FIRST && rv <= CKR_PIN_LAST && o->e.id != ERR_TOKEN_PIN &&
            o->e.id != ERR_TOKEN_LOCKED)
        return bad(rule, o, "a refused PIN that signerd would not see as one");
    return 0;
}

/* ---- the matrix */

static void every_value_at_every_call(void **state)
{
    static struct outcome clean, o;
    size_t cases = 0, turn = 0, failed = 0, named = 0, wrong = 0;
    int64_t start = time_monotonic_ms();

    (void)state;
    run_case("", &clean);
    assert_int_equal(clean.r, 0);
    assert_int_equal(judge("no fault", &clean), 0);
    assert_true(clean.calls.count > 40);
    for (size_t i = 0; i < clean.calls.count; i++)
        for (size_t j = 0; j < ckr_count(); j++) {
            const struct call *c = &clean.calls.at[i];
            char rule[128];

            if (!full && ++turn % SAMPLE)
                continue;
            snprintf(rule, sizeof rule, "%s %u %s", c->function, c->number, ckr_name(ckr_at(j)));
            run_case(rule, &o);
            wrong += (size_t)judge(rule, &o);
            cases++;
            failed += o.r < 0;
            named += o.r < 0 && (unsigned long)o.e.code == ckr_at(j);
        }
    printf("%zu cases in %d s over %zu calls: %zu signed all the same, %zu named errors, %zu of "
           "them with the value injected\n",
            cases, (int)((time_monotonic_ms() - start) / 1000), clean.calls.count, cases - failed,
            failed, named);
    assert_int_equal(wrong, 0);
    assert_true(cases > 50 && failed > cases / 3 && named > failed / 2);
}

/* ---- the ledger's mark */

/* What a process answers about the mark of line-2 while this rule holds; writes: the one to write, 0: reads. The number of
 * the one that is found is given back; 0: an error or none. */
static uint64_t ask_mark(const char *rule, uint64_t writes)
{
    uint8_t body[MARK_BYTES + 6], *name = body + MARK_BYTES;
    struct mark m = {.writes = writes};
    struct worker_rig r;
    struct err e = {0};
    uint64_t found = 0;

    mark_encode(&m, body);
    memcpy(name, "line-2", 6);
    setup_files(rule);
    rig_start(&r);
    if (rig_ask(&r, WIRE_DESCRIBE, ca->alg, spki, spki_len, &e) == 0 &&
            (writes ? rig_ask(&r, WIRE_MARK_WRITE, ca->alg, body, sizeof body, &e)
                    : rig_ask(&r, WIRE_MARK_READ, ca->alg, name, 6, &e)) == 0 &&
            r.packet.body[0] == MARK_FOUND) {
        assert_int_equal(mark_decode(r.packet.body + 1, r.packet.len - 1, &m), 0);
        found = m.writes;
    }
    rig_stop(&r);
    return found;
}

/* An older mark is never given for the newest, and the newest never removed, because an object could not be read. */
static void unread_mark_is_no_older_one(void **state)
{
    static const char *const values[] = {
            "CKR_DEVICE_ERROR", "CKR_GENERAL_ERROR", "CKR_OBJECT_HANDLE_INVALID"};
    uint64_t newest = 2;
    unsigned errors = 0;

    (void)state;
    ask_mark("", 1);
    ask_mark("", newest);
    assert_int_equal(ask_mark("", 0), newest);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        for (unsigned n = 1; n <= 16; n++) {
            char rule[64];
            uint64_t found;

            snprintf(rule, sizeof rule, "C_GetAttributeValue %u %s", n, values[i]);
            found = ask_mark(rule, 0);
            if (found && found != newest)
                fail_msg("%s: mark %d, not %d", rule, (int)found, (int)newest);
            errors += !found;
            ask_mark(rule, newest + 1);
            found = ask_mark("", 0);
            if (found < newest)
                fail_msg("%s: mark %d is left of %d", rule, (int)found, (int)newest);
            newest = found;
        }
    assert_true(errors >= 4 * sizeof values / sizeof *values && newest > 10);
}

/* ---- lies, crashes, hangs */

static void lies(void **state)
{
    static struct outcome clean, o;
    size_t failed = 0, wrong = 0;

    (void)state;
    run_case("", &clean);
    for (size_t i = 0; i < clean.calls.count; i++)
        for (int j = 0; j < 2; j++) {
            char rule[128];

            snprintf(rule, sizeof rule, "%s %u %s", clean.calls.at[i].function,
                    clean.calls.at[i].number, j ? "wrong" : "long");
            run_case(rule, &o);
            failed += o.r < 0;
            /* pkcs11-helper believes lengths: then its process may die (of a sanitizer, by an exit
             * status), and no other */
            if (o.e.id == ERR_UNAVAILABLE && o.status > 0)
                continue;
            wrong += (size_t)judge(rule, &o);
        }
    assert_int_equal(wrong, 0);
    assert_true(failed > 10);
}

static void wrong_signature_never_passes(void **state)
{
    static struct outcome o;

    (void)state;
    run_case("C_Sign * wrong", &o);
    assert_int_equal(o.r, -1);
    assert_int_equal(o.e.id, ERR_SIGNATURE);
    run_case("C_Sign 2 wrong", &o);
    assert_int_equal(o.e.id, ERR_SIGNATURE);
    run_case("C_Sign * long", &o);
    assert_int_equal(o.e.id, ERR_TOKEN);
}

static void removal(void **state)
{
    static struct outcome o;
    char path[PATH_MAX];

    (void)state;
    snprintf(path, sizeof path, "%s/removed", st.root);
    for (int i = 0; i < 2; i++) {
        run_case(i ? "C_Sign 2 removed" : "C_FindObjects 3 removed", &o);
        assert_int_equal(judge("removed", &o), 0);
        assert_int_equal(o.e.id, ERR_TOKEN_ABSENT);
        run_case("", &o);
        assert_int_equal(judge("still removed", &o), 0);
        assert_int_equal(o.e.id, ERR_TOKEN_ABSENT);
        unlink(path);
        run_case("", &o);
        assert_int_equal(o.r, 0);
    }
}

static void refused_logins_have_names(void **state)
{
    static const struct {
        const char *rv;
        enum err_id wanted; /* ERR_NONE: it signs */
    } rows[] = {{"CKR_PIN_INCORRECT", ERR_TOKEN_PIN}, {"CKR_PIN_EXPIRED", ERR_TOKEN_PIN},
            {"CKR_PIN_LOCKED", ERR_TOKEN_LOCKED}, {"CKR_USER_PIN_NOT_INITIALIZED", ERR_TOKEN_PIN},
            /* it does not say whether for the PIN, and works otherwise */
            {"CKR_GENERAL_ERROR", ERR_TOKEN_LOGIN}, {"CKR_FUNCTION_FAILED", ERR_TOKEN_LOGIN},
            {"0x80000123", ERR_TOKEN_LOGIN},
            /* these say that it was not for the PIN: signerd may try again later */
            {"CKR_DEVICE_ERROR", ERR_TOKEN}, {"CKR_DEVICE_REMOVED", ERR_TOKEN_ABSENT},
            {"CKR_SESSION_CLOSED", ERR_TOKEN_BUSY},
            {"CKR_USER_ANOTHER_ALREADY_LOGGED_IN", ERR_TOKEN_BUSY}};
    static struct outcome o;
    char rule[128];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(rule, sizeof rule, "C_Login * %s", rows[i].rv);
        run_case(rule, &o);
        assert_int_equal(judge(rule, &o), 0);
        if (o.e.id != rows[i].wanted)
            fail_msg("%s: %s (%s), not %s", rule, err_name(o.e.id), o.e.msg,
                    err_name(rows[i].wanted));
        assert_int_equal(o.calls.logins, 1);
    }
}

/* What a token says of its PIN is believed before the PIN is risked. */
static void pin_is_not_risked(void **state)
{
    static const struct {
        const char *rule;
        enum err_id wanted;
        const char *text;
        size_t logins;
    } rows[] = {
            {"C_GetTokenInfo * set 0x20000", ERR_TOKEN_PIN, "one try left", 0},
            {"C_GetTokenInfo * set 0x40000", ERR_TOKEN_LOCKED, "locked", 0},
            /* a PIN pad, but the PIN is in its file: it is given to the token as ever */
            {"C_GetTokenInfo * set 0x100", ERR_NONE, "", 1},
            /* asks for no login, and yet shows private objects to those who log in only */
            {"C_GetTokenInfo * unset 0x4", ERR_TOKEN_ABSENT, "no private key", 0},
    };
    static struct outcome o;
    char pin[PATH_MAX], away[PATH_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        run_case(rows[i].rule, &o);
        assert_int_equal(judge(rows[i].rule, &o), 0);
        if (o.e.id != rows[i].wanted || !strstr(o.e.msg, rows[i].text))
            fail_msg("%s: %s (%s)", rows[i].rule, err_name(o.e.id), o.e.msg);
        assert_int_equal(o.calls.logins, rows[i].logins);
    }
    paths_get(&st.paths, PATH_TOKEN_PIN, pin);
    snprintf(away, sizeof away, "%s/pin-away", st.root);
    assert_int_equal(rename(pin, away), 0);
    run_case("C_GetTokenInfo * set 0x100", &o);
    assert_int_equal(rename(away, pin), 0);
    assert_int_equal(o.e.id, ERR_TOKEN_PIN);
    assert_non_null(strstr(o.e.msg, "pad"));
    assert_int_equal(o.calls.logins, 0);
}

/* Modules differ in what they want of C_Initialize. */
static void initialised_in_the_way_it_likes(void **state)
{
    static struct outcome o;

    (void)state;
    run_case("C_Initialize 1 CKR_CANT_LOCK", &o);
    assert_int_equal(o.r, 0);
    run_case("C_Initialize 1 CKR_ARGUMENTS_BAD", &o);
    assert_int_equal(o.r, 0);
    run_case("C_Initialize * CKR_CANT_LOCK", &o);
    assert_int_equal(o.e.id, ERR_TOKEN);
}

static void slow_module_is_waited_for(void **state)
{
    static struct outcome o;

    (void)state;
    run_case("C_Sign * delay 300", &o);
    assert_int_equal(o.r, 0);
    assert_true(o.ms >= 900);
}

static void crash_is_seen(void **state)
{
    static struct outcome o;

    (void)state;
    run_case("C_Sign 1 crash", &o);
    assert_int_equal(o.e.id, ERR_UNAVAILABLE);
    assert_true(WIFSIGNALED(o.status));
}

static int open_all(void **state)
{
    struct err e = {0};
    char path[PATH_MAX];

    (void)state;
    station_open(&st, NULL);
    paths_get(&st.paths, PATH_CA_CHAIN, path);
    ok(ca_load(path, &ca, &e));
    spki_len = (size_t)i2d_PUBKEY(ca->key, &spki);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    OPENSSL_free(spki);
    ca_free(&ca);
    station_close(&st);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(every_value_at_every_call),
            cmocka_unit_test(unread_mark_is_no_older_one),
            cmocka_unit_test(lies),
            cmocka_unit_test(wrong_signature_never_passes),
            cmocka_unit_test(removal),
            cmocka_unit_test(refused_logins_have_names),
            cmocka_unit_test(pin_is_not_risked),
            cmocka_unit_test(initialised_in_the_way_it_likes),
            cmocka_unit_test(slow_module_is_waited_for),
            cmocka_unit_test(crash_is_seen),
    };

    full = argc > 1 && strcmp(argv[1], "full") == 0;
    setenv("KEYLINE_LOG", "error", 1);
    return cmocka_run_group_tests(tests, open_all, close_all);
}
