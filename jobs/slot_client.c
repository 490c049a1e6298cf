/* The client of the slots' door. Promises that every length and name in an answer was checked
 * before the caller sees it; nothing of a half-read answer is handed over. */
#include "jobs/slot_client.h"

#include <assert.h>
#include <string.h>

#include "base/bus.h"
#include "base/paths.h"
#include "jobs/client_call.h"

static const struct client_door door = {"/org/keyline/Slot1", "org.keyline.Slot1"};

static const char *const state_names[SLOT_STATE_COUNT] = {
        [SLOT_EMPTY] = "empty",
        [SLOT_WORKING] = "working",
        [SLOT_PASS] = "pass",
        [SLOT_FAIL] = "fail",
        [SLOT_WAITING] = "waiting",
};

const char *slot_state_name(enum slot_state s)
{
    assert(s < SLOT_STATE_COUNT);
    return state_names[s];
}

int slot_open(const struct paths *p, sd_bus **ret, struct err *e)
{
    char path[PATH_MAX];
    paths_get(p, PATH_SLOT_SOCKET, path);
    return bus_client_open(path, NULL, ret, e);
}

static int copy_text(char *out, size_t cap, const char *text, const char *what, struct err *e)
{
    size_t len = strlen(text);
    if (len >= cap)
        return err_set(e, ERR_PROTOCOL, "the answer's %s has %zu bytes", what, len);
    memcpy(out, text, len + 1);
    return 0;
}

static int read_claim(sd_bus_message *m, struct slot_claim *c, struct err *e)
{
    const char *run, *id, *name, *job, *key_type, *keys;
    uint32_t attempt;
    if (sd_bus_message_read(m, "ssssssu", &run, &id, &name, &job, &key_type, &keys, &attempt) <= 0)
        return err_set(e, ERR_PROTOCOL, "the answer to Claim has an unexpected form");
    c->attempt = attempt;
    c->registered = !*run;
    c->keys_from_signer = strcmp(keys, "signer") == 0;
    if (copy_text(c->run, sizeof c->run, run, "run", e) ||
            copy_text(c->device_id, sizeof c->device_id, id, "device ID", e) ||
            copy_text(c->device_name, sizeof c->device_name, name, "device name", e) ||
            copy_text(c->job, sizeof c->job, job, "job", e) ||
            copy_text(c->key_type, sizeof c->key_type, key_type, "key type", e))
        return -1;
    if (client_read_buf(m, CERT_BYTES_MAX, &c->cert, e) ||
            client_read_buf(m, CHAIN_BYTES_MAX, &c->chain, e) ||
            client_read_buf(m, CONFIG_BYTES_MAX, &c->config, e))
        return -1;
    return 0;
}

int slot_claim(sd_bus *bus, const char *slot, const char *driver, const char *hwid,
        const char *name, struct slot_claim *ret, struct err *e)
{
    sd_bus_message *m = NULL, *answer = NULL;
    struct slot_claim claim = {0};
    if (client_new(bus, &door, "Claim", &m, e))
        return -1;
    if (client_text(m, "slot", slot, e) || client_text(m, "driver", driver, e) ||
            client_text(m, "hardware id", hwid, e) || client_text(m, "device name", name, e)) {
        sd_bus_message_unref(m);
        return -1;
    }
    if (client_call(bus, m, 0, &answer, e))
        return -1;
    int r = read_claim(answer, &claim, e);
    sd_bus_message_unref(answer);
    if (r)
        slot_claim_done(&claim);
    else
        *ret = claim;
    return r;
}

void slot_claim_done(struct slot_claim *c)
{
    buf_done(&c->cert);
    buf_done(&c->chain);
    buf_done(&c->config);
}

int slot_nonce(sd_bus *bus, const char *run, uint8_t ret_nonce[NONCE_BYTES], struct err *e)
{
    sd_bus_message *m = NULL, *answer = NULL;
    const uint8_t *bytes;
    size_t len;
    if (client_new(bus, &door, "Nonce", &m, e))
        return -1;
    if (client_built(sd_bus_message_append(m, "s", run), e)) {
        sd_bus_message_unref(m);
        return -1;
    }
    if (client_call(bus, m, 0, &answer, e))
        return -1;
    int r = bus_read_bytes(answer, NONCE_BYTES, &bytes, &len, e);
    if (r == 0 && len != NONCE_BYTES)
        r = err_set(e, ERR_PROTOCOL, "a nonce of %zu bytes", len);
    if (r == 0)
        memcpy(ret_nonce, bytes, NONCE_BYTES);
    sd_bus_message_unref(answer);
    return r;
}

int slot_make_key(sd_bus *bus, const char *run, const uint8_t *transport_key, size_t len,
        const uint8_t nonce[NONCE_BYTES], struct buf *ret_jwe, struct err *e)
{
    sd_bus_message *m = NULL, *answer = NULL;
    if (client_new(bus, &door, "MakeKey", &m, e))
        return -1;
    if (client_built(sd_bus_message_append(m, "s", run), e) ||
            client_built(sd_bus_message_append_array(m, 'y', transport_key, len), e) ||
            client_built(sd_bus_message_append_array(m, 'y', nonce, NONCE_BYTES), e)) {
        sd_bus_message_unref(m);
        return -1;
    }
    if (client_call(bus, m, 0, &answer, e))
        return -1;
    int r = client_read_buf(answer, SEALED_KEY_BYTES_MAX, ret_jwe, e);
    sd_bus_message_unref(answer);
    return r;
}

int slot_certify(sd_bus *bus, const char *run, const struct buf *csr,
        const uint8_t nonce[NONCE_BYTES], struct buf *ret_cert, struct buf *ret_chain,
        struct err *e)
{
    sd_bus_message *m = NULL, *answer = NULL;
    if (client_new(bus, &door, "Certify", &m, e))
        return -1;
    if (client_built(sd_bus_message_append(m, "s", run), e) ||
            client_built(sd_bus_message_append_array(m, 'y', csr->data, csr->len), e) ||
            client_built(sd_bus_message_append_array(m, 'y', nonce, NONCE_BYTES), e)) {
        sd_bus_message_unref(m);
        return -1;
    }
    if (client_call(bus, m, 0, &answer, e))
        return -1;
    int r = client_read_buf(answer, CERT_BYTES_MAX, ret_cert, e);
    if (r == 0)
        r = client_read_buf(answer, CHAIN_BYTES_MAX, ret_chain, e);
    sd_bus_message_unref(answer);
    return r;
}

int slot_advance(sd_bus *bus, const char *run, const char *step, struct err *e)
{
    sd_bus_message *m = NULL;
    if (client_new(bus, &door, "Advance", &m, e))
        return -1;
    if (client_built(sd_bus_message_append(m, "ss", run, step), e)) {
        sd_bus_message_unref(m);
        return -1;
    }
    return client_call(bus, m, 0, NULL, e);
}

int slot_complete(sd_bus *bus, const char *run, const uint8_t challenge[NONCE_BYTES],
        const struct buf *signature, struct err *e)
{
    sd_bus_message *m = NULL;
    if (client_new(bus, &door, "Complete", &m, e))
        return -1;
    if (client_built(sd_bus_message_append(m, "s", run), e) ||
            client_built(sd_bus_message_append_array(m, 'y', challenge, NONCE_BYTES), e) ||
            client_built(sd_bus_message_append_array(m, 'y', signature->data, signature->len), e)) {
        sd_bus_message_unref(m);
        return -1;
    }
    return client_call(bus, m, 0, NULL, e);
}

int slot_fail(sd_bus *bus, const char *run, const struct err *why, bool quarantine, struct err *e)
{
    sd_bus_message *m = NULL;
    if (client_new(bus, &door, "Fail", &m, e))
        return -1;
    if (client_built(
                sd_bus_message_append(m, "sssb", run, err_name(why->id), why->msg, (int)quarantine),
                e)) {
        sd_bus_message_unref(m);
        return -1;
    }
    return client_call(bus, m, 0, NULL, e);
}

void slot_report(sd_bus *bus, const char *slot, const char *port, enum slot_state state,
        const char *device_name, const char *text)
{
    sd_bus_message *m = NULL;
    if (client_new(bus, &door, "SlotState", &m, NULL) == 0 &&
            sd_bus_message_append(
                    m, "sssss", slot, port, slot_state_name(state), device_name, text) >= 0 &&
            sd_bus_message_set_expect_reply(m, 0) >= 0)
        (void)sd_bus_send(bus, m, NULL);
    sd_bus_message_unref(m);
}
