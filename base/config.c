/* keyline.conf. inih reads the syntax; what exists stands in config_list.h. Nothing unknown,
 * doubled, cut short or out of range is ever accepted in silence: a typing mistake must not change
 * a station. */
#include "base/config.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ini.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/text.h"

enum kind { KIND_STR, KIND_NUM, KIND_CHOICE };

struct key {
    const char *section, *name;
    enum kind kind;
    const char *fallback;
    int64_t min, max;
    const char *choices; /* "one|two" */
};

static const struct key keys[] = {
#define KEY(section, key, kind, fallback, min, max, meaning)                                       \
    {section, key, KIND_##kind, fallback, min, max, NULL},
#define CHOICE_KEY(section, key, choices, fallback, meaning)                                       \
    {section, key, KIND_CHOICE, fallback, 0, 0, choices},
#define SLOT_KEY(key, kind, fallback, min, max, meaning)                                           \
    {"slot", key, KIND_##kind, fallback, min, max, NULL},
#include "base/config_list.h"
};
#define KEY_COUNT (sizeof keys / sizeof keys[0])

/* Sections that stand once for each thing of their kind, under its name: "[slot 01]". */
static const struct repeated {
    const char *kind;
    bool also_plain; /* [token] is a token too */
    size_t max;
    const char *required; /* a key whose default would be no use here */
} repeated[] = {
        {"slot", false, CONF_SLOTS_MAX, "port"},
        {"token", true, CONF_TOKENS_MAX, "label"},
};
#define REPEATED_COUNT (sizeof repeated / sizeof repeated[0])

struct section {
    const struct repeated *kind;
    char *title;             /* "slot 01" */
    char *values[KEY_COUNT]; /* NULL: not set */
    unsigned line;
};

struct config {
    char *values[KEY_COUNT]; /* NULL: not set */
    struct section *sections;
    size_t section_count;
    struct config_slot *slots; /* the same, as callers see them: borrowed from sections */
    size_t slot_count;
    const char **tokens;
    size_t token_count;
};

/* One run of the parser over the file's text. */
struct parse {
    struct config *config;
    const char *path;
    const char *text;
    size_t len, at;
    unsigned line;
    struct err *e;
    bool failed;
};

__attribute__((format(printf, 2, 3))) static int refuse(struct parse *p, const char *fmt, ...)
{
    char what[ERR_MSG_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    p->failed = true;
    return err_set(p->e, ERR_CONFIG, "%s:%u: %s", p->path, p->line, what);
}

static int parse_num(const char *text, int64_t *ret)
{
    uint64_t value;
    bool negative = text[0] == '-';
    if (text_parse_u64(text + (negative ? 1 : 0), &value) < 0 || value > INT64_MAX)
        return -1;
    *ret = negative ? -(int64_t)value : (int64_t)value;
    return 0;
}

static const struct key *find_key(const char *section, const char *name)
{
    for (size_t i = 0; i < KEY_COUNT; i++)
        if (strcmp(keys[i].section, section) == 0 && strcmp(keys[i].name, name) == 0)
            return &keys[i];
    return NULL;
}

static bool section_exists(const char *section)
{
    for (size_t i = 0; i < REPEATED_COUNT; i++)
        if (strcmp(repeated[i].kind, section) == 0)
            return repeated[i].also_plain;
    for (size_t i = 0; i < KEY_COUNT; i++)
        if (strcmp(keys[i].section, section) == 0)
            return true;
    return false;
}

static bool is_choice(const char *choices, const char *value)
{
    size_t len = strlen(value);
    for (const char *at = choices; at != NULL; at = strchr(at, '|')) {
        at += *at == '|';
        if (strncmp(at, value, len) == 0 && strcspn(at, "|") == len)
            return true;
    }
    return false;
}

/* Checks value against k and puts it into *slot. */
static int set_value(struct parse *p, const struct key *k, const char *value, char **place)
{
    int64_t num;
    if (*place != NULL)
        return refuse(p, "'%s' is set twice", k->name);
    if (!utf8_valid(value, strlen(value)))
        return refuse(p, "the value of '%s' is not UTF-8 text", k->name);
    if (k->kind == KIND_NUM && (parse_num(value, &num) < 0 || num < k->min || num > k->max))
        return refuse(p, "'%s' must be a number from %lld to %lld, not '%s'", k->name,
                (long long)k->min, (long long)k->max, value);
    if (k->kind == KIND_CHOICE && !is_choice(k->choices, value))
        return refuse(p, "'%s' must be one of %s, not '%s'", k->name, k->choices, value);
    *place = strdup(value);
    if (*place == NULL) {
        p->failed = true;
        return err_set(p->e, ERR_NOMEM, "no memory for %s", p->path);
    }
    return 0;
}

/* The kind of a section with a name of its own, and the name in ret. NULL: any other. */
static const struct repeated *repeated_kind(const char *title, const char **ret_name)
{
    for (size_t i = 0; i < REPEATED_COUNT; i++) {
        size_t len = strlen(repeated[i].kind);
        if (strncmp(title, repeated[i].kind, len) == 0 && title[len] == ' ') {
            *ret_name = title + len + 1;
            return &repeated[i];
        }
    }
    return NULL;
}

static struct section *find_section(const struct config *c, const char *title)
{
    for (size_t i = 0; i < c->section_count; i++)
        if (strcmp(c->sections[i].title, title) == 0)
            return &c->sections[i];
    return NULL;
}

static int add_section(
        struct parse *p, const struct repeated *kind, const char *title, const char *name)
{
    struct config *c = p->config;
    size_t count = 0;
    if (find_section(c, title) != NULL)
        return 0;
    if (!name_valid(name, strlen(name)))
        return refuse(p, "'%s' is not a name for a %s", name, kind->kind);
    for (size_t i = 0; i < c->section_count; i++)
        count += c->sections[i].kind == kind;
    if (count == kind->max)
        return refuse(p, "more than %zu %ss", kind->max, kind->kind);
    struct section *sections = reallocarray(c->sections, c->section_count + 1, sizeof *sections);
    if (sections != NULL)
        c->sections = sections;
    char *copy = strdup(title);
    if (sections == NULL || copy == NULL) {
        free(copy);
        p->failed = true;
        return err_set(p->e, ERR_NOMEM, "no memory for %s", p->path);
    }
    sections[c->section_count++] = (struct section){.kind = kind, .title = copy, .line = p->line};
    return 0;
}

static int check_section(struct parse *p, const char *section)
{
    const char *name;
    if (strlen(section) >= CONF_NAME_MAX)
        return refuse(p, "the name of section [%s...] is too long", section);
    const struct repeated *kind = repeated_kind(section, &name);
    if (kind != NULL)
        return add_section(p, kind, section, name);
    if (!section_exists(section))
        return refuse(p, "unknown section [%s]; see keyline.conf(5)", section);
    return 0;
}

static int on_pair(void *user, const char *section, const char *name, const char *value)
{
    struct parse *p = user;
    if (p->failed)
        return 0; /* inih goes on after an error; the first one is the one to tell */
    if (section[0] == '\0')
        return refuse(p, "'%s' stands before the first [section]", name) == 0;
    if (check_section(p, section) < 0)
        return 0;
    struct section *s = find_section(p->config, section);
    const struct key *k = find_key(s != NULL ? s->kind->kind : section, name);
    if (k == NULL)
        return refuse(p, "unknown key '%s' in [%s]; see keyline.conf(5)", name, section) == 0;
    char **values = s != NULL ? s->values : p->config->values;
    return set_value(p, k, value, &values[k - keys]) == 0;
}

/* Gives inih the next line, as fgets would, counting lines and refusing what inih would cut. */
static char *next_line(char *out, int cap, void *stream)
{
    struct parse *p = stream;
    if (p->failed || p->at == p->len)
        return NULL;
    const char *start = p->text + p->at;
    const char *newline = memchr(start, '\n', p->len - p->at);
    size_t len = newline != NULL ? (size_t)(newline - start) + 1 : p->len - p->at;
    p->line++;
    if (len >= (size_t)cap) {
        refuse(p, "the line is longer than %d characters", cap - 3);
        return NULL;
    }
    memcpy(out, start, len);
    out[len] = '\0';
    p->at += len;
    /* inih tells of pairs only: an empty section would go by unseen, whatever its name. */
    const char *end = out[0] == '[' ? strchr(out, ']') : NULL;
    if (end != NULL) {
        char section[CONF_NAME_MAX + 1];
        snprintf(section, sizeof section, "%.*s", (int)(end - out - 1), out + 1);
        if (check_section(p, section) < 0)
            return NULL;
    }
    return out;
}

static int view_slot(struct parse *p, const struct section *s)
{
    struct config *c = p->config;
    c->slots[c->slot_count++] = (struct config_slot){.name = s->title + sizeof "slot",
            .port = config_get(c, s->title, "port"),
            .driver = config_get(c, s->title, "driver"),
            .baud = (unsigned)config_num(c, s->title, "baud")};
    if (config_get(c, s->title, "driver")[0] == '\0')
        return refuse(p, "[%s] names no driver", s->title);
    return 0;
}

/* A token that stood here twice would be given its PIN twice. */
static int view_token(struct parse *p, const char *title)
{
    struct config *c = p->config;
    for (size_t i = 0; i < c->token_count; i++)
        if (strcmp(config_get(c, c->tokens[i], "label"), config_get(c, title, "label")) == 0 &&
                strcmp(config_get(c, c->tokens[i], "module"), config_get(c, title, "module")) == 0)
            return refuse(p, "[%s] is the token of [%s] again: same module, same label", title,
                    c->tokens[i]);
    c->tokens[c->token_count++] = title;
    return 0;
}

static int make_views(struct parse *p)
{
    struct config *c = p->config;
    c->slots = calloc(c->section_count + 1, sizeof *c->slots);
    c->tokens = calloc(c->section_count + 1, sizeof *c->tokens);
    if (c->slots == NULL || c->tokens == NULL)
        return err_set(p->e, ERR_NOMEM, "no memory for %s", p->path);
    c->tokens[c->token_count++] = "token";
    for (size_t i = 0; i < c->section_count; i++) {
        const struct section *s = &c->sections[i];
        const char *value = s->values[find_key(s->kind->kind, s->kind->required) - keys];
        p->line = s->line;
        if (value == NULL || value[0] == '\0')
            return refuse(p, "[%s] has no %s", s->title, s->kind->required);
        if ((s->kind == &repeated[0] ? view_slot(p, s) : view_token(p, s->title)) < 0)
            return -1;
    }
    return 0;
}

static int parse_text(struct config *c, const char *path, const struct buf *text, struct err *e)
{
    struct err first = {0};
    struct parse p = {.config = c,
            .path = path,
            .text = (const char *)text->data,
            .len = text->len,
            .e = &first};
    if (text->len > 0 && memchr(text->data, '\0', text->len) != NULL)
        return err_set(e, ERR_CONFIG, "%s holds a NUL byte", path);
    int r = ini_parse_stream(next_line, &p, on_pair, &p);
    p.e = e;
    /* A line that is not INI at all may be the cause of what on_pair met later. */
    if (r > 0 && (!p.failed || (unsigned)r < p.line)) {
        p.line = (unsigned)r;
        return refuse(&p, "neither '[section]' nor 'key = value' nor '# comment'");
    }
    if (p.failed)
        return err_set(e, first.id, "%s", first.msg);
    if (r < 0)
        return err_set(e, ERR_NOMEM, "no memory for %s", path);
    return make_views(&p);
}

int config_load(const char *path, struct config **ret, struct err *e)
{
    struct buf text = BUF_INIT;
    struct err read_error = {0};
    struct config *c = calloc(1, sizeof *c);
    int r = -1;
    if (c == NULL) {
        err_set(e, ERR_NOMEM, "no memory for %s", path);
        goto out;
    }
    if (file_read(path, CONF_FILE_MAX, &text, &read_error) < 0 && read_error.id != ERR_NOT_FOUND) {
        err_set_code(e, read_error.id, read_error.code, "%s", read_error.msg);
        goto out;
    }
    if (parse_text(c, path, &text, e) < 0)
        goto out;
    *ret = c;
    c = NULL; /* handed over */
    r = 0;
out:
    config_free(&c);
    buf_done(&text);
    return r;
}

void config_free(struct config **c)
{
    if (*c == NULL)
        return;
    for (size_t i = 0; i < KEY_COUNT; i++)
        free((*c)->values[i]);
    for (size_t i = 0; i < (*c)->section_count; i++) {
        free((*c)->sections[i].title);
        for (size_t k = 0; k < KEY_COUNT; k++)
            free((*c)->sections[i].values[k]);
    }
    free((*c)->sections);
    free((*c)->slots);
    free((*c)->tokens);
    free(*c);
    *c = NULL;
}

static const struct key *listed_key(const char *section, const char *name)
{
    const char *own;
    const struct repeated *kind = repeated_kind(section, &own);
    const struct key *k = find_key(kind != NULL ? kind->kind : section, name);
    if (k == NULL) {
        fprintf(stderr, "config_list.h has no key '%s' in [%s]\n", name, section);
        abort();
    }
    return k;
}

const char *config_get(const struct config *c, const char *section, const char *key)
{
    const struct key *k = listed_key(section, key);
    const struct section *s = find_section(c, section);
    const char *value = s != NULL ? s->values[k - keys] : c->values[k - keys];
    return value != NULL ? value : k->fallback;
}

int64_t config_num(const struct config *c, const char *section, const char *key)
{
    int64_t value;
    if (listed_key(section, key)->kind != KIND_NUM ||
            parse_num(config_get(c, section, key), &value) < 0)
        abort(); /* asked for a text as a number; the file's numbers were checked when it was loaded
                  */
    return value;
}

int config_station(const struct config *c, char ret[NAME_BYTES_MAX + 1], struct err *e)
{
    char host[HOST_NAME_MAX + 1] = "";
    const char *name = config_get(c, "station", "name");
    if (name[0] == '\0') {
        if (gethostname(host, sizeof host) < 0)
            return err_set_errno(e, errno, "find the host's name");
        host[sizeof host - 1] = '\0'; /* POSIX does not say who ends a name that was cut */
        name = host;
    }
    if (!name_valid(name, strlen(name)) || strcmp(name, "*") == 0)
        return err_set(e, ERR_CONFIG,
                "[station] name: give this station a name of at most %u bytes, without '/' and "
                "other than '*'",
                NAME_BYTES_MAX);
    memcpy(ret, name, strlen(name) + 1);
    return 0;
}

int config_user(
        const struct config *c, const char *key, uid_t *uids, size_t *uid_count, struct err *e)
{
    const char *name = config_get(c, "access", key);
    bool is_default = c->values[listed_key("access", key) - keys] == NULL;
    if (name[0] == '\0')
        return 0;
    errno = 0;
    const struct passwd *user = getpwnam(name);
    if (user != NULL) {
        uids[(*uid_count)++] = user->pw_uid;
        return 0;
    }
    if (errno != 0 && errno != ENOENT && errno != ESRCH)
        return err_set_errno(e, errno, "look up user '%s'", name);
    if (is_default)
        return 0;
    return err_set(e, ERR_CONFIG, "[access] %s: there is no user '%s' on this machine", key, name);
}

size_t config_slots(const struct config *c, const struct config_slot **ret)
{
    *ret = c->slots;
    return c->slot_count;
}

size_t config_tokens(const struct config *c, const char *const **ret)
{
    *ret = c->tokens;
    return c->token_count;
}
