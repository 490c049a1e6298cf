/* An approver's card. Promises that a PIN is tried once, and that of several keys or tokens that fit none is chosen. Knows
 * nothing of what is signed: that is its caller's affair. */
#include "hsm/token/card.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/text.h"
#include "hsm/token/ckr.h"
#include "hsm/token/module.h"
#include "hsm/token/pkcs11_uri.h"

#define SLOTS_MAX   64
#define OBJECTS_MAX 32  /* that fit; more are not told apart by reading a list, either */
#define LIST_MAX    400 /* bytes of a list of what fits: an error's message takes no more */

struct card {
    const struct pkcs11_uri *uri;
    struct module module;
    struct module_init init;
    bool initialised, open;
    CK_SLOT_ID slot;
    CK_TOKEN_INFO info;
    CK_SESSION_HANDLE session;
    char label[sizeof((CK_TOKEN_INFO *)0)->label + 1];
    const char *pin;
};

/* The errors of module.c and ckr.c speak of the signer's token; a person with a card needs other advice. */
static int of_card(struct err *e)
{
    switch (e->id) {
    case ERR_TOKEN_ABSENT:
        e->id = ERR_CARD_ABSENT;
        break;
    case ERR_TOKEN_PIN:
        e->id = ERR_CARD_PIN;
        break;
    case ERR_TOKEN_LOCKED:
        e->id = ERR_CARD_LOCKED;
        break;
    default:
        if (err_class(e->id) == ERR_CLASS_HSM)
            e->id = ERR_CARD;
    }
    return -1;
}

static int failed(struct err *e, CK_RV rv, const char *what)
{
    ckr_err(e, rv, what);
    return of_card(e);
}

static CK_UTF8CHAR *text_of(const char *s)
{
    return (CK_UTF8CHAR *)(uintptr_t)s; /* PKCS#11 knows no const */
}

/* "a, b, c .." */
static void add_to_list(char list[LIST_MAX], const char *what)
{
    size_t len = strlen(list);

    if (len + strlen(what) + 6 < LIST_MAX)
        snprintf(list + len, LIST_MAX - len, "%s%s", len ? ", " : "", what);
    else if (len && strcmp(list + len - 2, "..") != 0)
        snprintf(list + len, LIST_MAX - len, " ..");
}

/* ---- the token */

/* PKCS#11 pads its texts with blanks. */
static void unpad(const CK_UTF8CHAR *padded, size_t len, char *ret)
{
    while (len && (padded[len - 1] == ' ' || padded[len - 1] == '\0'))
        len--;
    memcpy(ret, padded, len);
    ret[len] = '\0';
    text_make_printable(ret);
}

static bool fits(const char *wanted, const CK_UTF8CHAR *padded, size_t len)
{
    char has[65];

    unpad(padded, len, has);
    return !*wanted || strcmp(wanted, has) == 0;
}

static bool token_fits(const struct pkcs11_uri *u, const CK_TOKEN_INFO *i)
{
    return fits(u->token, i->label, sizeof i->label) &&
           fits(u->manufacturer, i->manufacturerID, sizeof i->manufacturerID) &&
           fits(u->serial, i->serialNumber, sizeof i->serialNumber) &&
           fits(u->model, i->model, sizeof i->model);
}

static void name_token(const CK_TOKEN_INFO *i, char list[LIST_MAX])
{
    char label[sizeof i->label + 1], serial[sizeof i->serialNumber + 1], text[128];

    unpad(i->label, sizeof i->label, label);
    unpad(i->serialNumber, sizeof i->serialNumber, serial);
    snprintf(text, sizeof text, "token=%s;serial=%s", label, serial);
    add_to_list(list, text);
}

static int find_token(struct card *c, struct err *e)
{
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG count = SLOTS_MAX;
    CK_RV rv = c->module.f->C_GetSlotList(CK_TRUE, slots, &count);
    char present[LIST_MAX] = "", fit[LIST_MAX] = "";
    unsigned found = 0;

    if (rv != CKR_OK)
        return failed(e, rv, "list the card readers");
    for (CK_ULONG i = 0; i < count && i < SLOTS_MAX; i++) {
        CK_TOKEN_INFO info;

        /* one that cannot answer may not be ours */
        if (c->module.f->C_GetTokenInfo(slots[i], &info) != CKR_OK ||
                !(info.flags & CKF_TOKEN_INITIALIZED))
            continue;
        name_token(&info, present);
        if (!token_fits(c->uri, &info))
            continue;
        name_token(&info, fit);
        c->slot = slots[i];
        c->info = info;
        found++;
    }
    if (!found)
        return err_set(e, ERR_CARD_ABSENT, "no card fits; %s%s",
                *present ? "there are: " : "there is none", present);
    if (found > 1)
        return err_set(e, ERR_CARD_AMBIGUOUS, "%u cards fit: %s", found, fit);
    unpad(c->info.label, sizeof c->info.label, c->label);
    return 0;
}

int card_open(const struct pkcs11_uri *uri, const char *module, struct card **ret, struct err *e)
{
    struct card *c = calloc(1, sizeof *c);
    const char *path = module ? module : *uri->module_path ? uri->module_path : CARD_MODULE_DEFAULT;
    CK_RV rv;

    if (!c)
        return err_set(e, ERR_NOMEM, "no memory for a card");
    c->uri = uri;
    if (module_open(path, &c->module, e) < 0) {
        of_card(e);
        if (path[0] != '/' && !module)
            err_context(e, "name the card's PKCS#11 module with --module, or install p11-kit");
        goto fail;
    }
    if (module_initialize(&c->module, "", &c->init, e) < 0) {
        of_card(e);
        goto fail;
    }
    c->initialised = true;
    if (find_token(c, e) < 0)
        goto fail;
    rv = c->module.f->C_OpenSession(c->slot, CKF_SERIAL_SESSION, NULL, NULL, &c->session);
    if (rv != CKR_OK) {
        failed(e, rv, "open a session with the card");
        goto fail;
    }
    c->open = true;
    *ret = c;
    return 0;
fail:
    card_close(&c);
    return -1;
}

void card_close(struct card **pc)
{
    struct card *c = *pc;

    if (!c)
        return;
    if (c->open) {
        c->module.f->C_Logout(c->session);
        c->module.f->C_CloseSession(c->session);
    }
    if (c->initialised)
        c->module.f->C_Finalize(NULL);
    module_close(&c->module);
    free(c);
    *pc = NULL;
}

const char *card_label(const struct card *c)
{
    return c->label;
}

/* ---- objects */

static void name_object(struct card *c, CK_OBJECT_HANDLE object, char list[LIST_MAX])
{
    struct buf label = BUF_INIT, id = BUF_INIT;
    char text[160] = "object=", hex[2 * MODULE_KEY_ID_MAX + 1];

    if (module_get_attribute(&c->module, c->session, object, CKA_LABEL, &label, NULL) == 0 &&
            buf_str(&label))
        snprintf(text, sizeof text, "object=%.64s", buf_str(&label));
    text_make_printable(text);
    if (module_get_attribute(&c->module, c->session, object, CKA_ID, &id, NULL) == 0 && id.len &&
            id.len <= MODULE_KEY_ID_MAX) {
        size_t n = strlen(text);

        hex_format(id.data, id.len, hex);
        n += (size_t)snprintf(text + n, sizeof text - n, ";id=");
        for (size_t i = 0; i < id.len && n + 4 < sizeof text; i++, n += 3)
            snprintf(text + n, sizeof text - n, "%%%.2s", hex + 2 * i);
    }
    add_to_list(list, text);
    buf_done(&label);
    buf_done(&id);
}

/* Objects of a class with this id and label, each "any" when it is empty. */
static int find_objects(struct card *c, CK_OBJECT_CLASS class, const struct pkcs11_uri *by,
        CK_OBJECT_HANDLE ret[OBJECTS_MAX], size_t *ret_count, struct err *e)
{
    CK_ATTRIBUTE wanted[3] = {{CKA_CLASS, &class, sizeof class}};
    CK_ULONG n = 1;

    if (by->id_len)
        wanted[n++] = (CK_ATTRIBUTE){CKA_ID, (void *)(uintptr_t)by->id, by->id_len};
    if (*by->object)
        wanted[n++] = (CK_ATTRIBUTE){CKA_LABEL, text_of(by->object), strlen(by->object)};
    return module_find_objects(&c->module, c->session, wanted, n, ret, OBJECTS_MAX, ret_count, e) <
                           0
                   ? of_card(e)
                   : 0;
}

static int several(struct card *c, const char *what, const CK_OBJECT_HANDLE *objects, size_t count,
        struct err *e)
{
    char list[LIST_MAX] = "";

    for (size_t i = 0; i < count; i++)
        name_object(c, objects[i], list);
    return err_set(e, ERR_CARD_AMBIGUOUS, "%zu %s on the card fit: %s", count, what, list);
}

/* A key and its certificate share their id, and often not their label: a label that only a key has leads to the
 * certificate through the key's id. by: what to look for certificates by. */
static int certificate_name(struct card *c, struct pkcs11_uri *by, struct err *e)
{
    static const CK_OBJECT_CLASS classes[] = {CKO_PUBLIC_KEY, CKO_PRIVATE_KEY};
    CK_OBJECT_HANDLE found[OBJECTS_MAX];
    struct buf id = BUF_INIT;
    size_t count = 0;

    if (by->id_len) {
        *by->object = '\0';
        return 0;
    }
    if (!*by->object)
        return 0;
    if (find_objects(c, CKO_CERTIFICATE, by, found, &count, e) < 0)
        return -1;
    if (count)
        return 0;
    for (size_t i = 0; i < 2 && !count; i++)
        if (find_objects(c, classes[i], by, found, &count, e) < 0)
            return -1;
    if (count == 1 &&
            module_get_attribute(&c->module, c->session, found[0], CKA_ID, &id, NULL) == 0 &&
            id.len && id.len <= sizeof by->id) {
        memcpy(by->id, id.data, id.len);
        by->id_len = id.len;
        *by->object = '\0';
    }
    buf_done(&id);
    return 0;
}

int card_certificate(struct card *c, struct buf *ret_der, struct err *e)
{
    struct pkcs11_uri by = *c->uri;
    CK_OBJECT_HANDLE found[OBJECTS_MAX];
    size_t count;

    if (certificate_name(c, &by, e) < 0 ||
            find_objects(c, CKO_CERTIFICATE, &by, found, &count, e) < 0)
        return -1;
    if (count > 1)
        return several(c, "certificates", found, count, e);
    if (count == 0)
        return 0;
    return module_get_attribute(&c->module, c->session, found[0], CKA_VALUE, ret_der, e) < 0
                   ? of_card(e)
                   : 0;
}

/* ---- the PIN */

enum card_login card_login_kind(const struct card *c)
{
    if (!(c->info.flags & CKF_LOGIN_REQUIRED))
        return CARD_LOGIN_NONE;
    return c->info.flags & CKF_PROTECTED_AUTHENTICATION_PATH ? CARD_LOGIN_AT_READER
                                                             : CARD_LOGIN_PIN;
}

bool card_last_try(const struct card *c)
{
    return c->info.flags & CKF_USER_PIN_FINAL_TRY;
}

static const char *tries_left(const CK_TOKEN_INFO *i)
{
    if (i->flags & CKF_USER_PIN_LOCKED)
        return "the card is locked now";
    if (i->flags & CKF_USER_PIN_FINAL_TRY)
        return "ONE try is left, then the card locks itself";
    if (i->flags & CKF_USER_PIN_COUNT_LOW)
        return "the card says that wrong PINs were tried; it does not say how many tries are left";
    return "the card does not say how many tries are left";
}

static int login(struct card *c, CK_USER_TYPE user, struct err *e)
{
    CK_RV rv = c->module.f->C_Login(
            c->session, user, text_of(c->pin), c->pin ? (CK_ULONG)strlen(c->pin) : 0);

    if (rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN)
        return 0;
    failed(e, rv, "the card refused the PIN");
    if (e->id == ERR_CARD_PIN && c->module.f->C_GetTokenInfo(c->slot, &c->info) == CKR_OK) {
        struct err refused = *e;

        err_clear(e);
        err_set_code(e, ERR_CARD_PIN, refused.code, "%s (%s)", refused.msg, tries_left(&c->info));
    }
    return -1;
}

int card_login(struct card *c, const char *pin, struct err *e)
{
    if (c->info.flags & CKF_USER_PIN_LOCKED)
        return err_set(e, ERR_CARD_LOCKED, "the card's PIN is locked");
    c->pin = pin;
    return login(c, CKU_USER, e);
}

/* ---- the signature */

static int find_key(struct card *c, CK_OBJECT_HANDLE *ret, struct err *e)
{
    static const struct pkcs11_uri any;
    CK_OBJECT_HANDLE found[OBJECTS_MAX];
    char list[LIST_MAX] = "";
    size_t count;

    if (find_objects(c, CKO_PRIVATE_KEY, c->uri, found, &count, e) < 0)
        return -1;
    if (count > 1)
        return several(c, "private keys", found, count, e);
    if (count == 1) {
        *ret = found[0];
        return 0;
    }
    if (find_objects(c, CKO_PRIVATE_KEY, &any, found, &count, e) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        name_object(c, found[i], list);
    return err_set(e, ERR_CARD_ABSENT, "no private key on the card fits; %s%s",
            count ? "there are: " : "there is none", list);
}

/* PIN for each signature: PKCS#11 2.40, CKA_ALWAYS_AUTHENTICATE; many signature cards have it. */
static bool wants_pin_again(struct card *c, CK_OBJECT_HANDLE key)
{
    CK_BBOOL always = CK_FALSE;
    CK_ATTRIBUTE a = {CKA_ALWAYS_AUTHENTICATE, &always, sizeof always};

    return c->module.f->C_GetAttributeValue(c->session, key, &a, 1) == CKR_OK && always == CK_TRUE;
}

int card_sign(struct card *c, const void *bytes, size_t len, struct buf *ret_der, struct err *e)
{
    struct module_mechanism how;
    struct buf input = BUF_INIT;
    uint8_t raw[SIGNATURE_BYTES_MAX];
    CK_ULONG raw_len = sizeof raw;
    CK_OBJECT_HANDLE key = CK_INVALID_HANDLE;
    CK_MECHANISM mechanism = {0};
    CK_RV rv;
    int r = -1;

    if (find_key(c, &key, e) < 0)
        return -1;
    if (module_mechanism(&c->module, c->slot, c->session, key, &how, e) < 0 ||
            module_sign_input(&how, bytes, len, &input, e) < 0) {
        of_card(e);
        goto out;
    }
    mechanism.mechanism = how.type;
    rv = c->module.f->C_SignInit(c->session, &mechanism, key);
    if (rv == CKR_OK && wants_pin_again(c, key) && login(c, CKU_CONTEXT_SPECIFIC, e) < 0)
        goto out;
    if (rv == CKR_OK)
        rv = c->module.f->C_Sign(c->session, input.data, input.len, raw, &raw_len);
    if (rv != CKR_OK)
        failed(e, rv, "the card signs");
    else if (raw_len > sizeof raw)
        err_set(e, ERR_CARD, "the card's signature is too long");
    else
        r = signature_from_token(how.alg, raw, raw_len, ret_der, e) < 0 ? of_card(e) : 0;
out:
    buf_done(&input);
    return r;
}
