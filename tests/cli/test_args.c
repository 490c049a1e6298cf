/* What is typed: understood, or refused with what was meant, before anything is tried. */
#include "cli_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "station/cli/cli.h"

static int parse(struct cli *c, struct err *e, const char *line)
{
    static char words[512], *argv[32];
    int argc = 0;
    *c = (struct cli){0};
    err_clear(e);
    snprintf(words, sizeof words, "keyline %s", line);
    for (char *save, *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save))
        argv[argc++] = w;
    argv[argc] = NULL;
    return args_parse(c, argc, argv, e);
}

static void understands_options_anywhere(void **state)
{
    static const char *const lines[] = {
            "--json --wait 30 job approve order --days 7 --yes",
            "job approve --days 7 order --yes --json --wait=30",
            "--wait 30 job approve --yes order --json --days=7",
    };
    struct cli c;
    struct err e;
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(parse(&c, &e, lines[i]), 0);
        assert_string_equal(c.verb->name, "job approve");
        assert_int_equal(c.arg_count, 1);
        assert_string_equal(c.args[0], "order");
        assert_int_equal(cli_number(&c, "days", 30), 7);
        assert_int_equal(cli_number(&c, "quota", 30), 30);
        assert_true(cli_has(&c, "yes") && !cli_has(&c, "key") && c.json);
        assert_int_equal(c.wait_s, 30);
    }
}

static void passes_the_ceremony_its_words(void **state)
{
    char command[512];
    (void)state;
    /* it is looked for beside the program */
    test_write("keyline-ceremony", "#!/bin/sh\nprintf '[%%s]' \"$@\"\n");
    snprintf(command, sizeof command,
            "cd %s && chmod 700 keyline-ceremony && cp %s keyline && "
            "./keyline --wait 1 ca import --yes --fingerprint --json -- -x- >said && "
            "grep -qxF '[ca][import][--fingerprint][--json][--yes][--][-x-]' said && "
            "[ \"$(./keyline init)\" = '[init][--]' ]",
            test_root, KEYLINE_PROGRAM);
    assert_int_equal(system(command), 0);
}

static void refuses_and_suggests(void **state)
{
    static const struct {
        const char *line, *says;
    } cases[] = {
            {"jbo list", "unknown command \"jbo list\"; did you mean \"keyline job list\"?"},
            {"job lits", "did you mean \"keyline job list\"?"},
            {"devise list", "did you mean \"keyline device list\"?"},
            {"statis", "did you mean \"keyline status\"?"},
            {"qqqqqqqqqq", "unknown command \"qqqqqqqqqq\": 'keyline --help'"},
            {"job", "\"job\" needs a verb"},
            {"job show", "needs JOB"},
            {"job show a b", "\"b\" is too many"},
            {"status now", "it takes no arguments"},
            {"job list --colums x", "did you mean --columns?"},
            {"--jsn status", "did you mean --json?"},
            {"status --wait", "--wait needs a value"},
            {"status --wait soon", "a number from 0 to 86400, not \"soon\""},
            {"status --wait -1", "a number from 0"},
            {"status --wait 99999999999999999999", "a number from 0"},
            {"job approve x --days 0", "--days takes a number from 1"},
            {"job approve x --yes=1", "--yes=1: this option takes no value"},
            {"job import x --name=", "--name takes NAME: it must not be empty"},
            {"status -x", "there is no option -x"},
    };
    struct cli c;
    struct err e;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(parse(&c, &e, cases[i].line), CLI_USAGE);
        assert_int_equal(e.id, ERR_ARGUMENT);
        assert_says(e.msg, cases[i].says);
    }
    assert_int_equal(parse(&c, &e, "foo"), CLI_USAGE); /* three letters from "run", all of them */
    assert_null(strstr(e.msg, "did you mean"));
}

static void every_verb_has_help_with_examples(void **state)
{
    (void)state;
    for (size_t i = 0; i < verb_count; i++) {
        const struct verb *v = &verb_table[i];
        char first[32], command[64];
        const char *second = strchr(v->name, ' ');
        snprintf(first, sizeof first, "%.*s", (int)strcspn(v->name, " "), v->name);
        const struct outcome *o = second ? keyline(first, second + 1, "--help", NULL)
                                         : keyline(first, "--help", NULL);
        assert_int_equal(o->status, 0);
        assert_says(o->out, v->help);
        assert_says(o->out, "Examples");
        for (const struct verb_option *x = v->options; x && x->name; x++)
            assert_says(o->out, x->help);
        snprintf(command, sizeof command, "keyline %s", v->name);
        if (strcmp(v->name, "completion") != 0)
            assert_says(strstr(o->out, "Examples"), command);
        assert_true((v->run != NULL) + (v->method != NULL) + (v->program != NULL) == 1);
        assert_true((v->method != NULL) == (v->show != NULL));
    }
}

static void wrong_usage_exits_with_2(void **state)
{
    (void)state;
    const struct outcome *o = keyline("jbo", "list", NULL);
    assert_int_equal(o->status, 2);
    assert_string_equal(o->out, "");
    assert_says(o->err, "usage: keyline");
    o = keyline("job", "lits", "--json", NULL);
    assert_int_equal(o->status, 2);
    assert_says(o->out, "{\"error\":{\"name\":\"BadArgument\",\"class\":\"OPERATOR\",\"message\":"
                        "\"unknown command");
    /* also of what another program does */
    static const char *const wrong[][3] = {
            {"import", NULL, NULL}, {"import", "a", "b"}, {"rollover", "--yes", NULL}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        o = keyline("ca", wrong[i][0], wrong[i][1], wrong[i][2], NULL);
        assert_int_equal(o->status, 2);
        assert_says(o->err, "usage: keyline ca ");
        assert_not_says(o->err, "ceremony");
    }
    o = keyline("job", "--help", NULL);
    assert_int_equal(o->status, 0);
    assert_says(o->out, "job import");
    assert_not_says(o->out, "device list");
    assert_int_equal(keyline("help", "job", "approve", NULL)->status, 0);
    assert_int_equal(keyline("help", "jbo", NULL)->status, 2);
    assert_int_equal(keyline("\033[2J", NULL)->status, 2);
    test_assert_tame(keyline("\033[2J\xff", NULL)->err, false);
}

static void says_when_the_output_is_lost(void **state)
{
    char command[256];
    (void)state;
    snprintf(
            command, sizeof command, "%s help >/dev/full 2>%s", KEYLINE_PROGRAM, test_path("full"));
    assert_int_equal(WEXITSTATUS(system(command)), 1);
    snprintf(command, sizeof command, "grep -q 'No space left' %s", test_path("full"));
    assert_int_equal(WEXITSTATUS(system(command)), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(understands_options_anywhere),
            cmocka_unit_test(passes_the_ceremony_its_words),
            cmocka_unit_test(refuses_and_suggests),
            cmocka_unit_test(every_verb_has_help_with_examples),
            cmocka_unit_test(wrong_usage_exits_with_2),
            cmocka_unit_test(says_when_the_output_is_lost),
    };
    return cmocka_run_group_tests(tests, test_root_make, test_root_remove);
}
