/* Messages to and from bytes, driven by the field table of link.h: a field has one type, for both
 * ends and for ever. */
#include "keyline/message.h"

#include <string.h>

#include "keyline/cbor.h"

enum field_type {
    FIELD_NONE,
    FIELD_UINT,
    FIELD_BOOL,
    FIELD_BYTES,
    FIELD_TEXT,
    FIELD_UINTS,
    FIELD_SIZES
};

static const uint8_t field_types[KL_FIELD_END] = {
#define KL_FIELD(name, number, type, meaning) [number] = FIELD_##type,
        KL_FIELD_LIST(KL_FIELD)
#undef KL_FIELD
};

void kl_msg_init(struct kl_msg *m, uint16_t seq, uint8_t op, uint8_t kind)
{
    memset(m, 0, sizeof *m);
    m->seq = seq;
    m->op = op;
    m->kind = kind;
}

bool kl_msg_has(const struct kl_msg *m, enum kl_field f)
{
    return (m->has >> f & 1u) != 0;
}

void kl_msg_put_num(struct kl_msg *m, enum kl_field f, uint32_t value)
{
    m->has |= UINT32_C(1) << f;
    m->field[f].num = value;
}

void kl_msg_put_bytes(struct kl_msg *m, enum kl_field f, const void *bytes, size_t len)
{
    m->has |= UINT32_C(1) << f;
    m->field[f].bytes = bytes;
    m->field[f].num = (uint32_t)len;
}

void kl_msg_put_text(struct kl_msg *m, enum kl_field f, const char *text)
{
    kl_msg_put_bytes(m, f, text, strlen(text));
}

uint32_t kl_msg_num(const struct kl_msg *m, enum kl_field f, uint32_t otherwise)
{
    return kl_msg_has(m, f) ? m->field[f].num : otherwise;
}

static void put_field(struct kl_cbor_out *o, enum field_type type, const struct kl_value *v)
{
    switch (type) {
    case FIELD_UINT:
        kl_cbor_put_head(o, KL_CBOR_UINT, v->num);
        break;
    case FIELD_BOOL:
        kl_cbor_put_bool(o, v->num != 0);
        break;
    case FIELD_BYTES:
        kl_cbor_put_string(o, KL_CBOR_BYTES, v->bytes, v->num);
        break;
    case FIELD_TEXT:
        kl_cbor_put_string(o, KL_CBOR_TEXT, v->bytes, v->num);
        break;
    case FIELD_UINTS:
    case FIELD_SIZES:
        kl_cbor_put_raw(o, v->bytes, v->num);
        break;
    case FIELD_NONE:
        o->full = true;
        break;
    }
}

size_t kl_msg_encode(const struct kl_msg *m, uint8_t *out, size_t cap)
{
    if (cap < KL_HEAD_BYTES)
        return 0;
    struct kl_cbor_out o = {out + KL_HEAD_BYTES, out + cap, false};
    uint32_t count = 0;

    out[0] = (uint8_t)m->seq;
    out[1] = (uint8_t)(m->seq >> 8);
    out[2] = m->op;
    out[3] = m->kind;
    for (unsigned f = 0; f < KL_FIELD_END; f++)
        count += m->has >> f & 1u;
    kl_cbor_put_head(&o, KL_CBOR_MAP, count);
    for (unsigned f = 0; f < KL_FIELD_END; f++) {
        if (!kl_msg_has(m, (enum kl_field)f))
            continue;
        kl_cbor_put_head(&o, KL_CBOR_UINT, f);
        put_field(&o, (enum field_type)field_types[f], &m->field[f]);
    }
    return o.full ? 0 : (size_t)(o.at - out);
}

/* A list of numbers, or of pairs of them; the field keeps the encoded item, whoever wants it reads
 * it again. */
static bool get_numbers(struct kl_cbor_in *in, enum kl_major major, struct kl_value *v)
{
    const uint8_t *start = in->at;
    uint32_t count, number;

    if (!kl_cbor_get(in, major, &count))
        return false;
    for (uint64_t i = 0; i < (major == KL_CBOR_MAP ? 2 * (uint64_t)count : count); i++)
        if (!kl_cbor_get(in, KL_CBOR_UINT, &number))
            return false;
    v->bytes = start;
    v->num = (uint32_t)(in->at - start);
    return true;
}

static bool get_field(struct kl_cbor_in *in, enum field_type type, struct kl_value *v)
{
    bool flag = false, good;

    switch (type) {
    case FIELD_UINT:
        return kl_cbor_get(in, KL_CBOR_UINT, &v->num);
    case FIELD_BOOL:
        good = kl_cbor_get_bool(in, &flag);
        v->num = flag;
        return good;
    case FIELD_BYTES:
        return kl_cbor_get_string(in, KL_CBOR_BYTES, &v->bytes, &v->num);
    case FIELD_TEXT:
        return kl_cbor_get_string(in, KL_CBOR_TEXT, &v->bytes, &v->num);
    case FIELD_UINTS:
        return get_numbers(in, KL_CBOR_ARRAY, v);
    case FIELD_SIZES:
        return get_numbers(in, KL_CBOR_MAP, v);
    case FIELD_NONE:
        break;
    }
    return false;
}

static bool get_map(struct kl_msg *m, struct kl_cbor_in *in)
{
    uint32_t count, key, previous = 0;

    if (!kl_cbor_get(in, KL_CBOR_MAP, &count))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        if (!kl_cbor_get(in, KL_CBOR_UINT, &key) || (i && key <= previous))
            return false;
        previous = key;
        if (key >= KL_FIELD_END || field_types[key] == FIELD_NONE) {
            if (!kl_cbor_skip(in))
                return false;
            continue;
        }
        if (!get_field(in, (enum field_type)field_types[key], &m->field[key]))
            return false;
        m->has |= UINT32_C(1) << key;
    }
    return in->at == in->end;
}

enum kl_msg_fault kl_msg_decode(struct kl_msg *m, const uint8_t *payload, size_t len)
{
    if (len < KL_HEAD_BYTES)
        return KL_MSG_HEADLESS;
    kl_msg_init(m, (uint16_t)(payload[0] | payload[1] << 8), payload[2], payload[3]);
    struct kl_cbor_in in = {payload + KL_HEAD_BYTES, payload + len};
    if (get_map(m, &in))
        return KL_MSG_GOOD;
    m->has = 0;
    return KL_MSG_MALFORMED;
}

const char *kl_op_name(uint8_t op)
{
    switch (op) {
#define KL_OP(name, number, ms, meaning)                                                           \
    case number:                                                                                   \
        return #name;
        KL_OP_LIST(KL_OP)
#undef KL_OP
    default:
        return "unknown";
    }
}

uint32_t kl_op_turnaround_ms(uint8_t op)
{
    switch (op) {
#define KL_OP(name, number, ms, meaning)                                                           \
    case number:                                                                                   \
        return ms;
        KL_OP_LIST(KL_OP)
#undef KL_OP
    default:
        return KL_TURNAROUND_MAX_MS;
    }
}

const char *kl_error_name(uint32_t error)
{
    switch (error) {
#define KL_ERROR(name, number, meaning)                                                            \
    case number:                                                                                   \
        return #name;
        KL_ERROR_LIST(KL_ERROR)
#undef KL_ERROR
    default:
        return "unknown";
    }
}

const char *kl_error_text(uint32_t error)
{
    switch (error) {
#define KL_ERROR(name, number, meaning)                                                            \
    case number:                                                                                   \
        return meaning;
        KL_ERROR_LIST(KL_ERROR)
#undef KL_ERROR
    default:
        return "an error this version does not know";
    }
}
