/* Requests that are under way at once. */
#include "tests/hsm/crowd_rig.h"
#include <stdlib.h>
#include <string.h>
#include "hsm/signer_client.h"

void crowd_open(struct crowd *c)
{
    struct err e = {0};

    *c = (struct crowd){0};
    assert_true(sd_event_new(&c->event) >= 0);
    ok(signer_open(&st.paths, c->event, &c->bus, &e));
}

void crowd_close(struct crowd *c)
{
    sd_bus_close_unref(c->bus);
    sd_event_unref(c->event);
}

void crowd_wait(struct crowd *c, size_t answers)
{
    while (c->answered < answers)
        assert_true(sd_event_run(c->event, 20000000) > 0);
}

static void on_certificate(
        void *ctx, const uint8_t *bytes, size_t len, unsigned marks, const struct err *why)
{
    struct caller *c = ctx;

    c->crowd->answered++;
    if (why) {
        print_message(
                "row %zu: %s: %s\n", (size_t)c->request.q.row_index, err_name(why->id), why->msg);
        c->crowd->failed++;
        c->error = why->id;
        return;
    }
    buf_append(&c->cert, bytes, len, NULL);
    c->fresh = (marks & SIGNER_FRESH) != 0;
}

void caller_prepare(struct caller *c, size_t i, EVP_PKEY *key)
{
    struct err e = {0};

    *c = (struct caller){0};
    ok(station_request_make(&st, &c->request, key, i, &e));
    assert_non_null(c->ticket = strdup(st.jws));
    c->request.q.ticket = c->ticket;
}

void caller_send(struct crowd *crowd, struct caller *c)
{
    struct err e = {0};

    c->crowd = crowd;
    ok(signer_issue_async(crowd->bus, &c->request.q, on_certificate, c, &e));
}

void caller_ask(struct crowd *crowd, struct caller *c, size_t i, EVP_PKEY *key)
{
    caller_prepare(c, i, key);
    caller_send(crowd, c);
}

void caller_ask_a_hanging_token(struct crowd *crowd, struct caller *c, size_t i, EVP_PKEY *key)
{
    station_fault(&st, "hang");
    caller_ask(crowd, c, i, key);
    sd_bus_flush(crowd->bus);
    while (sd_event_run(crowd->event, 300000) > 0)
        ;
}

void caller_done(struct caller *c)
{
    station_request_done(&c->request);
    buf_done(&c->cert);
    free(c->ticket);
}
