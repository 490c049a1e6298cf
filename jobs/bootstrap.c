/* bootstrap_config.json from a row. Members stand in the order of docs/domain.md, attributes in the
 * order of the canonical row. */
#include "jobs/bootstrap.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/uuid.h"
#include "jobs/site.h"

#define KEY_ALIAS  "bootstrap_key"
#define CERT_ALIAS "bootstrap_cert"

static const char attr[] = "attr.";

static json_t *attributes(const struct row *row)
{
    json_t *list = json_array();
    for (size_t i = 0; i < row->count; i++) {
        const struct row_field *f = &row->fields[i];
        size_t prefix = sizeof attr - 1;
        if (f->key_len > prefix && memcmp(f->key, attr, prefix) == 0)
            (void)json_array_append_new(
                    list, json_pack("{s:o, s:o, s:b}", "key",
                                  json_stringn(f->key + prefix, f->key_len - prefix), "value",
                                  json_stringn(f->value, f->value_len), "mandatory", 1));
    }
    return list;
}

static json_t *endpoints(const char *url)
{
    return *url ? json_pack("[s]", url) : json_array();
}

static json_t *configuration(
        const struct site *s, const char *device_id, const char *group_id, const struct row *row)
{
    const struct row_field *name = row_get(row, "device_name");
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:{s:{s:o, s:o}, s:b}, s:o}", "device_id",
            device_id, "account_id", s->account, "division_id", s->division, "device_group_id",
            group_id, "device_name", json_stringn(name->value, name->value_len),
            "rendezvous_configuration", "mqtt_endpoint", "primary", endpoints(s->mqtt_primary),
            "secondary", endpoints(s->mqtt_secondary), "persist_connection", 0, "device_attributes",
            attributes(row));
}

int bootstrap_format(const struct site *s, const char *device_id, const struct row *row,
        struct buf *out, struct err *e)
{
    char group[NAME_BYTES_MAX + 1], group_id[UUID_TEXT_MAX];
    if (!row_get(row, "device_name") || row_copy(row, "device_group", group, sizeof group, e))
        return err_set(e, ERR_STORE, "the device's row in the registry is damaged");
    /* A group's ID is derived as a device's is, of the group without a name in it. */
    uuid_device(s->account, s->division, group, "", group_id);
    json_t *o = json_pack("{s:o, s:[{s:s, s:s, s:s}]}", "configuration",
            configuration(s, device_id, group_id, row), "authentication", "method", "x509",
            "key_alias", KEY_ALIAS, "cert_alias", CERT_ALIAS);
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    if (!text)
        return err_set(e, ERR_NOMEM, "no memory for a bootstrap configuration");
    size_t len = strlen(text);
    int r = len > CONFIG_BYTES_MAX
                    ? err_set(e, ERR_LIMIT,
                              "the bootstrap configuration has %zu bytes, a device takes %u: "
                              "shorten the attributes",
                              len, CONFIG_BYTES_MAX)
                    : buf_append(out, text, len, e);
    free(text);
    return r;
}
