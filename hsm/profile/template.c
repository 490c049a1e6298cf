/* Templates. Promises that a value holds what the profile's author wrote and what the row has, and
 * nothing else; a column that is missing is never taken for an empty one. */
#include "hsm/profile/template.h"
#include <stdint.h>
#include <string.h>
#include "base/columns.h"
#include "base/err.h"
#include "base/row.h"

/* Literal text, or a column. */
struct part {
    const char *text;
    size_t len;
    bool column;
    unsigned marks; /* question marks behind the column */
};

/* 1: a part; 0: the end; -1: a brace without its partner. */
static int next_part(const char **at, struct part *ret)
{
    size_t len = strcspn(*at, "{}");

    *ret = (struct part){.text = *at, .len = len};
    if (len) {
        *at += len;
        return 1;
    }
    if (**at == '\0')
        return 0;
    ret->text = *at + 1;
    len = strcspn(ret->text, "{}");
    if (**at != '{' || ret->text[len] != '}')
        return -1;
    *at = ret->text + len + 1;
    while (len && ret->marks < 2 && ret->text[len - 1] == '?')
        len--, ret->marks++;
    ret->len = len;
    ret->column = true;
    return 1;
}

static bool is(const struct part *p, const char *name)
{
    return p->column && p->len == strlen(name) && memcmp(p->text, name, p->len) == 0;
}

static bool is_known(const struct part *p, enum template_scope scope)
{
    const struct column *c;

    if (scope == TEMPLATE_OF_CA)
        return is(p, "ca_key_id") && !p->marks;
    c = column_find(p->text, p->len);
    return (c && c->kind != COLUMN_REFUSED) || is(p, "device_id");
}

int template_check(const char *t, enum template_scope scope, struct err *e)
{
    struct part p;
    int r;

    if (!*t)
        return err_set(e, ERR_PROFILE, "the template is empty");
    while ((r = next_part(&t, &p)) > 0) {
        const char *near;

        if (!p.column || is_known(&p, scope))
            continue;
        if (scope == TEMPLATE_OF_CA)
            return err_set(e, ERR_PROFILE,
                    "an address takes no column {%.*s}: only {ca_key_id} is the same for all "
                    "devices",
                    (int)(p.len < 64 ? p.len : 64), p.text);
        near = column_nearest(p.text, p.len);
        return err_set(e, ERR_PROFILE, "a manifest has no column {%.*s}%s%s%s",
                (int)(p.len < 64 ? p.len : 64), p.text, near ? ": did you mean {" : "",
                near ? near : "", near ? "}?" : "");
    }
    return r == 0 ? 0 : err_set(e, ERR_PROFILE, "a brace is open or closes nothing");
}

bool template_has(const char *t, const char *column, size_t len)
{
    struct part p;

    while (next_part(&t, &p) > 0)
        if (p.column && p.len == len && memcmp(p.text, column, len) == 0)
            return true;
    return false;
}

bool template_may_misfit(const char *t)
{
    return strstr(t, "??}") != NULL;
}

/* 1: ret holds the text; 0: there is none. */
static int look_up(const struct part *p, const struct template_source *s, struct part *ret)
{
    const char *fixed = is(p, "device_id")   ? s->device_id
                        : is(p, "ca_key_id") ? s->ca_key_id
                                             : NULL;

    *ret = (struct part){.text = fixed, .len = fixed ? strlen(fixed) : 0};
    for (size_t i = 0; s->row && !fixed && i < s->row->count; i++) {
        const struct row_field *f = &s->row->fields[i];

        if (f->key_len == p->len && memcmp(f->key, p->text, p->len) == 0)
            *ret = (struct part){.text = f->value, .len = f->value_len};
    }
    return ret->len > 0;
}

int template_fill(const char *t, const struct template_source *s, struct template_text *out,
        const char **ret, size_t *ret_len, struct err *e)
{
    size_t used = 0;
    struct part p, value;

    while (next_part(&t, &p) > 0) {
        value = p;
        if (p.column && !look_up(&p, s, &value)) {
            if (p.marks)
                return 0;
            return err_set(e, ERR_PROFILE, "column %.*s: the row lacks it", (int)p.len, p.text);
        }
        if (value.len > out->room - used)
            return err_set(e, ERR_LIMIT, "the row's values are too long for a certificate");
        memcpy(out->text + used, value.text, value.len);
        used += value.len;
    }
    *ret = out->text;
    *ret_len = used;
    out->text += used;
    out->room -= used;
    return 1;
}
