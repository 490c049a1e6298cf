/* Marks in the token. Promises to touch no object but private ones with the mark's label, never to
 * remove the newest of them, nor one that could not be read. Believes nothing that somebody without
 * the PIN can put there. */
#include "hsm/token/mark.h"
#include <stdio.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "hsm/token/ckr.h"

#define MARKS_MAX 8
#define LABEL_MAX (sizeof "keyline-ledger " + NAME_BYTES_MAX)

static const char application[] = "keyline";
static const char too_many[] =
        "it has more private data objects with the label of the ledger's mark than the signer ever "
        "makes: somebody else made them; delete them";
static const char not_kept[] = "it does not keep a data object as it is told to, private";

struct found {
    CK_OBJECT_HANDLE object;
    uint8_t bytes[MARK_BYTES];
    uint64_t writes; /* 0: not a mark, or one that was not written to its end */
};

/* Whether the token said that it is not able to, rather than that it is not well just now. */
static bool is_refusal(CK_RV rv)
{
    switch (rv) {
    case CKR_HOST_MEMORY:
    case CKR_DEVICE_ERROR:
    case CKR_DEVICE_MEMORY:
    case CKR_DEVICE_REMOVED:
    case CKR_TOKEN_NOT_PRESENT:
    case CKR_TOKEN_NOT_RECOGNIZED:
    case CKR_SESSION_CLOSED:
    case CKR_SESSION_HANDLE_INVALID:
    case CKR_OBJECT_HANDLE_INVALID: /* another process has removed it meanwhile */
    case CKR_USER_NOT_LOGGED_IN:
    case CKR_CRYPTOKI_NOT_INITIALIZED:
        return false;
    default:
        return true;
    }
}

static int answer(struct buf *out, enum mark_answer a, const void *bytes, size_t len, struct err *e)
{
    uint8_t first = (uint8_t)a;

    return buf_append(out, &first, 1, e) < 0 ? -1 : buf_append(out, bytes, len, e);
}

static int answer_why(
        struct buf *out, enum mark_answer a, const char *what, CK_RV rv, struct err *e)
{
    char text[128];

    snprintf(text, sizeof text, "%s: %s", what, ckr_name(rv));
    return answer(out, a, text, strlen(text), e);
}

static int cannot(struct buf *out, const char *what, CK_RV rv, struct err *e)
{
    return is_refusal(rv) ? answer_why(out, MARK_CANNOT, what, rv, e) : ckr_err(e, rv, what);
}

/* A token that is taken for one that keeps no data objects lets an old ledger pass: only what is no matter of the moment says
 * that it is one. */
static int not_read(struct buf *out, const char *what, CK_RV rv, struct err *e)
{
    switch (rv) {
    case CKR_FUNCTION_NOT_SUPPORTED:
    case CKR_ATTRIBUTE_TYPE_INVALID:
    case CKR_ATTRIBUTE_VALUE_INVALID:
    case CKR_TEMPLATE_INCONSISTENT:
        return cannot(out, what, rv, e);
    default:
        return is_refusal(rv) ? answer_why(out, MARK_NOT_NOW, what, rv, e) : ckr_err(e, rv, what);
    }
}

static CK_ATTRIBUTE make_label(const char *station, char text[LABEL_MAX])
{
    snprintf(text, LABEL_MAX, "keyline-ledger %s", station);
    return (CK_ATTRIBUTE){CKA_LABEL, text, strlen(text)};
}

/* Asked of the object itself: not every token looks at all of a search's template. */
static CK_RV is_private(
        const struct module *m, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, bool *ret)
{
    CK_BBOOL value = CK_FALSE;
    CK_ATTRIBUTE a = {CKA_PRIVATE, &value, sizeof value};
    CK_RV rv = m->f->C_GetAttributeValue(session, object, &a, 1);

    *ret = rv == CKR_OK && a.ulValueLen == sizeof value && value == CK_TRUE;
    return rv;
}

/* *ret_ours: private, and not longer than a mark. An error of the token leaves open what it is. */
static CK_RV look_at(
        const struct module *m, CK_SESSION_HANDLE session, struct found *f, bool *ret_ours)
{
    CK_ATTRIBUTE value = {CKA_VALUE, f->bytes, sizeof f->bytes};
    struct mark mark;
    CK_RV rv = is_private(m, session, f->object, ret_ours);

    f->writes = 0;
    if (rv != CKR_OK || !*ret_ours)
        return rv;
    rv = m->f->C_GetAttributeValue(session, f->object, &value, 1);
    *ret_ours = rv == CKR_OK;
    if (rv == CKR_OK && mark_decode(f->bytes, value.ulValueLen, &mark) == 0)
        f->writes = mark.writes;
    return rv == CKR_BUFFER_TOO_SMALL ? CKR_OK : rv;
}

static CK_RV find_objects(const struct module *m, CK_SESSION_HANDLE session, const char *station,
        CK_OBJECT_HANDLE ret[MARKS_MAX], CK_ULONG *ret_count)
{
    char text[LABEL_MAX];
    CK_OBJECT_CLASS class = CKO_DATA;
    CK_BBOOL yes = CK_TRUE;
    CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof class}, {CKA_TOKEN, &yes, sizeof yes},
            {CKA_PRIVATE, &yes, sizeof yes}, make_label(station, text)};
    CK_RV rv = m->f->C_FindObjectsInit(session, wanted, sizeof wanted / sizeof *wanted);

    *ret_count = 0;
    if (rv != CKR_OK)
        return rv;
    rv = m->f->C_FindObjects(session, ret, MARKS_MAX, ret_count);
    m->f->C_FindObjectsFinal(session);
    /* more than it was given room for: a module that lies */
    return rv == CKR_OK && *ret_count > MARKS_MAX ? CKR_GENERAL_ERROR : rv;
}

/* All marks. 1: it could not be done, and that is the answer; -1: an error. */
static int find_marks(const struct module *m, CK_SESSION_HANDLE session, const char *station,
        struct found *ret, size_t *ret_count, struct buf *out, struct err *e)
{
    CK_OBJECT_HANDLE objects[MARKS_MAX];
    CK_ULONG count;
    CK_RV rv = find_objects(m, session, station, objects, &count);

    *ret_count = 0;
    /* the newest may be among those that had no room */
    if (rv == CKR_OK && count == MARKS_MAX)
        return answer(out, MARK_CANNOT, too_many, sizeof too_many - 1, e) < 0 ? -1 : 1;
    for (CK_ULONG i = 0; rv == CKR_OK && i < count; i++) {
        bool ours;

        ret[*ret_count].object = objects[i];
        rv = look_at(m, session, &ret[*ret_count], &ours);
        *ret_count += ours;
    }
    if (rv == CKR_OK)
        return 0;
    return not_read(out, "look for the ledger's mark", rv, e) < 0 ? -1 : 1;
}

static const struct found *newest_of(const struct found *found, size_t count)
{
    const struct found *newest = NULL;

    for (size_t i = 0; i < count; i++)
        if (found[i].writes && (!newest || found[i].writes > newest->writes))
            newest = &found[i];
    return newest;
}

int mark_read(const struct module *m, CK_SLOT_ID slot, const char *station, struct buf *out,
        struct err *e)
{
    struct found found[MARKS_MAX];
    const struct found *newest;
    CK_SESSION_HANDLE session;
    size_t count;
    int r;
    CK_RV rv = m->f->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &session);

    if (rv != CKR_OK)
        return not_read(out, "open a session for the ledger's mark", rv, e);
    r = find_marks(m, session, station, found, &count, out, e);
    m->f->C_CloseSession(session);
    if (r)
        return r < 0 ? -1 : 0;
    newest = newest_of(found, count);
    return newest ? answer(out, MARK_FOUND, newest->bytes, MARK_BYTES, e)
                  : answer(out, MARK_NONE, NULL, 0, e);
}

static CK_RV create(const struct module *m, CK_SESSION_HANDLE session, const char *station,
        const uint8_t *mark, CK_OBJECT_HANDLE *ret)
{
    char text[LABEL_MAX];
    CK_OBJECT_CLASS class = CKO_DATA;
    CK_BBOOL yes = CK_TRUE;
    CK_ATTRIBUTE a[] = {{CKA_CLASS, &class, sizeof class}, {CKA_TOKEN, &yes, sizeof yes},
            {CKA_PRIVATE, &yes, sizeof yes}, make_label(station, text),
            {CKA_APPLICATION, (void *)(uintptr_t)application, sizeof application - 1},
            {CKA_VALUE, (void *)(uintptr_t)mark, MARK_BYTES}};

    return m->f->C_CreateObject(session, a, sizeof a / sizeof *a, ret);
}

/* Of what create() made: a start would not find it as anything else. */
static int check_kept(const struct module *m, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
        const uint8_t *mark, struct buf *out, struct err *e)
{
    struct found made = {.object = object};
    bool ours;
    CK_RV rv = look_at(m, session, &made, &ours);

    if (rv != CKR_OK)
        return cannot(out, "read the ledger's new mark", rv, e);
    if (ours && memcmp(made.bytes, mark, MARK_BYTES) == 0)
        return answer(out, MARK_WRITTEN, NULL, 0, e);
    m->f->C_DestroyObject(session, object);
    return answer(out, MARK_CANNOT, not_kept, sizeof not_kept - 1, e);
}

static int replace(const struct module *m, CK_SESSION_HANDLE session, const char *station,
        const uint8_t *mark, struct buf *out, struct err *e)
{
    struct found found[MARKS_MAX];
    const struct found *newest;
    CK_OBJECT_HANDLE made;
    size_t count;
    CK_RV rv = CKR_OK;
    int r = find_marks(m, session, station, found, &count, out, e);

    if (r)
        return r < 0 ? -1 : 0;
    newest = newest_of(found, count);
    for (size_t i = 0; i < count && rv == CKR_OK; i++)
        if (&found[i] != newest)
            rv = m->f->C_DestroyObject(session, found[i].object);
    if (rv == CKR_OK)
        rv = create(m, session, station, mark, &made);
    return rv == CKR_OK ? check_kept(m, session, made, mark, out, e)
                        : cannot(out, "write the ledger's mark", rv, e);
}

int mark_write(const struct module *m, CK_SLOT_ID slot, const char *station,
        const uint8_t mark[MARK_BYTES], struct buf *out, struct err *e)
{
    CK_SESSION_HANDLE session;
    CK_RV rv = m->f->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session);
    int r;

    if (rv != CKR_OK)
        return not_read(out, "open a session for the ledger's mark", rv, e);
    r = replace(m, session, station, mark, out, e);
    m->f->C_CloseSession(session);
    return r;
}
