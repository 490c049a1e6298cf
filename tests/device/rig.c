/* The rig: see rig.h. */
#include "rig.h"

#include <string.h>

#include "base/text.h"

/* --- flash --- */

/* True when this change is to happen; *ret_torn: only half of it. */
static bool powered(struct rig_flash *f, bool *ret_torn, bool *ret_then_dies)
{
    *ret_torn = *ret_then_dies = false;
    if (f->dead)
        return false;
    if (++f->changes != f->cut_at)
        return true;
    *ret_then_dies = f->after;
    *ret_torn = !f->after;
    f->dead = true;
    return f->after;
}

static struct rig_object *object_of(void *ctx, uint8_t object)
{
    assert_true(object < RIG_OBJECTS);
    return &((struct rig_flash *)ctx)->objects[object];
}

static enum kl_error flash_size(void *ctx, uint8_t object, uint32_t *ret)
{
    *ret = object_of(ctx, object)->kept_len;
    return ((struct rig_flash *)ctx)->dead ? KL_ERROR_STORAGE : KL_OK;
}

static enum kl_error flash_read(
        void *ctx, uint8_t object, uint32_t offset, uint8_t *bytes, uint32_t len)
{
    struct rig_object *o = object_of(ctx, object);

    if (((struct rig_flash *)ctx)->dead)
        return KL_ERROR_STORAGE;
    assert_true(
            offset <= o->kept_len && len <= o->kept_len - offset); /* the engine checks ranges */
    memcpy(bytes, o->kept + offset, len);
    return KL_OK;
}

static enum kl_error flash_stage(void *ctx, uint8_t object, uint32_t total)
{
    bool torn, dies;

    if (total > sizeof object_of(ctx, object)->staged)
        return KL_ERROR_FULL;
    if (!powered(ctx, &torn, &dies))
        return KL_ERROR_STORAGE;
    object_of(ctx, object)->staged_len = 0;
    return dies ? KL_ERROR_STORAGE : KL_OK;
}

static enum kl_error flash_append(void *ctx, uint8_t object, const uint8_t *bytes, uint32_t len)
{
    struct rig_object *o = object_of(ctx, object);
    bool torn, dies, on = powered(ctx, &torn, &dies);

    assert_true(len <= sizeof o->staged - o->staged_len);
    if (torn) { /* the length is there, the second half of the bytes is not */
        memcpy(o->staged + o->staged_len, bytes, len);
        memset(o->staged + o->staged_len + len / 2, 0xFF, len - len / 2);
        o->staged_len += len;
    }
    if (!on)
        return KL_ERROR_STORAGE;
    memcpy(o->staged + o->staged_len, bytes, len);
    o->staged_len += len;
    return dies ? KL_ERROR_STORAGE : KL_OK;
}

static enum kl_error flash_staged(void *ctx, uint8_t object, uint32_t *ret)
{
    *ret = object_of(ctx, object)->staged_len;
    return ((struct rig_flash *)ctx)->dead ? KL_ERROR_STORAGE : KL_OK;
}

static enum kl_error flash_read_staged(
        void *ctx, uint8_t object, uint32_t offset, uint8_t *bytes, uint32_t len)
{
    struct rig_object *o = object_of(ctx, object);

    if (((struct rig_flash *)ctx)->dead)
        return KL_ERROR_STORAGE;
    assert_true(offset <= o->staged_len && len <= o->staged_len - offset);
    memcpy(bytes, o->staged + offset, len);
    return KL_OK;
}

static enum kl_error flash_commit(void *ctx, uint8_t object)
{
    struct rig_object *o = object_of(ctx, object);
    bool torn, dies;

    if (!powered(ctx, &torn, &dies))
        return KL_ERROR_STORAGE;
    memcpy(o->kept, o->staged, o->staged_len);
    o->kept_len = o->staged_len;
    o->staged_len = 0;
    return dies ? KL_ERROR_STORAGE : KL_OK;
}

static enum kl_error flash_erase(void *ctx, uint8_t object)
{
    bool torn, dies;

    if (!powered(ctx, &torn, &dies))
        return KL_ERROR_STORAGE;
    object_of(ctx, object)->kept_len = object_of(ctx, object)->staged_len = 0;
    return dies ? KL_ERROR_STORAGE : KL_OK;
}

/* --- the device's surroundings --- */

static uint64_t next_random(struct rig *r)
{
    r->random ^= r->random << 13;
    r->random ^= r->random >> 7;
    r->random ^= r->random << 17;
    return r->random;
}

static uint8_t through_cable(struct rig *r, uint8_t byte)
{
    if (r->noise_one_in && next_random(r) % r->noise_one_in == 0)
        byte ^= (uint8_t)(1u << next_random(r) % 8);
    return byte;
}

static void device_send(void *ctx, const uint8_t *bytes, size_t len)
{
    struct rig *r = ctx;

    r->sends++;
    if (r->flash.dead)
        return;
    if (r->lose_answers) {
        r->lose_answers--;
        return;
    }
    memmove(r->queue, r->queue + r->head, r->tail - r->head);
    r->tail -= r->head;
    r->head = 0;
    for (unsigned copy = 0; copy < (r->double_answers ? 2 : 1); copy++) {
        assert_true(len <= sizeof r->queue - r->tail);
        for (size_t i = 0; i < len; i++)
            r->queue[r->tail++] = through_cable(r, bytes[i]);
    }
}

static enum kl_error device_permit(void *ctx, enum kl_op op)
{
    struct rig *r = ctx;

    if ((unsigned)op < KL_OP_END)
        r->ran[op]++;
    return op == r->refuse_op ? r->refuse : KL_OK;
}

static void device_verdict(void *ctx, bool pass, const char *text, size_t len)
{
    struct rig *r = ctx;

    r->verdicts++;
    r->verdict_pass = pass;
    memcpy(r->verdict_text, text, len);
    r->verdict_text[len] = 0;
}

/* --- the host's io --- */

static int io_read(
        struct io *io, void *bytes, size_t cap, size_t *ret_len, int64_t deadline_ms, struct err *e)
{
    struct rig *r = io->ctx;
    size_t n = r->tail - r->head;

    (void)deadline_ms;
    if (r->gone_after_writes && r->writes >= (unsigned long)r->gone_after_writes)
        return err_set(e, ERR_DEVICE_GONE, "pulled");
    if (n == 0)
        return err_set(e, ERR_DEVICE_SILENT, "nothing");
    n = n < cap ? n : cap;
    if (n > 7)
        n -= next_random(r) % 7; /* in odd pieces */
    memcpy(bytes, r->queue + r->head, n);
    r->head += n;
    *ret_len = n;
    return 0;
}

static int io_write(
        struct io *io, const void *bytes, size_t len, int64_t deadline_ms, struct err *e)
{
    struct rig *r = io->ctx;
    const uint8_t *at = bytes;

    (void)deadline_ms;
    if (r->gone_after_writes && ++r->writes >= (unsigned long)r->gone_after_writes)
        return err_set(e, ERR_DEVICE_GONE, "pulled");
    if (r->lose_requests && len > 4) {
        r->lose_requests--;
        return 0;
    }
    for (size_t i = 0; i < len; i++) {
        uint8_t byte = through_cable(r, at[i]);
        kl_device_input(&r->device, &byte, 1);
    }
    return 0;
}

void rig_init(struct rig *r)
{
    memset(r, 0, sizeof *r);
    assert_int_equal(crypto_open(&r->crypto), 0);
    r->random = 0x9E3779B97F4A7C15u;
    r->storage = (struct kl_storage){&r->flash, flash_size, flash_read, flash_stage, flash_append,
            flash_staged, flash_read_staged, flash_commit, flash_erase};
    r->config = (struct kl_device_config){
            .hwid = "HW-0001",
            .name = "sensor-1",
            .model = "Rig",
            .firmware = "1.2.3",
            .object_max = {[KL_OBJECT_CERTIFICATE] = 8192,
                    [KL_OBJECT_CHAIN] = 32768,
                    [KL_OBJECT_CONFIGURATION] = 16384},
            .storage = &r->storage,
            .crypto = &r->crypto.table,
            .ctx = r,
            .send = device_send,
            .permit = device_permit,
            .verdict = device_verdict,
    };
    r->io = (struct io){.read = io_read, .write = io_write, .ctx = r};
    kl_device_init(&r->device, &r->config);
}

void rig_done(struct rig *r)
{
    crypto_close(&r->crypto);
}

void rig_restart(struct rig *r)
{
    r->flash.dead = false;
    r->flash.cut_at = 0;
    for (size_t i = 0; r->flash.forget_staged && i < RIG_OBJECTS; i++)
        r->flash.objects[i].staged_len = 0;
    r->head = r->tail = 0;
    kl_device_init(&r->device, &r->config);
}

void rig_open(struct rig *r, struct driver_session *s)
{
    struct err e = {0};

    *s = (struct driver_session){.driver = &driver_keyline, .io = &r->io};
    if (driver_keyline.open(s, 2000, &e) < 0)
        fail_msg("open: %s", e.msg);
}

bool rig_ask(struct rig *r, struct kl_msg *m, struct kl_msg *ret)
{
    static uint16_t seq;
    static uint8_t bytes[KL_FRAME_LARGEST];
    uint8_t payload[KL_FRAME_LARGEST], wire[KL_WIRE_BUFFER(KL_FRAME_LARGEST)];
    struct kl_frame_rx rx;

    m->seq = ++seq;
    size_t len = kl_msg_encode(m, payload, sizeof payload);
    assert_true(len > 0);
    len = kl_frame_encode(payload, len, wire, sizeof wire);
    assert_true(len > 0);
    r->head = r->tail = 0;
    kl_device_input(&r->device, wire, len);
    kl_frame_rx_init(&rx, bytes, sizeof bytes);
    while (r->head < r->tail)
        if (kl_frame_push(&rx, r->queue[r->head++]) == KL_FRAME_GOOD &&
                kl_msg_decode(ret, rx.bytes, rx.len) == KL_MSG_GOOD && ret->seq == m->seq &&
                ret->op == m->op && ret->kind != KL_WAIT)
            return true;
    return false;
}

void rig_expect(struct rig *r, struct kl_msg *m, enum kl_error error, struct kl_msg *ret)
{
    struct kl_msg answer;

    if (!ret)
        ret = &answer;
    if (!rig_ask(r, m, ret))
        fail_msg("%s: no answer", kl_op_name(m->op));
    uint32_t found = ret->kind == KL_REFUSAL ? kl_msg_num(ret, KL_FIELD_ERROR, 0) : KL_OK;
    if (found != (uint32_t)error)
        fail_msg("%s: answered %s, not %s", kl_op_name(m->op), kl_error_name(found),
                kl_error_name(error));
}

void rig_hello(struct rig *r)
{
    struct kl_msg m;

    kl_msg_init(&m, 0, KL_OP_HELLO, KL_REQUEST);
    kl_msg_put_num(&m, KL_FIELD_VERSION_MIN, 1);
    kl_msg_put_num(&m, KL_FIELD_VERSION_MAX, 3);
    kl_msg_put_num(&m, KL_FIELD_FRAME_MAX, KL_FRAME_LARGEST);
    rig_expect(r, &m, KL_OK, NULL);
}
