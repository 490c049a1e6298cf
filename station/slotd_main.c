/* slotd: one process, one slot, one device at a time. It alone talks to the device at its port.
 * Promises: a bad device, port or driver stops no other slot; it needs nothing but its port and
 * jobd's door, and can be killed at any moment: whatever mattered is already durable in jobd. Never
 * touches the registry, the token or the network. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "base/config.h"
#include "base/daemon.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "station/io_usb.h"
#include "station/port.h"
#include "station/serve.h"

struct slotd {
    const char *name; /* the slot */
    char *port;
    const struct driver *driver;
    unsigned baud;
};

static void usage(FILE *out)
{
    fprintf(out, "Usage: slotd --slot NAME [--port PATH] [--driver NAME] [--baud N]\n"
                 "Provisions the devices at one port. What is not given comes from [slot NAME] in\n"
                 "keyline.conf; keyline-run and keyline-slot@.service start it, seldom a person.\n"
                 "Example: slotd --slot 01 --port /dev/serial/by-path/... --driver keyline --baud "
                 "115200\n"
                 "Drivers:\n");
    for (size_t i = 0; i < driver_count(); i++)
        fprintf(out, "  %-10s %s\n", driver_at(i)->name, driver_at(i)->title);
}

static int set_driver(struct slotd *s, const char *name, struct err *e)
{
    s->driver = driver_find(name);
    if (s->driver)
        return 0;
    return err_set(e, ERR_CONFIG, "there is no driver '%s': slotd --help lists them", name);
}

/* keyline.conf is read only for what the command line leaves open. */
static int take_defaults(struct slotd *s, const struct paths *paths, struct err *e)
{
    if (s->port && s->driver && s->baud)
        return 0;
    char path[PATH_MAX];
    struct config *config = NULL;
    paths_get(paths, PATH_CONFIG, path);
    if (config_load(path, &config, e))
        return -1;
    int r = -1;
    const struct config_slot *slots, *mine = NULL;
    size_t count = config_slots(config, &slots);
    for (size_t i = 0; i < count; i++)
        if (strcmp(slots[i].name, s->name) == 0)
            mine = &slots[i];
    if (!s->port && !mine) {
        err_set(e, ERR_CONFIG, "%s has no section [slot %s]: add it, or give --port", path,
                s->name);
        goto out;
    }
    if (!s->port && !(s->port = strdup(mine->port))) {
        err_set(e, ERR_NOMEM, "no memory for the port's path");
        goto out;
    }
    if (!s->driver && set_driver(s, mine ? mine->driver : "keyline", e))
        goto out;
    if (!s->baud)
        s->baud = mine ? mine->baud : SLOT_BAUD_DEFAULT;
    r = 0;
out:
    config_free(&config);
    return r;
}

static int parse(int argc, char **argv, struct slotd *s, struct err *e)
{
    static const struct option options[] = {
            {"slot", required_argument, NULL, 's'},
            {"port", required_argument, NULL, 'p'},
            {"driver", required_argument, NULL, 'd'},
            {"baud", required_argument, NULL, 'b'},
            {"help", no_argument, NULL, 'h'},
            {"version", no_argument, NULL, 'V'},
            {0},
    };
    int c;
    uint64_t n;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
        switch (c) {
        case 's':
            s->name = optarg;
            break;
        case 'p':
            free(s->port);
            if (!(s->port = strdup(optarg)))
                return err_set(e, ERR_NOMEM, "no memory for the port's path");
            break;
        case 'd':
            if (set_driver(s, optarg, e))
                return -1;
            break;
        case 'b':
            if (text_parse_u64(optarg, &n) || n < SLOT_BAUD_MIN || n > SLOT_BAUD_MAX)
                return err_set(e, ERR_ARGUMENT, "--baud takes a number from %d to %d",
                        SLOT_BAUD_MIN, SLOT_BAUD_MAX);
            s->baud = (unsigned)n;
            break;
        case 'h':
            usage(stdout);
            exit(EXIT_SUCCESS);
        case 'V':
            puts("slotd " KEYLINE_VERSION);
            exit(EXIT_SUCCESS);
        default:
            return err_set(e, ERR_ARGUMENT, "unknown option: slotd --help lists them");
        }
    if (!s->name || !name_valid(s->name, strlen(s->name)) || optind < argc)
        return err_set(e, ERR_ARGUMENT, "slotd needs --slot NAME and no further words");
    return 0;
}

/* "usb:..." is a socket of the USB, all else the path of a serial port. */
static int open_port(const struct slotd *s, struct io **ret, struct err *e)
{
    if (strncmp(s->port, "usb:", 4) == 0)
        return io_usb_open(s->port, ret, e);
    return io_serial_open(s->port, s->baud, ret, e);
}

/* One look at the port: serves the device there, if there is one. Returns how long to wait before
 * the next look, unless the port changes sooner. */
static unsigned look(const struct slotd *s, struct panel *panel)
{
    struct err e = {0};
    struct io *io = NULL;
    int r = open_port(s, &io, &e);
    if (r == 0)
        r = serve_device(s->driver, io, panel, &e);
    io_close(&io);
    if (r == 0) /* that device is out; the next one may be in already */
        return 0;
    if (e.id == ERR_DEVICE_GONE || e.id == ERR_DEVICE_SILENT) {
        panel_show(panel, SLOT_EMPTY, "", "");
        /* An open port without a device gives no sign when one is plugged in: ask again at once. */
        return e.id == ERR_DEVICE_SILENT ? 0 : SLOT_PORT_MS;
    }
    /* Somebody else holds the port, or what is plugged in talks nonsense. */
    panel_show_err(panel, SLOT_FAIL, "", &e);
    return SLOT_TROUBLE_MS;
}

static _Noreturn void run(const struct slotd *s, const struct paths *paths)
{
    struct panel panel;
    panel_init(&panel, paths, s->name, s->port);
    for (;;) {
        /* The watch is older than the look, so nothing that is plugged in between is missed. */
        struct port_watch *watch = port_watch_new(s->port);
        panel_refresh(&panel);
        port_watch_wait(watch, look(s, &panel));
        port_watch_free(&watch);
    }
}

int main(int argc, char **argv)
{
    struct slotd s = {0};
    struct paths paths;
    struct err e = {0};
    if (daemon_init("slotd", NULL, &e) || parse(argc, argv, &s, &e) || paths_init(&paths, &e) ||
            take_defaults(&s, &paths, &e)) {
        log_err(LOG_ERR, "not-started", &e);
        free(s.port);
        return e.id == ERR_ARGUMENT ? 2 : EXIT_FAILURE;
    }
    log_info("ready", LOG_STR("slot", s.name), LOG_STR("port", s.port),
            LOG_STR("driver", s.driver->name));
    sd_notify(0, "READY=1");
    run(&s, &paths);
}
