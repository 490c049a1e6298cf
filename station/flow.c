/* The way of one device. Straight-line and blocking: one process, one device. Promises: the stages
 * run in the order of the table below and none is skipped but as it says; everything the device
 * says is checked here or by jobd before it counts; 0 comes back only after Complete was answered.
 * Never shows PASS, never decides about another device. */
#include "station/flow.h"

#include <string.h>

#include <openssl/rand.h>

#include "base/jwe.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/secret.h"
#include "base/text.h"
#include "jobs/states.h"
#include "station/proof.h"

/* --- what the device is --- */

static bool printable(const char *s, size_t cap)
{
    size_t len = strnlen(s, cap);
    return len < cap && text_is_printable(s, len);
}

static int identify(struct flow *f, struct err *e)
{
    struct driver_identity id = {0};
    if (f->session->driver->identify(f->session, &id, e))
        return -1;
    if (!printable(id.hwid, sizeof id.hwid) || !printable(id.name, sizeof id.name) ||
            !printable(id.model, sizeof id.model))
        return err_set(e, ERR_DEVICE_GARBAGE, "what the device calls itself is no text");
    if (!*id.hwid && !*id.name)
        return err_set(e, ERR_DEVICE_GARBAGE, "the device says neither a hardware id nor a name");
    f->identity = id;
    return 0;
}

static int claim(struct flow *f, struct err *e)
{
    if (slot_claim(f->panel->bus, f->panel->slot, f->session->driver->name, f->identity.hwid,
                f->identity.name, &f->claim, e))
        return -1;
    log_info("claimed", LOG_STR("slot", f->panel->slot), LOG_STR("device", f->claim.device_name),
            LOG_STR("hwid", f->identity.hwid), LOG_STR("model", f->identity.model),
            LOG_STR("run", f->claim.run), LOG_NUM("attempt", f->claim.attempt));
    return 0;
}

/* --- its key and its certificate --- */

/* A signer or a token that is away must not cost a run: the unit waits within its run, and goes on
 * when it can. Only when jobd itself is gone does the run end, and with it this attempt. */
static int ask_signer(struct flow *f, int (*ask)(struct flow *f, struct err *e), struct err *e)
{
    for (unsigned stale = 0;;) {
        struct err why = {0};
        if (ask(f, &why) == 0)
            return 0;
        bool again = why.id == ERR_NONCE ? ++stale <= STALE_NONCES_MAX : flow_may_retry(why.id);
        if (!again || sd_bus_is_open(f->panel->bus) <= 0) {
            *e = why;
            return -1;
        }
        if (why.id == ERR_NONCE)
            continue;
        panel_show_err(f->panel, SLOT_WAITING, flow_name(f), &why);
        if (driver_watch(f->session, SLOT_SIGNER_RETRY_MS, e))
            return -1;
    }
}

/* The key is in the clear here, in locked memory, for as long as the device takes to answer. */
static int hand_over(struct flow *f, EVP_PKEY *transport, const struct buf *jwe, struct err *e)
{
    struct secret key = SECRET_INIT;
    int r = jwe_open(transport, JWE_TYPE_KEY, jwe->data, jwe->len, &key, e);
    if (r == 0)
        r = f->session->driver->install_key(f->session, f->claim.key_type, key.bytes, key.len, e);
    secret_done(&key);
    return r;
}

/* Wrapped for the device where it has a transport key, else for us, for this once. When it goes wrong
 * the next try brings another key: no certificate depends on this one before the device uses it. */
static int bring_key(struct flow *f, struct err *e)
{
    const struct driver_identity *id = &f->identity;
    uint8_t nonce[NONCE_BYTES], ours[JWE_SPKI_BYTES];
    struct buf jwe = BUF_INIT_SECRET;
    EVP_PKEY *transport = NULL;
    int r = -1;
    if (slot_nonce(f->panel->bus, f->claim.run, nonce, e))
        goto out;
    if (id->transport_key_len) {
        if (slot_make_key(f->panel->bus, f->claim.run, id->transport_key, id->transport_key_len,
                    nonce, &jwe, e) == 0)
            r = f->session->driver->install_key(
                    f->session, f->claim.key_type, jwe.data, jwe.len, e);
    } else if (secret_open(e) == 0 && jwe_key_new(&transport, ours, e) == 0 &&
               slot_make_key(f->panel->bus, f->claim.run, ours, sizeof ours, nonce, &jwe, e) == 0) {
        r = hand_over(f, transport, &jwe, e);
    }
out:
    EVP_PKEY_free(transport);
    buf_done(&jwe);
    if (r == 0)
        log_info("key-brought", LOG_STR("slot", f->panel->slot), LOG_STR("device", flow_name(f)),
                LOG_STR("run", f->claim.run));
    return r;
}

static int make_key(struct flow *f, struct err *e)
{
    if (!f->identity.takes_key)
        return f->session->driver->keygen(f->session, f->claim.key_type, e);
    if (f->identity.keyed) /* it was brought in an earlier run; the signer knows it by its CSR */
        return 0;
    if (!f->claim.keys_from_signer)
        return err_set(e, ERR_KEY_ORIGIN,
                "the device cannot make a key, and its job does not allow one made by the signer");
    return ask_signer(f, bring_key, e);
}

static int request_cert(struct flow *f, struct err *e)
{
    uint8_t nonce[NONCE_BYTES];
    struct buf csr = BUF_INIT;
    int r = -1;
    buf_reset(&f->cert);
    buf_reset(&f->claim.chain);
    if (slot_nonce(f->panel->bus, f->claim.run, nonce, e))
        goto out;
    if (f->session->driver->csr(f->session, f->claim.device_name, nonce, &csr, e))
        goto out;
    if (csr.len == 0 || csr.len > CSR_BYTES_MAX) {
        err_set(e, ERR_CSR, "the device's request has %zu bytes, allowed are 1 to %u", csr.len,
                CSR_BYTES_MAX);
        goto out;
    }
    r = slot_certify(f->panel->bus, f->claim.run, &csr, nonce, &f->cert, &f->claim.chain, e);
out:
    buf_done(&csr);
    return r;
}

static int certify(struct flow *f, struct err *e)
{
    return ask_signer(f, request_cert, e);
}

/* --- its credentials --- */

static int read_back(
        struct flow *f, enum driver_object o, const struct buf *want, bool *ret_same, struct err *e)
{
    struct buf got = BUF_INIT;
    int r = f->session->driver->readback(f->session, o, &got, e);
    if (r == 0)
        *ret_same = got.len == want->len &&
                    (got.len == 0 || memcmp(got.data, want->data, got.len) == 0);
    buf_done(&got);
    return r;
}

static int install(struct flow *f, struct err *e)
{
    const struct {
        enum driver_object object;
        const char *what;
        const struct buf *bytes;
    } parts[] = {
            {DRIVER_CERT, "certificate", &f->cert},
            {DRIVER_CHAIN, "chain", &f->claim.chain},
            {DRIVER_CONFIG, "configuration", &f->claim.config},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (f->session->driver->install(
                    f->session, parts[i].object, parts[i].bytes->data, parts[i].bytes->len, e))
            return err_context(e, "installing the %s", parts[i].what);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        bool same;
        if (read_back(f, parts[i].object, parts[i].bytes, &same, e))
            return err_context(e, "reading the %s back", parts[i].what);
        if (!same)
            return err_set(e, ERR_DEVICE_READBACK, "the %s reads back differently", parts[i].what);
    }
    return 0;
}

/* A sealed device takes nothing more, and one that is registered needs nothing more. It is ours when it holds the very
 * certificate that was issued to it. The station may have died between seal and Complete, or between the record and the verdict:
 * then only the record is missing, or not even that. */
static int adopt(struct flow *f, struct err *e)
{
    const struct buf *issued = &f->claim.cert;
    struct err why = {0};
    bool same = false;
    if (issued->len == 0)
        return err_set(
                e, ERR_DEVICE_SEALED, "it is sealed, but this job has issued no certificate to it");
    /* one that has no certificate refuses to show it */
    if (read_back(f, DRIVER_CERT, issued, &same, &why) && why.id != ERR_DEVICE_REFUSED) {
        *e = why;
        return err_context(e, "reading the certificate it came with");
    }
    if (!same && f->claim.registered)
        return err_set(e, ERR_DEVICE_DONE, "it is registered, but does not hold its certificate");
    if (!same)
        return err_set(e, ERR_DEVICE_SEALED, "it is sealed, but does not hold its certificate");
    if (!f->identity.sealed)
        return err_set(e, ERR_DEVICE_DONE,
                "it is registered, but takes new credentials: it was opened since, or is a copy");
    buf_reset(&f->cert);
    return buf_append(&f->cert, issued->data, issued->len, e);
}

static int advance(struct flow *f, struct err *e)
{
    return slot_advance(f->panel->bus, f->claim.run, run_step_info(RUN_INSTALLED)->name, e);
}

/* --- the proof, and the record --- */

static int prove(struct flow *f, struct err *e)
{
    if (RAND_bytes(f->challenge, sizeof f->challenge) != 1)
        return err_set(e, ERR_IO, "no random bytes for the challenge");
    buf_reset(&f->signature);
    if (f->session->driver->challenge(f->session, f->challenge, &f->signature, e))
        return err_context(e, "challenging the device");
    return proof_verify(&f->cert, f->challenge, &f->signature, e);
}

static int seal(struct flow *f, struct err *e)
{
    return f->session->driver->seal(f->session, e);
}

static int complete(struct flow *f, struct err *e)
{
    return slot_complete(f->panel->bus, f->claim.run, f->challenge, &f->signature, e);
}

/* --- the way --- */

enum kind { FRESH = 1, SEALED = 2, REGISTERED = 4, ANY = FRESH | SEALED | REGISTERED };

static enum kind kind_of(const struct flow *f)
{
    if (f->claim.registered)
        return REGISTERED;
    return f->identity.sealed ? SEALED : FRESH;
}

static const struct stage {
    enum run_step from; /* its `doing` is what the screen says meanwhile */
    int (*go)(struct flow *, struct err *);
    unsigned kinds; /* of devices that it is for */
} way[] = {
        {RUN_CLAIMED, identify, ANY},
        {RUN_CLAIMED, claim, ANY},
        {RUN_IDENTIFIED, make_key, FRESH}, /* keeps the key when it has one; may bring one */
        {RUN_KEYED, certify, FRESH},       /* the same key gives the same certificate again */
        {RUN_CERTIFIED, install, FRESH},
        {RUN_INSTALLED, adopt, SEALED | REGISTERED},
        {RUN_CERTIFIED, advance, FRESH | SEALED},
        {RUN_INSTALLED, prove, ANY},
        {RUN_INSTALLED, seal, FRESH}, /* only a device that proved itself is closed for good */
        {RUN_VERIFIED, complete, FRESH | SEALED},
};

static int walk(struct flow *f, struct err *e)
{
    for (const struct stage *s = way; s < way + sizeof way / sizeof *way; s++) {
        if (!(s->kinds & kind_of(f)))
            continue;
        panel_show(f->panel, SLOT_WORKING, flow_name(f), run_step_info(s->from)->doing);
        if (s->go(f, e))
            return -1;
    }
    return 0;
}

int flow_run(struct flow *f, struct err *e)
{
    struct err cause = {0};
    slot_claim_done(&f->claim);
    f->claim = (struct slot_claim){0};
    if (panel_connect(f->panel, e))
        return -1;
    if (walk(f, &cause) == 0) {
        log_info(f->claim.registered ? "passed-again" : "passed", LOG_STR("slot", f->panel->slot),
                LOG_STR("device", flow_name(f)), LOG_STR("run", f->claim.run));
        return 0;
    }
    if (*f->claim.run && !flow_may_retry(cause.id)) {
        struct err unrecorded = {0};
        if (slot_fail(f->panel->bus, f->claim.run, &cause, flow_is_a_lie(cause.id), &unrecorded)) {
            log_err(LOG_WARNING, "fail-not-recorded", &unrecorded);
            /* A run that stayed open would keep the device busy, here and in every other slot: it
             * ends with its connection. */
            panel_disconnect(f->panel);
        }
    }
    *e = cause;
    return -1;
}

bool flow_may_retry(enum err_id id)
{
    switch (err_class(id)) {
    case ERR_CLASS_RETRY: /* jobd or signerd is away */
    case ERR_CLASS_HSM:   /* the line stops until they work; the unit is not to blame */
    case ERR_CLASS_STORE:
    case ERR_CLASS_PEER: /* another version of jobd, or it does not know this user */
        return true;
    default:
        return false;
    }
}

bool flow_is_a_lie(enum err_id id)
{
    return id == ERR_POSSESSION || id == ERR_KEY_REUSED || id == ERR_DEVICE_CHALLENGE;
}

const char *flow_name(const struct flow *f)
{
    if (*f->claim.device_name)
        return f->claim.device_name;
    return *f->identity.name ? f->identity.name : f->identity.hwid;
}

void flow_init(struct flow *f, struct driver_session *session, struct panel *panel)
{
    *f = (struct flow){.session = session, .panel = panel};
}

void flow_done(struct flow *f)
{
    slot_claim_done(&f->claim);
    buf_done(&f->cert);
    buf_done(&f->signature);
}
