/* The client's side of the signer's door. Promises one callback for each call that was sent; has no
 * opinion on answers. */
#include "hsm/signer_client.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/bus.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/paths.h"

#define OBJECT    "/org/keyline/Signer1"
#define INTERFACE "org.keyline.Signer1"

int signer_open(const struct paths *p, sd_event *event, sd_bus **ret, struct err *e)
{
    char path[PATH_MAX];

    paths_get(p, PATH_SIGNER_SOCKET, path);
    return bus_client_open(path, event, ret, e);
}

/* ---- messages */

static int new_call(sd_bus *bus, const char *method, sd_bus_message **ret, struct err *e)
{
    int r = sd_bus_message_new_method_call(bus, ret, NULL, OBJECT, INTERFACE, method);

    return r < 0 ? bus_err(e, NULL, r) : 0;
}

static int nonce_message(
        sd_bus *bus, const char *job, uint64_t row_index, sd_bus_message **ret, struct err *e)
{
    int r;

    if (new_call(bus, "Nonce", ret, e) < 0)
        return -1;
    r = sd_bus_message_append(*ret, "st", job, row_index);
    return r < 0 ? bus_err(e, NULL, r) : 0;
}

static int issue_message(
        sd_bus *bus, const struct signer_issue *q, sd_bus_message **ret, struct err *e)
{
    int r;

    if (new_call(bus, "Issue", ret, e) < 0)
        return -1;
    if ((r = sd_bus_message_append(*ret, "st", q->ticket, q->row_index)) < 0 ||
            (r = sd_bus_message_append_array(*ret, 'y', q->row, q->row_len)) < 0 ||
            (r = sd_bus_message_append_array(*ret, 'y', q->proof, q->proof_len)) < 0 ||
            (r = sd_bus_message_append_array(*ret, 'y', q->csr, q->csr_len)) < 0 ||
            (r = sd_bus_message_append_array(*ret, 'y', q->nonce, NONCE_BYTES)) < 0)
        return bus_err(e, NULL, r);
    return 0;
}

static int make_key_message(
        sd_bus *bus, const struct signer_make_key *k, sd_bus_message **ret, struct err *e)
{
    const struct signer_issue *q = &k->q;
    int r;

    if (new_call(bus, "MakeKey", ret, e) < 0)
        return -1;
    if ((r = sd_bus_message_append(*ret, "st", q->ticket, q->row_index)) < 0 ||
            (r = sd_bus_message_append_array(*ret, 'y', q->row, q->row_len)) < 0 ||
            (r = sd_bus_message_append_array(*ret, 'y', q->proof, q->proof_len)) < 0 ||
            (r = sd_bus_message_append(*ret, "s", k->key_type)) < 0 ||
            (r = sd_bus_message_append_array(*ret, 'y', k->transport_key, k->transport_key_len)) <
                    0 ||
            (r = sd_bus_message_append_array(*ret, 'y', q->nonce, NONCE_BYTES)) < 0)
        return bus_err(e, NULL, r);
    return 0;
}

/* What an answer holds, by the method's signature. */
enum answer { ANSWER_BYTES, ANSWER_CERTIFICATE, ANSWER_TEXT };

struct reply {
    const uint8_t *bytes; /* borrowed from the message */
    size_t len;
    unsigned marks;
};

static int read_answer(sd_bus_message *m, enum answer kind, struct reply *ret, struct err *e)
{
    const sd_bus_error *be = sd_bus_message_get_error(m);
    const char *text;
    int fresh = 0, key_made = 0, r;

    *ret = (struct reply){0};
    if (be)
        return bus_err(e, be, -EIO);
    if (kind == ANSWER_TEXT) {
        r = sd_bus_message_read(m, "s", &text);
        if (r <= 0)
            return err_set(e, ERR_PROTOCOL, "the signer's answer has an unexpected form");
        *ret = (struct reply){(const uint8_t *)text, strlen(text), 0};
        return 0;
    }
    if (bus_read_bytes(m, BUS_MESSAGE_MAX, &ret->bytes, &ret->len, e) < 0)
        return -1;
    if (kind == ANSWER_CERTIFICATE && sd_bus_message_read(m, "bb", &fresh, &key_made) <= 0)
        return err_set(e, ERR_PROTOCOL, "the signer's answer has an unexpected form");
    ret->marks = (fresh ? SIGNER_FRESH : 0u) | (key_made ? SIGNER_KEY_MADE : 0u);
    return 0;
}

/* ---- calls that do not wait */

struct pending {
    signer_done_fn done;
    void *ctx;
    enum answer kind;
};

/* Whoever asks jobd how all is must hear that the signer hangs before they lose patience with jobd. */
static uint64_t patience_us(sd_bus_message *m)
{
    bool status = sd_bus_message_is_method_call(m, NULL, "Status") > 0;
    return (status ? STATUS_TIMEOUT_MS : BUS_TIMEOUT_MS) * UINT64_C(1000);
}

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *unused)
{
    struct pending *p = userdata;
    struct reply reply;
    struct err e = {0};

    (void)unused;
    if (read_answer(m, p->kind, &reply, &e) < 0)
        p->done(p->ctx, NULL, 0, 0, &e);
    else
        p->done(p->ctx, reply.bytes, reply.len, reply.marks, NULL);
    return 0; /* p is freed with its slot */
}

/* Takes m. A call's slot floats: it lives until the answer, the time-out or the end of the
 * connection, each of which calls on_reply(). */
static int send_async(sd_bus *bus, sd_bus_message *m, enum answer kind, signer_done_fn done,
        void *ctx, struct err *e)
{
    struct pending *p = malloc(sizeof *p);
    sd_bus_slot *slot = NULL;
    int r = p ? 0 : -ENOMEM;

    if (p) {
        *p = (struct pending){done, ctx, kind};
        r = sd_bus_call_async(bus, &slot, m, on_reply, p, patience_us(m));
    }
    sd_bus_message_unref(m);
    if (r < 0) {
        free(p);
        return bus_err(e, NULL, r);
    }
    sd_bus_slot_set_destroy_callback(slot, free);
    sd_bus_slot_set_floating(slot, 1);
    sd_bus_slot_unref(slot);
    return 0;
}

int signer_nonce_async(sd_bus *bus, const char *job, uint64_t row_index, signer_done_fn done,
        void *ctx, struct err *e)
{
    sd_bus_message *m = NULL;

    if (nonce_message(bus, job, row_index, &m, e) == 0)
        return send_async(bus, m, ANSWER_BYTES, done, ctx, e);
    sd_bus_message_unref(m);
    return -1;
}

int signer_issue_async(sd_bus *bus, const struct signer_issue *request, signer_done_fn done,
        void *ctx, struct err *e)
{
    sd_bus_message *m = NULL;

    if (issue_message(bus, request, &m, e) == 0)
        return send_async(bus, m, ANSWER_CERTIFICATE, done, ctx, e);
    sd_bus_message_unref(m);
    return -1;
}

int signer_make_key_async(sd_bus *bus, const struct signer_make_key *request, signer_done_fn done,
        void *ctx, struct err *e)
{
    sd_bus_message *m = NULL;

    if (make_key_message(bus, request, &m, e) == 0)
        return send_async(bus, m, ANSWER_BYTES, done, ctx, e);
    sd_bus_message_unref(m);
    return -1;
}

/* A method that takes one text and answers with one. */
static int text_message(
        sd_bus *bus, const char *method, const char *text, sd_bus_message **ret, struct err *e)
{
    int r;

    if (new_call(bus, method, ret, e) < 0)
        return -1;
    r = sd_bus_message_append(*ret, "s", text);
    return r < 0 ? bus_err(e, NULL, r) : 0;
}

static int text_async(sd_bus *bus, const char *method, const char *text, signer_done_fn done,
        void *ctx, struct err *e)
{
    sd_bus_message *m = NULL;

    if (text_message(bus, method, text, &m, e) == 0)
        return send_async(bus, m, ANSWER_TEXT, done, ctx, e);
    sd_bus_message_unref(m);
    return -1;
}

int signer_check_ticket_async(
        sd_bus *bus, const char *ticket, signer_done_fn done, void *ctx, struct err *e)
{
    return text_async(bus, "CheckTicket", ticket, done, ctx, e);
}

int signer_order_async(
        sd_bus *bus, const char *order, signer_done_fn done, void *ctx, struct err *e)
{
    return text_async(bus, "Order", order, done, ctx, e);
}

int signer_ledger_async(sd_bus *bus, const char *device, uint64_t before, unsigned limit,
        signer_done_fn done, void *ctx, struct err *e)
{
    sd_bus_message *m = NULL;
    int r;

    if (new_call(bus, "Ledger", &m, e) < 0)
        return -1;
    r = sd_bus_message_append(m, "stu", device, before, (uint32_t)limit);
    if (r >= 0)
        return send_async(bus, m, ANSWER_TEXT, done, ctx, e);
    sd_bus_message_unref(m);
    return bus_err(e, NULL, r);
}

/* A method that takes nothing. */
static int plain_async(sd_bus *bus, const char *method, enum answer kind, signer_done_fn done,
        void *ctx, struct err *e)
{
    sd_bus_message *m = NULL;

    if (new_call(bus, method, &m, e) < 0)
        return -1;
    return send_async(bus, m, kind, done, ctx, e);
}

int signer_renew_crls_async(sd_bus *bus, signer_done_fn done, void *ctx, struct err *e)
{
    return plain_async(bus, "RenewCrls", ANSWER_TEXT, done, ctx, e);
}

int signer_chain_async(sd_bus *bus, signer_done_fn done, void *ctx, struct err *e)
{
    return plain_async(bus, "Chain", ANSWER_BYTES, done, ctx, e);
}

int signer_status_async(sd_bus *bus, signer_done_fn done, void *ctx, struct err *e)
{
    return plain_async(bus, "Status", ANSWER_TEXT, done, ctx, e);
}

/* ---- calls that wait */

/* Takes m; ret_answer owns what reply borrows. */
static int call(sd_bus *bus, sd_bus_message *m, enum answer kind, sd_bus_message **ret_answer,
        struct reply *reply, struct err *e)
{
    sd_bus_error be = SD_BUS_ERROR_NULL;
    int r = sd_bus_call(bus, m, BUS_TIMEOUT_MS * UINT64_C(1000), &be, ret_answer);

    sd_bus_message_unref(m);
    if (r < 0)
        bus_err(e, &be, r);
    sd_bus_error_free(&be);
    return r < 0 ? -1 : read_answer(*ret_answer, kind, reply, e);
}

int signer_issue(sd_bus *bus, const struct signer_issue *request, struct buf *ret_cert,
        bool *ret_fresh, struct err *e)
{
    sd_bus_message *m = NULL, *answer = NULL;
    struct reply reply;
    int r = -1;

    if (issue_message(bus, request, &m, e) < 0)
        sd_bus_message_unref(m);
    else if (call(bus, m, ANSWER_CERTIFICATE, &answer, &reply, e) == 0) {
        *ret_fresh = reply.marks & SIGNER_FRESH;
        r = buf_append(ret_cert, reply.bytes, reply.len, e);
    }
    sd_bus_message_unref(answer);
    return r;
}

int signer_make_key(
        sd_bus *bus, const struct signer_make_key *request, struct buf *ret_jwe, struct err *e)
{
    sd_bus_message *m = NULL, *answer = NULL;
    struct reply reply;
    int r = -1;

    if (make_key_message(bus, request, &m, e) < 0)
        sd_bus_message_unref(m);
    else if (call(bus, m, ANSWER_BYTES, &answer, &reply, e) == 0)
        r = buf_append(ret_jwe, reply.bytes, reply.len, e);
    sd_bus_message_unref(answer);
    return r;
}

int signer_nonce(
        sd_bus *bus, const char *job, uint64_t row_index, uint8_t *ret_nonce, struct err *e)
{
    sd_bus_message *m = NULL, *answer = NULL;
    struct reply reply;
    int r = -1;

    if (nonce_message(bus, job, row_index, &m, e) < 0)
        sd_bus_message_unref(m);
    else if (call(bus, m, ANSWER_BYTES, &answer, &reply, e) == 0) {
        if (reply.len != NONCE_BYTES)
            err_set(e, ERR_PROTOCOL, "the signer's nonce has %zu bytes", reply.len);
        else {
            memcpy(ret_nonce, reply.bytes, NONCE_BYTES);
            r = 0;
        }
    }
    sd_bus_message_unref(answer);
    return r;
}

int signer_status(sd_bus *bus, struct buf *ret_json, struct err *e)
{
    sd_bus_message *m = NULL, *answer = NULL;
    struct reply reply;
    int r = -1;

    if (new_call(bus, "Status", &m, e) == 0 && call(bus, m, ANSWER_TEXT, &answer, &reply, e) == 0)
        r = buf_append(ret_json, reply.bytes, reply.len, e);
    sd_bus_message_unref(answer);
    return r;
}

int signer_order(sd_bus *bus, const char *order, struct buf *ret_json, struct err *e)
{
    sd_bus_message *m = NULL, *answer = NULL;
    struct reply reply;
    int r = -1;

    if (text_message(bus, "Order", order, &m, e) < 0)
        sd_bus_message_unref(m);
    else if (call(bus, m, ANSWER_TEXT, &answer, &reply, e) == 0)
        r = buf_append(ret_json, reply.bytes, reply.len, e);
    sd_bus_message_unref(answer);
    return r;
}
