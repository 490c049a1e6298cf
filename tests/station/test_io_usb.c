/* USB addresses. What needs a device is not tried here. */
#include "station_test.h"

#include "station/io_usb.h"

static void addresses_as_the_kernel_writes_them(void **state)
{
    (void)state;
    struct usb_address a;
    struct err e = {0};
    assert_ok(usb_address_parse("usb:2fe3:0100:1-4.2", &a, &e), &e);
    assert_int_equal(a.vendor, 0x2fe3);
    assert_int_equal(a.product, 0x0100);
    assert_int_equal(a.bus, 1);
    assert_int_equal(a.port_count, 2);
    assert_int_equal(a.ports[0], 4);
    assert_int_equal(a.ports[1], 2);
    assert_ok(usb_address_parse("usb:FFFF:0:255-1.2.3.4.5.6.255", &a, &e), &e);
    assert_int_equal(a.vendor, 0xffff);
    assert_int_equal(a.port_count, 7);
    assert_int_equal(a.ports[6], 255);
}

static void everything_else_is_refused(void **state)
{
    static const char *const wrong[] = {"", "usb:", "usb", "/dev/ttyUSB0", "USB:1:2:1-1", "usb:1:2",
            "usb:1:2:", "usb:1:2:1", "usb:1:2:1-", "usb:1:2:1-.1", "usb:1:2:1-1.", "usb:1:2:1-1..2",
            "usb:1:2:0-1", "usb:1:2:1-0", "usb:1:2:256-1", "usb:1:2:1-256", "usb:10000:2:1-1",
            "usb:g:2:1-1", "usb:-1:2:1-1", "usb:1:2:1-1 ", "usb: 1:2:1-1",
            "usb:1:2:1-1.2.3.4.5.6.7.8", "usb:1:2:1-99999999999999999999", "usb:0x1:2:1-1"};
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct usb_address a = {.vendor = 7};
        struct err e = {0};
        if (usb_address_parse(wrong[i], &a, &e) == 0)
            fail_msg("taken: '%s'", wrong[i]);
        assert_int_equal(e.id, ERR_PORT);
        assert_int_equal(a.vendor, 7); /* untouched */
    }
}

static void an_empty_socket_is_no_fault(void **state)
{
    (void)state;
    struct io *io = NULL;
    struct err e = {0};
    assert_int_equal(io_usb_open("usb:ffff:ffff:255-255.255", &io, &e), -1);
    assert_null(io);
    assert_non_null(strstr(e.msg, "usb:ffff:ffff:255-255.255"));
    /* where there is no USB at all libusb cannot even start: ERR_PORT */
    assert_true(e.id == ERR_DEVICE_GONE || e.id == ERR_PORT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(addresses_as_the_kernel_writes_them),
            cmocka_unit_test(everything_else_is_refused),
            cmocka_unit_test(an_empty_socket_is_no_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
