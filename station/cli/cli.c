/* One command from its words to its exit status. The only place that talks about errors: to people
 * on standard error, with --json as an object on standard output. */
#include "station/cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bus.h"
#include "base/text.h"
#include "jobs/jobs_client.h"
#include "station/cli/help.h"

#define CONNECT_PAUSE_US 100000u
#define USAGE_LINE_MAX   128
#define OPTION_WORD_MAX  48

/* On the first day there is nothing to start yet. */
static void advise_first_day(const struct cli *c, struct err *e)
{
    char path[PATH_MAX];
    paths_get(&c->paths, PATH_CA_CHAIN, path);
    if (e->id == ERR_UNAVAILABLE && access(path, F_OK) < 0 && errno == ENOENT)
        err_advise(e, "There is no CA yet: make it with 'keyline init', or with 'keyline ca "
                      "request' and a root elsewhere; then start 'keyline run'.");
}

int cli_connect(struct cli *c, struct err *e)
{
    int64_t deadline = time_monotonic_ms() + (int64_t)c->wait_s * 1000;
    while (!c->bus) {
        struct err why = {0};
        if (jobs_open(&c->paths, &c->bus, &why) == 0)
            break;
        if (why.id != ERR_UNAVAILABLE || time_monotonic_ms() >= deadline) {
            advise_first_day(c, &why);
            *e = why;
            return -1;
        }
        usleep(CONNECT_PAUSE_US);
    }
    return 0;
}

int cli_parse(struct buf *answer, json_t **ret, struct err *e)
{
    json_error_t why;
    json_t *o = json_loadb((const char *)answer->data, answer->len, 0, &why);
    if (!json_is_object(o)) {
        json_decref(o);
        return err_set(e, ERR_PROTOCOL, "the appliance's answer is not a JSON object");
    }
    *ret = o;
    return 0;
}

int cli_answer(struct cli *c, struct buf *answer, json_t **ret, struct err *e)
{
    *ret = NULL;
    if (!c->json)
        return cli_parse(answer, ret, e);
    fwrite(answer->data, 1, answer->len, stdout);
    putchar('\n');
    return 0;
}

int cli_call(struct cli *c, const char *method, const char *const *args, size_t count, json_t **ret,
        struct err *e)
{
    struct buf answer = BUF_INIT;
    int r = cli_connect(c, e);
    if (r == 0)
        r = jobs_call(c->bus, method, args, count, &answer, e);
    if (r == 0)
        r = cli_answer(c, &answer, ret, e);
    buf_done(&answer);
    return r;
}

int cli_print_json(json_t *o, struct err *e)
{
    int r = o ? json_dumpf(o, stdout, JSON_COMPACT) : -1;
    json_decref(o);
    if (r)
        return err_set(e, ERR_NOMEM, "no memory for the answer");
    putchar('\n');
    return 0;
}

const char *json_text(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

int64_t json_number(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

double json_ratio(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : -1;
}

/* A verb that is one call. */
static int run_method(struct cli *c, struct err *e)
{
    const char *args[VERB_OPTIONS_MAX];
    size_t n = 0;
    json_t *answer = NULL;
    while (n < c->arg_count) {
        args[n] = c->args[n];
        n++;
    }
    if (c->verb->last) {
        const char *value = cli_option(c, c->verb->last);
        args[n++] = value ? value : "";
    }
    if (cli_call(c, c->verb->method, args, n, &answer, e))
        return -1;
    int r = answer ? c->verb->show(c, answer, e) : 0;
    json_decref(answer);
    return r;
}

/* execv's old signature; it changes nothing. */
static char *word_of(const char *text)
{
    return (char *)(uintptr_t)text;
}

/* The verb's words, its options that were given, its arguments: all of them were understood here, so that what is not is
 * answered in keyline's words. */
static int run_program(struct cli *c, struct err *e)
{
    char path[PATH_MAX], *words = strdup(c->verb->name), *rest = words, *word;
    char **argv = calloc(c->arg_count + 2 * VERB_OPTIONS_MAX + 6, sizeof *argv);
    char names[VERB_OPTIONS_MAX][OPTION_WORD_MAX];
    const struct verb_option *o = c->verb->options;
    size_t n = 0;
    if (!argv || !words) {
        err_set(e, ERR_NOMEM, "no memory for %zu arguments", c->arg_count);
        goto out;
    }
    paths_program(c->verb->program, path);
    argv[n++] = path;
    while ((word = strsep(&rest, " ")))
        argv[n++] = word;
    for (size_t i = 0; o && o[i].name; i++) {
        if (!c->values[i])
            continue;
        snprintf(names[i], sizeof names[i], "--%s", o[i].name);
        argv[n++] = names[i];
        if (o[i].kind != VALUE_NONE)
            argv[n++] = word_of(c->values[i]);
    }
    argv[n++] = word_of("--");
    for (size_t i = 0; i < c->arg_count; i++)
        argv[n++] = word_of(c->args[i]);
    execv(path, argv);
    err_set_errno(e, errno, "start %s", path);
out:
    free(argv);
    free(words);
    return -1;
}

static const char *usage_line(const struct verb *v, char out[USAGE_LINE_MAX])
{
    snprintf(out, USAGE_LINE_MAX, "%s%s%s%s", v->name, *v->args ? " " : "", v->args,
            v->options ? " [OPTIONS]" : "");
    return out;
}

static void report(const struct cli *c, const struct err *e, int status)
{
    char line[USAGE_LINE_MAX];
    struct screen s;
    if (c->json) {
        struct err ignored = {0};
        fflush(stdout);
        cli_print_json(
                json_pack("{s:{s:s,s:s,s:s,s:s}}", "error", "name", err_name(e->id), "class",
                        err_class_name(err_class(e->id)), "message", e->msg, "hint", err_next(e)),
                &ignored);
        return;
    }
    fflush(stdout);
    screen_init(&s, stderr);
    screen_style(&s, STYLE_BAD);
    screen_printf(&s, "keyline: ");
    screen_style(&s, STYLE_PLAIN);
    screen_put(&s, e->msg, 0);
    if (status == CLI_USAGE)
        screen_printf(&s, "\nusage: keyline %s; --help shows examples\n",
                c->verb ? usage_line(c->verb, line) : "VERB [OPTIONS]");
    else
        screen_printf(&s, " [%s]\n  %s\n", err_name(e->id), err_next(e));
}

/* What was printed must have arrived: a full disk is not success. */
static int flush_output(int status)
{
    int failed = ferror(stdout) | fflush(stdout);
    if (!failed)
        return status;
    if (errno != EPIPE)
        fprintf(stderr, "keyline: the output could not be written: %s\n", strerror(errno));
    return status ? status : CLI_FAILED;
}

static int run(struct cli *c, int argc, char **argv, struct err *e)
{
    int r = args_parse(c, argc, argv, e);
    if (r)
        return r;
    if (c->help) {
        if (c->verb)
            help_verb(&c->out, c->verb);
        else
            help_overview(&c->out, c->topic);
        return 0;
    }
    if (paths_init(&c->paths, e))
        return -1;
    if (c->verb->run)
        return c->verb->run(c, e);
    return c->verb->program ? run_program(c, e) : run_method(c, e);
}

static bool asks_for_json(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0)
            return true;
    return false;
}

int cli_main(int argc, char **argv)
{
    struct cli c = {0};
    struct err e = {0};
    screen_init(&c.out, stdout);
    bool json =
            asks_for_json(argc, argv); /* getopt moves the words, and stops at the first fault */
    int status = run(&c, argc, argv, &e);
    c.json |= status == CLI_USAGE && json;
    if (status < 0)
        status = CLI_FAILED;
    if (e.id != ERR_NONE)
        report(&c, &e, status);
    sd_bus_flush_close_unref(c.bus);
    return flush_output(status);
}
