/* Profiles: what is refused when one is read, and what a row becomes. */
#include <jansson.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/row.h"
#include "base/text.h"
#include "hsm/profile/profile.h"
#include "hsm/profile/profile_apply.h"
#include "hsm/profile/template.h"
#include "tests/hsm/help.h"

#define NOW 1700000000 /* 2023-11-14 22:13:20 */

static const char *const base =
        "{\"keys\":[\"P-256\",\"RSA-2048\"],\"subject\":[{\"attribute\":\"CN\",\"value\":\"{device_"
        "name}\"}],\"validity\":{\"days\":30,\"beyond_ca\":false},\"key_usage\":["
        "\"digitalSignature\"]}";

/* The base with these members set, or taken out where the value is "-". A path has one dot at most. */
static char *change(const char *member, const char *value)
{
    json_t *o = json_loads(base, 0, NULL), *in = o;
    const char *dot = strchr(member, '.');
    char outer[40] = "", *text;

    assert_non_null(o);
    if (dot) {
        snprintf(outer, sizeof outer, "%.*s", (int)(dot - member), member);
        in = json_object_get(o, outer);
        if (json_is_array(in))
            in = json_array_get(in, 0);
        member = dot + 1;
    }
    if (strcmp(value, "-") == 0) {
        json_object_del(in, member);
    } else {
        json_t *v = json_loads(value, JSON_DECODE_ANY, NULL);

        if (!v)
            fail_msg("the test's own value is no JSON: %s", value);
        json_object_set_new(in, member, v);
    }
    text = json_dumps(o, 0);
    json_decref(o);
    return text;
}

static struct profile *parse(const char *json)
{
    struct profile *p = NULL;
    struct err e = {0};

    ok(profile_parse("test", json, strlen(json), &p, NULL, &e));
    return p;
}

static struct profile *parse_changed(const char *member, const char *value)
{
    char *json = change(member, value);
    struct profile *p = parse(json);

    free(json);
    return p;
}

static void faults(void **state)
{
    static const struct {
        const char *member, *value, *words;
    } rows[] = {
            {"keys", "-", "member \"keys\" is missing"},
            {"subject", "-", "member \"subject\" is missing"},
            {"validity", "-", "member \"validity\" is missing"},
            {"key_usage", "-", "member \"key_usage\" is missing"},
            {"surprise", "1", "member \"surprise\" is unknown"},
            {"description", "7", "description: it must be a text"},
            {"keys", "[]", "keys: it must be a list of 1 to 6"},
            {"keys", "\"P-256\"", "keys: it must be a list"},
            {"keys", "[7]", "keys: entry 1 must be a text"},
            {"keys", "[\"P-521\"]", "keys: \"P-521\" is no kind of key"},
            {"keys", "[\"P-256\",\"P-256\"]", "stands there twice"},
            {"subject", "{}", "subject: it must be a list"},
            {"subject", "[7]", "subject[0]: it must be an object"},
            {"subject", "[]", "alt_names: a certificate without a subject"},
            {"subject.attribute", "-", "subject[0]: member \"attribute\" is missing"},
            {"subject.value", "-", "subject[0]: member \"value\" is missing"},
            {"subject.size", "1", "subject[0]: member \"size\" is unknown"},
            {"subject.attribute", "\"CNN\"", "subject[0].attribute: \"CNN\" is no attribute"},
            {"subject.attribute", "\"2.5.4.3\"", "subject[0].attribute"}, /* CN by another name */
            {"subject.attribute", "\"1.2.x\"", "subject[0].attribute"},
            {"subject.string", "\"bmp\"", "subject[0].string: it must be \"utf8\" or"},
            {"subject", "[{\"attribute\":\"C\",\"value\":\"DE\",\"string\":\"utf8\"}]",
                    "C has one type of string only"},
            {"subject", "[{\"attribute\":\"C\",\"value\":\"de\"}]", "two capital letters"},
            {"subject", "[{\"attribute\":\"DC\",\"value\":\"-\"}]", "it is not a DNS label"},
            {"subject.value", "\"\"", "subject[0].value: it must be a text"},
            {"subject.value", "[]", "subject[0].value: it must be a list of 1 to 4"},
            {"subject.value", "[\"a\",\"b\",\"c\",\"d\",\"e\"]", "a list of 1 to 4"},
            {"subject.value", "\"{nme}\"", "no column {nme}"},
            {"subject.value", "\"{device_nam}\"", "did you mean {device_name}?"},
            {"subject.value", "\"{csr?}\"", "no column {csr}"},
            {"subject.value", "\"{ca_key_id}\"", "no column {ca_key_id}"},
            {"subject.value", "\"{hwid\"", "a brace is open"},
            {"subject.value", "\"hwid}\"", "a brace is open"},
            {"subject.value", "\"{{hwid}}\"", "a brace is open"},
            {"subject.value", "\"{hwid???}\"", "no column {hwid?}"},
            {"subject.value", "\"{}\"", "no column {}"},
            {"subject.value",
                    "\"12345678901234567890123456789012345678901234567890123456789012345\"",
                    "more characters"},
            {"alt_names", "[]", "alt_names: it must be a list of 1 to 16"},
            {"alt_names", "[{\"type\":\"dnsName\",\"value\":\"a.b\"}]", "is no kind of name"},
            {"alt_names", "[{\"type\":\"dns\",\"value\":\"a_b.c\"}]", "it is not a DNS name"},
            {"alt_names", "[{\"type\":\"dns\",\"value\":\"a.b\",\"hw_type\":\"1.2.3\"}]",
                    "only a hardwareModuleName"},
            {"alt_names", "[{\"type\":\"hardwareModuleName\",\"value\":\"{hwid}\"}]",
                    "needs the OID"},
            {"alt_names",
                    "[{\"type\":\"hardwareModuleName\",\"value\":\"{hwid}\",\"hw_type\":\"1\"}]",
                    "hw_type: \"1\" is not an OID"},
            {"alt_names", "[{\"type\":\"ip\",\"value\":\"1.2.3\"}]", "not an IPv4 or IPv6"},
            {"alt_names", "[{\"type\":\"uri\",\"value\":\"/a/b\"}]", "not an absolute URI"},
            {"alt_names", "[{\"type\":\"email\",\"value\":\"a@b@c.d\"}]", "not a mail address"},
            {"alt_names", "[{\"type\":\"registeredID\",\"value\":\"3.1\"}]", "not an OID"},
            {"validity", "[]", "validity: it must be an object"},
            {"validity", "{\"beyond_ca\":true}", "give one of"},
            {"validity", "{\"never\":true,\"days\":1,\"beyond_ca\":true}", "give one of"},
            {"validity", "{\"never\":false,\"beyond_ca\":true}", "give one of"},
            {"validity.beyond_ca", "-", "validity: member \"beyond_ca\" is missing"},
            {"validity.beyond_ca", "1", "validity.beyond_ca: it must be true or false"},
            {"validity.days", "0", "validity.days: it must be a whole number from 1 to 36525"},
            {"validity.days", "1.5", "a whole number"},
            {"validity.days", "\"30\"", "a whole number"},
            {"validity.days", "36526", "a whole number"},
            {"validity.years", "101", "a whole number from 1 to 100"},
            {"validity.backdate_minutes", "1441", "a whole number from 0 to 1440"},
            {"key_usage", "[]", "key_usage: it must be a list of 1"},
            {"key_usage", "[\"signing\"]", "no key usage we know"},
            {"key_usage", "[\"keyCertSign\"]", "is for CAs"},
            {"key_usage", "[\"cRLSign\"]", "is for CAs"},
            {"key_usage", "[\"keyEncipherment\"]", "EC keys cannot be for \"keyEncipherment\""},
            {"key_usage", "[\"keyAgreement\"]", "RSA keys cannot be for \"keyAgreement\""},
            {"key_usage", "{\"RSA\":[\"digitalSignature\"]}", "key_usage.EC: it is missing"},
            {"key_usage", "{\"RSA\":[\"keyAgreement\"],\"EC\":[\"keyAgreement\"]}",
                    "key_usage.RSA"},
            {"key_usage",
                    "{\"RSA\":[\"digitalSignature\"],\"EC\":[\"digitalSignature\"],\"Ed25519\":["
                    "\"digitalSignature\"]}",
                    "key_usage.Ed25519: \"keys\" allows no such key"},
            {"key_usage", "{\"DSA\":[]}", "member \"DSA\" is unknown"},
            {"ext_key_usage", "[]", "ext_key_usage: it must be a list of 1"},
            {"ext_key_usage", "[\"client\"]", "no purpose we know"},
            {"ext_key_usage", "[\"clientAuth\",\"1.3.6.1.5.5.7.3.2\"]", "already"},
            {"policies", "[{}]", "policies[0]: member \"oid\" is missing"},
            {"policies", "[{\"oid\":\"1.2.\"}]", "is not an OID"},
            {"policies", "[{\"oid\":\"1.2.3\"},{\"oid\":\"1.2.3\"}]", "already"},
            {"policies", "[{\"oid\":\"1.2.3\",\"cps\":\"here\"}]", "cps: it is not an absolute"},
            {"crl_urls", "[\"https://a.example/x\"]", "must begin with http:// or ldap://"},
            {"crl_urls", "[\"http:///x\"]", "not an absolute URI"},
            {"crl_urls", "[\"http://{ca_key_id}/\"]", "up to its column"},
            {"crl_urls", "[\"http://a.example/{device_name}\"]", "takes no column"},
            {"crl_urls", "[\"http://a.example/{ca_key_id?}\"]", "takes no column"},
            {"crl_urls", "[\"http://a.example/a b\"]", "not an absolute URI"},
            {"ocsp_urls", "[\"ldap://a.example/\"]", "must begin with http://"},
            {"ca_issuers_urls", "\"http://a.example/\"", "it must be a list"},
            {"critical", "[\"authorityKeyIdentifier\"]", "is not an extension that may be"},
            {"basic_constraints", "\"no\"", "basic_constraints: it must be true or false"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *json = change(rows[i].member, rows[i].value);
        struct buf problems = BUF_INIT;
        struct profile *p = NULL;
        struct err e = {0};

        if (profile_parse("test", json, strlen(json), &p, &problems, &e) == 0)
            fail_msg("%s = %s was let through", rows[i].member, rows[i].value);
        assert_int_equal(e.id, ERR_PROFILE);
        assert_null(p);
        if (!strstr(buf_str(&problems), rows[i].words))
            fail_msg("%s = %s: '%s' says nothing of '%s'", rows[i].member, rows[i].value,
                    buf_str(&problems), rows[i].words);
        buf_done(&problems);
        free(json);
    }
}

static void not_even_json(void **state)
{
    static const char *const texts[] = {"", "{", "[]", "7", "null", "{\"keys\":[],\"keys\":[]}",
            "{}x", "\xff", "{\"keys\":\"\xff\"}"};
    struct profile *p = NULL;
    struct err e = {0};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        refused(profile_parse("test", texts[i], strlen(texts[i]), &p, NULL, &e), PROFILE);
    refused(profile_parse("../x", base, strlen(base), &p, NULL, &e), PROFILE);
    refused(profile_parse(".x", base, strlen(base), &p, NULL, &e), PROFILE);
    refused(profile_parse("12345678901234567890123456789012", base, strlen(base), &p, NULL, &e),
            PROFILE);
    refused(profile_read("/nonexistent/x.json", &p, NULL, &e), NOT_FOUND);
}

/* All at once: a person corrects a file once. */
static void every_fault_is_named(void **state)
{
    static const char json[] =
            "{\"keys\":[\"X\"],\"subject\":[{\"attribute\":\"Y\",\"value\":\"{z}\"}],\"validity\":"
            "{},\"key_usage\":[\"w\"],\"v\":1}";
    struct buf problems = BUF_INIT;
    struct profile *p = NULL;
    struct err e = {0};
    size_t lines = 0;

    (void)state;
    assert_int_equal(profile_parse("test", json, strlen(json), &p, &problems, &e), -1);
    for (const char *at = buf_str(&problems); (at = strchr(at, '\n')); at++)
        lines++;
    assert_int_equal(lines, 7);
    assert_non_null(strstr(e.msg, "profile test: "));
    assert_non_null(strstr(e.msg, "(and 6 more)"));
    buf_done(&problems);
}

/* White space and the order of members mean nothing; every word means something. */
static void digests(void **state)
{
    json_t *o = json_loads(base, 0, NULL);
    char *other = json_dumps(o, JSON_INDENT(4) | JSON_SORT_KEYS);
    struct profile *a = parse(base), *b = parse(other), *c = parse_changed("validity.days", "31");

    (void)state;
    assert_string_equal(a->sha256, b->sha256);
    assert_string_not_equal(a->sha256, c->sha256);
    assert_int_equal(strlen(a->sha256), 64);
    profile_free(&a);
    profile_free(&b);
    profile_free(&c);
    free(other);
    json_decref(o);
}

/* ---- rows */

struct made {
    struct profile_space space;
    struct cert_fields fields;
};

static int apply(const char *json, const char *const (*columns)[2], struct made *m, struct err *e)
{
    static const uint8_t ca_id[] = {0xab, 0xcd};
    struct row row = {0};
    const struct profile_case c = {.row = &row,
            .device_id = "ID",
            .key = CSR_KEY_P256,
            .ca_key_id = {ca_id, sizeof ca_id},
            .ca_not_before = NOW - 600,
            .ca_not_after = NOW + 86400 * 3650,
            .now_s = NOW};
    struct profile *p = parse(json);
    int r;

    for (; (*columns)[0]; columns++)
        assert_int_equal(row_add(&row, (*columns)[0], strlen((*columns)[0]), (*columns)[1],
                                 strlen((*columns)[1]), NULL),
                0);
    memset(m, 0, sizeof *m);
    r = profile_apply(p, &c, &m->space, &m->fields, e);
    profile_free(&p);
    return r;
}

static bool holds(const struct cert_bytes *b, const char *text)
{
    return memmem(b->bytes, b->len, text, strlen(text)) != NULL;
}

#define COLUMNS(...)                                                                               \
    (const char *const[][2])                                                                       \
    {                                                                                              \
        __VA_ARGS__,                                                                               \
        {                                                                                          \
            NULL                                                                                   \
        }                                                                                          \
    }

static void templates(void **state)
{
    static const struct {
        const char *value, *wanted; /* NULL: refused */
    } rows[] = {
            {"\"{device_name}\"", "d_1"},
            {"\"x {device_name} y\"", "x d_1 y"},
            {"\"{hwid}-{device_name}\"", "h1-d_1"},
            {"\"{device_id}\"", "ID"},
            {"\"{attr.mac}\"", NULL}, /* the row lacks it */
            {"\"{attr.mac?}\"", ""},  /* the item is left out */
            {"[\"{attr.mac?}\", \"{device_name}\"]", "d_1"},
            {"[\"{attr.mac}\", \"{device_name}\"]", NULL},
            {"[\"{attr.mac?}\", \"{hwid?}{attr.ip?}\", \"z\"]", "z"},
            {"[\"{attr.mac?}\", \"{attr.ip?}\"]", ""},
    };
    struct err e = {0};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char json[600];
        struct made m;
        int r;

        snprintf(json, sizeof json,
                "{\"keys\":[\"P-256\"],\"subject\":[{\"attribute\":\"O\",\"value\":\"Mark\"},{"
                "\"attribute\":\"CN\",\"value\":%s}],\"validity\":{\"days\":30,\"beyond_ca\":false}"
                ",\"key_usage\":[\"digitalSignature\"]}",
                rows[i].value);
        r = apply(json, COLUMNS({"device_name", "d_1"}, {"hwid", "h1"}), &m, &e);
        if (!rows[i].wanted) {
            refused(r, PROFILE);
        } else {
            ok(r);
            assert_true(holds(&m.fields.subject, rows[i].wanted));
            /* nothing but what is wanted: headers are 2, 2 x (2 + 2 + 3 + 2 + 2) less the CN */
            assert_int_equal(m.fields.subject.len,
                    2 + 11 + 4 + (*rows[i].wanted ? 11 + strlen(rows[i].wanted) : 0));
        }
        profile_space_done(&m.space);
    }
}

/* A value that does not fit goes to the next template only where the profile says so. */
static void misfits(void **state)
{
    static const char *const form =
            "{\"keys\":[\"P-256\"],\"subject\":[{\"attribute\":\"serialNumber\",\"value\":[\"%s\","
            "\"other\"]}],\"validity\":{\"days\":30,\"beyond_ca\":false},\"key_usage\":["
            "\"digitalSignature\"]}";
    char json[600];
    struct made m;
    struct err e = {0};

    (void)state;
    snprintf(json, sizeof json, form, "{device_name??}");
    ok(apply(json, COLUMNS({"device_name", "d_1"}), &m, &e));
    assert_true(holds(&m.fields.subject, "other"));
    profile_space_done(&m.space);
    snprintf(json, sizeof json, form, "{device_name?}");
    assert_int_equal(apply(json, COLUMNS({"device_name", "d_1"}), &m, &e), -1);
    assert_int_equal(e.id, ERR_PROFILE);
    assert_non_null(strstr(e.msg, "{device_name?}"));
    profile_space_done(&m.space);
}

static void unused_subject_columns(void **state)
{
    struct made m;
    struct err e = {0};

    (void)state;
    refused(apply(base, COLUMNS({"device_name", "d"}, {"subject.locality", "L"}), &m, &e), PROFILE);
    profile_space_done(&m.space);
    ok(apply(base, COLUMNS({"device_name", "d"}, {"attr.locality", "L"}), &m, &e));
    profile_space_done(&m.space);
}

static void names_of_every_kind(void **state)
{
    static const char json[] =
            "{\"keys\":[\"P-256\"],\"subject\":[{\"attribute\":\"CN\",\"value\":\"{subject.common_"
            "name?}\"}],\"alt_names\":["
            "{\"type\":\"dns\",\"value\":\"{device_name}.example.com\"},"
            "{\"type\":\"email\",\"value\":\"{device_name}@example.com\"},"
            "{\"type\":\"uri\",\"value\":\"urn:x:{device_name}\"},"
            "{\"type\":\"ip\",\"value\":\"{attr.ip}\"},"
            "{\"type\":\"registeredID\",\"value\":\"1.3.6.1.4.1.32473.{attr.number}\"},"
            "{\"type\":\"hardwareModuleName\",\"hw_type\":\"1.3.6.1.4.1.32473.9\",\"value\":\"{"
            "hwid}\"}],\"validity\":{\"days\":30,\"beyond_ca\":false},\"key_usage\":["
            "\"digitalSignature\"]}";
    static const char *const wanted[] = {"DNS:d.example.com", "email:d@example.com", "URI:urn:x:d",
            "IP Address:192.0.2.7", "Registered ID:1.3.6.1.4.1.32473.42", "othername:"};
    struct made m;
    struct err e = {0};
    struct buf whole = BUF_INIT;
    uint8_t space[1024];
    const uint8_t *bytes, *at;
    size_t len;
    struct der d;
    GENERAL_NAMES *names;

    (void)state;
    ok(apply(json,
            COLUMNS({"device_name", "d"}, {"hwid", "h"}, {"attr.ip", "192.0.2.7"},
                    {"attr.number", "42"}),
            &m, &e));
    assert_int_equal(m.fields.subject.len, 2); /* none */
    der_init(&d, space, sizeof space);
    der_put(&d, m.fields.alt_names.bytes, m.fields.alt_names.len);
    der_wrap(&d, DER_SEQUENCE, 0);
    ok(der_done(&d, &bytes, &len, &e));
    at = bytes;
    names = d2i_GENERAL_NAMES(NULL, &at, (long)len);
    assert_non_null(names);
    assert_ptr_equal(at, bytes + len);
    assert_int_equal(sk_GENERAL_NAME_num(names), 6);
    for (int i = 0; i < 6; i++) {
        BIO *bio = BIO_new(BIO_s_mem());
        char text[200];
        int n;

        GENERAL_NAME_print(bio, sk_GENERAL_NAME_value(names, i));
        n = BIO_read(bio, text, sizeof text - 1);
        text[n > 0 ? n : 0] = '\0';
        if (strncmp(text, wanted[i], strlen(wanted[i])) != 0)
            fail_msg("'%s' is not '%s'", text, wanted[i]);
        BIO_free(bio);
    }
    GENERAL_NAMES_free(names);
    buf_done(&whole);
    profile_space_done(&m.space);
    /* each value is checked once the columns are in it */
    refused(apply(json,
                    COLUMNS({"device_name", "d"}, {"hwid", "h"}, {"attr.ip", "192.0.2.700"},
                            {"attr.number", "42"}),
                    &m, &e),
            PROFILE);
    profile_space_done(&m.space);
    refused(apply(json,
                    COLUMNS({"device_name", "d d"}, {"hwid", "h"}, {"attr.ip", "::1"},
                            {"attr.number", "42"}),
                    &m, &e),
            PROFILE);
    profile_space_done(&m.space);
    refused(apply(json,
                    COLUMNS({"device_name", "d"}, {"hwid", "h"}, {"attr.ip", "::1"},
                            {"attr.number", "042"}),
                    &m, &e),
            PROFILE);
    profile_space_done(&m.space);
}

/* Neither a subject nor another name: that would be a certificate for nobody. */
static void nobody(void **state)
{
    char *json = change("subject", "[{\"attribute\":\"CN\",\"value\":\"{subject.common_name?}\"}]");
    struct made m;
    struct err e = {0};

    (void)state;
    refused(apply(json, COLUMNS({"device_name", "d"}), &m, &e), PROFILE);
    profile_space_done(&m.space);
    free(json);
}

static void validities(void **state)
{
    static const struct {
        const char *validity;
        int64_t begin, end;
    } rows[] = {
            {"{\"days\":30,\"beyond_ca\":false}", NOW, NOW + 30 * 86400 - 1},
            {"{\"years\":1,\"beyond_ca\":false}", NOW,
                    NOW + 366 * 86400 - 1}, /* over February 2024 */
            {"{\"years\":20,\"beyond_ca\":false}", NOW, NOW + 86400 * 3650},
            {"{\"years\":20,\"beyond_ca\":true}", NOW, NOW + (20 * 365 + 5) * INT64_C(86400) - 1},
            {"{\"never\":true,\"beyond_ca\":true}", NOW, CERT_NEVER},
            {"{\"never\":true,\"beyond_ca\":false}", NOW, NOW + 86400 * 3650},
            {"{\"days\":1,\"beyond_ca\":false,\"backdate_minutes\":5}", NOW - 300, NOW + 86399},
            {"{\"days\":1,\"beyond_ca\":false,\"backdate_minutes\":60}", NOW - 600, NOW + 86399},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *json = change("validity", rows[i].validity);
        struct made m;
        struct err e = {0};

        ok(apply(json, COLUMNS({"device_name", "d"}), &m, &e));
        assert_int_equal(m.fields.not_before, rows[i].begin);
        assert_int_equal(m.fields.not_after, rows[i].end);
        profile_space_done(&m.space);
        free(json);
    }
}

static void addresses(void **state)
{
    char *json =
            change("crl_urls", "[\"http://a.example/{ca_key_id}.crl\",\"ldap://b.example/cn=x\"]");
    struct made m;
    struct err e = {0};

    (void)state;
    ok(apply(json, COLUMNS({"device_name", "d"}), &m, &e));
    assert_int_equal(m.fields.crl_urls.count, 2);
    assert_true(holds(&m.fields.crl_urls.urls[0], "http://a.example/abcd.crl"));
    assert_int_equal(m.fields.crl_urls.urls[0].len, strlen("http://a.example/abcd.crl"));
    profile_space_done(&m.space);
    free(json);
}

/* ---- the documentation */

static bool doc_has(struct buf *doc, const char *line)
{
    return strstr(buf_str(doc), line) != NULL;
}

static void documented(void **state)
{
    static const struct {
        const char *where, *name, *needed, *meaning;
    } members[] = {
#define MEMBER(where, name, needed, meaning) {where, name, #needed, meaning},
#include "hsm/profile/profile_members.h"
    };
    struct buf doc = BUF_INIT, builtin = BUF_INIT;
    struct err e = {0};
    FILE *f = fopen(DOC, "re");
    char line[1024];
    size_t rows = 0;

    (void)state;
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        rows += strncmp(line, "| `", 3) == 0;
        ok(buf_append(&doc, line, strlen(line), &e));
    }
    fclose(f);
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        snprintf(line, sizeof line, "| `%s%s%s` | %s | %s |\n", members[i].where,
                *members[i].where ? "." : "", members[i].name,
                strcmp(members[i].needed, "REQUIRED") == 0 ? "yes" : "", members[i].meaning);
        if (!doc_has(&doc, line))
            fail_msg("docs/profiles.md lacks this line:\n%s", line);
    }
    assert_int_equal(rows, sizeof members / sizeof *members); /* and it has no others */
    f = fopen(BUILTIN, "re");
    while (fgets(line, sizeof line, f))
        ok(buf_append(&builtin, line, strlen(line), &e));
    fclose(f);
    if (!doc_has(&doc, buf_str(&builtin)))
        fail_msg("docs/profiles.md does not have the built-in profile as it is");
    /* every example is a profile */
    rows = 0;
    for (const char *at = buf_str(&doc); (at = strstr(at, "```json\n")); rows++) {
        const char *end = strstr(at += 8, "```");
        struct profile *p = NULL;

        assert_non_null(end);
        ok(profile_parse("example", at, (size_t)(end - at), &p, NULL, &e));
        profile_free(&p);
    }
    assert_int_equal(rows, 2);
    buf_done(&builtin);
    buf_done(&doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(faults),
            cmocka_unit_test(not_even_json),
            cmocka_unit_test(every_fault_is_named),
            cmocka_unit_test(digests),
            cmocka_unit_test(templates),
            cmocka_unit_test(misfits),
            cmocka_unit_test(unused_subject_columns),
            cmocka_unit_test(names_of_every_kind),
            cmocka_unit_test(nobody),
            cmocka_unit_test(validities),
            cmocka_unit_test(addresses),
            cmocka_unit_test(documented),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
