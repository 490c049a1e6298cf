/* Many requests under way at once, and processes that are killed or hang among them: nothing that was answered is lost, and
 * nothing is given twice. */
#include <signal.h>
#include "tests/hsm/crowd_rig.h"

#define ROUND 12 /* requests under way when a worker is killed */
_Static_assert(STATION_QUOTA % ROUND == 0, "whole rounds");

/* A signer with so many workers that work, and a crowd before it. */
static void begin(struct crowd *crowd, size_t workers)
{
    station_start(&st);
    station_wait_ready(&st, workers);
    crowd_open(crowd);
}

/* The same again: who has a certificate gets it back, whoever has none gets one. */
static void ask_again(struct caller callers[STATION_QUOTA], EVP_PKEY *keys[STATION_QUOTA])
{
    struct err e = {0};

    for (size_t i = 0; i < STATION_QUOTA; i++) {
        struct buf cert = BUF_INIT, *had = &callers[i].cert;
        bool fresh;

        ok(station_issue(&st, i, keys[i], &cert, &fresh, &e));
        if (had->len) {
            assert_false(fresh);
            assert_int_equal(cert.len, had->len);
            assert_memory_equal(cert.data, had->data, cert.len);
        }
        buf_done(&cert);
        caller_done(&callers[i]);
        EVP_PKEY_free(keys[i]);
    }
}

static void killed_workers_lose_nothing(void **state)
{
    struct caller callers[STATION_QUOTA];
    EVP_PKEY *keys[STATION_QUOTA];
    struct crowd crowd;

    (void)state;
    begin(&crowd, 2);
    for (size_t i = 0; i < STATION_QUOTA; i++)
        caller_prepare(&callers[i], i, keys[i] = help_key("P-256"));
    /* each worker in its turn, in the middle of its work, and back before the next */
    for (size_t first = 0; first < STATION_QUOTA; first += ROUND) {
        pid_t pid = station_worker(&st, first / ROUND % 2);

        for (size_t i = first; i < first + ROUND; i++)
            caller_send(&crowd, &callers[i]);
        sd_bus_flush(crowd.bus);
        crowd_wait(&crowd, first + 1);
        kill(pid, SIGKILL);
        crowd_wait(&crowd, first + ROUND);
        station_wait_ready(&st, 2);
    }
    assert_int_equal(crowd.failed, 0);
    for (size_t i = 0; i < STATION_QUOTA; i++)
        assert_true(callers[i].cert.len > 0);
    ask_again(callers, keys);
    crowd_close(&crowd);
}

/* kill -9 of signerd while requests are under way: what was answered stays, what was not can be
 * asked for again. */
static void killed_signer_keeps_its_word(void **state)
{
    struct caller callers[STATION_QUOTA];
    EVP_PKEY *keys[STATION_QUOTA];
    struct crowd crowd;

    (void)state;
    begin(&crowd, 2);
    for (size_t i = 0; i < STATION_QUOTA; i++)
        caller_ask(&crowd, &callers[i], i, keys[i] = help_key("P-256"));
    while (crowd.answered - crowd.failed < 5)
        crowd_wait(&crowd, crowd.answered + 1);
    station_stop(&st, SIGKILL);
    crowd_wait(&crowd, STATION_QUOTA);
    station_start(&st);
    ask_again(callers, keys);
    crowd_close(&crowd);
}

/* The same device asked for twice at once: one certificate. */
static void same_device_at_once(void **state)
{
    struct caller callers[4] = {0};
    EVP_PKEY *key = help_key("P-256"), *other = help_key("P-256");
    struct crowd crowd;

    (void)state;
    station_start(&st);
    crowd_open(&crowd);
    caller_prepare(&callers[0], 0, key);
    callers[1].request.q = callers[2].request.q = callers[0].request.q; /* the very same */
    caller_prepare(&callers[3], 0, other);
    for (size_t i = 0; i < 4; i++)
        caller_send(&crowd, &callers[i]);
    crowd_wait(&crowd, 4);
    assert_int_equal(crowd.failed, 1);
    assert_int_equal(callers[3].cert.len, 0);
    for (size_t i = 1; i < 3; i++) {
        assert_int_equal(callers[0].cert.len, callers[i].cert.len);
        assert_memory_equal(callers[0].cert.data, callers[i].cert.data, callers[0].cert.len);
    }
    for (size_t i = 0; i < 4; i++)
        caller_done(&callers[i]);
    crowd_close(&crowd);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

/* A worker that hangs is given up after its deadline, and its request goes to the next, which by
 * then works again. */
static void hanging_module(void **state)
{
    struct caller caller;
    EVP_PKEY *key = help_key("P-256");
    struct crowd crowd;

    (void)state;
    station_config(&st, "workers = 1\n");
    begin(&crowd, 1);
    caller_prepare(&caller, 0, key);
    station_fault(&st, "hang");
    caller_send(&crowd, &caller);
    sd_bus_flush(crowd.bus);
    help_rest_ms(500);
    station_fault(&st, "");
    crowd_wait(&crowd, 1);
    assert_int_equal(crowd.failed, 0);
    caller_done(&caller);
    crowd_close(&crowd);
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
