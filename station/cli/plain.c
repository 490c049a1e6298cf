/* The verbs whose answer is a list or a page of facts: groups, slots, sync, status, and what needs
 * no appliance at all. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "station/cli/cli.h"
#include "station/cli/help.h"
#include "station/cli/plain.h"
#include "station/cli/table.h"
#include "station/cli/verbs.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

int plain_list(struct cli *c, const json_t *rows, const struct table_column *columns, size_t count,
        const char *nothing, struct err *e)
{
    struct table t;
    const char *chosen = cli_option(c, "columns");
    int r = table_init(&t, &c->out, columns, count, chosen, e);
    if (r)
        return r;
    table_rows(&t, rows);
    if (json_array_size(rows) == 0 && !chosen)
        screen_printf(&c->out, "%s\n", nothing);
    return 0;
}

static void error_facts(struct cli *c, const json_t *error, const char *hint)
{
    if (!json_is_object(error))
        return;
    screen_style(&c->out, STYLE_WARN);
    screen_fact(&c->out, "Error", json_text(error, "message"));
    screen_style(&c->out, STYLE_PLAIN);
    screen_fact(&c->out, "What to do", hint);
}

void plain_error(struct cli *c, const json_t *error)
{
    error_facts(c, error, json_text(error, "hint"));
}

/* The registry is up before the signer is. */
const char *plain_signer_hint(const json_t *error)
{
    return strcmp(json_text(error, "name"), err_name(ERR_UNAVAILABLE)) == 0
                   ? "Just after a start: ask again in a moment. Else its log says why it ended."
                   : json_text(error, "hint");
}

int group_show(struct cli *c, json_t *answer, struct err *e)
{
    (void)e;
    screen_printf(&c->out, "Group \"");
    screen_put(&c->out, json_text(json_object_get(answer, "group"), "name"), 0);
    screen_printf(&c->out, "\" is there.\n");
    return 0;
}

int group_list(struct cli *c, json_t *answer, struct err *e)
{
    static const struct table_column columns[] = {
            {"name", "GROUP", CELL_TEXT},
            {"devices", "DEVICES", CELL_NUMBER},
            {"created", "CREATED", CELL_TIME},
            {"description", "DESCRIPTION", CELL_TEXT},
    };
    return plain_list(c, json_object_get(answer, "groups"), columns, COUNT(columns),
            "No group yet: keyline group add NAME", e);
}

int slot_list(struct cli *c, json_t *answer, struct err *e)
{
    static const struct table_column columns[] = {
            {"name", "SLOT", CELL_TEXT},
            {"state", "STATE", CELL_STATE},
            {"device_name", "DEVICE", CELL_TEXT},
            {"since", "SINCE", CELL_TIME},
            {"port", NULL, CELL_TEXT},
            {"run", NULL, CELL_TEXT},
            {"text", "WHAT", CELL_TEXT},
    };
    return plain_list(c, json_object_get(answer, "slots"), columns, COUNT(columns),
            "No slot is up: set [slot NAME] in keyline.conf, or keyline run --slots N --ports DIR",
            e);
}

static void fact_time(struct cli *c, const char *label, const json_t *o, const char *key)
{
    char text[NUMBER_TEXT_MAX];
    if (*json_text(o, key))
        screen_fact(&c->out, label, clock_format(json_text(o, key), text));
}

static void sync_facts(struct cli *c, const json_t *sync)
{
    char n[4][NUMBER_TEXT_MAX];
    const char *state = json_text(sync, "state");
    screen_fact(
            &c->out, "Upstream", *json_text(sync, "url") ? json_text(sync, "url") : "none is set");
    if (strcmp(state, "off") != 0)
        screen_fact(&c->out, "Line", state);
    screen_factf(&c->out, "Records", "%s: %s acknowledged, %s waiting, %s refused",
            number_format(json_number(sync, "records"), n[0]),
            number_format(json_number(sync, "acknowledged"), n[1]),
            number_format(json_number(sync, "waiting"), n[2]),
            number_format(json_number(sync, "refused"), n[3]));
    fact_time(c, "Last acknowledged", sync, "last_ack");
    fact_time(c, "Oldest waiting", sync, "oldest_waiting");
    fact_time(c, "Next try", sync, "retry_at");
    plain_error(c, json_object_get(sync, "error"));
}

int sync_show(struct cli *c, json_t *answer, struct err *e)
{
    (void)e;
    sync_facts(c, answer);
    return 0;
}

static bool is_token(const json_t *t, const char *state)
{
    return strcmp(json_text(t, "state"), state) == 0;
}

/* "up: 2 of 2 tokens, p99 12.3 ms", and of each token that does not work, which and why. The time is
 * the slowest token's: that is what an operator waits for. */
static void hsm_facts(struct cli *c, const json_t *signer)
{
    const json_t *tokens = json_object_get(signer, "tokens"), *t;
    size_t i, up = 0, starting = 0, count = json_array_size(tokens);
    char time[NUMBER_TEXT_MAX] = "";
    double p99 = 0;
    if (!count)
        return;
    json_array_foreach(tokens, i, t)
    {
        double own = json_number_value(json_object_get(t, "sign_ms_p99"));
        up += is_token(t, "up");
        starting += is_token(t, "starting");
        p99 = own > p99 ? own : p99;
    }
    if (up < count)
        screen_style(&c->out, STYLE_WARN);
    if (p99 > 0)
        snprintf(time, sizeof time, ", p99 %.1f ms", p99);
    screen_factf(&c->out, "HSM", "%s: %zu of %zu token%s%s",
            up         ? "up"
            : starting ? "starting, which takes some seconds"
                       : "down",
            up, count, count == 1 ? "" : "s", time);
    json_array_foreach(tokens, i, t)
    {
        const json_t *why = json_object_get(t, "last_error");
        if (is_token(t, "up") || count == 1)
            continue; /* one alone: the signer's error is its error */
        screen_factf(&c->out, "", "token \"%s\" is %s%s%s", json_text(t, "label"),
                json_text(t, "state"), json_is_object(why) ? ": " : "", json_text(why, "message"));
        if (json_is_object(why))
            screen_fact(&c->out, "What to do", json_text(why, "hint"));
    }
    screen_style(&c->out, STYLE_PLAIN);
}

/* "registry" may be a path or, later, an object: what it cannot name is left out. */
static void signer_facts(struct cli *c, const json_t *signer)
{
    const json_t *error = json_object_get(signer, "error");
    char n[NUMBER_TEXT_MAX];
    screen_fact(&c->out, "Signer", json_is_true(json_object_get(signer, "up")) ? "up" : "down");
    screen_fact(&c->out, "Issuing CA", json_text(signer, "ca_subject"));
    fact_time(c, "CA valid until", signer, "ca_not_after");
    if (json_is_integer(json_object_get(signer, "issued")))
        screen_fact(
                &c->out, "Certificates issued", number_format(json_number(signer, "issued"), n));
    hsm_facts(c, signer);
    error_facts(c, error, plain_signer_hint(error));
}

int status_show(struct cli *c, json_t *answer, struct err *e)
{
    char n[2][NUMBER_TEXT_MAX], path[PATH_MAX];
    (void)e;
    paths_get(&c->paths, PATH_REGISTRY, path);
    screen_fact(&c->out, "Station", json_text(answer, "station"));
    screen_fact(&c->out, "Version", json_text(answer, "version"));
    screen_factf(&c->out, "Registry", "%s job%s, %s devices in %s",
            number_format(json_number(answer, "jobs"), n[0]),
            json_number(answer, "jobs") == 1 ? "" : "s",
            number_format(json_number(answer, "devices"), n[1]), path);
    screen_factf(&c->out, "Slots", "%" PRId64, json_number(answer, "slots"));
    signer_facts(c, json_object_get(answer, "signer"));
    sync_facts(c, json_object_get(answer, "sync"));
    return 0;
}

int version_print(struct cli *c, struct err *e)
{
    if (c->json)
        return cli_print_json(json_pack("{s:s}", "version", KEYLINE_VERSION), e);
    screen_printf(&c->out, "keyline %s\n", KEYLINE_VERSION);
    return 0;
}

int help_print(struct cli *c, struct err *e)
{
    size_t used;
    const struct verb *v = verb_find(c->args, c->arg_count, &used);
    const char *near = c->arg_count ? verb_nearest(c->args, c->arg_count) : NULL;
    if (v)
        help_verb(&c->out, v);
    else if (c->arg_count == 0)
        help_overview(&c->out, NULL);
    else
        return cli_usage(e, "there is no verb \"%.60s\"%s%s%s", c->args[0],
                near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    return 0;
}

int completion_run(struct cli *c, struct err *e)
{
    if (completion_print(stdout, c->args[0]))
        return cli_usage(e, "there is no completion for \"%.40s\": bash, zsh and fish are known",
                c->args[0]);
    return 0;
}
