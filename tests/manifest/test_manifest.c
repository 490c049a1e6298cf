/* Manifests as people and enemies write them. */
#include "jobs/manifest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/columns.h"

static int file_of(const void *bytes, size_t len)
{
    char path[] = "/tmp/keyline-manifest.XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static int read_bytes(
        const void *bytes, size_t len, const char *group, struct manifest *m, struct err *e)
{
    const struct manifest_options o = {.default_group = group};
    int fd = file_of(bytes, len), rc = manifest_read(fd, &o, m, e);

    close(fd);
    return rc;
}

static int read_text(const char *text, const char *group, struct manifest *m, struct err *e)
{
    return read_bytes(text, strlen(text), group, m, e);
}

static void accept(const char *text, size_t len, uint64_t rows)
{
    struct manifest m;
    struct err e = {0};

    if (read_bytes(text, len, "g", &m, &e) < 0)
        fail_msg("refused: %s; line %d: %s: %s", e.msg, m.error_count ? (int)m.errors[0].row : -1,
                m.error_count ? m.errors[0].column : "", m.error_count ? m.errors[0].reason : "");
    assert_int_equal(m.rows, rows);
    manifest_done(&m);
}
#define ACCEPT(text, rows) accept(text, sizeof(text) - 1, rows)

/* Exactly one fault: its line, its column, a word of its reason. */
static void refuse(const char *text, size_t len, const char *group, uint64_t line,
        const char *column, const char *word)
{
    struct manifest m;
    struct err e = {0};

    assert_int_equal(read_bytes(text, len, group, &m, &e), -1);
    assert_int_equal(e.id, ERR_MANIFEST);
    for (size_t i = 0; i < m.error_count; i++)
        if (i > 0 || m.errors[i].row != line || strcmp(m.errors[i].column, column) != 0 ||
                !strstr(m.errors[i].reason, word))
            fail_msg("line %d column '%s': %s", (int)m.errors[i].row, m.errors[i].column,
                    m.errors[i].reason);
    assert_int_equal(m.errors_total, 1);
    manifest_done(&m);
}
#define REFUSE(text, line, column, word) refuse(text, sizeof(text) - 1, "g", line, column, word)

static void good_files(void **state)
{
    (void)state;
    ACCEPT("device_name\na\n", 1);
    ACCEPT("device_name\na", 1);
    ACCEPT("device_name,hwid\r\na,1\r\nb,2\r\n", 2);
    ACCEPT("\xef\xbb\xbf"
           "device_name,hwid\r\na,1\r\n",
            1);
    ACCEPT("device_name,device_description\na,\"one, \"\"two\"\"\nthree\"\nb,\n", 2);
    ACCEPT("device_name,device_group\na,x\na,y\n", 2); /* the same name in two groups */
    ACCEPT("device_name,attr.mac,attr.site\nM\xc3\xbcller,02:00,Ulm\n", 1);
    ACCEPT("device_name,subject.country,csr\na,DE,\n", 1);
    ACCEPT("device_name\na\n\n", 1); /* an editor's last blank line */
}

static void faults_are_named(void **state)
{
    (void)state;
    REFUSE("", 0, "", "empty");
    REFUSE("device_name\n", 0, "", "no row");
    REFUSE("hwid\n1\n", 1, "device_name", "no column");
    REFUSE("device_name,hwdi\na,1\n", 1, "hwdi", "'hwid'");
    REFUSE("device_name,attr.\na,1\n", 1, "attr.", "unknown");
    REFUSE("device_name,\na,1\n", 1, "", "no name");
    REFUSE("device_name,hwid\na,1\nb,2\na,3\n", 4, "device_name", "line 2");
    REFUSE("device_name,hwid\na,1\nb,1\n", 3, "hwid", "line 2");
    REFUSE("device_name,hwid\na,1,2\n", 2, "", "3 fields");
    REFUSE("device_name,hwid\na\n", 2, "", "1 fields");
    REFUSE("device_name,hwid\n\na,1\n", 2, "", "blank");
    REFUSE("device_name,device_description\na,\"x\ny\"\nb,1,2\n", 4, "", "3 fields");
    REFUSE("device_name,hwid\na,\xfc\n", 2, "hwid", "UTF-8");
    REFUSE("device_name,hwid\na,\xed\xa0\x80\n", 2, "hwid", "UTF-8");
    REFUSE("device_name,hwid\na,1\0x\n", 2, "hwid", "NUL");
    REFUSE("device_name,hwid\na,\x1b[2J\n", 2, "hwid", "control");
    REFUSE("device_name,hwid\n../a,1\n", 2, "device_name", "'/'");
    REFUSE("device_name,hwid\na ,1\n", 2, "device_name", "space");
    REFUSE("device_name,hwid\na,\"1\n", 2, "", "quotes");
    REFUSE("device_name,hwid\na,1\"2\n", 2, "", "quotes");
    REFUSE("device_name,subject.country\na,Germany\n", 2, "subject.country", "at most 2");
    REFUSE("device_name,subject.country\na,d1\n", 2, "subject.country", "capital");
    REFUSE("device_name,csr\na,-----BEGIN\n", 2, "csr", "empty");
    refuse("device_name\na\n", strlen("device_name\na\n"), "", 2, "device_group", "--group");
}

static void names_twice_in_the_header(void **state)
{
    struct manifest m;
    struct err e = {0};

    (void)state;
    assert_int_equal(read_text("device_name,hwid,hwid\na,1,2\n", "g", &m, &e), -1);
    assert_int_equal(m.errors_total, 1);
    assert_string_equal(m.errors[0].column, "hwid");
    manifest_done(&m);
}

static void every_fault_is_counted(void **state)
{
    struct buf text = BUF_INIT;
    struct manifest m;
    struct err e = {0};

    (void)state;
    buf_printf(&text, NULL, "device_name,subject.country\n");
    for (int i = 0; i < 3000; i++)
        buf_printf(&text, NULL, "d%d,x\n", i);
    assert_int_equal(read_bytes(text.data, text.len, "g", &m, &e), -1);
    assert_int_equal(m.errors_total, 3000);
    assert_int_equal(m.error_count, MANIFEST_ERRORS_MAX);
    assert_int_equal(m.errors[999].row, 1001);
    manifest_done(&m);
    buf_done(&text);
}

static void rows_are_canonical(void **state)
{
    struct manifest a, b;
    struct row row;
    struct err e = {0};

    (void)state;
    /* Another order of columns, an empty column more, other line ends: the same root. */
    assert_int_equal(read_text("device_name,hwid\na,1\nb,2\n", "g", &a, &e), 0);
    assert_int_equal(
            read_text("hwid,csr,device_group,device_name\r\n1,,g,a\r\n2,,,b", "g", &b, &e), 0);
    assert_memory_equal(&a.root, &b.root, sizeof a.root);
    assert_string_not_equal(a.sha256, b.sha256);
    assert_int_equal(
            row_decode(a.encoded.data + a.offsets[1], a.offsets[2] - a.offsets[1], &row, &e), 0);
    assert_int_equal(row.count, 3);
    assert_memory_equal(row_get(&row, "device_name")->value, "b", 1);
    manifest_done(&b);
    assert_int_equal(read_text("device_name,hwid\na,1\nb,3\n", "g", &b, &e), 0);
    assert_memory_not_equal(&a.root, &b.root, sizeof a.root);
    manifest_done(&a);
    manifest_done(&b);
}

static void too_large(void **state)
{
    const struct manifest_options o = {.default_group = "g"};
    char path[] = "/tmp/keyline-manifest.XXXXXX";
    int fd = mkstemp(path), ends[2];
    struct manifest m;
    struct err e = {0};

    (void)state;
    unlink(path);
    assert_int_equal(ftruncate(fd, 300 * 1000 * 1000), 0); /* sparse */
    assert_int_equal(manifest_read(fd, &o, &m, &e), -1);
    assert_int_equal(e.id, ERR_LIMIT);
    assert_non_null(strstr(e.msg, "200 MB"));
    manifest_done(&m);
    close(fd);
    /* A directory; a closed pipe is an empty file. */
    e = (struct err){0};
    assert_int_equal(pipe(ends), 0);
    close(ends[1]);
    assert_int_equal(manifest_read(ends[0], &o, &m, &e), -1);
    assert_int_equal(e.id, ERR_MANIFEST);
    manifest_done(&m);
    close(ends[0]);
}

/* Every cut and every flipped byte of a good file is read or refused, never more. */
static void damaged_files(void **state)
{
    static const char good[] = "\xef\xbb\xbf"
                               "device_name,hwid,attr.k\r\n\"a\"\"b\",1,x\r\nc,\"2\n3\",\r\n";
    char text[sizeof good];
    struct manifest m;
    struct err e;

    (void)state;
    for (size_t len = 0; len < sizeof good - 1; len++) {
        e = (struct err){0};
        int rc = read_bytes(good, len, "g", &m, &e);
        assert_true(rc == 0 || e.id == ERR_MANIFEST);
        manifest_done(&m);
    }
    for (size_t i = 0; i < sizeof good - 1; i++)
        for (int flip = 1; flip < 256; flip += 37) {
            memcpy(text, good, sizeof good);
            text[i] = (char)(text[i] ^ flip);
            e = (struct err){0};
            int rc = read_bytes(text, sizeof good - 1, "g", &m, &e);
            assert_true(rc == 0 || (e.id == ERR_MANIFEST && m.errors_total > 0));
            manifest_done(&m);
        }
}

static void columns_are_documented(void **state)
{
    FILE *f = fopen(MANIFEST_MD, "r");
    static char doc[1 << 16];
    char line[512];

    (void)state;
    assert_non_null(f);
    doc[fread(doc, 1, sizeof doc - 1, f)] = '\0';
    fclose(f);
    for (size_t i = 0; i < column_count(); i++) {
        const struct column *c = column_at(i);
        snprintf(line, sizeof line, "| `%s` | %zu | %s |\n", c->name, c->max, c->meaning);
        if (!strstr(doc, line))
            fail_msg("docs/manifest.md lacks: %s", line);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(good_files),
            cmocka_unit_test(faults_are_named),
            cmocka_unit_test(names_twice_in_the_header),
            cmocka_unit_test(every_fault_is_counted),
            cmocka_unit_test(rows_are_canonical),
            cmocka_unit_test(too_large),
            cmocka_unit_test(damaged_files),
            cmocka_unit_test(columns_are_documented),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
