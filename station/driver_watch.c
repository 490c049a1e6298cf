/* Is the device still there? The same for every driver. Promises: a hang-up is seen at once, a
 * chattering device costs no core, and a device that answers anything at all counts as present. */
#include "station/driver.h"

#include <time.h>

#include "base/text.h"

int driver_watch(struct driver_session *s, unsigned ms, struct err *e)
{
    /* A device that chatters without end may cost a read every 10 ms, not a whole core. */
    static const struct timespec chatter_pause = {.tv_nsec = 10L * 1000 * 1000};
    int64_t end_ms = time_monotonic_ms() + ms;
    do {
        uint8_t bin[512];
        size_t len;
        struct err cause = {0};
        if (s->io->read(s->io, bin, sizeof bin, &len, end_ms, &cause) == 0) {
            nanosleep(&chatter_pause, NULL);
        } else if (cause.id != ERR_DEVICE_SILENT) {
            return err_set_code(e, ERR_DEVICE_GONE, cause.code, "%s", cause.msg);
        }
    } while (time_monotonic_ms() < end_ms);

    struct err cause = {0};
    if (s->driver->ping(s, &cause) == 0)
        return 0;
    /* An answer that makes no sense still is one: the device is there. */
    if (cause.id != ERR_DEVICE_SILENT && cause.id != ERR_DEVICE_GONE && cause.id != ERR_PORT)
        return 0;
    return err_set_code(e, ERR_DEVICE_GONE, cause.code, "%s", cause.msg);
}
