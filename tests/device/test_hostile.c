/* The driver against devices that lie: each answer of a scripted device, and what the driver makes
 * of it. */
#include "rig.h"

#include <string.h>

#include "base/text.h"
#include "station/drivers/keyline_link.h"

struct liar {
    struct io io;
    uint8_t request_bytes[KL_FRAME_LARGEST];
    struct kl_frame_rx rx;
    uint8_t queue[16384];
    size_t head, tail;
    /* Fills the answer; false: none. */
    bool (*answer)(const struct kl_msg *request, struct kl_msg *answer);
    const char *babble; /* answers this text instead */
    bool endless;       /* and never stops */
    size_t endless_bytes;
    int64_t patience_ms; /* the latest deadline of the driver's reads */
};

static bool good_hello(const struct kl_msg *q, struct kl_msg *a)
{
    static const uint8_t types[] = {0x81, 1},
                         sizes[] = {0xA3, 1, 0x19, 0x20, 0, 2, 0x19, 0x20, 0, 3, 0x19, 0x20, 0};

    if (q->op != KL_OP_HELLO)
        return false;
    kl_msg_put_num(a, KL_FIELD_VERSION, 1);
    kl_msg_put_num(a, KL_FIELD_FRAME_MAX, 512);
    kl_msg_put_bytes(a, KL_FIELD_KEY_TYPES, types, sizeof types);
    kl_msg_put_bytes(a, KL_FIELD_OBJECTS, sizes, sizeof sizes);
    kl_msg_put_num(a, KL_FIELD_STATE, 0);
    kl_msg_put_text(a, KL_FIELD_MODEL, "m");
    kl_msg_put_text(a, KL_FIELD_FIRMWARE, "f");
    return true;
}

static void liar_queue(struct liar *l, const void *bytes, size_t len)
{
    if (l->head == l->tail)
        l->head = l->tail = 0;
    if (len <= sizeof l->queue - l->tail) {
        memcpy(l->queue + l->tail, bytes, len);
        l->tail += len;
    }
}

static void liar_take(struct liar *l)
{
    struct kl_msg q, a;
    uint8_t payload[KL_FRAME_LARGEST], wire[KL_WIRE_BUFFER(KL_FRAME_LARGEST)];

    assert_int_equal(
            kl_msg_decode(&q, l->rx.bytes, l->rx.len), KL_MSG_GOOD); /* the driver's own are good */
    if (l->babble) {
        liar_queue(l, l->babble, strlen(l->babble));
        return;
    }
    kl_msg_init(&a, q.seq, q.op, KL_ANSWER);
    if (!(l->answer && l->answer(&q, &a)) && !(q.op == KL_OP_HELLO && good_hello(&q, &a)))
        return;
    size_t len = kl_msg_encode(&a, payload, sizeof payload);
    assert_true(len > 0);
    liar_queue(l, wire, kl_frame_encode(payload, len, wire, sizeof wire));
}

static int liar_read(
        struct io *io, void *bytes, size_t cap, size_t *ret_len, int64_t deadline_ms, struct err *e)
{
    struct liar *l = io->ctx;
    size_t n = l->tail - l->head < cap ? l->tail - l->head : cap;

    l->patience_ms = deadline_ms > l->patience_ms ? deadline_ms : l->patience_ms;
    if (l->endless) {
        l->endless_bytes += cap;
        memset(bytes, 'A', cap);
        *ret_len = cap;
        return 0;
    }
    if (n == 0)
        return err_set(e, ERR_DEVICE_SILENT, "nothing");
    memcpy(bytes, l->queue + l->head, n);
    l->head += n;
    *ret_len = n;
    return 0;
}

static int liar_write(
        struct io *io, const void *bytes, size_t len, int64_t deadline_ms, struct err *e)
{
    struct liar *l = io->ctx;
    const uint8_t *at = bytes;

    (void)deadline_ms, (void)e;
    for (size_t i = 0; i < len; i++)
        if (kl_frame_push(&l->rx, at[i]) == KL_FRAME_GOOD)
            liar_take(l);
    return 0;
}

static void liar_init(struct liar *l)
{
    memset(l, 0, sizeof *l);
    l->io = (struct io){.read = liar_read, .write = liar_write, .ctx = l};
    kl_frame_rx_init(&l->rx, l->request_bytes, sizeof l->request_bytes);
}

static enum err_id opened(struct liar *l, struct driver_session *s, unsigned timeout_ms)
{
    struct err e = {0};

    *s = (struct driver_session){.driver = &driver_keyline, .io = &l->io};
    if (driver_keyline.open(s, timeout_ms, &e) == 0)
        return ERR_NONE;
    assert_null(s->state);
    return e.id;
}

/* --- hello --- */

static void test_silence_and_babble(void **state)
{
    static struct liar l;
    struct driver_session s;

    (void)state;
    liar_init(&l);
    l.answer = NULL;
    l.babble = "";
    assert_int_equal(opened(&l, &s, 50), ERR_DEVICE_SILENT);
    l.babble = "\r\nlogin: ";
    assert_int_equal(opened(&l, &s, 50), ERR_DEVICE_GARBAGE);
    l.endless = true;
    int64_t start = time_monotonic_ms();
    assert_int_equal(opened(&l, &s, 100), ERR_DEVICE_GARBAGE);
    assert_true(time_monotonic_ms() - start < 2000);
    assert_true(l.endless_bytes < 100000); /* a core is not spent on it */
}

static unsigned wrong; /* which lie */

static bool lying_hello(const struct kl_msg *q, struct kl_msg *a)
{
    static const char control[] = "a\x1b[2Jb", c1[] = "a\xC2\x9Bm";

    if (!good_hello(q, a))
        return false;
    switch (wrong) {
    case 0:
        kl_msg_put_num(a, KL_FIELD_VERSION, 2);
        break;
    case 1:
        kl_msg_put_num(a, KL_FIELD_FRAME_MAX, 4097);
        break;
    case 2:
        kl_msg_put_num(a, KL_FIELD_FRAME_MAX, 8);
        break;
    case 3:
        kl_msg_put_text(a, KL_FIELD_MODEL, control);
        break;
    case 4:
        kl_msg_put_text(a, KL_FIELD_FIRMWARE, c1);
        break;
    case 5:
        a->has &= ~(1u << KL_FIELD_OBJECTS);
        break;
    case 6:
        a->has &= ~(1u << KL_FIELD_STATE);
        break;
    case 7:
        a->kind = 9;
        break;
    case 8:
        a->kind = KL_REFUSAL; /* without a reason */
        break;
    case 9:
        kl_msg_init(a, a->seq, a->op, KL_WAIT);
        kl_msg_put_num(a, KL_FIELD_WAIT_MS, UINT32_MAX);
        break;
    default:
        return false;
    }
    return true;
}

static void test_lying_hello(void **state)
{
    static struct liar l;
    struct driver_session s;

    (void)state;
    for (wrong = 0; wrong < 10; wrong++) {
        liar_init(&l);
        l.answer = lying_hello;
        if (opened(&l, &s, 200) != ERR_DEVICE_GARBAGE)
            fail_msg("lie %u was believed", wrong);
    }
}

/* --- waits --- */

static struct link *link_of; /* the session under test */
static unsigned waits;

static bool begs(const struct kl_msg *q, struct kl_msg *a)
{
    if (q->op == KL_OP_PING && waits++) /* all but five seconds have passed since the first one */
        link_of->waiting_since_ms -= KL_WAIT_MAX_MS - 5000;
    kl_msg_init(a, a->seq, a->op, KL_WAIT);
    kl_msg_put_num(a, KL_FIELD_WAIT_MS, 10000);
    return q->op == KL_OP_HELLO || q->op == KL_OP_PING;
}

/* A port is asked every second who is there: no device may make that minutes. */
static void test_hello_ends_in_time(void **state)
{
    static struct liar l;
    struct driver_session s;

    (void)state;
    liar_init(&l);
    l.answer = begs;
    int64_t start = time_monotonic_ms();
    assert_int_equal(opened(&l, &s, 50), ERR_DEVICE_GARBAGE);
    assert_in_range(l.patience_ms, start, time_monotonic_ms() + 50);
}

/* The repeats of one request share what it may wait. */
static void test_waits_are_counted_together(void **state)
{
    static struct liar l;
    struct driver_session s;
    struct err e = {0};

    (void)state;
    liar_init(&l);
    assert_int_equal(opened(&l, &s, 200), ERR_NONE);
    l.answer = begs;
    link_of = s.state;
    waits = 0;
    assert_int_equal(driver_keyline.ping(&s, &e), -1);
    assert_string_equal(err_name(e.id), err_name(ERR_DEVICE_GARBAGE));
    assert_int_equal(waits, 2);
    driver_keyline.close(&s);
}

/* --- the other operations: each lie answers one operation --- */

static uint8_t digest[KL_SHA256_BYTES];

static bool lying_answer(const struct kl_msg *q, struct kl_msg *a)
{
    static uint8_t bytes[480];
    uint32_t offset = kl_msg_num(q, KL_FIELD_OFFSET, 0);
    uint8_t kind = q->op;

    if (kind == KL_OP_HELLO)
        return good_hello(q, a);
    if (kind == KL_OP_IDENTIFY) {
        kl_msg_put_text(a, KL_FIELD_HWID, wrong == 0 ? "" : wrong == 1 ? "line\nline" : "\x7F");
    } else if (kind == KL_OP_CSR) {
        kl_msg_put_num(a, KL_FIELD_LENGTH, wrong == 0 ? CSR_BYTES_MAX + 1 : 100);
        kl_msg_put_bytes(a, KL_FIELD_SHA256, digest, wrong == 1 ? 31 : 32);
    } else if (kind == KL_OP_BEGIN) {
        kl_msg_put_num(a, KL_FIELD_OFFSET, wrong == 0 ? q->field[KL_FIELD_LENGTH].num + 1 : 0);
    } else if (kind == KL_OP_WRITE) {
        kl_msg_put_num(a, KL_FIELD_OFFSET, wrong == 1 ? 0 : offset + 1);
    } else if (kind == KL_OP_READ) {
        /* 0: more than allowed; 1: another offset; 2: no bytes; 3: more than there is; 4: changing
         * length; 5: wrong digest */
        kl_msg_put_num(a, KL_FIELD_LENGTH,
                wrong == 0             ? CHAIN_BYTES_MAX + 1
                : wrong == 4 && offset ? 99
                                       : 100);
        kl_msg_put_num(a, KL_FIELD_OFFSET, wrong == 1 ? offset + 1 : offset);
        kl_msg_put_bytes(a, KL_FIELD_DATA, bytes,
                wrong == 2   ? 0
                : wrong == 3 ? 101
                : wrong == 4 ? 50
                             : 100 - offset);
    } else if (kind == KL_OP_CHALLENGE) {
        if (wrong)
            kl_msg_put_bytes(a, KL_FIELD_SIGNATURE, bytes, 0);
    }
    return true;
}

static void test_lying_answers(void **state)
{
    static const uint8_t nonce[NONCE_BYTES], bytes[700];
    static const unsigned lies[KL_OP_END] = {[KL_OP_IDENTIFY] = 3,
            [KL_OP_CSR] = 8,
            [KL_OP_BEGIN] = 1,
            [KL_OP_WRITE] = 3,
            [KL_OP_READ] = 5,
            [KL_OP_CHALLENGE] = 2};

    (void)state;
    for (uint8_t op = 0; op < KL_OP_END; op++)
        for (wrong = op == KL_OP_WRITE ? 1 : 0; wrong < lies[op]; wrong++) {
            static struct liar l;
            struct driver_session s;
            struct driver_identity id;
            struct buf out = BUF_INIT;
            struct err e = {0};
            int r = 0;
            liar_init(&l);
            l.answer = lying_answer;
            assert_int_equal(opened(&l, &s, 200), ERR_NONE);
            if (op == KL_OP_IDENTIFY)
                r = driver_keyline.identify(&s, &id, &e);
            else if (op == KL_OP_CSR)
                r = driver_keyline.csr(&s, "", nonce, &out, &e);
            else if (op == KL_OP_BEGIN || op == KL_OP_WRITE)
                r = driver_keyline.install(&s, DRIVER_CERT, bytes, sizeof bytes, &e);
            else if (op == KL_OP_READ)
                r = driver_keyline.readback(&s, DRIVER_CHAIN, &out, &e);
            else
                r = driver_keyline.challenge(&s, nonce, &out, &e);
            if (r == 0 || e.id != ERR_DEVICE_GARBAGE)
                fail_msg("%s, lie %u: %d %s %s", kl_op_name(op), wrong, r, err_name(e.id), e.msg);
            assert_int_equal(out.len, 0);
            buf_done(&out);
            driver_keyline.close(&s);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_silence_and_babble),
            cmocka_unit_test(test_lying_hello),
            cmocka_unit_test(test_hello_ends_in_time),
            cmocka_unit_test(test_waits_are_counted_together),
            cmocka_unit_test(test_lying_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
