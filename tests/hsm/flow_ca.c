/* The CA's later life with the real programs and a real SoftHSM: roll-over under a running signer, an
 * offline root played by openssl, tokens that need the key, stations that begin. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/file.h"
#include "base/text.h"
#include "hsm/ca.h"
#include "hsm/signer_client.h"
#include "tests/hsm/ceremony_rig.h"

#define FILE_MAX (1u << 20)

static int64_t issued(void)
{
    json_t *o = station_status(&st);
    int64_t n = json_integer_value(json_object_get(o, "issued"));

    json_decref(o);
    return n;
}

/* signerd ends by itself, in order, when another CA is put in force. */
static void signer_ends(void)
{
    int status = -1;

    st.bus = sd_bus_close_unref(st.bus);
    for (int i = 0; i < 500; i++) {
        pid_t r = waitpid(st.signerd, &status, WNOHANG);

        assert_true(r >= 0);
        if (r > 0) {
            assert_true(WIFEXITED(status));
            assert_int_equal(WEXITSTATUS(status), 0);
            st.signerd = 0;
            return;
        }
        help_rest_ms(10);
    }
    fail_msg("signerd did not notice the new chain");
}

/* ---- roll-over */

static void rollover_under_way(void **state)
{
    EVP_PKEY *old_key = help_key("P-256"), *new_key = help_key("P-256");
    struct buf old_cert = BUF_INIT, again = BUF_INIT, new_cert = BUF_INIT;
    char retired[PATH_MAX];
    struct ca_set cas;
    struct err e = {0};
    bool fresh = true;

    (void)state;
    station_start(&st);
    issue_under_active(0, old_key, &old_cert);
    did("%s ca rollover", CEREMONY);
    signer_ends();
    station_start(&st);
    issue_under_active(1, new_key, &new_cert);
    /* the old one stays what it was: given back when asked for again, counted, and valid */
    ok(station_issue(&st, 0, old_key, &again, &fresh, &e));
    assert_false(fresh);
    assert_int_equal(again.len, old_cert.len);
    assert_memory_equal(again.data, old_cert.data, again.len);
    assert_int_equal(issued(), 2);
    load_cas(&cas);
    assert_int_equal(cas.retired_count, 1);
    assert_ptr_equal(issuer_of(&cas, &old_cert), cas.retired[0]);
    assert_int_equal(cas.active->root_not_after, cas.retired[0]->root_not_after);
    assert_true(cas.active->not_after <= cas.active->root_not_after);
    ok(ca_retired_path(&st.paths, cas.retired[0], retired, &e));
    station_verify(&st, &old_cert, retired);
    ca_set_done(&cas);
    /* another kind of key, and a third generation */
    did("%s ca rollover --key-type p384 --organization 'Other'", CEREMONY);
    signer_ends();
    serves(2);
    load_cas(&cas);
    assert_int_equal(cas.retired_count, 2);
    assert_non_null(strstr(cas.active->subject_text, "/O=Other/"));
    ca_set_done(&cas);
    buf_done(&old_cert);
    buf_done(&new_cert);
    buf_done(&again);
    EVP_PKEY_free(old_key);
    EVP_PKEY_free(new_key);
}

static void a_damaged_chain_does_not_stop_the_signer(void **state)
{
    EVP_PKEY *key = help_key("P-256");
    struct buf cert = BUF_INIT;
    char chain[PATH_MAX];
    struct err e = {0};
    bool fresh;

    (void)state;
    station_start(&st);
    paths_get(&st.paths, PATH_CA_CHAIN, chain);
    ok(file_write(chain, "rubbish", 7, 0644, &e));
    help_rest_ms(200);
    ok(station_issue(&st, 0, key, &cert, &fresh, &e));
    buf_done(&cert);
    EVP_PKEY_free(key);
}

/* ---- an offline root */

static void an_offline_root(void **state)
{
    EVP_PKEY *key = help_key("P-256");
    struct buf cert = BUF_INIT;
    struct ca_set cas;

    (void)state;
    station_start(&st);
    issue_under_active(0, key, &cert);
    make_root("-newkey rsa:3072");
    did("%s ca request --organization Maker --out issuing.csr && cp etc/ca/chain.pem old.pem",
            CEREMONY);
    did("openssl req -in issuing.csr -noout -verify -text");
    said("CA:TRUE, pathlen:0");
    said("Certificate Sign, CRL Sign");
    /* asked again it is the same; other wishes are refused; a roll-over waits */
    did("%s ca request 2>/dev/null | cmp - issuing.csr", CEREMONY);
    did("%s ca request --organization Maker --key-type p256 2>/dev/null | cmp - issuing.csr",
            CEREMONY);
    assert_int_equal(sh("%s ca request --key-type p384", CEREMONY), 1);
    said("its key is not p384 [BadState]");
    assert_int_equal(sh("%s ca request --organization Other", CEREMONY), 1);
    said("its organization is 'Maker' [BadState]");
    assert_int_equal(sh("%s ca rollover", CEREMONY), 1);
    said("a request waits");
    sign_request("issuing.csr", "");
    assert_int_equal(sh("%s ca import chain.pem --fingerprint $(printf '%%064d' 0)", CEREMONY), 1);
    said("the root is not the one");
    assert_int_equal(sh("%s ca import chain.pem --fingerprint abc", CEREMONY), 1);
    said("64 hexadecimal digits");
    assert_int_equal(sh("setsid %s ca import chain.pem </dev/null", CEREMONY), 1);
    said("give --fingerprint");
    assert_int_equal(sh("%s ca import issuing.pem --yes", CEREMONY), 1);
    said("root must stand last");
    assert_int_equal(sh("cat root.pem issuing.pem >x.pem; %s ca import x.pem --yes", CEREMONY), 1);
    said("certificate 1 is a root, and must stand last [BadCaChain]");
    said("cat issuing.pem root.pem");
    assert_int_equal(sh("%s ca import no-such.pem --yes", CEREMONY), 1);
    said("[NotFound]");
    assert_true(there_is("etc/ca/request.pem"));
    did("%s ca import chain.pem --fingerprint $(cat root.sha256)", CEREMONY);
    signer_ends();
    assert_false(there_is("etc/ca/request.pem"));
    assert_false(there_is("etc/ca/request.key"));
    did("cmp root.pem etc/ca/root.pem || openssl verify -CAfile etc/ca/root.pem root.pem");
    buf_done(&cert);
    cert = BUF_INIT;
    EVP_PKEY_free(key);
    key = help_key("P-384");
    station_start(&st);
    issue_under_active(1, key, &cert);
    load_cas(&cas);
    assert_int_equal(cas.retired_count, 1);
    ca_set_done(&cas);
    /* the root's key is not here: no roll-over without it */
    assert_int_equal(sh("%s ca rollover", CEREMONY), 1);
    said("ca request");
    assert_false(there_is("etc/ca/request.key"));
    /* what is in force may be imported again; it changes nothing */
    did("%s ca import chain.pem --yes", CEREMONY);
    assert_int_equal(issued(), 2);
    /* what is retired comes back on purpose only */
    assert_int_equal(sh("%s ca import old.pem --yes", CEREMONY), 1);
    said("of a retired CA");
    said("--reinstate");
    assert_int_equal(issued(), 2);
    did("%s ca import --reinstate old.pem --yes", CEREMONY);
    signer_ends();
    serves(2);
    load_cas(&cas);
    assert_int_equal(cas.retired_count, 1);
    ca_set_done(&cas);
    buf_done(&cert);
    EVP_PKEY_free(key);
}

/* openssl ca, as many makers keep their root: with a short validity, which ends meanwhile. */
static void a_ca_that_ends(void **state)
{
    EVP_PKEY *key = help_key("P-256");
    struct buf cert = BUF_INIT;
    struct err e = {0};
    char end[32];
    time_t at;
    struct tm tm;

    (void)state;
    make_root("-newkey ec -pkeyopt ec_paramgen_curve:P-384");
    did("printf '[ca]\\ndefault_ca=d\\n[d]\\ndatabase=index\\nserial=serial\\nnew_certs_dir=.\\n"
        "certificate=root.pem\\nprivate_key=root.key\\ndefault_md=sha256\\npolicy=p\\n"
        "copy_extensions=copyall\\nunique_subject=no\\n[p]\\norganizationName=optional\\n"
        "commonName=supplied\\n' >ca.conf && : >index && echo 01 >serial");
    did("%s ca request --out issuing.csr --key-type rsa3072", CEREMONY);
    at = time(NULL) + 4;
    gmtime_r(&at, &tm);
    strftime(end, sizeof end, "%Y%m%d%H%M%SZ", &tm);
    did("openssl ca -batch -config ca.conf -in issuing.csr -enddate %s -out issuing.pem && "
        "cat issuing.pem root.pem >chain.pem",
            end);
    did("%s ca import chain.pem --yes", CEREMONY);
    station_start(&st);
    issue_under_active(0, key, &cert);
    while (time(NULL) <= at)
        help_rest_ms(100);
    EVP_PKEY_free(key);
    key = help_key("P-256");
    buf_done(&cert);
    cert = BUF_INIT;
    refused(station_issue(&st, 1, key, &cert, &(bool){false}, &e), CA_EXPIRED);
    station_stop(&st, SIGTERM);
    /* it is over; the import refuses it from now on */
    assert_int_equal(sh("%s ca import chain.pem --yes", CEREMONY), 1);
    said("was valid until");
    buf_done(&cert);
    EVP_PKEY_free(key);
}

static void strangers_are_refused(void **state)
{
    struct buf before = BUF_INIT, after = BUF_INIT;
    char chain[PATH_MAX];
    struct err e = {0};

    (void)state;
    paths_get(&st.paths, PATH_CA_CHAIN, chain);
    ok(file_read(chain, FILE_MAX, &before, &e));
    make_root("-newkey ec -pkeyopt ec_paramgen_curve:P-256");
    /* a key that was never in the token */
    did("openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout x.key "
        "-subj /CN=stranger -addext basicConstraints=critical,CA:TRUE,pathlen:0 "
        "-addext keyUsage=critical,keyCertSign,cRLSign -addext subjectKeyIdentifier=hash "
        "-out x.csr");
    sign_request("x.csr", "");
    assert_int_equal(sh("%s ca import chain.pem --yes", CEREMONY), 1);
    said("not for a key of this station's token");
    /* the request is answered with less than it asked for */
    did("%s ca request --out issuing.csr", CEREMONY);
    did("printf 'basicConstraints=critical,CA:TRUE\\nkeyUsage=critical,keyCertSign,cRLSign\\n"
        "subjectKeyIdentifier=hash\\n' >ext");
    did("openssl x509 -req -in issuing.csr -CA root.pem -CAkey root.key -CAcreateserial -days 9 "
        "-extfile ext -out issuing.pem && cat issuing.pem root.pem >chain.pem");
    assert_int_equal(sh("%s ca import chain.pem --yes", CEREMONY), 1);
    said("pathlen:0");
    /* given up: an answer comes too late */
    sign_request("issuing.csr", "");
    did("%s ca request --give-up", CEREMONY);
    did("ls lib/signer/tokens/* >a; ls lib/signer/tokens.backup/* >b; grep -c object a; "
        "[ $(grep -c '[.]object' a) = $(grep -c '[.]object' b) ]");
    assert_int_equal(sh("%s ca request --give-up", CEREMONY), 1);
    said("no request waits");
    assert_int_equal(sh("%s ca import chain.pem --yes", CEREMONY), 1);
    said("not for a key of this station's token");
    ok(file_read(chain, FILE_MAX, &after, &e));
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, after.len);
    serves(0);
    buf_done(&before);
    buf_done(&after);
}

static void a_key_that_could_leave_is_refused(void **state)
{
    EVP_PKEY *key = help_key("P-256");
    struct buf cert = BUF_INIT;
    struct err e = {0};

    (void)state;
    make_root("-newkey ec -pkeyopt ec_paramgen_curve:P-256");
    /* imported into the token from outside: it was never only there */
    did("openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out x.key");
    did("openssl req -new -key x.key -subj /CN=x -addext "
        "basicConstraints=critical,CA:TRUE,pathlen:0 "
        "-addext keyUsage=critical,keyCertSign,cRLSign -addext subjectKeyIdentifier=hash "
        "-out x.csr");
    sign_request("x.csr", "");
    did("openssl pkey -in x.key -pubout -outform DER -out x.pub && "
        "openssl pkey -in x.key -outform DER -out x.der");
    did("export SOFTHSM2_CONF=$PWD/etc/softhsm2.conf; for t in pubkey:x.pub privkey:x.der; do "
        "pkcs11-tool --module /usr/lib/softhsm/libsofthsm2.so --login --pin $(cat etc/token.pin) "
        "--write-object ${t#*:} --type ${t%%:*} --id 77 --label x --extractable || exit 1; done");
    assert_int_equal(sh("%s ca import chain.pem --yes", CEREMONY), 1);
    said("[KeyPolicy]");
    /* and who puts the file there by hand has a signer that says why it does not sign */
    did("cp chain.pem etc/ca/chain.pem");
    station_start(&st);
    refused(station_issue(&st, 0, key, &cert, &(bool){false}, &e), KEY_POLICY);
    EVP_PKEY_free(key);
}

/* A second token that has not got the new key could not take over: nothing goes into force before it
 * has. */
static void every_token_needs_the_key(void **state)
{
    (void)state;
    make_root("-newkey ec -pkeyopt ec_paramgen_curve:P-256");
    did("SOFTHSM2_CONF=$PWD/etc/softhsm2.conf softhsm2-util --init-token --free --label two "
        "--so-pin 12345678 --pin 24681357 && (umask 077; echo 24681357 >etc/token.two.pin)");
    station_config(&st, "[token two]\nmodule = /usr/lib/softhsm/libsofthsm2.so\nlabel = two\n");
    assert_int_equal(sh("%s ca rollover", CEREMONY), 1);
    said("one of 2 tokens only");
    did("%s ca request --out issuing.csr", CEREMONY);
    said("bring it to the other tokens");
    sign_request("issuing.csr", "");
    assert_int_equal(sh("%s ca import chain.pem --yes", CEREMONY), 1);
    said("[token two]: the chain is not for a key");
    station_config(&st, "");
    did("%s ca import chain.pem --yes", CEREMONY);
    serves(0);
}

static size_t tokens_up(void)
{
    json_t *o = station_status(&st), *token;
    size_t i, up = 0;

    json_array_foreach(json_object_get(o, "tokens"), i, token) up +=
            strcmp(json_string_value(json_object_get(token, "state")), "up") == 0;
    json_decref(o);
    return up;
}

/* docs/tokens.md, "One key in two tokens", as it stands there. */
static void one_key_in_two_tokens(void **state)
{
    EVP_PKEY *key = help_key("P-256");
    struct buf cert = BUF_INIT;

    (void)state;
    make_root("-newkey ec -pkeyopt ec_paramgen_curve:P-256");
    did("SOFTHSM2_CONF=$PWD/etc/softhsm2.conf softhsm2-util --init-token --free --label two "
        "--so-pin 12345678 --pin 24681357 && (umask 077; echo 24681357 >etc/token.two.pin)");
    station_config(&st, "[token two]\nmodule = /usr/lib/softhsm/libsofthsm2.so\nlabel = two\n");
    did("openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out issuing.key && "
        "openssl req -new -key issuing.key -subj '/O=Maker/CN=Device Issuing CA 2026' "
        "-addext basicConstraints=critical,CA:TRUE,pathlen:0 "
        "-addext keyUsage=critical,keyCertSign,cRLSign -addext subjectKeyIdentifier=hash "
        "-out issuing.csr");
    sign_request("issuing.csr", "");
    did("SOFTHSM2_CONF=$PWD/etc/softhsm2.conf softhsm2-util --import issuing.key --token keyline "
        "--label issuing-ca --id 5a01 --pin $(cat etc/token.pin)");
    assert_int_equal(sh("%s ca import chain.pem --yes", CEREMONY), 1);
    said("[token two]: the chain is not for a key");
    did("openssl pkey -in issuing.key -outform DER -out issuing.der && "
        "openssl pkey -in issuing.key -pubout -outform DER -out issuing.pub && "
        "write() { SOFTHSM2_CONF=$PWD/etc/softhsm2.conf pkcs11-tool --token-label two --login "
        "--module /usr/lib/softhsm/libsofthsm2.so --pin $(cat etc/token.two.pin) --id 5a01 "
        "--label issuing-ca --write-object \"$@\"; } && "
        "write issuing.der --type privkey --usage-sign --sensitive --private && "
        "write issuing.pub --type pubkey && shred -u issuing.key issuing.der");
    did("%s ca import chain.pem --fingerprint $(cat root.sha256)", CEREMONY);
    station_start(&st);
    issue_under_active(0, key, &cert);
    for (int i = 0; i < 1000 && tokens_up() < 2; i++)
        help_rest_ms(10);
    assert_int_equal(tokens_up(), 2);
    station_stop(&st, SIGTERM);
    buf_done(&cert);
    EVP_PKEY_free(key);
}

/* ---- stations that begin without a CA */

static void a_fresh_station(void **state)
{
    char fresh[128], approver[PATH_MAX];
    struct err e = {0};

    (void)state;
    snprintf(fresh, sizeof fresh, "%s/fresh", st.root);
    snprintf(approver, sizeof approver, "%s/etc/approver.key", fresh);
    make_root("-newkey ec -pkeyopt ec_paramgen_curve:P-256");
    did("export KEYLINE_ROOT=%s; %s ca request --organization 'Maker' --out issuing.csr", fresh,
            CEREMONY);
    sign_request("issuing.csr", "");
    did("export KEYLINE_ROOT=%s; %s ca import chain.pem --fingerprint $(cat root.sha256)", fresh,
            CEREMONY);
    assert_false(there_is("fresh/etc/approver.key"));
    assert_false(there_is("fresh/etc/ceremony.unfinished"));
    assert_int_equal(sh("export KEYLINE_ROOT=%s; %s ca init", fresh, CEREMONY), 1);
    said("[Exists]");
    /* a request that is given up leaves nothing that is in the way (flow_ca_killed.c: cut off, too) */
    did("rm -rf %s; export KEYLINE_ROOT=%s; %s ca request", fresh, fresh, CEREMONY);
    assert_int_equal(sh("export KEYLINE_ROOT=%s; %s ca init", fresh, CEREMONY), 1);
    said("waits for a root's answer [BadState]");
    did("export KEYLINE_ROOT=%s; %s ca request --give-up && %s ca init", fresh, CEREMONY, CEREMONY);
    /* ca init beside an approver of one's own: cut off at its end it takes back only what it made */
    did("rm -rf %s && mkdir -p %s/etc && echo mine >%s", fresh, fresh, approver);
    did("export KEYLINE_ROOT=%s; %s ca init --organization Maker", fresh, CEREMONY);
    did("echo ca >%s/etc/ceremony.unfinished", fresh);
    did("export KEYLINE_ROOT=%s; %s ca init --organization Maker", fresh, CEREMONY);
    said("everything is made anew");
    did("grep -q mine %s", approver);
    assert_false(there_is("fresh/etc/approver.pem"));
    ok(file_remove(approver, &e));
}

static void wrong_words(void **state)
{
    (void)state;
    assert_int_equal(sh("%s ca", CEREMONY), 2);
    assert_int_equal(sh("%s ca show", CEREMONY), 2);
    assert_int_equal(sh("%s ca import", CEREMONY), 2);
    assert_int_equal(sh("%s ca import a b", CEREMONY), 2);
    assert_int_equal(sh("%s ca rollover --out x", CEREMONY), 2);
    assert_int_equal(sh("%s ca init --approver-passphrase-file x", CEREMONY), 2);
    assert_int_equal(sh("%s ca request --key-type dsa", CEREMONY), 2);
    did("%s --help", CEREMONY);
    did("flock etc/ca sh -c '! %s ca rollover' && grep -q BadState said", CEREMONY);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
            FLOW_TEST(rollover_under_way),
            FLOW_TEST(a_damaged_chain_does_not_stop_the_signer),
            FLOW_TEST(an_offline_root),
            FLOW_TEST(a_ca_that_ends),
            FLOW_TEST(strangers_are_refused),
            FLOW_TEST(a_key_that_could_leave_is_refused),
            FLOW_TEST(every_token_needs_the_key),
            FLOW_TEST(one_key_in_two_tokens),
            FLOW_TEST(a_fresh_station),
            FLOW_TEST(wrong_words),
    };

    return FLOW_RUN(argc, argv, tests);
}
