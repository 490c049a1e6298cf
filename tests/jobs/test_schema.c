/* Opening the file: what must be refused is refused without a byte changed. */
#include "jobs_test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "jobs/schema.h"

static void a_new_file_has_the_schema(void **state)
{
    struct jobs_test *t = *state;
    char version[16];
    snprintf(version, sizeof version, "%zu", schema_version());
    assert_string_equal(sql(t, "PRAGMA user_version"), version);
    assert_string_equal(sql(t, "PRAGMA journal_mode"), "wal");
    assert_string_equal(sql(t, "PRAGMA synchronous"), "2");
    assert_string_equal(sql(t, "PRAGMA foreign_keys"), "1");
    assert_string_equal(sql(t, "PRAGMA cell_size_check"), "1");
    assert_string_equal(sql(t, "PRAGMA trusted_schema"), "0");
    assert_string_equal(sql(t, "PRAGMA integrity_check"), "ok");
    /* STRICT everywhere. */
    assert_string_equal(sql(t, "SELECT group_concat(name) FROM pragma_table_list"
                               " WHERE strict = 0 AND name NOT LIKE 'sqlite_%'"),
            "");
    jobs_reopen(t);
    assert_string_equal(sql(t, "SELECT name FROM device_group"), "sensors");
}

/* kill -9 between write and sync: the next jobd finds the commits in the kernel's memory. */
static char last_synced[128];
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

int __wrap_fdatasync(int fd)
{
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, last_synced, sizeof last_synced - 1);
    last_synced[n > 0 ? n : 0] = '\0';
    return __real_fdatasync(fd);
}

static void what_a_crash_left_is_durable_before_it_counts(void **state)
{
    struct jobs_test *t = *state;
    struct registry *r = NULL;
    struct err e = {0};
    char copy[128], from[128], to[160], name[16];
    snprintf(copy, sizeof copy, "%s/crashed.db", t->dir);
    for (int i = 0; i < 2; i++) {
        struct buf bytes = BUF_INIT;
        snprintf(from, sizeof from, "%s%s", t->path, i ? "-wal" : "");
        snprintf(to, sizeof to, "%s%s", copy, i ? "-wal" : "");
        must(file_read(from, 64u << 20, &bytes, &e), &e);
        int fd = open(to, O_WRONLY | O_CREAT, 0600);
        assert_true(fd >= 0 && write(fd, bytes.data, bytes.len) == (ssize_t)bytes.len);
        close(fd);
        buf_done(&bytes);
    }
    must(registry_open(copy, &r, &e), &e);
    assert_string_equal(last_synced, to);
    must(registry_scalar(r, "SELECT name FROM device_group", name, sizeof name, &e), &e);
    assert_string_equal(name, "sensors");
    registry_close(&r);
}

static void only_one_process_has_it(void **state)
{
    struct jobs_test *t = *state;
    struct registry *second = NULL;
    struct err e = {0};
    must_fail(registry_open(t->path, &second, &e), &e, ERR_EXISTS, "another jobd");
    assert_null(second);
}

/* The file as it is on disk, to see that a refusal left it alone. */
static void read_file(const char *path, struct buf *out)
{
    struct err e = {0};
    must(file_read(path, 64u << 20, out, &e), &e);
}

static void assert_refused_untouched(struct jobs_test *t, enum err_id id, const char *words)
{
    struct buf before = BUF_INIT, after = BUF_INIT;
    struct registry *r = NULL;
    struct err e = {0};
    read_file(t->path, &before);
    must_fail(registry_open(t->path, &r, &e), &e, id, words);
    read_file(t->path, &after);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
    buf_done(&before);
    buf_done(&after);
}

static void a_newer_schema_is_refused(void **state)
{
    struct jobs_test *t = *state;
    (void)sql(t, "PRAGMA user_version = 4711");
    registry_close(&t->registry);
    assert_refused_untouched(t, ERR_SCHEMA_NEWER, "4711");
}

static void other_files_are_refused(void **state)
{
    struct jobs_test *t = *state;
    struct err e = {0};
    char text[8192];
    registry_close(&t->registry);
    memset(text, 'x', sizeof text);
    unlink(t->path);
    must(file_write(t->path, text, sizeof text, 0600, &e), &e);
    assert_refused_untouched(t, ERR_STORE, "not a database");
    /* Somebody else's database. */
    sqlite3 *db;
    unlink(t->path);
    assert_int_equal(sqlite3_open(t->path, &db), SQLITE_OK);
    assert_int_equal(
            sqlite3_exec(db, "CREATE TABLE x (y); INSERT INTO x VALUES (1)", 0, 0, 0), SQLITE_OK);
    sqlite3_close(db);
    struct registry *r = NULL;
    must_fail(registry_open(t->path, &r, &e), &e, ERR_STORE, "not a Keyline registry");
}

static void a_path_that_cannot_be(void **state)
{
    struct registry *r = NULL;
    struct err e = {0};
    (void)state;
    must_fail(registry_open("/nonexistent/registry.db", &r, &e), &e, ERR_IO, "nonexistent");
}

/* The constraints hold even when a noun's code is wrong. */
static void the_indexes_refuse(void **state)
{
    static const char *const statements[] = {
            /* two active runs of one device, of one slot */
            "INSERT INTO run (uuid, job, device, slot, driver, attempt, step, started)"
            " SELECT 'x1', job, device, 'other', 'd', 2, 'claimed', 1 FROM run WHERE ended IS NULL",
            "INSERT INTO run (uuid, job, device, slot, driver, attempt, step, started)"
            " SELECT 'x2', job, 2, slot, 'd', 1, 'claimed', 1 FROM run WHERE ended IS NULL",
            /* an end without a time, an error of a run that is not over, an unknown step */
            "UPDATE run SET step = 'recorded'",
            "UPDATE run SET error = 'Bug'",
            "UPDATE run SET step = 'blessed'",
            /* two devices of one name in a group, of one hwid */
            "INSERT INTO device (uuid, device_group, name, state, job, row_index, updated)"
            " SELECT 'u', device_group, name, 'Enrolled', job, 77, 1 FROM device WHERE id = 1",
            "INSERT INTO device (uuid, device_group, name, hwid, state, job, row_index, updated)"
            " SELECT 'u', device_group, 'new', hwid, 'Enrolled', job, 77, 1 FROM device"
            " WHERE id = 1",
            /* more registered than rows, a job at work without a ticket, a device of no group */
            "UPDATE job SET registered = rows + 1",
            "UPDATE job SET ticket = NULL",
            "UPDATE device SET device_group = 99",
            "UPDATE device SET state = 'Blessed'",
            "INSERT INTO batch (first, last, sha256, state, created) VALUES (2, 1, '', 'pending', "
            "1)",
    };
    struct jobs_test *t = *state;
    struct run_claim c;
    struct err e = {0};
    (void)import_job(t, "j", "device_name,hwid\na,1\nb,2\n", APPROVE);
    must(claim(t, "01", "1", "", &c, &e), &e);
    run_claim_done(&c);
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++)
        must_fail(registry_run(t->registry, &e, statements[i]), &e, ERR_EXISTS, "constraint");
}

static void savepoints_nest_and_undo_alone(void **state)
{
    struct jobs_test *t = *state;
    struct err e = {0};
    static const char insert[] = "INSERT INTO device_group (name, description, created)"
                                 " VALUES (?1, '', 1)";
    must(registry_begin(t->registry, &e), &e);
    must(registry_save(t->registry, &e), &e);
    must(registry_run(t->registry, &e, insert, BIND_TEXT("kept")), &e);
    must(registry_save(t->registry, &e), &e);
    must(registry_run(t->registry, &e, insert, BIND_TEXT("undone")), &e);
    registry_undo(t->registry);
    must(registry_keep(t->registry, &e), &e);
    must(registry_save(t->registry, &e), &e);
    must(registry_run(t->registry, &e, insert, BIND_TEXT("undone too")), &e);
    registry_undo(t->registry);
    must(registry_commit(t->registry, &e), &e);
    jobs_reopen(t);
    assert_string_equal(
            sql(t, "SELECT group_concat(name) FROM (SELECT name FROM device_group ORDER BY id)"),
            "sensors,kept");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, jobs_setup, jobs_teardown)
            TEST(a_new_file_has_the_schema),
            TEST(only_one_process_has_it),
            TEST(what_a_crash_left_is_durable_before_it_counts),
            TEST(a_newer_schema_is_refused),
            TEST(other_files_are_refused),
            TEST(a_path_that_cannot_be),
            TEST(the_indexes_refuse),
            TEST(savepoints_nest_and_undo_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
