/* The fault io around an io in memory: the device says 0, 1, 2 ... and remembers what it is told.
 */
#include "station_test.h"

#include "station/io_fault.h"

static struct memory {
    struct io io;
    uint8_t next;
    uint8_t told[4096];
    size_t told_len;
    int closed;
} memory;

static int memory_read(
        struct io *io, void *bytes, size_t cap, size_t *ret_len, int64_t deadline_ms, struct err *e)
{
    (void)io, (void)deadline_ms, (void)e;
    uint8_t *at = bytes;
    for (size_t i = 0; i < cap; i++)
        at[i] = memory.next++;
    *ret_len = cap;
    return 0;
}

static int memory_write(
        struct io *io, const void *bytes, size_t len, int64_t deadline_ms, struct err *e)
{
    (void)io, (void)deadline_ms, (void)e;
    assert_true(memory.told_len + len <= sizeof memory.told);
    memcpy(memory.told + memory.told_len, bytes, len);
    memory.told_len += len;
    return 0;
}

static void memory_close(struct io *io)
{
    (void)io;
    memory.closed++;
}

static struct io *wrap(const struct io_fault *fault)
{
    struct io *io = NULL;
    struct err e = {0};
    memory = (struct memory){
            .io = {.read = memory_read, .write = memory_write, .close = memory_close}};
    assert_ok(io_fault_open(&memory.io, fault, &io, &e), &e);
    return io;
}

/* Reads len bytes; returns how many came before the device went. */
static size_t take(struct io *io, uint8_t *bytes, size_t len)
{
    struct err e = {0};
    size_t at = 0, n;
    while (at < len) {
        if (io->read(io, bytes + at, len - at, &n, 0, &e)) {
            assert_int_equal(e.id, ERR_DEVICE_GONE);
            break;
        }
        assert_in_range(n, 1, len - at);
        at += n;
    }
    return at;
}

static void without_faults_nothing_changes(void **state)
{
    (void)state;
    struct io *io = wrap(&(struct io_fault){0});
    uint8_t got[256];
    struct err e = {0};
    assert_int_equal(take(io, got, sizeof got), sizeof got);
    for (size_t i = 0; i < sizeof got; i++)
        assert_int_equal(got[i], i);
    assert_ok(io->write(io, got, sizeof got, 0, &e), &e);
    assert_int_equal(memory.told_len, sizeof got);
    assert_memory_equal(memory.told, got, sizeof got);
    io_close(&io);
    assert_null(io);
    assert_int_equal(memory.closed, 1);
}

static void short_reads_lose_nothing(void **state)
{
    (void)state;
    struct io *io = wrap(&(struct io_fault){.read_max = 3});
    uint8_t got[100];
    struct err e = {0};
    size_t n;
    assert_ok(io->read(io, got, sizeof got, &n, 0, &e), &e);
    assert_int_equal(n, 3);
    assert_int_equal(take(io, got + 3, 97), 97);
    for (size_t i = 0; i < sizeof got; i++)
        assert_int_equal(got[i], i);
    io_close(&io);
}

static void drops_every_nth(void **state)
{
    (void)state;
    struct io *io = wrap(&(struct io_fault){.drop_every = 10, .write_drop_every = 4});
    uint8_t got[18];
    struct err e = {0};
    assert_int_equal(take(io, got, sizeof got), sizeof got);
    assert_int_equal(got[8], 8);
    assert_int_equal(got[9], 10); /* the tenth byte, 9, is lost */
    assert_int_equal(got[17], 18);
    assert_ok(io->write(io, "abcdefgh", 8, 0, &e), &e);
    assert_int_equal(memory.told_len, 6);
    assert_memory_equal(memory.told, "abcefg", 6);
    io_close(&io);
}

static void every_byte_lost_is_no_empty_read(void **state)
{
    (void)state;
    struct io *io = wrap(&(struct io_fault){.drop_every = 1, .gone_after_read = 50});
    uint8_t byte;
    assert_int_equal(take(io, &byte, 1), 0); /* ends with gone, never with 0 bytes */
    io_close(&io);
}

static void flips_one_bit_the_same_way_each_time(void **state)
{
    (void)state;
    uint8_t first[64], again[64], other[64];
    struct io_fault fault = {.flip_every = 8, .seed = 7};
    struct io *io = wrap(&fault);
    assert_int_equal(take(io, first, sizeof first), sizeof first);
    io_close(&io);
    for (size_t i = 0; i < sizeof first; i++)
        assert_int_equal(__builtin_popcount(first[i] ^ (unsigned)i), (i + 1) % 8 == 0);
    io = wrap(&fault);
    take(io, again, sizeof again);
    io_close(&io);
    assert_memory_equal(first, again, sizeof first);
    fault.seed = 8;
    io = wrap(&fault);
    take(io, other, sizeof other);
    io_close(&io);
    assert_memory_not_equal(first, other, sizeof first);
}

static void is_pulled_after_exactly_n_bytes(void **state)
{
    (void)state;
    static const uint8_t much[1000];
    uint8_t got[64];
    struct err e = {0};
    struct io *io = wrap(&(struct io_fault){.gone_after_read = 17});
    assert_int_equal(take(io, got, sizeof got), 17);
    assert_err(io->write(io, "x", 1, 0, &e), &e, ERR_DEVICE_GONE); /* gone in both directions */
    io_close(&io);

    io = wrap(&(struct io_fault){.gone_after_write = 300});
    assert_err(io->write(io, much, sizeof much, 0, &e), &e, ERR_DEVICE_GONE);
    assert_int_equal(memory.told_len, 300);
    assert_int_equal(take(io, got, 1), 0);
    io_close(&io);
}

static void delays_each_read(void **state)
{
    (void)state;
    uint8_t got[4];
    struct io *io = wrap(&(struct io_fault){.read_max = 1, .read_delay_ms = 20});
    int64_t start = time_monotonic_ms();
    take(io, got, sizeof got);
    assert_true(time_monotonic_ms() - start >= 79);
    io_close(&io);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(without_faults_nothing_changes),
            cmocka_unit_test(short_reads_lose_nothing),
            cmocka_unit_test(drops_every_nth),
            cmocka_unit_test(every_byte_lost_is_no_empty_read),
            cmocka_unit_test(flips_one_bit_the_same_way_each_time),
            cmocka_unit_test(is_pulled_after_exactly_n_bytes),
            cmocka_unit_test(delays_each_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
