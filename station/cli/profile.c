/* keyline profile: which profiles there are, what they say, and whether one is right, alone and with a
 * manifest. Reads files only: a maker can write profiles on a computer that has no station. */
#include "station/cli/profile.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/row.h"
#include "base/text.h"
#include "base/uuid.h"
#include "hsm/profile/profile_apply.h"
#include "hsm/profile/profile_words.h"
#include "jobs/manifest.h"
#include "station/cli/example.h"
#include "station/cli/manifest_file.h"
#include "station/cli/plain.h"
#include "station/cli/verbs.h"

#define MISFITS_SHOWN 100

int profile_find(const struct cli *c, const char *name, struct profile **ret, struct buf *problems,
        struct err *e)
{
    char dir[PATH_MAX], path[PATH_MAX];
    if (strcmp(name, PROFILE_BUILTIN) == 0)
        return profile_builtin(ret, e);
    if (!profile_name_valid(name))
        return err_set(e, ERR_PROFILE, "'%.40s' is not a profile's name", name);
    paths_get(&c->paths, PATH_PROFILES, dir);
    if (snprintf(path, sizeof path, "%s/%s.json", dir, name) >= (int)sizeof path)
        return err_set(e, ERR_NOT_FOUND, "the path of profile %s is too long", name);
    return profile_read(path, ret, problems, e);
}

/* ---- facts */

static void add(struct buf *b, const char *separator, const char *text)
{
    buf_printf(b, NULL, "%s%s", b->len ? separator : "", text);
}

static void fact(const struct screen *s, const char *label, struct buf *b)
{
    screen_fact(s, label, b->len ? buf_str(b) : NULL);
    buf_reset(b);
}

static void add_list(struct buf *b, const json_t *list)
{
    json_t *v;
    size_t i;
    json_array_foreach(list, i, v) add(b, ", ", json_string_value(v));
}

/* "{hwid?}, else {device_name}" */
static void add_value(struct buf *b, const char *name, const struct profile_value *v)
{
    add(b, "; ", name);
    for (size_t i = 0; i < v->count; i++)
        buf_printf(b, NULL, "%s%s", i ? ", else " : " = ", v->templates[i]);
}

static void show_usage(const struct screen *s, json_t *usage, struct buf *b)
{
    const char *family;
    json_t *list;
    if (json_is_array(usage))
        add_list(b, usage);
    json_object_foreach(usage, family, list)
    {
        buf_printf(b, NULL, "%s%s: ", b->len ? "; " : "", family);
        for (size_t i = 0; i < json_array_size(list); i++)
            buf_printf(b, NULL, "%s%s", i ? ", " : "", json_string_value(json_array_get(list, i)));
    }
    fact(s, "Key usage", b);
}

static void show_validity(const struct screen *s, const struct profile *p)
{
    const char *ca = p->beyond_ca ? "and may outlive the CA" : "but not longer than the CA";
    if (p->years || p->days)
        screen_factf(s, "Validity", "%d %s %s", p->years ? p->years : p->days,
                p->years ? "years" : "days", ca);
    else
        screen_factf(s, "Validity", "no end %s", ca);
    if (p->backdate_minutes)
        screen_factf(s, "Backdated", "%d minutes", p->backdate_minutes);
}

void profile_show_facts(const struct screen *s, const struct profile *p)
{
    struct buf b = BUF_INIT;
    screen_factf(s, "Profile", "%s%s", p->name,
            strcmp(p->name, PROFILE_BUILTIN) == 0 ? " (built in)" : "");
    screen_fact(s, "Its SHA-256", p->sha256);
    screen_fact(s, "It is", p->description);
    add_list(&b, json_object_get(p->document, "keys"));
    fact(s, "Device keys", &b);
    for (size_t i = 0; i < p->subject_count; i++)
        add_value(&b, p->subject[i].name, &p->subject[i].value);
    fact(s, "Subject", &b);
    for (size_t i = 0; i < p->alt_name_count; i++) {
        const json_t *n = json_array_get(json_object_get(p->document, "alt_names"), i);
        add_value(&b, word_alt_name_type(p->alt_names[i].kind), &p->alt_names[i].value);
        if (*json_text(n, "hw_type"))
            buf_printf(&b, NULL, " (%s)", json_text(n, "hw_type"));
    }
    fact(s, "Other names", &b);
    show_validity(s, p);
    show_usage(s, json_object_get(p->document, "key_usage"), &b);
    add_list(&b, json_object_get(p->document, "ext_key_usage"));
    fact(s, "For", &b);
    for (size_t i = 0; i < p->policy_count; i++)
        add(&b, ", ",
                json_text(json_array_get(json_object_get(p->document, "policies"), i), "oid"));
    fact(s, "Policies", &b);
    add_list(&b, json_object_get(p->document, "crl_urls"));
    fact(s, "CRLs at", &b);
    add_list(&b, json_object_get(p->document, "ca_issuers_urls"));
    fact(s, "CA's certificate at", &b);
    add_list(&b, json_object_get(p->document, "ocsp_urls"));
    fact(s, "OCSP at", &b);
    buf_done(&b);
}

static json_t *profile_object(const struct profile *p)
{
    return json_pack("{s:s,s:s,s:O}", "name", p->name, "sha256", p->sha256, "document",
            (json_t *)p->document);
}

/* ---- list */

static json_t *list_entry(const char *name, const struct profile *p, const struct err *why)
{
    struct buf keys = BUF_INIT;
    json_t *o;
    if (p)
        add_list(&keys, json_object_get(p->document, "keys"));
    o = json_pack("{s:s,s:s,s:s,s:s,s:s?}", "name", name, "keys", keys.len ? buf_str(&keys) : "",
            "description", p ? p->description : "", "sha256", p ? p->sha256 : "", "error",
            why ? why->msg : NULL);
    buf_done(&keys);
    return o;
}

static bool is_file_of_profile(const char *path)
{
    size_t len = strlen(path);
    return len > 5 && strcmp(path + len - 5, ".json") == 0;
}

static int is_entry_of_profile(const struct dirent *d)
{
    return d->d_name[0] != '.' && is_file_of_profile(d->d_name);
}

static void add_file(const char *dir, const char *file, json_t *list)
{
    char path[PATH_MAX], name[NAME_MAX + 1];
    struct profile *p = NULL;
    struct err why = {0};
    snprintf(name, sizeof name, "%.*s", (int)strlen(file) - 5, file);
    text_make_printable(name);
    if (strcmp(name, PROFILE_BUILTIN) == 0)
        err_set(&why, ERR_PROFILE, "this file is never used: the built-in profile has that name");
    else if (snprintf(path, sizeof path, "%s/%s", dir, file) < (int)sizeof path)
        profile_read(path, &p, NULL, &why);
    json_array_append_new(list, list_entry(name, p, why.id ? &why : NULL));
    profile_free(&p);
}

int profile_list(struct cli *c, struct err *e)
{
    static const struct table_column columns[] = {
            {"name", "PROFILE", CELL_TEXT},
            {"keys", "KEYS", CELL_TEXT},
            {"description", "DESCRIPTION", CELL_TEXT},
            {"error", "FAULT", CELL_TEXT},
            {"sha256", NULL, CELL_TEXT},
    };
    char dir[PATH_MAX];
    struct dirent **files = NULL;
    struct profile *p = NULL;
    json_t *list = json_array();
    int n, r = profile_builtin(&p, e);
    if (r)
        goto out;
    json_array_append_new(list, list_entry(p->name, p, NULL));
    paths_get(&c->paths, PATH_PROFILES, dir);
    n = scandir(dir, &files, is_entry_of_profile, alphasort);
    for (int i = 0; i < n; i++) {
        add_file(dir, files[i]->d_name, list);
        free(files[i]);
    }
    if (c->json)
        r = cli_print_json(json_pack("{s:O}", "profiles", list), e);
    else
        r = plain_list(c, list, columns, sizeof columns / sizeof *columns, "", e);
out:
    free(files);
    json_decref(list);
    profile_free(&p);
    return r;
}

/* ---- show and check */

/* A name, or what looks like a path. A file of another name may be right and would never be found. */
static int find_or_read(const struct cli *c, const char *what, struct profile **ret,
        struct buf *problems, struct err *e)
{
    if (is_file_of_profile(what))
        return profile_read(what, ret, problems, e);
    if (strchr(what, '/'))
        return err_set(e, ERR_PROFILE, "%.300s: the file of a profile is called NAME.json", what);
    int r = profile_find(c, what, ret, problems, e);
    if (r && e->id == ERR_NOT_FOUND)
        err_advise(e, "'keyline profile list' shows which there are; a file that lies elsewhere "
                      "is given as ./NAME.json.");
    return r;
}

int profile_show(struct cli *c, struct err *e)
{
    struct profile *p = NULL;
    int r = find_or_read(c, c->args[0], &p, NULL, e);
    if (r)
        return r;
    if (c->json)
        r = cli_print_json(json_pack("{s:o}", "profile", profile_object(p)), e);
    else if (cli_has(c, "document"))
        json_dumpf(p->document, stdout, JSON_INDENT(2)), putchar('\n');
    else
        profile_show_facts(&c->out, p);
    profile_free(&p);
    return r;
}

static int decode_row(const struct manifest *m, uint64_t i, struct row *row, struct err *e)
{
    return row_decode(m->encoded.data + m->offsets[i], m->offsets[i + 1] - m->offsets[i], row, e);
}

/* Every row as the signer would: whether it fits, not what becomes of it. */
static int try_rows(const struct profile *p, const struct manifest *m, json_t *misfits,
        uint64_t *ret_total, struct err *e)
{
    struct profile_space space = PROFILE_SPACE_INIT;
    int r = 0;
    *ret_total = 0;
    for (uint64_t i = 0; r == 0 && i < m->rows; i++) {
        struct row row = {0};
        struct err why = {0};
        char name[NAME_BYTES_MAX + 1];
        r = decode_row(m, i, &row, e) ? -1 : row_copy(&row, "device_name", name, sizeof name, e);
        if (r || profile_fits(p, &row, &space, &why) == 0 || ++*ret_total > MISFITS_SHOWN)
            continue;
        json_array_append_new(misfits, json_pack("{s:I,s:s,s:s}", "row", (json_int_t)m->lines[i],
                                               "device_name", name, "reason", why.msg));
    }
    profile_space_done(&space);
    return r;
}

static int write_example(
        const struct cli *c, const struct profile *p, const struct manifest *m, struct err *e)
{
    struct buf pem = BUF_INIT;
    struct row row = {0};
    const char *path = cli_option(c, "example");
    int r = decode_row(m, 0, &row, e);
    if (r == 0)
        r = example_certificate(p, &row, profile_first_key(p), &pem, e);
    if (r == 0)
        r = file_write(path, pem.data, pem.len, 0644, e);
    buf_done(&pem);
    return r;
}

static json_t *fault_lines(struct buf *problems)
{
    json_t *list = json_array();
    char *at = problems->len ? (char *)(uintptr_t)buf_str(problems) : NULL, *line;
    while (at && (line = strsep(&at, "\n")))
        if (*line)
            json_array_append_new(list, json_string(line));
    return list;
}

static void print_check(const struct cli *c, const struct profile *p, const json_t *answer)
{
    json_t *v;
    size_t i;
    uint64_t misfits = (uint64_t)json_number(answer, "misfits_total");
    char n[2][NUMBER_TEXT_MAX];
    json_array_foreach(json_object_get(answer, "faults"), i, v)
    {
        screen_put(&c->out, json_string_value(v), 0);
        screen_printf(&c->out, "\n");
    }
    if (!p)
        return;
    profile_show_facts(&c->out, p);
    if (!cli_has(c, "manifest"))
        return;
    json_array_foreach(json_object_get(answer, "misfits"), i, v)
    {
        screen_printf(&c->out, "line %d, ", (int)json_number(v, "row"));
        screen_put(&c->out, json_text(v, "device_name"), 0);
        screen_printf(&c->out, ": ");
        screen_put(&c->out, json_text(v, "reason"), 0);
        screen_printf(&c->out, "\n");
    }
    number_format(json_number(answer, "rows"), n[0]);
    if (misfits)
        screen_printf(&c->out, "%s of %s rows do not fit the profile.\n",
                number_format((int64_t)misfits, n[1]), n[0]);
    else
        screen_printf(&c->out, "Every row fits the profile (%s).\n", n[0]);
}

/* A faulty profile is this verb's answer, not its failure: all faults are shown, and the status is 1. */
int profile_check(struct cli *c, struct err *e)
{
    struct buf problems = BUF_INIT;
    struct manifest m = {0};
    struct profile *p = NULL;
    struct err why = {0};
    uint64_t misfits = 0;
    json_t *answer = NULL, *list = json_array();
    int r = 0;
    if ((cli_has(c, "group") || cli_has(c, "example")) && !cli_has(c, "manifest")) {
        r = cli_usage(e, "--group and --example go with --manifest");
        goto out;
    }
    if (find_or_read(c, c->args[0], &p, &problems, &why) && why.id != ERR_PROFILE) {
        *e = why; /* with its hint */
        r = -1;
        goto out;
    }
    if (p && cli_has(c, "manifest")) {
        r = manifest_file_read(cli_option(c, "manifest"), cli_option(c, "group"), &m, e);
        if (r == 0)
            r = try_rows(p, &m, list, &misfits, e);
        if (r == 0 && cli_has(c, "example"))
            r = write_example(c, p, &m, e);
        if (r)
            goto out;
    }
    if (!p && !problems.len) /* a name that is none */
        buf_printf(&problems, NULL, "%s\n", why.msg);
    answer = json_pack("{s:o,s:o,s:I,s:I,s:O}", "profile", p ? profile_object(p) : json_null(),
            "faults", fault_lines(&problems), "rows", (json_int_t)m.rows, "misfits_total",
            (json_int_t)misfits, "misfits", list);
    if (c->json)
        r = cli_print_json(json_incref(answer), e);
    else
        print_check(c, p, answer);
    if (r == 0 && (!p || misfits))
        r = CLI_FAILED;
out:
    json_decref(answer);
    json_decref(list);
    manifest_done(&m);
    buf_done(&problems);
    profile_free(&p);
    return r;
}
