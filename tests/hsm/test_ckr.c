/* Every return value that pkcs11-helper's header defines has its own row in ckr.c. */
#include <pkcs11-helper-1.0/pkcs11h-def.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "hsm/token/ckr.h"
#include "tests/hsm/help.h"

static void every_value_of_the_header_is_judged(void **state)
{
    FILE *f = fopen(PKCS11_HEADER, "re");
    char line[256], name[64], value[32];
    size_t count = 0;

    (void)state;
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "#define%*[ \t]%63[A-Z0-9_]%*[ \t](%31[0-9a-fxA-F]", name, value) != 2 ||
                strncmp(name, "CKR_", 4) != 0 || strcmp(name, "CKR_OK") == 0 ||
                strcmp(name, "CKR_VENDOR_DEFINED") == 0)
            continue;
        assert_string_equal(ckr_name(strtoul(value, NULL, 0)), name);
        count++;
    }
    fclose(f);
    assert_true(count > 80);
    assert_true(ckr_count() >= count);
}

static void values_stand_once_and_are_errors_of_the_token(void **state)
{
    (void)state;
    for (size_t i = 0; i < ckr_count(); i++) {
        struct err e = {0};

        for (size_t j = 0; j < i; j++)
            assert_true(ckr_at(i) != ckr_at(j));
        assert_int_equal(ckr_err(&e, ckr_at(i), "do it"), -1);
        assert_true(err_class(e.id) == ERR_CLASS_HSM || e.id == ERR_NOMEM);
        assert_int_equal(e.code, ckr_at(i));
        assert_non_null(strstr(e.msg, ckr_name(ckr_at(i))));
    }
}

static void unknown_values_keep_their_number(void **state)
{
    struct err e = {0};

    (void)state;
    refused(ckr_err(&e, 0x80000042UL, "sign"), TOKEN);
    ckr_err(&e, 0x80000042UL, "sign");
    assert_string_equal(e.msg, "sign: CKR_VENDOR_DEFINED (0x80000042)");
    assert_string_equal(ckr_name(0x7777), "CKR_?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(every_value_of_the_header_is_judged),
            cmocka_unit_test(values_stand_once_and_are_errors_of_the_token),
            cmocka_unit_test(unknown_values_keep_their_number),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
