/* Tickets: what an approver signed is read back as it was; everything else is refused for the right
 * reason. */
#include <jansson.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "hsm/approval/jws.h"
#include "hsm/approval/ticket.h"
#include "tests/hsm/help.h"

static EVP_PKEY *key, *stranger;
static X509 *cert, *stranger_cert;
static X509_STORE *anchors;

static const struct ticket good = {
        .job = "11111111-1111-4111-8111-111111111111",
        .account = "acc",
        .division = "div",
        .profile = "idevid",
        .profile_sha256 = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        .binding = "identity",
        .rows = 10,
        .root = {{1, 2, 3}},
        .quota = 10,
        .not_before = 1000,
        .not_after = 2000,
        .issued_at = 900,
        .stations = {"line-1", "line-2"},
        .station_count = 2,
        .approver = "A. Prover",
};

static int setup(void **state)
{
    (void)state;
    key = help_key("P-256");
    stranger = help_key("P-256");
    cert = help_cert(key, "approver");
    stranger_cert = help_cert(stranger, "stranger");
    anchors = X509_STORE_new();
    X509_STORE_add_cert(anchors, cert);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    EVP_PKEY_free(key);
    EVP_PKEY_free(stranger);
    X509_free(cert);
    X509_free(stranger_cert);
    X509_STORE_free(anchors);
    return 0;
}

static char *sign(const struct ticket *t, EVP_PKEY *k, X509 *x)
{
    STACK_OF(X509) *chain = sk_X509_new_null();
    struct err e = {0};
    char *jws;

    sk_X509_push(chain, x);
    ok(ticket_sign(t, k, chain, &jws, &e));
    sk_X509_free(chain);
    return jws;
}

static void round_trip(void **state)
{
    static const char *const kinds[] = {"P-256", "P-384", "RSA:2048"};
    struct err e = {0};
    struct ticket t;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        EVP_PKEY *k = help_key(kinds[i]);
        X509 *x = help_cert(k, "approver");
        X509_STORE *store = X509_STORE_new();
        char *jws = sign(&good, k, x);
        struct buf text = BUF_INIT, again = BUF_INIT;

        X509_STORE_add_cert(store, x);
        memset(&t, 0xee, sizeof t);
        ok(ticket_verify(jws, store, &t, &e));
        ok(ticket_format(&good, &text, &e));
        ok(ticket_format(&t, &again, &e));
        assert_string_equal(buf_str(&text), buf_str(&again));
        buf_done(&text);
        buf_done(&again);
        free(jws);
        X509_STORE_free(store);
        X509_free(x);
        EVP_PKEY_free(k);
    }
}

static void every_character_counts(void **state)
{
    struct err e = {0};
    struct ticket t;
    char *jws = sign(&good, key, cert);
    size_t len = strlen(jws);

    (void)state;
    for (size_t i = 0; i < len; i++) {
        char was = jws[i];

        jws[i] = was == 'A' ? 'B' : 'A';
        if (jws[i] != was)
            assert_int_equal(ticket_verify(jws, anchors, &t, &e), -1);
        assert_true(e.id == ERR_TICKET || e.id == ERR_TICKET_UNTRUSTED);
        err_clear(&e);
        jws[i] = was;
    }
    for (size_t i = 0; i < len; i++) {
        char was = jws[i];

        jws[i] = '\0';
        refused(ticket_verify(jws, anchors, &t, &e), TICKET);
        jws[i] = was;
    }
    ok(ticket_verify(jws, anchors, &t, &e));
    free(jws);
}

static void strangers_are_refused(void **state)
{
    struct err e = {0};
    struct ticket t;
    X509_STORE *none = X509_STORE_new();
    char *jws = sign(&good, stranger, stranger_cert), *mine = sign(&good, key, cert);

    (void)state;
    refused(ticket_verify(jws, anchors, &t, &e), TICKET_UNTRUSTED);
    refused(ticket_verify(mine, none, &t, &e), TICKET_UNTRUSTED);
    free(jws);
    free(mine);
    X509_STORE_free(none);
}

/* Signs any header and payload with the approver's key, as a hostile approver's tool might. */
static char *forge(const char *header, const char *payload)
{
    struct buf b = BUF_INIT;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t der[128], raw[64];
    const uint8_t *at = der;
    size_t len = sizeof der;
    ECDSA_SIG *sig;
    char *out;

    base64url_encode(header, strlen(header), &b, NULL);
    buf_append(&b, ".", 1, NULL);
    base64url_encode(payload, strlen(payload), &b, NULL);
    EVP_DigestSignInit_ex(ctx, NULL, "SHA256", NULL, NULL, key, NULL);
    assert_int_equal(EVP_DigestSign(ctx, der, &len, b.data, b.len), 1);
    sig = d2i_ECDSA_SIG(NULL, &at, (long)len);
    BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 32, 32);
    buf_append(&b, ".", 1, NULL);
    base64url_encode(raw, sizeof raw, &b, NULL);
    out = strdup(buf_str(&b));
    ECDSA_SIG_free(sig);
    EVP_MD_CTX_free(ctx);
    buf_done(&b);
    return out;
}

static void make_header(char *out, size_t cap, const char *alg, const char *typ, const char *more)
{
    uint8_t *der = NULL;
    int len = i2d_X509(cert, &der);
    char *b64 = malloc((size_t)len * 2);

    EVP_EncodeBlock((uint8_t *)b64, der, len);
    snprintf(out, cap, "{\"alg\":\"%s\",\"typ\":\"%s\",\"x5c\":[\"%s\"]%s}", alg, typ, b64, more);
    free(b64);
    OPENSSL_free(der);
}

static void headers(void **state)
{
    static const struct {
        const char *alg, *typ, *more;
        int good;
    } rows[] = {
            {"ES256", "keyline-ticket+jws", "", 1},
            {"none", "keyline-ticket+jws", "", 0},
            {"HS256", "keyline-ticket+jws", "", 0},
            {"ES384", "keyline-ticket+jws", "", 0},
            {"RS256", "keyline-ticket+jws", "", 0},
            {"es256", "keyline-ticket+jws", "", 0},
            {"ES256", "JWT", "", 0},
            {"ES256", "keyline-ticket+jws", ",\"crit\":[\"b64\"]", 0},
            {"ES256", "keyline-ticket+jws", ",\"alg\":\"none\"", 0},
            {"ES256", "keyline-ticket+jws", ",\"jwk\":{}", 0},
    };
    struct buf payload = BUF_INIT;
    struct err e = {0};
    struct ticket t;

    (void)state;
    ok(ticket_format(&good, &payload, &e));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char header[4096], *jws;

        make_header(header, sizeof header, rows[i].alg, rows[i].typ, rows[i].more);
        jws = forge(header, buf_str(&payload));
        if (rows[i].good)
            ok(ticket_verify(jws, anchors, &t, &e));
        else
            refused(ticket_verify(jws, anchors, &t, &e), TICKET);
        free(jws);
    }
    buf_done(&payload);
}

/* alg none with an empty signature, the classic */
static void unsigned_ticket(void **state)
{
    char header[4096], *jws;
    struct buf payload = BUF_INIT;
    struct err e = {0};
    struct ticket t;

    (void)state;
    ok(ticket_format(&good, &payload, &e));
    make_header(header, sizeof header, "none", "keyline-ticket+jws", "");
    jws = forge(header, buf_str(&payload));
    strrchr(jws, '.')[1] = '\0';
    refused(ticket_verify(jws, anchors, &t, &e), TICKET);
    free(jws);
    make_header(header, sizeof header, "ES256", "keyline-ticket+jws", "");
    jws = forge(header, buf_str(&payload));
    strrchr(jws, '.')[1] = '\0';
    refused(ticket_verify(jws, anchors, &t, &e), TICKET);
    free(jws);
    buf_done(&payload);
}

/* Every member left out, of a wrong type, and with a wrong value; then doubled and unknown ones. */
static void payload_forms(void **state)
{
    static const struct {
        const char *member, *value;
    } wrong[] = {
            {"v", "2"},
            {"v", "\"1\""},
            {"job", "\"x\""},
            {"job", "7"},
            {"account", "\"\""},
            {"account", "\"a/b\""},
            {"division", "null"},
            {"profile", "[]"},
            {"profile_sha256", "\"00\""},
            {"profile_sha256", "7"},
            {"profile_sha256",
                    "\"zz0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\""},
            {"profile", "\"0123456789012345678901234567890123456789\""},
            {"binding", "\"label\""},
            {"keys", "\"token\""},
            {"keys", "0"},
            {"reissue", "0"},
            {"reissue", "\"true\""},
            {"rows", "0"},
            {"rows", "-1"},
            {"rows", "1.5"},
            {"rows", "9"},
            {"root", "\"00\""},
            {"root", "\"zz02030000000000000000000000000000000000000000000000000000000000\""},
            {"quota", "0"},
            {"quota", "11"},
            {"quota", "\"10\""},
            {"stations", "[]"},
            {"stations", "\"*\""},
            {"stations", "[7]"},
            {"stations", "[\"a/b\"]"},
            {"nbf", "-1"},
            {"nbf", "2000"},
            {"exp", "1000"},
            {"exp", "1e3"},
            {"iat", "true"},
            {"approver", "\"\""},
    };
    char header[4096], *jws;
    struct buf text = BUF_INIT;
    struct err e = {0};
    struct ticket t;
    json_t *o, *v;
    const char *member;

    (void)state;
    make_header(header, sizeof header, "ES256", "keyline-ticket+jws", "");
    ok(ticket_format(&good, &text, &e));
    o = json_loads(buf_str(&text), 0, NULL);
    json_object_foreach(o, member, v)
    {
        json_t *less = json_copy(o);
        char *dump;

        json_object_del(less, member);
        dump = json_dumps(less, 0);
        jws = forge(header, dump);
        refused(ticket_verify(jws, anchors, &t, &e), TICKET);
        free(jws);
        free(dump);
        json_decref(less);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        json_t *changed = json_copy(o);
        char *dump;

        json_object_set_new(
                changed, wrong[i].member, json_loads(wrong[i].value, JSON_DECODE_ANY, NULL));
        dump = json_dumps(changed, 0);
        jws = forge(header, dump);
        if (ticket_verify(jws, anchors, &t, &e) == 0 || e.id != ERR_TICKET)
            fail_msg("%s = %s was let through", wrong[i].member, wrong[i].value);
        err_clear(&e);
        free(jws);
        free(dump);
        json_decref(changed);
    }
    json_decref(o);
    text.len--; /* the closing brace */
    ok(buf_append(&text, ",\"quota\":9}", 11, &e));
    jws = forge(header, buf_str(&text));
    refused(ticket_verify(jws, anchors, &t, &e), TICKET);
    free(jws);
    text.len -= 11;
    ok(buf_append(&text, ",\"admin\":true}", 14, &e));
    jws = forge(header, buf_str(&text));
    refused(ticket_verify(jws, anchors, &t, &e), TICKET);
    free(jws);
    buf_done(&text);
}

static void time_and_place(void **state)
{
    struct err e = {0};
    struct ticket any = good;

    (void)state;
    ok(ticket_check(&good, "line-2", 1000, &e));
    ok(ticket_check(&good, "line-1", 1999, &e));
    refused(ticket_check(&good, "line-1", 999, &e), TICKET_EXPIRED);
    refused(ticket_check(&good, "line-1", 2000, &e), TICKET_EXPIRED);
    refused(ticket_check(&good, "line-3", 1500, &e), TICKET_STATION);
    strcpy(any.stations[1], "*");
    ok(ticket_check(&any, "line-3", 1500, &e));
}

static void requests(void **state)
{
    struct err e = {0};
    struct ticket t;

    (void)state;
    ok(ticket_request_parse(
            "{\"v\":1,\"job\":\"11111111-1111-4111-8111-111111111111\",\"account\":\"a\","
            "\"division\":\"d\","
            "\"profile\":\"idevid\",\"binding\":\"identity\",\"keys\":\"device\",\"reissue\":false,"
            "\"rows\":3,\"root\":"
            "\"0102030000000000000000000000000000000000000000000000000000000000\",\"quota\":2,"
            "\"stations\":[\"*\"]}",
            &t, &e));
    assert_int_equal(t.quota, 2);
    refused(ticket_request_parse("{}", &t, &e), TICKET);
    refused(ticket_request_parse("[", &t, &e), TICKET);
    refused(ticket_request_parse("[1]", &t, &e), TICKET);
}

static void signing_refuses_nonsense(void **state)
{
    struct err e = {0};
    struct ticket bad = good;
    STACK_OF(X509) *chain = sk_X509_new_null();
    char *jws;

    (void)state;
    refused(ticket_sign(&good, key, chain, &jws, &e), TICKET);
    sk_X509_push(chain, stranger_cert);
    refused(ticket_sign(&good, key, chain, &jws, &e), TICKET); /* not this key's certificate */
    sk_X509_pop(chain);
    sk_X509_push(chain, cert);
    bad.quota = 11;
    refused(ticket_sign(&bad, key, chain, &jws, &e), TICKET);
    sk_X509_free(chain);
}

/* A signer outside this process: what it gives counts only when it is right, and its own error is told. */
static int signs_wrong(void *ctx, const void *bytes, size_t len, struct buf *ret_der, struct err *e)
{
    const struct jws_signer honest = jws_key_signer(key, NULL);
    int bit = *(int *)ctx;

    if (bit < 0)
        return err_set(e, ERR_CARD_PIN, "the card refused the PIN");
    if (honest.sign(honest.ctx, bytes, len, ret_der, e) < 0)
        return -1;
    ret_der->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    return 0;
}

static void signers_elsewhere(void **state)
{
    STACK_OF(X509) *chain = sk_X509_new_null();
    int bit = -1;
    const struct jws_signer by = {.chain = chain, .sign = signs_wrong, .ctx = &bit};
    char *jws = NULL;
    struct err e = {0};

    (void)state;
    refused(ticket_sign_by(&good, &by, &jws, &e), TICKET); /* nobody's certificate */
    sk_X509_push(chain, cert);
    refused(ticket_sign_by(&good, &by, &jws, &e), CARD_PIN);
    for (bit = 0; bit < 8 * 70; bit += 37)
        refused(ticket_sign_by(&good, &by, &jws, &e), TICKET);
    assert_null(jws);
    sk_X509_free(chain);
}

/* Whoever signs for others signs what is ours, and nothing else. */
static void input_of_ours(void **state)
{
    static const char *const others[] = {"{\"alg\":\"ES256\",\"typ\":\"JWT\",\"x5c\":[]}",
            "{\"alg\":\"ES256\",\"typ\":\"keyline-+jwsx\",\"x5c\":[]}",
            "{\"alg\":\"ES256\",\"typ\":\"xkeyline-ticket+jws\",\"x5c\":[]}",
            "{\"alg\":\"ES256\",\"typ\":\"keyline-+jws\"}",
            "{\"alg\":\"ES256\",\"typ\":7,\"x5c\":[]}",
            "{\"alg\":\"ES256\",\"typ\":\"keyline-ticket+jws\",\"typ\":\"JWT\",\"x5c\":[]}", "[]",
            ""};
    char *jws = sign(&good, key, cert);
    struct buf text = BUF_INIT;
    struct err e = {0};
    size_t len = (size_t)(strrchr(jws, '.') - jws);

    (void)state;
    ok(jws_check_input(jws, len, &e));
    refused(jws_check_input(jws, strlen(jws), &e), TICKET);
    refused(jws_check_input(jws, (size_t)(strchr(jws, '.') - jws), &e), TICKET);
    refused(jws_check_input(jws, 0, &e), TICKET);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        buf_reset(&text);
        ok(base64url_encode(others[i], strlen(others[i]), &text, &e));
        ok(buf_append(&text, ".e30", 4, &e));
        refused(jws_check_input(text.data, text.len, &e), TICKET);
    }
    buf_done(&text);
    free(jws);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(round_trip),
            cmocka_unit_test(every_character_counts),
            cmocka_unit_test(strangers_are_refused),
            cmocka_unit_test(headers),
            cmocka_unit_test(unsigned_ticket),
            cmocka_unit_test(payload_forms),
            cmocka_unit_test(time_and_place),
            cmocka_unit_test(requests),
            cmocka_unit_test(signing_refuses_nonsense),
            cmocka_unit_test(signers_elsewhere),
            cmocka_unit_test(input_of_ours),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
