/* Merkle trees with RFC 6962 hashing. Proofs are made from complete subtrees only, whoever stores
 * them; a proof is believed only when every one of its nodes was needed. Never recursive, never
 * allocates per node. */
#include "base/merkle.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/err.h"

/* One digest context for the process (there are no threads): fetching the algorithm costs
 * OpenSSL 3.0 more than hashing a node does, and a manifest has two million rows. */
static EVP_MD_CTX *sha256_begin(void)
{
    static EVP_MD_CTX *ctx;
    int ok = 1;
    if (ctx == NULL) {
        ctx = EVP_MD_CTX_new();
        ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1;
    } else {
        ok = EVP_DigestInit_ex(ctx, NULL, NULL) == 1;
    }
    if (!ok)
        abort(); /* no memory or no SHA-256: a wrong hash must never leave */
    return ctx;
}

static void sha256_end(EVP_MD_CTX *ctx, struct merkle_hash *ret)
{
    if (EVP_DigestFinal_ex(ctx, ret->bytes, NULL) != 1)
        abort();
}

static void sha256_add(EVP_MD_CTX *ctx, const void *data, size_t len)
{
    if (EVP_DigestUpdate(ctx, data, len) != 1)
        abort();
}

void merkle_leaf(const void *data, size_t len, struct merkle_hash *ret)
{
    EVP_MD_CTX *ctx = sha256_begin();
    sha256_add(ctx, "\x00", 1);
    sha256_add(ctx, data, len);
    sha256_end(ctx, ret);
}

void merkle_node(
        const struct merkle_hash *left, const struct merkle_hash *right, struct merkle_hash *ret)
{
    EVP_MD_CTX *ctx = sha256_begin();
    sha256_add(ctx, "\x01", 1);
    sha256_add(ctx, left->bytes, MERKLE_HASH_BYTES);
    sha256_add(ctx, right->bytes, MERKLE_HASH_BYTES);
    sha256_end(ctx, ret);
}

void merkle_range_add(struct merkle_range *r, const struct merkle_hash *leaf)
{
    size_t count = (size_t)__builtin_popcountll(r->size);
    struct merkle_hash root = *leaf;
    /* Like a binary counter: each set low bit is a finished subtree that the new one completes to
     * the next size. */
    for (uint64_t bits = r->size; (bits & 1) != 0; bits >>= 1)
        merkle_node(&r->roots[--count], &root, &root);
    r->roots[count] = root;
    r->size++;
}

void merkle_range_root(const struct merkle_range *r, struct merkle_hash *ret)
{
    size_t count = (size_t)__builtin_popcountll(r->size);
    if (count == 0) {
        sha256_end(sha256_begin(), ret);
        return;
    }
    struct merkle_hash root = r->roots[--count];
    while (count > 0)
        merkle_node(&r->roots[--count], &root, &root);
    *ret = root;
}

/* The hash of leaves [first, first + size), where first is a multiple of a power of two that is no
 * less than size: folds its complete subtrees, smallest first. */
static int subtree(uint64_t first, uint64_t size, merkle_read_fn read, void *ctx,
        struct merkle_hash *ret, struct err *e)
{
    uint64_t end = first + size;
    int have = 0;
    while (size > 0) {
        unsigned level = (unsigned)__builtin_ctzll(size);
        struct merkle_hash part;
        if (read(ctx, level, (end >> level) - 1, &part, e) < 0)
            return -1;
        if (have)
            merkle_node(&part, ret, ret);
        else
            *ret = part;
        have = 1;
        end -= (uint64_t)1 << level;
        size -= (uint64_t)1 << level;
    }
    return 0;
}

/* The largest power of two below n, n > 1. */
static uint64_t split(uint64_t n)
{
    return (uint64_t)1 << (63 - __builtin_clzll(n - 1));
}

int merkle_prove(uint64_t index, uint64_t size, merkle_read_fn read, void *ctx,
        struct merkle_hash ret_proof[MERKLE_PROOF_MAX], size_t *ret_count, struct err *e)
{
    if (index >= size)
        return err_set(e, ERR_NOT_FOUND, "leaf %llu is not in a tree of %llu",
                (unsigned long long)index, (unsigned long long)size);
    /* From the root down (RFC 9162, 2.1.3.1), written from the end of the array backwards. */
    struct merkle_hash path[MERKLE_PROOF_MAX];
    size_t at = MERKLE_PROOF_MAX;
    uint64_t first = 0;
    while (size > 1) {
        uint64_t left = split(size);
        int r;
        if (index - first < left) {
            r = subtree(first + left, size - left, read, ctx, &path[--at], e);
            size = left;
        } else {
            r = subtree(first, left, read, ctx, &path[--at], e);
            first += left;
            size -= left;
        }
        if (r < 0)
            return -1;
    }
    *ret_count = MERKLE_PROOF_MAX - at;
    memcpy(ret_proof, path + at, *ret_count * sizeof path[0]);
    return 0;
}

int merkle_verify(const struct merkle_hash *leaf, uint64_t index, uint64_t size,
        const struct merkle_hash *proof, size_t count, const struct merkle_hash *root,
        struct err *e)
{
    if (index >= size || count > MERKLE_PROOF_MAX)
        return err_set(e, ERR_PROOF, "inclusion proof does not fit a tree of %llu leaves",
                (unsigned long long)size);
    /* RFC 9162, 2.1.3.2; fn and sn are its names. */
    uint64_t fn = index, sn = size - 1;
    struct merkle_hash r = *leaf;
    for (size_t i = 0; i < count; i++) {
        if (sn == 0)
            return err_set(e, ERR_PROOF, "inclusion proof is too long");
        if ((fn & 1) != 0 || fn == sn) {
            merkle_node(&proof[i], &r, &r);
            while ((fn & 1) == 0 && fn != 0) {
                fn >>= 1;
                sn >>= 1;
            }
        } else {
            merkle_node(&r, &proof[i], &r);
        }
        fn >>= 1;
        sn >>= 1;
    }
    if (sn != 0)
        return err_set(e, ERR_PROOF, "inclusion proof is too short");
    if (memcmp(r.bytes, root->bytes, MERKLE_HASH_BYTES) != 0)
        return err_set(e, ERR_PROOF, "inclusion proof does not lead to the approved root");
    return 0;
}

int merkle_tiles_read(
        void *tiles, unsigned level, uint64_t index, struct merkle_hash *ret, struct err *e)
{
    const struct merkle_tiles *t = tiles;
    unsigned tile_level = level / MERKLE_TILE_HEIGHT;
    unsigned height = level % MERKLE_TILE_HEIGHT;
    if (level >= 64 || index > UINT64_MAX >> level)
        return err_set(e, ERR_BUG, "no subtree has level %u", level);
    size_t width = (size_t)1 << height; /* hashes of the tile that the subtree covers */
    uint64_t first = index << height;
    size_t offset = (size_t)(first % MERKLE_TILE_WIDTH);
    struct merkle_hash hashes[MERKLE_TILE_WIDTH];
    size_t count = 0;
    if (t->load(t->ctx, tile_level, first / MERKLE_TILE_WIDTH, hashes, &count, e) < 0)
        return -1;
    if (count > MERKLE_TILE_WIDTH || offset + width > count)
        return err_set(e, ERR_STORE, "tile %u/%llu is too short: it has %zu hashes", tile_level,
                (unsigned long long)(first / MERKLE_TILE_WIDTH), count);
    for (; width > 1; width /= 2)
        for (size_t i = 0; i < width / 2; i++)
            merkle_node(&hashes[offset + 2 * i], &hashes[offset + 2 * i + 1], &hashes[offset + i]);
    *ret = hashes[offset];
    return 0;
}
