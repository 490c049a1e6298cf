/* USB bulk. Promises what every io promises: deadlines, and ERR_DEVICE_GONE for a pulled device.
 * UNPROVEN: no transfer has been tried, only addresses and empty sockets. A plug-in is found by
 * looking once a second; hotplug events come with the first real device. */
#include "station/io_usb.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <libusb.h>

#include "base/limits.h"
#include "base/text.h"

struct io_usb {
    struct io io;
    libusb_context *context;
    libusb_device_handle *handle;
    int interface;
    uint8_t in, out; /* endpoint addresses */
    /* A bulk read must have room for whole packets; the caller's buffer may not. */
    uint8_t pending[USB_READ_BYTES];
    size_t at, len;
};

static int parse_number(const char **at, int base, unsigned long max, unsigned long *ret)
{
    const char *digits = base == 16 ? "0123456789abcdefABCDEF" : "0123456789";
    char text[8];
    size_t n = strspn(*at, digits);
    if (n == 0 || n >= sizeof text)
        return -1;
    memcpy(text, *at, n);
    text[n] = '\0';
    *ret = strtoul(text, NULL, base);
    *at += n;
    return *ret > max ? -1 : 0;
}

static int parse_place(const char *at, struct usb_address *a)
{
    unsigned long n;
    if (parse_number(&at, 10, UINT8_MAX, &n) || n == 0 || *at++ != '-')
        return -1;
    a->bus = (uint8_t)n;
    do {
        if (a->port_count == USB_PORTS_MAX || parse_number(&at, 10, UINT8_MAX, &n) || n == 0)
            return -1;
        a->ports[a->port_count++] = (uint8_t)n;
    } while (*at++ == '.');
    return at[-1] == '\0' ? 0 : -1;
}

int usb_address_parse(const char *text, struct usb_address *ret, struct err *e)
{
    struct usb_address a = {0};
    const char *at = text;
    unsigned long vendor, product;
    if (strncmp(at, "usb:", 4) != 0)
        return err_set(e, ERR_PORT, "a USB port is written usb:VID:PID:BUS-PORT.PORT");
    at += 4;
    if (parse_number(&at, 16, UINT16_MAX, &vendor) || *at++ != ':' ||
            parse_number(&at, 16, UINT16_MAX, &product) || *at++ != ':' || parse_place(at, &a))
        return err_set(e, ERR_PORT, "a USB port is written like usb:2fe3:0100:1-4.2");
    a.vendor = (uint16_t)vendor;
    a.product = (uint16_t)product;
    *ret = a;
    return 0;
}

static int fail(struct err *e, int r, const char *doing)
{
    enum err_id id = ERR_PORT;
    if (r == LIBUSB_ERROR_NO_DEVICE || r == LIBUSB_ERROR_IO || r == LIBUSB_ERROR_PIPE)
        id = ERR_DEVICE_GONE;
    else if (r == LIBUSB_ERROR_TIMEOUT)
        id = ERR_DEVICE_SILENT;
    else if (r == LIBUSB_ERROR_NO_MEM)
        id = ERR_NOMEM;
    return err_set_code(e, id, r, "%s: %s", doing, libusb_strerror(r));
}

/* libusb takes 0 for "for ever"; a deadline in the past still takes what is there. */
static unsigned time_left(int64_t deadline_ms)
{
    int64_t left = deadline_ms - time_monotonic_ms();
    return left < 1 ? 1 : left > INT32_MAX ? INT32_MAX : (unsigned)left;
}

static int usb_read(
        struct io *io, void *bytes, size_t cap, size_t *ret_len, int64_t deadline_ms, struct err *e)
{
    struct io_usb *u = io->ctx;
    while (u->at == u->len) { /* an empty packet only ends a transfer */
        int n = 0;
        int r = libusb_bulk_transfer(
                u->handle, u->in, u->pending, (int)sizeof u->pending, &n, time_left(deadline_ms));
        u->at = 0;
        u->len = n > 0 ? (size_t)n : 0;
        if (u->len == 0 && r)
            return fail(e, r, "reading");
        if (u->len == 0 && time_monotonic_ms() >= deadline_ms)
            return fail(e, LIBUSB_ERROR_TIMEOUT, "reading");
    }
    *ret_len = u->len - u->at < cap ? u->len - u->at : cap;
    memcpy(bytes, u->pending + u->at, *ret_len);
    u->at += *ret_len;
    return 0;
}

static int usb_write(
        struct io *io, const void *bytes, size_t len, int64_t deadline_ms, struct err *e)
{
    struct io_usb *u = io->ctx;
    const uint8_t *at = bytes;
    while (len > 0) {
        uint8_t chunk[USB_READ_BYTES]; /* libusb's pointer is not const */
        int n = 0, want = (int)(len < sizeof chunk ? len : sizeof chunk);
        memcpy(chunk, at, (size_t)want);
        int r = libusb_bulk_transfer(u->handle, u->out, chunk, want, &n, time_left(deadline_ms));
        if (r)
            return fail(e, r, "writing");
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

static void usb_close(struct io *io)
{
    struct io_usb *u = io->ctx;
    if (u->handle) {
        libusb_release_interface(u->handle, u->interface);
        libusb_close(u->handle);
    }
    libusb_exit(u->context);
    free(u);
}

static bool is_at(libusb_device *d, const struct usb_address *a)
{
    uint8_t ports[USB_PORTS_MAX];
    int n = libusb_get_port_numbers(d, ports, USB_PORTS_MAX);
    return n > 0 && (size_t)n == a->port_count && libusb_get_bus_number(d) == a->bus &&
           memcmp(ports, a->ports, a->port_count) == 0;
}

/* The first vendor-specific interface with a bulk endpoint each way. */
static int find_interface(struct io_usb *u, libusb_device *d, struct err *e)
{
    struct libusb_config_descriptor *c = NULL;
    int r = libusb_get_active_config_descriptor(d, &c);
    if (r)
        return fail(e, r, "reading its descriptors");
    u->interface = -1;
    for (int i = 0; i < c->bNumInterfaces && u->interface < 0; i++) {
        if (c->interface[i].num_altsetting < 1)
            continue;
        const struct libusb_interface_descriptor *s = &c->interface[i].altsetting[0];
        u->in = u->out = 0;
        for (int p = 0; p < s->bNumEndpoints; p++) {
            const struct libusb_endpoint_descriptor *ep = &s->endpoint[p];
            if ((ep->bmAttributes & LIBUSB_TRANSFER_TYPE_MASK) != LIBUSB_TRANSFER_TYPE_BULK)
                continue;
            *(ep->bEndpointAddress & LIBUSB_ENDPOINT_IN ? &u->in : &u->out) = ep->bEndpointAddress;
        }
        if (s->bInterfaceClass == LIBUSB_CLASS_VENDOR_SPEC && u->in && u->out)
            u->interface = s->bInterfaceNumber;
    }
    libusb_free_config_descriptor(c);
    if (u->interface < 0)
        return err_set(e, ERR_PORT, "it has no vendor-specific interface with bulk endpoints");
    return 0;
}

static int open_device(
        struct io_usb *u, libusb_device *d, const struct usb_address *a, struct err *e)
{
    struct libusb_device_descriptor descriptor;
    int r = libusb_get_device_descriptor(d, &descriptor);
    if (r)
        return fail(e, r, "reading its descriptor");
    if (descriptor.idVendor != a->vendor || descriptor.idProduct != a->product)
        return err_set(e, ERR_PORT, "a device %04x:%04x is plugged in there", descriptor.idVendor,
                descriptor.idProduct);
    if (find_interface(u, d, e))
        return -1;
    r = libusb_open(d, &u->handle);
    if (r) {
        u->handle = NULL;
        return fail(e, r, "opening it");
    }
    r = libusb_claim_interface(u->handle, u->interface);
    return r ? fail(e, r, "claiming its interface") : 0;
}

static int find_device(struct io_usb *u, const struct usb_address *a, struct err *e)
{
    libusb_device **list = NULL;
    ssize_t count = libusb_get_device_list(u->context, &list);
    if (count < 0)
        return fail(e, (int)count, "listing USB devices");
    int r = 1;
    for (ssize_t i = 0; i < count && r == 1; i++)
        if (is_at(list[i], a))
            r = open_device(u, list[i], a, e);
    libusb_free_device_list(list, 1);
    return r == 1 ? err_set(e, ERR_DEVICE_GONE, "nothing is plugged in") : r;
}

int io_usb_open(const char *address, struct io **ret, struct err *e)
{
    struct usb_address a;
    struct io_usb *u = NULL;
    if (usb_address_parse(address, &a, e))
        return err_context(e, "%s", address);
    u = calloc(1, sizeof *u);
    if (!u)
        return err_set(e, ERR_NOMEM, "no memory for the port");
    u->io = (struct io){.read = usb_read, .write = usb_write, .close = usb_close, .ctx = u};
    int r = libusb_init(&u->context);
    if (r)
        fail(e, r, "starting libusb");
    else
        r = find_device(u, &a, e);
    if (r) {
        if (u->context)
            usb_close(&u->io);
        else
            free(u);
        return err_context(e, "%s", address);
    }
    *ret = &u->io;
    return 0;
}
