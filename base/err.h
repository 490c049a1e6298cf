/* Errors are values. A function that can fail takes `struct err *e` last and returns 0 or -1;
 * it sets e once, at the first cause, and callers only prepend context. The CLASS of an error
 * decides what the program does; nothing else may. A function logs or returns an error, never both. */
#pragma once
#include <stddef.h>

enum err_class {
    ERR_CLASS_NONE,     /* no error */
    ERR_CLASS_DEVICE,   /* this unit fails, the slot goes on with the next */
    ERR_CLASS_RETRY,    /* the same step is tried again */
    ERR_CLASS_OPERATOR, /* a person must act; the text says how */
    ERR_CLASS_HSM,      /* the line stops until the token works */
    ERR_CLASS_STORE,    /* the line stops until the disk works */
    ERR_CLASS_PEER,     /* the connection is dropped */
    ERR_CLASS_BUG,      /* abort */
};

enum err_id {
    ERR_NONE = 0,
#define ERR(id, name, class, hint) ERR_##id,
#include "base/err_list.h"
#undef ERR
    ERR_COUNT
};

#define ERR_MSG_MAX 512

struct err {
    enum err_id id;
    long code; /* the foreign code that caused it: errno, CK_RV, SQLite, CURLcode; or 0 */
    const char
            *hint; /* what to do in this very case, a literal; NULL: what the id says everywhere */
    char msg[ERR_MSG_MAX]; /* "context: context: cause", no newline, printable */
};

/* Sets *e (which may be NULL) unless it already holds an error: the first cause wins. Always -1. */
int err_set(struct err *e, enum err_id id, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));
/* The same, keeping a foreign code. */
int err_set_code(struct err *e, enum err_id id, long code, const char *fmt, ...)
        __attribute__((format(printf, 4, 5)));
/* From an errno: ENOSPC/EDQUOT become ERR_DISK_FULL, ENOMEM ERR_NOMEM, others ERR_IO; ": strerror" is appended. */
int err_set_errno(struct err *e, int errnum, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));
/* Prepends "context: ". Always -1, so that `return err_context(e, ...)` reads well. */
int err_context(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* What to do in this very case, a literal, in place of what the id says everywhere; the first one stands. It stays in this
 * process: over the bus go the id and the message. Always -1. */
int err_advise(struct err *e, const char *hint);
void err_clear(struct err *e);

/* The static analyser sees no function bodies of other files: tell it that a failed call never goes on. */
#if defined(__clang_analyzer__) && !defined(ERR_BODIES)
#define err_set(...)       (err_set(__VA_ARGS__), -1)
#define err_set_code(...)  (err_set_code(__VA_ARGS__), -1)
#define err_set_errno(...) (err_set_errno(__VA_ARGS__), -1)
#define err_context(...)   (err_context(__VA_ARGS__), -1)
#define err_advise(...)    (err_advise(__VA_ARGS__), -1)
#endif

enum err_class err_class(enum err_id id);
const char *err_class_name(enum err_class c); /* "DEVICE" ... */
const char *err_name(enum err_id id);         /* "Quota" */
const char *err_hint(enum err_id id);         /* what to do next */
/* What err_advise() said, else what the id says. */
const char *err_next(const struct err *e);
/* ERR_NONE when there is no such name. */
enum err_id err_from_name(const char *name);
