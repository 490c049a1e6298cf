/* Completion scripts and the manual page: both say what the table of verbs says. */
#include "cli_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/paths.h"
#include "station/cli/verb.h"

static int start(void **state)
{
    if (test_root_make(state))
        return -1;
    fake_start();
    return 0;
}

static int stop(void **state)
{
    fake_stop();
    return test_root_remove(state);
}

static int shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int shell(const char *fmt, ...)
{
    char command[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(command, sizeof command, fmt, ap);
    va_end(ap);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool is_there(const char *program)
{
    return shell("command -v %s >/dev/null", program) == 0;
}

/* What bash would offer behind the words; the last one is what is being typed. */
static const char *offered(const char *words)
{
    static char text[8192];
    char command[1024];
    snprintf(command, sizeof command,
            "cat >%s <<'EOF'\nPATH=$(dirname %s):$PATH\nsource <(keyline completion "
            "bash)\ncompopt() { :; }\n"
            "COMP_WORDS=(%s)\nCOMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n_keyline\nprintf '%%s\\n' "
            "\"${COMPREPLY[@]}\"\nEOF\n",
            test_path("try.bash"), KEYLINE_PROGRAM, words);
    assert_int_equal(system(command), 0);
    snprintf(command, sizeof command, "bash %s", test_path("try.bash"));
    FILE *f = popen(command, "r");
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    pclose(f);
    return text;
}

static void scripts_parse(void **state)
{
    static const struct {
        const char *shell, *check;
    } shells[] = {{"bash", "bash -n"}, {"zsh", "zsh -n"}, {"fish", "fish -n"}};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        const struct outcome *o = keyline("completion", shells[i].shell, NULL);
        assert_int_equal(o->status, 0);
        for (size_t v = 0; v < verb_count; v++)
            for (const struct verb_option *x = verb_table[v].options; x && x->name; x++)
                assert_says(o->out, x->name);
        test_write("script", "%s", o->out);
        if (is_there(shells[i].shell))
            assert_int_equal(shell("%s %s", shells[i].check, test_path("script")), 0);
    }
    assert_int_equal(keyline("completion", "csh", NULL)->status, 2);
}

static void bash_offers_what_fits(void **state)
{
    (void)state;
    assert_string_equal(offered("keyline jo"), "job\n");
    assert_string_equal(offered("keyline job ap"), "approve\n");
    assert_string_equal(offered("keyline --wait 5 job ap"), "approve\n");
    assert_string_equal(offered("keyline job approve --pass"), "--passphrase-file\n");
    assert_string_equal(offered("keyline job watch --until-idle ''"), "\n");
    assert_string_equal(offered("keyline completion f"), "fish\n");
    assert_says(offered("keyline job import /etc/passw"), "/etc/passwd\n");
    assert_says(offered("keyline job ''"), "watch\n");
}

static void names_are_quoted_not_run(void **state)
{
    (void)state;
    fake_answer("JobList",
            "{\"jobs\":[{\"name\":\"order 4711\"},{\"name\":\"order$(touch %s)`touch "
            "%s`\"},{\"name\":\"other\"}]}",
            test_path("ran1"), test_path("ran2"));
    const char *names = offered("keyline job show order");
    assert_says(names, "order\\ 4711\n");
    assert_says(names, "order\\$\\(touch");
    assert_not_says(names, "other");
    assert_int_equal(shell("ls %s/ran* 2>/dev/null", test_root), 2);
}

static char *man_text(void)
{
    static char text[65536];
    FILE *f = fopen(KEYLINE_MAN, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    return text;
}

/* The part of the page about one verb: from its .It line to the next verb's. */
static void verb_section(const char *man, const struct verb *v, char *out, size_t cap)
{
    char head[64];
    snprintf(head, sizeof head, "\n.It Ic %s", v->name);
    const char *at = strstr(man, head);
    while (at && at[strlen(head)] != '\n' && at[strlen(head)] != ' ')
        at = strstr(at + strlen(head), head);
    if (!at)
        fail_msg("keyline.1 has no entry for \"%s\"", v->name);
    const char *end = strstr(at + strlen(head), "\n.It Ic ");
    snprintf(out, cap, "%.*s", (int)(end ? end - at : (long)strlen(at)), at);
}

static void man_page_covers_the_table(void **state)
{
    char *man = man_text(), section[8192], option[64];
    unsigned verbs = 0;
    (void)state;
    for (size_t i = 0; i < verb_count; i++) {
        const struct verb *v = &verb_table[i];
        verb_section(man, v, section, sizeof section);
        for (const struct verb_option *x = v->options; x && x->name; x++) {
            snprintf(option, sizeof option, "Fl -%s", x->name);
            assert_says(section, option);
        }
    }
    for (const struct verb_option *x = verb_globals; x->name; x++) {
        snprintf(option, sizeof option, ".It Fl -%s", x->name);
        assert_says(man, option);
    }
    /* and nothing else */
    for (char *s = man; (s = strstr(s, "\n.It Ic ")); s++)
        verbs++;
    assert_int_equal(verbs, verb_count);
}

/* Files that people look for; sockets are no business of theirs. */
static void man_page_knows_the_files(void **state)
{
    const struct paths where = {.etc = "/etc/keyline", .state = "/var/lib/keyline"};
    char *man = man_text(), path[PATH_MAX], alone[PATH_MAX + 3], beside[PATH_MAX + 3];
    (void)state;
    for (int id = 0; id < PATH_COUNT; id++) {
        paths_get(&where, (enum path_id)id, path);
        snprintf(alone, sizeof alone, "Pa %s", path);
        snprintf(beside, sizeof beside, " , %s", strrchr(path, '/') + 1);
        if (!strstr(path, ".sock") && !strstr(man, alone) && !strstr(man, beside))
            fail_msg("keyline.1 does not name %s", path);
    }
}

static void man_page_is_clean(void **state)
{
    (void)state;
    if (!is_there("mandoc"))
        skip();
    assert_int_equal(shell("mandoc -Tlint -W warning %s", KEYLINE_MAN), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(scripts_parse),
            cmocka_unit_test(bash_offers_what_fits),
            cmocka_unit_test(names_are_quoted_not_run),
            cmocka_unit_test(man_page_covers_the_table),
            cmocka_unit_test(man_page_knows_the_files),
            cmocka_unit_test(man_page_is_clean),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
