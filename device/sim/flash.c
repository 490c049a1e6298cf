/* Object files under a directory: NAME is committed, NAME.staged is not. It must never leave a
 * committed file half written: files are only ever appended to while staged. */
#include "flash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD_BYTES 36u /* of the library's own; the content follows (device/src/object.h) */

static const char *file_name(uint8_t object)
{
    switch (object) {
    case KL_OBJECT_CERTIFICATE:
        return "certificate";
    case KL_OBJECT_CHAIN:
        return "chain";
    case KL_OBJECT_CONFIGURATION:
        return "configuration";
    case KL_OBJECT_KEY:
        return "key";
    default:
        return "seal";
    }
}

static void staged_name(uint8_t object, char out[32])
{
    snprintf(out, 32, "%s.staged", file_name(object));
}

static enum kl_error store_error(void)
{
    return errno == ENOSPC || errno == EDQUOT ? KL_ERROR_FULL : KL_ERROR_STORAGE;
}

static enum kl_error length_of(struct flash *f, const char *name, uint32_t *ret)
{
    struct stat st;

    *ret = 0;
    if (fstatat(f->dir, name, &st, 0) < 0)
        return errno == ENOENT ? KL_OK : KL_ERROR_STORAGE;
    *ret = (uint32_t)st.st_size;
    return KL_OK;
}

static enum kl_error read_at(
        struct flash *f, const char *name, uint32_t offset, uint8_t *bytes, uint32_t len)
{
    int fd = openat(f->dir, name, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return KL_ERROR_STORAGE;
    ssize_t n = pread(fd, bytes, len, offset);
    close(fd);
    return n == (ssize_t)len ? KL_OK : KL_ERROR_STORAGE;
}

static enum kl_error write_to(
        struct flash *f, const char *name, int flags, const uint8_t *bytes, uint32_t len)
{
    int fd = openat(f->dir, name, O_WRONLY | O_CLOEXEC | flags, 0600);

    if (fd < 0)
        return store_error();
    enum kl_error error = KL_OK;
    if (len && write(fd, bytes, len) != (ssize_t)len)
        error = store_error();
    if (!error && f->durable && fdatasync(fd) < 0)
        error = store_error();
    close(fd);
    return error;
}

static enum kl_error flash_size(void *ctx, uint8_t object, uint32_t *ret)
{
    return length_of(ctx, file_name(object), ret);
}

static enum kl_error flash_read(
        void *ctx, uint8_t object, uint32_t offset, uint8_t *bytes, uint32_t len)
{
    struct flash *f = ctx;
    enum kl_error error = read_at(f, file_name(object), offset, bytes, len);

    if (!error && f->forgets && object == KL_OBJECT_CERTIFICATE && offset >= HEAD_BYTES && len)
        bytes[len / 2] ^= 0x10;
    return error;
}

static enum kl_error flash_stage(void *ctx, uint8_t object, uint32_t total)
{
    char name[32];

    (void)total;
    staged_name(object, name);
    return write_to(ctx, name, O_CREAT | O_TRUNC, NULL, 0);
}

static enum kl_error flash_append(void *ctx, uint8_t object, const uint8_t *bytes, uint32_t len)
{
    char name[32];

    staged_name(object, name);
    return write_to(ctx, name, O_APPEND, bytes, len);
}

static enum kl_error flash_staged(void *ctx, uint8_t object, uint32_t *ret)
{
    char name[32];

    staged_name(object, name);
    return length_of(ctx, name, ret);
}

static enum kl_error flash_read_staged(
        void *ctx, uint8_t object, uint32_t offset, uint8_t *bytes, uint32_t len)
{
    char name[32];

    staged_name(object, name);
    return read_at(ctx, name, offset, bytes, len);
}

static enum kl_error flash_commit(void *ctx, uint8_t object)
{
    struct flash *f = ctx;
    char name[32];

    staged_name(object, name);
    if (renameat(f->dir, name, f->dir, file_name(object)) < 0)
        return store_error();
    return f->durable && fsync(f->dir) < 0 ? store_error() : KL_OK;
}

static enum kl_error flash_erase(void *ctx, uint8_t object)
{
    struct flash *f = ctx;
    char name[32];

    staged_name(object, name);
    if ((unlinkat(f->dir, file_name(object), 0) < 0 && errno != ENOENT) ||
            (unlinkat(f->dir, name, 0) < 0 && errno != ENOENT))
        return store_error();
    return f->durable && fsync(f->dir) < 0 ? store_error() : KL_OK;
}

int flash_open(struct flash *f, const char *dir, const char *hwid, bool durable)
{
    char path[PATH_MAX];

    *f = (struct flash){.dir = -1, .durable = durable};
    f->storage = (struct kl_storage){f, flash_size, flash_read, flash_stage, flash_append,
            flash_staged, flash_read_staged, flash_commit, flash_erase};
    int at = snprintf(path, sizeof path, "%s/", dir);
    if (at < 0 || (size_t)at + strlen(hwid) >= sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return -1;
    strcpy(path + at, hwid);
    for (char *c = path + at; *c; c++)
        if (*c == '/' || (*c == '.' && c == path + at))
            *c = '_';
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return -1;
    f->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return f->dir < 0 ? -1 : 0;
}

void flash_close(struct flash *f)
{
    if (f->dir >= 0)
        close(f->dir);
    f->dir = -1;
}
