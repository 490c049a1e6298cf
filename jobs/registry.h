/* The registry: one SQLite file, opened by one process. Everything SQL goes through here; the nouns (group.c, job.c,
 * device.c, run.c, ...) hold the statements. Private to jobs/. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sqlite3.h>
#include "base/err.h"

struct registry;

/* Opens or makes the file, takes it for this process alone, and brings its schema up to date. ERR_EXISTS when another
 * process has it, ERR_SCHEMA_NEWER, ERR_STORE. */
int registry_open(const char *path, struct registry **ret, struct err *e);
void registry_close(struct registry **r);

/* Group commit (jobd/commit.h): one transaction, in it one savepoint for each request. */
int registry_begin(struct registry *r, struct err *e);  /* nothing when one is open */
int registry_commit(struct registry *r, struct err *e); /* on failure it is rolled back */
bool registry_in_transaction(
        const struct registry *r);                    /* SQLite may have ended it on a full disk */
int registry_save(struct registry *r, struct err *e); /* savepoints nest */
int registry_keep(struct registry *r, struct err *e); /* the innermost one stays */
void registry_undo(struct registry *r);               /* the innermost one is undone */

/* A value for a parameter of a statement. */
struct bind {
    enum { BIND_END, BIND_AS_TEXT, BIND_AS_INT, BIND_AS_BLOB, BIND_AS_NULL } kind;
    const void *bytes; /* text: NUL-terminated, or NULL for SQL NULL */
    size_t len;
    int64_t num;
};
#define BIND_TEXT(v)                                                                               \
    {                                                                                              \
        .kind = BIND_AS_TEXT, .bytes = (v)                                                         \
    }
#define BIND_INT(v)                                                                                \
    {                                                                                              \
        .kind = BIND_AS_INT, .num = (int64_t)(v)                                                   \
    }
#define BIND_BLOB(v, n)                                                                            \
    {                                                                                              \
        .kind = BIND_AS_BLOB, .bytes = (v), .len = (n)                                             \
    }
#define BIND_NULL                                                                                  \
    {                                                                                              \
        .kind = BIND_AS_NULL                                                                       \
    }

/* A statement at work. `sql` must be a constant text that outlives the registry: statements are prepared once, and found
 * again by its address. Parameters are ?1, ?2, ... in order. Values are borrowed until query_done(). */
struct query {
    struct registry *registry;
    sqlite3_stmt *stmt;
};
/* sql, then its parameters: a list that ends with {0}, which no caller writes. */
#define QUERY_TEXT(sql, ...) sql
#define QUERY_BINDS(sql, ...)                                                                      \
    (const struct bind[])                                                                          \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }
#define query_open(q, r, e, ...)                                                                   \
    query_open_bound(q, r, e, QUERY_TEXT(__VA_ARGS__, {0}), QUERY_BINDS(__VA_ARGS__, {0}))
int query_open_bound(struct query *q, struct registry *r, struct err *e, const char *sql,
        const struct bind *binds);
int query_next(struct query *q, struct err *e); /* 1: a row; 0: no more; -1 */
int64_t query_int(const struct query *q, int column);
const char *query_text(
        const struct query *q, int column); /* "" for NULL; borrowed until the next row */
const void *query_blob(const struct query *q, int column, size_t *ret_len);
bool query_null(const struct query *q, int column);
void query_done(struct query *q);

/* Runs a statement that gives no rows; ret_changes may be NULL. A uniqueness or CHECK that refuses is ERR_EXISTS. */
#define registry_run(r, e, ...)                                                                    \
    registry_run_bound(r, e, NULL, QUERY_TEXT(__VA_ARGS__, {0}), QUERY_BINDS(__VA_ARGS__, {0}))
#define registry_run_counted(r, e, ret_changes, ...)                                               \
    registry_run_bound(                                                                            \
            r, e, ret_changes, QUERY_TEXT(__VA_ARGS__, {0}), QUERY_BINDS(__VA_ARGS__, {0}))
int registry_run_bound(struct registry *r, struct err *e, int *ret_changes, const char *sql,
        const struct bind *binds);
/* One number from a statement that gives one row; no row: ERR_NOT_FOUND without a text, callers say what is missing. */
#define registry_number(r, e, ret, ...)                                                            \
    registry_number_bound(r, e, ret, QUERY_TEXT(__VA_ARGS__, {0}), QUERY_BINDS(__VA_ARGS__, {0}))
int registry_number_bound(
        struct registry *r, struct err *e, int64_t *ret, const char *sql, const struct bind *binds);
int64_t registry_last_id(const struct registry *r);
/* How many COMMITs there were: what group commit saves is measured with it. */
uint64_t registry_commits(const struct registry *r);
/* For tests and doctor: a PRAGMA's or any statement's first value as text. */
int registry_scalar(struct registry *r, const char *sql, char *out, size_t cap, struct err *e);
