/* Inclusion proofs. The input: leaves of a small tree (1), the leaf that is proved (1), the place and size that are claimed
 * (1 + 1), then bytes that are laid over the true proof by exclusive or. Promises that nothing but the true
 * hashes pass, and in a tree of the true size only at the true place. (Of another size there may be a place with the same
 * way to the root: a tree's size must come from whoever vouches for the root, as in a ticket.) The first byte 0 instead:
 * all of it as it comes. */
#include <string.h>
#include "base/err.h"
#include "base/merkle.h"
#include "tests/fuzz/fuzz.h"

#define LEAVES_MAX 40

static struct merkle_hash leaf(uint64_t i)
{
    struct merkle_hash h;

    merkle_leaf(&i, sizeof i, &h);
    return h;
}

static int read_node(
        void *ctx, unsigned level, uint64_t index, struct merkle_hash *ret, struct err *e)
{
    struct merkle_hash left, right;

    if (level == 0) {
        *ret = leaf(index);
        return 0;
    }
    must(read_node(ctx, level - 1, 2 * index, &left, e) == 0 &&
            read_node(ctx, level - 1, 2 * index + 1, &right, e) == 0);
    merkle_node(&left, &right, ret);
    return 0;
}

static void raw(const uint8_t *data, size_t size)
{
    struct merkle_hash proof[MERKLE_PROOF_MAX], root = {{0}}, one = leaf(0);
    struct err e = {0};
    uint64_t index, leaves;
    size_t count;

    if (size < 2 * sizeof index)
        return;
    memcpy(&index, data, sizeof index);
    memcpy(&leaves, data + sizeof index, sizeof leaves);
    data += 2 * sizeof index, size -= 2 * sizeof index;
    count = size / sizeof *proof < MERKLE_PROOF_MAX ? size / sizeof *proof : MERKLE_PROOF_MAX;
    if (count)
        memcpy(proof, data, count * sizeof *proof);
    /* no chain of hashes ends in zeros */
    promise(merkle_verify(&one, index, leaves, proof, count, &root, &e) < 0);
    fuzz_outcome(-1, &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct merkle_hash proof[MERKLE_PROOF_MAX] = {0}, root, one;
    struct merkle_range range = {0};
    struct err e = {0};
    uint64_t leaves, index;
    size_t count, claimed;
    uint8_t changed = 0;
    int r;

    if (size < 4 || !data[0]) {
        raw(data + (size > 0), size - (size > 0));
        return 0;
    }
    leaves = 1 + data[0] % LEAVES_MAX;
    index = data[1] % leaves;
    one = leaf(index);
    for (uint64_t i = 0; i < leaves; i++) {
        struct merkle_hash h = leaf(i);

        merkle_range_add(&range, &h);
    }
    merkle_range_root(&range, &root);
    must(merkle_prove(index, leaves, read_node, NULL, proof, &count, &e) == 0);
    promise(merkle_verify(&one, index, leaves, proof, count, &root, &e) == 0);
    /* laid over it: byte 4 changes the length, the rest the hashes */
    claimed = count;
    if (size > 4)
        claimed = (count + (data[4] & 3) + MERKLE_PROOF_MAX) % (MERKLE_PROOF_MAX + 1);
    for (size_t i = 5; i < size && i - 5 < sizeof proof; i++) {
        ((uint8_t *)proof)[i - 5] ^= data[i];
        if (i - 5 < count * sizeof *proof)
            changed |= data[i];
    }
    r = merkle_verify(&one, index + data[2], leaves + data[3], proof, claimed, &root, &e);
    fuzz_outcome(r, &e);
    promise(r < 0 || (!changed && claimed == count && (!data[2] || data[3])));
    return 0;
}

void fuzz_seeds(fuzz_seed_fn add)
{
    static const uint8_t seeds[][8] = {{1}, {5, 3}, {33, 32, 0, 0, 1}, {40, 39, 1, 1, 1, 1},
            {7, 0, 0, 1, 1}, {0, 1, 0, 0, 0, 0, 0, 0}};
    static const uint8_t zeros[17 + 3 * 32] = {0, 1};

    for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++) {
        char name[8] = {'t', (char)('0' + i)};

        add(name, seeds[i], sizeof seeds[i]);
    }
    add("raw", zeros, sizeof zeros);
}
