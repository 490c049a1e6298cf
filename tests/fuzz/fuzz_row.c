/* A canonical row: any bytes into row_decode(), and what passes into a certificate's subject. Promises that a row has one
 * encoding, and that a subject is one DER Name that OpenSSL reads. */
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/row.h"
#include "hsm/profile/profile.h"
#include "hsm/profile/profile_apply.h"
#include "tests/fuzz/fuzz.h"
#include "tests/hsm/help.h"

static void check_subject(const struct row *row)
{
    static struct profile *idevid;
    static struct profile_space space;
    struct cert_fields f = {0};
    const struct profile_case c = {.row = row,
            .device_id = "11111111-1111-5111-8111-111111111111",
            .ca_not_after = CERT_NEVER};
    struct err e = {0};
    const uint8_t *at;
    X509_NAME *name;
    int r;

    must(idevid || profile_builtin(&idevid, &e) == 0);
    r = profile_apply(idevid, &c, &space, &f, &e);
    fuzz_outcome(r, &e);
    if (r < 0)
        return;
    at = f.subject.bytes;
    name = d2i_X509_NAME(NULL, &at, (long)f.subject.len);
    promise(name && at == f.subject.bytes + f.subject.len);
    promise(X509_NAME_get_index_by_NID(name, NID_serialNumber, -1) >= 0);
    promise(f.alt_names.len > 0);
    X509_NAME_free(name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char name[NAME_BYTES_MAX + 1];
    struct buf again = BUF_INIT;
    struct err e = {0};
    struct row row;
    int r = row_decode(data, size, &row, &e);

    fuzz_outcome(r, &e);
    if (r < 0)
        return 0;
    promise(row.count <= ROW_FIELDS_MAX);
    check_subject(&row);
    fuzz_outcome(row_copy(&row, "device_name", name, sizeof name, &e), &e);
    err_clear(&e);
    promise(row_encode(&row, &again, &e) == 0);
    promise(again.len == size && memcmp(again.data, data, size) == 0);
    buf_done(&again);
    return 0;
}

void fuzz_seeds(fuzz_seed_fn add)
{
    /* the same row in encodings that are not its one */
    static const struct {
        const char *name;
        size_t len;
        uint8_t bytes[8];
    } others[] = {{"empty-value", 4, {0xa1, 0x61, 'a', 0x60}},
            {"order", 8, {0xa2, 0x62, 'a', 'a', 0x60, 0x61, 'b', 0x60}},
            {"long-head", 6, {0xa1, 0x78, 0x01, 'a', 0x61, 'x'}},
            {"indefinite", 6, {0xbf, 0x61, 'a', 0x61, 'x', 0xff}},
            {"bytes-behind", 6, {0xa1, 0x61, 'a', 0x61, 'x', 0x00}}};
    struct help_rows rows;
    struct row row = {0};
    struct buf bytes = BUF_INIT;
    char key[8];

    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        add(others[i].name, others[i].bytes, others[i].len);
    help_rows_make(&rows, 2);
    add("row", rows.rows[1].data, rows.rows[1].len);
    help_rows_done(&rows);
    must(row_encode(&row, &bytes, NULL) == 0);
    add("empty", bytes.data, bytes.len);
    buf_reset(&bytes);
    for (unsigned i = 0; i < ROW_FIELDS_MAX; i++) {
        snprintf(key, sizeof key, "k%u", i);
        must(row_add(&row, key, strlen(key), "\xc3\xa4", 2, NULL) == 0);
        must(i || row_encode(&row, &bytes, NULL) == 0);
        row.fields[i].key = strdup(key); /* small, and of a process that ends soon */
    }
    add("one", bytes.data, bytes.len);
    buf_reset(&bytes);
    must(row_encode(&row, &bytes, NULL) == 0);
    add("full", bytes.data, bytes.len);
    for (unsigned i = 0; i < ROW_FIELDS_MAX; i++)
        free((void *)(uintptr_t)row.fields[i].key);
    buf_done(&bytes);
}
