/* A ledger file of a test's own. */
#include "tests/hsm/ledger_file_rig.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char rig_dir[64], rig_path[128], rig_index[160];

/* Nothing is really synced: no power is cut here, and thousands of syncs take minutes. */
off_t rig_synced_bytes;
bool rig_sync_fails;
int __wrap_fdatasync(int fd);

int __wrap_fdatasync(int fd)
{
    struct stat st;

    if (rig_sync_fails) {
        errno = EIO;
        return -1;
    }
    assert_int_equal(fstat(fd, &st), 0);
    rig_synced_bytes = st.st_size;
    return 0;
}

int rig_setup(void **state)
{
    (void)state;
    help_mkdir(rig_dir);
    snprintf(rig_path, sizeof rig_path, "%s/ledger", rig_dir);
    snprintf(rig_index, sizeof rig_index, "%s.index", rig_path);
    return 0;
}

int rig_teardown(void **state)
{
    (void)state;
    help_rmdir(rig_dir);
    return 0;
}

struct ledger *rig_open(void)
{
    struct ledger *l;
    struct err e = {0};

    ok(ledger_open(rig_path, &l, &e));
    return l;
}

void rig_put(const char *name, const void *bytes, size_t len)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_int_equal(write(fd, bytes, len), len);
    close(fd);
}

struct ledger_entry rig_entry(unsigned n, char *tail, size_t len)
{
    struct ledger_entry x = {
            .type = LEDGER_ISSUED, .row = n, .time_ms = 1000 + n, .tail = {(uint8_t *)tail, len}};

    x.job[0] = (uint8_t)(n % 3 + 1);
    memcpy(x.device, &n, sizeof n);
    x.device[15] = 1;
    memcpy(x.spki_sha256 + 4, &n, sizeof n);
    x.spki_sha256[31] = 1;
    memset(x.serial, (int)n, sizeof x.serial);
    snprintf(tail, len, "certificate %u", n);
    return x;
}

void rig_add(struct ledger *l, unsigned n, size_t len)
{
    char tail[4096] = {0};
    struct ledger_entry x;
    struct err e = {0};

    memset(tail, 'x', sizeof tail);
    x = rig_entry(n, tail, len);
    ok(ledger_add(l, &x, &e));
}

void rig_add_many(struct ledger *l, unsigned from, unsigned to)
{
    struct err e = {0};

    for (unsigned i = from; i < to; i++) {
        rig_add(l, i, 40);
        if (ledger_waiting(l) == 1000)
            ok(ledger_commit(l, &e));
    }
    ok(ledger_commit(l, &e));
}

int rig_has(struct ledger *l, unsigned n)
{
    char tail[64], wanted[64];
    struct ledger_entry x = rig_entry(n, tail, sizeof tail), got;
    struct buf cert = BUF_INIT;
    struct err e = {0};
    int by_device = ledger_find_device(l, x.device, &got, &cert, &e), by_key;

    ok(by_device);
    if (by_device) {
        assert_int_equal(got.row, n);
        assert_memory_equal(got.spki_sha256, x.spki_sha256, 32);
        snprintf(wanted, sizeof wanted, "certificate %u", n);
        assert_memory_equal(cert.data, wanted, strlen(wanted) + 1);
    }
    by_key = ledger_find_key(l, x.spki_sha256, &got, &e);
    ok(by_key);
    assert_int_equal(by_device, by_key);
    buf_done(&cert);
    return by_device;
}

void rig_has_all(struct ledger *l, unsigned count)
{
    uint8_t job[LEDGER_ID_BYTES] = {1};

    for (unsigned i = 0; i < count; i++)
        assert_int_equal(rig_has(l, i), 1);
    for (unsigned i = count; i < count + 100; i++)
        assert_int_equal(rig_has(l, i), 0);
    assert_int_equal(ledger_counts(l).issued, count);
    assert_int_equal(ledger_job_count(l, job), (count + 2) / 3);
}

void rig_save(struct ledger *l)
{
    struct err e = {0};

    ok(ledger_save(l, &e));
    ok(ledger_saved(l, &e));
    assert_int_equal(ledger_unsaved(l), 0);
    ok(ledger_settle(l, &e));
}
