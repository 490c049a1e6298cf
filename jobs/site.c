/* The station's names, from keyline.conf. They are part of device IDs and of records that others
 * keep: checked once, here. */
#include "jobs/site.h"

#include <string.h>

#include "base/config.h"
#include "base/text.h"

static int take_name(
        char out[NAME_BYTES_MAX + 1], const char *key, const char *value, struct err *e)
{
    size_t len = strlen(value);
    if (!name_valid(value, len))
        return err_set(e, ERR_CONFIG, "[station] %s: '%.60s' is not a valid name", key, value);
    memcpy(out, value, len + 1);
    return 0;
}

int site_init(struct site *s, const struct config *c, struct err *e)
{
    s->mqtt_primary = config_get(c, "bootstrap", "mqtt_primary");
    s->mqtt_secondary = config_get(c, "bootstrap", "mqtt_secondary");
    s->upstream_url = config_get(c, "upstream", "url");
    if (config_station(c, s->station, e) ||
            take_name(s->account, "account_id", config_get(c, "station", "account_id"), e) ||
            take_name(s->division, "division_id", config_get(c, "station", "division_id"), e))
        return -1;
    return 0;
}
