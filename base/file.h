/* Files whose loss would matter: read with a limit, replaced atomically, durable before return. */
#pragma once
#include <stddef.h>
#include <sys/types.h>

struct err;
struct buf;

/* Appends the whole file; more than max bytes is ERR_LIMIT, a missing one ERR_NOT_FOUND. */
int file_read(const char *path, size_t max, struct buf *out, struct err *e);
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
