/* The reader of profiles. Promises that a profile it lets pass gives only certificates of the form
 * that RFC 5280 and the standards of the key types ask for, whatever row it is used on; unknown and
 * doubled members are refused, and every fault is named, not only the first. */
#include "hsm/profile/profile.h"
#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/text.h"
#include "hsm/profile/profile_reader.h"
#include "hsm/profile/profile_words.h"

#define DAYS_MAX     36525
#define YEARS_MAX    100
#define BACKDATE_MAX 1440
#define USAGES_MAX   8

/* ---- values */

static void read_value(struct reader *r, json_t *o, const char *where, enum value_form form,
        size_t max, struct profile_value *ret)
{
    json_t *v = json_object_get(o, "value");
    char at[READER_PATH_MAX];

    reader_path(at, where, "value");
    if (json_is_string(v)) {
        ret->count = 1;
        ret->templates[0] = reader_text(r, o, where, "value");
        if (!ret->templates[0])
            ret->templates[0] = "";
    } else {
        ret->count = reader_list(r, v, at, 1, PROFILE_ALTERNATIVES_MAX);
        for (size_t i = 0; i < ret->count; i++)
            ret->templates[i] = reader_entry(r, v, at, i);
    }
    for (size_t i = 0; i < ret->count; i++)
        reader_template(r, at, ret->templates[i], TEMPLATE_OF_DEVICE, form, max);
}

/* ---- members, in the order of the table */

static void read_keys(struct reader *r, json_t *list)
{
    size_t n = reader_list(r, list, "keys", 1, CSR_KEY_COUNT);

    for (size_t i = 0; i < n; i++) {
        const char *name = reader_entry(r, list, "keys", i);
        enum csr_key key;

        if (word_key(name, &key))
            r->p->keys |= 1u << key;
        else
            reader_complain(r, "keys",
                    "\"%.40s\" is no kind of key: there are P-256, P-384, RSA-2048, RSA-3072, "
                    "RSA-4096 and Ed25519",
                    name);
    }
}

static void read_attribute(struct reader *r, json_t *o, size_t i)
{
    struct profile_attribute *a = &r->p->subject[i];
    const char *name, *string;
    struct word_attribute known = {0};
    char where[READER_PATH_MAX], at[READER_PATH_MAX];

    snprintf(where, sizeof where, "subject[%zu]", i);
    if (!reader_members(r, o, "subject[]", where))
        return;
    name = reader_text(r, o, where, "attribute");
    if (name && !word_attribute(name, &known)) {
        reader_path(at, where, "attribute");
        reader_complain(
                r, at, "\"%.40s\" is no attribute we know, and no OID of another one", name);
    }
    string = reader_text(r, o, where, "string");
    reader_path(at, where, "string");
    if (string && strcmp(string, "utf8") != 0 && strcmp(string, "printable") != 0)
        reader_complain(r, at, "it must be \"utf8\" or \"printable\"");
    else if (string && known.name && known.tag != WORD_EITHER)
        reader_complain(r, at, "%s has one type of string only", known.name);
    if (known.tag == WORD_EITHER && string && strcmp(string, "printable") == 0)
        known.tag = DER_PRINTABLE_STRING, known.form = VALUE_PRINTABLE;
    *a = (struct profile_attribute){.name = name,
            .type = known.type,
            .string_tag = known.tag == WORD_EITHER ? DER_UTF8_STRING : known.tag,
            .form = known.form,
            .max = known.max};
    read_value(r, o, where, a->form, a->max, &a->value);
}

static void read_subject(struct reader *r, json_t *list)
{
    size_t n = reader_list(r, list, "subject", 0, PROFILE_ITEMS_MAX);

    r->p->subject_count = n;
    for (size_t i = 0; i < n; i++)
        read_attribute(r, json_array_get(list, i), i);
}

static void read_alt_name(struct reader *r, json_t *o, size_t i)
{
    struct profile_alt_name *n = &r->p->alt_names[i];
    const char *type, *oid;
    char where[READER_PATH_MAX], at[READER_PATH_MAX];

    snprintf(where, sizeof where, "alt_names[%zu]", i);
    if (!reader_members(r, o, "alt_names[]", where))
        return;
    type = reader_text(r, o, where, "type");
    if (!type)
        return;
    if (!word_alt_name(type, &n->kind)) {
        reader_path(at, where, "type");
        reader_complain(r, at,
                "\"%.40s\" is no kind of name: there are dns, email, uri, ip, registeredID and "
                "hardwareModuleName",
                type);
        return;
    }
    oid = reader_text(r, o, where, "hw_type");
    reader_path(at, where, "hw_type");
    if (oid && n->kind != PROFILE_NAME_HARDWARE)
        reader_complain(r, at, "only a hardwareModuleName has it");
    else if (!oid && n->kind == PROFILE_NAME_HARDWARE)
        reader_complain(
                r, at, "a hardwareModuleName needs the OID of its maker's hardware (RFC 4108, 5)");
    else if (oid && der_oid_parse(oid, strlen(oid), &n->hw_type) < 0)
        reader_complain(r, at, "\"%.60s\" is not an OID, as in 1.3.6.1.4.1.32473.1.1", oid);
    read_value(r, o, where, word_alt_name_form(n->kind), PROFILE_ALT_NAME_MAX, &n->value);
}

static void read_alt_names(struct reader *r, json_t *list)
{
    size_t n = reader_list(r, list, "alt_names", 1, PROFILE_ITEMS_MAX);

    r->p->alt_name_count = n;
    for (size_t i = 0; i < n; i++)
        read_alt_name(r, json_array_get(list, i), i);
    if (!r->p->subject_count && !n)
        reader_complain(r, "alt_names", "a certificate without a subject needs a name here");
}

static void read_validity(struct reader *r, json_t *o)
{
    bool never;

    if (!o || !reader_members(r, o, "validity", "validity"))
        return;
    never = reader_flag(r, o, "validity", "never");
    r->p->years = reader_number(r, o, "validity", "years", 1, YEARS_MAX);
    r->p->days = reader_number(r, o, "validity", "days", 1, DAYS_MAX);
    r->p->beyond_ca = reader_flag(r, o, "validity", "beyond_ca");
    r->p->backdate_minutes = reader_number(r, o, "validity", "backdate_minutes", 0, BACKDATE_MAX);
    if (never + !!json_object_get(o, "years") + !!json_object_get(o, "days") != 1)
        reader_complain(r, "validity", "give one of \"never\": true, \"years\" and \"days\"");
}

static unsigned read_usages(struct reader *r, json_t *list, const char *where)
{
    size_t n = reader_list(r, list, where, 1, USAGES_MAX);
    unsigned set = 0, bit = 0;

    for (size_t i = 0; i < n; i++) {
        const char *name = reader_entry(r, list, where, i);

        if (word_usage(name, &bit))
            set |= bit;
        else if (strcmp(name, "keyCertSign") == 0 || strcmp(name, "cRLSign") == 0)
            reader_complain(r, where, "\"%s\" is for CAs: a device is none", name);
        else
            reader_complain(r, where, "\"%.40s\" is no key usage we know", name);
    }
    return set;
}

static void set_usage(
        struct reader *r, const struct word_family *f, unsigned usage, const char *where)
{
    for (unsigned bit = 1; bit <= usage; bit <<= 1)
        if (usage & bit & ~f->usage)
            reader_complain(r, where,
                    "%s keys cannot be for \"%s\": give each kind of key its own list in an "
                    "object with RSA, EC, Ed25519",
                    f->name, word_usage_name(bit));
    for (size_t k = 0; k < CSR_KEY_COUNT; k++)
        if (f->keys & 1u << k)
            r->p->key_usage[k] = usage;
}

static void read_key_usage(struct reader *r, json_t *v)
{
    bool each = json_is_object(v);
    unsigned all = each || !v ? 0 : read_usages(r, v, "key_usage");

    if (each)
        reader_members(r, v, "key_usage", "key_usage");
    for (enum key_family i = 0; v && i < FAMILY_COUNT; i++) {
        const struct word_family *f = word_family(i);
        json_t *own = json_object_get(v, f->name);
        bool used = r->p->keys & f->keys;
        char at[READER_PATH_MAX];

        reader_path(at, "key_usage", f->name);
        if (each && own && !used)
            reader_complain(r, at, "\"keys\" allows no such key");
        else if (each && !own && used)
            reader_complain(r, at, "it is missing: \"keys\" allows such keys");
        else if (used)
            set_usage(r, f, each ? read_usages(r, own, at) : all, each ? at : "key_usage");
    }
}

/* Verifiers may refuse a certificate whose two usages do not go together. */
static void check_purposes(struct reader *r, unsigned consistent)
{
    unsigned all = 0;

    for (size_t k = 0; k < CSR_KEY_COUNT; k++)
        all |= r->p->key_usage[k];
    for (unsigned bit = 1; bit <= all; bit <<= 1)
        if (all & bit & ~consistent)
            reader_complain(r, "key_usage",
                    "\"%s\" goes with none of the purposes in \"ext_key_usage\" (RFC 5280, "
                    "4.2.1.12)",
                    word_usage_name(bit));
}

static void read_ext_key_usage(struct reader *r, json_t *list)
{
    size_t n = reader_list(r, list, "ext_key_usage", 1, PROFILE_LIST_MAX);
    unsigned consistent = 0;

    r->p->ext_key_usage_count = n;
    for (size_t i = 0; i < n; i++) {
        const char *name = reader_entry(r, list, "ext_key_usage", i);
        struct word_purpose purpose;

        if (!word_purpose(name, &purpose)) {
            reader_complain(
                    r, "ext_key_usage", "\"%.60s\" is no purpose we know, and no OID", name);
            continue;
        }
        for (size_t before = 0; before < i; before++)
            if (memcmp(&r->p->ext_key_usage[before], &purpose.oid, sizeof purpose.oid) == 0)
                reader_complain(r, "ext_key_usage", "\"%.60s\" stands there already", name);
        r->p->ext_key_usage[i] = purpose.oid;
        consistent |= purpose.usage;
    }
    if (consistent)
        check_purposes(r, consistent);
}

static void read_policies(struct reader *r, json_t *list)
{
    size_t n = reader_list(r, list, "policies", 1, PROFILE_LIST_MAX);

    r->p->policy_count = n;
    for (size_t i = 0; i < n; i++) {
        struct cert_policy *p = &r->p->policies[i];
        json_t *o = json_array_get(list, i);
        const char *oid, *fault;
        char where[READER_PATH_MAX];

        snprintf(where, sizeof where, "policies[%zu]", i);
        if (!reader_members(r, o, "policies[]", where))
            continue;
        oid = reader_text(r, o, where, "oid");
        if (oid && der_oid_parse(oid, strlen(oid), &p->oid) < 0)
            reader_complain(r, where, "\"%.60s\" is not an OID", oid);
        for (size_t before = 0; before < i; before++)
            if (memcmp(&r->p->policies[before].oid, &p->oid, sizeof p->oid) == 0)
                reader_complain(r, where, "this policy stands there already (RFC 5280, 4.2.1.4)");
        p->cps = reader_text(r, o, where, "cps");
        fault = p->cps ? value_check(VALUE_URI, p->cps, strlen(p->cps), PROFILE_ALT_NAME_MAX)
                       : NULL;
        if (fault)
            reader_complain(r, where, "cps: %s", fault);
    }
}

/* https there would need what it is to prove (RFC 5280, 8). */
static void read_urls(
        struct reader *r, json_t *o, const char *name, bool ldap, struct profile_urls *ret)
{
    json_t *list = json_object_get(o, name);

    ret->count = reader_list(r, list, name, 1, CERT_URLS_MAX);
    for (size_t i = 0; i < ret->count; i++) {
        const char *t = ret->templates[i] = reader_entry(r, list, name, i);
        /* the scheme and the host are fixed, so the key's identifier can do no harm */
        size_t fixed = strcspn(t, "{");

        reader_template(r, name, t, TEMPLATE_OF_CA, VALUE_URI, PROFILE_ALT_NAME_MAX);
        if (strncmp(t, "http://", 7) != 0 && (!ldap || strncmp(t, "ldap://", 7) != 0))
            reader_complain(
                    r, name, "\"%.60s\" must begin with http://%s", t, ldap ? " or ldap://" : "");
        else if (t[fixed] && value_check(VALUE_URI, t, fixed, PROFILE_ALT_NAME_MAX))
            reader_complain(r, name, "\"%.60s\" is not an absolute URI up to its column", t);
    }
}

static void read_critical(struct reader *r, json_t *list)
{
    size_t n = reader_list(r, list, "critical", 0, PROFILE_LIST_MAX);
    unsigned bit = 0;

    r->p->critical = list ? 0 : CERT_EXT_KEY_USAGE;
    for (size_t i = 0; i < n; i++) {
        const char *name = reader_entry(r, list, "critical", i);

        if (word_extension(name, &bit))
            r->p->critical |= bit;
        else
            reader_complain(r, "critical",
                    "\"%.40s\" is not an extension that may be critical here: keyUsage, "
                    "extKeyUsage, subjectAltName, certificatePolicies, basicConstraints",
                    name);
    }
}

static void read_document(struct reader *r, json_t *o)
{
    const char *text;

    if (!reader_members(r, o, "", ""))
        return;
    text = reader_text(r, o, "", "description");
    r->p->description = text ? text : "";
    read_keys(r, json_object_get(o, "keys"));
    read_subject(r, json_object_get(o, "subject"));
    read_alt_names(r, json_object_get(o, "alt_names"));
    read_validity(r, json_object_get(o, "validity"));
    read_key_usage(r, json_object_get(o, "key_usage"));
    read_ext_key_usage(r, json_object_get(o, "ext_key_usage"));
    r->p->basic_constraints = reader_flag(r, o, "", "basic_constraints");
    read_policies(r, json_object_get(o, "policies"));
    read_urls(r, o, "crl_urls", true, &r->p->crl_urls);
    read_urls(r, o, "ca_issuers_urls", true, &r->p->ca_issuers_urls);
    read_urls(r, o, "ocsp_urls", false, &r->p->ocsp_urls);
    read_critical(r, json_object_get(o, "critical"));
}

/* ---- the whole */

static int set_digest(struct profile *p, struct err *e)
{
    struct buf json = BUF_INIT;
    uint8_t digest[32];
    int r = profile_json(p, &json, e);

    if (r == 0 && EVP_Digest(json.data, json.len, digest, NULL, EVP_sha256(), NULL) != 1)
        r = err_set(e, ERR_NOMEM, "no digest can be made");
    if (r == 0)
        hex_format(digest, sizeof digest, p->sha256);
    buf_done(&json);
    return r;
}

static int report(struct reader *r, const char *name, struct buf *problems, struct err *e)
{
    const char *text = buf_str(&r->faults);
    char more[40] = "";

    if (problems && r->faults.len && buf_append(problems, r->faults.data, r->faults.len, e) < 0)
        return -1;
    if (r->count > 1)
        snprintf(more, sizeof more, " (and %u more)", r->count - 1);
    return err_set(e, ERR_PROFILE, "profile %s: %.*s%s", name, text ? (int)strcspn(text, "\n") : 0,
            text ? text : "", more);
}

int profile_parse(const char *name, const char *json, size_t len, struct profile **ret,
        struct buf *problems, struct err *e)
{
    struct profile *p = calloc(1, sizeof *p);
    struct reader reader = {.p = p};
    json_error_t why;
    int r = -1;

    if (!p)
        return err_set(e, ERR_NOMEM, "no memory for a profile");
    snprintf(p->name, sizeof p->name, "%s", name);
    p->document = json_loadb(json, len, JSON_REJECT_DUPLICATES, &why);
    if (!profile_name_valid(name))
        reader_complain(&reader, "",
                "a profile's name has 1 to %d letters, digits, '.', '_' or '-', and no '.' first",
                PROFILE_NAME_MAX);
    else if (!p->document)
        reader_complain(&reader, "", "line %d: it is not JSON: %s", why.line, why.text);
    else
        read_document(&reader, p->document);
    if (reader.count)
        report(&reader, p->name, problems, e);
    else
        r = set_digest(p, e);
    buf_done(&reader.faults);
    if (r < 0)
        profile_free(&p);
    else
        *ret = p;
    return r;
}

int profile_read(const char *path, struct profile **ret, struct buf *problems, struct err *e)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    size_t len = strlen(base);
    char name[PROFILE_NAME_MAX + 2];
    struct buf text = BUF_INIT;
    int r;

    if (len > 5 && strcmp(base + len - 5, ".json") == 0)
        len -= 5;
    snprintf(name, sizeof name, "%.*s", (int)len, base);
    r = file_read(path, PROFILE_BYTES_MAX, &text, e);
    if (r == 0)
        r = profile_parse(name, (const char *)text.data, text.len, ret, problems, e);
    buf_done(&text);
    return r;
}

int profile_builtin(struct profile **ret, struct err *e)
{
    static const char json[] =
#include "hsm/idevid.inc"
            ;

    return profile_parse(PROFILE_BUILTIN, json, sizeof json - 1, ret, NULL, e);
}

int profile_json(const struct profile *p, struct buf *out, struct err *e)
{
    char *text = json_dumps(p->document, JSON_COMPACT | JSON_SORT_KEYS);
    int r = text ? buf_append(out, text, strlen(text), e)
                 : err_set(e, ERR_NOMEM, "no memory for a profile");

    free(text);
    return r;
}

/* One without any is none: read_keys() saw to it. */
enum csr_key profile_first_key(const struct profile *p)
{
    enum csr_key key = 0;

    while (!(p->keys >> key & 1u))
        key++;
    return key;
}

void profile_free(struct profile **p)
{
    if (!*p)
        return;
    json_decref((*p)->document);
    free(*p);
    *p = NULL;
}

bool profile_name_valid(const char *name)
{
    static const char allowed[] =
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t len = strlen(name);

    return len >= 1 && len <= PROFILE_NAME_MAX && name[0] != '.' && strspn(name, allowed) == len;
}
