/* A PKCS#11 module around another ($KEYLINE_FAULT_MODULE, default SoftHSM) that fails as told. It
 * reads $KEYLINE_ROOT/fault at each call, one rule a line, FUNCTION CALL ACTION:
 *   C_Sign 3 CKR_DEVICE_ERROR    the third C_Sign of each process; "*" is every call, and as a
 *   C_Sign * delay 200           FUNCTION every function. Actions: a CKR name or number, "delay MS",
 *   C_Login * CKR_X once         the next one only: the rules are forgotten with it
 *   C_Login 1 hang               "hang", "crash", "wrong" (a bit of what comes out is turned),
 *   C_FindObjects * long         "long" (lengths beyond the caller's room), "removed" (from then on
 *   C_GetTokenInfo * set 0x100   all calls fail, until $KEYLINE_ROOT/removed is deleted), "set BITS"
 *   C_GetTokenInfo * unset 4     and "unset BITS" (of the flags that come out; for C_FindObjectsInit it
 *                                is the type of an attribute that the search leaves out)
 * C_Login writes a byte to $KEYLINE_ROOT/logins; if $KEYLINE_ROOT/calls exists, each call adds a line
 * "PID FUNCTION CALL RV" to it. */
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pkcs11-helper-1.0/pkcs11h-def.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "hsm/token/ckr.h"

#define SOFTHSM   "/usr/lib/softhsm/libsofthsm2.so"
#define RULES_MAX 4096
#define FAR_LONG  100000 /* further than any room a caller gives, near enough not to be absurd */

static CK_FUNCTION_LIST faulty, *real;

enum action { NOTHING, ANSWER, WRONG, LONG, SET, UNSET };
struct fault {
    enum action action;
    CK_RV rv;     /* ANSWER */
    CK_FLAGS set; /* SET, UNSET */
};

static int open_file(const char *name, int flags)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/%s", getenv("KEYLINE_ROOT"), name);
    return open(path, flags | O_CLOEXEC, 0600);
}

/* O_APPEND keeps the lines of several processes whole */
static void append(const char *name, int flags, const char *text)
{
    int fd = open_file(name, O_WRONLY | O_APPEND | flags);

    if (fd < 0)
        return;
    if (write(fd, text, strlen(text)) < 0)
        abort();
    close(fd);
}

static bool removed(void)
{
    int fd = open_file("removed", O_RDONLY);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static CK_RV value_of(const char *name)
{
    for (size_t i = 0; i < ckr_count(); i++)
        if (strcmp(ckr_name(ckr_at(i)), name) == 0)
            return ckr_at(i);
    return strtoul(name, NULL, 0);
}

static struct fault act(const char *action, const char *arg)
{
    struct fault f = {0};
    long ms = strtol(arg, NULL, 10);

    if (strcmp(action, "crash") == 0)
        abort();
    if (strcmp(action, "hang") == 0)
        for (;;)
            pause();
    if (strcmp(action, "delay") == 0)
        nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
    else if (strcmp(action, "wrong") == 0)
        f.action = WRONG;
    else if (strcmp(action, "long") == 0)
        f.action = LONG;
    else if (strcmp(action, "set") == 0)
        f = (struct fault){.action = SET, .set = strtoul(arg, NULL, 0)};
    else if (strcmp(action, "unset") == 0)
        f = (struct fault){.action = UNSET, .set = strtoul(arg, NULL, 0)};
    else if (strcmp(action, "removed") == 0) {
        append("removed", O_CREAT, "");
        f = (struct fault){.action = ANSWER, .rv = CKR_DEVICE_REMOVED};
    } else {
        if (strcmp(arg, "once") == 0)
            close(open_file("fault", O_WRONLY | O_TRUNC));
        f = (struct fault){.action = ANSWER, .rv = value_of(action)};
    }
    return f;
}

static bool matches(
        const char *function, unsigned call, const char *rule_function, const char *rule_call)
{
    return (strcmp(rule_function, "*") == 0 || strcmp(rule_function, function) == 0) &&
           (strcmp(rule_call, "*") == 0 || strtoul(rule_call, NULL, 10) == call);
}

/* The first rule that fits. */
static struct fault fault_for(const char *function, unsigned call)
{
    char rules[RULES_MAX], rule_function[64], rule_call[16], action[64], arg[16];
    int fd = open_file("fault", O_RDONLY);
    ssize_t n = fd < 0 ? 0 : read(fd, rules, sizeof rules - 1);

    if (fd >= 0)
        close(fd);
    if (removed())
        /* an absent token's slot answers otherwise than a session that was open in it */
        return (struct fault){.action = ANSWER,
                .rv = strstr(function, "Slot") || strstr(function, "Token") ? CKR_TOKEN_NOT_PRESENT
                                                                            : CKR_DEVICE_REMOVED};
    rules[n > 0 ? n : 0] = '\0';
    for (char *next = NULL, *line = strtok_r(rules, "\n", &next); line;
            line = strtok_r(NULL, "\n", &next)) {
        arg[0] = '\0';
        if (sscanf(line, "%63s %15s %63s %15s", rule_function, rule_call, action, arg) >= 3 &&
                matches(function, call, rule_function, rule_call))
            return act(action, arg);
    }
    return (struct fault){0};
}

static CK_RV log_call(const char *function, unsigned call, CK_RV rv)
{
    char line[128];

    snprintf(line, sizeof line, "%d %s %u 0x%lx\n", (int)getpid(), function, call, rv);
    append("calls", 0, line);
    return rv;
}

static void turn_bit(CK_BYTE *bytes, const CK_ULONG *len)
{
    if (bytes && *len)
        bytes[*len / 2] ^= 1;
}

/* One wrapped function: its parameters, their names, what "wrong" and "long" mean for it. */
#define WRAP(name, parameters, arguments, wrong, too_long)                                         \
    static CK_RV faulty_##name parameters                                                          \
    {                                                                                              \
        static unsigned calls;                                                                     \
        struct fault f = fault_for(#name, ++calls);                                                \
        CK_RV rv = f.action == ANSWER ? f.rv : real->name arguments;                               \
                                                                                                   \
        if (rv == CKR_OK && f.action == WRONG) {                                                   \
            wrong;                                                                                 \
        }                                                                                          \
        if (rv == CKR_OK && f.action == LONG) {                                                    \
            too_long;                                                                              \
        }                                                                                          \
        return log_call(#name, calls, rv);                                                         \
    }
#define NONE (void)0

/* clang-format off */ /* a table */
WRAP(C_Initialize, (void *a), (a), NONE, NONE)
WRAP(C_Finalize, (void *a), (a), NONE, NONE)
WRAP(C_GetInfo, (CK_INFO *a), (a), NONE, NONE)
WRAP(C_GetSlotList, (CK_BBOOL a, CK_SLOT_ID *b, CK_ULONG *c), (a, b, c), NONE, if (b) *c += FAR_LONG)
WRAP(C_GetSlotInfo, (CK_SLOT_ID a, CK_SLOT_INFO *b), (a, b), NONE, NONE)
WRAP(C_GetMechanismList, (CK_SLOT_ID a, CK_MECHANISM_TYPE *b, CK_ULONG *c), (a, b, c), if (b) *c = 0, *c += FAR_LONG)
WRAP(C_GetMechanismInfo, (CK_SLOT_ID a, CK_MECHANISM_TYPE b, CK_MECHANISM_INFO *c), (a, b, c), c->flags = 0, NONE)
WRAP(C_InitToken, (CK_SLOT_ID a, CK_UTF8CHAR *b, CK_ULONG c, CK_UTF8CHAR *d), (a, b, c, d), NONE, NONE)
WRAP(C_InitPIN, (CK_SESSION_HANDLE a, CK_UTF8CHAR *b, CK_ULONG c), (a, b, c), NONE, NONE)
WRAP(C_OpenSession, (CK_SLOT_ID a, CK_FLAGS b, void *c, CK_NOTIFY d, CK_SESSION_HANDLE *e), (a, b, c, d, e), *e += 99, NONE)
WRAP(C_CloseSession, (CK_SESSION_HANDLE a), (a), NONE, NONE)
WRAP(C_GetSessionInfo, (CK_SESSION_HANDLE a, CK_SESSION_INFO *b), (a, b), b->state = CKS_RO_PUBLIC_SESSION, NONE)
WRAP(C_Logout, (CK_SESSION_HANDLE a), (a), NONE, NONE)
WRAP(C_CreateObject, (CK_SESSION_HANDLE a, CK_ATTRIBUTE *b, CK_ULONG c, CK_OBJECT_HANDLE *d), (a, b, c, d), NONE, NONE)
WRAP(C_CopyObject, (CK_SESSION_HANDLE a, CK_OBJECT_HANDLE b, CK_ATTRIBUTE *c, CK_ULONG d, CK_OBJECT_HANDLE *e), (a, b, c, d, e), NONE, NONE)
WRAP(C_DestroyObject, (CK_SESSION_HANDLE a, CK_OBJECT_HANDLE b), (a, b), NONE, NONE)
WRAP(C_SetAttributeValue, (CK_SESSION_HANDLE a, CK_OBJECT_HANDLE b, CK_ATTRIBUTE *c, CK_ULONG d), (a, b, c, d), NONE, NONE)
WRAP(C_GetAttributeValue, (CK_SESSION_HANDLE a, CK_OBJECT_HANDLE b, CK_ATTRIBUTE *c, CK_ULONG d), (a, b, c, d), turn_bit(c->pValue, &c->ulValueLen), c[d - 1].ulValueLen += FAR_LONG)
WRAP(C_FindObjects, (CK_SESSION_HANDLE a, CK_OBJECT_HANDLE *b, CK_ULONG c, CK_ULONG *d), (a, b, c, d), if (*d) b[0] += 99, *d = c + FAR_LONG)
WRAP(C_FindObjectsFinal, (CK_SESSION_HANDLE a), (a), NONE, NONE)
WRAP(C_SignInit, (CK_SESSION_HANDLE a, CK_MECHANISM *b, CK_OBJECT_HANDLE c), (a, b, c), NONE, NONE)
WRAP(C_Sign, (CK_SESSION_HANDLE a, CK_BYTE *b, CK_ULONG c, CK_BYTE *d, CK_ULONG *e), (a, b, c, d, e), turn_bit(d, e), *e += FAR_LONG)
WRAP(C_SignRecoverInit, (CK_SESSION_HANDLE a, CK_MECHANISM *b, CK_OBJECT_HANDLE c), (a, b, c), NONE, NONE)
WRAP(C_GenerateKeyPair, (CK_SESSION_HANDLE a, CK_MECHANISM *b, CK_ATTRIBUTE *c, CK_ULONG d, CK_ATTRIBUTE *e, CK_ULONG f_, CK_OBJECT_HANDLE *g, CK_OBJECT_HANDLE *h), (a, b, c, d, e, f_, g, h), NONE, NONE)
WRAP(C_GenerateRandom, (CK_SESSION_HANDLE a, CK_BYTE *b, CK_ULONG c), (a, b, c), NONE, NONE)
/* clang-format on */

static CK_RV faulty_C_GetTokenInfo(CK_SLOT_ID a, CK_TOKEN_INFO *b)
{
    static unsigned calls;
    struct fault f = fault_for("C_GetTokenInfo", ++calls);
    CK_RV rv = f.action == ANSWER ? f.rv : real->C_GetTokenInfo(a, b);

    if (rv == CKR_OK && f.action == WRONG)
        b->label[0] ^= 1;
    if (rv == CKR_OK && f.action == LONG)
        memset(b->label, 'x', sizeof b->label);
    if (rv == CKR_OK && f.action == SET)
        b->flags |= f.set;
    if (rv == CKR_OK && f.action == UNSET)
        b->flags &= ~f.set;
    return log_call("C_GetTokenInfo", calls, rv);
}

static CK_RV faulty_C_FindObjectsInit(CK_SESSION_HANDLE a, CK_ATTRIBUTE *b, CK_ULONG c)
{
    static unsigned calls;
    struct fault f = fault_for("C_FindObjectsInit", ++calls);
    CK_ATTRIBUTE left[8];
    CK_ULONG n = 0;

    for (CK_ULONG i = 0; f.action == UNSET && i < c && n < 8; i++)
        if (b[i].type != f.set)
            left[n++] = b[i];
    if (f.action != ANSWER)
        f.rv = n ? real->C_FindObjectsInit(a, left, n) : real->C_FindObjectsInit(a, b, c);
    return log_call("C_FindObjectsInit", calls, f.rv);
}

static CK_RV faulty_C_Login(CK_SESSION_HANDLE a, CK_USER_TYPE b, CK_UTF8CHAR *c, CK_ULONG d)
{
    static unsigned calls;
    struct fault f;
    CK_RV rv;

    append("logins", O_CREAT, "x");
    f = fault_for("C_Login", ++calls);
    rv = f.action == ANSWER ? f.rv : real->C_Login(a, b, c, d);
    return log_call("C_Login", calls, rv);
}

static void wrap_all(void)
{
    faulty = *real;
#define USE(name) faulty.name = faulty_##name
    USE(C_Initialize), USE(C_Finalize), USE(C_GetInfo), USE(C_GetSlotList), USE(C_GetSlotInfo);
    USE(C_GetTokenInfo), USE(C_GetMechanismList), USE(C_GetMechanismInfo), USE(C_InitToken);
    USE(C_InitPIN), USE(C_OpenSession), USE(C_CloseSession), USE(C_GetSessionInfo), USE(C_Login);
    USE(C_Logout), USE(C_CreateObject), USE(C_CopyObject), USE(C_DestroyObject);
    USE(C_SetAttributeValue), USE(C_GetAttributeValue), USE(C_FindObjectsInit), USE(C_FindObjects);
    USE(C_FindObjectsFinal), USE(C_SignInit), USE(C_Sign), USE(C_SignRecoverInit);
    USE(C_GenerateKeyPair), USE(C_GenerateRandom);
#undef USE
}

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST **ret)
{
    const char *name = getenv("KEYLINE_FAULT_MODULE");
    void *module = dlopen(name ? name : SOFTHSM, RTLD_NOW | RTLD_LOCAL);
    CK_RV (*get)(CK_FUNCTION_LIST **) = NULL;

    if (module)
        *(void **)&get = dlsym(module, "C_GetFunctionList");
    if (!get || get(&real) != CKR_OK)
        return CKR_GENERAL_ERROR;
    wrap_all();
    *ret = &faulty;
    return CKR_OK;
}
