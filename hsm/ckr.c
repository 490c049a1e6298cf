/* PKCS#11 return values, one table. What is not listed is ERR_TOKEN with its number: the line
 * stops, a person looks. */
#include "hsm/ckr.h"
#include <pkcs11-helper-1.0/pkcs11h-def.h>
#include "base/err.h"

static const struct {
    CK_RV rv;
    const char *name;
    enum err_id id;
} values[] = {
#define ROW(rv, id)                                                                                \
    {                                                                                              \
        rv, #rv, ERR_##id                                                                          \
    }
        ROW(CKR_CANCEL, TOKEN),
        ROW(CKR_HOST_MEMORY, NOMEM),
        ROW(CKR_SLOT_ID_INVALID, TOKEN_ABSENT),
        ROW(CKR_GENERAL_ERROR, TOKEN),
        ROW(CKR_FUNCTION_FAILED, TOKEN),
        ROW(CKR_ARGUMENTS_BAD, TOKEN),
        ROW(CKR_CANT_LOCK, TOKEN),
        ROW(CKR_NEED_TO_CREATE_THREADS, TOKEN),
        ROW(CKR_ATTRIBUTE_SENSITIVE, TOKEN),
        ROW(CKR_ATTRIBUTE_TYPE_INVALID, TOKEN),
        ROW(CKR_ATTRIBUTE_VALUE_INVALID, TOKEN),
        ROW(CKR_DATA_INVALID, TOKEN),
        ROW(CKR_DATA_LEN_RANGE, TOKEN),
        ROW(CKR_DEVICE_ERROR, TOKEN),
        ROW(CKR_DEVICE_MEMORY, TOKEN_FULL),
        ROW(CKR_DEVICE_REMOVED, TOKEN_ABSENT),
        ROW(CKR_FUNCTION_CANCELED, TOKEN),
        ROW(CKR_FUNCTION_NOT_SUPPORTED, TOKEN),
        ROW(CKR_KEY_HANDLE_INVALID, TOKEN),
        ROW(CKR_KEY_SIZE_RANGE, TOKEN),
        ROW(CKR_KEY_TYPE_INCONSISTENT, TOKEN),
        ROW(CKR_KEY_FUNCTION_NOT_PERMITTED, TOKEN),
        ROW(CKR_MECHANISM_INVALID, TOKEN),
        ROW(CKR_MECHANISM_PARAM_INVALID, TOKEN),
        ROW(CKR_OBJECT_HANDLE_INVALID, TOKEN),
        ROW(CKR_OPERATION_ACTIVE, TOKEN),
        ROW(CKR_OPERATION_NOT_INITIALIZED, TOKEN),
        ROW(CKR_PIN_INCORRECT, TOKEN_PIN),
        ROW(CKR_PIN_INVALID, TOKEN_PIN),
        ROW(CKR_PIN_LEN_RANGE, TOKEN_PIN),
        ROW(CKR_PIN_EXPIRED, TOKEN_PIN),
        ROW(CKR_PIN_LOCKED, TOKEN_LOCKED),
        ROW(CKR_SESSION_CLOSED, TOKEN),
        ROW(CKR_SESSION_COUNT, TOKEN),
        ROW(CKR_SESSION_HANDLE_INVALID, TOKEN),
        ROW(CKR_SESSION_READ_ONLY, TOKEN),
        ROW(CKR_SESSION_EXISTS, TOKEN),
        ROW(CKR_SIGNATURE_INVALID, SIGNATURE),
        ROW(CKR_SIGNATURE_LEN_RANGE, SIGNATURE),
        ROW(CKR_TEMPLATE_INCOMPLETE, TOKEN),
        ROW(CKR_TEMPLATE_INCONSISTENT, TOKEN),
        ROW(CKR_TOKEN_NOT_PRESENT, TOKEN_ABSENT),
        ROW(CKR_TOKEN_NOT_RECOGNIZED, TOKEN_ABSENT),
        ROW(CKR_TOKEN_WRITE_PROTECTED, TOKEN),
        ROW(CKR_USER_ALREADY_LOGGED_IN, TOKEN),
        ROW(CKR_USER_NOT_LOGGED_IN, TOKEN),
        ROW(CKR_USER_PIN_NOT_INITIALIZED, TOKEN_PIN),
        ROW(CKR_USER_TYPE_INVALID, TOKEN),
        ROW(CKR_USER_ANOTHER_ALREADY_LOGGED_IN, TOKEN),
        ROW(CKR_DOMAIN_PARAMS_INVALID, TOKEN),
        ROW(CKR_CURVE_NOT_SUPPORTED, TOKEN),
        ROW(CKR_BUFFER_TOO_SMALL, TOKEN),
        ROW(CKR_CRYPTOKI_NOT_INITIALIZED, TOKEN),
        ROW(CKR_CRYPTOKI_ALREADY_INITIALIZED, TOKEN),
        ROW(CKR_FUNCTION_REJECTED, TOKEN),
#undef ROW
};
#define VALUE_COUNT (sizeof values / sizeof *values)

static size_t find(unsigned long rv)
{
    size_t i = 0;

    while (i < VALUE_COUNT && values[i].rv != rv)
        i++;
    return i;
}

const char *ckr_name(unsigned long rv)
{
    size_t i = find(rv);

    if (i < VALUE_COUNT)
        return values[i].name;
    return rv & CKR_VENDOR_DEFINED ? "CKR_VENDOR_DEFINED" : "CKR_?";
}

int ckr_err(struct err *e, unsigned long rv, const char *what)
{
    size_t i = find(rv);

    return err_set_code(e, i < VALUE_COUNT ? values[i].id : ERR_TOKEN, (long)rv, "%s: %s (0x%lx)",
            what, ckr_name(rv), rv);
}
