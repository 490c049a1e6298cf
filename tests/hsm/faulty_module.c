/* A PKCS#11 module around SoftHSM that counts logins and fails as told: it reads one word from
 * $KEYLINE_ROOT/fault at each C_Sign ("wrong", "crash", "hang", "error"), and writes a byte to
 * $KEYLINE_ROOT/logins at each C_Login. */
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pkcs11-helper-1.0/pkcs11h-def.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static CK_FUNCTION_LIST faulty, *real;

static int open_file(const char *name, int flags)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/%s", getenv("KEYLINE_ROOT"), name);
    return open(path, flags | O_CLOEXEC, 0600);
}

static int told(const char *fault)
{
    char word[16] = "";
    int fd = open_file("fault", O_RDONLY);
    ssize_t n = fd < 0 ? 0 : read(fd, word, sizeof word - 1);

    if (fd >= 0)
        close(fd);
    return n > 0 && strcmp(word, fault) == 0;
}

static CK_RV login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR *pin, CK_ULONG len)
{
    int fd = open_file("logins", O_WRONLY | O_CREAT | O_APPEND);

    if (fd < 0 || write(fd, "x", 1) != 1)
        abort();
    close(fd);
    return real->C_Login(session, user, pin, len);
}

static CK_RV sign(
        CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG len, CK_BYTE *sig, CK_ULONG *sig_len)
{
    CK_RV rv;

    if (told("crash"))
        abort();
    if (told("hang"))
        pause();
    if (told("error"))
        return CKR_DEVICE_ERROR;
    rv = real->C_Sign(session, data, len, sig, sig_len);
    if (rv == CKR_OK && sig && told("wrong"))
        sig[*sig_len / 2] ^= 1;
    return rv;
}

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST **ret)
{
    void *softhsm = dlopen("/usr/lib/softhsm/libsofthsm2.so", RTLD_NOW | RTLD_LOCAL);
    CK_RV (*get)(CK_FUNCTION_LIST **) = NULL;

    if (softhsm)
        *(void **)&get = dlsym(softhsm, "C_GetFunctionList");
    if (!get || get(&real) != CKR_OK)
        return CKR_GENERAL_ERROR;
    faulty = *real;
    faulty.C_Login = login;
    faulty.C_Sign = sign;
    *ret = &faulty;
    return CKR_OK;
}
