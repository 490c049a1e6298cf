/* One command: what was typed, the connection to the appliance, and where the answer goes. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-bus.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/paths.h"
#include "station/cli/screen.h"
#include "station/cli/verb.h"

#define CLI_FAILED 1
#define CLI_USAGE  2 /* the command makes no sense; nothing was tried */
#define CLI_IDLE   3 /* job watch: nothing moved any more, the job is not complete */

struct cli {
    const struct verb *verb;
    const char
            *values[VERB_OPTIONS_MAX]; /* of verb->options, by index; "" for a switch that is set */
    const char *const *args;
    size_t arg_count;
    const char *topic; /* with help: the noun ("job") or NULL */
    bool help;
    bool json;
    unsigned wait_s;
    struct paths paths;
    struct screen out; /* standard output */
    sd_bus *bus;
};

/* Parses, runs, reports errors, and returns the exit status. argv[0] is the program. */
int cli_main(int argc, char **argv);

/* args.c: fills c->verb and what belongs to it. 0 or CLI_USAGE with e set. argv is permuted. */
int args_parse(struct cli *c, int argc, char **argv, struct err *e);
/* The value of an option of this verb, NULL when it was not given. A name that the verb lacks is a bug: abort. */
const char *cli_option(const struct cli *c, const char *name);
bool cli_has(const struct cli *c, const char *name);
int64_t cli_number(const struct cli *c, const char *name, int64_t otherwise);
/* Sets e, returns CLI_USAGE: for what only the verb itself can see. */
int cli_usage(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Connects once; with --wait tries until the appliance is there. */
int cli_connect(struct cli *c, struct err *e);
/* The answer to one call: parsed for people, or, with --json, printed as it came; then *ret stays NULL. */
int cli_call(struct cli *c, const char *method, const char *const *args, size_t count, json_t **ret,
        struct err *e);
/* What to do with an answer that was got another way: the same two. */
int cli_answer(struct cli *c, struct buf *answer, json_t **ret, struct err *e);
/* Only parsed. */
int cli_parse(struct buf *answer, json_t **ret, struct err *e);
/* An answer made here (version, ca show): printed with --json. o is consumed. */
int cli_print_json(json_t *o, struct err *e);

/* Members of an answer; "" and 0 when absent, null or of another type: an answer is input. */
const char *json_text(const json_t *o, const char *key);
int64_t json_number(const json_t *o, const char *key);
double json_ratio(const json_t *o, const char *key); /* -1 when null or absent */
