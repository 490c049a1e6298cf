/* UUIDs: the form, and device IDs that can never change again. */
#include "base_test.h"

#include "base/uuid.h"

static void random_ones(void **state)
{
    char a[UUID_TEXT_MAX], b[UUID_TEXT_MAX];
    (void)state;
    uuid_v4(a);
    uuid_v4(b);
    assert_true(uuid_valid(a) && uuid_valid(b));
    assert_string_not_equal(a, b);
    assert_int_equal(a[14], '4');
    assert_non_null(strchr("89ab", a[19]));
}

#define ACCOUNT  "11111111-1111-4111-8111-111111111111"
#define DIVISION "22222222-2222-4222-8222-222222222222"

static void device_ids_are_stable(void **state)
{
    char a[UUID_TEXT_MAX], b[UUID_TEXT_MAX];
    (void)state;
    uuid_device(ACCOUNT, DIVISION, "group", "sensor-0001", a);
    assert_true(uuid_valid(a));
    /* Computed by Python's uuid.uuid5() with the namespace of uuid.c: registered devices depend on
     * it. */
    assert_string_equal(a, "c23e456e-2701-5c6b-896d-36fe2da02600");
    uuid_device(ACCOUNT, DIVISION, "group", "sensor-0002", b);
    assert_string_not_equal(a, b);
    /* Parts cannot slide into each other. */
    uuid_device(ACCOUNT, DIVISION, "groups", "ensor-0001", b);
    assert_string_not_equal(a, b);
    uuid_device(ACCOUNT, DIVISION, "", "groupsensor-0001", b);
    assert_string_not_equal(a, b);
}

static void form(void **state)
{
    (void)state;
    assert_true(uuid_valid("00000000-0000-0000-0000-000000000000"));
    static const char *const bad[] = {"", "0", "00000000-0000-0000-0000-00000000000",
            "00000000-0000-0000-0000-0000000000000", "00000000-0000-0000-0000-00000000000G",
            "0000000A-0000-0000-0000-000000000000", "{0000000-0000-0000-0000-000000000000",
            "00000000000000000000000000000000", "00000000-0000-0000-00000000-00000000"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(uuid_valid(bad[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(random_ones),
            cmocka_unit_test(device_ids_are_stable),
            cmocka_unit_test(form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
