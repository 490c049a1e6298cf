/* The reader of profiles. Promises that a profile it lets pass gives only certificates of the form
 * that RFC 5280 and the standards of the key types ask for, whatever row it is used on; unknown and
 * doubled members are refused, and every fault is named, not only the first. */
#include "hsm/profile.h"
#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/text.h"
#include "hsm/profile_reader.h"

#define DAYS_MAX     36525
#define YEARS_MAX    100
#define BACKDATE_MAX 1440

/* ---- tables */

static const char *const key_names[CSR_KEY_COUNT] = {
        [CSR_KEY_P256] = "P-256",
        [CSR_KEY_P384] = "P-384",
        [CSR_KEY_RSA_2048] = "RSA-2048",
        [CSR_KEY_RSA_3072] = "RSA-3072",
        [CSR_KEY_RSA_4096] = "RSA-4096",
        [CSR_KEY_ED25519] = "Ed25519",
};

#define EITHER 0 /* UTF8String or PrintableString, as the profile says */
/* Bounds in characters: RFC 5280, appendix A.1, "ub-"; RFC 4519 and 4524 for the others. */
static const struct attribute {
    const char *name;
    struct der_oid type;
    uint8_t tag;
    enum value_form form;
    size_t max;
} attributes[] = {
        {"C", {3, {0x55, 0x04, 0x06}}, DER_PRINTABLE_STRING, VALUE_COUNTRY, 2},
        {"ST", {3, {0x55, 0x04, 0x08}}, EITHER, VALUE_UTF8, 128},
        {"L", {3, {0x55, 0x04, 0x07}}, EITHER, VALUE_UTF8, 128},
        {"street", {3, {0x55, 0x04, 0x09}}, EITHER, VALUE_UTF8, 128},
        {"postalCode", {3, {0x55, 0x04, 0x11}}, EITHER, VALUE_UTF8, 40},
        {"O", {3, {0x55, 0x04, 0x0a}}, EITHER, VALUE_UTF8, 64},
        {"OU", {3, {0x55, 0x04, 0x0b}}, EITHER, VALUE_UTF8, 64},
        {"title", {3, {0x55, 0x04, 0x0c}}, EITHER, VALUE_UTF8, 64},
        {"CN", {3, {0x55, 0x04, 0x03}}, EITHER, VALUE_UTF8, 64},
        {"serialNumber", {3, {0x55, 0x04, 0x05}}, DER_PRINTABLE_STRING, VALUE_PRINTABLE, 64},
        {"dnQualifier", {3, {0x55, 0x04, 0x2e}}, DER_PRINTABLE_STRING, VALUE_PRINTABLE, 64},
        {"UID", {10, {0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01}}, EITHER,
                VALUE_UTF8, 256},
        {"DC", {10, {0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19}}, DER_IA5_STRING,
                VALUE_DNS, 63},
};
#define OTHER_MAX 128 /* of an attribute given by its OID */

static const struct alt_name {
    const char *type;
    enum value_form form;
} alt_names[] = {
        [PROFILE_NAME_DNS] = {"dns", VALUE_DNS},
        [PROFILE_NAME_EMAIL] = {"email", VALUE_EMAIL},
        [PROFILE_NAME_URI] = {"uri", VALUE_URI},
        [PROFILE_NAME_IP] = {"ip", VALUE_IP},
        [PROFILE_NAME_REGISTERED_ID] = {"registeredID", VALUE_OID},
        [PROFILE_NAME_HARDWARE] = {"hardwareModuleName", VALUE_UTF8},
};

enum family { FAMILY_RSA, FAMILY_EC, FAMILY_ED25519, FAMILY_COUNT };
static const struct {
    const char *name;
    unsigned keys, usage; /* usage: RFC 3279, 2.3.1; RFC 5480, 3; RFC 8410, 5 */
} families[FAMILY_COUNT] = {
        [FAMILY_RSA] = {"RSA",
                1u << CSR_KEY_RSA_2048 | 1u << CSR_KEY_RSA_3072 | 1u << CSR_KEY_RSA_4096,
                CERT_KU_DIGITAL_SIGNATURE | CERT_KU_NON_REPUDIATION | CERT_KU_KEY_ENCIPHERMENT |
                        CERT_KU_DATA_ENCIPHERMENT},
        [FAMILY_EC] = {"EC", 1u << CSR_KEY_P256 | 1u << CSR_KEY_P384,
                CERT_KU_DIGITAL_SIGNATURE | CERT_KU_NON_REPUDIATION | CERT_KU_KEY_AGREEMENT},
        [FAMILY_ED25519] = {"Ed25519", 1u << CSR_KEY_ED25519,
                CERT_KU_DIGITAL_SIGNATURE | CERT_KU_NON_REPUDIATION},
};
/* By bit, from the least one on. */
static const char *const usages[8] = {[7] = "digitalSignature",
        [6] = "nonRepudiation",
        [5] = "keyEncipherment",
        [4] = "dataEncipherment",
        [3] = "keyAgreement"};

static const struct {
    const char *name;
    struct der_oid oid;
} purposes[] = {
        {"serverAuth", {8, {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01}}},
        {"clientAuth", {8, {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02}}},
        {"codeSigning", {8, {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03}}},
        {"emailProtection", {8, {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x04}}},
        {"timeStamping", {8, {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08}}},
        {"OCSPSigning", {8, {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x09}}},
};
static const struct {
    const char *name;
    unsigned bit;
} extensions[] = {
        {"keyUsage", CERT_EXT_KEY_USAGE},
        {"extKeyUsage", CERT_EXT_EXT_KEY_USAGE},
        {"subjectAltName", CERT_EXT_ALT_NAMES},
        {"certificatePolicies", CERT_EXT_POLICIES},
        {"basicConstraints", CERT_EXT_BASIC_CONSTRAINTS},
};

#define COUNT(table) (sizeof(table) / sizeof *(table))

const char *profile_key_name(enum csr_key key)
{
    return key_names[key];
}

const char *profile_alt_name_type(enum profile_name_kind kind)
{
    return alt_names[kind].type;
}

enum value_form profile_alt_name_form(enum profile_name_kind kind)
{
    return alt_names[kind].form;
}

const char *profile_key_usage_name(unsigned bit)
{
    for (size_t i = 0; i < COUNT(usages); i++)
        if (bit == 1u << i)
            return usages[i];
    return NULL;
}

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
        size_t k = 0;

        while (k < CSR_KEY_COUNT && strcmp(key_names[k], name) != 0)
            k++;
        if (k == CSR_KEY_COUNT)
            reader_complain(r, "keys",
                    "\"%.40s\" is no kind of key: there are P-256, P-384, RSA-2048, RSA-3072, "
                    "RSA-4096 and Ed25519",
                    name);
        else
            r->p->keys |= 1u << k;
    }
}

/* The attribute's bounds; false when there is none of that name. */
static bool find_attribute(const char *name, struct attribute *ret)
{
    for (size_t i = 0; i < COUNT(attributes); i++)
        if (strcmp(attributes[i].name, name) == 0) {
            *ret = attributes[i];
            return true;
        }
    *ret = (struct attribute){.name = name, .tag = EITHER, .form = VALUE_UTF8, .max = OTHER_MAX};
    if (der_oid_parse(name, strlen(name), &ret->type) < 0)
        return false;
    /* an OID that has a name must not get round its bounds */
    for (size_t i = 0; i < COUNT(attributes); i++)
        if (memcmp(&attributes[i].type, &ret->type, sizeof ret->type) == 0)
            return false;
    return true;
}

static void read_attribute(struct reader *r, json_t *o, size_t i)
{
    struct profile_attribute *a = &r->p->subject[i];
    const char *name, *string;
    struct attribute known = {0};
    char where[READER_PATH_MAX], at[READER_PATH_MAX];

    snprintf(where, sizeof where, "subject[%zu]", i);
    if (!reader_members(r, o, "subject[]", where))
        return;
    name = reader_text(r, o, where, "attribute");
    if (name && !find_attribute(name, &known)) {
        reader_path(at, where, "attribute");
        reader_complain(
                r, at, "\"%.40s\" is no attribute we know, and no OID of another one", name);
    }
    string = reader_text(r, o, where, "string");
    reader_path(at, where, "string");
    if (string && strcmp(string, "utf8") != 0 && strcmp(string, "printable") != 0)
        reader_complain(r, at, "it must be \"utf8\" or \"printable\"");
    else if (string && known.name && known.tag != EITHER)
        reader_complain(r, at, "%s has one type of string only", known.name);
    if (known.tag == EITHER && string && strcmp(string, "printable") == 0)
        known.tag = DER_PRINTABLE_STRING, known.form = VALUE_PRINTABLE;
    *a = (struct profile_attribute){.name = name,
            .type = known.type,
            .string_tag = known.tag == EITHER ? DER_UTF8_STRING : known.tag,
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
    size_t kind = 0;
    char where[READER_PATH_MAX], at[READER_PATH_MAX];

    snprintf(where, sizeof where, "alt_names[%zu]", i);
    if (!reader_members(r, o, "alt_names[]", where))
        return;
    type = reader_text(r, o, where, "type");
    while (type && kind < COUNT(alt_names) && strcmp(alt_names[kind].type, type) != 0)
        kind++;
    if (kind == COUNT(alt_names)) {
        reader_path(at, where, "type");
        reader_complain(r, at,
                "\"%.40s\" is no kind of name: there are dns, email, uri, ip, registeredID and "
                "hardwareModuleName",
                type);
        return;
    }
    n->kind = (enum profile_name_kind)kind;
    oid = reader_text(r, o, where, "hw_type");
    reader_path(at, where, "hw_type");
    if (oid && n->kind != PROFILE_NAME_HARDWARE)
        reader_complain(r, at, "only a hardwareModuleName has it");
    else if (!oid && n->kind == PROFILE_NAME_HARDWARE)
        reader_complain(
                r, at, "a hardwareModuleName needs the OID of its maker's hardware (RFC 4108, 5)");
    else if (oid && der_oid_parse(oid, strlen(oid), &n->hw_type) < 0)
        reader_complain(r, at, "\"%.60s\" is not an OID, as in 1.3.6.1.4.1.32473.1.1", oid);
    read_value(r, o, where, alt_names[kind].form, PROFILE_ALT_NAME_MAX, &n->value);
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
    size_t n = reader_list(r, list, where, 1, COUNT(usages));
    unsigned set = 0;

    for (size_t i = 0; i < n; i++) {
        const char *name = reader_entry(r, list, where, i);
        size_t bit = 0;

        while (bit < COUNT(usages) && (!usages[bit] || strcmp(usages[bit], name) != 0))
            bit++;
        if (bit < COUNT(usages))
            set |= 1u << bit;
        else if (strcmp(name, "keyCertSign") == 0 || strcmp(name, "cRLSign") == 0)
            reader_complain(r, where, "\"%s\" is for CAs: a device is none", name);
        else
            reader_complain(r, where, "\"%.40s\" is no key usage we know", name);
    }
    return set;
}

static void set_usage(struct reader *r, enum family f, unsigned usage, const char *where)
{
    for (size_t i = 0; i < COUNT(usages); i++)
        if (usage & 1u << i && !(families[f].usage & 1u << i))
            reader_complain(r, where,
                    "an %s key cannot be for \"%s\": give each kind of key its own list in an "
                    "object with RSA, EC, Ed25519",
                    families[f].name, usages[i]);
    for (size_t k = 0; k < CSR_KEY_COUNT; k++)
        if (families[f].keys & 1u << k)
            r->p->key_usage[k] = usage;
}

static void read_key_usage(struct reader *r, json_t *v)
{
    bool each = json_is_object(v);
    unsigned all = each || !v ? 0 : read_usages(r, v, "key_usage");

    if (each)
        reader_members(r, v, "key_usage", "key_usage");
    for (enum family f = 0; v && f < FAMILY_COUNT; f++) {
        json_t *own = json_object_get(v, families[f].name);
        bool used = r->p->keys & families[f].keys;
        char at[READER_PATH_MAX];

        reader_path(at, "key_usage", families[f].name);
        if (each && own && !used)
            reader_complain(r, at, "\"keys\" allows no such key");
        else if (each && !own && used)
            reader_complain(r, at, "it is missing: \"keys\" allows such keys");
        else if (used)
            set_usage(r, f, each ? read_usages(r, own, at) : all, each ? at : "key_usage");
    }
}

static void read_ext_key_usage(struct reader *r, json_t *list)
{
    size_t n = reader_list(r, list, "ext_key_usage", 1, PROFILE_LIST_MAX);

    r->p->ext_key_usage_count = n;
    for (size_t i = 0; i < n; i++) {
        const char *name = reader_entry(r, list, "ext_key_usage", i);
        struct der_oid *oid = &r->p->ext_key_usage[i];
        size_t k = 0;

        while (k < COUNT(purposes) && strcmp(purposes[k].name, name) != 0)
            k++;
        if (k < COUNT(purposes))
            *oid = purposes[k].oid;
        else if (der_oid_parse(name, strlen(name), oid) < 0)
            reader_complain(
                    r, "ext_key_usage", "\"%.60s\" is no purpose we know, and no OID", name);
    }
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
    size_t n = reader_list(r, list, "critical", 0, COUNT(extensions));

    r->p->critical = list ? 0 : CERT_EXT_KEY_USAGE;
    for (size_t i = 0; i < n; i++) {
        const char *name = reader_entry(r, list, "critical", i);
        size_t k = 0;

        while (k < COUNT(extensions) && strcmp(extensions[k].name, name) != 0)
            k++;
        if (k == COUNT(extensions))
            reader_complain(r, "critical",
                    "\"%.40s\" is not an extension that may be critical here: keyUsage, "
                    "extKeyUsage, subjectAltName, certificatePolicies, basicConstraints",
                    name);
        else
            r->p->critical |= extensions[k].bit;
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
