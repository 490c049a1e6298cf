/* A manifest: any bytes into manifest_read(). Promises that a file is either whole and good, every row in its canonical
 * form and under the root, or refused with the reasons. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "base/text.h"
#include "jobs/manifest.h"
#include "tests/fuzz/fuzz.h"

static void check_accepted(const struct manifest *m)
{
    struct merkle_range range = {0};
    struct merkle_hash root;
    struct err e = {0};

    promise(m->rows > 0 && m->rows <= MANIFEST_ROWS_MAX && m->errors_total == 0);
    promise(m->offsets[m->rows] == m->encoded.len);
    for (uint64_t i = 0; i < m->rows; i++) {
        const uint8_t *bytes = m->encoded.data + m->offsets[i];
        size_t len = m->offsets[i + 1] - m->offsets[i];
        char name[NAME_BYTES_MAX + 1];
        struct merkle_hash leaf;
        struct row row;

        promise(row_decode(bytes, len, &row, &e) == 0);
        promise(row_copy(&row, "device_name", name, sizeof name, &e) == 0);
        promise(name_valid(name, strlen(name)));
        promise(row_get(&row, "device_group"));
        merkle_leaf(bytes, len, &leaf);
        promise(memcmp(&leaf, &m->leaves[i], sizeof leaf) == 0);
        merkle_range_add(&range, &leaf);
    }
    merkle_range_root(&range, &root);
    promise(memcmp(&root, &m->root, sizeof root) == 0);
}

static void check_refused(const struct manifest *m, const struct err *e)
{
    promise(e->id != ERR_MANIFEST || m->error_count > 0);
    promise(m->error_count <= MANIFEST_ERRORS_MAX && m->error_count <= m->errors_total);
    for (size_t i = 0; i < m->error_count; i++) {
        promise(text_is_printable(m->errors[i].column, strlen(m->errors[i].column)));
        promise(text_is_printable(m->errors[i].reason, strlen(m->errors[i].reason)));
        promise(*m->errors[i].reason);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct manifest_options o = {.default_group = size && data[0] & 1 ? "sensors" : ""};
    struct manifest m = {0};
    struct err e = {0};
    int fd = open(fuzz_file(data + (size > 0), size - (size > 0)), O_RDONLY | O_CLOEXEC), r;

    must(fd >= 0);
    r = manifest_read(fd, &o, &m, &e);
    close(fd);
    fuzz_outcome(r, &e);
    if (r == 0)
        check_accepted(&m);
    else
        check_refused(&m, &e);
    manifest_done(&m);
    return 0;
}

void fuzz_seeds(fuzz_seed_fn add)
{
    static const char plain[] = "1device_name,hwid\nSENSOR-1,h1\nSENSOR-2,h2\n";
    static const char whole[] =
            "0\xef\xbb\xbf"
            "device_name,device_group,hwid,device_description,subject.common_name,"
            "subject.organization_name,subject.country,attr.mac\r\n"
            "S-1,g,h1,\"two\nlines, \"\"quoted\"\"\",S-1,Beispiel Ger\xc3\xa4te GmbH,DE,00:11\r\n"
            "S-2,g,h2,,S-2,,DE,\r\n";
    static const char twice[] = "1device_name,device_name\nA,B\nA,B\n";

    add("plain", plain, sizeof plain - 1);
    add("whole", whole, sizeof whole - 1);
    add("twice", twice, sizeof twice - 1);
}
