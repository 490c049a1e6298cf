/* Marks in the token. Promises to touch no object but those with the mark's label, and never to remove
 * the newest of them. */
#include "hsm/mark.h"
#include <stdio.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"
#include "hsm/ckr.h"

#define MARKS_MAX 8
#define LABEL_MAX (sizeof "keyline-ledger " + NAME_BYTES_MAX)

static const char application[] = "keyline";

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

static int cannot(struct buf *out, const char *what, CK_RV rv, struct err *e)
{
    char text[128];

    if (!is_refusal(rv))
        return ckr_err(e, rv, what);
    snprintf(text, sizeof text, "%s: %s", what, ckr_name(rv));
    return answer(out, MARK_CANNOT, text, strlen(text), e);
}

static CK_ATTRIBUTE make_label(const char *station, char text[LABEL_MAX])
{
    snprintf(text, LABEL_MAX, "keyline-ledger %s", station);
    return (CK_ATTRIBUTE){CKA_LABEL, text, strlen(text)};
}

/* All objects with the label. */
static CK_RV find_marks(const struct module *m, CK_SESSION_HANDLE session, const char *station,
        struct found *ret, size_t *ret_count)
{
    char text[LABEL_MAX];
    CK_OBJECT_CLASS class = CKO_DATA;
    CK_BBOOL yes = CK_TRUE;
    CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof class}, {CKA_TOKEN, &yes, sizeof yes},
            make_label(station, text)};
    CK_OBJECT_HANDLE objects[MARKS_MAX];
    CK_ULONG count = 0;
    CK_RV rv = m->f->C_FindObjectsInit(session, wanted, 3);

    if (rv == CKR_OK) {
        rv = m->f->C_FindObjects(session, objects, MARKS_MAX, &count);
        m->f->C_FindObjectsFinal(session);
        if (rv == CKR_OK && count > MARKS_MAX)
            rv = CKR_GENERAL_ERROR; /* more than it was given room for: a module that lies */
    }
    *ret_count = rv == CKR_OK ? count : 0;
    for (size_t i = 0; i < *ret_count; i++) {
        struct found *f = &ret[i];
        CK_ATTRIBUTE value = {CKA_VALUE, f->bytes, sizeof f->bytes};
        struct mark mark;

        f->object = objects[i];
        f->writes = 0;
        /* one that cannot be read was being written when the power went */
        if (m->f->C_GetAttributeValue(session, objects[i], &value, 1) == CKR_OK &&
                mark_decode(f->bytes, value.ulValueLen, &mark) == 0)
            f->writes = mark.writes;
    }
    return rv;
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
    CK_RV rv = m->f->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &session);

    if (rv != CKR_OK)
        return cannot(out, "open a session for the ledger's mark", rv, e);
    rv = find_marks(m, session, station, found, &count);
    m->f->C_CloseSession(session);
    if (rv != CKR_OK)
        return cannot(out, "look for the ledger's mark", rv, e);
    newest = newest_of(found, count);
    return newest ? answer(out, MARK_FOUND, newest->bytes, MARK_BYTES, e)
                  : answer(out, MARK_NONE, NULL, 0, e);
}

static CK_RV create(
        const struct module *m, CK_SESSION_HANDLE session, const char *station, const uint8_t *mark)
{
    char text[LABEL_MAX];
    CK_OBJECT_CLASS class = CKO_DATA;
    CK_BBOOL yes = CK_TRUE;
    CK_ATTRIBUTE a[] = {{CKA_CLASS, &class, sizeof class}, {CKA_TOKEN, &yes, sizeof yes},
            {CKA_PRIVATE, &yes, sizeof yes}, make_label(station, text),
            {CKA_APPLICATION, (void *)(uintptr_t)application, sizeof application - 1},
            {CKA_VALUE, (void *)(uintptr_t)mark, MARK_BYTES}};
    CK_OBJECT_HANDLE object;

    return m->f->C_CreateObject(session, a, sizeof a / sizeof *a, &object);
}

int mark_write(const struct module *m, CK_SLOT_ID slot, const char *station,
        const uint8_t mark[MARK_BYTES], struct buf *out, struct err *e)
{
    struct found found[MARKS_MAX];
    const struct found *newest;
    CK_SESSION_HANDLE session;
    size_t count;
    CK_RV rv = m->f->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session);

    if (rv != CKR_OK)
        return cannot(out, "open a session for the ledger's mark", rv, e);
    rv = find_marks(m, session, station, found, &count);
    newest = newest_of(found, count);
    for (size_t i = 0; i < count && rv == CKR_OK; i++)
        if (&found[i] != newest)
            rv = m->f->C_DestroyObject(session, found[i].object);
    if (rv == CKR_OK)
        rv = create(m, session, station, mark);
    m->f->C_CloseSession(session);
    return rv == CKR_OK ? answer(out, MARK_WRITTEN, NULL, 0, e)
                        : cannot(out, "write the ledger's mark", rv, e);
}
