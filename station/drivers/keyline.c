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
#include "station/driver.h"
#include "station/drivers/keyline_link.h"

/* What a line with one wrong bit in a thousand bytes still carries. */
#define CHUNK_NOISY 128u
#define CHUNK_LEAST 32u
/* A larger piece is tried so often, then all pieces of the session are small. */
#define TRIES_LARGE 2u

/* --- hello --- */

/* The codec has checked the item; what we do not know is skipped. */
static uint32_t read_key_types(const struct kl_value *types)
{
    struct kl_cbor_in in = {types->bytes, types->bytes + types->num};
    uint32_t count = 0, type = 0, mask = 0;

    if (!types->num)
        return 0;
    for (kl_cbor_get(&in, KL_CBOR_ARRAY, &count); count-- && kl_cbor_get(&in, KL_CBOR_UINT, &type);)
        if (type && type < KL_KEY_END)
            mask |= 1u << type;
    return mask;
}

static void read_capabilities(struct link *l)
{
    const struct kl_value *sizes = &l->answer.field[KL_FIELD_OBJECTS];
    struct kl_cbor_in in;
    uint32_t count = 0, object = 0, size = 0;

    l->key_types = read_key_types(&l->answer.field[KL_FIELD_KEY_TYPES]);
    l->keys_taken = read_key_types(&l->answer.field[KL_FIELD_KEYS_TAKEN]);
    in = (struct kl_cbor_in){sizes->bytes, sizes->bytes + sizes->num};
    for (kl_cbor_get(&in, KL_CBOR_MAP, &count); count-- && kl_cbor_get(&in, KL_CBOR_UINT, &object);)
        if (kl_cbor_get(&in, KL_CBOR_UINT, &size) && object < KL_OBJECT_REQUEST)
            l->object_max[object] = size;
}

static int hello_read(struct link *l, struct err *e)
{
    char model[KL_TEXT_MAX + 1], firmware[KL_TEXT_MAX + 1];
    uint32_t version, frame_max;

    if (!kl_msg_has(&l->answer, KL_FIELD_KEY_TYPES) || !kl_msg_has(&l->answer, KL_FIELD_OBJECTS))
        return link_garbage(e, KL_OP_HELLO, "capabilities are missing");
    if (link_num(l, KL_FIELD_VERSION, KL_VERSION, &version, e) < 0 ||
            link_num(l, KL_FIELD_FRAME_MAX, KL_FRAME_LARGEST, &frame_max, e) < 0 ||
            link_num(l, KL_FIELD_STATE, UINT32_MAX - 1, &l->state, e) < 0 ||
            link_text(l, KL_FIELD_MODEL, model, sizeof model, e) < 0 ||
            link_text(l, KL_FIELD_FIRMWARE, firmware, sizeof firmware, e) < 0)
        return -1;
    if (version != KL_VERSION || frame_max < KL_FRAME_DEFAULT)
        return link_garbage(e, KL_OP_HELLO, "it chose what was not offered");
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
    struct kl_msg m;

    kl_msg_init(&m, 0, KL_OP_HELLO, KL_REQUEST);
    kl_msg_put_num(&m, KL_FIELD_VERSION_MIN, KL_VERSION);
    kl_msg_put_num(&m, KL_FIELD_VERSION_MAX, KL_VERSION);
    kl_msg_put_num(&m, KL_FIELD_FRAME_MAX, KL_FRAME_LARGEST);
    return link_hello(l, &m, timeout_ms, e) < 0 ? -1 : hello_read(l, e);
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

static int read_transport_key(struct link *l, struct driver_identity *id, struct err *e)
{
    const struct kl_value *key = &l->answer.field[KL_FIELD_TRANSPORT_KEY];

    if (!kl_msg_has(&l->answer, KL_FIELD_TRANSPORT_KEY))
        return 0;
    if (key->num == 0 || key->num > sizeof id->transport_key)
        return link_garbage(e, KL_OP_IDENTIFY, "its transport key has an impossible size");
    memcpy(id->transport_key, key->bytes, key->num);
    id->transport_key_len = key->num;
    return 0;
}

static int keyline_identify(struct driver_session *s, struct driver_identity *ret, struct err *e)
{
    struct link *l = s->state;
    struct driver_identity id = {0};
    struct kl_msg m;

    kl_msg_init(&m, 0, KL_OP_IDENTIFY, KL_REQUEST);
    if (link_transact(l, &m, e) < 0 ||
            link_text(l, KL_FIELD_HWID, id.hwid, sizeof id.hwid, e) < 0 ||
            link_text(l, KL_FIELD_NAME, id.name, sizeof id.name, e) < 0 ||
            read_transport_key(l, &id, e) < 0)
        return -1;
    if (!id.hwid[0])
        return link_garbage(e, KL_OP_IDENTIFY, "it does not say who it is");
    memcpy(id.model, l->model, sizeof id.model);
    id.sealed = l->state == KL_STATE_SEALED;
    id.keyed = l->state != KL_STATE_BLANK;
    id.takes_key = l->key_types == 0 && l->keys_taken != 0;
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

static int find_key_type(
        const char *name, uint32_t types, const char *verb, uint32_t *ret, struct err *e)
{
    *ret = key_type_number(name);
    if (*ret == 0)
        return err_set(e, ERR_DEVICE_UNSUPPORTED, "the link has no key type '%s'", name);
    if (!(types >> *ret & 1u))
        return err_set(e, ERR_DEVICE_UNSUPPORTED, "the device %s no %s keys", verb, name);
    return 0;
}

static int keyline_keygen(struct driver_session *s, const char *key_type, struct err *e)
{
    struct link *l = s->state;
    uint32_t type;
    struct kl_msg m;

    if (find_key_type(key_type, l->key_types, "makes", &type, e) < 0)
        return -1;
    kl_msg_init(&m, 0, KL_OP_GENERATE_KEY, KL_REQUEST);
    kl_msg_put_num(&m, KL_FIELD_KEY_TYPE, type);
    return link_transact(l, &m, e);
}

static int keyline_install_key(struct driver_session *s, const char *key_type, const uint8_t *key,
        size_t len, struct err *e)
{
    struct link *l = s->state;
    uint32_t type;
    struct kl_msg m;

    if (find_key_type(key_type, l->keys_taken, "takes", &type, e) < 0)
        return -1;
    if (len == 0 || len > l->frame_max - KL_DATA_OVERHEAD)
        return err_set(e, ERR_DEVICE_UNSUPPORTED,
                "the device takes a key of at most %u bytes, this one has %zu",
                l->frame_max - KL_DATA_OVERHEAD, len);
    kl_msg_init(&m, 0, KL_OP_INSTALL_KEY, KL_REQUEST);
    kl_msg_put_num(&m, KL_FIELD_KEY_TYPE, type);
    kl_msg_put_bytes(&m, KL_FIELD_DATA, key, len);
    int r = link_transact(l, &m, e);
    link_wipe(l);
    if (r < 0)
        return -1;
    l->state = KL_STATE_KEYED;
    return 0;
}

static int digest(const void *bytes, size_t len, uint8_t ret[KL_SHA256_BYTES], struct err *e)
{
    return EVP_Digest(bytes, len, ret, NULL, EVP_sha256(), NULL) == 1
                   ? 0
                   : err_set(e, ERR_BUG, "SHA-256 failed");
}

/* A request about a piece of an object: a large one is given up sooner. */
static int transact_piece(struct link *l, struct kl_msg *m, struct err *e)
{
    return link_transact_tries(l, m, l->chunk > CHUNK_NOISY ? TRIES_LARGE : KL_TRIES, e);
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
    if (transact_piece(l, &m, e) < 0 || link_num(l, KL_FIELD_LENGTH, max, ret_total, e) < 0 ||
            link_num(l, KL_FIELD_OFFSET, max, &offset, e) < 0)
        return -1;
    if (offset != at || *ret_total == 0 || (at && *ret_total != before) || data->num == 0 ||
            data->num > l->chunk || data->num > *ret_total - at)
        return link_garbage(e, KL_OP_READ, "offset, length and bytes do not fit together");
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
    if (link_transact(l, &m, e) < 0 || link_num(l, KL_FIELD_LENGTH, CSR_BYTES_MAX, &len, e) < 0)
        return -1;
    if (!kl_msg_has(&l->answer, KL_FIELD_SHA256) ||
            l->answer.field[KL_FIELD_SHA256].num != sizeof told)
        return link_garbage(e, KL_OP_CSR, "the request's digest is missing");
    memcpy(told, l->answer.field[KL_FIELD_SHA256].bytes, sizeof told);
    if (read_object(l, KL_OBJECT_REQUEST, CSR_BYTES_MAX, &csr, e) < 0 ||
            digest(csr.data, csr.len, found, e) < 0)
        goto out;
    if (csr.len != len || memcmp(told, found, sizeof told) != 0) {
        link_garbage(e, KL_OP_CSR, "the request read is not the one announced");
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
    if (link_transact(l, &m, e) < 0 ||
            link_num(l, KL_FIELD_OFFSET, (uint32_t)len, ret_offset, e) < 0)
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
    if (transact_piece(l, &m, e) < 0 || link_num(l, KL_FIELD_OFFSET, (uint32_t)len, &next, e) < 0)
        return -1;
    if (next != *offset + n)
        return link_garbage(e, KL_OP_WRITE, "it took another number of bytes than it was given");
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
    return link_transact(l, &m, e);
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
    if (link_transact(l, &m, e) < 0)
        return -1;
    if (sig->num == 0 || sig->num > KL_SIGNATURE_MAX)
        return link_garbage(e, KL_OP_CHALLENGE, "the signature is missing or too long");
    return buf_append(ret_sig, sig->bytes, sig->num, e);
}

/* The session remembers it: when the record is lost right after, the same session identifies the
 * device again, and a sealed one makes no request any more. */
static int keyline_seal(struct driver_session *s, struct err *e)
{
    struct link *l = s->state;
    struct kl_msg m;

    kl_msg_init(&m, 0, KL_OP_SEAL, KL_REQUEST);
    if (link_transact(l, &m, e) < 0)
        return -1;
    l->state = KL_STATE_SEALED;
    return 0;
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
    return link_transact(s->state, &m, e);
}

static int keyline_ping(struct driver_session *s, struct err *e)
{
    struct kl_msg m;

    kl_msg_init(&m, 0, KL_OP_PING, KL_REQUEST);
    return link_transact(s->state, &m, e);
}

extern const struct driver driver_keyline;
const struct driver driver_keyline = {
        .name = "keyline",
        .title = "Keyline reference link, serial",
        .reference = "docs/link-protocol.md",
        .open = keyline_open,
        .identify = keyline_identify,
        .keygen = keyline_keygen,
        .install_key = keyline_install_key,
        .csr = keyline_csr,
        .install = keyline_install,
        .readback = keyline_readback,
        .challenge = keyline_challenge,
        .seal = keyline_seal,
        .verdict = keyline_verdict,
        .ping = keyline_ping,
        .close = keyline_close,
};
