/* The client of the sync's door. A batch is handed over as jobd froze it, byte for byte. */
#include "jobs/outbox_client.h"

#include "base/bus.h"
#include "base/limits.h"
#include "base/paths.h"
#include "jobs/client_call.h"

static const struct client_door door = {"/org/keyline/Outbox1", "org.keyline.Outbox1"};

int outbox_open(const struct paths *p, sd_event *event, sd_bus **ret, struct err *e)
{
    char path[PATH_MAX];
    paths_get(p, PATH_OUTBOX_SOCKET, path);
    return bus_client_open(path, event, ret, e);
}

int outbox_next(sd_bus *bus, struct outbox_batch *ret, struct err *e)
{
    sd_bus_message *m = NULL, *answer = NULL;
    struct outbox_batch batch = {0};
    if (client_new(bus, &door, "Next", &m, e) || client_call(bus, m, 0, &answer, e))
        return -1;
    int r = sd_bus_message_read(answer, "tt", &batch.first, &batch.last);
    if (r <= 0)
        r = err_set(e, ERR_PROTOCOL, "the answer to Next has an unexpected form");
    else
        r = client_read_buf(answer, OUTBOX_BATCH_BYTES, &batch.ndjson, e);
    sd_bus_message_unref(answer);
    if (r)
        buf_done(&batch.ndjson);
    else
        *ret = batch;
    return r;
}

int outbox_ack(sd_bus *bus, const struct outbox_batch *b, const uint8_t sha256[32],
        const char *detail, struct err *e)
{
    sd_bus_message *m = NULL;
    if (client_new(bus, &door, "Ack", &m, e))
        return -1;
    if (client_built(sd_bus_message_append(m, "tt", b->first, b->last), e) ||
            client_built(sd_bus_message_append_array(m, 'y', sha256, 32), e) ||
            client_text(m, "detail", detail ? detail : "", e)) {
        sd_bus_message_unref(m);
        return -1;
    }
    return client_call(bus, m, 0, NULL, e);
}

int outbox_refuse(sd_bus *bus, const struct outbox_batch *b, const struct err *why, struct err *e)
{
    sd_bus_message *m = NULL;
    if (client_new(bus, &door, "Refuse", &m, e))
        return -1;
    if (client_built(sd_bus_message_append(m, "tt", b->first, b->last), e) ||
            client_text(m, "error", err_name(why->id), e) ||
            client_text(m, "message", why->msg, e)) {
        sd_bus_message_unref(m);
        return -1;
    }
    return client_call(bus, m, 0, NULL, e);
}

int outbox_report(
        sd_bus *bus, const char *state, const struct err *why, int64_t retry_at_ms, struct err *e)
{
    sd_bus_message *m = NULL;
    if (client_new(bus, &door, "Report", &m, e))
        return -1;
    if (client_text(m, "state", state, e) ||
            client_text(m, "error", why && why->id ? err_name(why->id) : "", e) ||
            client_text(m, "message", why ? why->msg : "", e) ||
            client_built(
                    sd_bus_message_append(m, "t", (uint64_t)(retry_at_ms > 0 ? retry_at_ms : 0)),
                    e)) {
        sd_bus_message_unref(m);
        return -1;
    }
    return client_call(bus, m, 0, NULL, e);
}

int outbox_on_retry(sd_bus *bus, sd_bus_message_handler_t fn, void *ctx, struct err *e)
{
    return client_built(
            sd_bus_match_signal(bus, NULL, NULL, door.object, door.interface, "Retry", fn, ctx), e);
}
