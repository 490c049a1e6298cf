/* Frames in, answers out, each request at most once. The last answer is kept as it went over the
 * wire; a request with the same bytes gets it again without anything being done. HELLO alone is
 * always carried out: it changes nothing durable, and a station that was restarted must hear
 * today's state. */
#include "keyline/device.h"

#include <string.h>

#include "keyline/message.h"
#include "operations.h"

void kl_device_init(struct kl_device *d, const struct kl_device_config *config)
{
    memset(d, 0, sizeof *d);
    d->config = config;
    d->frame_max = KL_FRAME_DEFAULT;
    kl_frame_rx_init(&d->rx, d->request, sizeof d->request);
}

static void answer(struct kl_device *d, const struct kl_msg *m)
{
    uint8_t *payload = d->answer + KL_WIRE_SHIFT(KL_FRAME_MAX);
    size_t len = kl_msg_encode(m, payload, d->frame_max - KL_CRC_BYTES);

    d->answer_len = len ? kl_frame_encode(payload, len, d->answer, sizeof d->answer) : 0;
    if (d->answer_len)
        d->config->send(d->config->ctx, d->answer, d->answer_len);
}

void kl_device_wait(struct kl_device *d, uint32_t ms)
{
    uint8_t payload[16], wire[32];
    struct kl_msg m;

    kl_msg_init(&m, d->seq, d->op, KL_WAIT);
    kl_msg_put_num(&m, KL_FIELD_WAIT_MS, ms);
    size_t len =
            kl_frame_encode(payload, kl_msg_encode(&m, payload, sizeof payload), wire, sizeof wire);
    d->config->send(d->config->ctx, wire, len);
}

static void run(struct kl_device *d, const struct kl_msg *request, enum kl_msg_fault fault)
{
    struct kl_msg m;

    d->seq = request->seq;
    d->op = request->op;
    kl_msg_init(&m, request->seq, request->op, KL_ANSWER);
    enum kl_error error = fault == KL_MSG_GOOD ? operation_run(d, request, &m) : KL_ERROR_MALFORMED;
    if (error) {
        bool offset = error == KL_ERROR_OFFSET && kl_msg_has(&m, KL_FIELD_OFFSET);
        uint32_t at = m.field[KL_FIELD_OFFSET].num;
        kl_msg_init(&m, request->seq, request->op, KL_REFUSAL);
        kl_msg_put_num(&m, KL_FIELD_ERROR, error);
        if (offset)
            kl_msg_put_num(&m, KL_FIELD_OFFSET, at);
    }
    answer(d, &m);
}

static void answer_once(struct kl_device *d, const struct kl_msg *request, enum kl_msg_fault fault)
{
    uint32_t crc = kl_crc32(0, d->rx.bytes, d->rx.len);
    bool repeated = d->answered && d->last_crc == crc && d->last_len == d->rx.len;

    if (repeated && request->op != KL_OP_HELLO) {
        d->config->send(d->config->ctx, d->answer, d->answer_len);
        return;
    }
    d->answered = false;
    run(d, request, fault);
    d->last_crc = crc;
    d->last_len = d->rx.len;
    d->answered = d->answer_len != 0;
}

static void take(struct kl_device *d)
{
    struct kl_msg request;
    enum kl_msg_fault fault = kl_msg_decode(&request, d->rx.bytes, d->rx.len);

    if (fault == KL_MSG_HEADLESS || request.kind != KL_REQUEST)
        return; /* nobody to answer, or our own echo */
    answer_once(d, &request, fault);
    if (request.op == KL_OP_INSTALL_KEY) /* done, refused or repeated: a key was in it */
        memset(d->request, 0, sizeof d->request);
}

void kl_device_input(struct kl_device *d, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (kl_frame_push(&d->rx, bytes[i]) == KL_FRAME_GOOD)
            take(d);
}
