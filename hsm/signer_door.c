/* The signer's door, org.keyline.Signer1 (signer_client.h). It decides nothing: what it reads goes to
 * the issuer, the authority or the ledger, whoever sent it. */
#include <stdlib.h>
#include "base/buf.h"
#include "base/bus.h"
#include "base/config.h"
#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "base/uuid.h"
#include "hsm/authority.h"
#include "hsm/crl_keeper.h"
#include "hsm/x509/csr.h"
#include "hsm/issuer.h"
#include "hsm/json.h"
#include "hsm/keeper.h"
#include "hsm/ledger/ledger.h"
#include "hsm/ledger/ledger_json.h"
#include "hsm/nonce.h"
#include "hsm/approval/order.h"
#include "hsm/scrubber.h"
#include "hsm/profile/profile.h"
#include "hsm/profile/profile_words.h"
#include "hsm/profile/profiles.h"
#include "hsm/signer.h"
#include "hsm/approval/ticket.h"
#include "hsm/workers/workers.h"

static int on_nonce(sd_bus_message *m, void *userdata, sd_bus_error *unused)
{
    struct signer *s = userdata;
    uint8_t nonce[NONCE_BYTES];
    struct err e = {0};
    sd_bus_message *answer = NULL;
    const char *job;
    uint64_t row;
    int r = sd_bus_message_read(m, "st", &job, &row);

    (void)unused;
    if (r < 0)
        return r;
    if (!uuid_valid(job))
        err_set(&e, ERR_PROTOCOL, "the job must be a UUID");
    else
        nonce_make(s->nonce_key, time_now_ms(), job, row, nonce, &e);
    if (e.id)
        return bus_reply_err(m, &e);
    r = sd_bus_message_new_method_return(m, &answer);
    if (r >= 0)
        r = sd_bus_message_append_array(answer, 'y', nonce, sizeof nonce);
    if (r >= 0)
        r = sd_bus_message_send(answer);
    sd_bus_message_unref(answer);
    return r;
}

/* ctx: the call. Its peer may have gone: then there is nobody to tell, and the certificate waits in
 * the ledger. */
static void on_issued(
        void *ctx, const uint8_t *cert, size_t len, unsigned marks, const struct err *e)
{
    sd_bus_message *m = ctx, *answer = NULL;

    if (e) {
        bus_reply_err(m, e);
    } else if (sd_bus_message_new_method_return(m, &answer) >= 0 &&
               sd_bus_message_append_array(answer, 'y', cert, len) >= 0 &&
               sd_bus_message_append(answer, "bb", (marks & SIGNER_FRESH) != 0,
                       (marks & SIGNER_KEY_MADE) != 0) >= 0) {
        sd_bus_message_send(answer);
    }
    sd_bus_message_unref(answer);
    sd_bus_message_unref(m);
}

static int read_nonce(sd_bus_message *m, const uint8_t **ret, struct err *e)
{
    size_t len;

    if (bus_read_bytes(m, NONCE_BYTES, ret, &len, e) < 0)
        return -1;
    return len == NONCE_BYTES ? 0 : err_set(e, ERR_NONCE, "a nonce has %u bytes", NONCE_BYTES);
}

/* The authorised row, and the proof that the ticket's root covers it. */
static int read_row(sd_bus_message *m, struct signer_issue *q, struct err *e)
{
    if (bus_read_bytes(m, ROW_BYTES_MAX, &q->row, &q->row_len, e) < 0)
        return -1;
    return bus_read_bytes(m, MERKLE_PROOF_MAX * MERKLE_HASH_BYTES, &q->proof, &q->proof_len, e);
}

static int on_issue(sd_bus_message *m, void *userdata, sd_bus_error *unused)
{
    struct signer *s = userdata;
    struct signer_issue q = {0};
    struct err e = {0};
    int r = sd_bus_message_read(m, "st", &q.ticket, &q.row_index);

    (void)unused;
    if (r < 0)
        return r;
    if (read_row(m, &q, &e) < 0 || bus_read_bytes(m, CSR_BYTES_MAX, &q.csr, &q.csr_len, &e) < 0 ||
            read_nonce(m, &q.nonce, &e) < 0)
        return bus_reply_err(m, &e);
    sd_bus_message_ref(m); /* on_issued() gives it back */
    if (issuer_issue(s->issuer, &q, on_issued, m, &e) == 0)
        return 1;
    sd_bus_message_unref(m);
    return bus_reply_err(m, &e);
}

/* ctx: the call. When its peer has gone the key has, too: whoever asks again gets another. */
static void on_key_made(
        void *ctx, const uint8_t *jwe, size_t len, unsigned marks, const struct err *e)
{
    sd_bus_message *m = ctx, *answer = NULL;

    (void)marks;
    if (e)
        bus_reply_err(m, e);
    else if (sd_bus_message_new_method_return(m, &answer) >= 0 &&
             sd_bus_message_append_array(answer, 'y', jwe, len) >= 0)
        sd_bus_message_send(answer);
    sd_bus_message_unref(answer);
    sd_bus_message_unref(m);
}

static int on_make_key(sd_bus_message *m, void *userdata, sd_bus_error *unused)
{
    struct signer *s = userdata;
    struct signer_make_key k = {0};
    struct signer_issue *q = &k.q;
    struct err e = {0};
    int r = sd_bus_message_read(m, "st", &q->ticket, &q->row_index);

    (void)unused;
    if (r < 0)
        return r;
    if (read_row(m, q, &e) < 0)
        return bus_reply_err(m, &e);
    r = sd_bus_message_read(m, "s", &k.key_type);
    if (r < 0)
        return r;
    if (bus_read_bytes(m, SPKI_BYTES_MAX, &k.transport_key, &k.transport_key_len, &e) < 0 ||
            read_nonce(m, &q->nonce, &e) < 0)
        return bus_reply_err(m, &e);
    sd_bus_message_ref(m); /* on_key_made() gives it back */
    if (issuer_make_key(s->issuer, &k, on_key_made, m, &e) == 0)
        return 1;
    sd_bus_message_unref(m);
    return bus_reply_err(m, &e);
}

/* The ticket's members, and the type of the keys that devices are to be asked for. */
static int ticket_facts(
        const struct ticket *t, const struct profile *profile, struct buf *json, struct err *e)
{
    struct buf text = BUF_INIT;
    int r = ticket_format(t, &text, e);

    if (r == 0) {
        json_t *o = json_loadb((const char *)text.data, text.len, 0, NULL);

        json_object_set_new(o, "key_type", json_string(word_key_name(profile_first_key(profile))));
        r = json_append(o, json, e);
    }
    buf_done(&text);
    return r;
}

/* A ticket for later may be brought early; one that is over, for other stations, or for a profile
 * that is another one here, is of no use. */
static int check_ticket(struct signer *s, const char *jws, struct buf *json, struct err *e)
{
    const struct profile *profile;
    const struct ticket *t;
    int64_t now = time_now_ms() / 1000;

    if (authority_ticket(s->authority, jws, &t, e) < 0 ||
            ticket_check(t, s->station, now < t->not_before ? t->not_before : now, e) < 0 ||
            profiles_find_approved(s->profiles, t->profile, t->profile_sha256, &profile, e) < 0)
        return -1;
    return ticket_facts(t, profile, json, e);
}

static int reply_text(sd_bus_message *m, struct buf *json, struct err *e)
{
    const char *text = e->id ? NULL : buf_str(json);

    if (!e->id && !text)
        err_set(e, ERR_NOMEM, "no memory for an answer");
    return e->id ? bus_reply_err(m, e) : sd_bus_reply_method_return(m, "s", text);
}

static int on_check_ticket(sd_bus_message *m, void *userdata, sd_bus_error *unused)
{
    struct buf json = BUF_INIT;
    struct err e = {0};
    const char *jws;
    int r = sd_bus_message_read(m, "s", &jws);

    (void)unused;
    if (r < 0)
        return r;
    check_ticket(userdata, jws, &json, &e);
    r = reply_text(m, &json, &e);
    buf_done(&json);
    return r;
}

static int on_chain(sd_bus_message *m, void *userdata, sd_bus_error *unused)
{
    struct signer *s = userdata;
    sd_bus_message *answer = NULL;
    struct buf chains = BUF_INIT;
    struct err e = {0};
    int r;

    (void)unused;
    if (ca_set_chains(&s->cas, &chains, &e) < 0) {
        r = bus_reply_err(m, &e);
        goto out;
    }
    r = sd_bus_message_new_method_return(m, &answer);
    if (r >= 0)
        r = sd_bus_message_append_array(answer, 'y', chains.data, chains.len);
    if (r >= 0)
        r = sd_bus_message_send(answer);
out:
    sd_bus_message_unref(answer);
    buf_done(&chains);
    return r;
}

static int carry_out(struct signer *s, const char *jws, struct buf *json, struct err *e)
{
    struct issuer_revocation done = {0};
    char serial[2 * CERT_SERIAL_BYTES + 1], when[TIME_TEXT_MAX];
    struct order order;
    json_t *o;

    if (authority_order(s->authority, jws, &order, e) < 0)
        return -1;
    if (order.kind == ORDER_WITHDRAW) {
        if (issuer_withdraw(s->issuer, &order, &done.fresh, e) < 0)
            return -1;
        o = json_pack("{s:s,s:s,s:s,s:b}", "order", "withdraw", "job", order.job, "approver",
                order.approver, "fresh", (int)done.fresh);
    } else {
        if (issuer_revoke(s->issuer, &order, &done, e) < 0)
            return -1;
        hex_format(order.serial, sizeof order.serial, serial);
        time_format(done.time_ms, when);
        o = json_pack("{s:s,s:s,s:s,s:s,s:s?,s:s,s:s,s:b}", "order", "revoke", "device",
                order.device, "serial", serial, "reason", order_reason_name(done.reason),
                "reason_before", done.before ? order_reason_name(done.was) : NULL, "revoked", when,
                "approver", order.approver, "fresh", (int)done.fresh);
    }
    return json_append(o, json, e);
}

static int on_order(sd_bus_message *m, void *userdata, sd_bus_error *unused)
{
    struct buf json = BUF_INIT;
    struct err e = {0};
    const char *jws;
    int r = sd_bus_message_read(m, "s", &jws);

    (void)unused;
    if (r < 0)
        return r;
    if (carry_out(userdata, jws, &json, &e) < 0)
        log_err(LOG_WARNING, "order-refused", &e);
    r = reply_text(m, &json, &e);
    buf_done(&json);
    return r;
}

static json_t *workers_json(const struct workers *w)
{
    json_t *list = json_array();

    for (size_t i = 0; i < workers_count(w); i++) {
        struct worker_info info;

        workers_info(w, i, &info);
        json_array_append_new(list,
                json_pack("{s:s,s:I,s:s,s:I,s:I}", "token", workers_section(w, i), "pid",
                        (json_int_t)info.pid, "state", worker_state_name(info.state), "signatures",
                        (json_int_t)info.signatures, "restarts", (json_int_t)info.restarts));
    }
    return list;
}

static json_t *error_json(const struct err *e)
{
    if (!e->id)
        return json_null();
    return json_pack(
            "{s:s,s:s,s:s}", "name", err_name(e->id), "message", e->msg, "hint", err_hint(e->id));
}

static json_t *tokens_json(const struct workers *w)
{
    json_t *list = json_array();

    for (size_t i = 0; i < workers_tokens(w); i++) {
        struct token_info t;

        workers_token(w, i, &t);
        json_array_append_new(list,
                json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:f,s:f,s:o}", "section", t.section,
                        "label", t.label, "state", token_state_name(t.state), "workers",
                        (json_int_t)t.workers, "working", (json_int_t)t.working, "signatures",
                        (json_int_t)t.signatures, "errors", (json_int_t)t.errors, "sign_ms_p50",
                        (double)t.sign_us_p50 / 1000, "sign_ms_p99", (double)t.sign_us_p99 / 1000,
                        "last_error", error_json(t.last_error)));
    }
    return list;
}

/* ---- CRLs */

static json_t *crl_json(const struct crl_status *c)
{
    char id[2 * CERT_KEY_ID_BYTES + 1], begin[TIME_TEXT_MAX], end[TIME_TEXT_MAX];
    uint8_t key_id[CERT_KEY_ID_BYTES];

    ca_id(&c->ca->key_id, key_id);
    hex_format(key_id, sizeof key_id, id);
    time_format(c->this_update_ms, begin);
    time_format(c->next_update_ms, end);
    return json_pack("{s:s,s:s,s:I,s:s?,s:s?,s:I,s:b,s:o}", "ca", id, "ca_subject",
            c->ca->subject_text, "number", (json_int_t)c->number, "this_update",
            c->number ? begin : NULL, "next_update", c->number ? end : NULL, "revoked",
            (json_int_t)c->revoked, "overdue", (int)c->overdue, "error", error_json(&c->error));
}

static json_t *crls_json(const struct signer *s)
{
    json_t *list = json_array();
    struct crl_status c;

    for (size_t i = 0; crl_keeper_status(s->crls, i, &c); i++)
        json_array_append_new(list, crl_json(&c));
    return list;
}

/* A call whose answer waits for the token. */
struct renewal {
    struct signer *signer;
    sd_bus_message *call;
};

static void on_renewed(void *ctx, const struct err *why)
{
    struct renewal *q = ctx;
    struct err e = why ? *why : (struct err){0};
    struct buf json = BUF_INIT;
    json_t *o = why ? NULL : json_pack("{s:o}", "crls", crls_json(q->signer));

    if (!why)
        json_append(o, &json, &e);
    reply_text(q->call, &json, &e);
    buf_done(&json);
    sd_bus_message_unref(q->call);
    free(q);
}

static int on_renew_crls(sd_bus_message *m, void *userdata, sd_bus_error *unused)
{
    struct renewal *q = calloc(1, sizeof *q);
    struct signer *s = userdata;
    struct err e = {0};

    (void)unused;
    if (!q) {
        err_set(&e, ERR_NOMEM, "no memory for a request");
        return bus_reply_err(m, &e);
    }
    *q = (struct renewal){s, sd_bus_message_ref(m)};
    if (crl_keeper_renew(s->crls, on_renewed, q, &e) == 0)
        return 1;
    sd_bus_message_unref(m);
    free(q);
    return bus_reply_err(m, &e);
}

static json_t *ledger_status(const struct signer *s)
{
    char verified[TIME_TEXT_MAX];
    struct scrubber_info c;
    struct keeper_info k;

    keeper_info(s->keeper, &k);
    scrubber_info(s->scrubber, &c);
    time_format(c.verified_ms, verified);
    return json_pack("{s:I,s:I,s:I,s:I,s:o,s:s}", "bytes", (json_int_t)k.bytes, "signed_bytes",
            (json_int_t)k.signed_bytes, "marked_bytes", (json_int_t)k.marked_bytes,
            "verified_bytes", (json_int_t)c.verified_bytes, "verified_at",
            c.verified_ms ? json_string(verified) : json_null(), "rollback_protection",
            keeper_binding_name(k.binding));
}

/* What keeps the signer from working. */
static const struct err *failure(const struct signer *s)
{
    const struct err *fault = ledger_fault(s->ledger);

    return fault->id ? fault : workers_failure(s->workers);
}

static int on_ledger(sd_bus_message *m, void *userdata, sd_bus_error *unused)
{
    struct signer *s = userdata;
    struct buf json = BUF_INIT;
    struct err e = {0};
    const char *device;
    uint64_t before;
    uint32_t limit;
    int r = sd_bus_message_read(m, "stu", &device, &before, &limit);

    (void)unused;
    if (r < 0)
        return r;
    ledger_json(s->ledger, device, before, limit, &json, &e);
    r = reply_text(m, &json, &e);
    buf_done(&json);
    return r;
}

/* A ledger that was refused has counted nothing. */
static json_t *count_json(const struct signer *s, uint64_t n)
{
    return ledger_fault(s->ledger)->id ? json_null() : json_integer((json_int_t)n);
}

static int on_status(sd_bus_message *m, void *userdata, sd_bus_error *unused)
{
    struct signer *s = userdata;
    struct issuer_counts c;
    struct err e = {0};
    struct buf json = BUF_INIT;
    char not_after[TIME_TEXT_MAX];
    json_t *o;
    int r;

    (void)unused;
    issuer_counts(s->issuer, &c);
    time_format(s->ca->not_after * 1000, not_after);
    o = json_pack("{s:s,s:s,s:s,s:o,s:I,s:o,s:f,s:f,s:o,s:o,s:o}", "station", s->station,
            "ca_subject", s->ca->subject_text, "ca_not_after", not_after, "issued",
            count_json(s, c.issued), "refused", (json_int_t)c.refused, "workers",
            workers_json(s->workers), "sign_ms_p50", (double)c.sign_us_p50 / 1000, "sign_ms_p99",
            (double)c.sign_us_p99 / 1000, "ledger_records",
            count_json(s, ledger_counts(s->ledger).issued + ledger_counts(s->ledger).refused),
            "crls", crls_json(s), "error", error_json(failure(s)));
    json_object_set_new(o, "ledger", ledger_status(s));
    json_object_set_new(o, "tokens", tokens_json(s->workers));
    json_object_set_new(o, "waiting", json_integer((json_int_t)workers_waiting(s->workers)));
    json_append(o, &json, &e);
    r = reply_text(m, &json, &e);
    buf_done(&json);
    return r;
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Nonce", "st", "ay", on_nonce, 0),
        SD_BUS_METHOD("Issue", "stayayayay", "aybb", on_issue, 0),
        SD_BUS_METHOD("MakeKey", "stayaysayay", "ay", on_make_key, 0),
        SD_BUS_METHOD("CheckTicket", "s", "s", on_check_ticket, 0),
        SD_BUS_METHOD("Order", "s", "s", on_order, 0),
        SD_BUS_METHOD("Chain", "", "ay", on_chain, 0),
        SD_BUS_METHOD("Ledger", "stu", "s", on_ledger, 0),
        SD_BUS_METHOD("RenewCrls", "", "s", on_renew_crls, 0),
        SD_BUS_METHOD("Status", "", "s", on_status, 0),
        SD_BUS_VTABLE_END,
};

int signer_door_open(struct signer *s, struct err *e)
{
    char path[PATH_MAX];
    struct bus_door door = {
            .path = path,
            .object = "/org/keyline/Signer1",
            .interface = "org.keyline.Signer1",
            .vtable = vtable,
            .userdata = s,
    };

    if (config_user(s->config, "jobs_user", door.uids, &door.uid_count, e) < 0)
        return -1;
    paths_get(&s->paths, PATH_SIGNER_SOCKET, path);
    return bus_server_open(s->event, &door, &s->door, e);
}
