/* The SQLite file. Promises: what registry_commit() answered 0 for survives a power cut (WAL,
 * synchronous=FULL); one process at a time; a file of a newer schema, or one that is no registry,
 * is refused untouched. Never deletes or rebuilds the file. */
#include "jobs/registry.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "jobs/schema.h"

#define APPLICATION_ID  0x4b4c4e31 /* "KLN1": `file` and we know the file by it */
#define STATEMENTS_MAX  256        /* a power of two, well above the number of statements */
#define BUSY_TIMEOUT_MS 5000       /* somebody looks into the file with sqlite3(1) */

struct registry {
    sqlite3 *db;
    int lock_fd;
    unsigned depth; /* open savepoints */
    uint64_t commits;
    struct {
        const char *sql;
        sqlite3_stmt *stmt;
    } statements[STATEMENTS_MAX]; /* by the address of the text */
};

/* ---- errors */

static enum err_id id_of(int code)
{
    switch (code & 0xff) {
    case SQLITE_FULL:
        return ERR_DISK_FULL;
    case SQLITE_NOMEM:
        return ERR_NOMEM;
    case SQLITE_CONSTRAINT:
        return ERR_EXISTS;
    default:
        return ERR_STORE;
    }
}

static int fail(struct registry *r, struct err *e, const char *doing)
{
    int code = sqlite3_extended_errcode(r->db);
    return err_set_code(e, id_of(code), code, "%s the registry: %s", doing, sqlite3_errmsg(r->db));
}

/* ---- statements */

static int prepare(struct registry *r, const char *sql, sqlite3_stmt **ret, struct err *e)
{
    size_t i = ((uintptr_t)sql >> 3) * 2654435761u % STATEMENTS_MAX;
    for (size_t tries = 0; r->statements[i].sql && r->statements[i].sql != sql; tries++) {
        assert(tries < STATEMENTS_MAX);
        i = (i + 1) % STATEMENTS_MAX;
    }
    if (!r->statements[i].sql) {
        sqlite3_stmt *stmt = NULL;
        if (sqlite3_prepare_v3(r->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL) != SQLITE_OK)
            return fail(r, e, "asking");
        r->statements[i].sql = sql;
        r->statements[i].stmt = stmt;
    }
    *ret = r->statements[i].stmt;
    return 0;
}

static int bind_one(sqlite3_stmt *stmt, int i, const struct bind *b)
{
    switch (b->kind) {
    case BIND_AS_TEXT:
        return b->bytes ? sqlite3_bind_text(stmt, i, b->bytes, -1, SQLITE_STATIC)
                        : sqlite3_bind_null(stmt, i);
    case BIND_AS_INT:
        return sqlite3_bind_int64(stmt, i, b->num);
    case BIND_AS_BLOB:
        /* A NULL pointer would bind NULL, not the empty blob. */
        return sqlite3_bind_blob64(stmt, i, b->bytes ? b->bytes : "", b->len, SQLITE_STATIC);
    default:
        return sqlite3_bind_null(stmt, i);
    }
}

int query_open_bound(struct query *q, struct registry *r, struct err *e, const char *sql,
        const struct bind *binds)
{
    *q = (struct query){.registry = r};
    if (prepare(r, sql, &q->stmt, e))
        return -1;
    assert(!sqlite3_stmt_busy(q->stmt)); /* a statement cannot be used within itself */
    for (int i = 0; binds[i].kind != BIND_END; i++)
        if (bind_one(q->stmt, i + 1, &binds[i]) != SQLITE_OK) {
            fail(r, e, "asking");
            query_done(q);
            return -1;
        }
    return 0;
}

int query_next(struct query *q, struct err *e)
{
    switch (sqlite3_step(q->stmt)) {
    case SQLITE_ROW:
        return 1;
    case SQLITE_DONE:
        return 0;
    default:
        return fail(q->registry, e, sqlite3_stmt_readonly(q->stmt) ? "reading" : "writing");
    }
}

int64_t query_int(const struct query *q, int column)
{
    return sqlite3_column_int64(q->stmt, column);
}

const char *query_text(const struct query *q, int column)
{
    const unsigned char *text = sqlite3_column_text(q->stmt, column);
    return text ? (const char *)text : "";
}

const void *query_blob(const struct query *q, int column, size_t *ret_len)
{
    const void *bytes = sqlite3_column_blob(q->stmt, column);
    *ret_len = bytes ? (size_t)sqlite3_column_bytes(q->stmt, column) : 0;
    return bytes;
}

bool query_null(const struct query *q, int column)
{
    return sqlite3_column_type(q->stmt, column) == SQLITE_NULL;
}

void query_done(struct query *q)
{
    if (!q->stmt)
        return;
    (void)sqlite3_reset(q->stmt); /* repeats the error of the last step, which was told already */
    (void)sqlite3_clear_bindings(q->stmt);
    q->stmt = NULL;
}

int registry_run_bound(struct registry *r, struct err *e, int *ret_changes, const char *sql,
        const struct bind *binds)
{
    struct query q;
    if (query_open_bound(&q, r, e, sql, binds))
        return -1;
    int n = query_next(&q, e);
    if (n >= 0 && ret_changes)
        *ret_changes = sqlite3_changes(r->db);
    query_done(&q);
    return n < 0 ? -1 : 0;
}

int registry_number_bound(
        struct registry *r, struct err *e, int64_t *ret, const char *sql, const struct bind *binds)
{
    struct query q;
    if (query_open_bound(&q, r, e, sql, binds))
        return -1;
    int n = query_next(&q, e);
    if (n > 0)
        *ret = query_int(&q, 0);
    query_done(&q);
    return n > 0 ? 0 : n < 0 ? -1 : err_set(e, ERR_NOT_FOUND, "there is no such entry");
}

int64_t registry_last_id(const struct registry *r)
{
    return sqlite3_last_insert_rowid(r->db);
}

/* ---- transactions */

bool registry_in_transaction(const struct registry *r)
{
    return !sqlite3_get_autocommit(r->db);
}

int registry_begin(struct registry *r, struct err *e)
{
    if (registry_in_transaction(r))
        return 0;
    r->depth = 0;
    return registry_run(r, e, "BEGIN IMMEDIATE");
}

static void rollback(struct registry *r)
{
    struct err ignored = {0}; /* that it cannot be undone tells the file's readers nothing new */
    if (registry_in_transaction(r))
        (void)registry_run(r, &ignored, "ROLLBACK");
    r->depth = 0;
}

int registry_commit(struct registry *r, struct err *e)
{
    assert(r->depth == 0);
    if (!registry_in_transaction(r))
        return err_set(e, ERR_STORE, "the registry gave the transaction up");
    if (registry_run(r, e, "COMMIT")) {
        rollback(r);
        return -1;
    }
    r->commits++;
    return 0;
}

uint64_t registry_commits(const struct registry *r)
{
    return r->commits;
}

/* Savepoints nest, so one name serves all. */
int registry_save(struct registry *r, struct err *e)
{
    if (registry_run(r, e, "SAVEPOINT request"))
        return -1;
    r->depth++;
    return 0;
}

int registry_keep(struct registry *r, struct err *e)
{
    if (!registry_in_transaction(r))
        return err_set(e, ERR_STORE, "the registry gave the transaction up");
    if (registry_run(r, e, "RELEASE request"))
        return -1;
    r->depth--;
    return 0;
}

void registry_undo(struct registry *r)
{
    struct err failed = {0};
    if (!registry_in_transaction(r)) { /* a full disk undid everything */
        r->depth = 0;
        return;
    }
    if (registry_run(r, &failed, "ROLLBACK TO request") ||
            registry_run(r, &failed, "RELEASE request"))
        rollback(r); /* then nothing of it may stay */
    else
        r->depth--;
}

/* ---- opening */

int registry_scalar(struct registry *r, const char *sql, char *out, size_t cap, struct err *e)
{
    sqlite3_stmt *stmt = NULL;
    if (sqlite3_prepare_v2(r->db, sql, -1, &stmt, NULL) != SQLITE_OK)
        return fail(r, e, "asking");
    int step = sqlite3_step(stmt);
    if (step == SQLITE_ROW) {
        const unsigned char *text = sqlite3_column_text(stmt, 0);
        snprintf(out, cap, "%s", text ? (const char *)text : "");
    } else if (step == SQLITE_DONE) {
        *out = '\0';
    }
    if (sqlite3_finalize(stmt) != SQLITE_OK)
        return fail(r, e, "reading");
    return 0;
}

static int execute(struct registry *r, const char *sql, struct err *e)
{
    return sqlite3_exec(r->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail(r, e, "opening");
}

static int pragma_number(struct registry *r, const char *sql, int64_t *ret, struct err *e)
{
    char text[32];
    if (registry_scalar(r, sql, text, sizeof text, e))
        return -1;
    *ret = strtoll(text, NULL, 10);
    return 0;
}

/* The lock is on a file of its own: closing any descriptor of the database would drop SQLite's
 * locks on it. */
static int take_lock(struct registry *r, const char *path, struct err *e)
{
    char lock[4096];
    if ((size_t)snprintf(lock, sizeof lock, "%s.lock", path) >= sizeof lock)
        return err_set(e, ERR_CONFIG, "%s: the path is too long", path);
    r->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (r->lock_fd < 0)
        return err_set_errno(e, errno, "open %s", lock);
    if (flock(r->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return err_set(e, ERR_EXISTS, "another jobd works on %s", path);
    return err_set_errno(e, errno, "lock %s", lock);
}

/* A jobd that was killed between write and sync left commits that are only in the kernel's memory.
 * SQLite reads them as done; what is answered from them must survive a power cut, too. */
static int sync_left_over(const char *path, struct err *e)
{
    char wal[4096];
    if ((size_t)snprintf(wal, sizeof wal, "%s-wal", path) >= sizeof wal)
        return err_set(e, ERR_CONFIG, "%s: the path is too long", path);
    int fd = open(wal, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return 0;
    int bad = fd < 0 || fdatasync(fd) < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    return bad ? err_set_errno(e, bad, "sync %s", wal) : 0;
}

static int check_identity(struct registry *r, int64_t version, struct err *e)
{
    int64_t id, tables;
    if (pragma_number(r, "PRAGMA application_id", &id, e) ||
            pragma_number(r, "SELECT count(*) FROM sqlite_schema", &tables, e))
        return -1;
    if (id == APPLICATION_ID || (id == 0 && version == 0 && tables == 0))
        return 0;
    return err_set(e, ERR_STORE, "the file is a database, but not a Keyline registry");
}

static int migrate_one(struct registry *r, size_t version, struct err *e)
{
    char finish[96];
    snprintf(finish, sizeof finish, "PRAGMA application_id=%d; PRAGMA user_version=%zu; COMMIT",
            APPLICATION_ID, version + 1);
    int bad = execute(r, "BEGIN IMMEDIATE", e);
    for (const char *const *sql = schema_migration(version); *sql && !bad; sql++)
        bad = execute(r, *sql, e);
    if (!bad && execute(r, finish, e) == 0)
        return 0;
    rollback(r);
    return err_context(e, "migration to version %zu", version + 1);
}

static int migrate(struct registry *r, struct err *e)
{
    int64_t version;
    if (pragma_number(r, "PRAGMA user_version", &version, e) || check_identity(r, version, e))
        return -1;
    if (version < 0 || (uint64_t)version > schema_version())
        return err_set(e, ERR_SCHEMA_NEWER,
                "the registry has schema version %" PRId64 ", this program knows up to %zu",
                version, schema_version());
    for (size_t v = (size_t)version; v < schema_version(); v++)
        if (migrate_one(r, v, e))
            return -1;
    return 0;
}

static int check_pragma(struct registry *r, const char *sql, const char *want, struct err *e)
{
    char got[32];
    if (registry_scalar(r, sql, got, sizeof got, e))
        return -1;
    return strcmp(got, want) == 0
                   ? 0
                   : err_set(e, ERR_STORE, "%s is %s, it must be %s", sql, got, want);
}

static int configure(struct registry *r, struct err *e)
{
    sqlite3_busy_timeout(r->db, BUSY_TIMEOUT_MS);
    sqlite3_extended_result_codes(r->db, 1);
    (void)sqlite3_db_config(r->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    (void)sqlite3_db_config(r->db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    (void)sqlite3_db_config(r->db, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
    /* SQLite ignores a pragma that it does not like: those that matter are asked for again. */
    if (execute(r,
                "PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON; PRAGMA foreign_keys=ON;"
                "PRAGMA synchronous=FULL; PRAGMA cache_size=-65536; PRAGMA temp_store=MEMORY",
                e))
        return -1;
    if (check_pragma(r, "PRAGMA journal_mode=WAL", "wal", e) ||
            check_pragma(r, "PRAGMA synchronous", "2", e) ||
            check_pragma(r, "PRAGMA foreign_keys", "1", e))
        return -1;
    return execute(r, "PRAGMA journal_size_limit=67108864", e);
}

int registry_open(const char *path, struct registry **ret, struct err *e)
{
    struct registry *r = calloc(1, sizeof *r);
    /* No threads, so no locks around every allocation. Refused once SQLite is at work, which is fine. */
    (void)sqlite3_config(SQLITE_CONFIG_SINGLETHREAD);
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    if (!r)
        return err_set(e, ERR_NOMEM, "no memory for the registry");
    r->lock_fd = -1;
    if (take_lock(r, path, e) || sync_left_over(path, e))
        goto failed;
    if (sqlite3_open_v2(path, &r->db,
                SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                        SQLITE_OPEN_EXRESCODE,
                NULL) != SQLITE_OK) {
        if (r->db)
            fail(r, e, "opening");
        else
            err_set(e, ERR_NOMEM, "no memory for the registry");
        goto failed;
    }
    /* The schema's version first: a newer file must not even be switched to WAL. */
    int64_t version;
    if (pragma_number(r, "PRAGMA user_version", &version, e))
        goto failed;
    if (version >= 0 && (uint64_t)version <= schema_version() && configure(r, e))
        goto failed;
    if (migrate(r, e))
        goto failed;
    *ret = r;
    return 0;
failed:
    registry_close(&r);
    return err_context(e, "%s", path);
}

void registry_close(struct registry **registry)
{
    struct registry *r = *registry;
    if (!r)
        return;
    for (size_t i = 0; i < STATEMENTS_MAX; i++)
        sqlite3_finalize(r->statements[i].stmt);
    if (r->db)
        sqlite3_close(r->db);
    if (r->lock_fd >= 0)
        close(r->lock_fd);
    free(r);
    *registry = NULL;
}
