/* Two pools of workers in one process, each with a CA of its own. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-event.h>
#include "base/config.h"
#include "base/file.h"
#include "hsm/ca.h"
#include "hsm/workers/workers.h"
#include "hsm/x509/signature.h"
#include "tests/hsm/station.h"

struct pool_load {
    const struct ca *ca;
    size_t signed_, unavailable;
};

static void on_pool_signed(void *ctx, const uint8_t *sig, size_t len, const struct err *why)
{
    struct pool_load *l = ctx;
    struct err e = {0};

    if (why) {
        assert_int_equal(why->id, ERR_UNAVAILABLE);
        l->unavailable++;
        return;
    }
    ok(signature_verify(l->ca->key, l->ca->alg, "0text", 5, sig, len, &e));
    l->signed_++;
}

/* A CA of the station's ceremony: the issuing one, or the root alone. */
static struct ca *load_ca(bool root)
{
    char chain[PATH_MAX], alone[PATH_MAX], text[8192];
    struct buf pem = BUF_INIT;
    struct err e = {0};
    struct ca *ca;

    paths_get(&st.paths, PATH_CA_CHAIN, chain);
    if (root) {
        ok(file_read(chain, sizeof text - 1, &pem, &e));
        snprintf(text, sizeof text, "%s", strstr(buf_str(&pem) + 10, "-----BEGIN"));
        station_write(&st, "root.pem", text);
        station_path(&st, "root.pem", alone);
        buf_done(&pem);
    }
    ok(ca_load(root ? alone : chain, &ca, &e));
    return ca;
}

/* What a process needs before it has pools: two CAs, the station's configuration, an event loop that hears of ended workers. */
struct bench {
    struct ca *ca[2];
    struct config *config;
    sd_event *event;
    sigset_t before;
};

static void bench_open(struct bench *b)
{
    char path[PATH_MAX];
    struct err e = {0};
    sigset_t child;

    b->ca[0] = load_ca(false);
    b->ca[1] = load_ca(true);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, &b->before);
    paths_get(&st.paths, PATH_CONFIG, path);
    ok(config_load(path, &b->config, &e));
    assert_true(sd_event_new(&b->event) >= 0);
}

static void bench_close(struct bench *b)
{
    sigprocmask(SIG_SETMASK, &b->before, NULL);
    sd_event_unref(b->event);
    config_free(&b->config);
    ca_free(&b->ca[0]);
    ca_free(&b->ca[1]);
}

/* The first pool, or the second beside it. */
static struct workers *open_pool(const struct bench *b, size_t i, struct workers *first)
{
    struct workers *pool;
    struct err e = {0};

    ok(workers_open(
            &(struct workers_options){b->event, SIGNERD_TOKEN, b->ca[i], b->config, i, first},
            &pool, &e));
    return pool;
}

static void pools_live_side_by_side(void **state)
{
    struct bench b;
    struct pool_load load[2];
    struct workers *pool[2];
    struct err e = {0};

    (void)state;
    bench_open(&b);
    pool[0] = open_pool(&b, 0, NULL);
    pool[1] = open_pool(&b, 1, pool[0]);
    for (size_t i = 0; i < 2; i++)
        load[i] = (struct pool_load){.ca = b.ca[i]};
    assert_int_equal(workers_count(pool[0]), 2);
    assert_int_equal(workers_count(pool[1]), 1);
    for (int n = 0; n < 10; n++)
        for (size_t i = 0; i < 2; i++)
            ok(workers_sign(pool[i], "0text", 5, on_pool_signed, &load[i], &e));
    while (load[0].signed_ < 10 || load[1].signed_ < 10)
        assert_true(sd_event_run(b.event, 20000000) > 0);
    /* the second is closed in the middle of its work: every request is answered */
    for (int n = 0; n < 10; n++)
        ok(workers_sign(pool[1], "0text", 5, on_pool_signed, &load[1], &e));
    workers_close(&pool[1]);
    assert_int_equal(load[1].unavailable, 10);
    ok(workers_sign(pool[0], "0text", 5, on_pool_signed, &load[0], &e));
    while (load[0].signed_ < 11)
        assert_true(sd_event_run(b.event, 20000000) > 0);
    workers_close(&pool[0]);
    bench_close(&b);
}

static void on_refused(void *ctx, const uint8_t *sig, size_t len, const struct err *why)
{
    size_t *count = ctx;

    (void)sig, (void)len;
    assert_non_null(why);
    assert_int_equal(why->id, ERR_TOKEN_PIN);
    ++*count;
}

/* A PIN that was refused is given by no pool of the process again, whichever found it out. */
static void pools_share_a_refusal(void **state)
{
    struct bench b;
    struct workers *pool[2];
    struct err e = {0};
    size_t refused_count = 0, asked = 0;

    (void)state;
    station_write(&st, "etc/token.pin", "11111111\n");
    bench_open(&b);
    pool[0] = open_pool(&b, 0, NULL);
    for (int n = 0; n < 3; n++) { /* opened and closed, as for each CRL */
        pool[1] = open_pool(&b, 1, pool[0]);
        for (size_t i = 0; i < 2; i++) {
            if (workers_sign(pool[i], "0text", 5, on_refused, &refused_count, &e) == 0)
                asked++;
            else
                assert_int_equal(e.id, ERR_TOKEN_PIN);
            err_clear(&e);
        }
        while (refused_count < asked)
            assert_true(sd_event_run(b.event, 20000000) > 0);
        workers_close(&pool[1]);
    }
    assert_true(asked >= 1);
    assert_int_equal(station_logins(&st), 1);
    workers_close(&pool[0]);
    bench_close(&b);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
            FLOW_TEST(pools_live_side_by_side),
            FLOW_TEST(pools_share_a_refusal),
    };

    return FLOW_RUN(argc, argv, tests);
}
