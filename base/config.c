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

enum kind { KIND_STR, KIND_NUM };

struct key {
    const char *section, *name;
    enum kind kind;
    const char *fallback;
    int64_t min, max;
};

static const struct key keys[] = {
#define KEY(section, key, kind, fallback, min, max, meaning)                                       \
    {section, key, KIND_##kind, fallback, min, max},
#include "base/config_list.h"
};
static const struct key slot_keys[] = {
#define SLOT_KEY(key, kind, fallback, min, max, meaning)                                           \
    {"slot", key, KIND_##kind, fallback, min, max},
#include "base/config_list.h"
};
#define KEY_COUNT      (sizeof keys / sizeof keys[0])
#define SLOT_KEY_COUNT (sizeof slot_keys / sizeof slot_keys[0])

static const char slot_prefix[] = "slot ";

struct slot {
    char *name;
    char *values[SLOT_KEY_COUNT]; /* NULL: not set */
    unsigned line;
};

struct config {
    char *values[KEY_COUNT]; /* NULL: not set */
    struct slot *slots;
    struct config_slot *view; /* the same, as callers see it: borrows from slots */
    size_t slot_count;
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

static const struct key *find_key(
        const struct key *table, size_t count, const char *section, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(table[i].section, section) == 0 && strcmp(table[i].name, name) == 0)
            return &table[i];
    return NULL;
}

static bool section_exists(const char *section)
{
    for (size_t i = 0; i < KEY_COUNT; i++)
        if (strcmp(keys[i].section, section) == 0)
            return true;
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
    *place = strdup(value);
    if (*place == NULL) {
        p->failed = true;
        return err_set(p->e, ERR_NOMEM, "no memory for %s", p->path);
    }
    return 0;
}

/* The slot of that name, made when it is new. NULL after an error. */
static struct slot *slot_of(struct parse *p, const char *name)
{
    struct config *c = p->config;
    for (size_t i = 0; i < c->slot_count; i++)
        if (strcmp(c->slots[i].name, name) == 0)
            return &c->slots[i];
    if (!name_valid(name, strlen(name))) {
        refuse(p, "'%s' is not a name for a slot", name);
        return NULL;
    }
    if (c->slot_count == CONF_SLOTS_MAX) {
        refuse(p, "more than %u slots", CONF_SLOTS_MAX);
        return NULL;
    }
    struct slot *slots = reallocarray(c->slots, c->slot_count + 1, sizeof *slots);
    if (slots != NULL)
        c->slots = slots;
    char *copy = strdup(name);
    if (slots == NULL || copy == NULL) {
        free(copy);
        p->failed = true;
        err_set(p->e, ERR_NOMEM, "no memory for %s", p->path);
        return NULL;
    }
    slots[c->slot_count] = (struct slot){.name = copy, .line = p->line};
    return &slots[c->slot_count++];
}

static const char *slot_name(const char *section)
{
    size_t len = sizeof slot_prefix - 1;
    return strncmp(section, slot_prefix, len) == 0 ? section + len : NULL;
}

static int check_section(struct parse *p, const char *section)
{
    if (strlen(section) >= CONF_NAME_MAX)
        return refuse(p, "the name of section [%s...] is too long", section);
    const char *name = slot_name(section);
    if (name != NULL)
        return slot_of(p, name) == NULL ? -1 : 0;
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
    const char *slot = slot_name(section);
    const struct key *k = slot != NULL ? find_key(slot_keys, SLOT_KEY_COUNT, "slot", name)
                                       : find_key(keys, KEY_COUNT, section, name);
    if (k == NULL)
        return refuse(p, "unknown key '%s' in [%s]; see keyline.conf(5)", name, section) == 0;
    char **place =
            slot != NULL ? &slot_of(p, slot)->values[k - slot_keys] : &p->config->values[k - keys];
    return set_value(p, k, value, place) == 0;
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

/* What slot s says for a key of slot_keys, or its default. */
static const char *slot_value(const struct slot *s, const char *name)
{
    const struct key *k = find_key(slot_keys, SLOT_KEY_COUNT, "slot", name);
    const char *value = s->values[k - slot_keys];
    return value != NULL ? value : k->fallback;
}

static int make_view(struct parse *p)
{
    struct config *c = p->config;
    c->view = calloc(c->slot_count + 1, sizeof *c->view);
    if (c->view == NULL)
        return err_set(p->e, ERR_NOMEM, "no memory for %s", p->path);
    for (size_t i = 0; i < c->slot_count; i++) {
        const struct slot *s = &c->slots[i];
        int64_t baud = 0;
        p->line = s->line;
        c->view[i] = (struct config_slot){
                .name = s->name, .port = slot_value(s, "port"), .driver = slot_value(s, "driver")};
        if (c->view[i].port[0] == '\0')
            return refuse(p, "[slot %s] has no port", s->name);
        if (c->view[i].driver[0] == '\0')
            return refuse(p, "[slot %s] names no driver", s->name);
        if (parse_num(slot_value(s, "baud"), &baud) < 0)
            abort(); /* its range was checked when it was set */
        c->view[i].baud = (unsigned)baud;
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
    return make_view(&p);
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
    for (size_t i = 0; i < (*c)->slot_count; i++) {
        free((*c)->slots[i].name);
        for (size_t k = 0; k < SLOT_KEY_COUNT; k++)
            free((*c)->slots[i].values[k]);
    }
    free((*c)->slots);
    free((*c)->view);
    free(*c);
    *c = NULL;
}

static const struct key *listed_key(const char *section, const char *name)
{
    const struct key *k = find_key(keys, KEY_COUNT, section, name);
    if (k == NULL) {
        fprintf(stderr, "config_list.h has no key '%s' in [%s]\n", name, section);
        abort();
    }
    return k;
}

const char *config_get(const struct config *c, const char *section, const char *key)
{
    const struct key *k = listed_key(section, key);
    const char *value = c->values[k - keys];
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
    *ret = c->view;
    return c->slot_count;
}
