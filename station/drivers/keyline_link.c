/* Asks and waits. A lost frame is asked for again unchanged, so that the device does nothing twice;
 * no device, however it babbles, keeps a caller past the deadlines of docs/link-protocol.md,
 * "Time". Nothing of what a device sent leaves this file unchecked but the bytes of an object. */
#include "station/drivers/keyline_link.h"

#include "base/text.h"

#include <string.h>

/* An answer, a kept one and an echo are a few frames: what comes in by far more is no device's line,
 * and reading it on would only take the core from the other slots. */
#define RECEIVED_MAX (16u * KL_WIRE_BYTES(KL_FRAME_LARGEST))

int link_garbage(struct err *e, uint8_t op, const char *what)
{
    return err_set(e, ERR_DEVICE_GARBAGE, "%s: %s", kl_op_name(op), what);
}

/* Whether a text may leave the driver. */
static bool printable(const struct kl_value *text)
{
    return text->num <= KL_TEXT_MAX && text_is_printable((const char *)text->bytes, text->num);
}

static enum err_id refusal_id(uint32_t error)
{
    switch (error) {
    case KL_ERROR_UNSUPPORTED:
    case KL_ERROR_VERSION:
    case KL_ERROR_KEY_TYPE:
    case KL_ERROR_OBJECT:
    case KL_ERROR_TOO_LARGE:
        return ERR_DEVICE_UNSUPPORTED;
    case KL_ERROR_SEALED:
        return ERR_DEVICE_SEALED;
    case KL_ERROR_HELLO_FIRST: /* it lost its memory of us: it was pulled, or restarted */
        return ERR_DEVICE_GONE;
    default:
        return ERR_DEVICE_REFUSED;
    }
}

static int refused(const struct link *l, struct err *e)
{
    const struct kl_msg *m = &l->answer;
    const struct kl_value *text = &m->field[KL_FIELD_TEXT];
    uint32_t error = kl_msg_num(m, KL_FIELD_ERROR, 0);
    bool detail = text->num && printable(text);

    if (error == 0)
        return link_garbage(e, m->op, "a refusal without a reason");
    return err_set_code(e, refusal_id(error), (long)error, "%s refused: %s (%s, %u)%s%.*s",
            kl_op_name(m->op), kl_error_text(error), kl_error_name(error), error,
            detail ? ": " : "", detail ? (int)text->num : 0,
            detail ? (const char *)text->bytes : "");
}

/* The next good frame before the deadline. ERR_DEVICE_SILENT when none comes. */
static int read_frame(struct link *l, uint8_t op, int64_t deadline_ms, struct err *e)
{
    for (;;) {
        while (l->input_at < l->input_len) {
            enum kl_frame_event event = kl_frame_push(&l->rx, l->input[l->input_at++]);
            if (event == KL_FRAME_GOOD)
                return 0;
            if (event == KL_FRAME_BAD)
                l->heard = true;
        }
        l->input_at = l->input_len = 0;
        /* Here too: a device that never stops talking must not keep us past the deadline. */
        if (time_monotonic_ms() >= deadline_ms)
            return err_set(e, ERR_DEVICE_SILENT, "no answer");
        if (l->received > RECEIVED_MAX)
            return link_garbage(e, op, "bytes arrive without end, but no answer");
        if (l->io->read(l->io, l->input, sizeof l->input, &l->input_len, deadline_ms, e) < 0)
            return -1;
        l->received += l->input_len;
        /* Before HELLO any byte counts: a console's text holds no 0x00, and is not silence. */
        l->heard |= !l->greeted;
    }
}

/* Time both frames take on the line. An answer may be as large as agreed. */
static int64_t line_ms(const struct link *l)
{
    return kl_line_ms(l->wire_len + KL_WIRE_BYTES(l->frame_max), l->baud);
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* How much longer a WAIT asks for; all waits of one request count together, in whichever try they
 * came. */
static int read_wait(struct link *l, uint8_t op, uint32_t *ret_ms, struct err *e)
{
    int64_t now = time_monotonic_ms();

    if (l->waiting_since_ms == 0)
        l->waiting_since_ms = now;
    *ret_ms = kl_msg_num(&l->answer, KL_FIELD_WAIT_MS, 0);
    if (now - l->waiting_since_ms + *ret_ms > KL_WAIT_MAX_MS)
        return link_garbage(e, op, "it asks for more time than any work takes");
    return 0;
}

/* Sends the request once and waits for its answer, not beyond limit_ms. ERR_DEVICE_SILENT: try
 * again. */
static int try_once(
        struct link *l, uint8_t op, uint32_t turnaround_ms, int64_t limit_ms, struct err *e)
{
    int64_t deadline = earlier(time_monotonic_ms() + line_ms(l) + turnaround_ms, limit_ms);
    uint32_t wait_ms;

    if (l->io->write(l->io, l->wire, l->wire_len, deadline, e) < 0)
        return -1;
    while (read_frame(l, op, deadline, e) == 0) {
        enum kl_msg_fault fault = kl_msg_decode(&l->answer, l->rx.bytes, l->rx.len);
        if (fault == KL_MSG_HEADLESS || l->answer.seq != l->seq || l->answer.op != op ||
                l->answer.kind == KL_REQUEST)
            continue; /* a late answer to an earlier try, or an echo */
        if (fault == KL_MSG_MALFORMED || l->answer.kind > KL_REFUSAL)
            return link_garbage(e, op, "an answer that is no message of the link");
        if (l->answer.kind != KL_WAIT)
            return l->answer.kind == KL_REFUSAL ? refused(l, e) : 0;
        if (read_wait(l, op, &wait_ms, e) < 0)
            return -1;
        deadline = earlier(time_monotonic_ms() + wait_ms + line_ms(l) + turnaround_ms, limit_ms);
    }
    return -1;
}

static int begin_request(struct link *l, struct kl_msg *m, struct err *e)
{
    uint8_t *payload = l->wire + KL_WIRE_SHIFT(KL_FRAME_LARGEST);

    m->seq = ++l->seq;
    size_t len = kl_msg_encode(m, payload, l->frame_max - KL_CRC_BYTES);
    l->wire_len = len ? kl_frame_encode(payload, len, l->wire, sizeof l->wire) : 0;
    l->heard = false;
    l->waiting_since_ms = 0;
    l->received = 0;
    return l->wire_len ? 0 : err_set(e, ERR_BUG, "%s does not fit into a frame", kl_op_name(m->op));
}

static uint32_t turnaround(uint8_t op, unsigned repeats)
{
    uint32_t base = kl_op_turnaround_ms(op);
    uint32_t most = base > KL_TURNAROUND_MAX_MS ? base : KL_TURNAROUND_MAX_MS;

    return base << repeats < most ? base << repeats : most;
}

int link_transact_tries(struct link *l, struct kl_msg *m, unsigned tries, struct err *e)
{
    struct err cause = {0};

    if (begin_request(l, m, e) < 0)
        return -1;
    for (unsigned repeats = 0; repeats < tries; repeats++) {
        err_clear(&cause);
        if (try_once(l, m->op, turnaround(m->op, repeats), INT64_MAX, &cause) == 0)
            return 0;
        if (cause.id != ERR_DEVICE_SILENT)
            break;
    }
    if (cause.id == ERR_DEVICE_SILENT && l->heard)
        return link_garbage(e, m->op, "bytes arrive, but no answer: noise or a wrong baud rate");
    return err_set_code(e, cause.id, cause.code, "%s%s%s",
            cause.id == ERR_DEVICE_SILENT ? kl_op_name(m->op) : "",
            cause.id == ERR_DEVICE_SILENT ? ": " : "", cause.msg);
}

int link_transact(struct link *l, struct kl_msg *m, struct err *e)
{
    return link_transact_tries(l, m, KL_TRIES, e);
}

int link_hello(struct link *l, struct kl_msg *m, unsigned timeout_ms, struct err *e)
{
    static const uint8_t resync[4] = {0};
    int64_t limit = time_monotonic_ms() + timeout_ms;
    struct err cause = {0};

    if (begin_request(l, m, e) < 0)
        return -1;
    for (unsigned repeats = 0;; repeats++) {
        err_clear(&cause);
        /* Whatever half frame the device or the line holds ends here. */
        if (l->io->write(l->io, resync, sizeof resync, limit, &cause) == 0 &&
                try_once(l, m->op, turnaround(m->op, repeats < 3 ? repeats : 3), limit, &cause) ==
                        0)
            return 0;
        if (cause.id != ERR_DEVICE_SILENT || time_monotonic_ms() >= limit)
            break;
    }
    if (cause.id == ERR_DEVICE_SILENT && l->heard)
        return link_garbage(e, KL_OP_HELLO,
                "bytes arrive, but no answer: is the baud rate right, is it such a device?");
    return err_set_code(e, cause.id, cause.code, "HELLO: %s", cause.msg);
}

void link_wipe(struct link *l)
{
    explicit_bzero(l->wire, sizeof l->wire);
}

int link_num(const struct link *l, enum kl_field f, uint32_t most, uint32_t *ret, struct err *e)
{
    uint32_t value = kl_msg_num(&l->answer, f, UINT32_MAX);

    if (!kl_msg_has(&l->answer, f) || value > most)
        return link_garbage(e, l->answer.op, "a number is missing or out of its range");
    *ret = value;
    return 0;
}

int link_text(const struct link *l, enum kl_field f, char *out, size_t cap, struct err *e)
{
    const struct kl_value *v = &l->answer.field[f];

    out[0] = 0;
    if (v->num == 0)
        return 0;
    if (v->num >= cap || !printable(v))
        return link_garbage(e, l->answer.op, "a text is too long or holds unprintable bytes");
    memcpy(out, v->bytes, v->num);
    out[v->num] = 0;
    return 0;
}
