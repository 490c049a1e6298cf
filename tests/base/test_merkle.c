/* Merkle trees: the reference inputs of Certificate Transparency, every proof of every small tree,
 * and everything that is nearly a proof. A plain recursive definition (RFC 6962, 2.1) stands beside
 * the code it checks. */
#include "base_test.h"

#include "base/merkle.h"
#include "base/text.h"

#define LEAVES_MAX 70u

static struct merkle_hash leaves[LEAVES_MAX];

/* MTH(D[n]) word for word. */
static struct merkle_hash reference_root(const struct merkle_hash *d, size_t n)
{
    struct merkle_hash root;
    if (n == 1)
        return d[0];
    size_t k = 1;
    while (k * 2 < n)
        k *= 2;
    struct merkle_hash left = reference_root(d, k), right = reference_root(d + k, n - k);
    merkle_node(&left, &right, &root);
    return root;
}

/* PATH(m, D[n]) word for word. */
static size_t reference_path(
        const struct merkle_hash *d, size_t n, size_t m, struct merkle_hash *out)
{
    if (n == 1)
        return 0;
    size_t k = 1, count;
    while (k * 2 < n)
        k *= 2;
    if (m < k) {
        count = reference_path(d, k, m, out);
        out[count] = reference_root(d + k, n - k);
    } else {
        count = reference_path(d + k, n - k, m - k, out);
        out[count] = reference_root(d, k);
    }
    return count + 1;
}

/* Complete subtrees straight from the leaves; refuses what a store would not have. */
struct store {
    uint64_t size;
    unsigned reads;
};

static int read_subtree(
        void *ctx, unsigned level, uint64_t index, struct merkle_hash *ret, struct err *e)
{
    struct store *s = ctx;
    uint64_t width = (uint64_t)1 << level;
    s->reads++;
    if ((index + 1) * width > s->size)
        return err_set(
                e, ERR_BUG, "level %u, %llu is not complete", level, (unsigned long long)index);
    *ret = reference_root(leaves + index * width, width);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    for (unsigned i = 0; i < LEAVES_MAX; i++) {
        char text[16];
        int n = snprintf(text, sizeof text, "leaf %u", i);
        merkle_leaf(text, (size_t)n, &leaves[i]);
    }
    return 0;
}

static void assert_hash(const struct merkle_hash *h, const char *hex)
{
    char text[2 * MERKLE_HASH_BYTES + 1];
    hex_format(h->bytes, sizeof h->bytes, text);
    assert_string_equal(text, hex);
}

static void reference_vectors(void **state)
{
    static const char *const inputs[] = {"", "00", "10", "2021", "3031", "40414243",
            "5051525354555657", "606162636465666768696a6b6c6d6e6f"};
    static const char *const roots[] = {
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"};
    struct merkle_range r = {.size = 0};
    struct merkle_hash root, leaf;
    (void)state;
    for (size_t i = 0;; i++) {
        merkle_range_root(&r, &root);
        assert_hash(&root, roots[i]);
        if (i == sizeof inputs / sizeof inputs[0])
            break;
        uint8_t bytes[16];
        size_t len = strlen(inputs[i]) / 2;
        assert_int_equal(hex_parse(inputs[i], 2 * len, bytes, len), 0);
        merkle_leaf(bytes, len, &leaf);
        merkle_range_add(&r, &leaf);
    }
}

static void every_proof_of_every_small_tree(void **state)
{
    struct merkle_range range = {.size = 0};
    (void)state;
    for (uint64_t size = 1; size <= LEAVES_MAX; size++) {
        struct merkle_hash root, want = reference_root(leaves, size);
        merkle_range_add(&range, &leaves[size - 1]);
        merkle_range_root(&range, &root);
        assert_memory_equal(&root, &want, sizeof root);
        for (uint64_t index = 0; index < size; index++) {
            struct store s = {.size = size};
            struct merkle_hash proof[MERKLE_PROOF_MAX], path[MERKLE_PROOF_MAX];
            struct err e = {0};
            size_t count;
            assert_ok(merkle_prove(index, size, read_subtree, &s, proof, &count, &e), &e);
            assert_true(
                    s.reads <=
                    14); /* logarithmic: 7 levels, and 7 parts of the one that is not complete */
            assert_int_equal(count, reference_path(leaves, size, index, path));
            assert_memory_equal(proof, path, count * sizeof proof[0]);
            assert_ok(merkle_verify(&leaves[index], index, size, proof, count, &root, &e), &e);
        }
    }
}

/* Must be ERR_PROOF, whatever was changed. */
static void refused(const struct merkle_hash *leaf, uint64_t index, uint64_t size,
        const struct merkle_hash *proof, size_t count, const struct merkle_hash *root)
{
    struct err e = {0};
    if (merkle_verify(leaf, index, size, proof, count, root, &e) != -1 || e.id != ERR_PROOF)
        fail_msg("accepted: index %llu of %llu, %zu nodes", (unsigned long long)index,
                (unsigned long long)size, count);
}

static void wrong_proofs_are_refused(void **state)
{
    (void)state;
    for (uint64_t size = 1; size <= LEAVES_MAX; size++) {
        struct merkle_hash root = reference_root(leaves, size);
        for (uint64_t index = 0; index < size; index++) {
            struct store s = {.size = size};
            struct merkle_hash proof[MERKLE_PROOF_MAX + 1] = {0}, other = leaves[index];
            struct err e = {0};
            size_t count;
            assert_ok(merkle_prove(index, size, read_subtree, &s, proof, &count, &e), &e);
            for (uint64_t i = 0; i < size + 3; i++)
                if (i != index)
                    refused(&leaves[index], i, size, proof, count, &root);
            refused(&leaves[index], index, 0, proof, count, &root);
            refused(&leaves[index], UINT64_MAX, size, proof, count, &root);
            refused(&leaves[index], index, size, proof, count + 1, &root);
            refused(&leaves[index], index, size, proof, MERKLE_PROOF_MAX + 1, &root);
            other.bytes[31] ^= 1;
            refused(&other, index, size, proof, count, &root);
            other = root;
            other.bytes[0] ^= 0x80;
            refused(&leaves[index], index, size, proof, count, &other);
            if (count == 0)
                continue;
            refused(&leaves[index], index, size, proof, count - 1, &root);
            refused(&leaves[index], index, size, proof + 1, count - 1, &root);
            refused(&root, 0, 1, proof, count, &root);
            for (size_t i = 0; i < count; i++) {
                proof[i].bytes[i] ^= 1;
                refused(&leaves[index], index, size, proof, count, &root);
                proof[i].bytes[i] ^= 1;
            }
        }
    }
}

/* Nodes that hash to the given root and yet are more than the tree's size allows: length, not luck,
 * refuses them. */
static void longer_paths_to_the_root_are_refused(void **state)
{
    struct merkle_hash root;
    (void)state;
    merkle_node(&leaves[1], &leaves[0], &root);
    refused(&leaves[0], 0, 1, &leaves[1], 1, &root);
    const struct merkle_hash proof[] = {leaves[1], leaves[2]};
    merkle_node(&leaves[0], &leaves[1], &root);
    merkle_node(&leaves[2], &root, &root);
    refused(&leaves[0], 0, 2, proof, 2, &root);
}

/* A proof for one size must not serve for another, except where RFC 9162's algorithm cannot tell
 * (equal root too). */
static void wrong_size_is_refused_with_its_root(void **state)
{
    (void)state;
    for (uint64_t size = 1; size < LEAVES_MAX; size++)
        for (uint64_t index = 0; index < size; index++) {
            struct store s = {.size = size};
            struct merkle_hash proof[MERKLE_PROOF_MAX], root = reference_root(leaves, size + 1);
            struct err e = {0};
            size_t count;
            assert_ok(merkle_prove(index, size, read_subtree, &s, proof, &count, &e), &e);
            refused(&leaves[index], index, size + 1, proof, count, &root);
            refused(&leaves[index], index, size, proof, count, &root);
        }
}

static int fail_third_read(
        void *ctx, unsigned level, uint64_t index, struct merkle_hash *ret, struct err *e)
{
    struct store *s = ctx;
    return s->reads == 2 ? err_set(e, ERR_IO, "the disk") : read_subtree(ctx, level, index, ret, e);
}

static void bad_requests(void **state)
{
    struct store s = {.size = 70};
    struct merkle_hash proof[MERKLE_PROOF_MAX];
    struct err e = {0};
    size_t count;
    (void)state;
    assert_err(merkle_prove(70, 70, read_subtree, &s, proof, &count, &e), &e, ERR_NOT_FOUND);
    assert_err(merkle_prove(0, 0, read_subtree, &s, proof, &count, &e), &e, ERR_NOT_FOUND);
    assert_err(merkle_prove(3, 70, fail_third_read, &s, proof, &count, &e), &e, ERR_IO);
}

/* A tree too large for leaves of its own: each subtree's hash depends on its place alone. */
static int read_place(
        void *ctx, unsigned level, uint64_t index, struct merkle_hash *ret, struct err *e)
{
    (void)ctx;
    (void)e;
    assert_true(level < 64);
    if (level > 0)
        assert_true(index <= UINT64_MAX >> level);
    struct {
        uint64_t level, index;
    } place = {level, index};
    merkle_leaf(&place, sizeof place, ret);
    return 0;
}

static void huge_trees(void **state)
{
    static const uint64_t sizes[] = {UINT64_MAX, UINT64_C(1) << 63, (UINT64_C(1) << 63) + 1,
            (UINT64_C(1) << 32) + 7, 2000000};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const uint64_t indices[] = {0, 1, sizes[i] / 2, sizes[i] - 2, sizes[i] - 1};
        for (size_t k = 0; k < 5; k++) {
            struct merkle_hash proof[MERKLE_PROOF_MAX], leaf, root = {0};
            struct err e = {0};
            size_t count = 0;
            assert_ok(merkle_prove(indices[k], sizes[i], read_place, NULL, proof, &count, &e), &e);
            assert_true(count <= MERKLE_PROOF_MAX);
            merkle_leaf("x", 1, &leaf);
            refused(&leaf, indices[k], sizes[i], proof, count, &root);
        }
    }
}

/* Tiles of a tree of 256 * 3 + 5 leaves: two levels, the last tile of each is short. */
#define TILED (MERKLE_TILE_WIDTH * 3 + 5)
static struct merkle_hash tiled[TILED];

static int load_tile(void *ctx, unsigned level, uint64_t tile,
        struct merkle_hash ret[MERKLE_TILE_WIDTH], size_t *ret_count, struct err *e)
{
    const uint64_t *size = ctx;
    uint64_t have = level == 0 ? *size : level == 1 ? *size / MERKLE_TILE_WIDTH : 0;
    uint64_t first = tile * MERKLE_TILE_WIDTH;
    if (first >= have)
        return err_set(e, ERR_NOT_FOUND, "no tile %u/%llu", level, (unsigned long long)tile);
    *ret_count = have - first < MERKLE_TILE_WIDTH ? have - first : MERKLE_TILE_WIDTH;
    for (size_t i = 0; i < *ret_count; i++)
        ret[i] = level == 0 ? tiled[first + i]
                            : reference_root(tiled + i * MERKLE_TILE_WIDTH, MERKLE_TILE_WIDTH);
    return 0;
}

static void tiles(void **state)
{
    uint64_t size = TILED;
    struct merkle_tiles t = {.load = load_tile, .ctx = &size};
    struct merkle_hash root, h;
    struct err e = {0};
    (void)state;
    for (unsigned i = 0; i < TILED; i++)
        merkle_leaf(&i, sizeof i, &tiled[i]);
    root = reference_root(tiled, TILED);
    for (uint64_t index = 0; index < TILED; index += index < 250 ? 50 : 3) {
        struct merkle_hash proof[MERKLE_PROOF_MAX];
        size_t count;
        assert_ok(merkle_prove(index, TILED, merkle_tiles_read, &t, proof, &count, &e), &e);
        assert_ok(merkle_verify(&tiled[index], index, TILED, proof, count, &root, &e), &e);
    }
    for (unsigned level = 0; level <= 9; level++) {
        struct merkle_hash want = reference_root(tiled, (size_t)1 << level);
        assert_ok(merkle_tiles_read(&t, level, 0, &h, &e), &e);
        assert_memory_equal(&h, &want, sizeof h);
    }
    /* What is not complete is refused, not made up. */
    assert_err(merkle_tiles_read(&t, 3, TILED / 8, &h, &e), &e, ERR_STORE);
    assert_err(merkle_tiles_read(&t, 0, TILED, &h, &e), &e, ERR_STORE);
    assert_err(merkle_tiles_read(&t, 8, 3, &h, &e), &e, ERR_STORE);
    assert_err(merkle_tiles_read(&t, 10, 0, &h, &e), &e, ERR_STORE);
    assert_err(merkle_tiles_read(&t, 16, 0, &h, &e), &e, ERR_NOT_FOUND);
    assert_err(merkle_tiles_read(&t, 64, 0, &h, &e), &e, ERR_BUG);
    assert_err(merkle_tiles_read(&t, 8, UINT64_MAX, &h, &e), &e, ERR_BUG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(reference_vectors),
            cmocka_unit_test(every_proof_of_every_small_tree),
            cmocka_unit_test(wrong_proofs_are_refused),
            cmocka_unit_test(longer_paths_to_the_root_are_refused),
            cmocka_unit_test(wrong_size_is_refused_with_its_root),
            cmocka_unit_test(bad_requests),
            cmocka_unit_test(huge_trees),
            cmocka_unit_test(tiles),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
