/* Files whose loss would matter: read with a limit, replaced atomically, durable before return. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

struct err;
struct buf;

/* Appends the whole file; more than max bytes is ERR_LIMIT, a missing one ERR_NOT_FOUND. */
int file_read(const char *path, size_t max, struct buf *out, struct err *e);
/* What tells two contents of a file apart without reading them. All zero: no file. */
struct file_stamp {
    ino_t inode;
    off_t size;
    struct timespec modified;
};
/* Whether the file is another one than *seen says, which is brought up to date. A file that cannot be looked at counts as
 * none: who reads it learns why. */
bool file_changed(const char *path, struct file_stamp *seen);
/* Temporary in the same directory, fsync, rename, fsync of the directory. */
int file_write(const char *path, const void *bytes, size_t len, mode_t mode, struct err *e);
/* Gone for good before return; one that is not there is no error. */
int file_remove(const char *path, struct err *e);
/* Takes the place of what was there; within one directory. Durable before return. */
int file_rename(const char *from, const char *to, struct err *e);
/* mkdir -p with mode for those it makes. */
int file_mkdirs(const char *path, mode_t mode, struct err *e);
/* First line of a file that holds a secret (PIN, passphrase), without the newline; replaces what ret_secret held and
 * makes it secret. ERR_CONFIG when it is empty, or when others may read the file or the group may change it. */
int file_read_secret(const char *path, struct buf *ret_secret, struct err *e);
