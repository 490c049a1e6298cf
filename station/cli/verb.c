/* Finding verbs and options in the table, and what was probably meant when there is none. */
#include "station/cli/verb.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/text.h"

#define NEAR 3u /* a slip or two; more is another word */

/* How many of the words are exactly the verb's name; 0 when they are not. */
static size_t words_of_name(const struct verb *v, const char *const *words, size_t count)
{
    const char *at = v->name;
    for (size_t i = 0; i < count; i++) {
        size_t len = strcspn(at, " ");
        if (strlen(words[i]) != len || memcmp(words[i], at, len) != 0)
            return 0;
        if (at[len] == '\0')
            return i + 1;
        at += len + 1;
    }
    return 0;
}

const struct verb *verb_find(const char *const *words, size_t count, size_t *ret_used)
{
    for (size_t i = 0; i < verb_count; i++) {
        *ret_used = words_of_name(&verb_table[i], words, count);
        if (*ret_used > 0)
            return &verb_table[i];
    }
    return NULL;
}

const char *verb_nearest(const char *const *words, size_t count)
{
    char typed[2 * NAME_BYTES_MAX];
    const char *best = NULL;
    size_t best_distance = NEAR + 1;
    for (size_t n = 1; n <= count && n <= 2; n++) {
        int len = snprintf(
                typed, sizeof typed, "%s%s%s", words[0], n > 1 ? " " : "", n > 1 ? words[1] : "");
        for (size_t i = 0; i < verb_count; i++) {
            size_t d = text_distance(
                    typed, (size_t)len, verb_table[i].name, strlen(verb_table[i].name));
            if (d < best_distance && d * 2 <= (size_t)len) {
                best_distance = d;
                best = verb_table[i].name;
            }
        }
    }
    return best;
}

static void nearer_option(const struct verb_option *options, const char *name, const char **best,
        size_t *best_distance)
{
    for (; options && options->name; options++) {
        size_t d = text_distance(name, strlen(name), options->name, strlen(options->name));
        if (d < *best_distance && d * 2 <= strlen(name)) {
            *best_distance = d;
            *best = options->name;
        }
    }
}

const char *verb_nearest_option(const struct verb *v, const char *name)
{
    const char *best = NULL;
    size_t distance = NEAR + 1;
    if (v)
        nearer_option(v->options, name, &best, &distance);
    nearer_option(verb_globals, name, &best, &distance);
    return best;
}
