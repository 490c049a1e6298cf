/* The client of people's door. Promises the answer as it came, or the named refusal; interprets
 * neither. */
#include "jobs/jobs_client.h"

#include "base/bus.h"
#include "base/limits.h"
#include "base/paths.h"
#include "jobs/client_call.h"

static const struct client_door door = {"/org/keyline/Jobs1", "org.keyline.Jobs1"};

int jobs_open(const struct paths *p, sd_bus **ret, struct err *e)
{
    char path[PATH_MAX];
    paths_get(p, PATH_JOBS_SOCKET, path);
    return bus_client_open(path, NULL, ret, e) ? err_context(e, "jobd") : 0;
}

static int append_options(
        sd_bus_message *m, const struct jobs_option *options, size_t count, struct err *e)
{
    if (client_built(sd_bus_message_open_container(m, 'a', "{ss}"), e))
        return -1;
    for (size_t i = 0; i < count; i++)
        if (client_built(sd_bus_message_open_container(m, 'e', "ss"), e) ||
                client_text(m, "name of an option", options[i].key, e) ||
                client_text(m, options[i].key, options[i].value, e) ||
                client_built(sd_bus_message_close_container(m), e))
            return -1;
    return client_built(sd_bus_message_close_container(m), e);
}

int jobs_call(sd_bus *bus, const char *method, const char *const *args, size_t arg_count,
        struct buf *ret_json, struct err *e)
{
    sd_bus_message *m = NULL;
    if (client_new(bus, &door, method, &m, e))
        return -1;
    for (size_t i = 0; i < arg_count; i++)
        if (client_text(m, "argument", args[i], e)) {
            sd_bus_message_unref(m);
            return -1;
        }
    return client_call_text(bus, m, 0, ret_json, e);
}

int jobs_import(sd_bus *bus, int manifest_fd, const struct jobs_option *options, size_t count,
        struct buf *ret_json, struct err *e)
{
    sd_bus_message *m = NULL;
    if (client_new(bus, &door, "JobImport", &m, e))
        return -1;
    if (client_built(sd_bus_message_append(m, "h", manifest_fd), e) ||
            append_options(m, options, count, e)) {
        sd_bus_message_unref(m);
        return -1;
    }
    return client_call_text(bus, m, JOBS_IMPORT_TIMEOUT_MS, ret_json, e);
}

int jobs_report(sd_bus *bus, const char *job, uint64_t after_row, unsigned limit,
        struct buf *ret_json, struct err *e)
{
    sd_bus_message *m = NULL;
    if (client_new(bus, &door, "JobReport", &m, e))
        return -1;
    if (client_text(m, "job", job, e) ||
            client_built(sd_bus_message_append(m, "tu", after_row, limit), e)) {
        sd_bus_message_unref(m);
        return -1;
    }
    return client_call_text(bus, m, 0, ret_json, e);
}

int jobs_devices(sd_bus *bus, const struct jobs_option *filter, size_t count, const char *cursor,
        unsigned limit, struct buf *ret_json, struct err *e)
{
    sd_bus_message *m = NULL;
    if (client_new(bus, &door, "DeviceList", &m, e))
        return -1;
    if (append_options(m, filter, count, e) || client_text(m, "cursor", cursor ? cursor : "", e) ||
            client_built(sd_bus_message_append(m, "u", limit), e)) {
        sd_bus_message_unref(m);
        return -1;
    }
    return client_call_text(bus, m, 0, ret_json, e);
}

int jobs_ledger(sd_bus *bus, const char *device, uint64_t before, unsigned limit,
        struct buf *ret_json, struct err *e)
{
    sd_bus_message *m = NULL;
    if (client_new(bus, &door, "Ledger", &m, e))
        return -1;
    if (client_text(m, "device", device, e) ||
            client_built(sd_bus_message_append(m, "tu", before, (uint32_t)limit), e)) {
        sd_bus_message_unref(m);
        return -1;
    }
    return client_call_text(bus, m, 0, ret_json, e);
}

int jobs_device_reissue(sd_bus *bus, const char *const *devices, size_t count, const char *name,
        struct buf *ret_json, struct err *e)
{
    sd_bus_message *m = NULL;
    int r = client_new(bus, &door, "DeviceReissue", &m, e);
    if (r == 0)
        r = client_built(sd_bus_message_open_container(m, 'a', "s"), e);
    for (size_t i = 0; i < count && r == 0; i++)
        r = client_text(m, "device", devices[i], e);
    if (r == 0)
        r = client_built(sd_bus_message_close_container(m), e) || client_text(m, "name", name, e);
    if (r == 0)
        return client_call_text(bus, m, JOBS_IMPORT_TIMEOUT_MS, ret_json, e);
    sd_bus_message_unref(m);
    return -1;
}

int jobs_device_register(sd_bus *bus, const struct jobs_option *row, size_t count,
        struct buf *ret_json, struct err *e)
{
    sd_bus_message *m = NULL;
    if (client_new(bus, &door, "DeviceRegister", &m, e))
        return -1;
    if (append_options(m, row, count, e)) {
        sd_bus_message_unref(m);
        return -1;
    }
    return client_call_text(bus, m, 0, ret_json, e);
}
