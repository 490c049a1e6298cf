/* A PKCS#11 module around SoftHSM that plays a card: it adds $CARD_FLAGS (hexadecimal) to the flags of each token, which a
 * SoftHSM never does by itself, and writes a byte to the file $CARD_LOGINS at each C_Login. With $CARD_NOISE it prints. */
#include <dlfcn.h>
#include <fcntl.h>
#include <pkcs11-helper-1.0/pkcs11h-def.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static CK_FUNCTION_LIST card, *real;

static CK_RV get_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
    const char *flags = getenv("CARD_FLAGS");
    CK_RV rv = real->C_GetTokenInfo(slot, info);

    if (rv == CKR_OK && flags)
        info->flags |= strtoul(flags, NULL, 16);
    return rv;
}

static CK_RV login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR *pin, CK_ULONG len)
{
    const char *path = getenv("CARD_LOGINS");
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;

    if (fd >= 0 && write(fd, "x", 1) != 1)
        abort();
    if (fd >= 0)
        close(fd);
    return real->C_Login(session, user, pin, len);
}

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST **ret)
{
    void *softhsm = dlopen("/usr/lib/softhsm/libsofthsm2.so", RTLD_NOW | RTLD_LOCAL);
    CK_RV (*get)(CK_FUNCTION_LIST **) = NULL;

    if (softhsm)
        *(void **)&get = dlsym(softhsm, "C_GetFunctionList");
    if (!get || get(&real) != CKR_OK)
        return CKR_GENERAL_ERROR;
    if (getenv("CARD_NOISE"))
        puts("S: this module has something to say");
    card = *real;
    card.C_GetTokenInfo = get_token_info;
    card.C_Login = login;
    *ret = &card;
    return CKR_OK;
}
