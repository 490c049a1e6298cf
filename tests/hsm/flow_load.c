/* Many requests under way at once, and processes that are killed or hang among them: nothing that was answered is lost, and
 * nothing is given twice. */
#include <signal.h>
#include <string.h>
#include <systemd/sd-event.h>
#include "hsm/signer_client.h"
#include "tests/hsm/station.h"

#define ROUND 12 /* requests under way when a worker is killed */
_Static_assert(STATION_QUOTA % ROUND == 0, "whole rounds");

struct load {
    sd_event *event;
    sd_bus *bus;
    size_t done, failed, answered;
    struct buf certs[STATION_QUOTA];
};
struct load_request {
    struct load *load;
    size_t row;
};

static void on_certificate(
        void *ctx, const uint8_t *bytes, size_t len, unsigned marks, const struct err *why)
{
    struct load_request *q = ctx;

    (void)marks;
    q->load->answered++;
    if (why) {
        print_message("row %zu: %s: %s\n", q->row, err_name(why->id), why->msg);
        q->load->failed++;
    } else {
        buf_append(&q->load->certs[q->row], bytes, len, NULL);
        q->load->done++;
    }
}

static void wait_answers(struct load *l, size_t count)
{
    while (l->answered < count)
        assert_true(sd_event_run(l->event, 20000000) > 0);
}

static void killed_workers_lose_nothing(void **state)
{
    struct load l = {0};
    struct load_request q[STATION_QUOTA];
    EVP_PKEY *keys[STATION_QUOTA];
    struct station_request a[STATION_QUOTA];
    struct err e = {0};

    (void)state;
    station_start(&st);
    station_wait_ready(&st, 2);
    sd_event_new(&l.event);
    ok(signer_open(&st.paths, l.event, &l.bus, &e));
    for (size_t i = 0; i < STATION_QUOTA; i++) {
        keys[i] = help_key("P-256");
        ok(station_request_make(&st, &a[i], keys[i], i, &e));
    }
    /* each worker in its turn, in the middle of its work, and back before the next */
    for (size_t first = 0; first < STATION_QUOTA; first += ROUND) {
        pid_t pid = station_worker(&st, first / ROUND % 2);

        for (size_t i = first; i < first + ROUND; i++) {
            q[i] = (struct load_request){&l, i};
            ok(signer_issue_async(l.bus, &a[i].q, on_certificate, &q[i], &e));
        }
        sd_bus_flush(l.bus);
        wait_answers(&l, first + 1);
        kill(pid, SIGKILL);
        wait_answers(&l, first + ROUND);
        station_wait_ready(&st, 2);
    }
    assert_int_equal(l.failed, 0);
    /* the same again gives the same */
    for (size_t i = 0; i < STATION_QUOTA; i++) {
        struct buf cert = BUF_INIT;
        bool fresh;

        ok(station_issue(&st, i, keys[i], &cert, &fresh, &e));
        assert_false(fresh);
        assert_int_equal(cert.len, l.certs[i].len);
        assert_memory_equal(cert.data, l.certs[i].data, cert.len);
        buf_done(&cert);
        buf_done(&l.certs[i]);
        station_request_done(&a[i]);
        EVP_PKEY_free(keys[i]);
    }
    sd_bus_close_unref(l.bus);
    sd_event_unref(l.event);
}

/* kill -9 of signerd while requests are under way: what was answered stays, what was not can be
 * asked for again. */
static void killed_signer_keeps_its_word(void **state)
{
    struct load l = {0};
    struct load_request q[STATION_QUOTA];
    EVP_PKEY *keys[STATION_QUOTA];
    struct station_request a[STATION_QUOTA];
    struct err e = {0};

    (void)state;
    station_start(&st);
    station_wait_ready(&st, 2);
    sd_event_new(&l.event);
    ok(signer_open(&st.paths, l.event, &l.bus, &e));
    for (size_t i = 0; i < STATION_QUOTA; i++) {
        keys[i] = help_key("P-256");
        ok(station_request_make(&st, &a[i], keys[i], i, &e));
        q[i] = (struct load_request){&l, i};
        ok(signer_issue_async(l.bus, &a[i].q, on_certificate, &q[i], &e));
    }
    while (l.done < 5)
        assert_true(sd_event_run(l.event, 20000000) > 0);
    station_stop(&st, SIGKILL);
    while (l.answered < STATION_QUOTA)
        assert_true(sd_event_run(l.event, 20000000) > 0);
    station_start(&st);
    for (size_t i = 0; i < STATION_QUOTA; i++) {
        struct buf cert = BUF_INIT;
        bool fresh;

        ok(station_issue(&st, i, keys[i], &cert, &fresh, &e));
        if (l.certs[i].len) {
            assert_false(fresh);
            assert_memory_equal(cert.data, l.certs[i].data, cert.len);
        }
        buf_done(&cert);
        buf_done(&l.certs[i]);
        station_request_done(&a[i]);
        EVP_PKEY_free(keys[i]);
    }
    sd_bus_close_unref(l.bus);
    sd_event_unref(l.event);
}

/* The same device asked for twice at once: one certificate. */
static void same_device_at_once(void **state)
{
    struct load l = {0};
    struct load_request q[4] = {{&l, 0}, {&l, 1}, {&l, 2}, {&l, 3}};
    EVP_PKEY *key = help_key("P-256"), *other = help_key("P-256");
    struct station_request a, b;
    struct err e = {0};

    (void)state;
    station_start(&st);
    sd_event_new(&l.event);
    ok(signer_open(&st.paths, l.event, &l.bus, &e));
    ok(station_request_make(&st, &a, key, 0, &e));
    ok(station_request_make(&st, &b, other, 0, &e));
    for (size_t i = 0; i < 3; i++)
        ok(signer_issue_async(l.bus, &a.q, on_certificate, &q[i], &e));
    ok(signer_issue_async(l.bus, &b.q, on_certificate, &q[3], &e));
    while (l.answered < 4)
        assert_true(sd_event_run(l.event, 20000000) > 0);
    assert_int_equal(l.done, 3);
    assert_int_equal(l.certs[3].len, 0);
    assert_memory_equal(l.certs[0].data, l.certs[1].data, l.certs[0].len);
    assert_memory_equal(l.certs[0].data, l.certs[2].data, l.certs[0].len);
    for (size_t i = 0; i < 4; i++)
        buf_done(&l.certs[i]);
    station_request_done(&a);
    station_request_done(&b);
    sd_bus_close_unref(l.bus);
    sd_event_unref(l.event);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

/* A worker that hangs is given up after its deadline, and its request goes to the next, which by
 * then works again. */
static void hanging_module(void **state)
{
    struct load l = {0};
    struct load_request q = {&l, 0};
    EVP_PKEY *key = help_key("P-256");
    struct station_request a;
    struct err e = {0};

    (void)state;
    station_config(&st, "workers = 1\n");
    station_start(&st);
    station_wait_ready(&st, 1);
    sd_event_new(&l.event);
    ok(signer_open(&st.paths, l.event, &l.bus, &e));
    ok(station_request_make(&st, &a, key, 0, &e));
    station_fault(&st, "hang");
    ok(signer_issue_async(l.bus, &a.q, on_certificate, &q, &e));
    sd_bus_flush(l.bus);
    help_rest_ms(500);
    station_fault(&st, "");
    while (l.answered < 1)
        assert_true(sd_event_run(l.event, 20000000) > 0);
    assert_int_equal(l.failed, 0);
    buf_done(&l.certs[0]);
    station_request_done(&a);
    sd_bus_close_unref(l.bus);
    sd_event_unref(l.event);
    EVP_PKEY_free(key);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
            FLOW_TEST(killed_workers_lose_nothing),
            FLOW_TEST(killed_signer_keeps_its_word),
            FLOW_TEST(same_device_at_once),
            FLOW_TEST(hanging_module),
    };

    return FLOW_RUN(argc, argv, tests);
}
