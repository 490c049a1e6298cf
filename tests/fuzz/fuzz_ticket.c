/* A ticket's payload, as it is read behind the signature, and the request that an approver takes to another computer:
 * the first byte chooses. Promises that what passes can be written and read again as the same. */
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/err.h"
#include "base/text.h"
#include "hsm/approval/ticket.h"
#include "hsm/approval/ticket_payload.h"
#include "tests/fuzz/fuzz.h"

static void check_accepted(const struct ticket *t)
{
    struct ticket again;
    struct buf text = BUF_INIT;
    struct err e = {0};

    promise(t->quota >= 1 && t->quota <= t->rows);
    promise(t->station_count >= 1 && t->station_count <= TICKET_STATIONS_MAX);
    promise(uuid_valid(t->job) && t->keys < TICKET_KEYS_COUNT);
    promise(ticket_format(t, &text, &e) == 0);
    promise(ticket_payload_parse(buf_str(&text), &again, &e) == 0);
    promise(memcmp(t, &again, sizeof again) == 0);
    buf_done(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ticket t;
    struct err e = {0};
    char *text = size ? strndup((const char *)data + 1, size - 1) : NULL;
    int r;

    if (!text)
        return 0;
    r = *data & 1 ? ticket_payload_parse(text, &t, &e) : ticket_request_parse(text, &t, &e);
    fuzz_outcome(r, &e);
    if (r == 0 && *data & 1)
        check_accepted(&t);
    /* whatever it says, at any time and any station: an answer */
    if (r == 0)
        ticket_check(&t, "line-1", time_now_ms() / 1000, &e);
    free(text);
    return 0;
}

#define DIGEST "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define COMMON(quota)                                                                              \
    "{\"v\":1,\"job\":\"11111111-1111-4111-8111-111111111111\",\"account\":\"a\",\"division\":"    \
    "\"d\",\"profile\":\"idevid\",\"binding\":\"identity\",\"keys\":\"device\",\"reissue\":"       \
    "false,\"rows\":3,\"root\":\"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff" \
    "\",\"quota\":" quota ",\"stations\":[\"*\"]"

void fuzz_seeds(fuzz_seed_fn add)
{
    static const char request[] = "0" COMMON("2") "}";
    static const char ticket[] =
            "1" COMMON("2") ",\"profile_sha256\":\"" DIGEST
                            "\",\"nbf\":1,\"exp\":2000000000,\"iat\":1,\"approver\":\"A\"}";
    static const char above[] =
            "1" COMMON("4") ",\"profile_sha256\":\"" DIGEST
                            "\",\"nbf\":1,\"exp\":2000000000,\"iat\":1,\"approver\":\"A\"}";
    static const char others[] =
            "1{\"v\":1,\"keys\":\"signer\",\"reissue\":true,\"stations\":[\"line-1\",\"line-2\"]}";

    add("quota-above-rows", above, sizeof above - 1);
    add("request", request, sizeof request - 1);
    add("ticket", ticket, sizeof ticket - 1);
    add("others", others, sizeof others - 1);
}
