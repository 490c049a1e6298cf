/* One call over a peer-to-peer connection, blocking. Never retries: the callers know what may be
 * said twice. */
#include "jobs/client_call.h"

#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "base/bus.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/text.h"

int client_built(int r, struct err *e)
{
    return r < 0 ? bus_err(e, NULL, r) : 0;
}

int client_new(sd_bus *bus, const struct client_door *d, const char *method, sd_bus_message **ret,
        struct err *e)
{
    return client_built(
            sd_bus_message_new_method_call(bus, ret, NULL, d->object, d->interface, method), e);
}

int client_text(sd_bus_message *m, const char *what, const char *text, struct err *e)
{
    if (!utf8_valid(text, strlen(text)))
        return err_set(e, ERR_ARGUMENT, "the %s is not valid UTF-8", what);
    return client_built(sd_bus_message_append(m, "s", text), e);
}

int client_call(sd_bus *bus, sd_bus_message *m, unsigned timeout_ms, sd_bus_message **ret_answer,
        struct err *e)
{
    sd_bus_error be = SD_BUS_ERROR_NULL;
    unsigned timeout = timeout_ms ? timeout_ms : BUS_TIMEOUT_MS;
    int r = sd_bus_call(bus, m, timeout * UINT64_C(1000), &be, ret_answer);
    sd_bus_message_unref(m);
    if (r < 0)
        bus_err(e, &be, r);
    sd_bus_error_free(&be);
    return r < 0 ? -1 : 0;
}

int client_call_text(
        sd_bus *bus, sd_bus_message *m, unsigned timeout_ms, struct buf *ret, struct err *e)
{
    sd_bus_message *answer = NULL;
    const char *text;
    if (client_call(bus, m, timeout_ms, &answer, e))
        return -1;
    int r = sd_bus_message_read(answer, "s", &text);
    if (r <= 0)
        r = err_set(e, ERR_PROTOCOL, "the answer is not one text");
    else
        r = buf_append(ret, text, strlen(text), e);
    sd_bus_message_unref(answer);
    return r;
}

int client_read_buf(sd_bus_message *m, size_t max, struct buf *ret, struct err *e)
{
    const uint8_t *bytes;
    size_t len;
    if (bus_read_bytes(m, max, &bytes, &len, e))
        return -1;
    return buf_append(ret, bytes, len, e);
}
