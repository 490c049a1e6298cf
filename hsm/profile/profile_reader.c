/* Members of a profile, one by one. Promises that every fault is named with its place; it decides
 * nothing about certificates. */
#include "hsm/profile/profile_reader.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/err.h"
#include "base/text.h"

enum needed { OPTIONAL, REQUIRED };
static const struct member {
    const char *where, *name;
    enum needed needed;
} members[] = {
#define MEMBER(where, name, needed, meaning) {where, name, needed},
#include "hsm/profile/profile_members.h"
};
#define COUNT(table) (sizeof(table) / sizeof *(table))

void reader_complain(struct reader *r, const char *where, const char *fmt, ...)
{
    char text[ERR_MSG_MAX];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    text_make_printable(text);
    r->count++;
    /* without memory one line is lost, the refusal is not */
    buf_printf(&r->faults, NULL, "%s%s%s\n", where, *where ? ": " : "", text);
}

void reader_path(char out[READER_PATH_MAX], const char *where, const char *name)
{
    snprintf(out, READER_PATH_MAX, "%s%s%.20s", where, *where ? "." : "", name);
}

static bool is_member(const char *kind, const char *name)
{
    for (size_t i = 0; i < COUNT(members); i++)
        if (strcmp(members[i].where, kind) == 0 && strcmp(members[i].name, name) == 0)
            return true;
    return false;
}

bool reader_members(struct reader *r, json_t *o, const char *kind, const char *where)
{
    const char *name;
    json_t *v;

    if (!json_is_object(o)) {
        reader_complain(r, where, "it must be an object {..}");
        return false;
    }
    json_object_foreach(o, name, v)
    {
        if (!is_member(kind, name))
            reader_complain(r, where, "member \"%.40s\" is unknown", name);
    }
    for (size_t i = 0; i < COUNT(members); i++)
        if (strcmp(members[i].where, kind) == 0 && members[i].needed == REQUIRED &&
                !json_object_get(o, members[i].name))
            reader_complain(r, where, "member \"%s\" is missing", members[i].name);
    return true;
}

const char *reader_text(struct reader *r, json_t *o, const char *where, const char *name)
{
    json_t *v = json_object_get(o, name);
    const char *text = json_string_value(v);
    char at[READER_PATH_MAX];

    if (v && (!text || strlen(text) != json_string_length(v) || !*text)) {
        reader_path(at, where, name);
        reader_complain(r, at, "it must be a text");
        return NULL;
    }
    return text;
}

bool reader_flag(struct reader *r, json_t *o, const char *where, const char *name)
{
    json_t *v = json_object_get(o, name);
    char at[READER_PATH_MAX];

    if (v && !json_is_boolean(v)) {
        reader_path(at, where, name);
        reader_complain(r, at, "it must be true or false");
    }
    return json_is_true(v);
}

int reader_number(
        struct reader *r, json_t *o, const char *where, const char *name, int min, int max)
{
    json_t *v = json_object_get(o, name);
    char at[READER_PATH_MAX];

    if (v && (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max)) {
        reader_path(at, where, name);
        reader_complain(r, at, "it must be a whole number from %d to %d", min, max);
        return min;
    }
    return (int)json_integer_value(v);
}

size_t reader_list(struct reader *r, json_t *list, const char *where, size_t min, size_t max)
{
    size_t n = json_array_size(list);

    if (list && (!json_is_array(list) || n < min || n > max)) {
        reader_complain(r, where, "it must be a list of %zu to %zu entries", min, max);
        return 0;
    }
    return n;
}

const char *reader_entry(struct reader *r, json_t *list, const char *where, size_t i)
{
    json_t *v = json_array_get(list, i);
    const char *text = json_string_value(v);

    if (!text || !*text || strlen(text) != json_string_length(v)) {
        reader_complain(r, where, "entry %zu must be a text", i + 1);
        return "";
    }
    for (size_t before = 0; before < i; before++)
        if (json_equal(json_array_get(list, before), v))
            reader_complain(r, where, "\"%.60s\" stands there twice", text);
    return text;
}

void reader_template(struct reader *r, const char *where, const char *text,
        enum template_scope scope, enum value_form form, size_t max)
{
    struct err e = {0};
    const char *fault;

    if (!*text)
        return; /* complained of already */
    if (template_check(text, scope, &e) < 0)
        reader_complain(r, where, "%s", e.msg);
    else if (!strchr(text, '{') && (fault = value_check(form, text, strlen(text), max)))
        reader_complain(r, where, "\"%.60s\": %s", text, fault);
}
