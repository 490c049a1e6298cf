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
#include "base/row.h"
#include "base/uuid.h"
#include "hsm/profile/profiles.h"
#include "jobs/device.h"
#include "jobs/certificate.h"
#include "jobs/jobd/jobd.h"

static int set_option(struct intake *in, const char *key, const char *value, struct err *e)
{
    const struct {
        const char *key;
        const char **at;
    } options[] = {
            {"name", &in->options.name},
            {"group", &in->group},
            {"profile", &in->profile},
            {"binding", &in->options.binding},
            {"keys", &in->options.keys},
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
            "option '%.40s' is unknown: there are name, group, profile, binding, keys, station, "
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

/* ---- the rows of devices that there are */

struct rows {
    struct row row[REISSUE_DEVICES_MAX];
    struct buf bytes[REISSUE_DEVICES_MAX]; /* that row[] borrows from */
    size_t count;
    struct row columns; /* every column that one of them has */
    bool made_key;      /* of one of them, by the signer */
    char profile[PROFILE_NAME_MAX + 1];
};

static const struct row_field *find_field(const struct row *row, const struct row_field *like)
{
    for (size_t i = 0; i < row->count; i++)
        if (row->fields[i].key_len == like->key_len &&
                memcmp(row->fields[i].key, like->key, like->key_len) == 0)
            return &row->fields[i];
    return NULL;
}

static int add_columns(struct rows *all, const struct row *row, struct err *e)
{
    for (size_t i = 0; i < row->count; i++) {
        if (find_field(&all->columns, &row->fields[i]))
            continue;
        if (all->columns.count == ROW_FIELDS_MAX)
            return err_set(e, ERR_LIMIT, "these devices have more than %u columns together",
                    ROW_FIELDS_MAX);
        all->columns.fields[all->columns.count++] = row->fields[i];
    }
    return 0;
}

/* A job has one profile, and a device's next certificate looks like its last. */
static int add_profile(
        struct registry *r, struct rows *all, int64_t device, const char *text, struct err *e)
{
    char profile[PROFILE_NAME_MAX + 1];
    if (device_profile(r, device, profile, e))
        return -1;
    if (all->count && strcmp(profile, all->profile) != 0)
        return err_set(e, ERR_ARGUMENT,
                "device '%.100s' is of profile %s, those before it of %s: re-issue them apart",
                text, profile, all->profile);
    memcpy(all->profile, profile, sizeof profile);
    return 0;
}

static int add_device(struct registry *r, struct rows *all, const char *text, struct err *e)
{
    int64_t device;
    bool made;
    if (all->count == REISSUE_DEVICES_MAX)
        return err_set(e, ERR_LIMIT, "at most %u devices in one call: import a manifest instead",
                REISSUE_DEVICES_MAX);
    struct buf *bytes = &all->bytes[all->count];
    struct row *row = &all->row[all->count];
    if (device_find(r, text, &device, e) || certificate_made_key(r, device, &made, e) ||
            add_profile(r, all, device, text, e) || device_row(r, device, bytes, e) ||
            row_decode(bytes->data, bytes->len, row, e))
        return -1;
    all->count++;
    all->made_key |= made;
    return add_columns(all, row, e);
}

static int append_bytes(struct buf *line, const char *bytes, size_t len, struct err *e)
{
    char text[MANIFEST_VALUE_MAX + 1];
    snprintf(text, sizeof text, "%.*s", (int)len, bytes);
    return append_field(line, text, e);
}

static int write_rows(const struct rows *all, int *ret_fd, struct err *e)
{
    struct buf header = BUF_INIT, lines = BUF_INIT, line = BUF_INIT;
    int result = -1;
    for (size_t c = 0; c < all->columns.count; c++)
        if (append_bytes(&header, all->columns.fields[c].key, all->columns.fields[c].key_len, e))
            goto out;
    for (size_t i = 0; i < all->count; i++) {
        buf_reset(&line);
        for (size_t c = 0; c < all->columns.count; c++) {
            const struct row_field *f = find_field(&all->row[i], &all->columns.fields[c]);
            if (append_bytes(&line, f ? f->value : "", f ? f->value_len : 0, e))
                goto out;
        }
        if ((i && buf_append(&lines, "\n", 1, e)) || buf_append(&lines, line.data, line.len, e))
            goto out;
    }
    result = write_file(&header, &lines, ret_fd, e);
out:
    buf_done(&header);
    buf_done(&lines);
    buf_done(&line);
    return result;
}

int intake_from_devices(struct registry *r, sd_bus_message *m, struct intake *in, struct err *e)
{
    struct rows *all = calloc(1, sizeof *all);
    const char *text;
    char uuid[UUID_TEXT_MAX];
    int result = -1, n;
    if (!all)
        return err_set(e, ERR_NOMEM, "no memory for a re-issue");
    if ((n = sd_bus_message_enter_container(m, 'a', "s")) >= 0)
        while ((n = sd_bus_message_read(m, "s", &text)) > 0)
            if (add_device(r, all, text, e))
                goto out;
    if (n < 0 || sd_bus_message_exit_container(m) < 0 ||
            sd_bus_message_read(m, "s", &in->options.name) <= 0) {
        err_set(e, ERR_PROTOCOL, "the call's arguments do not fit its signature");
        goto out;
    }
    if (!all->count) {
        err_set(e, ERR_ARGUMENT, "give at least one device");
        goto out;
    }
    if (!*in->options.name) {
        uuid_v4(uuid);
        snprintf(in->name, sizeof in->name, "re-issue %.8s", uuid);
        in->options.name = in->name;
    }
    in->options.reissue = true;
    memcpy(in->devices_profile, all->profile, sizeof in->devices_profile);
    in->profile = in->devices_profile;
    /* The signer certifies a key that it made only where the approver allows it again. */
    if (all->made_key)
        in->options.keys = "signer";
    result = write_rows(all, &in->fd, e);
out:
    for (size_t i = 0; i < REISSUE_DEVICES_MAX; i++)
        buf_done(&all->bytes[i]);
    free(all);
    return result;
}

int intake_read(struct intake *in, struct profiles *profiles, struct err *e)
{
    const struct manifest_options o = {.default_group = in->group};
    if (profiles_find(profiles, in->profile, &in->options.profile, e))
        return -1;
    return manifest_read(in->fd, &o, &in->manifest, e);
}

void intake_done(struct intake *in)
{
    if (in->fd >= 0)
        close(in->fd);
    manifest_done(&in->manifest);
}
