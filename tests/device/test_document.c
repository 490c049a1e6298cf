/* docs/link-protocol.md against the code: its tables are the lists of link.h, its examples are what
 * the engine says. The frames in the document were made by another implementation than ours. */
#include "rig.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/challenge.h"
#include "base/file.h"

static char *document;

static int load(void **state)
{
    static struct buf b;
    struct err e = {0};

    (void)state;
    if (file_read(LINK_PROTOCOL, 1 << 20, &b, &e) < 0)
        fail_msg("%s", e.msg);
    document = strdup(buf_str(&b));
    buf_done(&b);
    return 0;
}

static int unload(void **state)
{
    (void)state;
    free(document);
    return 0;
}

/* Every row of a list stands in the document, and its tables have no more rows of that shape. */
static size_t rows_of(const char *heading)
{
    const char *at = strstr(document, heading);
    size_t rows = 0;

    if (!at)
        fail_msg("the document has no table '%s'", heading);
    at = strchr(strchr(at, '\n') + 1, '\n') + 1; /* behind heading and rule */
    for (; *at == '|'; at = strchr(at, '\n') + 1)
        rows++;
    return rows;
}

static void has_row(const char *row)
{
    if (!strstr(document, row))
        fail_msg("the document lacks the row: %s", row);
}

#define COUNT(...) +1
static void test_tables(void **state)
{
    (void)state;
#define KL_OP(name, number, ms, meaning)                                                           \
    has_row("\n| " #number " | " #name " | " #ms " | " meaning " |\n");
    KL_OP_LIST(KL_OP)
    assert_int_equal(rows_of("| number | operation |"), 0 KL_OP_LIST(COUNT));
#define KL_FIELD(name, number, type, meaning)                                                      \
    has_row("\n| " #number " | " #name " | " #type " | " meaning " |\n");
    KL_FIELD_LIST(KL_FIELD)
    assert_int_equal(rows_of("| key | field |"), 0 KL_FIELD_LIST(COUNT));
#define ROW(name, number, meaning) has_row("\n| " #number " | " #name " | " meaning " |\n");
    KL_OBJECT_LIST(ROW)
    assert_int_equal(rows_of("| number | object |"), 0 KL_OBJECT_LIST(COUNT));
    KL_KEY_TYPE_LIST(ROW)
    assert_int_equal(rows_of("| number | key type |"), 0 KL_KEY_TYPE_LIST(COUNT));
    KL_STATE_LIST(ROW)
    assert_int_equal(rows_of("| number | state |"), 0 KL_STATE_LIST(COUNT));
    KL_ERROR_LIST(ROW)
    assert_int_equal(rows_of("| number | error |"), 0 KL_ERROR_LIST(COUNT));
}

static void test_constants(void **state)
{
    (void)state;
    assert_int_equal(sizeof KL_CHALLENGE_CONTEXT, sizeof CHALLENGE_CONTEXT);
    assert_string_equal(KL_CHALLENGE_CONTEXT, CHALLENGE_CONTEXT);
    assert_int_equal(sizeof CHALLENGE_CONTEXT, 21);
    assert_non_null(strstr(document, "the 21 bytes `" CHALLENGE_CONTEXT "` 0x00"));
    assert_non_null(strstr(document, "bytes of NONCE"));
    assert_true(KL_FRAME_DEFAULT == 512 && KL_FRAME_LARGEST == 4096 && KL_TRIES == 5 &&
                KL_TURNAROUND_MAX_MS == 2000 && KL_WAIT_MAX_MS == 300000 &&
                KL_BAUD_UNKNOWN == 9600 && KL_TEXT_MAX == 128 && KL_DATA_OVERHEAD == 32);
}

/* --- examples --- */

struct example {
    uint8_t payload[1024], frame[1024];
    size_t payload_len, frame_len;
};

static size_t read_hex(const char **at, const char *label, uint8_t *out, size_t cap)
{
    size_t len = 0;

    assert_memory_equal(*at, label, strlen(label));
    for (*at += strlen(label); isxdigit((unsigned char)**at) || isspace((unsigned char)**at);) {
        if (isspace((unsigned char)**at)) {
            ++*at;
            continue;
        }
        if (!isxdigit((unsigned char)(*at)[1])) /* "frame" begins like a hex digit */
            break;
        assert_true(len < cap);
        out[len++] = (uint8_t)strtoul((char[]){(*at)[0], (*at)[1], 0}, NULL, 16);
        *at += 2;
    }
    return len;
}

static bool next_example(const char **at, struct example *ret)
{
    static const char fence[] = "```frame\n";

    *at = strstr(*at, fence);
    if (!*at)
        return false;
    *at += strlen(fence);
    ret->payload_len = read_hex(at, "payload ", ret->payload, sizeof ret->payload);
    ret->frame_len = read_hex(at, "frame ", ret->frame, sizeof ret->frame);
    assert_memory_equal(*at, "```", 3);
    return true;
}

/* Each is what our encoder makes, and each is read back; requests and answers both. */
static void test_examples(void **state)
{
    const char *at = document;
    struct example x;
    unsigned count = 0;

    (void)state;
    for (; next_example(&at, &x); count++) {
        uint8_t wire[2048], bytes[1024], again[1024];
        struct kl_frame_rx rx;
        struct kl_msg m;
        size_t n = kl_frame_encode(x.payload, x.payload_len, wire, sizeof wire);
        assert_int_equal(n, x.frame_len);
        assert_memory_equal(wire, x.frame, n);
        kl_frame_rx_init(&rx, bytes, sizeof bytes);
        enum kl_frame_event event = KL_FRAME_NONE;
        for (size_t i = 0; i < x.frame_len; i++)
            event = kl_frame_push(&rx, x.frame[i]);
        assert_int_equal(event, KL_FRAME_GOOD);
        assert_int_equal(kl_msg_decode(&m, rx.bytes, rx.len), KL_MSG_GOOD);
        assert_int_equal(kl_msg_encode(&m, again, sizeof again), x.payload_len);
        assert_memory_equal(again, x.payload, x.payload_len);
    }
    assert_int_equal(count, 17);
}

/* The device of the document: each request is answered with the very frames that follow it. */
static void test_conversation(void **state)
{
    static struct rig r;
    const char *at = document;
    struct example x;
    unsigned answers = 0;

    (void)state;
    rig_init(&r);
    r.crypto.table.key_types = 1u << KL_KEY_P256 | 1u << KL_KEY_RSA2048;
    r.config.hwid = "SN0001";
    r.config.model = "EX-100";
    r.config.firmware = "1.0.3";
    r.config.baud = 115200;
    while (next_example(&at, &x)) {
        if (x.payload[3] == KL_REQUEST) {
            assert_int_equal(r.head, r.tail);
            kl_device_input(&r.device, x.frame, x.frame_len);
            /* Signatures and requests differ each time; what follows is their own test's. */
            if (x.payload[2] == KL_OP_CSR || x.payload[2] == KL_OP_CHALLENGE || x.payload[0] == 0)
                r.head = r.tail;
            continue;
        }
        if (x.payload[3] == KL_REFUSAL) { /* a WRITE that does not continue */
            struct kl_msg m;
            uint8_t payload[64], wire[128];
            kl_msg_init(&m, (uint16_t)(x.payload[0] | x.payload[1] << 8), KL_OP_WRITE, KL_REQUEST);
            kl_msg_put_num(&m, KL_FIELD_OBJECT, KL_OBJECT_CERTIFICATE);
            kl_msg_put_num(&m, KL_FIELD_OFFSET, 300);
            kl_msg_put_bytes(&m, KL_FIELD_DATA, "x", 1);
            size_t n = kl_msg_encode(&m, payload, sizeof payload);
            kl_device_input(&r.device, wire, kl_frame_encode(payload, n, wire, sizeof wire));
        }
        assert_true(r.tail - r.head >= x.frame_len);
        assert_memory_equal(r.queue + r.head, x.frame, x.frame_len);
        r.head += x.frame_len;
        answers++;
    }
    assert_int_equal(answers, 8);
    assert_int_equal(kl_device_state(&r.device), KL_STATE_INSTALLED);
    rig_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_tables),
            cmocka_unit_test(test_constants),
            cmocka_unit_test(test_examples),
            cmocka_unit_test(test_conversation),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
