/* Merkle trees with the hashing of RFC 6962, section 2.1 (SHA-256; leaf 0x00 || data, node 0x01 || left || right).
 * The tree is read through a callback that gives the hash of a COMPLETE subtree: level 0 are leaf hashes, (level, i)
 * covers leaves [i << level, (i+1) << level). The same code serves a job's rows and the audit log. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "base/limits.h"

struct err;

#define MERKLE_HASH_BYTES 32
struct merkle_hash {
    uint8_t bytes[MERKLE_HASH_BYTES];
};

void merkle_leaf(const void *data, size_t len, struct merkle_hash *ret);
void merkle_node(
        const struct merkle_hash *left, const struct merkle_hash *right, struct merkle_hash *ret);

/* Appending in O(log n) memory: the roots of the complete subtrees of the leaves so far. */
struct merkle_range {
    uint64_t size;
    struct merkle_hash roots[64]; /* largest first; popcount(size) are used */
};
void merkle_range_add(struct merkle_range *r, const struct merkle_hash *leaf);
void merkle_range_root(
        const struct merkle_range *r, struct merkle_hash *ret); /* size 0: SHA-256("") */

typedef int (*merkle_read_fn)(
        void *ctx, unsigned level, uint64_t index, struct merkle_hash *ret, struct err *e);

/* Inclusion proof of leaf `index` in a tree of `size` leaves, leaf to root order (RFC 9162, 2.1.3.1). */
int merkle_prove(uint64_t index, uint64_t size, merkle_read_fn read, void *ctx,
        struct merkle_hash ret_proof[MERKLE_PROOF_MAX], size_t *ret_count, struct err *e);
/* 0 when the proof leads from the leaf to the root, else ERR_PROOF (RFC 9162, 2.1.3.2). */
int merkle_verify(const struct merkle_hash *leaf, uint64_t index, uint64_t size,
        const struct merkle_hash *proof, size_t count, const struct merkle_hash *root,
        struct err *e);

/* Tiles: 256 hashes of one level, level = 8 * tile level, 256 consecutive indices; the last one may be shorter.
 * merkle_tiles_* turn "give me tile (L, n)" into a merkle_read_fn. */
#define MERKLE_TILE_HEIGHT 8
#define MERKLE_TILE_WIDTH  256
typedef int (*merkle_tile_fn)(void *ctx, unsigned tile_level, uint64_t tile_index,
        struct merkle_hash ret[MERKLE_TILE_WIDTH], size_t *ret_count, struct err *e);
/* A tile that lacks a hash which is asked for is ERR_STORE. */
struct merkle_tiles {
    merkle_tile_fn load;
    void *ctx;
};
int merkle_tiles_read(
        void *tiles, unsigned level, uint64_t index, struct merkle_hash *ret, struct err *e);
