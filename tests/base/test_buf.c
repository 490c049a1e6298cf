/* Buffers: growth keeps the bytes; a secret one leaves none of them in memory it gives back. */
#include "base_test.h"

#include "base/buf.h"

/* Every free() of this program comes by here: memory that is watched must hold zeros by then. */
static const void *watched;
static size_t watched_len;
static unsigned seen;

void __real_free(void *p);
void __wrap_free(void *p);
void __wrap_free(void *p)
{
    static const uint8_t zeros[64];
    if (p != NULL && p == watched) {
        watched = NULL;
        seen++;
        assert_memory_equal(p, zeros, watched_len);
    }
    __real_free(p);
}

static void grows_and_keeps(void **state)
{
    struct buf b = BUF_INIT;
    struct err e = {0};
    (void)state;
    for (unsigned i = 0; i < 10000; i++) {
        uint8_t byte = (uint8_t)(i * 7);
        assert_ok(buf_append(&b, &byte, 1, &e), &e);
    }
    assert_int_equal(b.len, 10000);
    for (unsigned i = 0; i < 10000; i++)
        assert_int_equal(b.data[i], (uint8_t)(i * 7));
    buf_reset(&b);
    assert_int_equal(b.len, 0);
    assert_true(b.cap >= 10000);
    buf_done(&b);
    assert_null(b.data);
    buf_done(&b);
}

static void formats(void **state)
{
    struct buf b = BUF_INIT;
    struct err e = {0};
    char want[300];
    (void)state;
    memset(want, 'x', 299);
    want[299] = '\0';
    assert_ok(buf_printf(&b, &e, "%d-", 42), &e);
    assert_ok(buf_printf(&b, &e, "%s", want), &e);
    assert_int_equal(b.len, 302);
    assert_int_equal(strncmp(buf_str(&b), "42-x", 4), 0);
    assert_int_equal(strlen(buf_str(&b)), 302);
    buf_done(&b);
    assert_string_equal(buf_str(&b), "");
    buf_done(&b);
}

static void reserve_does_not_advance(void **state)
{
    struct buf b = BUF_INIT;
    struct err e = {0};
    uint8_t *at;
    (void)state;
    assert_ok(buf_append(&b, "ab", 2, &e), &e);
    assert_ok(buf_reserve(&b, 1000, &at, &e), &e);
    assert_ptr_equal(at, b.data + 2);
    assert_int_equal(b.len, 2);
    memset(at, 1, 1000);
    assert_ok(buf_append(&b, NULL, 0, &e), &e);
    buf_done(&b);
}

static void absurd_sizes_are_refused(void **state)
{
    struct buf b = BUF_INIT;
    struct err e = {0};
    uint8_t *at;
    (void)state;
    assert_ok(buf_append(&b, "ab", 2, &e), &e);
    assert_err(buf_reserve(&b, SIZE_MAX, &at, &e), &e, ERR_NOMEM);
    assert_err(buf_reserve(&b, SIZE_MAX / 2 - 1, &at, &e), &e, ERR_NOMEM);
    assert_int_equal(b.len, 2);
    assert_memory_equal(b.data, "ab", 2);
    buf_done(&b);
}

static void secrets_are_wiped(void **state)
{
    struct buf b = BUF_INIT_SECRET;
    struct err e = {0};
    static const char pin[] = "correct horse battery staple";
    (void)state;
    assert_ok(buf_append(&b, pin, sizeof pin, &e), &e);
    buf_reset(&b); /* the memory is kept, so what it holds may be looked at */
    for (size_t i = 0; i < b.cap; i++)
        if (i < sizeof pin)
            assert_int_equal(b.data[i], 0);
    assert_ok(buf_append(&b, pin, sizeof pin, &e), &e);
    uint8_t *at;
    watched = b.data;
    watched_len = sizeof pin;
    assert_ok(buf_reserve(&b, 100000, &at, &e), &e);
    assert_memory_equal(b.data, pin, sizeof pin);
    assert_int_equal(seen, 1);
    watched = b.data;
    buf_done(&b);
    assert_int_equal(seen, 2);
    assert_true(b.secret);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(grows_and_keeps),
            cmocka_unit_test(formats),
            cmocka_unit_test(reserve_does_not_advance),
            cmocka_unit_test(absurd_sizes_are_refused),
            cmocka_unit_test(secrets_are_wiped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
