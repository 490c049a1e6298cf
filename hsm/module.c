/* Direct PKCS#11. Promises that a key is named by label and id, that it cannot leave the token, and
 * that what is signed was hashed by us. Never logs in: the PIN is its callers' affair. */
#include "hsm/module.h"
#include <dlfcn.h>
#include <openssl/evp.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/text.h"
#include "hsm/ckr.h"

#define SLOTS_MAX      64 /* network HSMs show one slot a partition */
#define ATTRIBUTE_MAX  2048
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
    unsigned found = 0;

    if (rv != CKR_OK)
        return ckr_err(e, rv, "list the slots of the PKCS#11 module");
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;

        /* a slot that cannot answer is not ours to report: the token may be in another */
        if (m->f->C_GetTokenInfo(slots[i], &info) != CKR_OK ||
                !(info.flags & CKF_TOKEN_INITIALIZED) || !label_is(&info, label))
            continue;
        *ret = slots[i];
        found++;
    }
    if (!found)
        return err_set(e, ERR_TOKEN_ABSENT, "no token is labelled '%s' (%lu tokens present)", label,
                count);
    if (found > 1)
        return err_set(e, ERR_CONFIG, "%u tokens are labelled '%s': give each its own label", found,
                label);
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

int module_find_key(const struct module *m, CK_SESSION_HANDLE session,
        const struct module_key_name *name, CK_OBJECT_HANDLE *ret, struct err *e)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    uint8_t id[MODULE_KEY_ID_MAX];
    CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof class}, {CKA_ID, id, name->id_len}};
    CK_OBJECT_HANDLE found[2];
    CK_ULONG count = 0;
    struct buf label = BUF_INIT;
    CK_RV rv;
    int r = -1;

    memcpy(id, name->id, sizeof id);
    rv = m->f->C_FindObjectsInit(session, wanted, 2);
    if (rv == CKR_OK) {
        rv = m->f->C_FindObjects(session, found, 2, &count);
        m->f->C_FindObjectsFinal(session);
    }
    if (rv != CKR_OK)
        return ckr_err(e, rv, "look for the CA key");
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

int module_check_key(
        const struct module *m, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key, struct err *e)
{
    CK_BBOOL sensitive = CK_FALSE, extractable = CK_TRUE;
    CK_ATTRIBUTE a[] = {{CKA_SENSITIVE, &sensitive, sizeof sensitive},
            {CKA_EXTRACTABLE, &extractable, sizeof extractable}};
    CK_RV rv = m->f->C_GetAttributeValue(session, key, a, 2);

    if (rv != CKR_OK)
        return ckr_err(e, rv, "read the CA key's attributes");
    if (sensitive != CK_TRUE || extractable != CK_FALSE)
        return err_set(e, ERR_KEY_POLICY, "the CA key is %s in the token",
                sensitive ? "extractable" : "not sensitive");
    return 0;
}

/* ---- mechanisms */

static const struct {
    enum signature_alg alg;
    CK_MECHANISM_TYPE type;
} mechanisms[] = {
        /* in order of preference: the plain RSA block is what most tokens have */
        {SIGNATURE_ECDSA_P256, CKM_ECDSA},
        {SIGNATURE_ECDSA_P384, CKM_ECDSA},
        {SIGNATURE_RSA, CKM_RSA_PKCS},
        {SIGNATURE_RSA, CKM_SHA256_RSA_PKCS},
};
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
        return ckr_err(e, rv, "read the CA key's type");
    if (type == CKK_RSA) {
        *ret = SIGNATURE_RSA;
        return 0;
    }
    if (type == CKK_EC && module_get_attribute(m, session, key, CKA_EC_PARAMS, &params, e) < 0)
        goto out;
    if (params.len == sizeof params_p256 && memcmp(params.data, params_p256, params.len) == 0)
        *ret = SIGNATURE_ECDSA_P256;
    else if (params.len == sizeof params_p384 && memcmp(params.data, params_p384, params.len) == 0)
        *ret = SIGNATURE_ECDSA_P384;
    else {
        err_set(e, ERR_TOKEN, "the CA key is not P-256, P-384 or RSA");
        goto out;
    }
    r = 0;
out:
    buf_done(&params);
    return r;
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
    for (size_t i = 0; i < sizeof mechanisms / sizeof *mechanisms; i++)
        for (CK_ULONG j = 0; j < count && mechanisms[i].alg == ret->alg; j++)
            if (has[j] == mechanisms[i].type) {
                ret->type = has[j];
                return 0;
            }
    return err_set(e, ERR_TOKEN, "the token has no mechanism to sign with a %s key",
            signature_info(ret->alg)->name);
}

int module_sign_input(const struct module_mechanism *how, const void *bytes, size_t len,
        struct buf *out, struct err *e)
{
    /* not EVP_Q_digest(): it looks the digest up among the providers each time */
    const EVP_MD *md = EVP_get_digestbyname(signature_info(how->alg)->digest);
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned digest_len = 0;

    if (how->type == CKM_SHA256_RSA_PKCS)
        return buf_append(out, bytes, len, e);
    if (!md || EVP_Digest(bytes, len, digest, &digest_len, md, NULL) != 1)
        return err_set(e, ERR_NOMEM, "no digest can be made");
    if (how->type == CKM_RSA_PKCS &&
            buf_append(out, digest_info_sha256, sizeof digest_info_sha256, e) < 0)
        return -1;
    return buf_append(out, digest, digest_len, e);
}
