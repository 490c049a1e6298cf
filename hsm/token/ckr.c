/* PKCS#11 return values, one table: every one of v2.40 and v3.0, each judged on purpose. What is not
 * listed is a vendor's, or none: ERR_TOKEN with its number, and a person looks. */
#include "hsm/token/ckr.h"
#include <pkcs11-helper-1.0/pkcs11h-def.h>
#include "base/err.h"

/* v3.0 and what pkcs11-helper's header leaves out */
#define CKR_LIBRARY_LOAD_FAILED     0x1b7UL
#define CKR_PIN_TOO_WEAK            0x1b8UL
#define CKR_PUBLIC_KEY_INVALID      0x1b9UL
#define CKR_AEAD_DECRYPT_FAILED     0x42UL
#define CKR_NEW_PIN_MODE            0x1b0UL
#define CKR_NEXT_OTP                0x1b1UL
#define CKR_EXCEEDED_MAX_ITERATIONS 0x1b5UL
#define CKR_FIPS_SELF_TEST_FAILED   0x1b6UL
#define CKR_TOKEN_RESOURCE_EXCEEDED 0x201UL
#define CKR_OPERATION_CANCEL_FAILED 0x202UL
#define CKR_KEY_EXHAUSTED           0x203UL

static const struct {
    CK_RV rv;
    const char *name;
    enum err_id id;
} values[] = {
#define ROW(rv, id)                                                                                \
    {                                                                                              \
        rv, #rv, ERR_##id                                                                          \
    }
        /* it is not there */
        ROW(CKR_SLOT_ID_INVALID, TOKEN_ABSENT),
        ROW(CKR_DEVICE_REMOVED, TOKEN_ABSENT),
        ROW(CKR_TOKEN_NOT_PRESENT, TOKEN_ABSENT),
        ROW(CKR_TOKEN_NOT_RECOGNIZED, TOKEN_ABSENT),
        ROW(CKR_LIBRARY_LOAD_FAILED, TOKEN_ABSENT),
        /* the PIN: none of these is ever followed by another login */
        ROW(CKR_PIN_INCORRECT, TOKEN_PIN),
        ROW(CKR_PIN_INVALID, TOKEN_PIN),
        ROW(CKR_PIN_LEN_RANGE, TOKEN_PIN),
        ROW(CKR_PIN_EXPIRED, TOKEN_PIN),
        ROW(CKR_PIN_TOO_WEAK, TOKEN_PIN),
        ROW(CKR_NEW_PIN_MODE, TOKEN_PIN),
        ROW(CKR_NEXT_OTP, TOKEN_PIN),
        ROW(CKR_USER_PIN_NOT_INITIALIZED, TOKEN_PIN),
        ROW(CKR_USER_TYPE_INVALID, TOKEN_PIN),
        ROW(CKR_PIN_LOCKED, TOKEN_LOCKED),
        /* it has no room */
        ROW(CKR_DEVICE_MEMORY, TOKEN_FULL),
        ROW(CKR_TOKEN_RESOURCE_EXCEEDED, TOKEN_FULL),
        ROW(CKR_HOST_MEMORY, NOMEM),
        /* sessions and logins that come and go: a fresh process starts with a fresh one */
        ROW(CKR_SESSION_CLOSED, TOKEN_BUSY),
        ROW(CKR_SESSION_COUNT, TOKEN_BUSY),
        ROW(CKR_SESSION_HANDLE_INVALID, TOKEN_BUSY),
        ROW(CKR_SESSION_EXISTS, TOKEN_BUSY),
        ROW(CKR_SESSION_READ_ONLY_EXISTS, TOKEN_BUSY),
        ROW(CKR_SESSION_READ_WRITE_SO_EXISTS, TOKEN_BUSY),
        ROW(CKR_USER_NOT_LOGGED_IN, TOKEN_BUSY),
        ROW(CKR_USER_ALREADY_LOGGED_IN, TOKEN_BUSY),
        ROW(CKR_USER_ANOTHER_ALREADY_LOGGED_IN, TOKEN_BUSY),
        ROW(CKR_USER_TOO_MANY_TYPES, TOKEN_BUSY),
        ROW(CKR_OPERATION_ACTIVE, TOKEN_BUSY),
        ROW(CKR_OPERATION_NOT_INITIALIZED, TOKEN_BUSY),
        ROW(CKR_OPERATION_CANCEL_FAILED, TOKEN_BUSY),
        ROW(CKR_FUNCTION_CANCELED, TOKEN_BUSY),
        ROW(CKR_CANCEL, TOKEN_BUSY),
        ROW(CKR_NO_EVENT, TOKEN_BUSY),
        ROW(CKR_KEY_HANDLE_INVALID, TOKEN_BUSY),
        ROW(CKR_OBJECT_HANDLE_INVALID, TOKEN_BUSY),
        /* what the token's policy, the key's attributes or the module's abilities rule out */
        ROW(CKR_ACTION_PROHIBITED, TOKEN_REFUSED),
        ROW(CKR_ATTRIBUTE_READ_ONLY, TOKEN_REFUSED),
        ROW(CKR_ATTRIBUTE_SENSITIVE, TOKEN_REFUSED),
        ROW(CKR_ATTRIBUTE_TYPE_INVALID, TOKEN_REFUSED),
        ROW(CKR_ATTRIBUTE_VALUE_INVALID, TOKEN_REFUSED),
        ROW(CKR_CURVE_NOT_SUPPORTED, TOKEN_REFUSED),
        ROW(CKR_DOMAIN_PARAMS_INVALID, TOKEN_REFUSED),
        ROW(CKR_FUNCTION_NOT_SUPPORTED, TOKEN_REFUSED),
        ROW(CKR_FUNCTION_REJECTED, TOKEN_REFUSED),
        ROW(CKR_INFORMATION_SENSITIVE, TOKEN_REFUSED),
        ROW(CKR_KEY_EXHAUSTED, TOKEN_REFUSED),
        ROW(CKR_KEY_FUNCTION_NOT_PERMITTED, TOKEN_REFUSED),
        ROW(CKR_KEY_NOT_WRAPPABLE, TOKEN_REFUSED),
        ROW(CKR_KEY_SIZE_RANGE, TOKEN_REFUSED),
        ROW(CKR_KEY_TYPE_INCONSISTENT, TOKEN_REFUSED),
        ROW(CKR_KEY_UNEXTRACTABLE, TOKEN_REFUSED),
        ROW(CKR_MECHANISM_INVALID, TOKEN_REFUSED),
        ROW(CKR_MECHANISM_PARAM_INVALID, TOKEN_REFUSED),
        ROW(CKR_SESSION_PARALLEL_NOT_SUPPORTED, TOKEN_REFUSED),
        ROW(CKR_SESSION_READ_ONLY, TOKEN_REFUSED),
        ROW(CKR_STATE_UNSAVEABLE, TOKEN_REFUSED),
        ROW(CKR_TEMPLATE_INCOMPLETE, TOKEN_REFUSED),
        ROW(CKR_TEMPLATE_INCONSISTENT, TOKEN_REFUSED),
        ROW(CKR_TOKEN_WRITE_PROTECTED, TOKEN_REFUSED),
        /* it does not work, or the module does not */
        ROW(CKR_SIGNATURE_INVALID, SIGNATURE),
        ROW(CKR_SIGNATURE_LEN_RANGE, SIGNATURE),
        ROW(CKR_GENERAL_ERROR, TOKEN),
        ROW(CKR_FUNCTION_FAILED, TOKEN),
        ROW(CKR_DEVICE_ERROR, TOKEN),
        ROW(CKR_FIPS_SELF_TEST_FAILED, TOKEN),
        ROW(CKR_ARGUMENTS_BAD, TOKEN),
        ROW(CKR_BUFFER_TOO_SMALL, TOKEN),
        ROW(CKR_CANT_LOCK, TOKEN),
        ROW(CKR_NEED_TO_CREATE_THREADS, TOKEN),
        ROW(CKR_MUTEX_BAD, TOKEN),
        ROW(CKR_MUTEX_NOT_LOCKED, TOKEN),
        ROW(CKR_CRYPTOKI_NOT_INITIALIZED, TOKEN),
        ROW(CKR_CRYPTOKI_ALREADY_INITIALIZED, TOKEN),
        ROW(CKR_FUNCTION_NOT_PARALLEL, TOKEN),
        ROW(CKR_DATA_INVALID, TOKEN),
        ROW(CKR_DATA_LEN_RANGE, TOKEN),
        ROW(CKR_RANDOM_NO_RNG, TOKEN),
        ROW(CKR_RANDOM_SEED_NOT_SUPPORTED, TOKEN),
        ROW(CKR_EXCEEDED_MAX_ITERATIONS, TOKEN),
        ROW(CKR_SAVED_STATE_INVALID, TOKEN),
        /* answers to what is never asked */
        ROW(CKR_AEAD_DECRYPT_FAILED, TOKEN),
        ROW(CKR_ENCRYPTED_DATA_INVALID, TOKEN),
        ROW(CKR_ENCRYPTED_DATA_LEN_RANGE, TOKEN),
        ROW(CKR_KEY_CHANGED, TOKEN),
        ROW(CKR_KEY_INDIGESTIBLE, TOKEN),
        ROW(CKR_KEY_NEEDED, TOKEN),
        ROW(CKR_KEY_NOT_NEEDED, TOKEN),
        ROW(CKR_PUBLIC_KEY_INVALID, TOKEN),
        ROW(CKR_UNWRAPPING_KEY_HANDLE_INVALID, TOKEN),
        ROW(CKR_UNWRAPPING_KEY_SIZE_RANGE, TOKEN),
        ROW(CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT, TOKEN),
        ROW(CKR_WRAPPED_KEY_INVALID, TOKEN),
        ROW(CKR_WRAPPED_KEY_LEN_RANGE, TOKEN),
        ROW(CKR_WRAPPING_KEY_HANDLE_INVALID, TOKEN),
        ROW(CKR_WRAPPING_KEY_SIZE_RANGE, TOKEN),
        ROW(CKR_WRAPPING_KEY_TYPE_INCONSISTENT, TOKEN),
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

size_t ckr_count(void)
{
    return VALUE_COUNT;
}

unsigned long ckr_at(size_t i)
{
    return values[i].rv;
}

int ckr_err(struct err *e, unsigned long rv, const char *what)
{
    size_t i = find(rv);

    return err_set_code(e, i < VALUE_COUNT ? values[i].id : ERR_TOKEN, (long)rv, "%s: %s (0x%lx)",
            what, ckr_name(rv), rv);
}
