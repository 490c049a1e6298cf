/* Preloaded into an appliance: a slotd dies as by kill -9 when jobd has answered Complete, so that the device is recorded and
 * nobody was told. While the file $DIE_UNSEEN is there, which goes with it, so once. */
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

int sd_bus_call(
        sd_bus *bus, sd_bus_message *m, uint64_t usec, sd_bus_error *e, sd_bus_message **reply)
{
    int (*real)(sd_bus *, sd_bus_message *, uint64_t, sd_bus_error *, sd_bus_message **);
    const char *member = sd_bus_message_get_member(m), *mark = getenv("DIE_UNSEEN");
    int records = member && strcmp(member, "Complete") == 0,
        r; /* the call moves the member's text */
    void *found = dlsym(RTLD_NEXT, "sd_bus_call");

    if (!found)
        abort();
    memcpy(&real, &found, sizeof real); /* ISO C knows no way from an object to a function */
    r = real(bus, m, usec, e, reply);
    if (r >= 0 && records && mark && unlink(mark) == 0)
        raise(SIGKILL);
    return r;
}
