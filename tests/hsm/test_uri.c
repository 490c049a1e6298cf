/* PKCS#11 URIs: what is understood, and that nothing else goes by unseen. */
#include <string.h>
#include "hsm/token/pkcs11_uri.h"
#include "tests/hsm/help.h"

static void all_parts(void **state)
{
    struct pkcs11_uri u;
    struct err e = {0};

    (void)state;
    ok(pkcs11_uri_parse(
            "pkcs11:model=M%20v2;manufacturer=Maker;serial=28cd;token=Ad%C3%A4;id=%01%fF;"
            "object=sign%3bkey;type=private?module-path=/a%20b.so&pin-source=file:///run/pin",
            &u, &e));
    assert_string_equal(u.model, "M v2");
    assert_string_equal(u.manufacturer, "Maker");
    assert_string_equal(u.serial, "28cd");
    assert_string_equal(u.token, "Ad\xc3\xa4");
    assert_string_equal(u.object, "sign;key");
    assert_int_equal(u.id_len, 2);
    assert_memory_equal(u.id, "\x01\xff", 2);
    assert_string_equal(u.module_path, "/a b.so");
    assert_string_equal(u.pin_file, "/run/pin");
    ok(pkcs11_uri_parse("pkcs11:", &u, &e));
    assert_int_equal(u.id_len + strlen(u.token) + strlen(u.pin_file), 0);
    ok(pkcs11_uri_parse("pkcs11:token=R&D&pin-sources=1", &u, &e));
    assert_string_equal(u.token, "R&D&pin-sources=1");
    ok(pkcs11_uri_parse("pkcs11:?pin-source=file:/p", &u, &e));
    assert_string_equal(u.pin_file, "/p");
    ok(pkcs11_uri_parse("pkcs11:id=ab?pin-source=p", &u, &e));
    assert_memory_equal(u.id, "ab", 2);
    assert_string_equal(u.pin_file, "p");
}

static void everything_else_is_refused(void **state)
{
    static const char *const wrong[][2] = {
            {"token=x", "begins with pkcs11:"},
            {"PKCS11:token=x", "begins with pkcs11:"},
            {"pkcs11:tokn=x", "'tokn'"},
            {"pkcs11:slot-id=1", "not supported"},
            {"pkcs11:token", "NAME=VALUE"},
            {"pkcs11:token=", "empty"},
            {"pkcs11:token=a;token=b", "twice"},
            {"pkcs11:id=%01;id=%02", "twice"},
            {"pkcs11:id=%0", "hexadecimal"},
            {"pkcs11:id=%", "hexadecimal"},
            {"pkcs11:id=%zz", "hexadecimal"},
            {"pkcs11:token=a%00b", "printable"},
            {"pkcs11:token=%1b[2J", "printable"},
            {"pkcs11:token=%ff", "printable"},
            {"pkcs11:type=secret-key", "private key"},
            {"pkcs11:a=b;;", "'a'"},
            {"pkcs11:token=a;;object=b", "NAME=VALUE"},
            {"pkcs11:token=a?pin-value=1234", "visible"},
            {"pkcs11:token=a?pin-source=%7Ccat", "no program"},
            {"pkcs11:token=a?pin-source=file:", "no file"},
            {"pkcs11:token=a?module-name=x", "not supported"},
            {"pkcs11:token=a&pin-source=file:/p", "'pin-source': it stands behind a '?'"},
            {"pkcs11:token=a;id=%01&x=y&module-path=/m", "'module-path': it stands behind"},
            {"pkcs11:token=a;pin-source=file:/p", "'pin-source': it stands behind a '?'"},
            {"pkcs11:token=a?pin-source=/p&id=%01", "'id': it stands before the '?'"},
            {"pkcs11:token=a?pin-source=/p;id=%01", "'id': it stands before the '?'"},
            {"pkcs11:token=a?module-path=/m;pin-source=/p", "'pin-source': behind the '?'"},
            {"pkcs11:token=a?module-path=a&module-path=b", "twice"},
    };
    char large[2 * PKCS11_URI_TEXT_MAX + 32] = "pkcs11:token=";
    struct pkcs11_uri u;
    struct err e = {0};

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int r = pkcs11_uri_parse(wrong[i][0], &u, &e);

        if (r == 0 || e.id != ERR_ARGUMENT || !strstr(e.msg, wrong[i][1]))
            fail_msg("%s: %d, '%s', not '%s'", wrong[i][0], r, e.msg, wrong[i][1]);
        assert_null(strstr(e.msg, "1234")); /* a PIN is not repeated */
        err_clear(&e);
    }
    memset(large + 13, 'x', PKCS11_URI_TEXT_MAX);
    ok(pkcs11_uri_parse(large, &u, &e));
    large[13 + PKCS11_URI_TEXT_MAX] = 'x';
    refused(pkcs11_uri_parse(large, &u, &e), ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(all_parts),
            cmocka_unit_test(everything_else_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
