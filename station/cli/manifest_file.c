/* Manifest files. Promises that a fault is shown in the same words and form wherever the file is read: here, or by the
 * appliance. */
#include "station/cli/manifest_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "jobs/manifest.h"
#include "station/cli/screen.h"

/* The appliance maps or reads the file itself, so a pipe is drained into memory first. */
static int copy_to_memory(int from, struct err *e)
{
    char chunk[65536];
    uint64_t total = 0;
    int fd = memfd_create("manifest", MFD_CLOEXEC);
    if (fd < 0)
        return err_set_errno(e, errno, "make room for standard input");
    for (;;) {
        ssize_t n = read(from, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0 && lseek(fd, 0, SEEK_SET) == 0)
            return fd;
        total += n > 0 ? (uint64_t)n : 0;
        if (n <= 0 || write(fd, chunk, (size_t)n) != n)
            err_set_errno(e, errno, "read the manifest from standard input");
        else if (total > MANIFEST_BYTES_MAX)
            err_set(e, ERR_LIMIT, "standard input: a manifest has at most %u MB",
                    MANIFEST_BYTES_MAX / 1000000);
        else
            continue;
        close(fd);
        return -1;
    }
}

int manifest_file_open(const char *path, struct err *e)
{
    struct stat st;
    if (strcmp(path, "-") == 0) {
        return copy_to_memory(0, e);
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return err_set(e, ERR_NOT_FOUND, "there is no file %s", path);
    if (fd < 0)
        return err_set_errno(e, errno, "open %s", path);
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        return fd;
    fcntl(fd, F_SETFL, 0);
    int copy = S_ISFIFO(st.st_mode) ? copy_to_memory(fd, e) /* <(zcat manifest.gz) */
                                    : err_set(e, ERR_ARGUMENT, "%s is not a file", path);
    close(fd);
    return copy;
}

int manifest_file_read(const char *path, const char *group, struct manifest *ret, struct err *e)
{
    const struct manifest_options o = {.default_group = group};
    struct screen s;
    int fd = manifest_file_open(path, e);
    if (fd < 0)
        return -1;
    int r = manifest_read(fd, &o, ret, e);
    close(fd);
    if (r == 0)
        return 0;
    fflush(stdout);
    screen_init(&s, stderr);
    for (size_t i = 0; i < ret->error_count; i++)
        manifest_file_fault(&s, path, (int64_t)ret->errors[i].row, ret->errors[i].column,
                ret->errors[i].reason);
    manifest_file_more(&s, (int64_t)(ret->errors_total - ret->error_count));
    return err_context(e, "%s", path);
}

void manifest_file_fault(const struct screen *s, const char *file, int64_t row, const char *column,
        const char *reason)
{
    if (file) {
        screen_put(s, file, 0);
        screen_printf(s, ":%" PRId64 ": ", row);
    }
    screen_style(s, STYLE_BOLD);
    screen_put(s, column, 0);
    screen_style(s, STYLE_PLAIN);
    screen_printf(s, "%s", *column ? ": " : "");
    screen_put(s, reason, 0);
    screen_printf(s, "\n");
}

void manifest_file_more(const struct screen *s, int64_t more)
{
    char n[NUMBER_TEXT_MAX];
    if (more > 0)
        screen_printf(s, "... and %s more\n", number_format(more, n));
}
