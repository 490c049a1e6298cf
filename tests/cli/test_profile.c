/* keyline profile: files only, no appliance. */
#include "cli_test.h"

#include <jansson.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GOOD                                                                                       \
    "{\"description\":\"%s\",\"keys\":[\"P-384\"],\"subject\":[{\"attribute\":\"CN\",\"value\":"   \
    "\"{"                                                                                          \
    "subject.common_name}\"}],\"validity\":{\"days\":90,\"beyond_ca\":false},\"key_usage\":["      \
    "\"digitalSignature\"],\"alt_names\":[{\"type\":\"ip\",\"value\":\"{attr.ip?}\"}]}"

static int start(void **state)
{
    if (test_root_make(state))
        return -1;
    mkdir(test_path("etc/profiles"), 0755);
    test_write("etc/profiles/good.json", GOOD, "\\u001b[2Jgood");
    test_write("etc/profiles/bad.json", "{\"keys\":[\"P-1\"],\"x\":1}");
    test_write("etc/profiles/idevid.json", GOOD, "an imposter");
    test_write("etc/profiles/README", "not a profile");
    return 0;
}

static json_t *answer(const struct outcome *o)
{
    json_t *a = json_loads(o->out, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(a);
    return a;
}

static void list(void **state)
{
    const struct outcome *o = keyline("profile", "list", NULL);
    (void)state;
    assert_int_equal(o->status, 0);
    test_assert_tame(o->out, false);
    assert_says(o->out, "IDevID of IEEE 802.1AR");
    assert_says(o->out, "member \"x\" is unknown (and ");
    assert_says(o->out, "never used");
    assert_not_says(o->out, "README");
    json_t *a = answer(keyline("profile", "list", "--json", NULL)), *v;
    size_t i, faulty = 0;
    json_array_foreach(json_object_get(a, "profiles"), i, v)
    {
        bool fault = json_is_string(json_object_get(v, "error"));
        faulty += fault;
        assert_int_equal(json_string_length(json_object_get(v, "sha256")), fault ? 0 : 64);
    }
    assert_int_equal(i, 4);
    assert_int_equal(faulty, 2);
    json_decref(a);
    o = keyline("profile", "list", "--columns", "name,keys", NULL);
    assert_says(o->out, "good\tP-384\n");
}

static void show(void **state)
{
    const struct outcome *o = keyline("profile", "show", "good", NULL);
    (void)state;
    assert_int_equal(o->status, 0);
    test_assert_tame(o->out, false);
    assert_says(o->out, "90 days but not longer than the CA");
    o = keyline("profile", "show", "none", NULL);
    assert_int_equal(o->status, 1);
    assert_says(o->err, "[NotFound]");
    o = keyline("profile", "show", "../keyline", NULL);
    assert_int_equal(o->status, 1);
    o = keyline("profile", "show", "bad", NULL);
    assert_int_equal(o->status, 1);
    assert_says(o->err, "[Profile]");
    /* what --document prints is a profile again, the same one */
    json_t *a = answer(keyline("profile", "show", "idevid", "--json", NULL));
    const char *sha256 =
            json_string_value(json_object_get(json_object_get(a, "profile"), "sha256"));
    o = keyline("profile", "show", "idevid", "--document", NULL);
    test_write("again.json", "%s", o->out);
    assert_says(keyline("profile", "show", test_path("again.json"), NULL)->out, sha256);
    json_decref(a);
}

static void check(void **state)
{
    const struct outcome *o = keyline("profile", "check", "bad", NULL);
    (void)state;
    assert_int_equal(o->status, 1);
    assert_says(o->out, "member \"x\" is unknown\n");
    assert_says(o->out, "keys: \"P-1\" is no kind of key");
    assert_says(o->out, "member \"validity\" is missing\n");
    o = keyline("profile", "check", "good", NULL);
    assert_int_equal(o->status, 0);
    o = keyline("profile", "check", "good", "--example", "x", NULL);
    assert_int_equal(o->status, 2);
    /* right as it is, and no job would ever find it */
    test_write("good.txt", "%s", keyline("profile", "show", "idevid", "--document", NULL)->out);
    o = keyline("profile", "check", test_path("good.txt"), NULL);
    assert_int_equal(o->status, 1);
    assert_says(o->out, "good.txt: the file of a profile is called NAME.json\n");
    assert_says(keyline("profile", "check", "good.txt", NULL)->err, "is given as ./NAME.json");

    test_write("m.csv", "device_name,subject.common_name,subject.country,attr.ip\n"
                        "d1,One,,192.0.2.1\nd2,,,\nd3,Three,DE,\nd4,Four,,1.2.3\n");
#define CHECK "profile", "check", "good", "--manifest", test_path("m.csv"), "--group", "g"
    o = keyline(CHECK, "--example", test_path("example.pem"), NULL);
    assert_int_equal(o->status, 1);
    assert_says(o->out, "line 3, d2: column subject.common_name: the row lacks it");
    assert_says(o->out, "line 4, d3: column subject.country: profile good has no place for it");
    assert_says(o->out, "line 5, d4: ip from \"{attr.ip?}\": it is not an IPv4 or IPv6 address");
    assert_says(o->out, "3 of 4 rows do not fit the profile.");
    json_t *a = answer(keyline(CHECK, "--json", NULL));
    assert_int_equal(json_integer_value(json_object_get(a, "misfits_total")), 3);
    assert_int_equal(json_array_size(json_object_get(a, "misfits")), 3);
    json_decref(a);

    FILE *f = fopen(test_path("example.pem"), "r");
    assert_non_null(f);
    X509 *x = PEM_read_X509(f, NULL, NULL, NULL);
    char name[64] = "";
    fclose(f);
    assert_non_null(x);
    X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, name, sizeof name);
    assert_string_equal(name, "One");
    assert_int_equal(EVP_PKEY_get_bits(X509_get0_pubkey(x)), 384);
    X509_free(x);
    test_write("m.csv", "device_name,subject.common_name\nd1,One\n");
    o = keyline(CHECK, NULL);
    assert_int_equal(o->status, 0);
    assert_says(o->out, "Every row fits the profile (1).");
    test_write("m.csv", "device_name,subject.common_name\nd1,One\nd1,Two\n");
    o = keyline(CHECK, NULL);
    assert_int_equal(o->status, 1);
    assert_says(o->err, "m.csv:3: device_name: device_name 'd1' stands twice: also on line 2\n");
    assert_says(o->err, "1 fault in the manifest [Manifest]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(list),
            cmocka_unit_test(show),
            cmocka_unit_test(check),
    };
    return cmocka_run_group_tests(tests, start, test_root_remove);
}
