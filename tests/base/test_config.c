/* keyline.conf: nothing unknown, doubled, cut or out of range goes by in silence, and each error
 * names its line. */
#include "base_test.h"

#include <limits.h>
#include <pwd.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/config.h"
#include "base/file.h"
#include "base/limits.h"

static int load(void **state, const char *text, struct config **ret, struct err *e)
{
    struct err w = {0};
    const char *path = scratch_path(state, "keyline.conf");
    assert_ok(file_write(path, text, strlen(text), 0644, &w), &w);
    return config_load(path, ret, e);
}

/* The text must be refused with a message that holds want. */
static void refused(void **state, const char *text, const char *want)
{
    struct config *c = NULL;
    struct err e = {0};
    int r = load(state, text, &c, &e);
    if (r != -1 || e.id != ERR_CONFIG || strstr(e.msg, want) == NULL || c != NULL)
        fail_msg("'%.60s': got %d, '%s', expected '%s'", text, r, e.msg, want);
}

static void defaults(void **state)
{
    struct config *c = NULL;
    struct err e = {0};
    const struct config_slot *slots;
    assert_ok(config_load(scratch_path(state, "none"), &c, &e), &e);
    assert_string_equal(config_get(c, "token", "label"), "keyline");
    assert_string_equal(config_get(c, "upstream", "url"), "");
    assert_int_equal(config_num(c, "token", "workers"), 2);
    assert_string_equal(config_get(c, "access", "admin_user"), "");
    assert_int_equal(config_slots(c, &slots), 0);
    config_free(&c);
    assert_null(c);
    config_free(&c);
}

static void a_whole_file(void **state)
{
    struct config *c = NULL;
    struct err e = {0};
    const struct config_slot *slots;
    assert_ok(load(state,
                      "\xef\xbb\xbf# station of line 1\r\n"
                      "[station]\r\n"
                      "name = Linie \xc3\x84 ; inline\r\n"
                      "; comment\n"
                      "[token]\nworkers=16\nlabel =\n"
                      "[access]\nadmin_user = root\nslot_user =\n"
                      "[slot 01]\nport = /dev/ttyUSB0\n"
                      "[upstream]\nurl = https://example.org/x?a=b\n"
                      "[slot rack 2]\nport=/dev/ttyUSB1\nbaud=4000000\ndriver = other\n"
                      "[station]\naccount_id = 1",
                      &c, &e),
            &e);
    assert_string_equal(config_get(c, "station", "name"), "Linie \xc3\x84");
    assert_string_equal(config_get(c, "station", "account_id"), "1");
    assert_string_equal(config_get(c, "token", "label"), "");
    assert_string_equal(config_get(c, "upstream", "url"), "https://example.org/x?a=b");
    assert_int_equal(config_num(c, "token", "workers"), 16);
    assert_string_equal(config_get(c, "access", "admin_user"), "root");
    assert_string_equal(config_get(c, "access", "slot_user"), "");
    assert_int_equal(config_slots(c, &slots), 2);
    assert_string_equal(slots[0].name, "01");
    assert_string_equal(slots[0].port, "/dev/ttyUSB0");
    assert_string_equal(slots[0].driver, "keyline");
    assert_int_equal(slots[0].baud, 115200);
    assert_string_equal(slots[1].name, "rack 2");
    assert_string_equal(slots[1].driver, "other");
    assert_int_equal(slots[1].baud, 4000000);
    config_free(&c);
}

static void users_are_named(void **state)
{
    struct config *c = NULL;
    struct err e = {0};
    uid_t uids[3] = {77, 77, 77};
    size_t count = 1;
    assert_ok(load(state,
                      "[access]\nadmin_user = root\nslot_user =\nsync_user = no such user\n"
                      "jobs_user = keyline-nobody\n",
                      &c, &e),
            &e);
    assert_ok(config_user(c, "admin_user", uids, &count, &e), &e);
    assert_ok(config_user(c, "slot_user", uids, &count, &e), &e); /* empty: none */
    assert_int_equal(count, 2);
    assert_int_equal(uids[0], 77);
    assert_int_equal(uids[1], 0);
    assert_int_equal(config_user(c, "sync_user", uids, &count, &e), -1);
    assert_int_equal(e.id, ERR_CONFIG);
    assert_non_null(strstr(e.msg, "sync_user: there is no user 'no such user'"));
    err_clear(&e);
    assert_int_equal(config_user(c, "jobs_user", uids, &count, &e), -1);
    assert_int_equal(count, 2);
    config_free(&c);
}

/* The default names a user of the package: elsewhere it means nobody. */
static void default_users_may_be_missing(void **state)
{
    struct config *c = NULL;
    struct err e = {0};
    uid_t uids[1];
    size_t count = 0;
    const struct passwd *user = getpwnam("keyline-slot");
    assert_ok(config_load(scratch_path(state, "none"), &c, &e), &e);
    assert_ok(config_user(c, "slot_user", uids, &count, &e), &e);
    assert_int_equal(count, user != NULL ? 1 : 0);
    if (user != NULL)
        assert_int_equal(uids[0], user->pw_uid);
    config_free(&c);
}

static void mistakes_are_named_with_their_line(void **state)
{
    refused(state, "[station]\nnmae = x\n", "keyline.conf:2: unknown key 'nmae' in [station]");
    refused(state, "\n\n[statoin]\nname = x\n", "keyline.conf:3: unknown section [statoin]");
    refused(state, "[statoin]\n", ":1: unknown section [statoin]");
    refused(state, "[token]\nworkers = 0\n",
            ":2: 'workers' must be a number from 1 to 16, not '0'");
    refused(state, "[token]\nworkers = 17\n", ":2: 'workers'");
    refused(state, "[token]\nworkers = two\n", ":2: 'workers'");
    refused(state, "[token]\nworkers =\n", ":2: 'workers'");
    refused(state, "[token]\nworkers = 0x2\n", ":2: 'workers'");
    refused(state, "[token]\nworkers = 99999999999999999999\n", ":2: 'workers'");
    refused(state, "[token]\nworkers = --1\n", ":2: 'workers'");
    refused(state, "[token]\nworkers = -2\n", ":2: 'workers'");
    refused(state, "[station]\nname = a\n[token]\n[station]\nname = b\n",
            ":5: 'name' is set twice");
    refused(state, "[station]\nname = a\n  more\n", ":3: 'name' is set twice");
    refused(state, "name = a\n", ":1: 'name' stands before the first [section]");
    refused(state, "[station]\nname\n", ":2: neither");
    refused(state, "[station\nname = a\n", ":1: neither");
    refused(state, "[station]\nname = \xff\xfe\n", ":2: the value of 'name' is not UTF-8");
    refused(state, "[station]\nname = a\x1b[2J\nnope = 1\n", ":3: unknown key");
}

static void slots_are_checked(void **state)
{
    refused(state, "[slot 01]\nbaud = 9600\n", ":1: [slot 01] has no port");
    refused(state, "[slot 01]\nport = /a\n[slot 02]\n", ":3: [slot 02] has no port");
    refused(state, "[slot 01]\nport = /a\ndriver =\n", ":1: [slot 01] names no driver");
    refused(state, "[slot 01]\nport = /a\n[slot 01]\nport = /b\n", ":4: 'port' is set twice");
    refused(state, "[slot 01]\nport = /a\nbaud = 9599\n", ":3: 'baud' must be a number from 9600");
    refused(state, "[slot 01]\nname = x\n", ":2: unknown key 'name' in [slot 01]");
    refused(state, "[slot a/b]\nport = /a\n", ":1: 'a/b' is not a name for a slot");
    refused(state, "[slot ]\nport = /a\n", ":1: ");
    refused(state, "[slot]\nport = /a\n", ":1: unknown section [slot]");
}

static void tokens_repeat(void **state)
{
    struct config *c = NULL;
    struct err e = {0};
    const char *const *tokens;
    assert_ok(load(state, "[token]\nlabel = a\nworkers = 3\n", &c, &e), &e);
    assert_int_equal(config_tokens(c, &tokens), 1);
    assert_string_equal(tokens[0], "token");
    assert_string_equal(config_get(c, "signer", "tokens"), "failover");
    config_free(&c);
    assert_ok(load(state,
                      "[token cold]\nlabel = b\nkey_id = 07\n[token]\nlabel = a\nworkers = 3\n"
                      "[slot 01]\nport = /a\n[token third]\nlabel = a\nmodule = /m.so\n"
                      "[signer]\ntokens = spread\n",
                      &c, &e),
            &e);
    assert_int_equal(config_tokens(c, &tokens), 3);
    assert_string_equal(tokens[0], "token");
    assert_string_equal(tokens[1], "token cold");
    assert_string_equal(tokens[2], "token third");
    assert_string_equal(config_get(c, "token cold", "label"), "b");
    assert_string_equal(config_get(c, "token cold", "key_id"), "07");
    assert_int_equal(config_num(c, "token cold", "workers"), 2); /* the default, not [token]'s */
    assert_string_equal(config_get(c, "token third", "module"), "/m.so");
    assert_string_equal(config_get(c, "token", "label"), "a");
    assert_string_equal(config_get(c, "signer", "tokens"), "spread");
    config_free(&c);
    refused(state, "[token b]\nworkers = 1\n", ":1: [token b] has no label");
    refused(state, "\n[token b]\nlabel = keyline\n", ":2: [token b] is the token of [token] again");
    refused(state, "[token b]\nlabel = b\nport = /a\n", ":3: unknown key 'port' in [token b]");
    refused(state, "[token b/c]\nlabel = b\n", ":1: 'b/c' is not a name for a token");
    refused(state, "[token b]\nlabel = b\nworkers = 17\n", ":3: 'workers' must be a number");
    refused(state,
            "[token 1]\nlabel=1\n[token 2]\nlabel=2\n[token 3]\nlabel=3\n[token 4]\nlabel=4\n"
            "[token 5]\nlabel=5\n[token 6]\nlabel=6\n[token 7]\nlabel=7\n[token 8]\nlabel=8\n",
            ":15: more than 7 tokens");
}

static void choices_are_checked(void **state)
{
    refused(state, "[signer]\ntokens = first\n", ":2: 'tokens' must be one of failover|spread");
    refused(state, "[signer]\ntokens = fail\n", ":2: 'tokens' must be one of");
    refused(state, "[signer]\ntokens = failover|spread\n", ":2: 'tokens' must be one of");
    refused(state, "[signer]\ntokens =\n", ":2: 'tokens' must be one of");
}

static void nothing_is_cut_in_silence(void **state)
{
    char text[1000], name[900];
    memset(name, 'n', sizeof name);
    /* inih would cut the section's name to 49 characters and two slots would become one. */
    for (int len = 30; len < 120; len++) {
        snprintf(text, sizeof text, "[slot %.*s]\nport = /a\n", len, name);
        struct config *c = NULL;
        struct err e = {0};
        const struct config_slot *slots;
        if (load(state, text, &c, &e) == 0) {
            assert_int_equal(config_slots(c, &slots), 1);
            assert_int_equal(strlen(slots[0].name), len);
            config_free(&c);
        } else {
            assert_true(len >= 40);
            assert_non_null(strstr(e.msg, ":1: the name of section"));
        }
    }
    for (int len = 100; len < 900; len++) {
        snprintf(text, sizeof text, "[station]\nname = %.*s\n", len, name);
        struct config *c = NULL;
        struct err e = {0};
        if (load(state, text, &c, &e) == 0) {
            assert_int_equal(strlen(config_get(c, "station", "name")), len);
            config_free(&c);
        } else {
            assert_true(len > 180);
            assert_non_null(strstr(e.msg, ":2: the line is longer than"));
        }
    }
}

static void odd_files(void **state)
{
    struct config *c = NULL;
    struct err e = {0};
    const char *path = scratch_path(state, "keyline.conf");
    assert_ok(file_write(path, "[station]\0\nname=x\n", 18, 0644, &e), &e);
    assert_err(config_load(path, &c, &e), &e, ERR_CONFIG);
    assert_ok(file_write(path, "", 0, 0644, &e), &e);
    assert_ok(config_load(path, &c, &e), &e);
    config_free(&c);
    assert_err(config_load(*state, &c, &e), &e, ERR_IO); /* a directory */
    char *big = malloc(CONF_FILE_MAX + 1);
    memset(big, '\n', CONF_FILE_MAX + 1);
    assert_ok(file_write(path, big, CONF_FILE_MAX + 1, 0644, &e), &e);
    assert_err(config_load(path, &c, &e), &e, ERR_LIMIT);
    free(big);
    struct buf many = BUF_INIT;
    for (unsigned i = 0; i <= CONF_SLOTS_MAX; i++)
        assert_ok(buf_printf(&many, &e, "[slot %u]\nport = /p%u\n", i, i), &e);
    refused(state, buf_str(&many), "more than 256 slots");
    buf_done(&many);
}

static void the_station_has_a_name(void **state)
{
    static const char *const bad[] = {"*", "a/b", "..", "\xff"};
    char name[NAME_BYTES_MAX + 1], text[64];
    struct config *c = NULL;
    struct err e = {0};
    assert_ok(load(state, "[station]\nname = Linie \xc3\x84\n", &c, &e), &e);
    assert_ok(config_station(c, name, &e), &e);
    assert_string_equal(name, "Linie \xc3\x84");
    config_free(&c);
    assert_ok(load(state, "", &c, &e), &e);
    char host[HOST_NAME_MAX + 1] = "";
    assert_int_equal(gethostname(host, sizeof host - 1), 0);
    assert_ok(config_station(c, name, &e), &e);
    assert_string_equal(name, host);
    config_free(&c);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(text, sizeof text, "[station]\nname = %s\n", bad[i]);
        struct err why = {0};
        if (load(state, text, &c, &why) == 0 && config_station(c, name, &why) == 0)
            fail_msg("station '%s' was accepted", bad[i]);
        assert_int_equal(why.id, ERR_CONFIG);
        config_free(&c);
    }
}

/* keyline.conf(5) is generated from the same table: every key stands in it. */
static void manual_page_has_every_key(void **state)
{
    struct buf b = BUF_INIT;
    struct err e = {0};
    (void)state;
    assert_ok(file_read(CONFIG_MAN, 1u << 20, &b, &e), &e);
    const char *page = buf_str(&b);
    const char *at = page;
#define KEY(section, key, kind, fallback, min, max, meaning)                                       \
    at = strstr(at, ".B " key "\n");                                                               \
    assert_non_null(at);                                                                           \
    assert_non_null(strstr(page, ".SS [" section "]\n"));
#define CHOICE_KEY(section, key, choices, fallback, meaning)                                       \
    at = strstr(at, ".B " key "\n");                                                               \
    assert_non_null(at);
#define SLOT_KEY(key, kind, fallback, min, max, meaning)                                           \
    at = strstr(at, ".B " key "\n");                                                               \
    assert_non_null(at);
#include "base/config_list.h"
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            scratch_test(defaults),
            scratch_test(a_whole_file),
            scratch_test(users_are_named),
            scratch_test(default_users_may_be_missing),
            scratch_test(mistakes_are_named_with_their_line),
            scratch_test(slots_are_checked),
            scratch_test(tokens_repeat),
            scratch_test(choices_are_checked),
            scratch_test(nothing_is_cut_in_silence),
            scratch_test(odd_files),
            scratch_test(the_station_has_a_name),
            cmocka_unit_test(manual_page_has_every_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
