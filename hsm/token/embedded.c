/* The embedded token's directory. Promises never to replace or remove a file that has any content: an
 * empty one comes back from its copy, or, when it never had one, goes. */
#include "hsm/token/embedded.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/paths.h"

#define OBJECT_BYTES_MAX (1u << 20)

int embedded_env(const struct paths *p)
{
    char conf[PATH_MAX];
    const char *set = getenv("SOFTHSM2_CONF");

    paths_get(p, PATH_SOFTHSM_CONF, conf);
    if (set)
        return strcmp(set, conf) == 0;
    if (access(conf, R_OK) < 0)
        return 0;
    setenv("SOFTHSM2_CONF", conf, 0);
    return 1;
}

static int join(char out[PATH_MAX], const char *a, const char *b, const char *c, struct err *e)
{
    if (snprintf(out, PATH_MAX, "%s/%s%s%s", a, b, c ? "/" : "", c ? c : "") >= PATH_MAX)
        return err_set(e, ERR_LIMIT, "a path below %s is too long", a);
    return 0;
}

static int backup_path(const struct paths *p, char out[PATH_MAX], struct err *e)
{
    return join(out, p->state, "signer", "tokens.backup", e);
}

int embedded_lock(const struct paths *p, int *ret_fd, struct err *e)
{
    char path[PATH_MAX];
    int fd;

    if (join(path, p->state, "signer", "tokens.lock", e) < 0)
        return -1;
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_set_errno(e, errno, "open %s", path);
    while (flock(fd, LOCK_EX) < 0)
        if (errno != EINTR) {
            err_set_errno(e, errno, "lock %s", path);
            close(fd);
            return -1;
        }
    *ret_fd = fd;
    return 0;
}

typedef int (*object_fn)(const char *from, const char *to, struct err *e);

/* Calls fn for every file of every token below `tokens`, with the place that has the same name
 * below `copies`. */
static int each_object(const char *tokens, const char *copies, object_fn fn, struct err *e)
{
    char dir[PATH_MAX], copy_dir[PATH_MAX], from[PATH_MAX], to[PATH_MAX];
    DIR *top = opendir(tokens), *token = NULL;
    struct dirent *d, *f;
    int r = -1;

    if (!top)
        return err_set(e, ERR_TOKEN_ABSENT, "%s: %s", tokens, strerror(errno));
    while ((d = readdir(top))) {
        if (d->d_name[0] == '.')
            continue;
        if (join(dir, tokens, d->d_name, NULL, e) < 0 ||
                join(copy_dir, copies, d->d_name, NULL, e) < 0)
            goto out;
        token = opendir(dir);
        while (token && (f = readdir(token))) {
            if (f->d_name[0] == '.')
                continue;
            if (join(from, dir, f->d_name, NULL, e) < 0 ||
                    join(to, copy_dir, f->d_name, NULL, e) < 0 || fn(from, to, e) < 0)
                goto out;
        }
        if (token)
            closedir(token);
        token = NULL;
    }
    r = 0;
out:
    if (token)
        closedir(token);
    closedir(top);
    return r;
}

static int copy_object(const char *from, const char *to, struct err *e)
{
    char dir[PATH_MAX];
    struct buf content = BUF_INIT_SECRET;
    int r = -1;

    snprintf(dir, sizeof dir, "%s", to);
    *strrchr(dir, '/') = '\0';
    if (file_mkdirs(dir, 0700, e) == 0 && file_read(from, OBJECT_BYTES_MAX, &content, e) == 0)
        r = file_write(to, content.data, content.len, 0600, e);
    buf_done(&content);
    return r;
}

static bool is_token_object(const char *path)
{
    const char *name = strrchr(path, '/');

    return strcmp(name ? name + 1 : path, "token.object") == 0;
}

static int restore_object(const char *object, const char *copy, struct err *e)
{
    const char *dot = strrchr(object, '.');
    struct stat st, st_copy;

    if (!dot || strcmp(dot, ".object") != 0 || stat(object, &st) < 0 || st.st_size > 0)
        return 0;
    if (stat(copy, &st_copy) < 0 && errno == ENOENT && !is_token_object(object)) {
        /* whoever makes keys holds our lock until they are copied: this one's maker was killed */
        log_warning("token-file-unfinished", LOG_STR("file", object));
        return file_remove(object, e);
    }
    if (stat(copy, &st_copy) < 0 || st_copy.st_size == 0)
        return err_set(e, ERR_TOKEN_ABSENT,
                "%s was left empty by an interrupted login, and there is no copy at %s: restore "
                "the token's directory from your backup",
                object, copy);
    log_warning("token-file-restored", LOG_STR("file", object), LOG_STR("from", copy));
    return copy_object(copy, object, e);
}

int embedded_backup(const struct paths *p, struct err *e)
{
    char tokens[PATH_MAX], copies[PATH_MAX];

    paths_get(p, PATH_TOKENS, tokens);
    if (backup_path(p, copies, e) < 0)
        return -1;
    return each_object(tokens, copies, copy_object, e);
}

int embedded_restore(const struct paths *p, struct err *e)
{
    char tokens[PATH_MAX], copies[PATH_MAX];

    paths_get(p, PATH_TOKENS, tokens);
    if (backup_path(p, copies, e) < 0)
        return -1;
    return each_object(tokens, copies, restore_object, e);
}

static int drop_copy(const char *copy, const char *object, struct err *e)
{
    struct stat st;

    if (stat(object, &st) == 0 || errno != ENOENT)
        return 0;
    return file_remove(copy, e);
}

int embedded_forget(const struct paths *p, struct err *e)
{
    char tokens[PATH_MAX], copies[PATH_MAX];

    paths_get(p, PATH_TOKENS, tokens);
    if (backup_path(p, copies, e) < 0)
        return -1;
    return each_object(copies, tokens, drop_copy, e);
}
