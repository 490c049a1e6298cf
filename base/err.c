/* Errors as values. The first cause is kept; context is put before it. What stands in a message may
 * come from a device or a peer, so every message is made printable here, once: it can be shown,
 * logged and sent as it is. */
#define ERR_BODIES
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

struct err_entry {
    const char *name;
    enum err_class class;
    const char *hint;
};

static const struct err_entry err_table[ERR_COUNT] = {
        [ERR_NONE] = {"None", ERR_CLASS_NONE, ""},
#define ERR(id, name, class, hint) [ERR_##id] = {name, ERR_CLASS_##class, hint},
#include "base/err_list.h"
#undef ERR
};

static const char *const class_names[] = {
        [ERR_CLASS_NONE] = "NONE",
        [ERR_CLASS_DEVICE] = "DEVICE",
        [ERR_CLASS_RETRY] = "RETRY",
        [ERR_CLASS_OPERATOR] = "OPERATOR",
        [ERR_CLASS_HSM] = "HSM",
        [ERR_CLASS_STORE] = "STORE",
        [ERR_CLASS_PEER] = "PEER",
        [ERR_CLASS_BUG] = "BUG",
};

/* Formats into out and shows by "..." that it did not fit. */
__attribute__((format(printf, 2, 0))) static void format_msg(
        char out[ERR_MSG_MAX], const char *fmt, va_list ap)
{
    int n = vsnprintf(out, ERR_MSG_MAX, fmt, ap);
    if (n < 0)
        out[0] = '\0';
    else if (n >= ERR_MSG_MAX)
        memcpy(out + ERR_MSG_MAX - 4, "...", 4);
    text_make_printable(out);
}

__attribute__((format(printf, 4, 0))) static int set(
        struct err *e, enum err_id id, long code, const char *fmt, va_list ap)
{
    if (e == NULL || e->id != ERR_NONE)
        return -1;
    e->id = id;
    e->code = code;
    format_msg(e->msg, fmt, ap);
    return -1;
}

int err_set(struct err *e, enum err_id id, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    set(e, id, 0, fmt, ap);
    va_end(ap);
    return -1;
}

int err_set_code(struct err *e, enum err_id id, long code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    set(e, id, code, fmt, ap);
    va_end(ap);
    return -1;
}

static enum err_id id_of_errno(int errnum)
{
    switch (errnum) {
    case ENOSPC:
    case EDQUOT:
        return ERR_DISK_FULL;
    case ENOMEM:
        return ERR_NOMEM;
    default:
        return ERR_IO;
    }
}

int err_set_errno(struct err *e, int errnum, const char *fmt, ...)
{
    char what[ERR_MSG_MAX];
    va_list ap;
    va_start(ap, fmt);
    format_msg(what, fmt, ap);
    va_end(ap);
    char text[128];
    return err_set_code(e, id_of_errno(errnum), errnum, "%.350s: %s", what,
            strerror_r(errnum, text, sizeof text));
}

int err_context(struct err *e, const char *fmt, ...)
{
    if (e == NULL || e->id == ERR_NONE)
        return -1;
    char context[ERR_MSG_MAX];
    va_list ap;
    va_start(ap, fmt);
    format_msg(context, fmt, ap);
    va_end(ap);
    /* The cause matters more than the way to it: when both do not fit, the context is cut. */
    size_t cause = strlen(e->msg);
    size_t room = ERR_MSG_MAX - 1 - cause;
    if (room < 2 + sizeof "x...")
        return -1;
    size_t len = strlen(context);
    if (len > room - 2) {
        len = room - 2;
        memset(context + len - 3, '.', 3);
    }
    memmove(e->msg + len + 2, e->msg, cause + 1);
    memcpy(e->msg, context, len);
    e->msg[len] = ':';
    e->msg[len + 1] = ' ';
    text_make_printable(e->msg); /* the cut may have halved a character */
    return -1;
}

int err_advise(struct err *e, const char *hint)
{
    if (e != NULL && e->id != ERR_NONE && e->hint == NULL)
        e->hint = hint;
    return -1;
}

void err_clear(struct err *e)
{
    if (e != NULL)
        *e = (struct err){0};
}

static const struct err_entry *entry(enum err_id id)
{
    return &err_table[(unsigned)id < ERR_COUNT ? id : ERR_BUG];
}

enum err_class err_class(enum err_id id)
{
    return entry(id)->class;
}

const char *err_class_name(enum err_class c)
{
    size_t count = sizeof class_names / sizeof class_names[0];
    return class_names[(size_t)c < count ? c : ERR_CLASS_BUG];
}

const char *err_name(enum err_id id)
{
    return entry(id)->name;
}

const char *err_hint(enum err_id id)
{
    return entry(id)->hint;
}

const char *err_next(const struct err *e)
{
    return e->hint != NULL ? e->hint : err_hint(e->id);
}

enum err_id err_from_name(const char *name)
{
    for (unsigned i = ERR_NONE + 1; i < ERR_COUNT; i++)
        if (strcmp(err_table[i].name, name) == 0)
            return (enum err_id)i;
    return ERR_NONE;
}
