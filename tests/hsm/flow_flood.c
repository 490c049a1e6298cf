/* A peer that asks for cheap things without end, against the real signer: what others asked for is answered all the same. What is
 * measured is how many answers the flood got meanwhile, not how long it took. */
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "hsm/signer_client.h"
#include "tests/hsm/station.h"

#define FLOODERS 2   /* so that there is always one that has something to say */
#define WINDOW   512 /* questions of each that are not answered yet */
#define TURNS    16
/* Measured: up to 5,500 answers of the flood for a certificate; 35,000 and more when its commit waits for an idle moment. */
#define PATIENCE 15000

static atomic_ulong *answered; /* of all flooders */
static pid_t flooders[FLOODERS];

static int setup(void **state)
{
    (void)state;
    answered =
            mmap(NULL, sizeof *answered, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(answered != MAP_FAILED);
    station_open(&st, NULL);
    station_start(&st);
    station_wait_vouched(&st);
    station_wait_ready(&st, 2);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < FLOODERS; i++)
        if (flooders[i]) {
            kill(flooders[i], SIGKILL);
            waitpid(flooders[i], NULL, 0);
            flooders[i] = 0;
        }
    station_close(&st);
    munmap(answered, sizeof *answered);
    return 0;
}

/* ---- a flooder, in a process of its own */

struct flooder {
    sd_bus *bus;
    bool nonces; /* or the status */
};

static void on_answer(
        void *ctx, const uint8_t *bytes, size_t len, unsigned marks, const struct err *e);

static void ask(struct flooder *f)
{
    struct err e = {0};
    int r = f->nonces ? signer_nonce_async(f->bus, st.ticket.job, 0, on_answer, f, &e)
                      : signer_status_async(f->bus, on_answer, f, &e);

    if (r < 0)
        _exit(1);
}

static void on_answer(
        void *ctx, const uint8_t *bytes, size_t len, unsigned marks, const struct err *e)
{
    (void)bytes, (void)len, (void)marks;
    if (e)
        _exit(2);
    atomic_fetch_add(answered, 1);
    ask(ctx);
}

static void flood(bool nonces)
{
    struct flooder f = {.nonces = nonces};
    sd_event *event;
    struct err e = {0};

    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (sd_event_new(&event) < 0 || signer_open(&st.paths, event, &f.bus, &e) < 0)
        _exit(3);
    for (int i = 0; i < WINDOW; i++)
        ask(&f);
    sd_event_loop(event);
    _exit(4);
}

static void start_flood(bool nonces)
{
    atomic_store(answered, 0);
    for (size_t i = 0; i < FLOODERS; i++) {
        flooders[i] = fork();
        assert_true(flooders[i] >= 0);
        if (!flooders[i])
            flood(nonces);
    }
    for (int i = 0; i < 2000 && atomic_load(answered) < 2 * FLOODERS * WINDOW; i++)
        help_rest_ms(10);
    assert_true(atomic_load(answered) >= 2 * FLOODERS * WINDOW);
}

/* ---- who waits for a certificate meanwhile */

static void issue_in_a_flood(bool nonces)
{
    unsigned long most = 0, before, meanwhile;
    struct err e = {0};

    start_flood(nonces);
    for (size_t i = 0; i < TURNS; i++) {
        EVP_PKEY *key = help_key("P-256");
        struct buf cert = BUF_INIT;
        bool fresh;

        before = atomic_load(answered);
        ok(station_issue(&st, i, key, &cert, &fresh, &e));
        meanwhile = atomic_load(answered) - before;
        most = meanwhile > most ? meanwhile : most;
        buf_done(&cert);
        EVP_PKEY_free(key);
    }
    print_message("at most %lu answers of the flood for a certificate\n", most);
    assert_true(most < PATIENCE);
    for (size_t i = 0; i < FLOODERS; i++) /* it was one to the end */
        assert_int_equal(waitpid(flooders[i], NULL, WNOHANG), 0);
}

static void flooded_with_status(void **state)
{
    (void)state;
    issue_in_a_flood(false);
}

static void flooded_with_nonces(void **state)
{
    (void)state;
    issue_in_a_flood(true);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define FLOOD_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
            FLOOD_TEST(flooded_with_status),
            FLOOD_TEST(flooded_with_nonces),
    };

    return FLOW_RUN(argc, argv, tests);
}
