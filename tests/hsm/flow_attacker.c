/* A jobd that was taken over, before the real signerd: it may send what it likes, with every field forged, and gets no
 * certificate that an approver did not ask for. */
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "hsm/signer_client.h"
#include "tests/hsm/station.h"

static int try_it(const struct station_request *a, struct err *e)
{
    struct buf cert = BUF_INIT;
    bool fresh;
    int r = signer_issue(st.bus, &a->q, &cert, &fresh, e);

    buf_done(&cert);
    return r;
}

static char *sign_ticket(const struct ticket *t)
{
    struct err e = {0};
    char *jws;

    ok(ticket_sign(t, st.approver, st.approver_chain, &jws, &e));
    return jws;
}

static void every_field_forged(void **state)
{
    EVP_PKEY *key = help_key("P-256"), *mallory = help_key("P-256");
    X509 *mallory_cert = help_cert(mallory, "approver");
    STACK_OF(X509) *mallory_chain = sk_X509_new_null();
    struct err e = {0};
    struct station_request a;
    struct ticket t;
    struct help_rows own;
    char *jws;

    (void)state;
    station_start(&st);
    ok(station_request_make(&st, &a, key, 5, &e));
    for (size_t i = 0; i < a.row.len; i += 3) {
        a.row.data[i] ^= 1;
        refused(try_it(&a, &e), PROOF);
        a.row.data[i] ^= 1;
    }
    for (size_t i = 0; i < a.proof.len; i += 5) {
        a.proof.data[i] ^= 1;
        refused(try_it(&a, &e), PROOF);
        a.proof.data[i] ^= 1;
    }
    for (size_t i = 0; i < NONCE_BYTES; i++) {
        a.nonce[i] ^= 1;
        refused(try_it(&a, &e), NONCE);
        a.nonce[i] ^= 1;
    }
    a.q.row_index = 6;
    refused(try_it(&a, &e), PROOF);
    a.q.row_index = UINT64_MAX;
    refused(try_it(&a, &e), PROOF);
    a.q.row_index = 5;
    a.q.proof_len -= 1;
    refused(try_it(&a, &e), PROOF);
    a.q.proof_len = 0;
    refused(try_it(&a, &e), PROOF);
    a.q.proof_len = a.proof.len;
    a.q.csr_len -= 1;
    refused(try_it(&a, &e), CSR);
    a.q.csr_len = 0;
    refused(try_it(&a, &e), CSR);
    a.q.csr_len = a.csr.len;
    a.csr.data[a.csr.len - 1] ^= 1;
    refused(try_it(&a, &e), POSSESSION);
    a.csr.data[a.csr.len - 1] ^= 1;
    /* a nonce of another row, honestly got */
    ok(signer_nonce(st.bus, st.ticket.job, 6, a.nonce, &e));
    refused(try_it(&a, &e), NONCE);
    station_request_done(&a);
    /* a right nonce, but the request answers another */
    ok(station_request_make(&st, &a, key, 5, &e));
    help_rest_ms(5);
    ok(signer_nonce(st.bus, st.ticket.job, 5, a.nonce, &e));
    refused(try_it(&a, &e), POSSESSION);
    station_request_done(&a);

    /* tickets */
    ok(station_request_make(&st, &a, key, 5, &e));
    a.q.ticket = "";
    refused(try_it(&a, &e), TICKET);
    a.q.ticket = "a.b.c";
    refused(try_it(&a, &e), TICKET);
    sk_X509_push(mallory_chain, mallory_cert);
    ok(ticket_sign(&st.ticket, mallory, mallory_chain, &jws, &e));
    a.q.ticket = jws;
    refused(try_it(&a, &e), TICKET_UNTRUSTED);
    free(jws);
    t = st.ticket;
    t.not_before = 1000, t.not_after = 2000;
    a.q.ticket = jws = sign_ticket(&t);
    refused(try_it(&a, &e), TICKET_EXPIRED);
    free(jws);
    t = st.ticket;
    strcpy(t.stations[0], "line-2");
    a.q.ticket = jws = sign_ticket(&t);
    refused(try_it(&a, &e), TICKET_STATION);
    free(jws);
    t = st.ticket;
    strcpy(t.profile, "anything");
    a.q.ticket = jws = sign_ticket(&t);
    refused(try_it(&a, &e), PROFILE);
    free(jws);
    t = st.ticket;
    t.profile_sha256[0] = t.profile_sha256[0] == '0' ? '1' : '0'; /* approved for other words */
    a.q.ticket = jws = sign_ticket(&t);
    refused(try_it(&a, &e), PROFILE);
    free(jws);
    t = st.ticket;
    strcpy(t.job, "21111111-1111-4111-8111-111111111111");
    a.q.ticket = jws = sign_ticket(&t);
    refused(try_it(&a, &e), NONCE); /* the nonce was for the first job */
    free(jws);
    /* jobd's own manifest under the approver's ticket */
    help_rows_make(&own, 8);
    a.q.ticket = st.jws;
    buf_reset(&a.proof);
    help_rows_proof(&own, 5, &a.proof);
    a.q.proof = a.proof.data, a.q.proof_len = a.proof.len;
    refused(try_it(&a, &e), PROOF);
    help_rows_done(&own);
    station_request_done(&a);

    /* after all that, the honest request still works, and nothing was issued before it */
    json_t *o = station_status(&st);
    assert_int_equal(json_integer_value(json_object_get(o, "issued")), 0);
    assert_true(json_integer_value(json_object_get(o, "refused")) > 20);
    json_decref(o);
    ok(station_issue_once(&st, 5, key, &e));
    sk_X509_free(mallory_chain);
    X509_free(mallory_cert);
    EVP_PKEY_free(mallory);
    EVP_PKEY_free(key);
}

/* An approver that is taken out of the anchors counts no longer, without a restart and though its
 * ticket was known. */
static void anchors_can_be_withdrawn(void **state)
{
    EVP_PKEY *key = help_key("P-256");
    struct err e = {0};
    char path[PATH_MAX];

    (void)state;
    station_start(&st);
    ok(station_issue_once(&st, 0, key, &e));
    paths_get(&st.paths, PATH_APPROVERS, path);
    ok(file_write(path, "", 0, 0644, &e));
    refused(station_issue_once(&st, 0, key, &e), TICKET_UNTRUSTED);
    EVP_PKEY_free(key);
}

/* ---- what waits for a token that is away */

#define RENEWALS 200
#define WAIT_MAX 64 /* of them; the others are told at once */

struct renewals {
    unsigned made, refused;
};

static void on_renewed(
        void *ctx, const uint8_t *bytes, size_t len, unsigned marks, const struct err *e)
{
    struct renewals *r = ctx;

    (void)bytes, (void)len, (void)marks;
    if (e)
        assert_int_equal(e->id, ERR_UNAVAILABLE);
    r->made += !e;
    r->refused += e != NULL;
}

static void renewals_do_not_pile_up(void **state)
{
    struct renewals r = {0};
    struct err e = {0};
    sd_event *event;
    sd_bus *bus;

    (void)state;
    station_fault(&st, "CKR_DEVICE_ERROR");
    station_start(&st);
    assert_true(sd_event_new(&event) >= 0);
    ok(signer_open(&st.paths, event, &bus, &e));
    for (int i = 0; i < RENEWALS; i++)
        ok(signer_renew_crls_async(bus, on_renewed, &r, &e));
    while (r.refused < RENEWALS - WAIT_MAX)
        assert_true(sd_event_run(event, 5000000) > 0);
    assert_int_equal(r.made, 0);
    station_fault(&st, "");
    while (r.made < WAIT_MAX)
        assert_true(sd_event_run(event, 20000000) > 0);
    assert_int_equal(r.refused, RENEWALS - WAIT_MAX);
    sd_bus_close_unref(bus);
    sd_event_unref(event);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
            FLOW_TEST(every_field_forged),
            FLOW_TEST(anchors_can_be_withdrawn),
            FLOW_TEST(renewals_do_not_pile_up),
    };

    return FLOW_RUN(argc, argv, tests);
}
