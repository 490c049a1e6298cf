/* Host side of the reference link. Reference: docs/link-protocol.md; numbers:
 * device/include/keyline/link.h. It asks, the device answers; a lost frame is asked for again
 * unchanged, so nothing is done twice. Every length, offset and text a device sends is checked here
 * before anybody else sees it. It never decides what a device may become. */
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "keyline/cbor.h"
#include "keyline/frame.h"
#include "keyline/message.h"
#include "station/driver.h"

/* What a line with one wrong bit in a thousand bytes still carries. */
#define CHUNK_NOISY 128u
#define CHUNK_LEAST 32u
/* A larger piece is tried so often, then all pieces of the session are small. */
#define TRIES_LARGE 2u

struct link {
    struct io *io;
    uint16_t seq;
    uint32_t frame_max; /* agreed */
    uint32_t chunk;     /* bytes of an object in one frame */
    uint32_t baud;      /* 0: not a serial line */
    uint32_t key_types; /* bit kl_key_type */
    uint32_t object_max[KL_OBJECT_REQUEST];
    uint32_t state; /* enum kl_state at HELLO */
    char model[NAME_BYTES_MAX + 1];
    bool greeted;
    bool heard; /* what arrived during the running request was no answer to it */
    struct kl_frame_rx rx;
    struct kl_msg answer; /* its strings lie in rx_bytes until the next request */
    uint8_t input[512];   /* read, not yet pushed */
    size_t input_at, input_len;
    size_t wire_len;
    uint8_t rx_bytes[KL_FRAME_LARGEST];
    uint8_t wire[KL_WIRE_BUFFER(KL_FRAME_LARGEST)];
};

/* --- one request, one answer --- */

static int garbage(struct err *e, const char *op, const char *what)
{
    return err_set(e, ERR_DEVICE_GARBAGE, "%s: %s", op, what);
}

/* Whether a text may leave the driver: UTF-8 without control characters (C0, DEL, C1). */
static bool printable(const uint8_t *text, size_t len)
{
    if (!utf8_valid((const char *)text, len))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < 0x20 || text[i] == 0x7F)
            return false;
        if (text[i] == 0xC2 && text[i + 1] < 0xA0) /* valid UTF-8: a second byte follows */
            return false;
    }
    return true;
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
    bool detail = text->num && text->num <= KL_TEXT_MAX && printable(text->bytes, text->num);

    if (error == 0)
        return garbage(e, kl_op_name(m->op), "a refusal without a reason");
    return err_set_code(e, refusal_id(error), (long)error, "%s refused: %s (%s, %u)%s%.*s",
            kl_op_name(m->op), kl_error_text(error), kl_error_name(error), error,
            detail ? ": " : "", detail ? (int)text->num : 0,
            detail ? (const char *)text->bytes : "");
}

/* The next good frame before the deadline. ERR_DEVICE_SILENT when none comes. */
static int read_frame(struct link *l, int64_t deadline_ms, struct err *e)
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
        /* Checked here too: a device that never stops talking must not keep us past the deadline.
         */
        if (time_monotonic_ms() >= deadline_ms)
            return err_set(e, ERR_DEVICE_SILENT, "no answer");
        if (l->io->read(l->io, l->input, sizeof l->input, &l->input_len, deadline_ms, e) < 0)
            return -1;
        /* Before HELLO any byte counts: a console's text holds no 0x00 and would pass for silence.
         */
        l->heard |= !l->greeted;
    }
}

/* Time both frames take on the line. An answer may be as large as agreed. */
static int64_t line_ms(const struct link *l)
{
    return kl_line_ms(l->wire_len + KL_WIRE_BYTES(l->frame_max), l->baud);
}

/* Sends the request once and waits for its answer. ERR_DEVICE_SILENT: try again. */
static int try_once(
        struct link *l, uint8_t op, uint32_t turnaround_ms, int64_t limit_ms, struct err *e)
{
    int64_t start = time_monotonic_ms(), waited_ms = 0;
    int64_t deadline = start + line_ms(l) + turnaround_ms;

    deadline = deadline < limit_ms ? deadline : limit_ms;
    if (l->io->write(l->io, l->wire, l->wire_len, deadline, e) < 0)
        return -1;
    while (read_frame(l, deadline, e) == 0) {
        enum kl_msg_fault fault = kl_msg_decode(&l->answer, l->rx.bytes, l->rx.len);
        if (fault == KL_MSG_HEADLESS || l->answer.seq != l->seq || l->answer.op != op ||
                l->answer.kind == KL_REQUEST)
            continue; /* a late answer to an earlier try, or an echo */
        if (fault == KL_MSG_MALFORMED || l->answer.kind > KL_REFUSAL)
            return garbage(e, kl_op_name(op), "an answer that is no message of the link");
        if (l->answer.kind != KL_WAIT)
            return l->answer.kind == KL_REFUSAL ? refused(l, e) : 0;
        uint32_t ms = kl_msg_num(&l->answer, KL_FIELD_WAIT_MS, 0);
        waited_ms = time_monotonic_ms() - start;
        if (ms > KL_WAIT_MAX_MS || waited_ms + ms > KL_WAIT_MAX_MS)
            return garbage(e, kl_op_name(op), "it asks for more time than any work takes");
        deadline = time_monotonic_ms() + ms + line_ms(l) + turnaround_ms;
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
    return l->wire_len ? 0 : err_set(e, ERR_BUG, "%s does not fit into a frame", kl_op_name(m->op));
}

static uint32_t turnaround(uint8_t op, unsigned try)
{
    uint32_t base = kl_op_turnaround_ms(op);
    uint32_t most = base > KL_TURNAROUND_MAX_MS ? base : KL_TURNAROUND_MAX_MS;

    return base << try < most ? base <<
    try : most
        ;
}

static int transact_tries(struct link *l, struct kl_msg *m, unsigned tries, struct err *e)
{
    struct err cause = {0};

    if (begin_request(l, m, e) < 0)
        return -1;
    for (unsigned try = 0; try < tries; try++) {
        err_clear(&cause);
        if (try_once(l, m->op, turnaround(m->op, try), INT64_MAX, &cause) == 0)
            return 0;
        if (cause.id != ERR_DEVICE_SILENT)
            break;
    }
    if (cause.id == ERR_DEVICE_SILENT && l->heard)
        return garbage(
                e, kl_op_name(m->op), "bytes arrive, but no answer: noise or a wrong baud rate");
    return err_set_code(e, cause.id, cause.code, "%s%s%s",
            cause.id == ERR_DEVICE_SILENT ? kl_op_name(m->op) : "",
            cause.id == ERR_DEVICE_SILENT ? ": " : "", cause.msg);
}

/* m's sequence number is set here. On return l->answer is the device's. */
static int transact(struct link *l, struct kl_msg *m, struct err *e)
{
    return transact_tries(l, m, KL_TRIES, e);
}

/* The same for a piece of an object: a large one is given up sooner. */
static int transact_piece(struct link *l, struct kl_msg *m, struct err *e)
{
    return transact_tries(l, m, l->chunk > CHUNK_NOISY ? TRIES_LARGE : KL_TRIES, e);
}

/* An answer's number, at most `most`. */
static int answer_num(
        const struct link *l, enum kl_field f, uint32_t most, uint32_t *ret, struct err *e)
{
    uint32_t value = kl_msg_num(&l->answer, f, UINT32_MAX);

    if (!kl_msg_has(&l->answer, f) || value > most)
        return garbage(e, kl_op_name(l->answer.op), "a number is missing or out of its range");
    *ret = value;
    return 0;
}

/* An answer's text as a C string of at most cap - 1 bytes; "" when absent. */
static int answer_text(const struct link *l, enum kl_field f, char *out, size_t cap, struct err *e)
{
    const struct kl_value *v = &l->answer.field[f];

    out[0] = 0;
    if (v->num == 0)
        return 0;
    if (v->num > KL_TEXT_MAX || v->num >= cap || !printable(v->bytes, v->num))
        return garbage(
                e, kl_op_name(l->answer.op), "a text is too long or holds unprintable bytes");
    memcpy(out, v->bytes, v->num);
    out[v->num] = 0;
    return 0;
}

/* --- hello --- */

static void read_capabilities(struct link *l)
{
    const struct kl_value *types = &l->answer.field[KL_FIELD_KEY_TYPES],
                          *sizes = &l->answer.field[KL_FIELD_OBJECTS];
    struct kl_cbor_in in = {types->bytes, types->bytes + types->num};
    uint32_t count = 0, object = 0, size = 0;

    /* The codec has checked both items; what we do not know is skipped. */
    for (kl_cbor_get(&in, KL_CBOR_ARRAY, &count);
            count-- && kl_cbor_get(&in, KL_CBOR_UINT, &object);)
        if (object && object < KL_KEY_END)
            l->key_types |= 1u << object;
    in = (struct kl_cbor_in){sizes->bytes, sizes->bytes + sizes->num};
    count = 0;
    for (kl_cbor_get(&in, KL_CBOR_MAP, &count); count-- && kl_cbor_get(&in, KL_CBOR_UINT, &object);)
        if (kl_cbor_get(&in, KL_CBOR_UINT, &size) && object < KL_OBJECT_REQUEST)
            l->object_max[object] = size;
}

static int hello_read(struct link *l, struct err *e)
{
    char model[KL_TEXT_MAX + 1], firmware[KL_TEXT_MAX + 1];
    uint32_t version, frame_max;

    if (!kl_msg_has(&l->answer, KL_FIELD_KEY_TYPES) || !kl_msg_has(&l->answer, KL_FIELD_OBJECTS))
        return garbage(e, "HELLO", "capabilities are missing");
    if (answer_num(l, KL_FIELD_VERSION, KL_VERSION, &version, e) < 0 ||
            answer_num(l, KL_FIELD_FRAME_MAX, KL_FRAME_LARGEST, &frame_max, e) < 0 ||
            answer_num(l, KL_FIELD_STATE, UINT32_MAX - 1, &l->state, e) < 0 ||
            answer_text(l, KL_FIELD_MODEL, model, sizeof model, e) < 0 ||
            answer_text(l, KL_FIELD_FIRMWARE, firmware, sizeof firmware, e) < 0)
        return -1;
    if (version != KL_VERSION || frame_max < KL_FRAME_DEFAULT)
        return garbage(e, "HELLO", "it chose what was not offered");
    l->greeted = true;
    l->frame_max = frame_max;
    l->chunk = frame_max - KL_DATA_OVERHEAD;
    l->baud = kl_msg_num(&l->answer, KL_FIELD_BAUD, 0);
    read_capabilities(l);
    /* The record has room for one name; a cut at the end of a long firmware text must not split a
     * character. */
    char both[2 * KL_TEXT_MAX + 2];
    int len = snprintf(
            both, sizeof both, "%s%s%s", model, model[0] && firmware[0] ? " " : "", firmware);
    size_t keep = (size_t)len < sizeof l->model ? (size_t)len : sizeof l->model - 1;
    while (keep && !utf8_valid(both, keep))
        keep--;
    memcpy(l->model, both, keep);
    l->model[keep] = 0;
    return 0;
}

static int hello(struct link *l, unsigned timeout_ms, struct err *e)
{
    static const uint8_t resync[4] = {0};
    int64_t limit = time_monotonic_ms() + timeout_ms;
    struct err cause = {0};
    struct kl_msg m;

    kl_msg_init(&m, 0, KL_OP_HELLO, KL_REQUEST);
    kl_msg_put_num(&m, KL_FIELD_VERSION_MIN, KL_VERSION);
    kl_msg_put_num(&m, KL_FIELD_VERSION_MAX, KL_VERSION);
    kl_msg_put_num(&m, KL_FIELD_FRAME_MAX, KL_FRAME_LARGEST);
    if (begin_request(l, &m, e) < 0)
        return -1;
    for (unsigned try = 0;; try++) {
        err_clear(&cause);
        /* Whatever half frame the device or the line holds ends here. */
        if (l->io->write(l->io, resync, sizeof resync, limit, &cause) == 0 &&
                try_once(l, KL_OP_HELLO, turnaround(KL_OP_HELLO, try < 3 ? try : 3), limit,
                        &cause) == 0)
            return hello_read(l, e);
        if (cause.id != ERR_DEVICE_SILENT || time_monotonic_ms() >= limit)
            break;
    }
    if (cause.id == ERR_DEVICE_SILENT && l->heard)
        return garbage(e, "HELLO",
                "bytes arrive, but no answer: is the baud rate right, is it such a device?");
    return err_set_code(e, cause.id, cause.code, "HELLO: %s", cause.msg);
}

static void keyline_close(struct driver_session *s)
{
    free(s->state);
    s->state = NULL;
}

static int keyline_open(struct driver_session *s, unsigned timeout_ms, struct err *e)
{
    struct link *l = calloc(1, sizeof *l);

    s->state = NULL;
    if (!l)
        return err_set(e, ERR_NOMEM, "keyline link");
    l->io = s->io;
    l->frame_max = KL_FRAME_DEFAULT;
    l->baud = KL_BAUD_UNKNOWN;
    kl_frame_rx_init(&l->rx, l->rx_bytes, sizeof l->rx_bytes);
    s->state = l;
    /* Random, so that an answer to a host that was restarted is hardly ever taken for one to us. */
    if (RAND_bytes((uint8_t *)&l->seq, sizeof l->seq) == 1 && hello(l, timeout_ms, e) == 0)
        return 0;
    err_set(e, ERR_BUG, "no random numbers");
    keyline_close(s);
    return -1;
}

static int keyline_identify(struct driver_session *s, struct driver_identity *ret, struct err *e)
{
    struct link *l = s->state;
    struct driver_identity id = {0};
    struct kl_msg m;

    kl_msg_init(&m, 0, KL_OP_IDENTIFY, KL_REQUEST);
    if (transact(l, &m, e) < 0 || answer_text(l, KL_FIELD_HWID, id.hwid, sizeof id.hwid, e) < 0 ||
            answer_text(l, KL_FIELD_NAME, id.name, sizeof id.name, e) < 0)
        return -1;
    if (!id.hwid[0])
        return garbage(e, "IDENTIFY", "it does not say who it is");
    memcpy(id.model, l->model, sizeof id.model);
    id.sealed = l->state == KL_STATE_SEALED;
    *ret = id;
    return 0;
}

/* --- key and request --- */

static uint32_t key_type_number(const char *name)
{
#define KL_KEY_TYPE(id, number, text)                                                              \
    if (strcmp(name, text) == 0)                                                                   \
        return number;
    KL_KEY_TYPE_LIST(KL_KEY_TYPE)
#undef KL_KEY_TYPE
    return 0;
}

static int keyline_keygen(struct driver_session *s, const char *key_type, struct err *e)
{
    struct link *l = s->state;
    uint32_t type = key_type_number(key_type);
    struct kl_msg m;

    if (type == 0)
        return err_set(e, ERR_DEVICE_UNSUPPORTED, "the link has no key type '%s'", key_type);
    if (!(l->key_types >> type & 1u))
        return err_set(e, ERR_DEVICE_UNSUPPORTED, "the device makes no %s keys", key_type);
    kl_msg_init(&m, 0, KL_OP_GENERATE_KEY, KL_REQUEST);
    kl_msg_put_num(&m, KL_FIELD_KEY_TYPE, type);
    return transact(l, &m, e);
}

static int digest(const void *bytes, size_t len, uint8_t ret[KL_SHA256_BYTES], struct err *e)
{
    return EVP_Digest(bytes, len, ret, NULL, EVP_sha256(), NULL) == 1
                   ? 0
                   : err_set(e, ERR_BUG, "SHA-256 failed");
}

/* A frame got lost too often: smaller ones get through a noisy line. A line that is only silent is
 * given one step, since a dead device looks the same. False when it was something else, or no
 * smaller piece is left. */
static bool chunk_shrink(struct link *l, struct err *cause)
{
    bool noisy = cause->id == ERR_DEVICE_GARBAGE;
    uint32_t least = noisy ? CHUNK_LEAST : CHUNK_NOISY;

    if ((!noisy && cause->id != ERR_DEVICE_SILENT) || l->chunk <= least)
        return false;
    l->chunk = l->chunk > CHUNK_NOISY ? CHUNK_NOISY : CHUNK_LEAST;
    err_clear(cause);
    return true;
}

static int read_piece(struct link *l, uint32_t object, uint32_t max, struct buf *out,
        uint32_t *ret_total, struct err *e)
{
    const struct kl_value *data = &l->answer.field[KL_FIELD_DATA];
    uint32_t offset, before = *ret_total, at = (uint32_t)out->len;
    struct kl_msg m;

    kl_msg_init(&m, 0, KL_OP_READ, KL_REQUEST);
    kl_msg_put_num(&m, KL_FIELD_OBJECT, object);
    kl_msg_put_num(&m, KL_FIELD_OFFSET, at);
    kl_msg_put_num(&m, KL_FIELD_LENGTH, l->chunk);
    if (transact_piece(l, &m, e) < 0 || answer_num(l, KL_FIELD_LENGTH, max, ret_total, e) < 0 ||
            answer_num(l, KL_FIELD_OFFSET, max, &offset, e) < 0)
        return -1;
    if (offset != at || *ret_total == 0 || (at && *ret_total != before) || data->num == 0 ||
            data->num > l->chunk || data->num > *ret_total - at)
        return garbage(e, "READ", "offset, length and bytes do not fit together");
    return buf_append(out, data->bytes, data->num, e);
}

static int read_object(
        struct link *l, uint32_t object, uint32_t max, struct buf *ret, struct err *e)
{
    uint32_t total = 0;
    struct buf out = BUF_INIT;
    struct err cause = {0};

    do {
        if (read_piece(l, object, max, &out, &total, &cause) < 0 && !chunk_shrink(l, &cause)) {
            buf_done(&out);
            return err_set_code(e, cause.id, cause.code, "%s", cause.msg);
        }
    } while (out.len == 0 || out.len < total);
    int r = buf_append(ret, out.data, out.len, e);
    buf_done(&out);
    return r;
}

static int keyline_csr(struct driver_session *s, const char *cn, const uint8_t nonce[NONCE_BYTES],
        struct buf *ret, struct err *e)
{
    struct link *l = s->state;
    uint8_t told[KL_SHA256_BYTES], found[KL_SHA256_BYTES];
    struct buf csr = BUF_INIT;
    uint32_t len;
    struct kl_msg m;
    int r = -1;

    if (strlen(cn) > KL_TEXT_MAX)
        return err_set(e, ERR_LIMIT, "the common name is longer than %u bytes", KL_TEXT_MAX);
    kl_msg_init(&m, 0, KL_OP_CSR, KL_REQUEST);
    kl_msg_put_bytes(&m, KL_FIELD_NONCE, nonce, NONCE_BYTES);
    if (cn[0])
        kl_msg_put_text(&m, KL_FIELD_NAME, cn);
    if (transact(l, &m, e) < 0 || answer_num(l, KL_FIELD_LENGTH, CSR_BYTES_MAX, &len, e) < 0)
        return -1;
    if (!kl_msg_has(&l->answer, KL_FIELD_SHA256) ||
            l->answer.field[KL_FIELD_SHA256].num != sizeof told)
        return garbage(e, "CSR", "the request's digest is missing");
    memcpy(told, l->answer.field[KL_FIELD_SHA256].bytes, sizeof told);
    if (read_object(l, KL_OBJECT_REQUEST, CSR_BYTES_MAX, &csr, e) < 0 ||
            digest(csr.data, csr.len, found, e) < 0)
        goto out;
    if (csr.len != len || memcmp(told, found, sizeof told) != 0) {
        garbage(e, "CSR", "the request read is not the one announced");
        goto out;
    }
    r = buf_append(ret, csr.data, csr.len, e);
out:
    buf_done(&csr);
    return r;
}

/* --- objects --- */

static const struct {
    uint32_t number, max;
    const char *name;
} objects[] = {
        [DRIVER_CERT] = {KL_OBJECT_CERTIFICATE, CERT_BYTES_MAX, "certificate"},
        [DRIVER_CHAIN] = {KL_OBJECT_CHAIN, CHAIN_BYTES_MAX, "chain"},
        [DRIVER_CONFIG] = {KL_OBJECT_CONFIGURATION, CONFIG_BYTES_MAX, "configuration"},
};

/* *ret_done: the device holds exactly this already. */
static int begin(struct link *l, uint32_t object, const uint8_t *bytes, size_t len,
        uint32_t *ret_offset, bool *ret_done, struct err *e)
{
    uint8_t sha256[KL_SHA256_BYTES];
    struct kl_msg m;

    if (digest(bytes, len, sha256, e) < 0)
        return -1;
    kl_msg_init(&m, 0, KL_OP_BEGIN, KL_REQUEST);
    kl_msg_put_num(&m, KL_FIELD_OBJECT, object);
    kl_msg_put_num(&m, KL_FIELD_LENGTH, (uint32_t)len);
    kl_msg_put_bytes(&m, KL_FIELD_SHA256, sha256, sizeof sha256);
    if (transact(l, &m, e) < 0 || answer_num(l, KL_FIELD_OFFSET, (uint32_t)len, ret_offset, e) < 0)
        return -1;
    *ret_done = kl_msg_num(&l->answer, KL_FIELD_DONE, 0) != 0;
    return 0;
}

static int write_piece(struct link *l, uint32_t object, const uint8_t *bytes, size_t len,
        uint32_t *offset, struct err *e)
{
    uint32_t left = (uint32_t)len - *offset, n = left < l->chunk ? left : l->chunk, next;
    struct kl_msg m;

    kl_msg_init(&m, 0, KL_OP_WRITE, KL_REQUEST);
    kl_msg_put_num(&m, KL_FIELD_OBJECT, object);
    kl_msg_put_num(&m, KL_FIELD_OFFSET, *offset);
    kl_msg_put_bytes(&m, KL_FIELD_DATA, bytes + *offset, n);
    if (transact_piece(l, &m, e) < 0 || answer_num(l, KL_FIELD_OFFSET, (uint32_t)len, &next, e) < 0)
        return -1;
    if (next != *offset + n)
        return garbage(e, "WRITE", "it took another number of bytes than it was given");
    *offset = next;
    return 0;
}

/* From BEGIN through COMMIT. *ret_resumed: part of the bytes was in the device before. */
static int transfer(struct link *l, uint32_t object, const uint8_t *bytes, size_t len,
        bool *ret_resumed, struct err *e)
{
    uint32_t offset;
    struct err cause = {0};
    bool done;
    struct kl_msg m;

    if (begin(l, object, bytes, len, &offset, &done, e) < 0)
        return -1;
    *ret_resumed = offset > 0;
    while (!done && offset < len) {
        if (write_piece(l, object, bytes, len, &offset, &cause) == 0)
            continue;
        if (!chunk_shrink(l, &cause))
            return err_set_code(e, cause.id, cause.code, "%s", cause.msg);
        /* Whether the lost WRITE was carried out only the device knows. */
        if (begin(l, object, bytes, len, &offset, &done, e) < 0)
            return -1;
    }
    if (done)
        return 0;
    kl_msg_init(&m, 0, KL_OP_COMMIT, KL_REQUEST);
    kl_msg_put_num(&m, KL_FIELD_OBJECT, object);
    return transact(l, &m, e);
}

static int keyline_install(struct driver_session *s, enum driver_object o, const uint8_t *bytes,
        size_t len, struct err *e)
{
    struct link *l = s->state;
    uint32_t object = objects[o].number;
    struct err cause = {0};
    bool resumed = false;

    if (len == 0 || len > objects[o].max)
        return err_set(e, ERR_LIMIT, "a %s of %zu bytes", objects[o].name, len);
    if (len > l->object_max[object])
        return err_set(e, ERR_DEVICE_UNSUPPORTED,
                "the device keeps a %s of at most %u bytes, this one has %zu", objects[o].name,
                l->object_max[object], len);
    if (transfer(l, object, bytes, len, &resumed, &cause) == 0)
        return 0;
    /* What a power cut left behind may be torn: the device has dropped it, so this time it starts
     * at 0. */
    if (cause.code == KL_ERROR_DIGEST && resumed) {
        err_clear(&cause);
        if (transfer(l, object, bytes, len, &resumed, &cause) == 0)
            return 0;
    }
    return err_set_code(e, cause.id, cause.code, "%s: %s", objects[o].name, cause.msg);
}

static int keyline_readback(
        struct driver_session *s, enum driver_object o, struct buf *ret, struct err *e)
{
    if (read_object(s->state, objects[o].number, objects[o].max, ret, e) < 0)
        return err_context(e, "%s", objects[o].name);
    return 0;
}

/* --- proof, seal, outcome --- */

static int keyline_challenge(struct driver_session *s, const uint8_t challenge[NONCE_BYTES],
        struct buf *ret_sig, struct err *e)
{
    struct link *l = s->state;
    const struct kl_value *sig = &l->answer.field[KL_FIELD_SIGNATURE];
    struct kl_msg m;

    kl_msg_init(&m, 0, KL_OP_CHALLENGE, KL_REQUEST);
    kl_msg_put_bytes(&m, KL_FIELD_NONCE, challenge, NONCE_BYTES);
    if (transact(l, &m, e) < 0)
        return -1;
    if (sig->num == 0 || sig->num > KL_SIGNATURE_MAX)
        return garbage(e, "CHALLENGE", "the signature is missing or too long");
    return buf_append(ret_sig, sig->bytes, sig->num, e);
}

static int keyline_seal(struct driver_session *s, struct err *e)
{
    struct kl_msg m;

    kl_msg_init(&m, 0, KL_OP_SEAL, KL_REQUEST);
    return transact(s->state, &m, e);
}

static int keyline_verdict(struct driver_session *s, bool pass, const char *text, struct err *e)
{
    size_t len = strlen(text);
    struct kl_msg m;

    for (len = len < KL_TEXT_MAX ? len : KL_TEXT_MAX; len && !utf8_valid(text, len);)
        len--; /* cut between characters */
    kl_msg_init(&m, 0, KL_OP_VERDICT, KL_REQUEST);
    kl_msg_put_num(&m, KL_FIELD_PASS, pass);
    kl_msg_put_bytes(&m, KL_FIELD_TEXT, text, len);
    return transact(s->state, &m, e);
}

static int keyline_ping(struct driver_session *s, struct err *e)
{
    struct kl_msg m;

    kl_msg_init(&m, 0, KL_OP_PING, KL_REQUEST);
    return transact(s->state, &m, e);
}

extern const struct driver driver_keyline;
const struct driver driver_keyline = {
        .name = "keyline",
        .title = "Keyline reference link, serial",
        .reference = "docs/link-protocol.md",
        .open = keyline_open,
        .identify = keyline_identify,
        .keygen = keyline_keygen,
        .csr = keyline_csr,
        .install = keyline_install,
        .readback = keyline_readback,
        .challenge = keyline_challenge,
        .seal = keyline_seal,
        .verdict = keyline_verdict,
        .ping = keyline_ping,
        .close = keyline_close,
};
