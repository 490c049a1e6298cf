/* token-probe MODULE INIT-ARGS LABEL PIN-FILE: what a token can do that Keyline may ask of it, one
 * "feature: answer" a line; docs/tokens.md is written from it. It makes objects in the token and
 * destroys them again. Not a test: what a token cannot do is no failure.
 * token-probe --forget ...: destroys the keys of a ceremony and the ledger's mark, so that a test can
 * hold the next. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "hsm/ceremony/ceremony_token.h"
#include "hsm/token/ckr.h"
#include "hsm/token/module.h"

#define SESSIONS_MAX 1024

static struct ceremony_token t;
static CK_FUNCTION_LIST *f;

static void say(const char *feature, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(const char *feature, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    printf("%s: ", feature);
    vprintf(format, args);
    printf("\n");
    fflush(stdout); /* the next call may be the last */
    va_end(args);
}

static void say_rv(const char *feature, CK_RV rv)
{
    say(feature, "%s", rv == CKR_OK ? "yes" : ckr_name(rv));
}

static void destroy(CK_OBJECT_CLASS class, uint8_t id)
{
    CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof class}, {CKA_ID, &id, 1}};
    CK_OBJECT_HANDLE found[8];
    struct err e = {0};
    size_t count = 0;

    if (module_find_objects(&t.module, t.session, wanted, 2, found, 8, &count, &e) == 0)
        for (size_t i = 0; i < count; i++)
            f->C_DestroyObject(t.session, found[i]);
}

/* The station of the tests is line-1. */
static void destroy_marks(void)
{
    CK_OBJECT_CLASS class = CKO_DATA;
    CK_UTF8CHAR label[] = "keyline-ledger line-1";
    CK_ATTRIBUTE wanted[] = {
            {CKA_CLASS, &class, sizeof class}, {CKA_LABEL, label, sizeof label - 1}};
    CK_OBJECT_HANDLE found[8];
    struct err e = {0};
    size_t count = 0;

    if (module_find_objects(&t.module, t.session, wanted, 2, found, 8, &count, &e) == 0)
        for (size_t i = 0; i < count; i++)
            f->C_DestroyObject(t.session, found[i]);
}

static void probe_key(const char *type)
{
    struct ceremony_key key = {.name = {.label = "probe", .id = {0xee}, .id_len = 1}};
    enum ceremony_key_type kind;
    struct buf sig = BUF_INIT;
    struct err e = {0};
    char feature[32];

    snprintf(feature, sizeof feature, "key %s", type);
    if (ceremony_key_type_parse(type, &kind, &e) == 0 &&
            ceremony_token_keygen(&t, kind, &key, &e) == 0 &&
            ceremony_token_sign(&t, &key, "bytes", 5, &sig, &e) == 0)
        say(feature, "made in the token, not to be extracted, signs");
    else
        say(feature, "no (%s)", e.msg);
    destroy(CKO_PRIVATE_KEY, 0xee);
    destroy(CKO_PUBLIC_KEY, 0xee);
    buf_done(&sig);
}

static void probe_ed25519(void)
{
    /* PKCS#11 3.0: the curve's name as PrintableString, or its OID (RFC 8410) */
    static uint8_t name[] = {0x13, 12, 'e', 'd', 'w', 'a', 'r', 'd', 's', '2', '5', '5', '1', '9'},
                   oid[] = {0x06, 3, 0x2b, 0x65, 0x70};
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    uint8_t id = 0xed, sig[SIGNATURE_BYTES_MAX], bytes[] = "bytes";
    CK_MECHANISM how = {CKM_EC_EDWARDS_KEY_PAIR_GEN, NULL, 0}, sign = {CKM_EDDSA, NULL, 0};
    CK_ATTRIBUTE private_key[] = {{CKA_ID, &id, 1}, {CKA_TOKEN, &yes, 1}, {CKA_PRIVATE, &yes, 1},
            {CKA_SENSITIVE, &yes, 1}, {CKA_EXTRACTABLE, &no, 1}, {CKA_SIGN, &yes, 1}};
    CK_ULONG len = sizeof sig;
    CK_RV rv = CKR_OK;

    for (int i = 0; i < 2; i++) {
        CK_ATTRIBUTE public_key[] = {{CKA_ID, &id, 1}, {CKA_TOKEN, &yes, 1},
                {CKA_EC_PARAMS, i ? oid : name, i ? sizeof oid : sizeof name}};
        CK_OBJECT_HANDLE a, b;

        rv = f->C_GenerateKeyPair(t.session, &how, public_key, 3, private_key, 6, &a, &b);
        if (rv == CKR_OK && (rv = f->C_SignInit(t.session, &sign, b)) == CKR_OK)
            rv = f->C_Sign(t.session, bytes, 5, sig, &len);
        if (rv == CKR_OK)
            break;
    }
    say("key ed25519", "%s", rv == CKR_OK ? "made in the token, signs (CKM_EDDSA)" : ckr_name(rv));
    destroy(CKO_PRIVATE_KEY, id);
    destroy(CKO_PUBLIC_KEY, id);
}

static void probe_data(void)
{
    CK_OBJECT_CLASS class = CKO_DATA;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_UTF8CHAR label[] = "keyline-probe", value[] = "first", other[] = "second one";
    uint8_t back[64];
    CK_ATTRIBUTE a[] = {{CKA_CLASS, &class, sizeof class}, {CKA_TOKEN, &yes, 1},
            {CKA_PRIVATE, &yes, 1}, {CKA_MODIFIABLE, &yes, 1}, {CKA_LABEL, label, 13},
            {CKA_APPLICATION, label, 7}, {CKA_VALUE, value, 5}};
    CK_ATTRIBUTE set = {CKA_VALUE, other, 10}, get = {CKA_VALUE, back, sizeof back};
    CK_ATTRIBUTE renamed = {CKA_LABEL, label, 7};
    CK_OBJECT_HANDLE object, copy;
    CK_RV rv = f->C_CreateObject(t.session, a, 7, &object);

    say_rv("data object, private", rv);
    if (rv != CKR_OK) {
        a[2].pValue = &no;
        say_rv("data object, public", f->C_CreateObject(t.session, a, 7, &object));
        return;
    }
    rv = f->C_SetAttributeValue(t.session, object, &set, 1);
    if (rv == CKR_OK)
        rv = f->C_GetAttributeValue(t.session, object, &get, 1);
    if (rv == CKR_OK && (get.ulValueLen != 10 || memcmp(back, other, 10) != 0))
        rv = CKR_GENERAL_ERROR;
    say_rv("data object, value changed", rv);
    rv = f->C_CopyObject(t.session, object, &renamed, 1, &copy);
    say_rv("C_CopyObject", rv);
    if (rv == CKR_OK)
        f->C_DestroyObject(t.session, copy);
    say_rv("data object, destroyed", f->C_DestroyObject(t.session, object));
}

static void probe_sessions(void)
{
    CK_SESSION_HANDLE s[SESSIONS_MAX];
    CK_TOKEN_INFO info;
    size_t n = 0;
    CK_RV rv = CKR_OK;

    if (f->C_GetTokenInfo(t.slot, &info) == CKR_OK)
        say("flags", "0x%lx%s%s", info.flags,
                info.flags & CKF_LOGIN_REQUIRED ? "" : " (no login asked for)",
                info.flags & CKF_PROTECTED_AUTHENTICATION_PATH ? " (PIN pad)" : "");
    while (n < SESSIONS_MAX &&
            (rv = f->C_OpenSession(t.slot, CKF_SERIAL_SESSION, NULL, NULL, &s[n])) == CKR_OK)
        n++;
    say("sessions", "%s%zu%s%s", rv == CKR_OK ? "more than " : "", n + 1,
            rv == CKR_OK ? "" : ", then ", rv == CKR_OK ? "" : ckr_name(rv));
    while (n--)
        f->C_CloseSession(s[n]);
}

static void probe_mechanisms(void)
{
    static const struct {
        CK_MECHANISM_TYPE type;
        const char *name;
    } known[] = {{CKM_ECDSA, "ECDSA"}, {CKM_ECDSA_SHA256, "ECDSA-SHA256"},
            {CKM_ECDSA_SHA384, "ECDSA-SHA384"}, {CKM_RSA_PKCS, "RSA-PKCS"},
            {CKM_SHA256_RSA_PKCS, "SHA256-RSA-PKCS"}, {CKM_EDDSA, "EDDSA"}};
    CK_MECHANISM_INFO info;

    printf("signs by:");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (f->C_GetMechanismInfo(t.slot, known[i].type, &info) == CKR_OK && info.flags & CKF_SIGN)
            printf(" %s(%lu-%lu)", known[i].name, info.ulMinKeySize, info.ulMaxKeySize);
    printf("\n");
}

int main(int argc, char **argv)
{
    struct buf pin = BUF_INIT_SECRET;
    struct err e = {0};
    CK_INFO info;

    bool forget = argc == 6 && strcmp(argv[1], "--forget") == 0;

    argv += forget;
    if (argc - forget != 5) {
        fprintf(stderr, "usage: token-probe [--forget] MODULE INIT-ARGS LABEL PIN-FILE\n");
        return 2;
    }
    t.init_args = argv[2];
    if (file_read_secret(argv[4], &pin, &e) < 0 ||
            ceremony_token_open(&t, argv[1], argv[3], buf_str(&pin), &e) < 0) {
        fprintf(stderr, "token-probe: %s\n", e.msg);
        return 1;
    }
    f = t.module.f;
    if (forget) {
        for (uint8_t id = 1; id <= 2; id++) {
            destroy(CKO_PRIVATE_KEY, id);
            destroy(CKO_PUBLIC_KEY, id);
        }
        destroy_marks();
        goto out;
    }
    if (f->C_GetInfo(&info) == CKR_OK)
        say("module", "%.32s, PKCS#11 %u.%u", info.libraryDescription, info.cryptokiVersion.major,
                info.cryptokiVersion.minor);
    probe_mechanisms();
    probe_key("p256");
    probe_key("p384");
    probe_key("rsa3072");
    probe_ed25519();
    probe_data();
    probe_sessions();
out:
    ceremony_token_close(&t);
    buf_done(&pin);
    return 0;
}
