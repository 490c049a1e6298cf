/* The result file. Quoting is libcsv's; the rename after the sync makes it all or nothing. */
#include "station/cli/csv_file.h"

#include <csv.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct csv_file {
    FILE *file;
    bool is_stdout;
    char path[PATH_MAX], temporary[PATH_MAX];
};

static int write_failed(const struct csv_file *f, struct err *e)
{
    return err_set_errno(e, errno, "write %s", f->path);
}

static int put_field(struct csv_file *f, const char *text, bool last)
{
    char guarded[CELL_BYTES_MAX + 1];
    if (*text && strchr("=+-@\t\r", *text)) {
        snprintf(guarded, sizeof guarded, "'%s", text);
        text = guarded;
    }
    if (csv_fwrite(f->file, text, strlen(text)))
        return -1;
    return fputs(last ? "\r\n" : ",", f->file) < 0 ? -1 : 0;
}

int csv_file_row(struct csv_file *f, const struct table_column *columns, size_t count,
        const json_t *row, struct err *e)
{
    char cell[CELL_BYTES_MAX];
    for (size_t i = 0; i < count; i++) {
        cell_raw(json_object_get(row, columns[i].key), cell);
        if (put_field(f, cell, i + 1 == count))
            return write_failed(f, e);
    }
    return 0;
}

static int open_temporary(struct csv_file *f, struct err *e)
{
    int fd = -1;
    if (snprintf(f->temporary, sizeof f->temporary, "%s.XXXXXX", f->path) <
            (int)sizeof f->temporary)
        fd = mkstemp(f->temporary);
    else
        errno = ENAMETOOLONG;
    if (fd < 0) {
        f->temporary[0] = '\0';
        return write_failed(f, e);
    }
    mode_t mask = umask(0);
    umask(mask);
    fchmod(fd, 0666 & ~mask);
    f->file = fdopen(fd, "we");
    return f->file ? 0 : write_failed(f, e);
}

int csv_file_open(const char *path, const struct table_column *columns, size_t count,
        struct csv_file **ret, struct err *e)
{
    struct csv_file *f = calloc(1, sizeof *f);
    if (!f)
        return err_set(e, ERR_NOMEM, "no memory to write %s", path);
    f->is_stdout = strcmp(path, "-") == 0;
    snprintf(f->path, sizeof f->path, "%s", path);
    if (f->is_stdout)
        f->file = stdout;
    else if (open_temporary(f, e)) {
        csv_file_close(&f);
        return -1;
    }
    for (size_t i = 0; i < count; i++)
        if (put_field(f, columns[i].key, i + 1 == count)) {
            write_failed(f, e);
            csv_file_close(&f);
            return -1;
        }
    *ret = f;
    return 0;
}

static void sync_directory(const char *path)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd); /* a report can be made again: its directory entry may be lost in a power cut */
        close(fd);
    }
}

int csv_file_commit(struct csv_file *f, struct err *e)
{
    if (fflush(f->file) || ferror(f->file))
        return write_failed(f, e);
    if (f->is_stdout)
        return 0;
    if (fsync(fileno(f->file)) || rename(f->temporary, f->path))
        return write_failed(f, e);
    f->temporary[0] = '\0';
    sync_directory(f->path);
    return 0;
}

void csv_file_close(struct csv_file **f)
{
    if (!*f)
        return;
    if ((*f)->file && !(*f)->is_stdout)
        fclose((*f)->file);
    if (*(*f)->temporary)
        unlink((*f)->temporary);
    free(*f);
    *f = NULL;
}
