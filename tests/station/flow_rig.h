/* A scripted device, and a scripted jobd behind the real door: what the tests of the way share. */
#pragma once
#include "station_test.h"

#include "fake_driver.h"
#include "fake_jobd.h"
#include "station/panel.h"

extern struct fake_jobd *jobd;
extern struct fake_device device;
extern struct panel panel;

/* For cmocka; the device's key is P-256, or RSA-2048. */
int flow_set_up(void **state);
int flow_set_up_rsa(void **state);
int flow_tear_down(void **state);
#define FLOW_CASE(f) cmocka_unit_test_setup_teardown(f, flow_set_up, flow_tear_down)

/* One attempt. */
enum err_id flow_run_once(void);
#define assert_ends(want) assert_string_equal(err_name(flow_run_once()), err_name(want))
/* A whole stay in the slot. */
void serve(void);
/* A tile is sent without waiting: give it the time to arrive. */
#define assert_shown(prefix) wait_until(fake_jobd_saw(jobd, prefix))
/* Another device for the same jobd: not before the last one's tiles are there, which jobd judges by what it has recorded. */
void next_device(void);
