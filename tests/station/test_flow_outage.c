/* The way of one device while jobd, the signer or the station is not well: none of it costs a device. */
#include "flow_rig.h"
#include "station/serve.h"

static void stale_nonces_are_renewed(void **state)
{
    (void)state;
    jobd->refuse[M_CERTIFY] = ERR_NONCE;
    jobd->refusals[M_CERTIFY] = 3;
    assert_ends(ERR_NONE);
    assert_string_equal(jobd->order, "CNZNZNZNZAK");
    assert_int_equal(device.calls[S_CSR], 4);
}

static void but_not_for_ever_in_one_attempt(void **state)
{
    (void)state;
    jobd->refuse[M_CERTIFY] = ERR_NONCE;
    jobd->refusals[M_CERTIFY] = 100;
    assert_ends(ERR_NONCE);
    assert_int_equal(jobd->calls[M_CERTIFY], 4);
    assert_int_equal(jobd->calls[M_FAIL], 0);
}

static void a_token_that_is_away_is_waited_for_within_the_run(void **state)
{
    (void)state;
    jobd->refuse[M_CERTIFY] = ERR_TOKEN_ABSENT;
    jobd->refusals[M_CERTIFY] = 1;
    device.pull_after_verdict_ms = 10;
    serve();
    assert_true(device.passed);
    assert_int_equal(jobd->calls[M_CLAIM], 1);
    assert_int_equal(jobd->calls[M_FAIL], 0);
    assert_shown("waiting sensor-0001: ");
}

static void pulled_while_waiting_ends_the_run(void **state)
{
    (void)state;
    jobd->refuse[M_CERTIFY] = ERR_TOKEN_ABSENT;
    jobd->refusals[M_CERTIFY] = 1000;
    device.pull_after_ms = 200;
    serve();
    assert_string_equal(jobd->failed_with, "DeviceGone");
    assert_false(device.passed || device.failed);
}

static void faults_of_the_station_are_waited_out(void **state)
{
    static const enum err_id ids[] = {
            ERR_STORE, ERR_DISK_FULL, ERR_TIMEOUT, ERR_UNAVAILABLE, ERR_PROTOCOL};
    static const enum method methods[] = {M_CLAIM, M_ADVANCE, M_COMPLETE};
    (void)state;
    for (size_t m = 0; m < sizeof methods / sizeof *methods; m++)
        for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
            next_device();
            /* at Complete it is sealed, and comes back as certified */
            jobd->certified_before = methods[m] == M_COMPLETE;
            jobd->refuse[methods[m]] = ids[i];
            jobd->refusals[methods[m]] = 1;
            serve();
            assert_true(device.passed);
            assert_shown("pass sensor-0001: ");
        }
    assert_false(device.failed);
    assert_int_equal(jobd->calls[M_FAIL], 0);
    assert_false(jobd->pass_too_early);
}

/* jobd ends in each method and comes back; the device stays plugged in all the while. */
static void restart_jobd(struct fake_device *d, enum stage s)
{
    (void)d;
    if (s == S_PING && jobd->die_times == 0 && panel.bus == NULL) {
        jobd->certified_before = jobd->calls[M_CERTIFY] > 1 || jobd->die_in > M_CERTIFY;
        fake_jobd_start(jobd);
    }
}

static void a_jobd_that_dies_anywhere_costs_no_device(void **state)
{
    (void)state;
    device.on_stage = restart_jobd;
    for (enum method m = M_CLAIM; m <= M_COMPLETE; m++) {
        next_device();
        jobd->die_in = m;
        jobd->die_times = 1;
        serve();
        assert_true(device.passed);
        assert_false(device.failed);
        assert_true(jobd->registered);
    }
}

static void a_record_whose_answer_was_lost_is_a_pass(void **state)
{
    (void)state;
    device.on_stage = restart_jobd;
    device.pull_after_verdict_ms = 1;
    jobd->die_in = M_COMPLETE;
    jobd->die_times = 1;
    jobd->die_after_commit = true;
    serve();
    assert_true(device.passed);
    assert_false(device.failed);
    assert_shown("pass sensor-0001: ");
    assert_false(jobd->pass_too_early);
}

static void without_jobd_it_waits_and_shows_its_tile_later(void **state)
{
    (void)state;
    fake_jobd_kill(jobd);
    device.on_stage = restart_jobd;
    device.pull_after_verdict_ms = 1;
    serve();
    assert_true(device.passed);
}

static void a_tile_outlives_jobd(void **state)
{
    (void)state;
    struct err e = {0};
    assert_ok(panel_connect(&panel, &e), &e);
    panel_show(&panel, SLOT_FAIL, "sensor-0007", "a reason");
    wait_until((panel_refresh(&panel), fake_jobd_saw(jobd, "fail sensor-0007: a reason")));
    fake_jobd_kill(jobd);
    jobd->tile_count = 0;
    panel_refresh(&panel);
    fake_jobd_start(jobd);
    wait_until((panel_refresh(&panel), fake_jobd_saw(jobd, "fail sensor-0007: a reason")));
}

static void nobody_there_is_said_at_once(void **state)
{
    (void)state;
    struct err e = {0};
    device.fail[S_OPEN] = ERR_DEVICE_SILENT;
    assert_err(serve_device(&fake_driver, &device.io, &panel, &e), &e, ERR_DEVICE_SILENT);
    assert_string_equal(jobd->order, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            FLOW_CASE(stale_nonces_are_renewed),
            FLOW_CASE(but_not_for_ever_in_one_attempt),
            FLOW_CASE(a_token_that_is_away_is_waited_for_within_the_run),
            FLOW_CASE(pulled_while_waiting_ends_the_run),
            FLOW_CASE(faults_of_the_station_are_waited_out),
            FLOW_CASE(a_jobd_that_dies_anywhere_costs_no_device),
            FLOW_CASE(a_record_whose_answer_was_lost_is_a_pass),
            FLOW_CASE(without_jobd_it_waits_and_shows_its_tile_later),
            FLOW_CASE(a_tile_outlives_jobd),
            FLOW_CASE(nobody_there_is_said_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
