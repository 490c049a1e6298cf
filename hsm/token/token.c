/* The only user of pkcs11-helper. Promises: the PIN is given to the token once in a process's life,
 * whatever happens, and not at all when that could lock it; a key that could leave the token is not
 * used. Must run in a process of its own: vendor code crashes and hangs. */
#include "hsm/token/token.h"
#include <pkcs11-helper-1.0/pkcs11h-certificate.h>
#include <pkcs11-helper-1.0/pkcs11h-core.h>
#include <pkcs11-helper-1.0/pkcs11h-token.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "hsm/token/ckr.h"
#include "hsm/token/key_search.h"
#include "hsm/token/mark.h"
#include "hsm/token/module.h"

#define PROVIDER       "keyline"
#define CERT_ID_MAX    2048
#define TOKEN_TEXT_MAX 160

struct token {
    struct token_options options;
    struct module_key_name key_name;
    struct module module;
    struct module_init init;
    struct module_mechanism mechanism;
    CK_SLOT_ID slot;
    CK_SESSION_HANDLE look; /* a session for looking at keys, while the token is being opened */
    int looking;
    pkcs11h_token_id_t id;
    pkcs11h_certificate_t certificate; /* pkcs11-helper's word for a private key by its id */
    char description[TOKEN_TEXT_MAX];
    int initialised;
    int pin_given;
    struct err pin_error; /* why the PIN file gave none */
    CK_RV cause;          /* what the module answered first, before pkcs11-helper tried again */
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

/* pkcs11-helper answers a failure by a new session and a new login; the PIN hook refuses that, and
 * what comes back is CKR_CANCEL. Its log is the only place where the first answer shows. The lines
 * themselves go nowhere: they may quote what a token says. */
static void note_cause(void *global, unsigned flags, const char *format, va_list args)
{
    struct token *t = global;
    const char *rv = strstr(format, "rv=%lu");

    (void)flags;
    if (t->cause == CKR_OK && rv && strchr(format, '%') == rv + 3)
        t->cause = va_arg(args, unsigned long);
}

static CK_RV initialise_provider(struct token *t)
{
    CK_RV rv = CKR_ARGUMENTS_BAD;

    for (unsigned way = 0; way < MODULE_INIT_WAYS && module_init_refused(rv); way++) {
        CK_C_INITIALIZE_ARGS *args = module_init_args(&t->init, t->options.init_args, way);

        rv = pkcs11h_setProviderProperty(
                PROVIDER, PKCS11H_PROVIDER_PROPERTY_INIT_ARGS, &args, sizeof args);
        if (rv == CKR_OK)
            rv = pkcs11h_initializeProvider(PROVIDER);
    }
    return rv;
}

static int start_helper(struct token *t, struct err *e)
{
    CK_RV rv = pkcs11h_initialize();

    if (rv != CKR_OK)
        return ckr_err(e, rv, "start pkcs11-helper");
    t->initialised = 1;
    pkcs11h_setLogLevel(PKCS11H_LOG_DEBUG1);
    if ((rv = pkcs11h_setLogHook(note_cause, t)) != CKR_OK ||
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
    rv = initialise_provider(t);
    return rv == CKR_OK ? 0 : ckr_err(e, rv, "initialise the PKCS#11 module");
}

static int find_token(struct token *t, struct err *e)
{
    pkcs11h_token_id_list_t list = NULL;
    CK_RV rv;
    int r = -1;

    /* first directly: its errors tell none from several */
    if (module_find_token(&t->module, t->options.label, &t->slot, e) < 0)
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
    if (!t->id) {
        err_set(e, ERR_TOKEN_ABSENT, "the token labelled '%s' has gone", t->options.label);
        goto out;
    }
    snprintf(t->description, sizeof t->description, "%s %s %s '%s'", t->id->manufacturerID,
            t->id->model, t->id->serialNumber, t->id->label);
    text_make_printable(t->description);
    r = 0;
out:
    pkcs11h_token_freeTokenIdList(list);
    return r;
}

/* The serialised form is the only public way to name a key that has no certificate in the token. */
static int name_key(struct token *t, const struct module_key_name *name, struct err *e)
{
    char text[CERT_ID_MAX];
    size_t len = sizeof text - 2 * MODULE_KEY_ID_MAX - 2;
    pkcs11h_certificate_id_t id = NULL;
    CK_RV rv = pkcs11h_token_serializeTokenId(text, &len, t->id);

    if (rv != CKR_OK)
        return ckr_err(e, rv, "name the token");
    if (t->certificate)
        pkcs11h_certificate_freeCertificate(t->certificate);
    t->certificate = NULL;
    len = strlen(text);
    text[len++] = '/';
    hex_format(name->id, name->id_len, text + len);
    rv = pkcs11h_certificate_deserializeCertificateId(&id, text);
    if (rv == CKR_OK)
        rv = pkcs11h_certificate_create(id, NULL, PKCS11H_PROMPT_MASK_ALLOW_PIN_PROMPT,
                PKCS11H_PIN_CACHE_INFINITE, &t->certificate);
    if (id)
        pkcs11h_certificate_freeCertificateId(id);
    return rv == CKR_OK ? 0 : ckr_err(e, rv, "name the CA key");
}

/* ---- the login */

/* A PIN is not risked when the token could lock itself over it, nor where a person would have to be
 * there at every start of a worker. */
static int check_pin_state(struct token *t, struct err *e)
{
    CK_TOKEN_INFO info = {0};
    bool wanted;

    if (module_pin_state(&t->module, t->slot, &wanted, e) < 0)
        return -1;
    if (!wanted)
        log_warning("token-without-pin", LOG_STR("token", t->description));
    else if (t->module.f->C_GetTokenInfo(t->slot, &info) == CKR_OK &&
             info.flags & CKF_PROTECTED_AUTHENTICATION_PATH &&
             access(t->options.pin_file, F_OK) < 0)
        return err_set(e, ERR_TOKEN_PIN,
                "the token takes its PIN at a pad of its own, and there is no PIN file: a signer "
                "that works unattended needs a token that takes the PIN from %s",
                t->options.pin_file);
    return 0;
}

static bool logged_in(const struct token *t)
{
    CK_SESSION_INFO info;

    return t->module.f->C_GetSessionInfo(t->look, &info) == CKR_OK &&
           (info.state == CKS_RO_USER_FUNCTIONS || info.state == CKS_RW_USER_FUNCTIONS);
}

/* Whether this answer leaves open what the token thinks of the PIN. */
static bool ambiguous(CK_RV rv)
{
    return rv == CKR_GENERAL_ERROR || rv == CKR_FUNCTION_FAILED || rv == CKR_ARGUMENTS_BAD ||
           rv == CKR_FUNCTION_REJECTED || rv >= CKR_VENDOR_DEFINED;
}

/* The PIN has reached C_Login and the login failed. A token that works otherwise but does not say
 * why may have counted a wrong PIN: how often that is risked is for signerd to say. */
static int login_failed(const struct token *t, CK_RV rv, struct err *e)
{
    CK_TOKEN_INFO info = {0};
    CK_RV state = t->module.f->C_GetTokenInfo(t->slot, &info);

    /* some modules say only "incorrect" for a PIN that is locked already */
    if (state == CKR_OK && info.flags & CKF_USER_PIN_LOCKED)
        return err_set_code(
                e, ERR_TOKEN_LOCKED, (long)rv, "log in to the token: the PIN is locked");
    if (state == CKR_OK && ambiguous(rv))
        return err_set_code(e, ERR_TOKEN_LOGIN, (long)rv,
                "log in to the token: %s (0x%lx), and it does not say whether for the PIN",
                ckr_name(rv), rv);
    return ckr_err(e, rv, "log in to the token");
}

/* Opens the session that will sign, and with it logs in: the one use of the PIN. pkcs11-helper asks
 * for a key at the same time; that it is not there is no failure yet. */
static int log_in(struct token *t, struct err *e)
{
    CK_RV rv = pkcs11h_certificate_ensureKeyAccess(t->certificate);

    if (rv == CKR_OK)
        return 0;
    /* our own file: the line stops just as for a wrong PIN, and the text names the file */
    if (t->pin_error.id)
        return err_set(e, ERR_TOKEN_PIN, "%.300s", t->pin_error.msg);
    if (t->pin_given && !logged_in(t))
        return login_failed(t, rv, e);
    return rv == CKR_FUNCTION_REJECTED ? 0 : ckr_err(e, rv, "open the token");
}

/* ---- the key */

static int choose_key(struct token *t, struct err *e)
{
    struct module_key_name name;
    char hex[2 * MODULE_KEY_ID_MAX + 1];
    CK_OBJECT_HANDLE key;
    CK_RV rv;

    if (key_search(&t->module, t->look, &t->key_name, t->options.spki, t->options.spki_len, &name,
                &key, e) < 0 ||
            module_check_key(&t->module, t->look, key, e) < 0 ||
            module_mechanism(&t->module, t->slot, t->look, key, &t->mechanism, e) < 0)
        return -1;
    if (name.id_len != t->key_name.id_len || memcmp(name.id, t->key_name.id, name.id_len) != 0) {
        hex_format(name.id, name.id_len, hex);
        log_info("token-key", LOG_STR("id", hex), LOG_STR("found-by", "public half"));
        if (name_key(t, &name, e) < 0)
            return -1;
    }
    rv = pkcs11h_certificate_ensureKeyAccess(t->certificate);
    return rv == CKR_OK ? 0 : ckr_err(e, rv, "open the CA key");
}

/* Through the same module, beside pkcs11-helper: the login is the process's. */
static int start_looking(struct token *t, struct err *e)
{
    CK_RV rv = t->module.f->C_OpenSession(t->slot, CKF_SERIAL_SESSION, NULL, NULL, &t->look);

    if (rv != CKR_OK)
        return ckr_err(e, rv, "open a session");
    t->looking = 1;
    return 0;
}

static void stop_looking(struct token *t)
{
    if (t->looking)
        t->module.f->C_CloseSession(t->look);
    t->looking = 0;
}

int token_open(const struct token_options *o, struct token **ret, struct err *e)
{
    struct token *t = calloc(1, sizeof *t);

    if (!t)
        return err_set(e, ERR_NOMEM, "no memory for the token");
    t->options = *o;
    if (module_key_name_parse(o->key_label, o->key_id, &t->key_name, e) < 0 ||
            module_open(o->module, &t->module, e) < 0 || start_helper(t, e) < 0 ||
            find_token(t, e) < 0 || check_pin_state(t, e) < 0 || start_looking(t, e) < 0 ||
            name_key(t, &t->key_name, e) < 0 || log_in(t, e) < 0 || choose_key(t, e) < 0) {
        token_close(&t);
        return -1;
    }
    stop_looking(t); /* tokens with few sessions keep one a worker */
    *ret = t;
    return 0;
}

void token_close(struct token **pt)
{
    struct token *t = *pt;

    if (!t)
        return;
    stop_looking(t);
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
    return t->description;
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
    t->cause = CKR_OK;
    /* not signAny(): it asks for the key's attributes first, and falls back to C_SignRecover */
    rv = pkcs11h_certificate_sign(
            t->certificate, t->mechanism.type, input.data, input.len, at, &sig_len);
    if (rv != CKR_OK)
        ckr_err(e, t->cause ? t->cause : rv, "sign in the token");
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

int token_ping(struct token *t, struct err *e)
{
    CK_TOKEN_INFO info;
    CK_RV rv = t->module.f->C_GetTokenInfo(t->slot, &info);

    if (rv != CKR_OK)
        return ckr_err(e, rv, "ask the token for its state");
    t->cause = CKR_OK;
    /* looks for the key in the session that signs: private objects show only while it is logged in */
    rv = pkcs11h_certificate_ensureKeyAccess(t->certificate);
    if (rv == CKR_OK && t->cause == CKR_OK)
        return 0;
    return ckr_err(e, t->cause ? t->cause : rv, "keep the token's session alive");
}

int token_mark_read(struct token *t, const char *station, struct buf *out, struct err *e)
{
    return mark_read(&t->module, t->slot, station, out, e);
}

int token_mark_write(
        struct token *t, const char *station, const uint8_t *mark, struct buf *out, struct err *e)
{
    return mark_write(&t->module, t->slot, station, mark, out, e);
}
