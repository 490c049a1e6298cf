/* The index beside a ledger: any bytes in its place, next to a ledger that is whole. Promises that no index keeps the ledger
 * from being opened, that one whose front is the true one never gives a wrong answer, and that none brings the process
 * down. The mutator hashes a changed front again: then it may lie, and that is all. */
#include <openssl/sha.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "hsm/ledger/ledger.h"
#include "tests/fuzz/fuzz.h"

#define ENTRIES 300 /* some pages of an index */

static struct buf ledger, honest; /* files */
static size_t front; /* bytes of the honest index before the digest over them; 0: not found */
static char path[256], index_path[272];

static struct ledger_entry entry(unsigned n)
{
    static const uint8_t tail[40] = "a certificate";
    struct ledger_entry x = {.type = LEDGER_ISSUED, .row = n, .time_ms = 1000 + n};

    x.tail = (struct cert_bytes){tail, sizeof tail};
    memset(x.job, (int)(n % 7), sizeof x.job);
    SHA256((const uint8_t *)&n, sizeof n, x.spki_sha256);
    memcpy(x.device, x.spki_sha256, sizeof x.device);
    memcpy(x.serial, x.spki_sha256, sizeof x.serial);
    return x;
}

static void find_front(void)
{
    uint8_t hash[32];

    for (front = honest.len > 32 ? honest.len - 32 : 0; front; front--) {
        SHA256(honest.data, front, hash);
        if (memcmp(hash, honest.data + front, sizeof hash) == 0)
            return;
    }
}

static void make_honest(void)
{
    struct ledger *l = NULL;
    struct err e = {0};

    snprintf(path, sizeof path, "%s/ledger", fuzz_dir());
    snprintf(index_path, sizeof index_path, "%s.index", path);
    must(ledger_open(path, &l, &e) == 0);
    for (unsigned i = 0; i < ENTRIES; i++) {
        struct ledger_entry x = entry(i);

        must(ledger_add(l, &x, &e) == 0);
    }
    must(ledger_commit(l, &e) == 0 && ledger_save(l, &e) == 0 && ledger_saved(l, &e) == 0 &&
            ledger_settle(l, &e) == 0);
    ledger_close(&l);
    must(file_read(path, 1u << 24, &ledger, &e) == 0);
    must(file_read(index_path, 1u << 24, &honest, &e) == 0);
    find_front();
    must(front);
}

static void look_up(struct ledger *l, bool true_front)
{
    struct err e = {0};

    for (unsigned i = 0; i < ENTRIES; i += 7) {
        struct ledger_entry x = entry(i), found;
        int r = ledger_find_device(l, x.device, &found, NULL, &e);

        fuzz_outcome(r, &e);
        promise(!true_front || (r == LEDGER_PRESENT && found.row == i) || r < 0);
        err_clear(&e);
        r = ledger_find_key(l, x.spki_sha256, &found, &e);
        fuzz_outcome(r, &e);
        promise(!true_front || (r == LEDGER_PRESENT && found.row == i) || r < 0);
        err_clear(&e);
    }
    promise(!true_front || ledger_counts(l).issued == ENTRIES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ledger *l = NULL;
    struct err e = {0};
    bool forged;

    if (!ledger.len)
        make_honest();
    forged = front && size >= front && memcmp(data, honest.data, front) != 0;
    must(file_write(path, ledger.data, ledger.len, 0600, &e) == 0);
    must(file_write(index_path, data, size, 0600, &e) == 0);
    promise(ledger_open(path, &l, &e) == 0);
    look_up(l, !forged);
    ledger_close(&l);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    if (!ledger.len)
        make_honest();
    size = LLVMFuzzerMutate(data, size, max);
    if (front && seed % 2 && size >= front + 32)
        SHA256(data, front, data + front);
    return size;
}

void fuzz_seeds(fuzz_seed_fn add)
{
    make_honest();
    add("none", "", 0);
    add("honest", honest.data, honest.len);
}
