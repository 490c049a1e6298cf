/* Listings of the ledger: whoever goes on with `next` sees each entry once, and no call looks at many. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include "base/log.h"
#include "hsm/ledger/ledger_json.h"
#include "tests/hsm/ledger_file_rig.h"

#define COUNT  5000
#define DEVICE "0a000000-0000-0000-0000-000000000000"

/* DEVICE has the oldest entry and the newest; between them are those of others. */
static struct ledger *filled(void)
{
    struct ledger_entry x = {.type = LEDGER_REFUSED, .tail = {(const uint8_t *)"Quota: no", 9}};
    struct ledger *l = rig_open();
    struct err e = {0};

    for (unsigned i = 0; i < COUNT; i++) {
        x.row = i;
        x.device[0] = i == 0 || i == COUNT - 1 ? 0x0a : 0x0b;
        ok(ledger_add(l, &x, &e));
        if (i % 500 == 499)
            ok(ledger_commit(l, &e));
    }
    return l;
}

static json_t *page(struct ledger *l, const char *device, uint64_t before)
{
    struct buf out = BUF_INIT;
    struct err e = {0};
    json_t *o;

    ok(ledger_json(l, device, before, 0, &out, &e));
    o = json_loadb((const char *)out.data, out.len, 0, NULL);
    assert_non_null(o);
    buf_done(&out);
    return o;
}

/* Goes on to the end; the entries there were. */
static size_t list(struct ledger *l, const char *device, size_t *ret_pages, size_t *ret_empty)
{
    uint64_t before = 0;
    size_t entries = 0;
    bool more = true;

    for (*ret_pages = *ret_empty = 0; more; ++*ret_pages) {
        json_t *o = page(l, device, before), *next = json_object_get(o, "next");
        size_t n = json_array_size(json_object_get(o, "entries"));

        entries += n;
        *ret_empty += n == 0;
        more = json_is_integer(next);
        assert_true(!more || before == 0 || (uint64_t)json_integer_value(next) < before);
        before = (uint64_t)json_integer_value(next);
        json_decref(o);
    }
    return entries;
}

static void a_call_looks_at_few(void **state)
{
    struct ledger *l = filled();
    size_t pages, empty;

    (void)state;
    assert_int_equal(list(l, DEVICE, &pages, &empty), 2);
    assert_int_equal(pages, (COUNT + LEDGER_SCAN_MAX - 1) / LEDGER_SCAN_MAX);
    assert_int_equal(pages, 3);
    assert_int_equal(empty, 1); /* a page may be empty and still have a next */
    assert_int_equal(list(l, "", &pages, &empty), COUNT);
    assert_true(pages >= COUNT / LEDGER_PAGE_MAX);
    ledger_close(&l);
}

int main(void)
{
    log_open("test-hsm-ledger-json");
    const struct CMUnitTest tests[] = {
            LEDGER_TEST(a_call_looks_at_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
