/* Files whose loss would matter. A write is all or nothing and durable before return; a read has a
 * limit. Never follows a half-written file: the name always shows the old or the new content. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"

#define READ_CHUNK 65536u

static int open_for_read(const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return err_set_code(e, ERR_NOT_FOUND, ENOENT, "%s does not exist", path);
    if (fd < 0)
        return err_set_errno(e, errno, "open %s", path);
    return fd;
}

static int read_all(int fd, const char *path, size_t max, struct buf *out, struct err *e)
{
    size_t had = out->len;
    for (;;) {
        /* One byte more than allowed is asked for, so that a file of exactly max bytes is told from
         * a longer one. */
        size_t room = max - (out->len - had) + 1;
        size_t ask = room < READ_CHUNK ? room : READ_CHUNK;
        uint8_t *at;
        if (buf_reserve(out, ask, &at, e) < 0)
            return -1;
        ssize_t n = read(fd, at, ask);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(e, errno, "read %s", path);
        if (n == 0)
            return 0;
        out->len += (size_t)n;
        if (out->len - had > max)
            return err_set(e, ERR_LIMIT, "%s is larger than %zu bytes", path, max);
    }
}

bool file_changed(const char *path, struct file_stamp *seen)
{
    struct file_stamp now = {0};
    struct stat st;
    if (stat(path, &st) == 0)
        now = (struct file_stamp){st.st_ino, st.st_size, st.st_mtim};
    bool same = now.inode == seen->inode && now.size == seen->size &&
                now.modified.tv_sec == seen->modified.tv_sec &&
                now.modified.tv_nsec == seen->modified.tv_nsec;
    *seen = now;
    return !same;
}

int file_read(const char *path, size_t max, struct buf *out, struct err *e)
{
    int fd = open_for_read(path, e);
    if (fd < 0)
        return -1;
    int r = read_all(fd, path, max, out, e);
    close(fd);
    return r;
}

static int write_all(int fd, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        bytes += n;
        len -= (size_t)n;
    }
    return 0;
}

/* The directory part of path, "." when there is none. */
static void parent_of(const char *path, char out[PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    int len = slash == NULL ? 0 : slash == path ? 1 : (int)(slash - path);
    if (len == 0)
        snprintf(out, PATH_MAX, ".");
    else
        snprintf(out, PATH_MAX, "%.*s", len, path);
}

/* A rename is durable only once its directory is. */
static int sync_parent(const char *path, struct err *e)
{
    char dir[PATH_MAX];
    parent_of(path, dir);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(e, errno, "open %s", dir);
    int r = fsync(fd) < 0 ? err_set_errno(e, errno, "sync %s", dir) : 0;
    close(fd);
    return r;
}

int file_write(const char *path, const void *bytes, size_t len, mode_t mode, struct err *e)
{
    char temporary[PATH_MAX];
    if (snprintf(temporary, sizeof temporary, "%s.XXXXXX", path) >= (int)sizeof temporary)
        return err_set_errno(e, ENAMETOOLONG, "write %s", path);
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return err_set_errno(e, errno, "write %s", path);
    bool ok = write_all(fd, bytes, len) == 0 && fchmod(fd, mode) == 0 && fsync(fd) == 0;
    int cause = ok ? 0 : errno;
    if (close(fd) < 0 && ok) {
        ok = false;
        cause = errno;
    }
    if (ok && rename(temporary, path) < 0) {
        ok = false;
        cause = errno;
    }
    if (!ok) {
        unlink(temporary);
        return err_set_errno(e, cause, "write %s", path);
    }
    return sync_parent(path, e);
}

int file_remove(const char *path, struct err *e)
{
    if (unlink(path) < 0)
        return errno == ENOENT ? 0 : err_set_errno(e, errno, "remove %s", path);
    return sync_parent(path, e);
}

int file_rename(const char *from, const char *to, struct err *e)
{
    if (rename(from, to) < 0)
        return err_set_errno(e, errno, "rename %s to %s", from, to);
    return sync_parent(to, e);
}

static int make_dir(const char *path, mode_t mode, struct err *e)
{
    if (mkdir(path, mode) == 0) {
        /* The umask took bits away; a directory of ours gets the rights it was meant to have. */
        if (chmod(path, mode) < 0)
            return err_set_errno(e, errno, "chmod %s", path);
        return 0;
    }
    int cause = errno;
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return 0;
    return err_set_errno(e, cause == EEXIST ? ENOTDIR : cause, "make directory %s", path);
}

int file_mkdirs(const char *path, mode_t mode, struct err *e)
{
    char part[PATH_MAX];
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof part)
        return err_set_errno(e, len == 0 ? ENOENT : ENAMETOOLONG, "make directory '%.64s'", path);
    memcpy(part, path, len + 1);
    for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (make_dir(part, mode, e) < 0)
            return -1;
        *slash = '/';
    }
    return make_dir(part, mode, e);
}

static int check_secrecy(int fd, const char *path, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_set_errno(e, errno, "stat %s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_CONFIG, "%s is not a file", path);
    /* The group may read (root:keyline 0640 is how a package installs a PIN), nobody else may. */
    if ((st.st_mode & (S_IRWXO | S_IWGRP)) != 0) {
        err_set(e, ERR_CONFIG, "%s is open to other users: chmod 600 %s", path, path);
        return err_advise(
                e, "Do that, if nobody else has read the secret meanwhile; else change it.");
    }
    return 0;
}

int file_read_secret(const char *path, struct buf *ret_secret, struct err *e)
{
    int fd = open_for_read(path, e);
    if (fd < 0)
        return -1;
    struct buf text = BUF_INIT_SECRET;
    int r = -1;
    if (check_secrecy(fd, path, e) < 0 || read_all(fd, path, SECRET_FILE_MAX, &text, e) < 0)
        goto out;
    size_t len = 0;
    while (len < text.len && text.data[len] != '\n')
        len++;
    if (len > 0 && text.data[len - 1] == '\r')
        len--;
    if (len == 0) {
        err_set(e, ERR_CONFIG, "the first line of %s is empty", path);
        err_advise(e, "The secret stands on the first line of its file.");
        goto out;
    }
    if (memchr(text.data, '\0', len) != NULL) {
        err_set(e, ERR_CONFIG, "the first line of %s holds a NUL byte", path);
        goto out;
    }
    ret_secret->secret = true;
    buf_reset(ret_secret);
    r = buf_append(ret_secret, text.data, len, e);
out:
    buf_done(&text);
    close(fd);
    return r;
}
