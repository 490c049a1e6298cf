/* Errors: the first cause stays, messages are always printable, and docs/errors.md says what
 * err_list.h says. */
#include "base_test.h"

#include <errno.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/text.h"

static void first_cause_wins(void **state)
{
    struct err e = {0};
    (void)state;
    assert_int_equal(err_set_code(&e, ERR_QUOTA, 7, "used %d of %d", 5, 5), -1);
    assert_int_equal(err_set(&e, ERR_IO, "later"), -1);
    assert_int_equal(e.id, ERR_QUOTA);
    assert_int_equal(e.code, 7);
    assert_string_equal(e.msg, "used 5 of 5");
    assert_int_equal(err_context(&e, "job %s", "A"), -1);
    assert_int_equal(err_context(&e, "certify"), -1);
    assert_string_equal(e.msg, "certify: job A: used 5 of 5");
    err_clear(&e);
    assert_int_equal(e.id, ERR_NONE);
    assert_int_equal(err_context(&e, "nothing happened"), -1);
    assert_string_equal(e.msg, "");
}

static void null_is_allowed(void **state)
{
    (void)state;
    assert_int_equal(err_set(NULL, ERR_IO, "x"), -1);
    assert_int_equal(err_set_errno(NULL, EIO, "x"), -1);
    assert_int_equal(err_context(NULL, "x"), -1);
    err_clear(NULL);
}

static void errno_is_classified(void **state)
{
    static const struct {
        int errnum;
        enum err_id id;
    } cases[] = {{ENOSPC, ERR_DISK_FULL}, {EDQUOT, ERR_DISK_FULL}, {ENOMEM, ERR_NOMEM},
            {EIO, ERR_IO}, {EACCES, ERR_IO}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err e = {0};
        err_set_errno(&e, cases[i].errnum, "write %s", "x");
        assert_int_equal(e.id, cases[i].id);
        assert_int_equal(e.code, cases[i].errnum);
        assert_int_equal(strncmp(e.msg, "write x: ", 9), 0);
        assert_true(strlen(e.msg) > 9);
    }
}

static void messages_are_printable(void **state)
{
    struct err e = {0};
    (void)state;
    err_set(&e, ERR_IO, "%s", "a\nb\x1b[2J\x7f caf\xc3\xa9 \xff\xfe \xc2\x9b\xc3");
    assert_string_equal(e.msg, "a?b?[2J? caf\xc3\xa9 ?? ??");
}

static void long_messages_are_cut_visibly(void **state)
{
    char text[2000];
    struct err e = {0};
    (void)state;
    /* Two-byte characters, so that a blind cut would halve one. */
    for (size_t i = 0; i + 1 < sizeof text; i += 2)
        memcpy(text + i, "\xc3\xa9", 2);
    text[sizeof text - 2] = '\0';
    err_set(&e, ERR_IO, "x%s", text);
    assert_int_equal(strlen(e.msg), ERR_MSG_MAX - 1);
    assert_string_equal(e.msg + ERR_MSG_MAX - 4, "...");
    assert_true(utf8_valid(e.msg, strlen(e.msg)));

    err_clear(&e);
    err_set(&e, ERR_IO, "the cause");
    for (int i = 0; i < 20; i++)
        err_context(&e, "context %d of some length %.60s", i, text);
    assert_true(strlen(e.msg) < ERR_MSG_MAX);
    assert_non_null(strstr(e.msg, ": the cause"));
    assert_true(utf8_valid(e.msg, strlen(e.msg)));
}

static void names_are_unique_and_found(void **state)
{
    (void)state;
    for (unsigned i = ERR_NONE + 1; i < ERR_COUNT; i++) {
        enum err_id id = (enum err_id)i;
        assert_int_equal(err_from_name(err_name(id)), id);
        assert_true(strlen(err_hint(id)) > 10);
        assert_int_not_equal(err_class(id), ERR_CLASS_NONE);
    }
    assert_int_equal(err_from_name("None"), ERR_NONE);
    assert_int_equal(err_from_name("quota"), ERR_NONE);
    assert_int_equal(err_class(ERR_NONE), ERR_CLASS_NONE);
    assert_string_equal(err_class_name(ERR_CLASS_HSM), "HSM");
    /* An id from elsewhere must not read beyond the table. */
    assert_string_equal(err_name((enum err_id)9999), "Bug");
    assert_string_equal(err_class_name((enum err_class)9999), "BUG");
}

static void a_case_has_its_own_hint(void **state)
{
    struct err e = {0};
    (void)state;
    assert_int_equal(err_advise(&e, "nothing is wrong"), -1);
    assert_null(e.hint);
    err_set(&e, ERR_NOT_FOUND, "no card");
    assert_string_equal(err_next(&e), err_hint(ERR_NOT_FOUND));
    assert_int_equal(err_advise(&e, "Insert it."), -1);
    err_context(&e, "approve");
    err_advise(&e, "Whoever is further away knows less.");
    assert_string_equal(err_next(&e), "Insert it.");
    err_clear(&e);
    assert_string_equal(err_next(&e), "");
    assert_int_equal(err_advise(NULL, "x"), -1);
}

static void docs_say_the_same(void **state)
{
    struct buf text = BUF_INIT;
    struct err e = {0};
    (void)state;
    assert_ok(file_read(ERRORS_MD, 1u << 20, &text, &e), &e);
    const char *rest = strstr(buf_str(&text), "| name | class | what to do |\n|---|---|---|\n");
    assert_non_null(rest);
    rest = strchr(strchr(rest, '\n') + 1, '\n') + 1;
    for (unsigned i = ERR_NONE + 1; i < ERR_COUNT; i++) {
        char row[1024];
        enum err_id id = (enum err_id)i;
        int n = snprintf(row, sizeof row, "| %s | %s | %s |\n", err_name(id),
                err_class_name(err_class(id)), err_hint(id));
        if (strncmp(rest, row, (size_t)n) != 0)
            fail_msg("docs/errors.md does not have, in the order of err_list.h, the row\n%s", row);
        rest += n;
    }
    assert_string_equal(rest, "");
    buf_done(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(first_cause_wins),
            cmocka_unit_test(null_is_allowed),
            cmocka_unit_test(errno_is_classified),
            cmocka_unit_test(messages_are_printable),
            cmocka_unit_test(long_messages_are_cut_visibly),
            cmocka_unit_test(names_are_unique_and_found),
            cmocka_unit_test(a_case_has_its_own_hint),
            cmocka_unit_test(docs_say_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
