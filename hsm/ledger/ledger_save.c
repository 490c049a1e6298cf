/* Keeping the index beside the ledger. Promises that a snapshot never takes the place of another before
 * it is whole and on the disk, and that none is needed: whatever fails here costs time at the next start. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "hsm/ledger/ledger_parts.h"

#define SPILL_ENTRIES                                                                              \
    131072u /* held in memory while the whole ledger is read: 4 MB of cells, and few snapshots */

int ledger_index_paths(struct ledger *l, const char *path, struct err *e)
{
    static const char *const suffix[] = {".index", ".index.new"};

    for (int i = 0; i < LEDGER_INDEX_FILES; i++) {
        size_t len = strlen(path) + strlen(suffix[i]) + 1;

        l->index_path[i] = malloc(len);
        if (!l->index_path[i])
            return err_set(e, ERR_NOMEM, "no memory for a path");
        snprintf(l->index_path[i], len, "%s%s", path, suffix[i]);
    }
    return 0;
}

/* A new file each time: the one of this name may be in use. */
static int write_new(const struct ledger *l, int durable, struct err *e)
{
    const char *path = l->index_path[LEDGER_INDEX_NEW];
    const struct ledger_snapshot_parts parts = {
            &l->file, &l->tally, l->cells, &l->seals, l->snapshot};
    int fd, r;

    unlink(path);
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (fd < 0)
        return err_set_errno(e, errno, "create %s", path);
    r = ledger_snapshot_write(fd, &parts, e);
    if (r == 0 && durable && fsync(fd) < 0)
        r = err_set_errno(e, errno, "sync %s", path);
    close(fd);
    if (r < 0)
        unlink(path);
    return r;
}

/* From now on what is in the new snapshot is looked up there. */
static int adopt(struct ledger *l, struct err *e)
{
    struct ledger_snapshot *s = NULL;

    if (ledger_snapshot_reopen(l->index_path[LEDGER_INDEX_NEW], &l->file, &s, e) < 0)
        return -1;
    for (int i = 0; i < LEDGER_TABLES; i++)
        if (ledger_index_drop(&l->cells[i], ledger_snapshot_end(s), e) < 0) {
            ledger_snapshot_close(&s);
            return -1;
        }
    ledger_seals_drop(&l->seals, ledger_snapshot_end(s));
    ledger_snapshot_close(&l->snapshot);
    l->snapshot = s;
    l->snapshot_file = LEDGER_INDEX_NEW;
    return 0;
}

uint64_t ledger_unsaved(const struct ledger *l)
{
    return l->tally.counts.issued - (l->snapshot_kept ? ledger_snapshot_issued(l->snapshot) : 0);
}

int ledger_save(const struct ledger *l, struct err *e)
{
    return write_new(l, 1, e);
}

int ledger_saved(struct ledger *l, struct err *e)
{
    if (adopt(l, e) < 0)
        return -1;
    l->snapshot_kept = true;
    return 0;
}

int ledger_settle(struct ledger *l, struct err *e)
{
    if (!l->snapshot_kept || l->snapshot_file == LEDGER_INDEX_SETTLED || l->index_lost)
        return 0;
    /* no sync of the directory: after a power cut either name leads to a whole snapshot, or none */
    if (rename(l->index_path[LEDGER_INDEX_NEW], l->index_path[LEDGER_INDEX_SETTLED]) < 0)
        return err_set_errno(e, errno, "rename %s", l->index_path[LEDGER_INDEX_NEW]);
    l->snapshot_file = LEDGER_INDEX_SETTLED;
    return 0;
}

bool ledger_indexed(const struct ledger *l)
{
    return l->snapshot != NULL;
}

void ledger_disown(struct ledger *l)
{
    close(l->file.fd);
    l->file.fd = -1;
    ledger_writer_free(&l->file.writer);
}

const uint8_t *ledger_index_digest(const struct ledger *l)
{
    static const uint8_t none[LEDGER_INDEX_DIGEST];

    return l->snapshot_kept ? ledger_snapshot_digest(l->snapshot) : none;
}

/* The cells of a million entries take 24 MB of memory: a long reading puts them away as it goes. The
 * file is this process's own; nothing is believed of it later. */
int ledger_spill(struct ledger *l, struct err *e)
{
    struct err why = {0};
    int r;

    if (l->cells[LEDGER_BY_KEY].used < SPILL_ENTRIES || l->index_lost)
        return 0;
    r = write_new(l, 0, &why);
    if (r == 0)
        r = adopt(l, &why);
    unlink(l->index_path[LEDGER_INDEX_NEW]);
    if (r == 0) {
        l->snapshot_kept = false;
        return 0;
    }
    if (why.id == ERR_NOMEM)
        return err_set(e, ERR_NOMEM, "%.400s", why.msg);
    log_err(LOG_WARNING, "ledger-index-stays-in-memory", &why);
    return 0;
}
