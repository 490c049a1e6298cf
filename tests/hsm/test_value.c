/* The forms of values, and OIDs as OpenSSL writes them. */
#include <openssl/objects.h>
#include <string.h>
#include "hsm/x509/der.h"
#include "hsm/profile/value.h"
#include "tests/hsm/help.h"

static void value_forms(void **state)
{
    static const struct {
        enum value_form form;
        const char *value;
        bool good;
    } rows[] = {
            {VALUE_DNS, "a.b", true},
            {VALUE_DNS, "a-1.example.com", true},
            {VALUE_DNS, "1.example.com", true},
            {VALUE_DNS, "a", false},
            {VALUE_DNS, "a.1", false},
            {VALUE_DNS, "1.2.3.4", false},
            {VALUE_DNS, ".a.b", false},
            {VALUE_DNS, "a.b.", false},
            {VALUE_DNS, "a..b", false},
            {VALUE_DNS, "-a.b", false},
            {VALUE_DNS, "a-.b", false},
            {VALUE_DNS, "a.b-", false},
            {VALUE_DNS, "*.a.b", false},
            {VALUE_DNS, "a b.c", false},
            {VALUE_DNS, "\xc3\xa4.de", false},
            {VALUE_DNS, "123456789012345678901234567890123456789012345678901234567890123.de", true},
            {VALUE_DNS, "1234567890123456789012345678901234567890123456789012345678901234.de",
                    false},
            {VALUE_EMAIL, "a@b.c", true},
            {VALUE_EMAIL, "a.b+c@d.example", true},
            {VALUE_EMAIL, "@b.c", false},
            {VALUE_EMAIL, "a@", false},
            {VALUE_EMAIL, "a", false},
            {VALUE_EMAIL, ".a@b.c", false},
            {VALUE_EMAIL, "a.@b.c", false},
            {VALUE_EMAIL, "a..b@c.d", false},
            {VALUE_EMAIL, "a b@c.d", false},
            {VALUE_EMAIL, "a@b", false},
            {VALUE_URI, "urn:dev:mac:0024beffff804ff1", true},
            {VALUE_URI, "https://a.b/c?d#e", true},
            {VALUE_URI, "https://a.b:8443", true},
            {VALUE_URI, "https://u@a.b/", true},
            {VALUE_URI, "coaps://[2001:db8::1]:5684/x", true},
            {VALUE_URI, "http://192.0.2.1/", true},
            {VALUE_URI, "a", false},
            {VALUE_URI, ":a", false},
            {VALUE_URI, "urn:", false},
            {VALUE_URI, "1:a", false},
            {VALUE_URI, "//a.b/c", false},
            {VALUE_URI, "https://", false},
            {VALUE_URI, "https:///x", false},
            {VALUE_URI, "https://a/", false},
            {VALUE_URI, "https://a.b:/", false},
            {VALUE_URI, "https://a.b:x/", false},
            {VALUE_URI, "https://[1.2.3.4]/", false},
            {VALUE_URI, "https://[::1/", false},
            {VALUE_URI, "https://a.b/\"", false},
            {VALUE_URI, "https://a.b/ x", false},
            {VALUE_IP, "192.0.2.1", true},
            {VALUE_IP, "2001:db8::1", true},
            {VALUE_IP, "::", true},
            {VALUE_IP, "192.0.2", false},
            {VALUE_IP, "192.0.2.256", false},
            {VALUE_IP, "192.0.2.1/24", false},
            {VALUE_IP, "fe80::1%eth0", false},
            {VALUE_IP, "2001:db8::1::2", false},
            {VALUE_OID, "1.2", true},
            {VALUE_OID, "2.999.1", true},
            {VALUE_OID, "0.0", true},
            {VALUE_OID, "1", false},
            {VALUE_OID, "1.40", false},
            {VALUE_OID, "3.1", false},
            {VALUE_OID, "1.2.", false},
            {VALUE_OID, "1..2", false},
            {VALUE_OID, "1.02", false},
            {VALUE_OID, "1.2.99999999999999999999999", false},
            {VALUE_OID, "1.2.x", false},
            {VALUE_COUNTRY, "DE", true},
            {VALUE_COUNTRY, "de", false},
            {VALUE_COUNTRY, "DEU", false},
            {VALUE_PRINTABLE, "A-b c", true},
            {VALUE_PRINTABLE, "a_b", false},
            {VALUE_UTF8, "F\xc3\xbchler", true},
            {VALUE_UTF8, "a\nb", false},
            {VALUE_UTF8, "\xff", false},
            {VALUE_UTF8, "", false},
            {VALUE_IA5, "a_b~", true},
            {VALUE_IA5, "\xc3\xa4", false},
            {VALUE_LABEL, "example", true},
            {VALUE_LABEL, "a.b", false},
            {VALUE_LABEL, "-", false},
            {VALUE_LABEL, "1", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *fault = value_check(rows[i].form, rows[i].value, strlen(rows[i].value), 255);

        if (!fault != rows[i].good)
            fail_msg("'%s' (form %d): %s", rows[i].value, rows[i].form, fault ? fault : "passed");
    }
}

/* OpenSSL's encoding of the same OIDs. */
static void oids(void **state)
{
    static const char *const texts[] = {"0.0", "1.2", "1.39", "2.0", "2.47", "2.48", "2.999",
            "1.2.127", "1.2.128", "1.2.16383", "1.2.16384", "1.3.6.1.4.1.32473.1.1",
            "2.25.4294967296", "1.2.840.113549.1.1.11"};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        ASN1_OBJECT *o = OBJ_txt2obj(texts[i], 1);
        struct der_oid oid;

        assert_int_equal(der_oid_parse(texts[i], strlen(texts[i]), &oid), 0);
        assert_int_equal(oid.len, OBJ_length(o));
        assert_memory_equal(oid.bytes, OBJ_get0_data(o), oid.len);
        ASN1_OBJECT_free(o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(value_forms),
            cmocka_unit_test(oids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
