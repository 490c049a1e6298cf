/* What each operation checks and does. Fields are checked here for presence and size (the codec has
 * checked their types); the order of steps is enforced here and nowhere else. */
#include "operations.h"

#include <string.h>

#include "csr.h"
#include "keyline/cbor.h"
#include "object.h"

static void wipe(void *bytes, size_t len)
{
    volatile uint8_t *p = bytes;

    while (len--)
        *p++ = 0;
}

/* One byte of KL_OBJECT_KEY's content: KL_ERROR_ORDER when there is no key. */
static enum kl_error key_type(struct kl_device *d, enum kl_key_type *ret)
{
    const struct kl_storage *s = d->config->storage;
    struct object_head head;
    uint8_t type;

    enum kl_error error = object_find(s, KL_OBJECT_KEY, &head);
    if (error)
        return error == KL_ERROR_ABSENT ? KL_ERROR_ORDER : error;
    if (head.len < 2)
        return KL_ERROR_STORAGE;
    error = object_read(s, KL_OBJECT_KEY, 0, &type, 1);
    *ret = (enum kl_key_type)type;
    return error;
}

/* Into d->key; whoever loads it wipes it. */
static enum kl_error key_load(struct kl_device *d, struct csr_key *ret)
{
    struct object_head head;

    enum kl_error error = key_type(d, &ret->type);
    if (!error)
        error = object_find(d->config->storage, KL_OBJECT_KEY, &head);
    if (!error && head.len > sizeof d->key)
        error = KL_ERROR_STORAGE;
    if (!error)
        error = object_read(d->config->storage, KL_OBJECT_KEY, 0, d->key, head.len);
    if (error)
        return error;
    ret->bytes = d->key + 1;
    ret->len = head.len - 1;
    return KL_OK;
}

static enum kl_error read_state(struct kl_device *d, enum kl_state *ret)
{
    const struct kl_storage *s = d->config->storage;
    static const struct {
        uint8_t object;
        enum kl_state state;
    } signs[] = {{KL_OBJECT_SEAL, KL_STATE_SEALED}, {KL_OBJECT_CERTIFICATE, KL_STATE_INSTALLED},
            {KL_OBJECT_KEY, KL_STATE_KEYED}};
    uint32_t size;

    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        enum kl_error error = s->size(s->ctx, signs[i].object, &size);
        if (error)
            return error;
        if (size) {
            *ret = signs[i].state;
            return KL_OK;
        }
    }
    *ret = KL_STATE_BLANK;
    return KL_OK;
}

enum kl_state kl_device_state(struct kl_device *d)
{
    enum kl_state state;

    return read_state(d, &state) ? KL_STATE_BLANK : state;
}

static enum kl_error not_sealed(struct kl_device *d)
{
    enum kl_state state;
    enum kl_error error = read_state(d, &state);

    return error ? error : state == KL_STATE_SEALED ? KL_ERROR_SEALED : KL_OK;
}

static enum kl_error put_state(struct kl_device *d, struct kl_msg *answer)
{
    enum kl_state state;
    enum kl_error error = read_state(d, &state);

    if (!error)
        kl_msg_put_num(answer, KL_FIELD_STATE, state);
    return error;
}

static bool bytes_are(const struct kl_msg *m, enum kl_field f, uint32_t len)
{
    return kl_msg_has(m, f) && m->field[f].num == len;
}

static void put_key_types(
        struct kl_cbor_out *o, struct kl_msg *answer, enum kl_field field, uint32_t types)
{
    const uint8_t *start = o->at;
    uint32_t count = 0;

    for (unsigned t = 1; t < KL_KEY_END; t++)
        count += types >> t & 1u;
    kl_cbor_put_head(o, KL_CBOR_ARRAY, count);
    for (unsigned t = 1; t < KL_KEY_END; t++)
        if (types >> t & 1u)
            kl_cbor_put_head(o, KL_CBOR_UINT, t);
    kl_msg_put_bytes(answer, field, start, (size_t)(o->at - start));
}

static void put_capabilities(struct kl_device *d, struct kl_msg *answer)
{
    const struct kl_device_config *c = d->config;
    struct kl_cbor_out o = {d->scratch, d->scratch + KL_FRAME_DEFAULT / 2, false};
    uint32_t count = 0;

    put_key_types(&o, answer, KL_FIELD_KEY_TYPES, c->crypto->key_types);
    if (c->crypto->import_types)
        put_key_types(&o, answer, KL_FIELD_KEYS_TAKEN, c->crypto->import_types);
    const uint8_t *sizes = o.at;
    for (unsigned i = 1; i < KL_OBJECT_REQUEST; i++)
        count += c->object_max[i] != 0;
    kl_cbor_put_head(&o, KL_CBOR_MAP, count);
    for (unsigned i = 1; i < KL_OBJECT_REQUEST; i++) {
        if (!c->object_max[i])
            continue;
        kl_cbor_put_head(&o, KL_CBOR_UINT, i);
        kl_cbor_put_head(&o, KL_CBOR_UINT, c->object_max[i]);
    }
    kl_msg_put_bytes(answer, KL_FIELD_OBJECTS, sizes, (size_t)(o.at - sizes));
}

static enum kl_error op_hello(
        struct kl_device *d, const struct kl_msg *request, struct kl_msg *answer)
{
    const struct kl_device_config *c = d->config;
    uint32_t frame = kl_msg_num(request, KL_FIELD_FRAME_MAX, 0);
    uint32_t low = kl_msg_num(request, KL_FIELD_VERSION_MIN, 0),
             high = kl_msg_num(request, KL_FIELD_VERSION_MAX, 0);

    if (frame < KL_FRAME_DEFAULT || low == 0 || high < low)
        return KL_ERROR_MALFORMED;
    if (low > KL_VERSION || high < KL_VERSION)
        return KL_ERROR_VERSION;
    d->frame_max = frame < KL_FRAME_MAX ? frame : KL_FRAME_MAX;
    d->greeted = true;
    kl_msg_put_num(answer, KL_FIELD_VERSION, KL_VERSION);
    kl_msg_put_num(answer, KL_FIELD_FRAME_MAX, d->frame_max);
    put_capabilities(d, answer);
    kl_msg_put_text(answer, KL_FIELD_MODEL, c->model);
    kl_msg_put_text(answer, KL_FIELD_FIRMWARE, c->firmware);
    if (c->baud)
        kl_msg_put_num(answer, KL_FIELD_BAUD, c->baud);
    return put_state(d, answer);
}

static enum kl_error op_identify(struct kl_device *d, struct kl_msg *answer)
{
    kl_msg_put_text(answer, KL_FIELD_HWID, d->config->hwid);
    if (d->config->name)
        kl_msg_put_text(answer, KL_FIELD_NAME, d->config->name);
    if (d->config->transport_key)
        kl_msg_put_bytes(answer, KL_FIELD_TRANSPORT_KEY, d->config->transport_key,
                d->config->transport_key_len);
    return KL_OK;
}

/* May a key of this type be put into the device? KL_OK with *ret_held: it holds one of this type, and
 * shall keep it. */
static enum kl_error key_wanted(struct kl_device *d, const struct kl_msg *request, uint32_t types,
        enum kl_key_type *ret_type, bool *ret_held)
{
    uint32_t type = kl_msg_num(request, KL_FIELD_KEY_TYPE, 0);
    bool replace = kl_msg_num(request, KL_FIELD_REPLACE, 0) != 0;
    enum kl_key_type held;

    *ret_held = false;
    if (!kl_msg_has(request, KL_FIELD_KEY_TYPE))
        return KL_ERROR_MALFORMED;
    if (type == 0 || type >= KL_KEY_END || !(types >> type & 1u))
        return KL_ERROR_KEY_TYPE;
    *ret_type = (enum kl_key_type)type;
    enum kl_error error = key_type(d, &held);
    if (error && error != KL_ERROR_ORDER)
        return error;
    if (!error && !replace) {
        *ret_held = (uint32_t)held == type;
        return *ret_held ? KL_OK : KL_ERROR_KEY_EXISTS;
    }
    return not_sealed(d);
}

/* Keeps the key that was put into d->key behind its type, unless that ended in an error. */
static enum kl_error key_keep(
        struct kl_device *d, enum kl_key_type type, size_t len, enum kl_error error)
{
    const struct kl_storage *s = d->config->storage;

    if (!error && (len == 0 || len > sizeof d->key - 1))
        error = KL_ERROR_CRYPTO;
    d->key[0] = (uint8_t)type;
    /* The old key's certificate goes first: a power cut in between leaves a key without one, never
     * with another's. */
    if (!error)
        error = s->erase(s->ctx, KL_OBJECT_CERTIFICATE);
    if (!error)
        error = object_put(s, d->config->crypto, KL_OBJECT_KEY, d->key, (uint32_t)len + 1);
    wipe(d->key, sizeof d->key);
    d->csr_len = 0;
    return error;
}

static enum kl_error op_generate_key(
        struct kl_device *d, const struct kl_msg *request, struct kl_msg *answer)
{
    const struct kl_crypto *c = d->config->crypto;
    enum kl_key_type type;
    size_t len = 0;
    bool held;

    enum kl_error error = key_wanted(d, request, c->key_types, &type, &held);
    if (error)
        return error;
    kl_msg_put_num(answer, KL_FIELD_DONE, held);
    if (held)
        return KL_OK;
    uint32_t ms = c->generate_ms ? c->generate_ms(c->ctx, type) : 0;
    if (ms)
        kl_device_wait(d, ms);
    error = c->generate(c->ctx, type, d->key + 1, sizeof d->key - 1, &len);
    return key_keep(d, type, len, error);
}

/* Unlike a key the device made, one it holds is not the one that is brought: it is not kept in its
 * stead. */
static enum kl_error op_install_key(struct kl_device *d, const struct kl_msg *request)
{
    const struct kl_crypto *c = d->config->crypto;
    const struct kl_value *data = &request->field[KL_FIELD_DATA];
    enum kl_key_type type;
    size_t len = 0;
    bool held;

    enum kl_error error = key_wanted(d, request, c->import_types, &type, &held);
    if (!error && held)
        error = KL_ERROR_KEY_EXISTS;
    if (!error && data->num == 0)
        error = KL_ERROR_MALFORMED;
    if (!error) {
        error = c->import(
                c->ctx, type, data->bytes, data->num, d->key + 1, sizeof d->key - 1, &len);
        error = key_keep(d, type, len, error);
    }
    return error;
}

static enum kl_error op_csr(
        struct kl_device *d, const struct kl_msg *request, struct kl_msg *answer)
{
    const struct kl_value *cn = &request->field[KL_FIELD_NAME];
    struct csr_key key;

    if (!bytes_are(request, KL_FIELD_NONCE, KL_NONCE_BYTES) || cn->num > KL_TEXT_MAX)
        return KL_ERROR_MALFORMED;
    enum kl_error error = not_sealed(d);
    if (error)
        return error;
    d->csr_len = 0;
    size_t len = 0;
    error = key_load(d, &key);
    if (!error)
        error = csr_make(d->config->crypto, &key, cn->bytes, cn->num,
                request->field[KL_FIELD_NONCE].bytes, d->csr, sizeof d->csr, &len);
    wipe(d->key, sizeof d->key);
    if (!error)
        error = sha256(d->config->crypto, d->csr, len, d->csr_sha256);
    if (error)
        return error;
    d->csr_len = len;
    kl_msg_put_num(answer, KL_FIELD_LENGTH, (uint32_t)len);
    kl_msg_put_bytes(answer, KL_FIELD_SHA256, d->csr_sha256, KL_SHA256_BYTES);
    return KL_OK;
}

/* An object that can be written: certificate, chain, configuration, as far as this device keeps
 * them. */
static enum kl_error writable(struct kl_device *d, const struct kl_msg *request, uint8_t *ret)
{
    uint32_t object = kl_msg_num(request, KL_FIELD_OBJECT, 0);

    if (!kl_msg_has(request, KL_FIELD_OBJECT))
        return KL_ERROR_MALFORMED;
    if (object == 0 || object >= KL_OBJECT_REQUEST || d->config->object_max[object] == 0)
        return KL_ERROR_OBJECT;
    *ret = (uint8_t)object;
    return KL_OK;
}

static enum kl_error op_begin(
        struct kl_device *d, const struct kl_msg *request, struct kl_msg *answer)
{
    const struct kl_storage *s = d->config->storage;
    struct object_head want = {.len = kl_msg_num(request, KL_FIELD_LENGTH, 0)}, have;
    enum kl_key_type type;
    uint32_t offset = 0;
    uint8_t object;

    enum kl_error error = writable(d, request, &object);
    if (error)
        return error;
    if (want.len == 0 || !bytes_are(request, KL_FIELD_SHA256, KL_SHA256_BYTES))
        return KL_ERROR_MALFORMED;
    if (want.len > d->config->object_max[object])
        return KL_ERROR_TOO_LARGE;
    memcpy(want.sha256, request->field[KL_FIELD_SHA256].bytes, KL_SHA256_BYTES);
    error = key_type(d, &type);
    if (error)
        return error;
    /* Asked before the seal: a sealed device says that it holds exactly this, so that a run can be
     * finished. */
    error = object_find(s, object, &have);
    if (!error && have.len == want.len && memcmp(have.sha256, want.sha256, KL_SHA256_BYTES) == 0) {
        kl_msg_put_num(answer, KL_FIELD_OFFSET, want.len);
        kl_msg_put_num(answer, KL_FIELD_DONE, 1);
        return KL_OK;
    }
    error = not_sealed(d);
    if (!error)
        error = object_begin(s, object, &want, &offset);
    kl_msg_put_num(answer, KL_FIELD_OFFSET, offset);
    kl_msg_put_num(answer, KL_FIELD_DONE, 0);
    return error;
}

static enum kl_error op_write(
        struct kl_device *d, const struct kl_msg *request, struct kl_msg *answer)
{
    const struct kl_storage *s = d->config->storage;
    const struct kl_value *data = &request->field[KL_FIELD_DATA];
    struct object_head head;
    uint32_t staged;
    uint8_t object;

    enum kl_error error = writable(d, request, &object);
    if (!error && (data->num == 0 || !kl_msg_has(request, KL_FIELD_OFFSET)))
        error = KL_ERROR_MALFORMED;
    if (!error)
        error = not_sealed(d);
    if (!error)
        error = object_staged(s, object, &head, &staged);
    if (error)
        return error;
    if (request->field[KL_FIELD_OFFSET].num != staged || data->num > head.len - staged) {
        kl_msg_put_num(answer, KL_FIELD_OFFSET, staged);
        return KL_ERROR_OFFSET;
    }
    kl_msg_put_num(answer, KL_FIELD_OFFSET, staged + data->num);
    return s->append(s->ctx, object, data->bytes, data->num);
}

static enum kl_error op_commit(struct kl_device *d, const struct kl_msg *request)
{
    uint8_t object;

    enum kl_error error = writable(d, request, &object);
    if (!error)
        error = not_sealed(d);
    return error ? error : object_commit(d->config->storage, d->config->crypto, object);
}

static enum kl_error op_read(
        struct kl_device *d, const struct kl_msg *request, struct kl_msg *answer)
{
    uint32_t offset = kl_msg_num(request, KL_FIELD_OFFSET, 0),
             want = kl_msg_num(request, KL_FIELD_LENGTH, 0);
    struct object_head head = {.len = (uint32_t)d->csr_len};
    enum kl_error error = d->csr_len ? KL_OK : KL_ERROR_ABSENT;
    bool csr = kl_msg_num(request, KL_FIELD_OBJECT, 0) == KL_OBJECT_REQUEST;
    uint8_t object = KL_OBJECT_REQUEST;

    if (!kl_msg_has(request, KL_FIELD_OFFSET) || want == 0)
        return KL_ERROR_MALFORMED;
    if (!csr) {
        error = writable(d, request, &object);
        if (!error)
            error = object_find(d->config->storage, object, &head);
    }
    if (error)
        return error;
    if (offset > head.len)
        return KL_ERROR_OFFSET;
    uint32_t room = d->frame_max - KL_DATA_OVERHEAD, left = head.len - offset;
    want = want < room ? want : room;
    want = want < left ? want : left;
    if (csr)
        memcpy(d->scratch, d->csr + offset, want);
    else if (want)
        error = object_read(d->config->storage, object, offset, d->scratch, want);
    kl_msg_put_num(answer, KL_FIELD_LENGTH, head.len);
    kl_msg_put_num(answer, KL_FIELD_OFFSET, offset);
    kl_msg_put_bytes(answer, KL_FIELD_DATA, d->scratch, want);
    return error;
}

static enum kl_error op_challenge(
        struct kl_device *d, const struct kl_msg *request, struct kl_msg *answer)
{
    static const char context[] = KL_CHALLENGE_CONTEXT;
    const struct kl_crypto *c = d->config->crypto;
    uint8_t message[sizeof context + KL_CHALLENGE_BYTES];
    struct csr_key key;
    size_t len = 0;

    if (!bytes_are(request, KL_FIELD_NONCE, KL_CHALLENGE_BYTES))
        return KL_ERROR_MALFORMED;
    memcpy(message, context, sizeof context); /* its NUL included */
    memcpy(message + sizeof context, request->field[KL_FIELD_NONCE].bytes, KL_CHALLENGE_BYTES);
    enum kl_error error = key_load(d, &key);
    if (!error)
        error = c->sign(c->ctx, key.type, key.bytes, key.len, message, sizeof message, d->scratch,
                d->frame_max - KL_DATA_OVERHEAD, &len);
    wipe(d->key, sizeof d->key);
    kl_msg_put_bytes(answer, KL_FIELD_SIGNATURE, d->scratch, len);
    return error;
}

static enum kl_error op_seal(struct kl_device *d, struct kl_msg *answer)
{
    static const uint8_t sealed = 1;
    enum kl_state state;

    enum kl_error error = read_state(d, &state);
    if (error)
        return error;
    kl_msg_put_num(answer, KL_FIELD_DONE, state == KL_STATE_SEALED);
    if (state == KL_STATE_SEALED)
        return KL_OK;
    if (state != KL_STATE_INSTALLED)
        return KL_ERROR_ORDER;
    return object_put(d->config->storage, d->config->crypto, KL_OBJECT_SEAL, &sealed, 1);
}

static enum kl_error op_verdict(struct kl_device *d, const struct kl_msg *request)
{
    const struct kl_value *text = &request->field[KL_FIELD_TEXT];

    if (!kl_msg_has(request, KL_FIELD_PASS) || text->num > KL_TEXT_MAX)
        return KL_ERROR_MALFORMED;
    if (d->config->verdict)
        d->config->verdict(d->config->ctx, request->field[KL_FIELD_PASS].num != 0,
                text->num ? (const char *)text->bytes : "", text->num);
    return KL_OK;
}

enum kl_error operation_run(
        struct kl_device *d, const struct kl_msg *request, struct kl_msg *answer)
{
    if (request->op != KL_OP_HELLO && !d->greeted)
        return KL_ERROR_HELLO_FIRST;
    if (d->config->permit) {
        enum kl_error error = d->config->permit(d->config->ctx, (enum kl_op)request->op);
        if (error)
            return error;
    }
    switch (request->op) {
    case KL_OP_HELLO:
        return op_hello(d, request, answer);
    case KL_OP_IDENTIFY:
        return op_identify(d, answer);
    case KL_OP_GENERATE_KEY:
        return op_generate_key(d, request, answer);
    case KL_OP_INSTALL_KEY:
        return op_install_key(d, request);
    case KL_OP_CSR:
        return op_csr(d, request, answer);
    case KL_OP_BEGIN:
        return op_begin(d, request, answer);
    case KL_OP_WRITE:
        return op_write(d, request, answer);
    case KL_OP_COMMIT:
        return op_commit(d, request);
    case KL_OP_READ:
        return op_read(d, request, answer);
    case KL_OP_CHALLENGE:
        return op_challenge(d, request, answer);
    case KL_OP_SEAL:
        return op_seal(d, answer);
    case KL_OP_VERDICT:
        return op_verdict(d, request);
    case KL_OP_PING:
        return put_state(d, answer);
    default:
        return KL_ERROR_UNSUPPORTED;
    }
}
