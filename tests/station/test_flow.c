/* The way of one device: a scripted device in memory on one side, a scripted jobd behind the real
 * door on the other. (test_flow_outage.c has what is the station's fault.) */
#include "base/jwe.h"
#include "flow_rig.h"

/* --- the good way --- */

static void passes(void **state)
{
    (void)state;
    assert_ends(ERR_NONE);
    assert_string_equal(jobd->order, "CNZAK");
    assert_string_equal(jobd->claimed_hwid, "hw-1");
    assert_string_equal(jobd->claimed_name, "sensor-0001");
    assert_int_equal(device.objects[DRIVER_CERT].len, jobd->cert_len);
    assert_memory_equal(device.objects[DRIVER_CERT].data, jobd->cert, jobd->cert_len);
    assert_string_equal(buf_str(&device.objects[DRIVER_CHAIN]), "the chain");
    assert_true(device.identity.sealed);
    assert_int_equal(device.calls[S_READBACK], 3);
    assert_shown("working sensor-0001: making its key");
}

static void no_two_challenges_are_alike(void **state)
{
    (void)state;
    uint8_t first[NONCE_BYTES], zero[NONCE_BYTES] = {0};
    assert_ends(ERR_NONE);
    memcpy(first, jobd->challenge, sizeof first);
    assert_memory_not_equal(first, zero, sizeof first);
    jobd->registered = false;
    device.identity.sealed = false;
    assert_ends(ERR_NONE);
    assert_memory_not_equal(first, jobd->challenge, sizeof first);
}

static void check_pass_waits(struct fake_device *d, enum stage s)
{
    (void)d;
    if (s == S_VERDICT)
        assert_true(jobd->registered);
}

static void pass_is_shown_only_after_complete_was_answered(void **state)
{
    (void)state;
    jobd->complete_delay_ms = 300;
    device.on_stage = check_pass_waits;
    device.pull_after_verdict_ms = 100;
    serve();
    assert_true(device.passed);
    assert_false(device.failed);
    assert_shown("pass sensor-0001: ");
    assert_shown("empty : ");
    assert_false(jobd->pass_too_early);
    assert_int_equal(jobd->calls[M_FAIL], 0);
}

/* --- a device that cannot make its key --- */

static void a_key_is_brought(void **state)
{
    (void)state;
    device.identity.takes_key = true;
    jobd->keys_from_signer = true;
    assert_ends(ERR_NONE);
    assert_string_equal(jobd->order, "CNMNZAK");
    assert_int_equal(device.calls[S_KEYGEN], 0);
    assert_int_equal(device.calls[S_INSTALL_KEY], 1);
    assert_int_equal(device.brought.len, jobd->made_len);
    assert_memory_equal(device.brought.data, jobd->made, jobd->made_len);
}

/* What it has from an earlier run is certified, not replaced. */
static void one_that_has_a_key_gets_no_other(void **state)
{
    (void)state;
    device.identity.takes_key = true;
    device.identity.keyed = true;
    assert_ends(ERR_NONE); /* whether it is allowed is the signer's to say, who knows the key */
    assert_string_equal(jobd->order, "CNZAK");
    assert_int_equal(device.calls[S_KEYGEN] + device.calls[S_INSTALL_KEY], 0);
}

static void one_that_can_make_its_key_makes_it(void **state)
{
    (void)state;
    jobd->keys_from_signer = true;
    assert_ends(ERR_NONE);
    assert_string_equal(jobd->order, "CNZAK");
    assert_int_equal(device.calls[S_KEYGEN], 1);
}

static void no_key_is_brought_unless_the_job_allows_it(void **state)
{
    (void)state;
    device.identity.takes_key = true;
    assert_ends(ERR_KEY_ORIGIN);
    assert_string_equal(jobd->order, "CF");
    assert_string_equal(jobd->failed_with, "KeyOrigin");
    assert_false(jobd->quarantined);
    memset(jobd->order, 0, sizeof jobd->order);
    jobd->keys_from_signer = true;
    jobd->refuse[M_MAKE_KEY] = ERR_KEY_ORIGIN; /* the signer's own configuration */
    jobd->refusals[M_MAKE_KEY] = 1;
    assert_ends(ERR_KEY_ORIGIN);
    assert_string_equal(jobd->order, "CNMF");
    assert_int_equal(device.calls[S_INSTALL_KEY], 0);
}

static void a_signer_that_is_away_is_waited_for(void **state)
{
    (void)state;
    device.identity.takes_key = true;
    jobd->keys_from_signer = true;
    jobd->refuse[M_MAKE_KEY] = ERR_UNAVAILABLE;
    jobd->refusals[M_MAKE_KEY] = 1;
    assert_ends(ERR_NONE);
    assert_string_equal(jobd->order, "CNMNMNZAK");
    assert_shown("waiting sensor-0001: ");
}

static void a_key_that_was_changed_on_its_way_is_not_installed(void **state)
{
    (void)state;
    device.identity.takes_key = true;
    jobd->keys_from_signer = true;
    jobd->damage_jwe = true;
    device.pull_after_ms = 300; /* a fault of the station's, which is waited out till then */
    serve();
    assert_shown("waiting sensor-0001: ");
    assert_int_equal(device.calls[S_INSTALL_KEY], 0);
}

/* Then the station cannot read it: the device gets what the signer sealed for it. */
static void with_a_transport_key_it_comes_sealed(void **state)
{
    (void)state;
    EVP_PKEY *own;
    struct secret opened;
    struct err e = {0};
    assert_ok(jwe_key_new(&own, device.identity.transport_key, &e), &e);
    device.identity.transport_key_len = JWE_SPKI_BYTES;
    device.identity.takes_key = true;
    jobd->keys_from_signer = true;
    assert_ends(ERR_NONE);
    assert_ok(secret_open(&e), &e);
    assert_ok(
            jwe_open(own, JWE_TYPE_KEY, device.brought.data, device.brought.len, &opened, &e), &e);
    assert_int_equal(opened.len, jobd->made_len);
    assert_memory_equal(opened.bytes, jobd->made, jobd->made_len);
    secret_done(&opened);
    EVP_PKEY_free(own);
}

/* --- a device that fails --- */

static void a_failing_stage_fails_the_run_with_its_reason(void **state)
{
    static const enum stage stages[] = {
            S_KEYGEN, S_CSR, S_INSTALL, S_READBACK, S_CHALLENGE, S_SEAL};
    static const enum err_id ids[] = {ERR_DEVICE_REFUSED, ERR_DEVICE_SILENT, ERR_DEVICE_GARBAGE,
            ERR_DEVICE_UNSUPPORTED, ERR_DEVICE_GONE, ERR_PORT};
    (void)state;
    for (size_t s = 0; s < sizeof stages / sizeof *stages; s++)
        for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
            memset(device.fail, 0, sizeof device.fail);
            device.fail[stages[s]] = ids[i];
            device.identity.sealed = false;
            memset(jobd->failed_with, 0, sizeof jobd->failed_with);
            assert_ends(ids[i]);
            assert_string_equal(jobd->failed_with, err_name(ids[i]));
            assert_false(jobd->quarantined);
        }
    assert_int_equal(jobd->calls[M_COMPLETE], 0);
    assert_false(jobd->registered);
}

static void before_the_claim_there_is_nothing_to_fail(void **state)
{
    (void)state;
    device.fail[S_IDENTIFY] = ERR_DEVICE_GARBAGE;
    assert_ends(ERR_DEVICE_GARBAGE);
    assert_string_equal(jobd->order, "");
}

static void jobds_refusals_come_through(void **state)
{
    static const struct {
        enum method method;
        enum err_id id;
        const char *order;
        bool quarantine;
    } cases[] = {
            {M_CLAIM, ERR_DEVICE_UNKNOWN, "C", false},
            {M_CLAIM, ERR_CERT_REVOKED, "C", false},
            {M_CLAIM, ERR_DEVICE_QUARANTINED, "C", false},
            {M_NONCE, ERR_TICKET_EXPIRED, "CNF", false},
            {M_CERTIFY, ERR_QUOTA, "CNZF", false},
            {M_CERTIFY, ERR_KEY_CHANGED, "CNZF", false},
            {M_CERTIFY, ERR_CSR, "CNZF", false},
            {M_CERTIFY, ERR_POSSESSION, "CNZF", true},
            {M_CERTIFY, ERR_KEY_REUSED, "CNZF", true},
            {M_ADVANCE, ERR_BAD_STATE, "CNZAF", false},
            {M_COMPLETE, ERR_DEVICE_CHALLENGE, "CNZAKF", true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memset(jobd->order, 0, sizeof jobd->order);
        jobd->quarantined = false;
        device.identity.sealed = false;
        jobd->refuse[cases[i].method] = cases[i].id;
        jobd->refusals[cases[i].method] = 1;
        assert_ends(cases[i].id);
        assert_string_equal(jobd->order, cases[i].order);
        assert_int_equal(jobd->quarantined, cases[i].quarantine);
    }
}

static void any_answer_to_fail_is_borne(void **state)
{
    (void)state;
    device.fail[S_KEYGEN] = ERR_DEVICE_REFUSED;
    jobd->refuse[M_FAIL] = ERR_BAD_STATE;
    jobd->refusals[M_FAIL] = 1;
    assert_ends(ERR_DEVICE_REFUSED);
    wait_until(jobd->connections_lost == 1); /* which ends a run that could not be ended */
    jobd->die_in = M_FAIL;
    jobd->die_times = 1;
    assert_ends(ERR_DEVICE_REFUSED);
}

static void a_fail_stays_until_the_device_is_out(void **state)
{
    (void)state;
    device.fail[S_INSTALL] = ERR_DEVICE_REFUSED;
    device.fail[S_VERDICT] = ERR_DEVICE_UNSUPPORTED; /* no lamp: no matter */
    device.pull_after_verdict_ms = 700;
    int64_t start = time_monotonic_ms();
    serve();
    assert_true(time_monotonic_ms() - start >= 690);
    assert_true(device.failed);
    assert_false(device.passed);
    assert_shown("fail sensor-0001: installing the certificate: scripted (The device refused a "
                 "step: set it aside");
    assert_int_equal(jobd->calls[M_CLAIM], 1); /* not tried again by itself */
}

static void stop_restarting(struct fake_device *d, enum stage s)
{
    d->pulled |= s == S_OPEN && d->calls[S_OPEN] == 3;
}

/* Its power breaks down at its first work, on a port that does not hang up: each hello is good. */
static void one_that_restarts_all_the_time_does_not_fill_the_registry(void **state)
{
    (void)state;
    device.fail[S_KEYGEN] = device.fail[S_PING] = ERR_DEVICE_GONE;
    device.on_stage = stop_restarting;
    int64_t start = time_monotonic_ms();
    serve();
    serve();
    assert_true(time_monotonic_ms() - start >= 2 * SLOT_TROUBLE_MS - 10);
    start = time_monotonic_ms();
    serve(); /* pulled: the next one may be in already */
    assert_true(time_monotonic_ms() - start < SLOT_TROUBLE_MS);
}

static void fall_silent(struct fake_device *d, enum stage s)
{
    if (s == S_INSTALL)
        d->fail[S_INSTALL] = d->fail[S_OPEN] = d->fail[S_PING] = d->fail[S_VERDICT] =
                ERR_DEVICE_SILENT;
    if (d->opened_ms && s == S_OPEN && d->calls[S_OPEN] == 4)
        d->pulled = true;
    if (d->pulled)
        d->fail[S_OPEN] = ERR_DEVICE_GONE;
}

static void dead_in_its_port_it_stays_a_fail(void **state)
{
    (void)state;
    device.on_stage = fall_silent;
    serve();
    assert_int_equal(device.calls[S_OPEN], 4); /* asked until the port hung up */
    assert_int_equal(jobd->calls[M_CLAIM], 1);
    assert_shown("empty : ");
    assert_string_equal(jobd->failed_with, "DeviceSilent");
    for (unsigned i = 0; i + 1 < jobd->tile_count; i++) /* FAIL was the last before that */
        if (strncmp(jobd->tiles[i], "fail", 4) == 0)
            assert_int_equal(strncmp(jobd->tiles[i + 1], "empty", 5), 0);
}

static void come_back_once(struct fake_device *d, enum stage s)
{
    if (s == S_INSTALL)
        d->fail[S_INSTALL] = ERR_DEVICE_SILENT;
    if (s == S_PING && d->calls[S_PING] == 2)
        d->pulled = true;
}

static void slow_once_it_is_not_run_again_by_itself(void **state)
{
    (void)state;
    device.on_stage = come_back_once;
    serve();
    assert_int_equal(device.calls[S_OPEN], 2);
    assert_int_equal(jobd->calls[M_CLAIM], 1);
}

/* --- a device that lies --- */

static void only_its_own_key_proves_it(void **state)
{
    bool *const lies[] = {
            &device.wrong_key, &device.forget_nul, &device.empty_signature, &device.huge_signature};
    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        *lies[i] = true;
        jobd->quarantined = false;
        assert_ends(ERR_DEVICE_CHALLENGE);
        assert_true(jobd->quarantined);
        *lies[i] = false;
    }
    assert_int_equal(jobd->calls[M_COMPLETE], 0);
    assert_int_equal(device.calls[S_SEAL], 0); /* a liar is not sealed */
}

static void requests_have_a_size(void **state)
{
    (void)state;
    device.huge_csr = true;
    assert_ends(ERR_CSR);
    device.huge_csr = false;
    device.empty_csr = true;
    assert_ends(ERR_CSR);
    assert_int_equal(jobd->calls[M_CERTIFY], 0);
}

static void what_reads_back_differently_is_found(void **state)
{
    (void)state;
    device.flip_readback = true;
    assert_ends(ERR_DEVICE_READBACK);
    device.flip_readback = false;
    device.short_readback = true;
    assert_ends(ERR_DEVICE_READBACK);
    assert_int_equal(jobd->calls[M_ADVANCE], 0);
}

static void names_that_are_no_text_do_not_leave_us(void **state)
{
    (void)state;
    memset(device.identity.hwid, 'A', sizeof device.identity.hwid); /* no NUL */
    assert_ends(ERR_DEVICE_GARBAGE);
    strcpy(device.identity.hwid, "hw\x1b[2J");
    assert_ends(ERR_DEVICE_GARBAGE);
    strcpy(device.identity.hwid, "hw\xc2\x9b[2J"); /* CSI as a character of C1 */
    assert_ends(ERR_DEVICE_GARBAGE);
    strcpy(device.identity.hwid, "hw\xc0\xaf");
    assert_ends(ERR_DEVICE_GARBAGE);
    strcpy(device.identity.hwid, "");
    strcpy(device.identity.name, "");
    assert_ends(ERR_DEVICE_GARBAGE);
    assert_string_equal(jobd->order, "");
}

/* --- a device that comes back --- */

static void pulled_after_certification_it_goes_on(void **state)
{
    (void)state;
    device.fail[S_INSTALL] = ERR_DEVICE_GONE;
    assert_ends(ERR_DEVICE_GONE);
    assert_string_equal(jobd->failed_with, "DeviceGone");
    device.fail[S_INSTALL] = ERR_NONE;
    jobd->certified_before = true;
    memset(jobd->order, 0, sizeof jobd->order);
    assert_ends(ERR_NONE);
    assert_string_equal(jobd->order, "CNZAK"); /* the signer gives the same certificate again */
}

static void sealed_but_not_recorded_it_only_proves_itself(void **state)
{
    struct err e = {0};
    (void)state;
    device.identity.sealed = true;
    jobd->certified_before = true;
    assert_ok(buf_append(&device.objects[DRIVER_CERT], jobd->cert, jobd->cert_len, &e), &e);
    assert_ends(ERR_NONE);
    assert_string_equal(jobd->order, "CAK");
    assert_int_equal(device.calls[S_KEYGEN] + device.calls[S_CSR] + device.calls[S_INSTALL] +
                             device.calls[S_SEAL],
            0);
    assert_int_equal(device.calls[S_CHALLENGE], 1);
}

static void sealed_with_anything_else_it_is_not_ours(void **state)
{
    struct err e = {0};
    (void)state;
    device.identity.sealed = true;
    assert_ends(ERR_DEVICE_SEALED); /* never certified here */
    jobd->certified_before = true;
    assert_ends(ERR_DEVICE_SEALED); /* holds none */
    assert_ok(buf_append(&device.objects[DRIVER_CERT], jobd->cert, jobd->cert_len, &e), &e);
    device.objects[DRIVER_CERT].data[20] ^= 1;
    assert_ends(ERR_DEVICE_SEALED);
    device.objects[DRIVER_CERT].data[20] ^= 1;
    device.wrong_key = true; /* the certificate is public: a copy of it proves nothing */
    assert_ends(ERR_DEVICE_CHALLENGE);
    assert_true(jobd->quarantined);
    assert_int_equal(jobd->calls[M_COMPLETE], 0);
}

/* Its slot died before it could say PASS, or somebody is not sure: nothing is done to it. */
static void registered_it_only_proves_itself_again(void **state)
{
    struct err e = {0};
    (void)state;
    jobd->registered = true;
    device.identity.sealed = true;
    device.pull_after_verdict_ms = 1;
    assert_ok(buf_append(&device.objects[DRIVER_CERT], jobd->cert, jobd->cert_len, &e), &e);
    serve();
    assert_true(device.passed);
    assert_false(device.failed);
    assert_string_equal(jobd->order, "C");
    assert_int_equal(device.calls[S_KEYGEN] + device.calls[S_CSR] + device.calls[S_INSTALL] +
                             device.calls[S_SEAL],
            0);
    assert_int_equal(device.calls[S_CHALLENGE], 1);
    assert_shown("pass sensor-0001: registered before");
}

static void registered_anything_else_is_no_pass(void **state)
{
    struct err e = {0};
    (void)state;
    jobd->registered = true;
    device.identity.sealed = true;
    assert_ends(ERR_DEVICE_DONE); /* it holds none */
    device.fail[S_READBACK] = ERR_DEVICE_REFUSED;
    assert_ends(ERR_DEVICE_DONE);
    device.fail[S_READBACK] = ERR_DEVICE_SILENT;
    assert_ends(ERR_DEVICE_SILENT);
    device.fail[S_READBACK] = ERR_NONE;
    assert_ok(buf_append(&device.objects[DRIVER_CERT], jobd->cert, jobd->cert_len, &e), &e);
    device.objects[DRIVER_CERT].data[20] ^= 1;
    assert_ends(ERR_DEVICE_DONE);
    device.objects[DRIVER_CERT].data[20] ^= 1;
    device.wrong_key = true; /* the certificate is public: a copy of it proves nothing */
    assert_ends(ERR_DEVICE_CHALLENGE);
    assert_string_equal(jobd->order, "CCCCC"); /* the registry hears nothing of it */
    device.wrong_key = false;
    assert_ends(ERR_NONE);
    device.identity.sealed = false; /* it was sealed before it was recorded */
    assert_ends(ERR_DEVICE_DONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            FLOW_CASE(passes),
            cmocka_unit_test_setup_teardown(passes, flow_set_up_rsa, flow_tear_down),
            FLOW_CASE(no_two_challenges_are_alike),
            FLOW_CASE(pass_is_shown_only_after_complete_was_answered),
            FLOW_CASE(a_key_is_brought),
            FLOW_CASE(one_that_has_a_key_gets_no_other),
            FLOW_CASE(one_that_can_make_its_key_makes_it),
            FLOW_CASE(no_key_is_brought_unless_the_job_allows_it),
            FLOW_CASE(a_signer_that_is_away_is_waited_for),
            FLOW_CASE(a_key_that_was_changed_on_its_way_is_not_installed),
            FLOW_CASE(with_a_transport_key_it_comes_sealed),
            FLOW_CASE(a_failing_stage_fails_the_run_with_its_reason),
            FLOW_CASE(before_the_claim_there_is_nothing_to_fail),
            FLOW_CASE(jobds_refusals_come_through),
            FLOW_CASE(any_answer_to_fail_is_borne),
            FLOW_CASE(a_fail_stays_until_the_device_is_out),
            FLOW_CASE(one_that_restarts_all_the_time_does_not_fill_the_registry),
            FLOW_CASE(dead_in_its_port_it_stays_a_fail),
            FLOW_CASE(slow_once_it_is_not_run_again_by_itself),
            FLOW_CASE(only_its_own_key_proves_it),
            FLOW_CASE(requests_have_a_size),
            FLOW_CASE(what_reads_back_differently_is_found),
            FLOW_CASE(names_that_are_no_text_do_not_leave_us),
            FLOW_CASE(pulled_after_certification_it_goes_on),
            FLOW_CASE(sealed_but_not_recorded_it_only_proves_itself),
            FLOW_CASE(sealed_with_anything_else_it_is_not_ours),
            FLOW_CASE(registered_it_only_proves_itself_again),
            FLOW_CASE(registered_anything_else_is_no_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
