/* A ledger file: any bytes into ledger_open(). Promises that a file that is refused is left as it is; that one that is
 * taken has a whole chain of hashes up to where it ends then, and has lost nothing but an unfinished last group; and that
 * it can be written on and read again. The mutator changes what is under the hashes and makes them right. */
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "hsm/ledger/ledger.h"
#include "hsm/ledger/ledger_scrub.h"
#include "tests/fuzz/fuzz.h"

/* hsm/ledger/ledger.h, written down a second time on purpose: what checks a chain must not be what made it. */
enum {
    HEADER = 32,
    FACTS = 16,
    CHECK = 8,
    GROUP_HEADER = FACTS + CHECK,
    SIGNATURE = 64,
    HASH = 32,
    GROUP_END = SIGNATURE + HASH,
    SECTOR = 512
};

static size_t be32(const uint8_t *at)
{
    return (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3];
}

static void hash2(const uint8_t chain[HASH], const uint8_t *bytes, size_t len, uint8_t ret[HASH])
{
    static EVP_MD_CTX *c;

    c = c ? c : EVP_MD_CTX_new();
    must(EVP_DigestInit_ex(c, EVP_sha256(), NULL) == 1 && EVP_DigestUpdate(c, chain, HASH) == 1 &&
            EVP_DigestUpdate(c, bytes, len) == 1 && EVP_DigestFinal_ex(c, ret, NULL) == 1);
}

/* The chain behind a group of len bytes with the signature that follows them. */
static void hash_group(
        const uint8_t chain[HASH], const uint8_t *group, size_t len, uint8_t ret[HASH])
{
    uint8_t digest[HASH];

    hash2(chain, group, len, digest);
    hash2(digest, group + len, SIGNATURE, ret);
}

/* The bytes that a chain without a fault covers; 0 when there is not even a header. ret_chain: its last hash. */
static size_t whole_chain(const uint8_t *data, size_t size, uint8_t ret_chain[HASH])
{
    uint8_t hash[HASH];
    size_t at = HEADER;

    if (size < HEADER || memcmp(data, "KEYLINE-LEDGER\n\2", 16) != 0)
        return 0;
    SHA256(data, HEADER, ret_chain);
    while (size - at >= GROUP_HEADER + GROUP_END) {
        size_t len = GROUP_HEADER + be32(data + at + 4);

        hash2(ret_chain, data + at, FACTS, hash);
        if (memcmp(hash, data + at + FACTS, CHECK) != 0 || len > size - at - GROUP_END)
            break;
        hash_group(ret_chain, data + at, len, hash);
        if (memcmp(hash, data + at + len + SIGNATURE, HASH) != 0)
            break;
        memcpy(ret_chain, hash, HASH);
        at += len + GROUP_END;
    }
    return at;
}

/* Whether this can be what a power cut left of one append: then its header can be trusted and says that there is more, or
 * sectors are missing in it. Anything else is damage, and must not be cut off. */
static bool unfinished(const uint8_t *rest, size_t size, size_t place, const uint8_t chain[HASH])
{
    static const uint8_t unwritten[SECTOR];
    uint8_t hash[HASH];
    size_t at = (SECTOR - place % SECTOR) % SECTOR;
    bool zeros = true;

    for (size_t i = 0; i < size; i++)
        zeros = zeros && !rest[i];
    if (size < GROUP_HEADER || zeros)
        return true;
    hash2(chain, rest, FACTS, hash);
    if (memcmp(hash, rest + FACTS, CHECK) != 0)
        return false;
    if (GROUP_HEADER + be32(rest + 4) + GROUP_END > size)
        return true;
    for (; at < size; at += SECTOR)
        if (memcmp(rest + at, unwritten, size - at < SECTOR ? size - at : SECTOR) == 0)
            return true;
    return false;
}

static size_t tail_len(enum ledger_type type)
{
    switch (type) {
    case LEDGER_REVOKED:
        return CERT_KEY_ID_BYTES;
    case LEDGER_CRL:
        return LEDGER_CRL_TAIL;
    case LEDGER_WITHDRAWN:
        return 0;
    case LEDGER_KEY_MADE:
        return LEDGER_KEY_MADE_TAIL;
    default:
        return 300;
    }
}

static struct ledger_entry entry(enum ledger_type type, uint8_t n)
{
    static const uint8_t tail[300] = "a certificate";
    struct ledger_entry x = {.type = type, .row = n, .time_ms = 1000 + n};

    x.tail = (struct cert_bytes){tail, tail_len(type)};
    memset(x.job, 0x11, sizeof x.job);
    memset(x.device, n, sizeof x.device);
    memset(x.spki_sha256, n, sizeof x.spki_sha256);
    memset(x.serial, n, sizeof x.serial);
    return x;
}

static void write_on(const char *path, struct ledger *l)
{
    struct ledger_entry x = entry(LEDGER_ISSUED, 0xee), found;
    struct ledger_counts before = ledger_counts(l);
    struct err e = {0};

    promise(ledger_add(l, &x, &e) == 0 && ledger_commit(l, &e) == 0);
    ledger_close(&l);
    promise(ledger_open(path, &l, &e) == 0);
    promise(ledger_counts(l).issued == before.issued + 1);
    promise(ledger_find_device(l, x.device, &found, NULL, &e) == LEDGER_PRESENT);
    ledger_close(&l);
}

/* What is asked of a ledger before it is believed: none of its groups was written by the process that reads it here; what it
 * was is in it, and the newest checkpoint of any bytes can be judged. */
static void check_trust(const char *path, struct ledger *l)
{
    struct ledger_entry newest;
    struct ledger_verified v;
    struct ledger_state state;
    struct buf tail = BUF_INIT;
    struct err e = {0};
    uint64_t at = 0;
    bool groups = ledger_counts(l).groups > 0;
    int r;

    promise(ledger_written_by(l, HEADER, ledger_writer(l), &at, &e) ==
            (groups ? LEDGER_ABSENT : LEDGER_PRESENT));
    ledger_state(l, &state);
    promise(ledger_contains(l, &state, &e) == LEDGER_PRESENT);
    if (ledger_last_checkpoint(l, &newest, &tail, &e) == LEDGER_PRESENT) {
        state.size = newest.row;
        memcpy(state.chain, newest.spki_sha256, sizeof state.chain);
        r = ledger_contains(l, &state, &e);
        promise(r >= 0);
        if (r == LEDGER_PRESENT)
            promise(ledger_written_by(l, newest.row, ledger_checkpoint_writer(&newest), &at, &e) >=
                    0);
    }
    buf_done(&tail);
    ledger_state(l, &state);
    promise(ledger_verify(path, NULL, NULL, &v, &e) == 0 && v.bytes == state.size);
}

static void check_accepted(const char *path, struct ledger *l, const uint8_t *data, size_t size)
{
    struct buf now = BUF_INIT;
    struct err e = {0};
    uint8_t chain[HASH], now_chain[HASH];
    size_t whole = whole_chain(data, size, chain);

    must(file_read(path, 1u << 24, &now, &e) == 0);
    promise(whole_chain(now.data, now.len, now_chain) == now.len);
    if (whole) {
        promise(now.len == whole && memcmp(now.data, data, now.len) == 0);
        promise(unfinished(data + whole, size - whole, whole, chain));
    } else {
        /* a header that a power cut left unfinished: begun anew */
        promise(size < HEADER && now.len == HEADER && ledger_counts(l).groups == 0);
    }
    buf_done(&now);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char path[256];
    struct ledger *l = NULL;
    struct buf now = BUF_INIT;
    struct err e = {0};
    int fd, r;

    if (!*path)
        snprintf(path, sizeof path, "%s/ledger", fuzz_dir());
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);
    r = ledger_open(path, &l, &e);
    fuzz_outcome(r, &e);
    if (r == 0) {
        check_accepted(path, l, data, size);
        check_trust(path, l);
        write_on(path, l);
        return 0;
    }
    must(file_read(path, 1u << 24, &now, NULL) == 0);
    promise(now.len == size && (!size || memcmp(now.data, data, size) == 0));
    buf_done(&now);
    return 0;
}

/* ---- what is under the hashes, changed and hashed again */

static void chain_again(uint8_t *data, size_t size)
{
    uint8_t chain[HASH], hash[HASH];
    size_t at = HEADER;

    if (size < HEADER)
        return;
    SHA256(data, HEADER, chain);
    while (size - at >= GROUP_HEADER + GROUP_END) {
        size_t len = GROUP_HEADER + be32(data + at + 4);

        if (len > size - at -
                          GROUP_END) { /* it would be an unfinished one: let it end with the file */
            len = size - at - GROUP_END;
            data[at + 4] = data[at + 5] = 0;
            data[at + 6] = (uint8_t)((len - GROUP_HEADER) >> 8);
            data[at + 7] = (uint8_t)(len - GROUP_HEADER);
        }
        hash2(chain, data + at, FACTS, hash);
        memcpy(data + at + FACTS, hash, CHECK);
        hash_group(chain, data + at, len, chain);
        memcpy(data + at + len + SIGNATURE, chain, HASH);
        at += len + GROUP_END;
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    size = LLVMFuzzerMutate(data, size, max < 0x10000 ? max : 0x10000);
    if (seed % 4)
        chain_again(data, size);
    return size;
}

/* A bit of the last group's length turned: it looks unfinished, and is not. */
static void add_changed_length(fuzz_seed_fn add, const char *path, size_t group)
{
    struct buf bytes = BUF_INIT;

    must(file_read(path, 1u << 20, &bytes, NULL) == 0 && group + 7 < bytes.len);
    bytes.data[group + 6] ^= 0x40;
    add("changed-length", bytes.data, bytes.len);
    buf_done(&bytes);
}

static void add_file(fuzz_seed_fn add, const char *name, const char *path, size_t cut)
{
    struct buf bytes = BUF_INIT;

    must(file_read(path, 1u << 20, &bytes, NULL) == 0);
    add(name, bytes.data, bytes.len - cut);
    buf_done(&bytes);
}

void fuzz_seeds(fuzz_seed_fn add)
{
    char path[256];
    struct ledger *l = NULL;
    struct err e = {0};
    struct stat st = {0};

    snprintf(path, sizeof path, "%s/seed", fuzz_dir());
    must(ledger_open(path, &l, &e) == 0);
    add_file(add, "empty", path, 0);
    for (enum ledger_type type = LEDGER_ISSUED; type <= LEDGER_KEY_MADE; type++) {
        struct ledger_entry a = entry(type, (uint8_t)type),
                            b = entry(LEDGER_ISSUED, (uint8_t)(8 + type));

        must(stat(path, &st) == 0 && ledger_add(l, &a, &e) == 0 && ledger_add(l, &b, &e) == 0 &&
                ledger_commit(l, &e) == 0);
    }
    add_file(add, "all-types", path, 0);
    add_changed_length(add, path, (size_t)st.st_size);
    add_file(add, "cut-off", path, 40);
    add_file(add, "header-cut-off", path, 4 * 2 * 412 - 400);
    ledger_close(&l);
    unlink(path);
}
