/* The only user of pkcs11-helper. Promises: the PIN is given to the token once in a process's life,
 * whatever happens; a key that could leave the token is not used. Must run in a process of its own:
 * vendor code crashes and hangs. */
#include "hsm/token.h"
#include <pkcs11-helper-1.0/pkcs11h-certificate.h>
#include <pkcs11-helper-1.0/pkcs11h-core.h>
#include <pkcs11-helper-1.0/pkcs11h-token.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/text.h"
#include "hsm/ckr.h"
#include "hsm/module.h"

#define PROVIDER    "keyline"
#define CERT_ID_MAX 2048

struct token {
    struct token_options options;
    struct module_key_name key_name;
    struct module module;
    struct module_mechanism mechanism;
    pkcs11h_token_id_t id;
    pkcs11h_certificate_t certificate; /* pkcs11-helper's word for a private key by its id */
    int initialised;
    int pin_given;
    struct err pin_error; /* why the PIN file gave none */
};

/* A second call is a retry: pkcs11-helper's own after a refused PIN, or a new login after the
 * session was lost. Neither may happen in this process: a wrong PIN tried again locks the token,
 * and signerd starts a fresh process after any failure. */
static PKCS11H_BOOL give_pin(void *global, void *user, const pkcs11h_token_id_t id, unsigned retry,
        char *pin, size_t pin_max)
{
    struct token *t = global;
    struct buf secret = BUF_INIT_SECRET;
    PKCS11H_BOOL given = 0;

    (void)user;
    (void)id;
    if (retry || t->pin_given)
        return 0;
    t->pin_given = 1;
    if (file_read_secret(t->options.pin_file, &secret, &t->pin_error) < 0)
        goto out;
    if (secret.len == 0 || secret.len >= pin_max) {
        err_set(&t->pin_error, ERR_TOKEN_PIN, "%s holds no PIN", t->options.pin_file);
        goto out;
    }
    mlock(secret.data, secret.cap);
    memcpy(pin, secret.data, secret.len);
    pin[secret.len] = '\0';
    given = 1;
out:
    buf_done(&secret);
    return given;
}

static PKCS11H_BOOL no_token_prompt(
        void *global, void *user, const pkcs11h_token_id_t id, unsigned retry)
{
    (void)global, (void)user, (void)id, (void)retry;
    return 0;
}

/* pkcs11-helper's own lines may quote what a token says: our errors carry what matters. */
static void no_log(void *global, unsigned flags, const char *format, va_list args)
{
    (void)global, (void)flags, (void)format, (void)args;
}

static int start_helper(struct token *t, struct err *e)
{
    CK_RV rv = pkcs11h_initialize();

    if (rv != CKR_OK)
        return ckr_err(e, rv, "start pkcs11-helper");
    t->initialised = 1;
    if ((rv = pkcs11h_setLogHook(no_log, NULL)) != CKR_OK ||
            (rv = pkcs11h_setForkMode(0)) != CKR_OK ||
            (rv = pkcs11h_setPINPromptHook(give_pin, t)) != CKR_OK ||
            (rv = pkcs11h_setTokenPromptHook(no_token_prompt, NULL)) != CKR_OK ||
            (rv = pkcs11h_setProtectedAuthentication(0)) != CKR_OK ||
            (rv = pkcs11h_setMaxLoginRetries(1)) != CKR_OK ||
            (rv = pkcs11h_setPINCachePeriod(PKCS11H_PIN_CACHE_INFINITE)) != CKR_OK)
        return ckr_err(e, rv, "configure pkcs11-helper");
    if ((rv = pkcs11h_registerProvider(PROVIDER)) != CKR_OK ||
            (rv = pkcs11h_setProviderProperty(PROVIDER, PKCS11H_PROVIDER_PROPERTY_LOCATION,
                     t->options.module, strlen(t->options.module) + 1)) != CKR_OK)
        return ckr_err(e, rv, "register the PKCS#11 module");
    rv = pkcs11h_initializeProvider(PROVIDER);
    return rv == CKR_OK ? 0 : ckr_err(e, rv, "initialise the PKCS#11 module");
}

static int find_token(struct token *t, struct err *e)
{
    pkcs11h_token_id_list_t list = NULL;
    CK_SLOT_ID slot;
    CK_RV rv;
    int r = -1;

    /* first directly: its errors tell none from several */
    if (module_find_token(&t->module, t->options.label, &slot, e) < 0)
        return -1;
    rv = pkcs11h_token_enumTokenIds(PKCS11H_ENUM_METHOD_RELOAD, &list);
    if (rv != CKR_OK)
        return ckr_err(e, rv, "list the tokens");
    for (pkcs11h_token_id_list_t i = list; i && !t->id; i = i->next)
        if (strcmp(i->token_id->label, t->options.label) == 0 &&
                (rv = pkcs11h_token_duplicateTokenId(&t->id, i->token_id)) != CKR_OK) {
            ckr_err(e, rv, "note the token");
            goto out;
        }
    if (t->id)
        r = 0;
    else
        err_set(e, ERR_TOKEN_ABSENT, "the token labelled '%s' has gone", t->options.label);
out:
    pkcs11h_token_freeTokenIdList(list);
    return r;
}

/* The serialised form is the only public way to name a key that has no certificate in the token. */
static int name_key(struct token *t, struct err *e)
{
    char text[CERT_ID_MAX];
    size_t len = sizeof text - 2 * MODULE_KEY_ID_MAX - 2;
    pkcs11h_certificate_id_t id = NULL;
    CK_RV rv = pkcs11h_token_serializeTokenId(text, &len, t->id);

    if (rv != CKR_OK)
        return ckr_err(e, rv, "name the token");
    len = strlen(text);
    text[len++] = '/';
    hex_format(t->key_name.id, t->key_name.id_len, text + len);
    rv = pkcs11h_certificate_deserializeCertificateId(&id, text);
    if (rv == CKR_OK)
        rv = pkcs11h_certificate_create(id, NULL, PKCS11H_PROMPT_MASK_ALLOW_PIN_PROMPT,
                PKCS11H_PIN_CACHE_INFINITE, &t->certificate);
    if (id)
        pkcs11h_certificate_freeCertificateId(id);
    return rv == CKR_OK ? 0 : ckr_err(e, rv, "name the CA key");
}

/* Through the same module, in a session of its own: the login is the process's. */
static int check_key(struct token *t, CK_SLOT_ID slot, struct err *e)
{
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE key;
    CK_RV rv = t->module.f->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &session);
    int r = -1;

    if (rv != CKR_OK)
        return ckr_err(e, rv, "open a session");
    if (module_find_key(&t->module, session, &t->key_name, &key, e) == 0 &&
            module_check_key(&t->module, session, key, e) == 0 &&
            module_mechanism(&t->module, slot, session, key, &t->mechanism, e) == 0)
        r = 0;
    t->module.f->C_CloseSession(session);
    return r;
}

/* Opens the session that will sign, and with it logs in: the one use of the PIN. */
static int log_in(struct token *t, CK_SLOT_ID slot, struct err *e)
{
    CK_RV rv = pkcs11h_certificate_ensureKeyAccess(t->certificate);
    CK_TOKEN_INFO info;

    if (rv == CKR_OK)
        return 0;
    /* our own file: the line stops just as for a wrong PIN, and the text names the file */
    if (t->pin_error.id)
        return err_set(e, ERR_TOKEN_PIN, "%.300s", t->pin_error.msg);
    /* some modules say only "incorrect" for a PIN that is locked already */
    if (t->module.f->C_GetTokenInfo(slot, &info) == CKR_OK && info.flags & CKF_USER_PIN_LOCKED)
        return err_set_code(
                e, ERR_TOKEN_LOCKED, (long)rv, "log in to the token: the PIN is locked");
    /* pkcs11-helper's word for a key it does not find: our own look tells which part is wrong */
    if (rv == CKR_FUNCTION_REJECTED && check_key(t, slot, e) < 0)
        return -1;
    return ckr_err(e, rv, "log in to the token");
}

int token_open(const struct token_options *o, struct token **ret, struct err *e)
{
    struct token *t = calloc(1, sizeof *t);
    CK_SLOT_ID slot;

    if (!t)
        return err_set(e, ERR_NOMEM, "no memory for the token");
    t->options = *o;
    if (module_key_name_parse(o->key_label, o->key_id, &t->key_name, e) < 0 ||
            module_open(o->module, &t->module, e) < 0 || start_helper(t, e) < 0 ||
            find_token(t, e) < 0 || module_find_token(&t->module, o->label, &slot, e) < 0 ||
            name_key(t, e) < 0 || log_in(t, slot, e) < 0 || check_key(t, slot, e) < 0) {
        token_close(&t);
        return -1;
    }
    *ret = t;
    return 0;
}

void token_close(struct token **pt)
{
    struct token *t = *pt;

    if (!t)
        return;
    if (t->certificate)
        pkcs11h_certificate_freeCertificate(t->certificate);
    if (t->id)
        pkcs11h_token_freeTokenId(t->id);
    if (t->initialised)
        pkcs11h_terminate();
    module_close(&t->module);
    free(t);
    *pt = NULL;
}

enum signature_alg token_alg(const struct token *t)
{
    return t->mechanism.alg;
}

const char *token_description(const struct token *t)
{
    return t->id->display;
}

int token_sign(struct token *t, const void *bytes, size_t len, struct buf *ret_raw, struct err *e)
{
    struct buf input = BUF_INIT;
    size_t sig_len = SIGNATURE_BYTES_MAX;
    uint8_t *at;
    CK_RV rv;
    int r = -1;

    if (module_sign_input(&t->mechanism, bytes, len, &input, e) < 0 ||
            buf_reserve(ret_raw, SIGNATURE_BYTES_MAX, &at, e) < 0)
        goto out;
    rv = pkcs11h_certificate_signAny(
            t->certificate, t->mechanism.type, input.data, input.len, at, &sig_len);
    if (rv != CKR_OK)
        ckr_err(e, rv, "sign in the token");
    else if (sig_len > SIGNATURE_BYTES_MAX)
        err_set(e, ERR_TOKEN, "the token gave a signature of %zu bytes", sig_len);
    else {
        ret_raw->len += sig_len;
        r = 0;
    }
out:
    buf_done(&input);
    return r;
}
