/* Ceremonies that are killed at every step, after which some CA must work, and the same ceremony come to its end. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/hsm/ceremony_rig.h"

/* What a ceremony changes goes through these; how many a run has depends on chance a little. */
#define STEPS "write,rename,unlink,fsync,ftruncate"

static void save(void)
{
    did("rm -rf %s.saved && cp -a %s %s.saved", st.root, st.root, st.root);
}

static void restore(void)
{
    assert_int_equal(station_run((const char *[]){"sh", "-c",
                             "rm -rf \"$0\" && cp -a \"$0.saved\" \"$0\"", st.root, NULL}),
            0);
}

/* Kills the ceremony at every stride-th step. Each time some CA must serve as things are, the same
 * ceremony must then come to its end, and `end` (NULL or another command) must lead to a CA that
 * serves, with nothing left over. */
static void kill_everywhere(const char *words, size_t stride, const char *end)
{
    size_t killed = 0;

    save();
    for (size_t n = 1;; n += stride) {
        int status = sh("strace -f -qq -o /dev/null -e trace=%s -e inject=%s:signal=KILL:when=%zu "
                        "%s %s",
                STEPS, STEPS, n, CEREMONY, words);

        serves(0);
        if (status == 0)
            break;
        assert_int_equal(status, 128 + SIGKILL);
        killed++;
        if (sh("%s %s", CEREMONY, words) != 0) {
            print_error("after a kill at step %zu\n", n);
            said("(success)");
        }
        if (end)
            did("%s", end);
        assert_false(there_is("etc/ca/request.key"));
        assert_false(there_is("etc/ca/request.pem"));
        serves(1);
        restore();
    }
    did("rm -rf %s.saved", st.root);
    print_message("killed at %zu steps\n", killed);
    assert_true(killed * stride > 20);
}

static size_t stride_of(size_t otherwise)
{
    const char *set = getenv("KILL_STRIDE");

    return set ? strtoul(set, NULL, 10) : otherwise;
}

static void killed_rollover(void **state)
{
    (void)state;
    kill_everywhere("ca rollover", stride_of(6), NULL);
}

static void killed_request(void **state)
{
    char end[1024];

    (void)state;
    make_root("-newkey ec -pkeyopt ec_paramgen_curve:P-256");
    snprintf(end, sizeof end,
            "openssl x509 -req -in etc/ca/request.pem -CA root.pem -CAkey root.key -CAcreateserial "
            "-copy_extensions copyall -days 3000 -out issuing.pem && "
            "cat issuing.pem root.pem >chain.pem && %s ca import --yes chain.pem",
            CEREMONY);
    kill_everywhere("ca request --out issuing.csr", stride_of(9), end);
}

static void killed_import(void **state)
{
    (void)state;
    make_root("-newkey ec -pkeyopt ec_paramgen_curve:P-256");
    did("%s ca request --out issuing.csr", CEREMONY);
    sign_request("issuing.csr", "");
    kill_everywhere("ca import --yes chain.pem", stride_of(4), NULL);
}

/* ---- a request that is given up */

/* What a request began on a fresh station is taken back with it, wherever the taking back is cut off; a token that holds
 * anything, or is not alone, stays. */
static void given_up_on_a_fresh_station(void **state)
{
    char fresh[128], in[256];
    int status;

    (void)state;
    snprintf(fresh, sizeof fresh, "%s/fresh", st.root);
    snprintf(in, sizeof in, "export KEYLINE_ROOT=%s SOFT=softhsm2.conf;", fresh);
    did("%s %s ca request --organization Maker", in, CEREMONY);
    assert_int_equal(sh("%s %s ca init", in, CEREMONY), 1);
    said("waits for a root's answer [BadState]");
    said("--give-up");
    for (size_t n = 1;; n += 5) {
        status = sh("%s strace -f -qq -o /dev/null -e trace=%s -e inject=%s:signal=KILL:when=%zu "
                    "%s ca request --give-up",
                in, STEPS, STEPS, n, CEREMONY);
        if (status == 0)
            break;
        assert_int_equal(status, 128 + SIGKILL);
        (void)sh("%s %s ca request --give-up", in, CEREMONY);
        did("%s %s ca init && rm -rf %s && %s ca request", in, CEREMONY, fresh, CEREMONY);
    }
    assert_false(there_is("fresh/etc/softhsm2.conf"));
    assert_false(there_is("fresh/etc/ceremony.unfinished"));
    assert_int_equal(sh("%s %s ca request --give-up", in, CEREMONY), 1);
    said("no request waits");
    did("%s %s ca request; SOFTHSM2_CONF=%s/etc/$SOFT softhsm2-util --init-token --free "
        "--label two --so-pin 12345678 --pin 24681357; %s ca request --give-up",
            in, CEREMONY, fresh, CEREMONY);
    assert_true(there_is("fresh/etc/softhsm2.conf"));
    did("%s %s ca init; rm -rf %s; %s ca request; grep -q . %s/etc/token.pin", in, CEREMONY, fresh,
            CEREMONY, fresh);
    did("%s SOFTHSM2_CONF=%s/etc/$SOFT pkcs11-tool --module /usr/lib/softhsm/libsofthsm2.so "
        "--login --pin $(cat %s/etc/token.pin) --keypairgen --key-type EC:prime256v1 --id 55; "
        "%s ca request --give-up",
            in, fresh, fresh, CEREMONY);
    assert_true(there_is("fresh/etc/softhsm2.conf"));
    assert_int_equal(sh("%s %s ca init", in, CEREMONY), 1);
    said("[Exists]");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
            FLOW_TEST(killed_rollover),
            FLOW_TEST(killed_request),
            FLOW_TEST(killed_import),
            FLOW_TEST(given_up_on_a_fresh_station),
    };

    return FLOW_RUN(argc, argv, tests);
}
