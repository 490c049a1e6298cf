#include "flow_rig.h"
#include "station/flow.h"
#include "station/serve.h"

struct fake_jobd *jobd;
struct fake_device device;
struct panel panel;

static int set_up_with(const char *key_type)
{
    jobd = fake_jobd_new();
    fake_device_init(&device, key_type);
    snprintf(jobd->key_type, sizeof jobd->key_type, "%s", key_type);
    jobd->cert_len = fake_device_cert(&device, jobd->cert, sizeof jobd->cert);
    fake_jobd_start(jobd);
    panel_init(&panel, &jobd->paths, "01", "/ports/slot01");
    return 0;
}

int flow_set_up(void **state)
{
    (void)state;
    return set_up_with("P-256");
}

int flow_set_up_rsa(void **state)
{
    (void)state;
    return set_up_with("RSA-2048");
}

int flow_tear_down(void **state)
{
    (void)state;
    panel_done(&panel);
    fake_device_done(&device);
    fake_jobd_free(jobd);
    return 0;
}

enum err_id flow_run_once(void)
{
    struct driver_session s = {.driver = &fake_driver, .io = &device.io};
    struct flow f;
    struct err e = {0};
    flow_init(&f, &s, &panel);
    if (flow_run(&f, &e) == 0)
        e.id = ERR_NONE;
    flow_done(&f);
    return e.id;
}

void serve(void)
{
    struct err e = {0};
    assert_ok(serve_device(&fake_driver, &device.io, &panel, &e), &e);
}

void next_device(void)
{
    if (jobd->tile_count)
        assert_shown("empty : ");
    jobd->tile_count = 0;
    jobd->registered = jobd->certified_before = false;
    device.identity.sealed = device.passed = false;
    device.verdict_ms = 0;
    device.pull_after_verdict_ms = 1;
}
