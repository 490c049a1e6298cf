/* What the command line can do, as data. verb_table (verbs.c) alone says which verbs and options there are: parsing,
 * --help, the shells' completion and the test of the manual page all read it. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct cli;
struct err;

typedef struct json_t json_t; /* jansson's own declaration */

enum value_kind {
    VALUE_NONE, /* a switch */
    VALUE_TEXT,
    VALUE_NUMBER, /* min..max */
    VALUE_FILE,
    VALUE_DIR,
};
struct verb_option {
    const char *name; /* without the dashes; NULL ends the list */
    enum value_kind kind;
    const char *value; /* what its value is called in help; GROUP, JOB and DEVICE are completed */
    const char *help;
    int64_t min, max;
};
#define VERB_OPTIONS_MAX 16

/* 0; -1 with e set: exit status 1; or another exit status, CLI_USAGE with e set. */
typedef int (*verb_run_fn)(struct cli *c, struct err *e);
/* Shows an answer to people. The same results. */
typedef int (*verb_show_fn)(struct cli *c, json_t *answer, struct err *e);

struct verb {
    const char *name; /* "job approve": one or two words */
    const char *args; /* "JOB", "FILE", "[VERB]"; as many words as arguments */
    unsigned args_min, args_max;
    const char *help; /* one line, no full stop */
    const struct verb_option *options;
    const char *const *examples; /* NULL ends the list */
    verb_run_fn run;
    /* A verb without run is one call of this method with the verb's arguments ... */
    const char *method;
    const char *last; /* ... and the value of this option, when not NULL, as the last one */
    verb_show_fn show;
    /* The program that is run in our place with the verb, the options that were given and the arguments; it has options of
     * the same names. */
    const char *program;
};
extern const struct verb verb_table[];
extern const size_t verb_count;

/* Options that every verb takes. */
extern const struct verb_option verb_globals[];

/* The verb that words begin with; how many of them are its name. NULL when there is none. */
const struct verb *verb_find(const char *const *words, size_t count, size_t *ret_used);
/* The name nearest to what was typed, or NULL when nothing is near. */
const char *verb_nearest(const char *const *words, size_t count);
const char *verb_nearest_option(const struct verb *v, const char *name);
