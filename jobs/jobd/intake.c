/* Descriptors and options from strangers. What is read here goes through manifest_read() as any
 * file does: a single row has no way of its own into the registry. */
#include "jobs/jobd/intake.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csv.h>

#include "base/buf.h"
#include "base/uuid.h"
#include "jobs/jobd/jobd.h"

static int set_option(struct intake *in, const char *key, const char *value, struct err *e)
{
    const struct {
        const char *key;
        const char **at;
    } options[] = {
            {"name", &in->options.name},
            {"group", &in->group},
            {"profile", &in->options.profile},
            {"binding", &in->options.binding},
            {"station", &in->options.stations},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (strcmp(options[i].key, key) == 0) {
            *options[i].at = value;
            return 0;
        }
    if (strcmp(key, "add_groups") == 0 && strcmp(value, "yes") == 0) {
        in->options.add_groups = true;
        return 0;
    }
    if (strcmp(key, "reissue") == 0 && strcmp(value, "yes") == 0) {
        in->options.reissue = true;
        return 0;
    }
    return err_set(e, ERR_ARGUMENT,
            "option '%.40s' is unknown: there are name, group, profile, binding, station, "
            "add_groups=yes, reissue=yes",
            key);
}

static int take_file(struct intake *in, int fd, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return err_set(e, ERR_ARGUMENT, "the manifest is not a regular file: give a file's name");
    in->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return in->fd < 0 ? err_set_errno(e, errno, "take the manifest") : 0;
}

int intake_from_file(sd_bus_message *m, struct intake *in, struct err *e)
{
    const char *key, *value;
    int fd;
    if (read_args(m, e, "h", &fd) || take_file(in, fd, e))
        return -1;
    int r = sd_bus_message_enter_container(m, 'a', "{ss}");
    while (r >= 0 && (r = sd_bus_message_read(m, "{ss}", &key, &value)) > 0)
        if (set_option(in, key, value, e))
            return -1;
    return r < 0 ? err_set(e, ERR_PROTOCOL, "the call's arguments do not fit its signature") : 0;
}

/* ---- one row, written as the CSV file it stands for */

static int append_field(struct buf *line, const char *text, struct err *e)
{
    size_t len = strlen(text), need = csv_write(NULL, 0, text, len);
    uint8_t *at;
    if (line->len && buf_append(line, ",", 1, e))
        return -1;
    if (buf_reserve(line, need, &at, e))
        return -1;
    (void)csv_write(at, need, text, len);
    line->len += need;
    return 0;
}

static int write_file(
        const struct buf *header, const struct buf *values, int *ret_fd, struct err *e)
{
    int fd = memfd_create("row", MFD_CLOEXEC);
    FILE *f = fd >= 0 ? fdopen(dup(fd), "w") : NULL;
    int bad = !f || fwrite(header->data, 1, header->len, f) != header->len || fputc('\n', f) < 0 ||
              fwrite(values->data, 1, values->len, f) != values->len || fputc('\n', f) < 0;
    if (f)
        bad |= fclose(f) != 0;
    if (bad || lseek(fd, 0, SEEK_SET) < 0) {
        err_set_errno(e, errno, "write a row");
        if (fd >= 0)
            close(fd);
        return -1;
    }
    *ret_fd = fd;
    return 0;
}

int intake_from_row(sd_bus_message *m, struct intake *in, struct err *e)
{
    struct buf header = BUF_INIT, values = BUF_INIT;
    const char *key, *value;
    char uuid[UUID_TEXT_MAX];
    int result = -1;
    int r = sd_bus_message_enter_container(m, 'a', "{ss}");
    while (r >= 0 && (r = sd_bus_message_read(m, "{ss}", &key, &value)) > 0)
        if (append_field(&header, key, e) || append_field(&values, value, e))
            goto out;
    if (r < 0) {
        err_set(e, ERR_PROTOCOL, "the call's arguments do not fit its signature");
        goto out;
    }
    if (!header.len) {
        err_set(e, ERR_ARGUMENT, "give at least device_name and device_group");
        goto out;
    }
    uuid_v4(uuid);
    snprintf(in->name, sizeof in->name, "registration %.8s", uuid);
    in->options.name = in->name;
    result = write_file(&header, &values, &in->fd, e);
out:
    buf_done(&header);
    buf_done(&values);
    return result;
}

int intake_read(struct intake *in, struct err *e)
{
    const struct manifest_options o = {.default_group = in->group};
    return manifest_read(in->fd, &o, &in->manifest, e);
}

void intake_done(struct intake *in)
{
    if (in->fd >= 0)
        close(in->fd);
    manifest_done(&in->manifest);
}
