/* An order's payload, as it is read behind the signature. Promises that what passes can be written and read again as the
 * same, and names a reason there is. */
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "hsm/approval/order.h"
#include "hsm/approval/order_payload.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *json = strndup((const char *)data, size);
    struct order o, again;
    struct buf text = BUF_INIT;
    struct err e = {0};
    int r;

    must(json);
    r = order_payload_parse(json, &o, &e);
    fuzz_outcome(r, &e);
    if (r == 0) {
        promise(o.kind < ORDER_KIND_COUNT && o.issued_at >= 0);
        promise(o.kind == ORDER_REVOKE ? uuid_valid(o.device) && order_reason_name(o.reason) != NULL
                                       : uuid_valid(o.job));
        promise(order_payload_format(&o, &text, &e) == 0);
        promise(order_payload_parse(buf_str(&text), &again, &e) == 0);
        promise(memcmp(&o, &again, sizeof o) == 0);
    }
    buf_done(&text);
    free(json);
    return 0;
}

void fuzz_seeds(fuzz_seed_fn add)
{
    struct order o = {.kind = ORDER_REVOKE,
            .device = "11111111-1111-5111-8111-111111111111",
            .serial = {1, 2, 3},
            .reason = ORDER_KEY_COMPROMISE,
            .job = "11111111-1111-4111-8111-111111111111",
            .issued_at = 1577836800,
            .approver = "A"};
    static const char *const names[ORDER_KIND_COUNT] = {"revoke", "withdraw"};
    struct buf text = BUF_INIT;

    for (o.kind = 0; o.kind < ORDER_KIND_COUNT; o.kind++) {
        buf_reset(&text);
        must(order_payload_format(&o, &text, NULL) == 0);
        add(names[o.kind], text.data, text.len);
    }
    buf_done(&text);
}
