/* USB bulk as struct io: one bulk IN and one bulk OUT endpoint of a vendor-specific interface. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "station/io.h"

#define USB_PORTS_MAX 7 /* USB 3.2, 10.1.2: no more hubs in a row */

/* "usb:VID:PID:BUS-PORT[.PORT]...", as in "usb:2fe3:0100:1-4.2": hexadecimal ids, and the physical place the kernel
 * also names the device by in /sys/bus/usb/devices. The place, not a serial number: a slot is a socket. */
struct usb_address {
    uint16_t vendor, product;
    uint8_t bus;
    uint8_t ports[USB_PORTS_MAX];
    size_t port_count;
};
/* ERR_PORT with what is wrong. */
int usb_address_parse(const char *text, struct usb_address *ret, struct err *e);

/* Claims the first vendor-specific interface with a bulk endpoint in each direction. ERR_DEVICE_GONE when nothing is in
 * that socket, ERR_PORT when something else is, when another program has it, or when it may not be opened. */
int io_usb_open(const char *address, struct io **ret, struct err *e);
