/* Direct PKCS#11. Promises that a key is named by label and id, that it cannot leave the token, and
 * that no length a module gives is believed. Never logs in: the PIN is its callers' affair. */
#include "hsm/token/module.h"
#include <dlfcn.h>
#include <openssl/evp.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/text.h"
#include "hsm/token/ckr.h"

#define SLOTS_MAX      64 /* network HSMs show one slot a partition */
#define ATTRIBUTE_MAX  CERT_BYTES_MAX
#define MECHANISMS_MAX 512

int module_key_name_parse(
        const char *label, const char *hex_id, struct module_key_name *ret, struct err *e)
{
    size_t len = strlen(hex_id);

    *ret = (struct module_key_name){.label = label, .id_len = len / 2};
    if (len < 2 || len % 2 || len / 2 > MODULE_KEY_ID_MAX ||
            hex_parse(hex_id, len, ret->id, len / 2) < 0)
        return err_set(e, ERR_CONFIG,
                "[token] key_id must be 1 to %d bytes in hexadecimal, as in 02", MODULE_KEY_ID_MAX);
    if (!*label)
        return err_set(e, ERR_CONFIG, "[token] key_label is empty");
    return 0;
}

int module_open(const char *path, struct module *ret, struct err *e)
{
    CK_RV (*get_list)(CK_FUNCTION_LIST **);
    CK_RV rv;

    *ret = (struct module){.handle = dlopen(path, RTLD_NOW | RTLD_LOCAL)};
    if (!ret->handle)
        return err_set(e, ERR_TOKEN_ABSENT, "the PKCS#11 module cannot be loaded: %s", dlerror());
    *(void **)&get_list = dlsym(ret->handle, "C_GetFunctionList");
    rv = get_list ? get_list(&ret->f) : CKR_FUNCTION_NOT_SUPPORTED;
    if (rv == CKR_OK && ret->f)
        return 0;
    module_close(ret);
    return err_set_code(e, ERR_TOKEN_ABSENT, (long)rv, "%s is not a PKCS#11 module", path);
}

void module_close(struct module *m)
{
    if (m->handle)
        dlclose(m->handle);
    *m = (struct module){0};
}

CK_C_INITIALIZE_ARGS *module_init_args(struct module_init *i, const char *init_args, unsigned way)
{
    *i = (struct module_init){.args = {.flags = way ? CKF_OS_LOCKING_OK : 0}};
    if (*init_args)
        i->args.pReserved = (void *)(uintptr_t)init_args;
    return way || *init_args ? &i->args : NULL;
}

bool module_init_refused(CK_RV rv)
{
    return rv == CKR_ARGUMENTS_BAD || rv == CKR_CANT_LOCK || rv == CKR_NEED_TO_CREATE_THREADS;
}

int module_initialize(
        const struct module *m, const char *init_args, struct module_init *i, struct err *e)
{
    CK_RV rv = CKR_ARGUMENTS_BAD;

    for (unsigned way = 0; way < MODULE_INIT_WAYS && module_init_refused(rv); way++)
        rv = m->f->C_Initialize(module_init_args(i, init_args, way));
    /* a module that another library of this process uses as well */
    return rv == CKR_OK || rv == CKR_CRYPTOKI_ALREADY_INITIALIZED
                   ? 0
                   : ckr_err(e, rv, "initialise the PKCS#11 module");
}

/* Labels are padded with blanks and have no NUL (PKCS#11 2.40, CK_TOKEN_INFO). */
static int label_is(const CK_TOKEN_INFO *info, const char *label)
{
    size_t len = strlen(label), i;

    if (len > sizeof info->label || memcmp(info->label, label, len) != 0)
        return 0;
    for (i = len; i < sizeof info->label && info->label[i] == ' '; i++)
        ;
    return i == sizeof info->label;
}

int module_find_token(const struct module *m, const char *label, CK_SLOT_ID *ret, struct err *e)
{
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG count = SLOTS_MAX;
    CK_RV rv = m->f->C_GetSlotList(CK_TRUE, slots, &count);
    CK_RV silent = CKR_OK;
    unsigned found = 0;

    if (rv != CKR_OK)
        return ckr_err(e, rv, "list the slots of the PKCS#11 module");
    if (count > SLOTS_MAX)
        return err_set(e, ERR_TOKEN, "the PKCS#11 module lists %lu slots where %d were asked for",
                count, SLOTS_MAX);
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;

        rv = m->f->C_GetTokenInfo(slots[i], &info);
        if (rv != CKR_OK)
            silent = rv; /* not ours to report while the token is in another */
        if (rv != CKR_OK || !(info.flags & CKF_TOKEN_INITIALIZED) || !label_is(&info, label))
            continue;
        *ret = slots[i];
        found++;
    }
    if (!found && silent != CKR_OK)
        return err_set_code(e, ERR_TOKEN_ABSENT, (long)silent,
                "no token is labelled '%s', and a slot answers %s (0x%lx)", label, ckr_name(silent),
                silent);
    if (!found)
        return err_set(e, ERR_TOKEN_ABSENT, "no token is labelled '%s' (%lu tokens present)", label,
                count);
    if (found > 1)
        return err_set(e, ERR_CONFIG, "%u tokens are labelled '%s': give each its own label", found,
                label);
    return 0;
}

int module_pin_state(const struct module *m, CK_SLOT_ID slot, bool *ret_wanted, struct err *e)
{
    CK_TOKEN_INFO info;
    CK_RV rv = m->f->C_GetTokenInfo(slot, &info);

    if (rv != CKR_OK)
        return ckr_err(e, rv, "ask the token for its state");
    *ret_wanted = info.flags & CKF_LOGIN_REQUIRED;
    if (info.flags & CKF_USER_PIN_LOCKED)
        return err_set(e, ERR_TOKEN_LOCKED, "the token says that its PIN is locked");
    if (info.flags & CKF_USER_PIN_FINAL_TRY)
        return err_set(e, ERR_TOKEN_PIN,
                "the token has one try left for its PIN, which is not risked: log in to it once by "
                "another tool");
    return 0;
}

int module_get_attribute(const struct module *m, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
        CK_ATTRIBUTE_TYPE type, struct buf *out, struct err *e)
{
    uint8_t bytes[ATTRIBUTE_MAX];
    CK_ATTRIBUTE a = {type, bytes, sizeof bytes};
    CK_RV rv = m->f->C_GetAttributeValue(session, object, &a, 1);

    if (rv != CKR_OK)
        return ckr_err(e, rv, "read an attribute of a key");
    if (a.ulValueLen > sizeof bytes)
        return err_set(e, ERR_TOKEN, "the token gives no value for attribute 0x%lx", type);
    return buf_append(out, bytes, a.ulValueLen, e);
}

int module_find_objects(const struct module *m, CK_SESSION_HANDLE session, CK_ATTRIBUTE *wanted,
        CK_ULONG wanted_count, CK_OBJECT_HANDLE *ret, size_t max, size_t *ret_count, struct err *e)
{
    CK_ULONG got = 0, room = 0;
    CK_RV rv = m->f->C_FindObjectsInit(session, wanted, wanted_count);

    *ret_count = 0;
    if (rv != CKR_OK)
        return ckr_err(e, rv, "look for objects in the token");
    do {
        room = max - *ret_count;
        rv = m->f->C_FindObjects(session, ret + *ret_count, room, &got);
        if (rv == CKR_OK && got <= room)
            *ret_count += got;
    } while (rv == CKR_OK && got && got < room);
    m->f->C_FindObjectsFinal(session);
    if (rv != CKR_OK)
        return ckr_err(e, rv, "look for objects in the token");
    return got > room ? err_set(e, ERR_TOKEN, "the token gives more objects than were asked for")
                      : 0;
}

int module_find_key(const struct module *m, CK_SESSION_HANDLE session,
        const struct module_key_name *name, CK_OBJECT_HANDLE *ret, struct err *e)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    uint8_t id[MODULE_KEY_ID_MAX];
    CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof class}, {CKA_ID, id, name->id_len}};
    CK_OBJECT_HANDLE found[2];
    size_t count;
    struct buf label = BUF_INIT;
    int r = -1;

    memcpy(id, name->id, sizeof id);
    if (module_find_objects(m, session, wanted, 2, found, 2, &count, e) < 0)
        return -1;
    if (count == 0)
        return err_set(
                e, ERR_TOKEN_ABSENT, "the token has no private key with the id of [token] key_id");
    /* pkcs11-helper picks keys by id alone: with two it might not be the one that was checked */
    if (count > 1)
        return err_set(
                e, ERR_CONFIG, "the token has several private keys with the id of [token] key_id");
    if (module_get_attribute(m, session, found[0], CKA_LABEL, &label, e) < 0)
        goto out;
    if (label.len != strlen(name->label) || memcmp(label.data, name->label, label.len) != 0) {
        err_set(e, ERR_TOKEN_ABSENT,
                "the private key with the id of [token] key_id is not labelled '%s'", name->label);
        goto out;
    }
    *ret = found[0];
    r = 0;
out:
    buf_done(&label);
    return r;
}

/* A token that does not know the attribute does not do what it is about. */
static int asks_each_time(const struct module *m, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key)
{
    CK_BBOOL always = CK_FALSE;
    CK_ATTRIBUTE a = {CKA_ALWAYS_AUTHENTICATE, &always, sizeof always};

    return m->f->C_GetAttributeValue(session, key, &a, 1) == CKR_OK && always == CK_TRUE;
}

int module_check_key(
        const struct module *m, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key, struct err *e)
{
    CK_BBOOL sensitive = CK_FALSE, extractable = CK_TRUE;
    CK_ATTRIBUTE a[] = {{CKA_SENSITIVE, &sensitive, sizeof sensitive},
            {CKA_EXTRACTABLE, &extractable, sizeof extractable}};
    CK_RV rv = m->f->C_GetAttributeValue(session, key, a, 2);

    if (rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_ATTRIBUTE_SENSITIVE)
        return err_set_code(e, ERR_KEY_POLICY, (long)rv,
                "the token does not say whether the CA key could leave it");
    if (rv != CKR_OK)
        return ckr_err(e, rv, "read the CA key's attributes");
    if (sensitive != CK_TRUE || extractable != CK_FALSE)
        return err_set(e, ERR_KEY_POLICY, "the CA key is %s in the token",
                sensitive ? "extractable" : "not sensitive");
    if (asks_each_time(m, session, key))
        return err_set(e, ERR_TOKEN_REFUSED,
                "the CA key asks for the PIN at every signature (CKA_ALWAYS_AUTHENTICATE)");
    return 0;
}

/* ---- mechanisms */

/* what a mechanism is given */
enum input { INPUT_DIGEST, INPUT_DIGEST_INFO, INPUT_MESSAGE };

static const struct mechanism {
    enum signature_alg alg;
    CK_MECHANISM_TYPE type;
    enum input input;
} mechanisms[] = {
        /* in order of preference: first what most tokens have, which is also what moves the fewest
         * bytes */
        {SIGNATURE_ECDSA_P256, CKM_ECDSA, INPUT_DIGEST},
        {SIGNATURE_ECDSA_P256, CKM_ECDSA_SHA256, INPUT_MESSAGE},
        {SIGNATURE_ECDSA_P384, CKM_ECDSA, INPUT_DIGEST},
        {SIGNATURE_ECDSA_P384, CKM_ECDSA_SHA384, INPUT_MESSAGE},
        {SIGNATURE_RSA, CKM_RSA_PKCS, INPUT_DIGEST_INFO},
        {SIGNATURE_RSA, CKM_SHA256_RSA_PKCS, INPUT_MESSAGE},
        {SIGNATURE_ED25519, CKM_EDDSA, INPUT_MESSAGE},
};
#define MECHANISM_COUNT (sizeof mechanisms / sizeof *mechanisms)
/* DigestInfo of SHA-256 up to the digest, RFC 8017, 9.2 note 1 */
static const uint8_t digest_info_sha256[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48,
        0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};
/* CKA_EC_PARAMS: the curves' object identifiers in DER */
static const uint8_t params_p256[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
static const uint8_t params_p384[] = {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22};

static int key_alg(const struct module *m, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key,
        enum signature_alg *ret, struct err *e)
{
    CK_KEY_TYPE type = 0;
    CK_ATTRIBUTE a = {CKA_KEY_TYPE, &type, sizeof type};
    CK_RV rv = m->f->C_GetAttributeValue(session, key, &a, 1);
    struct buf params = BUF_INIT;
    int r = -1;

    if (rv != CKR_OK)
        return ckr_err(e, rv, "read the key's type");
    if (type == CKK_RSA) {
        *ret = SIGNATURE_RSA;
        return 0;
    }
    /* of the Edwards curves we ask for one only; modules name it in two ways, so the public key is
     * what the signature is checked with */
    if (type == CKK_EC_EDWARDS) {
        *ret = SIGNATURE_ED25519;
        return 0;
    }
    if (type == CKK_EC && module_get_attribute(m, session, key, CKA_EC_PARAMS, &params, e) < 0)
        goto out;
    if (params.len == sizeof params_p256 && memcmp(params.data, params_p256, params.len) == 0)
        *ret = SIGNATURE_ECDSA_P256;
    else if (params.len == sizeof params_p384 && memcmp(params.data, params_p384, params.len) == 0)
        *ret = SIGNATURE_ECDSA_P384;
    else {
        err_set(e, ERR_TOKEN, "the key is not P-256, P-384, RSA or Ed25519");
        goto out;
    }
    r = 0;
out:
    buf_done(&params);
    return r;
}

/* Whether the token signs by it: to list a mechanism may mean that it only verifies. One that says
 * nothing more is tried: the worker's first signature tells. */
static bool signs(const struct module *m, CK_SLOT_ID slot, const struct mechanism *how,
        const CK_MECHANISM_TYPE *has, size_t count)
{
    CK_MECHANISM_INFO info;

    for (size_t i = 0; i < count; i++)
        if (has[i] == how->type)
            return m->f->C_GetMechanismInfo(slot, how->type, &info) != CKR_OK ||
                   info.flags & CKF_SIGN;
    return false;
}

int module_mechanism(const struct module *m, CK_SLOT_ID slot, CK_SESSION_HANDLE session,
        CK_OBJECT_HANDLE key, struct module_mechanism *ret, struct err *e)
{
    CK_MECHANISM_TYPE has[MECHANISMS_MAX];
    CK_ULONG count = MECHANISMS_MAX;
    CK_RV rv;

    if (key_alg(m, session, key, &ret->alg, e) < 0)
        return -1;
    rv = m->f->C_GetMechanismList(slot, has, &count);
    if (rv != CKR_OK)
        return ckr_err(e, rv, "list the token's mechanisms");
    if (count > MECHANISMS_MAX)
        return err_set(e, ERR_TOKEN, "the token lists more mechanisms than were asked for");
    for (size_t i = 0; i < MECHANISM_COUNT; i++)
        if (mechanisms[i].alg == ret->alg && signs(m, slot, &mechanisms[i], has, count)) {
            ret->type = mechanisms[i].type;
            return 0;
        }
    return err_set(e, ERR_TOKEN_REFUSED, "the token has no mechanism to sign with a %s key",
            signature_info(ret->alg)->name);
}

static enum input input_of(const struct module_mechanism *how)
{
    size_t i = 0;

    while (i < MECHANISM_COUNT - 1 &&
            (mechanisms[i].type != how->type || mechanisms[i].alg != how->alg))
        i++;
    return mechanisms[i].input;
}

int module_sign_input(const struct module_mechanism *how, const void *bytes, size_t len,
        struct buf *out, struct err *e)
{
    enum input input = input_of(how);
    /* not EVP_Q_digest(): it looks the digest up among the providers each time */
    const EVP_MD *md;
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned digest_len = 0;

    if (input == INPUT_MESSAGE)
        return buf_append(out, bytes, len, e);
    md = EVP_get_digestbyname(signature_info(how->alg)->digest);
    if (!md || EVP_Digest(bytes, len, digest, &digest_len, md, NULL) != 1)
        return err_set(e, ERR_NOMEM, "no digest can be made");
    if (input == INPUT_DIGEST_INFO &&
            buf_append(out, digest_info_sha256, sizeof digest_info_sha256, e) < 0)
        return -1;
    return buf_append(out, digest, digest_len, e);
}
