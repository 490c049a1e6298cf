/* From words to a command, with glibc's getopt_long over the table's options. Promises that what is
 * not understood is refused with what was probably meant, before anything is tried. */
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/text.h"
#include "station/cli/cli.h"

#define OPTION_BASE 256 /* above every character */

int cli_usage(struct err *e, const char *fmt, ...)
{
    char text[ERR_MSG_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err_set(e, ERR_ARGUMENT, "%s", text);
    return CLI_USAGE;
}

static size_t option_index(const struct cli *c, const char *name)
{
    size_t i = 0;
    while (c->verb->options && c->verb->options[i].name)
        if (strcmp(c->verb->options[i].name, name) == 0)
            return i;
        else
            i++;
    abort(); /* a verb that asks for an option it has not: ours, and the tests find it */
}

const char *cli_option(const struct cli *c, const char *name)
{
    return c->values[option_index(c, name)];
}

bool cli_has(const struct cli *c, const char *name)
{
    return cli_option(c, name) != NULL;
}

int64_t cli_number(const struct cli *c, const char *name, int64_t otherwise)
{
    uint64_t n; /* checked against its range when it was parsed */
    const char *value = cli_option(c, name);
    return value && text_parse_u64(value, &n) == 0 ? (int64_t)n : otherwise;
}

static int check_value(const struct verb_option *o, const char *value, struct err *e)
{
    uint64_t n;
    if (o->kind == VALUE_NUMBER &&
            (text_parse_u64(value, &n) || n > (uint64_t)o->max || n < (uint64_t)o->min))
        return cli_usage(e, "--%s takes a number from %" PRId64 " to %" PRId64 ", not \"%.40s\"",
                o->name, o->min, o->max, value);
    if (o->kind != VALUE_NUMBER && o->kind != VALUE_NONE && *value == '\0')
        return cli_usage(e, "--%s takes %s: it must not be empty", o->name, o->value);
    return 0;
}

/* The verb's options and those of every verb, as getopt wants them. A global option's value is
 * OPTION_BASE + VERB_OPTIONS_MAX + its index. */
static void getopt_table(const struct verb *v, struct option out[2 * VERB_OPTIONS_MAX + 1])
{
    const struct verb_option *lists[] = {v ? v->options : NULL, verb_globals};
    size_t n = 0;
    for (size_t list = 0; list < 2; list++)
        for (size_t i = 0; lists[list] && lists[list][i].name; i++)
            out[n++] = (struct option){lists[list][i].name,
                    lists[list][i].kind == VALUE_NONE ? no_argument : required_argument, NULL,
                    OPTION_BASE + (int)(list * VERB_OPTIONS_MAX + i)};
    out[n] = (struct option){0};
}

static int unknown_option(const struct cli *c, char **argv, struct err *e)
{
    const char *typed = argv[optind - 1];
    char name[NAME_BYTES_MAX + 1];
    if (optopt > 0 && optopt < OPTION_BASE)
        return cli_usage(e, "there is no option -%c", optopt);
    if (optopt >= OPTION_BASE) /* known, but written --switch=value */
        return cli_usage(e, "%.60s: this option takes no value", typed);
    typed += strspn(typed, "-");
    snprintf(name, sizeof name, "%.*s", (int)strcspn(typed, "="), typed);
    const char *near = verb_nearest_option(c->verb, name);
    return cli_usage(e, "there is no option --%.60s%s%s%s%s%s", name, c->verb ? " of " : "",
            c->verb ? c->verb->name : "", near ? "; did you mean --" : "", near ? near : "",
            near ? "?" : "");
}

static int set_global(struct cli *c, size_t i, const char *value, struct err *e)
{
    const struct verb_option *o = &verb_globals[i];
    uint64_t n = 0;
    int r = check_value(o, value, e);
    if (r)
        return r;
    if (strcmp(o->name, "json") == 0)
        c->json = true;
    else if (strcmp(o->name, "help") == 0)
        c->help = true;
    else if (strcmp(o->name, "wait") == 0) {
        text_parse_u64(value, &n);
        c->wait_s = (unsigned)n;
    }
    return 0;
}

/* Options from argv[0] on; with "+" only up to the first word. Leaves optind at the first word. */
static int parse_options(struct cli *c, int argc, char **argv, const char *shorts, struct err *e)
{
    struct option table[2 * VERB_OPTIONS_MAX + 1];
    getopt_table(c->verb, table);
    opterr = 0;
    optind = 0; /* glibc: start anew */
    for (;;) {
        int got = getopt_long(argc, argv, shorts, table, NULL), r = 0;
        if (got == -1)
            return 0;
        if (got == 'h')
            c->help = true;
        else if (got == ':')
            return cli_usage(e, "%.60s needs a value", argv[optind - 1]);
        else if (got == '?')
            return unknown_option(c, argv, e);
        else if (got >= OPTION_BASE + VERB_OPTIONS_MAX)
            r = set_global(
                    c, (size_t)(got - OPTION_BASE - VERB_OPTIONS_MAX), optarg ? optarg : "", e);
        else {
            size_t i = (size_t)(got - OPTION_BASE);
            c->values[i] = optarg ? optarg : "";
            r = check_value(&c->verb->options[i], c->values[i], e);
        }
        if (r)
            return r;
    }
}

static bool is_noun(const char *word)
{
    size_t len = strlen(word);
    for (size_t i = 0; i < verb_count; i++)
        if (strncmp(verb_table[i].name, word, len) == 0 && verb_table[i].name[len] == ' ')
            return true;
    return false;
}

static int unknown_verb(struct cli *c, const char *const *words, size_t count, struct err *e)
{
    bool noun = is_noun(words[0]), second = count > 1 && words[1][0] != '-';
    const char *near = verb_nearest(words, second ? 2 : 1);
    if (noun && !second) {
        c->topic = words[0];
        return cli_usage(
                e, "\"%s\" needs a verb: 'keyline %s --help' lists them", words[0], words[0]);
    }
    return cli_usage(e, "unknown command \"%.40s%s%.40s\"%s%s%s", words[0], second ? " " : "",
            second ? words[1] : "", near ? "; did you mean \"keyline " : "", near ? near : "",
            near ? "\"?" : ": 'keyline --help' lists what there is");
}

/* "keyline", "keyline --help", "keyline job --help": no verb, but not an error either. */
static bool asks_for_help(struct cli *c, const char *const *words, size_t count)
{
    if (count == 0)
        return true;
    if (!is_noun(words[0]) || !(c->help || (count > 1 && (strcmp(words[1], "--help") == 0 ||
                                                                 strcmp(words[1], "-h") == 0))))
        return false;
    c->topic = words[0];
    return true;
}

static int check_count(const struct cli *c, struct err *e)
{
    const struct verb *v = c->verb;
    if (c->arg_count < v->args_min)
        return cli_usage(e, "%s needs %s: keyline %s %s", v->name, v->args, v->name, v->args);
    if (c->arg_count > v->args_max)
        return cli_usage(e, "%s: \"%.60s\" is too many%s", v->name, c->args[v->args_max],
                v->args_max ? "; quote a name with spaces" : ": it takes no arguments");
    return 0;
}

int args_parse(struct cli *c, int argc, char **argv, struct err *e)
{
    int r = parse_options(c, argc, argv, "+:h", e);
    if (r)
        return r;
    char **words = argv + optind;
    size_t count = (size_t)(argc - optind), used = 0;
    c->verb = verb_find((const char *const *)words, count, &used);
    if (!c->verb) {
        if (asks_for_help(c, (const char *const *)words, count)) {
            c->help = true;
            return 0;
        }
        return unknown_verb(c, (const char *const *)words, count, e);
    }
    /* getopt skips the word it takes for the program's name: the verb's last one. */
    int rest = (int)(count - used) + 1;
    r = parse_options(c, rest, words + used - 1, ":h", e);
    if (r || c->help)
        return r;
    c->args = (const char *const *)words + used - 1 + optind;
    c->arg_count = (size_t)(rest - optind);
    return check_count(c, e);
}
