/* PKCS#11 URIs. Promises that what it does not understand is refused: a part that went by unseen would name another key
 * than the one that was meant. Knows no module and opens nothing. */
#include "hsm/token/pkcs11_uri.h"
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "base/err.h"
#include "base/text.h"

/* One attribute, still encoded. */
struct part {
    const char *name, *value;
    size_t name_len, value_len;
};

static bool named(const struct part *p, const char *name)
{
    return p->name_len == strlen(name) && memcmp(p->name, name, p->name_len) == 0;
}

static int wrong(const struct part *p, const char *what, struct err *e)
{
    return err_set(e, ERR_ARGUMENT, "'%.*s': %s", (int)(p->name_len < 64 ? p->name_len : 64),
            p->name, what);
}

/* RFC 3986, 2.1. */
static int decode(const struct part *p, uint8_t *ret, size_t cap, size_t *ret_len, struct err *e)
{
    size_t n = 0;

    for (size_t i = 0; i < p->value_len; i++) {
        uint8_t byte = (uint8_t)p->value[i];

        if (byte == '%') {
            if (p->value_len - i < 3 || hex_parse(p->value + i + 1, 2, &byte, 1) < 0)
                return wrong(p, "two hexadecimal digits must follow a '%'", e);
            i += 2;
        }
        if (n == cap)
            return wrong(p, "it is too long", e);
        ret[n++] = byte;
    }
    *ret_len = n;
    return n ? 0 : wrong(p, "it is empty", e);
}

/* cap: of ret, with its NUL. */
static int decode_text(const struct part *p, char *ret, size_t cap, struct err *e)
{
    size_t len;

    if (*ret)
        return wrong(p, "it stands twice", e);
    if (decode(p, (uint8_t *)ret, cap - 1, &len, e) < 0)
        return -1;
    ret[len] = '\0';
    return text_is_printable(ret, len) ? 0 : wrong(p, "it is not printable UTF-8", e);
}

static const char *const query_names[] = {"module-path", "pin-source", "pin-value"};
static const char *const path_names[] = {
        "token", "manufacturer", "serial", "model", "object", "id", "type"};

static bool is_among(const struct part *p, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (named(p, names[i]))
            return true;
    return false;
}

/* "a=b&pin-source=c" before the '?', "a=b;token=c" behind it: the other half's separator and a name that there is, which
 * would be taken for a piece of the value before it. */
static int refuse_swallowed(const struct part *p, char separator, const char *const *names,
        size_t count, const char *what, struct err *e)
{
    const char *at = p->value, *end = p->value + p->value_len;

    while ((at = memchr(at, separator, (size_t)(end - at)))) {
        const char *name = ++at, *equals = memchr(name, '=', (size_t)(end - name));
        const struct part inner = {.name = name, .name_len = equals ? (size_t)(equals - name) : 0};

        if (is_among(&inner, names, count))
            return wrong(&inner, what, e);
    }
    return 0;
}

#define COUNT(array)  (sizeof(array) / sizeof *(array))
#define BEHIND_QUERY  "it stands behind a '?', as in pkcs11:token=T;id=%01?pin-source=file:/FILE"
#define BEFORE_QUERY  "it stands before the '?', as in pkcs11:token=T;id=%01?pin-source=file:/FILE"
#define BETWEEN_QUERY "behind the '?' parts have '&' between them"

static int path_part(const struct part *p, struct pkcs11_uri *u, struct err *e)
{
    const struct {
        const char *name;
        char *to;
    } texts[] = {{"token", u->token}, {"manufacturer", u->manufacturer}, {"serial", u->serial},
            {"model", u->model}, {"object", u->object}};

    if (is_among(p, query_names, COUNT(query_names)))
        return wrong(p, BEHIND_QUERY, e);
    if (refuse_swallowed(p, '&', query_names, COUNT(query_names), BEHIND_QUERY, e) < 0)
        return -1;
    for (size_t i = 0; i < COUNT(texts); i++)
        if (named(p, texts[i].name))
            return decode_text(p, texts[i].to, PKCS11_URI_TEXT_MAX + 1, e);
    if (named(p, "id"))
        return u->id_len ? wrong(p, "it stands twice", e)
                         : decode(p, u->id, sizeof u->id, &u->id_len, e);
    if (named(p, "type")) {
        const struct part value = {.name = p->value, .name_len = p->value_len};

        return named(&value, "private") || named(&value, "cert")
                       ? 0
                       : wrong(p, "only a private key, or its certificate, can be used here", e);
    }
    return wrong(p, "this part of PKCS#11 URIs is not supported", e);
}

/* RFC 7512, 2.3: "file:/path", "file:///path" or a plain path. */
static int pin_source(const struct part *p, struct pkcs11_uri *u, struct err *e)
{
    const char *path = u->pin_file;

    if (decode_text(p, u->pin_file, sizeof u->pin_file, e) < 0)
        return -1;
    if (*path == '|')
        return wrong(p, "no program is run for a PIN: name a file", e);
    if (strncmp(path, "file:", 5) == 0)
        path += 5;
    if (strncmp(path, "///", 3) == 0)
        path += 2;
    memmove(u->pin_file, path, strlen(path) + 1);
    return *u->pin_file ? 0 : wrong(p, "it names no file", e);
}

static int query_part(const struct part *p, struct pkcs11_uri *u, struct err *e)
{
    if (is_among(p, path_names, COUNT(path_names)))
        return wrong(p, BEFORE_QUERY, e);
    if (refuse_swallowed(p, ';', query_names, COUNT(query_names), BETWEEN_QUERY, e) < 0 ||
            refuse_swallowed(p, ';', path_names, COUNT(path_names), BEFORE_QUERY, e) < 0)
        return -1;
    if (named(p, "module-path"))
        return decode_text(p, u->module_path, sizeof u->module_path, e);
    if (named(p, "pin-source"))
        return pin_source(p, u, e);
    if (named(p, "pin-value"))
        return wrong(p,
                "a PIN in an argument is visible to every user of this computer: "
                "leave it out to be asked, or use pin-source=file:/FILE",
                e);
    return wrong(p, "this part of PKCS#11 URIs is not supported", e);
}

/* The parts of text up to end, with this separator between them. */
static int each_part(const char *text, const char *end, char separator,
        int (*take)(const struct part *p, struct pkcs11_uri *u, struct err *e),
        struct pkcs11_uri *u, struct err *e)
{
    while (text < end) {
        const char *stop = memchr(text, separator, (size_t)(end - text));
        const char *equals;
        struct part p = {.name = text};

        stop = stop ? stop : end;
        equals = memchr(text, '=', (size_t)(stop - text));
        p.name_len = (size_t)((equals ? equals : stop) - text);
        if (!equals)
            return wrong(&p, "NAME=VALUE is expected here", e);
        p.value = equals + 1;
        p.value_len = (size_t)(stop - p.value);
        if (take(&p, u, e) < 0)
            return -1;
        text = stop < end ? stop + 1 : end;
    }
    return 0;
}

int pkcs11_uri_parse(const char *text, struct pkcs11_uri *ret, struct err *e)
{
    const char *path = text + sizeof PKCS11_URI_PREFIX - 1, *end = text + strlen(text), *query;

    memset(ret, 0, sizeof *ret);
    if (strncmp(text, PKCS11_URI_PREFIX, sizeof PKCS11_URI_PREFIX - 1) != 0)
        return err_set(e, ERR_ARGUMENT, "a PKCS#11 URI begins with " PKCS11_URI_PREFIX);
    query = memchr(path, '?', (size_t)(end - path));
    if (each_part(path, query ? query : end, ';', path_part, ret, e) < 0 ||
            (query && each_part(query + 1, end, '&', query_part, ret, e) < 0))
        return err_context(e, "PKCS#11 URI");
    return 0;
}
