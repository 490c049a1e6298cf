/* The strict reading of signed JSON. Promises that a member is there and in its form, or the call
 * fails with a text that names it. */
#include "hsm/approval/payload.h"
#include <inttypes.h>
#include <string.h>
#include "base/err.h"

int payload_version(json_t *o, int64_t version, struct err *e)
{
    int64_t found;

    if (!json_is_object(o))
        return err_set(e, ERR_TICKET, "it is not a JSON object");
    if (payload_number(o, "v", 0, &found, e) < 0)
        return -1;
    if (found != version)
        return err_set(
                e, ERR_TICKET, "version %" PRId64 " is unknown to this version of Keyline", found);
    return 0;
}

int payload_members(json_t *o, const char *const *members, size_t count, struct err *e)
{
    const char *key;
    json_t *v;

    json_object_foreach(o, key, v)
    {
        size_t i = 0;

        while (i < count && strcmp(members[i], key) != 0)
            i++;
        if (i == count)
            return err_set(
                    e, ERR_TICKET, "member \"%.40s\" is unknown to this version of Keyline", key);
    }
    return 0;
}

int payload_text(json_t *o, const char *key, char *out, size_t cap, struct err *e)
{
    json_t *v = json_object_get(o, key);
    size_t len = json_string_length(v);

    if (!json_is_string(v) || len == 0 || len >= cap || strlen(json_string_value(v)) != len)
        return err_set(
                e, ERR_TICKET, "member \"%s\" must be a text of 1 to %zu bytes", key, cap - 1);
    memcpy(out, json_string_value(v), len + 1);
    return 0;
}

int payload_number(json_t *o, const char *key, int64_t min, int64_t *ret, struct err *e)
{
    json_t *v = json_object_get(o, key);

    if (!json_is_integer(v) || json_integer_value(v) < min)
        return err_set(e, ERR_TICKET, "member \"%s\" must be a whole number of at least %" PRId64,
                key, min);
    *ret = json_integer_value(v);
    return 0;
}

int payload_flag(json_t *o, const char *key, bool *ret, struct err *e)
{
    json_t *v = json_object_get(o, key);

    if (!json_is_boolean(v))
        return err_set(e, ERR_TICKET, "member \"%s\" must be true or false", key);
    *ret = json_is_true(v);
    return 0;
}
